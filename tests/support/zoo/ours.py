"""Every layer of kerasdrop."""

import keras
from keras import layers
from keras import ops

from kerasdrop import layers as ours
from kerasdrop import schedules
from tests.support.zoo.registry import TOKENS
from tests.support.zoo.registry import entry


@entry(core=True)
def all_dropouts_of_ours(rate=0.3):
    x, steps = keras.Input((4,)), keras.Input((3, 4))
    return keras.Model(
        [x, steps],
        [
            ours.Dropout(rate)(x),
            ours.ScheduledDropout(schedules.Constant(rate))(x),
            ours.AlphaDropout(rate)(x),
            ours.FeatureAlphaDropout(rate)(steps),
            ours.GaussianDropout(rate**2)(x),
            ours.LockedDropout(rate)(steps),
            ours.SpatialDropout1D(rate)(steps),
            ours.DropPath(rate)(steps),
            ours.DropBlock1D(rate, block_size=2)(steps),
        ],
    )


@entry(core=True)
def dropouts_of_ours_in_images(rate=0.3):
    image, volume = keras.Input((4, 4, 2)), keras.Input((3, 3, 3, 2))
    return keras.Model(
        [image, volume],
        [
            ours.SpatialDropout2D(rate)(image),
            ours.DropBlock2D(rate, block_size=2)(image),
            ours.SpatialDropout3D(rate)(volume),
            ours.DropBlock3D(rate, block_size=2)(volume),
        ],
    )


@entry()
def classic_dropout(rate=0.3):
    x = keras.Input((4,))
    h = ours.ClassicDropout(rate)(layers.Dense(4, activation="tanh")(x))
    return keras.Model(x, layers.Dense(2)(h))


@entry(law=None)
def dropout_that_is_always_on(rate=0.3):
    x = keras.Input((4,))
    h = ours.MCDropout(rate)(layers.Dense(4, activation="tanh")(x))
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


@entry(core=True)
def wrappers_of_ours(rate=0.3):
    x = keras.Input((4,))
    h = ours.StochasticDepth(layers.Dense(4, activation="tanh"), rate)(x)
    h = ours.DropConnect(layers.Dense(3), rate)(h)
    return keras.Model(x, layers.Dense(2)(h))


@entry()
def embedding_of_ours(rate=0.3):
    """Words, and an output that shares the weights of their vectors."""
    ids = keras.Input((3,), dtype="int32")
    words = layers.ReversibleEmbedding(TOKENS, 3)
    drop = ours.EmbeddingDropout(words, rate)
    h = layers.Dense(3, activation="tanh")(drop(ids))
    return keras.Model(ids, drop(h, reverse=True))


@entry()
def adapters_of_ours(rate=0.3):
    x = keras.Input((4,))
    h = ours.LoRAInputDropout(
        layers.Dense(3, activation="tanh", lora_rank=2), rate
    )(x)
    return keras.Model(x, layers.Dense(2)(h))


@entry()
def dropped_logits_of_ours(rate=0.3):
    x = keras.Input((3, 4))
    h = ours.MultiHeadAttention(2, 2, dropout=rate, drop="logits")(x, x)
    return keras.Model(x, layers.GlobalAveragePooling1D()(h))


@entry(core=True)
def attention_of_ours(rate=0.3):
    x = keras.Input((3, 4))
    h = ours.MultiHeadAttention(2, 2, dropout=rate)(x, x)
    h = ours.GroupQueryAttention(2, 2, 1, dropout=rate)(h, x)
    return keras.Model(x, layers.GlobalAveragePooling1D()(h))


@entry(law="masks")
def ours_and_stock_ones(rate=0.5):
    x = keras.Input((3,))
    one, other = ours.Dropout(rate)(x), layers.Dropout(rate / 2)(x)
    return keras.Model(x, ops.concatenate([one * other, one - other], -1))


@entry()
def time_distributed_wrappers_of_ours(rate=0.3):
    x = keras.Input((3, 4))
    inner = ours.DropConnect(layers.Dense(4), rate)
    h = layers.TimeDistributed(inner)(x)
    h = layers.TimeDistributed(ours.Dropout(rate))(h)
    return keras.Model(x, ops.sum(h, axis=1))

"""Masks that are made, passed on, given, lost, or made from drawn tensors."""

import keras
from keras import layers
from keras import ops

import kerasdrop
from tests.support.zoo.registry import entry
from tests.support.zoo.registry import of_policy
from tests.support.zoo.registry import padded_steps
from tests.support.zoo.registry import padded_tokens

STEPS = 5


def tokens(features=4, mask_zero=True, steps=STEPS):
    """Integers, and a vector for each, masked where the integers are 0."""
    x = keras.Input((steps,), dtype="int32")
    return x, layers.Embedding(7, features, mask_zero=mask_zero)(x)


def pooled(h):
    return layers.GlobalAveragePooling1D()(h)


masked = entry(padded_tokens(STEPS))
masked_core = entry(padded_tokens(STEPS), core=True)
masked_steps = entry(padded_steps(STEPS, 3), core=True)


@masked_core
def inner_model_called_with_a_mask(rate=0.3):  # E2
    z = keras.Input((STEPS, 4))
    inner = keras.Model(z, pooled(layers.Dropout(rate)(z)))
    x, h = tokens(mask_zero=False)
    return keras.Model(x, inner(h, mask=ops.not_equal(x, 0)))


@masked
def inner_model_of_two_called_with_masks(rate=0.3):
    a, b = keras.Input((STEPS, 4)), keras.Input((STEPS, 4))
    inner = keras.Model(
        [a, b],
        layers.Dropout(rate)(pooled(a)) + pooled(layers.Dropout(rate)(b)),
    )
    x, h = tokens(mask_zero=False)
    mask = [ops.not_equal(x, 0), ops.not_equal(x, 3)]
    return keras.Model(x, inner([h, ops.tanh(h)], mask=mask))


@masked_core
def sequential_called_with_a_mask(rate=0.3):
    inner = keras.Sequential(
        [layers.Dropout(rate), layers.LSTM(3), layers.Dense(2)]
    )
    x, h = tokens(mask_zero=False)
    return keras.Model(x, inner(h, mask=ops.not_equal(x, 0)))


def _inner_behind_a_mask(rate, policy):
    """An implicit mask that is cast on the way into the inner model."""
    with of_policy(policy):
        z = keras.Input((STEPS, 4))
        inner = keras.Model(z, pooled(layers.Dropout(rate)(z)))
        x, h = tokens()
        return keras.Model(x, layers.Activation("linear")(inner(h)))


@entry(padded_tokens(STEPS), tolerance=1e-2, core=True)
def mask_into_an_inner_model_of_float16(rate=0.3):  # E3
    return _inner_behind_a_mask(rate, "mixed_float16")


@entry(padded_tokens(STEPS), tolerance=5e-2, core=True)
def mask_into_an_inner_model_of_bfloat16(rate=0.3):
    return _inner_behind_a_mask(rate, "mixed_bfloat16")


@entry(padded_tokens(STEPS), backends=("tensorflow", "torch"))
def mask_into_an_inner_model_of_float64(rate=0.3):
    return _inner_behind_a_mask(rate, "float64")


@entry(padded_tokens(STEPS), tolerance=1e-2)
def mask_into_an_inner_model_of_another_policy(rate=0.3):
    z = keras.Input((STEPS, 4))
    with of_policy("mixed_float16"):
        inner = keras.Model(z, pooled(layers.Dropout(rate)(z)))
    x, h = tokens()
    return keras.Model(x, layers.Dense(2)(inner(h)))


@masked_core
def mask_out_of_an_inner_model(rate=0.3):
    z = keras.Input((STEPS,), dtype="int32")
    h = layers.Embedding(7, 4, mask_zero=True)(z)
    inner = keras.Model(z, layers.Dropout(rate)(h))
    x = keras.Input((STEPS,), dtype="int32")
    return keras.Model(x, layers.GRU(3)(inner(x)))


@masked
def mask_through_a_wrapped_model(rate=0.3):
    inner = keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(7, 4, mask_zero=True),
            layers.Dropout(rate),
        ]
    )
    x = keras.Input((STEPS,), dtype="int32")
    h = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(inner(x))
    return keras.Model(x, pooled(layers.TimeDistributed(layers.Dense(3))(h)))


@masked_steps
def masking(rate=0.3):
    x = keras.Input((STEPS, 3))
    h = layers.Masking()(x)
    return keras.Model(x, layers.LSTM(3, dropout=rate)(h))


@entry(padded_steps(STEPS, 3), law="masks")
def masking_behind_dropout_of_steps(rate=0.4):
    # Dropped steps are then masked, and differ between samples.
    x = keras.Input((STEPS, 3))
    first = layers.Dropout(rate)(x[:, :, :1])
    h = layers.Masking()(ops.concatenate([first] * 3, axis=-1))
    return keras.Model(x, layers.SimpleRNN(3)(h))


@masked_core
def mask_of_what_is_drawn(rate=0.4):
    x, h = tokens(mask_zero=False)
    h = layers.Dropout(rate)(h)
    return keras.Model(x, layers.LSTM(3)(h, mask=h[:, :, 0] > -0.1))


@masked
def concatenated_masks(rate=0.3):
    x, h = tokens()
    dropped = layers.Dropout(rate)(h)
    features = layers.Concatenate()([h, dropped])
    steps = layers.Concatenate(axis=1)([dropped, h])
    return keras.Model(x, [pooled(features), pooled(steps)])


@masked
def added_masks(rate=0.3):
    x, h = tokens()
    other = layers.Embedding(7, 4, mask_zero=False)(x)
    dropped = layers.Dropout(rate)(h)
    return keras.Model(
        x,
        [
            pooled(layers.Add()([dropped, h])),
            pooled(layers.Multiply()([other, dropped])),
        ],
    )


@masked
def mask_through_many_layers(rate=0.3):
    x, h = tokens()
    h = layers.LayerNormalization()(layers.Dropout(rate)(h))
    h = layers.Activation("tanh")(layers.Dense(5)(h))
    h = layers.GRU(4, return_sequences=True)(h)
    h = layers.SpatialDropout1D(rate)(h)
    return keras.Model(x, pooled(layers.Identity()(h)))


@masked
def mask_of_a_lambda(rate=0.3):
    x, h = tokens(mask_zero=False)
    lengthen = layers.Lambda(
        lambda t: 2.0 * t, mask=lambda t, mask: ops.not_equal(t[..., 0], 0.0)
    )
    return keras.Model(x, layers.GRU(3)(lengthen(layers.Dropout(rate)(h))))


class SkipsFirst(layers.Layer):
    """Makes its own mask, and uses the mask that it gets."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        first = ops.arange(ops.shape(inputs)[1]) > 0
        return first[None] if mask is None else ops.logical_and(first, mask)

    def call(self, inputs, mask=None):
        if mask is None:
            return inputs
        return inputs * ops.cast(mask, inputs.dtype)[..., None] + 1.0


@masked
def layer_with_a_mask_of_its_own(rate=0.3):
    x, h = tokens()
    h = SkipsFirst()(layers.Dropout(rate)(h))
    return keras.Model(x, layers.SimpleRNN(3)(h))


@masked
def mask_without_a_batch(rate=0.3):
    x, h = tokens(mask_zero=False)
    return keras.Model(x, pooled(SkipsFirst()(layers.Dropout(rate)(h))))


@masked
def stacked_recurrent_layers(rate=0.3):
    x, h = tokens()
    h = layers.LSTM(4, return_sequences=True, dropout=rate)(h)
    h = layers.GRU(4, return_sequences=True, recurrent_dropout=rate)(h)
    return keras.Model(x, layers.SimpleRNN(3, dropout=rate)(h))


@masked
def recurrent_layer_called_with_a_mask(rate=0.3):
    x, h = tokens(mask_zero=False)
    lstm = layers.LSTM(3, dropout=rate, return_sequences=True)
    h = lstm(h, mask=ops.not_equal(x, 0))
    return keras.Model(x, ops.sum(h, axis=1))


@masked
def zero_output_for_mask(rate=0.3):
    x, h = tokens()
    cell = layers.GRUCell(3, dropout=rate)
    rnn = layers.RNN(cell, return_sequences=True, zero_output_for_mask=True)
    return keras.Model(x, ops.sum(rnn(h), axis=1))


@masked
def bidirectional_of_padded_tokens(rate=0.3):
    x, h = tokens()
    both = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, dropout=rate), merge_mode="sum"
    )
    return keras.Model(x, pooled(both(h)))


@masked
def time_distributed_over_padded_tokens(rate=0.3):
    x, h = tokens()
    h = layers.TimeDistributed(layers.Dropout(rate))(h)
    return keras.Model(x, pooled(layers.TimeDistributed(layers.Dense(3))(h)))


@masked
def softmax_with_a_mask(rate=0.3):
    x, h = tokens(mask_zero=False)
    scores = layers.Dense(1)(layers.Dropout(rate)(h))[..., 0]
    weights = layers.Softmax()(scores, mask=ops.not_equal(x, 0))
    return keras.Model(x, ops.sum(weights[..., None] * h, axis=1))


@masked
def our_recurrent_layer_of_padded_tokens(rate=0.3):
    x, h = tokens()
    cell = layers.LSTMCell(3)
    rnn = kerasdrop.layers.DropoutRNN(
        cell, input_rate=rate, recurrent_rate=rate, output_rate=rate
    )
    return keras.Model(x, rnn(h))


@masked
def batch_normalization_of_padded_tokens(rate=0.3):
    x, h = tokens()
    h = layers.BatchNormalization(trainable=False)(layers.Dropout(rate)(h))
    return keras.Model(x, pooled(h))


@masked
def positions_from_padded_tokens(rate=0.3):
    # This is a reduction over the mask itself, a number for each row.
    x, h = tokens()
    lengths = ops.sum(ops.cast(ops.not_equal(x, 0), "float32"), 1, True)
    h = ops.sum(layers.Dropout(rate)(h), axis=1) / ops.maximum(lengths, 1.0)
    return keras.Model(x, layers.Dense(2)(h))

"""Attention, with masks of queries and keys."""

import keras
from keras import layers
from keras import ops

from tests.support.zoo.masks import STEPS
from tests.support.zoo.masks import masked
from tests.support.zoo.masks import masked_core
from tests.support.zoo.masks import pooled
from tests.support.zoo.masks import tokens
from tests.support.zoo.registry import entry
from tests.support.zoo.registry import padded_tokens


@masked_core
def attention_of_padded_tokens(rate=0.2):  # E1
    x, h = tokens()
    h = layers.Attention(dropout=rate)([h, h])
    return keras.Model(x, layers.Dense(1)(ops.sum(h, axis=1)))


@masked_core
def additive_attention_of_padded_tokens(rate=0.2):
    x, h = tokens()
    h = layers.AdditiveAttention(dropout=rate)([h, h])
    return keras.Model(x, layers.Dense(1)(ops.sum(h, axis=1)))


@masked
def causal_attention_of_padded_tokens(rate=0.3):
    x, h = tokens()
    h = layers.Attention(dropout=rate, use_scale=True)(
        [h, h * 0.5, ops.tanh(h)], use_causal_mask=True
    )
    return keras.Model(x, h)


@masked
def attention_with_scores(rate=0.3):
    x, h = tokens()
    attention = layers.Attention(dropout=rate, score_mode="concat")
    h, scores = attention([h, h], return_attention_scores=True)
    return keras.Model(x, [ops.sum(h, axis=1), scores])


@masked
def attention_of_queries_that_differ(rate=0.3):
    x, h = tokens()
    query = layers.Dense(4)(ops.tanh(h))
    mask = [ops.not_equal(x, 2), ops.not_equal(x, 0)]
    h = layers.Attention(dropout=rate)([query, h], mask=mask)
    return keras.Model(x, ops.sum(h, axis=1))


@masked
def attention_behind_dropout(rate=0.3):
    x, h = tokens()
    h = layers.Dropout(rate)(h)
    h = layers.Attention(dropout=rate)([h, h])
    return keras.Model(x, pooled(h))


@masked
def attention_of_heads_with_masks(rate=0.3):
    x, h = tokens()
    h = layers.MultiHeadAttention(2, 3, dropout=rate)(h, h)
    return keras.Model(x, pooled(h))


@masked_core
def attention_of_heads_with_masks_by_hand(rate=0.3):
    x, h = tokens(mask_zero=False)
    there = ops.not_equal(x, 0)
    h = layers.MultiHeadAttention(2, 3, dropout=rate)(
        layers.Dropout(rate)(h),
        h,
        query_mask=ops.not_equal(x, 2),
        key_mask=there,
        use_causal_mask=True,
    )
    return keras.Model(x, ops.sum(h, axis=1))


@masked
def attention_of_heads_with_a_matrix(rate=0.3):
    x, h = tokens(mask_zero=False)
    near = ops.not_equal(x[:, :, None], x[:, None, :] + 1)
    h = layers.MultiHeadAttention(2, 3, dropout=rate)(h, h, attention_mask=near)
    return keras.Model(x, ops.sum(h, axis=1))


@masked
def attention_of_grouped_queries_with_masks(rate=0.3):
    x, h = tokens()
    h = layers.GroupQueryAttention(3, 2, 1, dropout=rate)(h, h)
    return keras.Model(x, pooled(h))


@entry(padded_tokens(4))
def cross_attention_of_two_padded_sequences(rate=0.3):
    x, h = tokens(steps=4)
    other = ops.concatenate([h, ops.flip(h, axis=1)], axis=1)
    mask = ops.concatenate([ops.not_equal(x, 0), ops.not_equal(x, 3)], 1)
    h = layers.MultiHeadAttention(2, 3, dropout=rate)(h, other, key_mask=mask)
    return keras.Model(x, pooled(h))


@masked_core
def encoder_and_decoder(rate=0.3):
    x, h = tokens()
    encoded, *state = layers.LSTM(
        4, return_sequences=True, return_state=True, dropout=rate
    )(h)
    decoder = layers.LSTM(4, return_sequences=True, recurrent_dropout=rate)
    decoded = decoder(ops.flip(h, axis=1), initial_state=state)
    h = layers.Attention(dropout=rate)([decoded, encoded])
    return keras.Model(x, layers.Dense(2)(h))


@masked_core
def transformer(rate=0.2):
    x, h = tokens()
    places = ops.cumsum(ops.ones_like(x), axis=1) - 1
    h = h + layers.Embedding(STEPS, 4)(places)
    for _ in range(2):
        a = layers.MultiHeadAttention(2, 2, dropout=rate)(h, h)
        h = layers.LayerNormalization()(h + layers.Dropout(rate)(a))
        f = layers.Dense(4)(layers.Dense(6, activation="gelu")(h))
        h = layers.LayerNormalization()(h + layers.Dropout(rate)(f))
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(pooled(h))))

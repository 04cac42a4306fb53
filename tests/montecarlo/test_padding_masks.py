"""Padding masks reach every layer of a Monte Carlo pass as in a plain call."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support import helpers
from tests.support import plain_calls
from tests.support import versions

TOKENS = np.array([[3, 4, 0, 0], [1, 2, 5, 0], [6, 0, 0, 0], [1, 2, 3, 4]])
# `GlobalAveragePooling1D` multiplies its inputs by the mask in their place, so
# that others which take them get them changed, in a plain call. Not those that
# were cast.
POOLING_WRITES = keras.backend.backend() == "torch" and versions.is_older(
    "3.15"
)
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "float64")


# Keras warns of it in a plain call as well.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Layer '(sequential|functional).*does not support masking"
)


@pytest.fixture(params=POLICIES)
def policy(request):
    if request.param == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is told so at its start")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def tolerance(policy):
    # Of 16 bits; the plain call is not compiled.
    return 0.02 if policy.startswith("mixed") else 1e-5


def dropout():
    return layers.Dropout(plain_calls.NEXT_TO_NOTHING)


def embedding(tokens, mask_zero=True):
    return layers.Embedding(9, 3, mask_zero=mask_zero)(tokens)


def mean_over_steps(x):
    """Of those that are not padded: a mask that is lost shows in it."""
    return layers.GlobalAveragePooling1D()(x)


def pooling():
    """An inner model that uses the mask behind its dropout."""
    x = keras.Input((4, 3))
    return keras.Model(x, mean_over_steps(dropout()(layers.Dense(3)(x))))


def forgetful():
    """An inner model that loses the mask."""
    x = keras.Input((4, 3))
    return keras.Model(x, dropout()(x) * 2.0)


def sequential():
    return keras.Sequential(
        [keras.Input((4, 3)), layers.Dense(3), dropout(), layers.Dense(3)]
    )


def two_of_each():
    """An inner model with dicts: one output drawn, two plain."""
    a, b = keras.Input((4, 3), name="a"), keras.Input((4, 3), name="b")
    outputs = {
        "drawn": dropout()(layers.Dense(3)(a)) * 2.0,
        "plain": layers.Dense(3)(b) * 3.0,
        "pooled": mean_over_steps(b),
    }
    return keras.Model({"a": a, "b": b}, outputs)


def in_and_out_of_inner_models():
    tokens = keras.Input((4,), dtype="int32")
    masked, bare = embedding(tokens), embedding(tokens, mask_zero=False)
    not_0, not_3 = ops.not_equal(tokens, 0), ops.not_equal(tokens, 3)
    shared = pooling()
    called = two_of_each()(
        {"a": masked, "b": layers.Masking()(bare)},
    )
    told = two_of_each()(
        {"a": dropout()(bare), "b": masked}, mask={"a": not_3, "b": not_0}
    )
    outputs = {
        "implicit": pooling()(masked),
        "explicit": pooling()(bare, mask=not_0),
        "explicit_over_implicit": pooling()(embedding(tokens), mask=not_3),
        "implicit_folded": pooling()(dropout()(masked)),
        "explicit_folded": pooling()(dropout()(bare), mask=not_0),
        "out_of_sequential": mean_over_steps(sequential()(masked)),
        "out_explicit": mean_over_steps(sequential()(bare, mask=not_3)),
        "shared_once": shared(masked),
        "shared_again": shared(bare, mask=not_3),
        "dict_drawn": mean_over_steps(called["drawn"]),
        "dict_plain": mean_over_steps(called["plain"]),
        "dict_pooled": called["pooled"],
        "dict_told_drawn": mean_over_steps(told["drawn"]),
        "dict_told_plain": mean_over_steps(told["plain"]),
        "dict_told_pooled": told["pooled"],
    }
    return keras.Model(tokens, outputs)


def through_layers(policy):
    tokens = keras.Input((4,), dtype="int32")
    masked, drawn = embedding(tokens), dropout()(embedding(tokens))
    bare = embedding(tokens, mask_zero=False)
    outputs = {
        "masking": mean_over_steps(dropout()(layers.Masking()(bare * 1.0))),
        "time_distributed": mean_over_steps(
            layers.TimeDistributed(layers.Dense(2))(drawn)
        ),
        "concatenated": mean_over_steps(layers.Concatenate()([masked, drawn])),
        "one_behind_the_other": mean_over_steps(
            layers.Concatenate(axis=1)([masked, drawn])
        ),
        "added": mean_over_steps(layers.Add()([drawn, masked])),
    }
    if policy == "float32":  # they take JAX long to compile
        rate = {"dropout": plain_calls.NEXT_TO_NOTHING}
        attention = layers.MultiHeadAttention(2, 3, **rate)
        recurrent = keras.Sequential(
            [layers.Embedding(9, 3, mask_zero=True), dropout(), layers.GRU(3)]
        )
        lstm = layers.LSTM(2, **rate)
        outputs |= {
            "attention": mean_over_steps(attention(masked, masked)),
            "bidirectional": layers.Bidirectional(lstm)(masked),
            "in_sequential": recurrent(tokens),
        }
    return keras.Model(tokens, outputs)


def test_masks_reach_inner_models_and_come_out(policy):
    if policy == "float32" and POOLING_WRITES:
        model = in_and_out_of_inner_models()
        with pytest.raises(ValueError, match="self-check.*other outputs"):
            kerasdrop.mc_predict(model, TOKENS, verbose=0)
        return
    plain_calls.assert_samples_are_like_a_plain_call(
        in_and_out_of_inner_models(), TOKENS, tolerance(policy)
    )


def test_masks_go_through_layers(policy):
    plain_calls.assert_samples_are_like_a_plain_call(
        through_layers(policy), TOKENS, tolerance(policy)
    )


ATTENTIONS = (layers.Attention, layers.AdditiveAttention)


def attentions(policy):
    tokens = keras.Input((4,), dtype="int32")
    h, bare = embedding(tokens), embedding(tokens, mask_zero=False)
    key = layers.Dense(3)(h)
    rate = {"dropout": plain_calls.NEXT_TO_NOTHING}
    masks = [ops.not_equal(tokens, 0), ops.not_equal(tokens, 3)]
    outputs = {}
    for cls in ATTENTIONS:
        name = cls.__name__
        outputs[f"{name}_key"] = cls(**rate)([h, h, key])
        outputs[f"{name}_told"] = cls(**rate)([bare, bare], mask=masks)
        if policy != "float32":  # they take JAX long to compile
            continue
        product, scores = cls(**rate)([h, h], return_attention_scores=True)
        outputs[f"{name}_product"], outputs[f"{name}_scores"] = product, scores
        outputs[f"{name}_causal"] = cls(**rate)([h, h], use_causal_mask=True)
        outputs[f"{name}_told_of_the_query"] = cls(**rate)(
            [bare, bare], [masks[0], None]
        )
        drawn = cls(**rate)([dropout()(h), h])
        outputs[f"{name}_hands_its_mask_on"] = mean_over_steps(drawn)
    if policy == "float32":
        concat = layers.Attention(score_mode="concat", use_scale=True, **rate)
        outputs["concat"] = concat([h, h])
    return keras.Model(tokens, outputs)


def test_attention_is_that_of_a_plain_call(policy):
    plain_calls.assert_samples_are_like_a_plain_call(
        attentions(policy), TOKENS, tolerance(policy)
    )


@pytest.mark.parametrize("cls", ATTENTIONS)
def test_samples_of_masked_attention_are_distributed_as_training(cls):
    tokens = keras.Input((4,), dtype="int32")
    h = layers.Embedding(9, 3, mask_zero=True)(tokens)
    h = layers.Dense(2)(ops.sum(cls(dropout=0.4)([h, h]), axis=1))
    model = keras.Model(tokens, h)
    num_samples = 4000
    result = kerasdrop.mc_predict(
        model,
        TOKENS[:1],
        num_samples,
        seed=2,
        kind="regression",
        plan="independent",
        keep_samples=True,
        verbose=0,
    )
    keras.utils.set_random_seed(3)
    repeated = ops.convert_to_tensor(np.repeat(TOKENS[:1], num_samples, 0))
    trained = ops.convert_to_numpy(model(repeated, training=True))
    helpers.assert_same_moments(result.samples[0], trained)
    # Dropping is linear here: so the mean is the plain prediction.
    predicted = ops.convert_to_numpy(model(TOKENS[:1], training=False))[0]
    for samples, mean in zip(result.samples[0].T, predicted):
        helpers.assert_mean(samples, mean, samples.std())


def test_an_inner_model_that_hands_its_mask_on():
    tokens = keras.Input((4,), dtype="int32")
    masked, bare = embedding(tokens), embedding(tokens, mask_zero=False)
    outputs = {}
    for name, x, mask in (
        ("implicit", masked, None),
        ("explicit", bare, ops.not_equal(tokens, 3)),
        ("folded", dropout()(masked), None),
    ):
        inner = forgetful()
        inner.supports_masking = True
        given = {} if mask is None else {"mask": mask}
        outputs[name] = mean_over_steps(inner(x, **given))
    plain_calls.assert_samples_are_like_a_plain_call(
        keras.Model(tokens, outputs), TOKENS
    )


def test_an_input_that_is_not_given():
    x = keras.Input((3,), name="x")
    extra = keras.Input((3,), name="extra", optional=True)

    class AddIfThere(layers.Layer):
        def call(self, x, extra=None):
            return x if extra is None else x + extra

        def compute_output_shape(self, x_shape, extra_shape=None):
            return x_shape

    inner_x = keras.Input((3,), name="x")
    inner_extra = keras.Input((3,), name="extra", optional=True)
    inner = keras.Model(
        {"x": inner_x, "extra": inner_extra},
        AddIfThere()(dropout()(inner_x), inner_extra),
    )
    h = AddIfThere()(dropout()(x), extra) + AddIfThere()(x, extra)
    model = keras.Model(
        {"x": x, "extra": extra}, h + inner({"x": x, "extra": extra})
    )
    data = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    for extra in (None, data + 1.0):
        result = kerasdrop.mc_predict(
            model, {"x": data, "extra": extra}, 5, verbose=0, kind="regression"
        )
        added = 0.0 if extra is None else extra
        np.testing.assert_allclose(result.mean, 3 * (data + added), rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_variables_in_a_graph_are_cast_as_in_a_plain_call(policy):
    scale = keras.Variable(np.full((3,), 1.2345678), dtype="float32")
    inner_x = keras.Input((3,))
    inner = keras.Model(inner_x, dropout()(inner_x * scale) * scale)
    x = keras.Input((3,))
    h = layers.Dense(3)(x)
    outputs = {"inner": inner(h), "prefix": dropout()(h * scale)}
    outputs["rest"] = dropout()(h) + scale
    model = keras.Model(x, outputs)
    data = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    plain_calls.assert_samples_are_like_a_plain_call(model, data, 1e-6)

"""Dropout of adapters, against their formula with the known masks."""

import json
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop.layers import LoRAInputDropout
from tests.support import known_masks

RNG = np.random.default_rng(0)
RATE, SEED, ALPHA, RANK = 0.3, 7, 6, 2
SCALE = ALPHA / RANK


numpy = ops.convert_to_numpy


def assert_close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def adapter_of(layer):
    name = "embeddings" if isinstance(layer, stock.Embedding) else "kernel"
    return [getattr(layer, f"lora_{name}_{one}") for one in "ab"]


def with_adapter(layer, shape, mode=None):
    """Builds a layer, quantizes it, and gives it an adapter that is not 0."""
    layer.build(shape)
    weights = [RNG.normal(size=one.shape) for one in layer.get_weights()]
    layer.set_weights(weights)
    if mode:
        layer.quantize(mode)
    layer.enable_lora(RANK, lora_alpha=ALPHA)
    for matrix in adapter_of(layer):
        matrix.assign(RNG.normal(size=matrix.shape))
    return layer


def dropped(x, index=0):
    words = known_masks.words(SEED, index, x.shape)
    return np.where(known_masks.kept_array(words, RATE), x / (1 - RATE), 0.0)


# What each layer makes of inputs by a kernel, and the shape of the inputs.
LAYERS = {
    "dense": (lambda act: stock.Dense(3, act), (4,), "...i,io->...o"),
    "steps": (lambda act: stock.Dense(3, act), (5, 4), "...i,io->...o"),
    **{
        equation: (
            lambda act, equation=equation, size=size: stock.EinsumDense(
                equation, size, act, bias_axes=equation[-1]
            ),
            shape,
            equation,
        )
        for equation, size, shape in [
            ("btd,ndh->btnh", (5, 2, 3), (5, 4)),
            ("btnh,nhd->btd", (5, 4), (5, 2, 3)),
            ("abc,cde->aebd", (6, 5, 3), (5, 4)),
            ("ab,cb->ac", 3, (4,)),
            ("...x,xy->...y", 3, (5, 4)),
        ]
    },
}


@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_adapter_alone_is_dropped(name, activation):
    make, shape, equation = LAYERS[name]
    inner = with_adapter(make(activation), (None, *shape))
    layer = LoRAInputDropout(inner, RATE, seed=SEED)
    x = RNG.normal(size=(3, *shape)).astype("float32")
    a, b = map(numpy, adapter_of(inner))
    kernel = numpy(inner.kernel) - SCALE * a @ b
    config = inner.get_config()
    for index in range(2):
        y = np.einsum(equation, x, kernel) + numpy(inner.bias)
        y += SCALE * np.einsum(equation, dropped(x, index), a @ b)
        expected = np.tanh(y) if activation else y
        assert_close(numpy(layer(x, training=True)), expected, 1e-4)
    np.testing.assert_array_equal(numpy(layer(x)), numpy(inner(x)))
    assert inner.get_config() == config


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize("name", ["dense", "btd,ndh->btnh"])
def test_a_quantized_layer(name, mode):
    """What it makes without its adapter is what it makes, less the latter."""
    make, shape, equation = LAYERS[name]
    inner = with_adapter(make("relu"), (None, *shape), mode)
    layer = LoRAInputDropout(inner, RATE, seed=SEED)
    x = RNG.normal(size=(3, *shape)).astype("float32")
    np.testing.assert_array_equal(numpy(layer(x)), numpy(inner(x)))
    drawn = numpy(layer(x, training=True))
    a, b = adapter_of(inner)
    change = SCALE * np.einsum(equation, dropped(x) - x, numpy(a) @ numpy(b))
    inner.activation = None
    expected = np.maximum(numpy(inner(x)) + change, 0.0)
    assert_close(drawn, expected, 1e-4)


@pytest.mark.parametrize("mode", [None, "int8"])
def test_an_embedding_drops_the_ids_of_its_adapter(mode):
    inner = with_adapter(stock.Embedding(6, 3), (None,), mode)
    layer = LoRAInputDropout(inner, RATE, seed=SEED)
    ids = RNG.integers(0, 6, (4, 5))
    a, b = map(numpy, adapter_of(inner))
    words = known_masks.words(SEED, 0, (4, 6))
    keep = np.take_along_axis(known_masks.kept_array(words, RATE), ids, 1)
    part = SCALE * (a @ b)[ids]
    expected = numpy(inner(ids)) + part * (keep / (1 - RATE) - 1)[..., None]
    assert_close(numpy(layer(ids, training=True)), expected, 1e-4)
    np.testing.assert_array_equal(numpy(layer(ids)), numpy(inner(ids)))
    with pytest.raises(ValueError, match="inputs must be ids"):
        layer(ids.astype("float32"))


@pytest.mark.parametrize("dtype", [None, "compute"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["dense", "btd,ndh->btnh"])
def test_mixed_precision(name, policy, dtype):
    """By default the same numbers as Keras, also before the activation."""
    make, shape, _ = LAYERS[name]
    inner = make("tanh")
    inner.dtype_policy = policy
    with_adapter(inner, (None, *shape))
    arguments = {"dtype": inner.compute_dtype} if dtype else {}
    layer = LoRAInputDropout(inner, 1e-9, seed=SEED, **arguments)
    x = RNG.normal(size=(3, *shape)).astype("float32")
    expected, drawn = inner(x), layer(x, training=True)
    for one in (drawn, layer(x)):
        assert keras.backend.standardize_dtype(one.dtype) == layer.compute_dtype
    expected, drawn = (numpy(ops.cast(y, "float32")) for y in (expected, drawn))
    # With another policy the weights are not rounded before they are added.
    assert_close(drawn, expected, 0.1 if dtype else 1e-6)
    model = keras.Sequential([keras.Input(shape), layer])
    model.compile("sgd", "mse")
    model.fit(x, np.zeros_like(expected), verbose=0)


def test_an_adapter_trains_and_its_layer_does_not():
    inner = with_adapter(stock.Dense(3, "tanh"), (None, 4))
    model = keras.Sequential([keras.Input((4,)), LoRAInputDropout(inner, 0.5)])
    assert len(model.trainable_variables) == 3  # and the bias
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 3)), batch_size=2, verbose=0)
    moved = [
        bool((one != other).any())
        for one, other in zip(model.get_weights(), before)
    ]
    assert sorted(moved) == [False, True, True, True]
    assert model.layers[0].step == 2


def test_the_activation_is_taken_out_of_no_layer_that_others_see():
    inner = with_adapter(stock.Dense(3, "tanh"), (None, 4))
    layer, plain, seen = LoRAInputDropout(inner, RATE), stock.Dense.call, []

    def call(called, inputs):
        seen.append((called.activation, inner.activation))
        return plain(called, inputs)

    with mock.patch.object(stock.Dense, "call", call):
        layer(np.ones((2, 4), "float32"), training=True)
    assert seen == [(None, keras.activations.tanh)]


# Files.


def model_of(inner, **arguments):
    layer = LoRAInputDropout(inner, RATE, name="drop", **arguments)
    return keras.Sequential([keras.Input((4,)), layer])


def test_a_merged_adapter_is_an_error_that_says_how_to_keep_it(tmp_path):
    inner = with_adapter(stock.Dense(3, name="dense"), (None, 4))
    model = model_of(inner)
    x = RNG.normal(size=(3, 4)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_close(numpy(again(x)), numpy(model(x)))
    message = "'drop'.*layer 'dense' is 0.*save_lora_weights"
    with pytest.raises(ValueError, match=message):
        again(x, training=True)
    with pytest.raises(ValueError, match=message):
        kerasdrop.mc_predict(again, x, 16, kind="regression", verbose=0)
    again.compile("sgd", "mse")
    if keras.backend.backend() == "torch":
        with pytest.raises(ValueError, match=message):
            again.fit(x, np.ones((3, 3)), verbose=0)
    else:
        loss = again.fit(x, np.ones((3, 3)), verbose=0).history["loss"]
        assert np.isnan(loss).all()


def test_a_new_adapter_is_none_that_was_merged():
    layer = LoRAInputDropout(stock.Dense(3, lora_rank=RANK), RATE)
    layer(np.ones((2, 4), "float32"), training=True)


def test_a_new_adapter_may_have_its_zeros_in_a():
    inner = stock.Dense(3)
    inner.build((None, 4))
    zero_first = {"a_initializer": "zeros", "b_initializer": "he_uniform"}
    inner.enable_lora(RANK, **zero_first)
    layer = LoRAInputDropout(inner, RATE)
    x = np.ones((2, 4), "float32")
    assert_close(numpy(layer(x, training=True)), numpy(inner(x)))
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile("sgd", "mse")
    model.fit(x, np.ones((2, 3)), verbose=0)
    assert numpy(inner.lora_kernel_a).any()


def test_a_config_keeps_the_strength_of_the_adapter():
    inner = stock.Dense(3, lora_rank=RANK, lora_alpha=ALPHA)
    layer = LoRAInputDropout(inner, RATE)
    layer.build((None, 4))
    assert inner.lora_alpha == ALPHA
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    again.build((None, 4))
    assert again.layer.lora_alpha == ALPHA
    assert again.get_config()["lora_alpha"] == ALPHA


@pytest.mark.parametrize(
    "change", [kerasdrop.strip_dropout, kerasdrop.convert_dropout]
)
def test_copies_of_a_model_have_its_adapters(change):
    inner = with_adapter(stock.Dense(3, "tanh"), (None, 4))
    model = model_of(inner)
    model.add(stock.Dropout(0.1))
    x = RNG.normal(size=(3, 4)).astype("float32")
    new, _ = change(model)
    assert_close(numpy(new(x)), numpy(model(x)))
    names = [weight.name for weight in new.weights]
    assert {"lora_kernel_a", "lora_kernel_b"} <= set(names)


# Predictions, and what is refused.


def test_predictions_through_the_adapters_alone():
    inner = with_adapter(stock.Dense(3, "tanh"), (None, 4))
    model = keras.Sequential(
        [
            keras.Input((4,)),
            LoRAInputDropout(inner, RATE, name="drop"),
            layers.Dropout(0.5),
        ]
    )
    x = RNG.normal(size=(2, 4)).astype("float32")
    found = kerasdrop.mc_predict(
        model,
        x,
        3,
        seed=5,
        layers=lambda layer: isinstance(layer, LoRAInputDropout),
        plan="independent",
        kind="regression",
        keep_samples=True,
        verbose=0,
    )
    a, b = map(numpy, adapter_of(inner))
    key = known_masks.derived_key(known_masks.key_of_seed(5), 0)
    inner_kernel, bias = numpy(inner.kernel), numpy(inner.bias)
    for sample in range(3):
        words = known_masks.words_of_key(key, sample, x.shape)
        keep = known_masks.kept_array(words, RATE) / (1 - RATE)
        y = x @ inner_kernel + bias + SCALE * (x * keep - x) @ a @ b
        assert_close(found.samples[:, sample], np.tanh(y), 1e-4)


REFUSED = {
    "class": (lambda: stock.Conv1D(3, 2), {}, "must be a `keras.layers.Dense`"),
    "dtype": (
        lambda: stock.Dense(3, dtype="float16"),
        {"dtype": "float32"},
        "compute in the dtype of the layer",
    ),
    "regularizer": (
        lambda: stock.Dense(3, activity_regularizer="l2"),
        {},
        "no `activity_regularizer`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_layer_is_refused(name):
    make, arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        LoRAInputDropout(make(), RATE, **arguments)


def test_without_an_adapter_nothing_can_be_dropped():
    layer = LoRAInputDropout(stock.Dense(3), RATE)
    x = np.ones((2, 4), "float32")
    layer(x)
    with pytest.raises(ValueError, match="has no adapter.*enable_lora"):
        layer(x, training=True)


def test_another_quantization_is_refused():
    inner = stock.Dense(3)
    layer = LoRAInputDropout(inner, RATE)
    layer.build((None, 4))
    inner.quantize("float8")
    inner.lora_enabled = True
    with pytest.raises(ValueError, match="quantized by 'float8'"):
        layer._check_drawing()

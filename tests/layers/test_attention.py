"""Attention: dropped weights by their formula, and the path of each call."""

import functools
import json
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import schedules
from tests.support import known_masks
from tests.support import traced

BACKEND = keras.backend.backend()
ROWS, STEPS, FEATURES = 3, 4, 6
HEADS, SIZE = 4, 2
SEED = 7
INPUTS = (
    np.random.default_rng(0)
    .normal(size=(ROWS, STEPS, FEATURES))
    .astype("float32")
)
PADDING = np.ones((ROWS, STEPS), bool)
PADDING[1, 2:] = False


def multi_head(module, **arguments):
    return module.MultiHeadAttention(HEADS, SIZE, name="mha", **arguments)


def grouped(module, **arguments):
    return module.GroupQueryAttention(
        SIZE, HEADS, HEADS // 2, name="gqa", **arguments
    )


kinds = pytest.mark.parametrize("kind", [multi_head, grouped])


numpy = ops.convert_to_numpy


def assert_close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def model_of(layer):
    inputs = keras.Input((STEPS, FEATURES))
    return keras.Model(inputs, layer(inputs, inputs))


def reference(weights, noise, allowed=True):
    """Attention of `INPUTS` to themselves.

    Args:
        weights: Kernel and bias of queries, keys, values, outputs.
        noise: `(rows, heads, queries, keys)`, by which the weights are
            multiplied.
        allowed: Whether a query may attend to a key, of the same shape.
    """
    q, k, v = (
        np.einsum("btf,fhd->bhtd", INPUTS, kernel) + bias[None, :, None]
        for kernel, bias in zip(weights[:6:2], weights[1:6:2])
    )
    k, v = (np.repeat(one, HEADS // one.shape[1], axis=1) for one in (k, v))
    scores = np.exp(q @ np.swapaxes(k, 2, 3) / np.sqrt(SIZE)) * allowed
    scores = scores / scores.sum(axis=-1, keepdims=True)
    outputs = (scores * noise) @ v
    return np.einsum("bhtd,hdf->btf", outputs, weights[6]) + weights[7]


def factors(words, rate):
    return known_masks.kept_array(words, rate) / (1.0 - rate)


def training_factors(index, rate):
    words = known_masks.words(SEED, index, (ROWS, HEADS, STEPS, STEPS))
    return factors(words, rate)


def weights_of(layer):
    if not layer.built:
        layer.build(INPUTS.shape, INPUTS.shape)
    rng = np.random.default_rng(1)
    layer.set_weights(
        [rng.normal(size=w.shape).astype("float32") for w in layer.weights]
    )
    return layer.get_weights()


# Values.


@kinds
def test_training_follows_the_formula_under_the_known_masks(kind):
    layer = kind(layers, dropout=0.3, seed=SEED)
    weights = weights_of(layer)
    for index in range(2):
        drawn = numpy(layer(INPUTS, INPUTS, training=True))
        noise = training_factors(index, 0.3)
        assert_close(drawn, reference(weights, noise))


CAUSAL = np.tril(np.ones((STEPS, STEPS), bool))


@pytest.mark.parametrize(
    ("kind", "with_padding", "training"),
    [
        (multi_head, False, False),
        (multi_head, False, True),
        (multi_head, True, False),
        (multi_head, True, True),
        (grouped, False, True),
    ],
)
def test_what_may_not_be_attended_to_is_not(kind, with_padding, training):
    layer = kind(layers, dropout=0.3, seed=SEED)
    weights = weights_of(layer)
    noise = training_factors(0, 0.3) if training else 1.0
    allowed, mask = CAUSAL, None
    if with_padding:
        mask = np.repeat(PADDING[:, None], STEPS, axis=1)
        allowed = allowed & mask[:, None]
    drawn = layer(
        INPUTS,
        INPUTS,
        attention_mask=mask,
        use_causal_mask=True,
        training=training,
    )
    assert_close(numpy(drawn), reference(weights, noise, allowed))


def test_scores_are_handed_out_undropped():
    layer = multi_head(layers, dropout=0.5, seed=SEED)
    weights = weights_of(layer)
    drawn, scores = layer(
        INPUTS, INPUTS, return_attention_scores=True, training=True
    )
    assert_close(numpy(drawn), reference(weights, training_factors(0, 0.5)))
    assert_close(numpy(scores).sum(axis=-1), 1.0)


@kinds
def test_predictions_are_those_of_keras_without_dropout(kind):
    layer, plain = kind(layers, dropout=0.5), kind(stock)
    weights_of(plain)
    layer.build(INPUTS.shape, INPUTS.shape)
    layer.set_weights(plain.get_weights())
    assert_close(numpy(layer(INPUTS, INPUTS)), numpy(plain(INPUTS, INPUTS)))


def test_a_padding_mask_of_the_inputs_counts_and_is_passed_on():
    tokens = np.array([[3, 1, 0, 0], [2, 2, 1, 0], [1, 1, 1, 1]])
    embedding = stock.Embedding(4, FEATURES, mask_zero=True)
    layer = multi_head(layers, dropout=0.5)
    plain, dropping = multi_head(stock), multi_head(stock, dropout=0.5)
    weights_of(plain)
    for one in (layer, dropping):
        one.build(INPUTS.shape, INPUTS.shape)
        one.set_weights(plain.get_weights())
    # A tensor loses its mask to the layer.
    ours, theirs, without_dropout = (
        one(*[embedding(tokens)] * 2) for one in (layer, dropping, plain)
    )
    assert_close(numpy(ours), numpy(theirs))
    there = tokens != 0
    assert_close(numpy(ours)[there], numpy(without_dropout)[there])
    np.testing.assert_array_equal(numpy(ours._keras_mask), there)


# Of what a query meets nothing: a row of queries, a head, what is causal.
NOTHING_ALLOWED = {
    "steps": (np.array([[[1], [0], [1], [0]]] * ROWS, bool), False),
    "heads": (
        np.random.default_rng(4).random((ROWS, HEADS, STEPS, STEPS)) < 0.2,
        False,
    ),
    "causal": (np.array([[[0, 0, 1, 1]] * STEPS] * ROWS, bool), True),
    "integers": (np.array([[[1], [0], [1], [0]]] * ROWS, "int32"), False),
}


@pytest.mark.parametrize("name", NOTHING_ALLOWED)
@pytest.mark.parametrize(
    ("kind", "drop"), [(multi_head, "weights"), (grouped, "logits")]
)
def test_a_query_without_any_key_attends_to_nothing_on_both_paths(
    kind, drop, name
):
    """As in the layer of Keras that was made with dropout."""
    mask, causal = NOTHING_ALLOWED[name]
    mask = np.broadcast_to(mask, (*mask.shape[:-1], STEPS))
    layer, plain = kind(layers, dropout=1e-9, drop=drop), kind(stock, dropout=1)
    plain.build(INPUTS.shape, INPUTS.shape)
    plain.set_weights(weights_of(layer))
    expected = numpy(
        plain(INPUTS, INPUTS, attention_mask=mask, use_causal_mask=causal)
    )
    for training in (False, True):
        found = layer(
            INPUTS,
            INPUTS,
            attention_mask=mask,
            use_causal_mask=causal,
            training=training,
        )
        assert_close(numpy(found), expected)


@pytest.mark.parametrize("drop", ["weights", "logits"])
def test_padded_steps_are_the_same_in_predictions_and_samples(drop):
    """For what reads them, and for what does not."""
    inputs = keras.Input((STEPS,), dtype="int32")
    hidden = stock.Embedding(4, FEATURES, mask_zero=True)(inputs)
    hidden = multi_head(layers, dropout=1e-9, drop=drop)(hidden, hidden)
    outputs = [stock.GlobalAveragePooling1D()(hidden), ops.sum(hidden, axis=1)]
    model = keras.Model(inputs, ops.concatenate(outputs, axis=-1))
    tokens = np.array([[3, 1, 0, 0], [2, 2, 1, 0], [1, 1, 1, 1]])
    sampled = kerasdrop.mc_predict(
        model, tokens, 2, plan="independent", keep_samples=True, verbose=0
    )
    expected = model.predict(tokens, verbose=0)
    for sample in range(2):
        assert_close(sampled.samples[:, sample], expected)


# The path.


def fused_calls(call):
    """The keyword arguments of each call of the fused kernel."""
    with mock.patch(
        "keras.src.ops.dot_product_attention", wraps=ops.dot_product_attention
    ) as fused:
        call()
    return [one.kwargs for one in fused.call_args_list]


@kinds
@pytest.mark.parametrize("causal", [False, True])
def test_where_nothing_is_drawn_the_kernel_is_called_as_without_dropout(
    kind, causal
):
    ours, plain = (
        fused_calls(
            functools.partial(
                layer, INPUTS, INPUTS, use_causal_mask=causal, training=training
            )
        )
        for layer, training in (
            (kind(layers, dropout=0.5), False),
            (kind(stock), True),
        )
    )
    assert len(ours) == len(plain) == 1
    settings = [
        {key: one[key] for key in ("is_causal", "scale", "flash_attention")}
        | {"mask": one["mask"] is None}
        for one in (ours[0], plain[0])
    ]
    assert settings[0] == settings[1]


@kinds
def test_where_it_is_drawn_the_kernel_is_not_called(kind):
    layer = kind(layers, dropout=0.5)
    model = model_of(layer)
    calls = {
        "training": lambda: model(INPUTS, training=True),
        "inference": lambda: model(INPUTS, training=False),
        # Its self-check makes a plain call.
        "samples": lambda: kerasdrop.mc_predict(
            model, INPUTS, 16, verbose=0, verify=False
        ),
    }
    counts = {name: len(fused_calls(call)) for name, call in calls.items()}
    assert counts == {"training": 0, "inference": 1, "samples": 0}
    assert len(fused_calls(calls["inference"])) == 1  # as before
    always = kind(layers, dropout=0.5, stochastic_inference=True)
    assert not fused_calls(lambda: always(INPUTS, INPUTS))


def test_flash_attention_and_dropout_go_together():
    # That of inference needs a GPU; the layer of Keras cannot even be made.
    layer = multi_head(layers, dropout=0.3, seed=SEED, flash_attention=True)
    weights = weights_of(layer)
    drawn = numpy(layer(INPUTS, INPUTS, training=True))
    assert_close(drawn, reference(weights, training_factors(0, 0.3)))


@kinds
def test_a_call_that_fails_leaves_nothing_behind(kind):
    layer = kind(layers, dropout=0.5)
    weights_of(layer)
    with pytest.raises(Exception, match="."):
        layer(INPUTS, INPUTS[:, :, :2], training=True)
    assert layer.dropout == 0.5
    assert len(fused_calls(lambda: layer(INPUTS, INPUTS))) == 1


# The rate.


def test_the_rate_is_live_in_a_compiled_function_without_a_retrace():
    layer = multi_head(layers, dropout=0.5, seed=SEED)
    model = model_of(layer)
    weights = weights_of(layer)
    call = traced.Training(model, INPUTS)
    for index, rate in enumerate((0.5, 0.0, 0.25)):
        layer.dropout = rate
        assert layer.dropout == rate
        assert kerasdrop.get_rates(model) == {f"{layer.name}/dropout": rate}
        expected = reference(weights, training_factors(index, rate))
        assert_close(numpy(call(INPUTS)), expected)
    assert call.num_traces == 1


def test_a_rate_may_be_a_schedule():
    ramp = schedules.Linear(0.0, 0.5, num_steps=2)
    layer = multi_head(layers, dropout=ramp)
    for rate in (0.0, 0.25, 0.5):
        assert layer.dropout == rate
        layer(INPUTS, INPUTS, training=True)
    again = type(layer).from_config(layer.get_config())
    assert again.dropout == 0.0
    with pytest.raises(ValueError, match="follows a Linear"):
        layer.dropout = 0.5


@kinds
def test_an_illegal_rate_is_refused(kind):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        kind(layers, dropout=1.5)
    layer = kind(layers, dropout=0.5)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        layer.dropout = -0.1
    assert layer.dropout == 0.5


# Configurations, files, policies.


@kinds
def test_a_config_comes_back_through_json_with_the_rate_of_now(kind):
    layer = kind(layers, dropout=0.3, seed=4, stochastic_inference=True)
    layer.dropout = 0.125
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    assert again.dropout == 0.125


@kinds
def test_a_stock_config_makes_our_layer(kind):
    config = kind(stock, dropout=0.3, seed=4).get_config()
    ours = type(kind(layers)).from_config(config).get_config()
    assert {key: ours[key] for key in config} == config


def test_the_first_arguments_are_those_of_the_stock_layer():
    layer = layers.MultiHeadAttention(2, 3, 4, 0.5)
    config = stock.MultiHeadAttention(2, 3, 4, 0.5).get_config()
    ours = layer.get_config()
    different = {"name", "dtype"}
    for key in set(config) - different:
        assert ours[key] == config[key]


def test_weights_files_are_those_of_the_stock_layer(tmp_path):
    path = tmp_path / "model.weights.h5"
    theirs, ours, third = (
        model_of(multi_head(module, dropout=0.5))
        for module in (stock, layers, stock)
    )
    theirs.save_weights(path)
    ours.load_weights(path)
    assert_close(numpy(ours(INPUTS)), numpy(theirs(INPUTS)))
    ours.save_weights(path)
    third.load_weights(path)
    assert_close(numpy(third(INPUTS)), numpy(theirs(INPUTS)))


def test_masks_do_not_depend_on_the_policy():
    exact = multi_head(layers, dropout=0.5, seed=SEED)
    weights_of(exact)
    layer = multi_head(layers, dropout=0.5, seed=SEED, dtype="mixed_bfloat16")
    layer.build(INPUTS.shape, INPUTS.shape)
    layer.set_weights(exact.get_weights())
    drawn = layer(INPUTS, INPUTS, training=True)
    assert keras.backend.standardize_dtype(drawn.dtype) == "bfloat16"
    expected = numpy(exact(INPUTS, INPUTS, training=True))
    drawn = numpy(ops.cast(drawn, "float32"))
    scale = np.abs(expected).max()
    assert np.abs(drawn - expected).max() < 0.1 * scale


# Logits.


def kept_keys(index, rate, allowed=True):
    words = known_masks.words(SEED, index, (ROWS, HEADS, STEPS, STEPS))
    keep = known_masks.kept_array(words, rate) & allowed
    return (keep | ~keep.any(axis=-1, keepdims=True)) & allowed


@kinds
@pytest.mark.parametrize("rate", [0.3, 0.9, 1.0])
def test_logits_are_dropped_before_the_softmax(kind, rate):
    """At .9 most queries lose all keys, and then keep all."""
    layer = kind(layers, dropout=rate, drop="logits", seed=SEED)
    weights = weights_of(layer)
    for index in range(2):
        drawn = numpy(layer(INPUTS, INPUTS, training=True))
        expected = reference(weights, 1.0, kept_keys(index, rate))
        assert_close(drawn, expected)
    assert_close(numpy(layer(INPUTS, INPUTS)), reference(weights, 1.0))


@pytest.mark.parametrize("rate", [0.5, 0.9])
@kinds
def test_a_query_keeps_a_key_that_it_may_attend_to(kind, rate):
    layer = kind(layers, dropout=rate, drop="logits", seed=SEED)
    weights = weights_of(layer)
    drawn = layer(INPUTS, INPUTS, use_causal_mask=True, training=True)
    expected = reference(weights, 1.0, kept_keys(0, rate, CAUSAL))
    assert_close(numpy(drawn), expected)
    # The first query has one key only, which is never dropped.
    first = numpy(layer(INPUTS, INPUTS, use_causal_mask=True))[:, 0]
    assert_close(numpy(drawn)[:, 0], first)


def test_a_mask_and_dropped_logits_go_together():
    layer = multi_head(layers, dropout=0.5, drop="logits", seed=SEED)
    weights = weights_of(layer)
    mask = np.repeat(PADDING[:, None], STEPS, axis=1)
    drawn = layer(INPUTS, INPUTS, attention_mask=mask, training=True)
    expected = reference(weights, 1.0, kept_keys(0, 0.5, mask[:, None]))
    assert_close(numpy(drawn), expected)


def test_the_mean_is_that_over_all_masks_of_logits():
    """Two keys: both with (1 - p)^2 + p^2, one of them with p (1 - p)."""
    rate, x = 0.25, INPUTS[:1, :2]
    layer = multi_head(layers, dropout=rate, drop="logits")
    weights_of(layer)
    plain = numpy(layer(x, x))[0]
    alone = [numpy(layer(x, x[:, [one]]))[0] for one in range(2)]
    # Heads are dropped for themselves, and add up.
    mean = ((1 - rate) ** 2 + rate**2) * plain + rate * (1 - rate) * sum(alone)
    many = np.repeat(x, 20_000, axis=0)
    drawn = numpy(layer(many, many, training=True)).astype("float64")
    error = 5 * drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - mean) <= error + 1e-5).all()


def test_scores_of_dropped_logits_are_handed_out():
    layer = multi_head(layers, dropout=0.3, drop="logits", seed=SEED)
    _, scores = layer(
        INPUTS, INPUTS, return_attention_scores=True, training=True
    )
    np.testing.assert_array_equal(numpy(scores) > 0, kept_keys(0, 0.3))
    np.testing.assert_allclose(numpy(scores).sum(axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("drop", ["weights", "logits"])
def test_what_is_dropped_is_in_the_config(drop):
    layer = multi_head(layers, dropout=0.3, drop=drop)
    config = json.loads(json.dumps(layer.get_config()))
    assert layers.MultiHeadAttention.from_config(config).drop == drop
    del config["drop"]  # a file of before
    assert layers.MultiHeadAttention.from_config(config).drop == "weights"


def test_nothing_else_can_be_dropped():
    with pytest.raises(ValueError, match='`drop` must be "weights" or "logi'):
        multi_head(layers, dropout=0.3, drop="keys")


# Models.


def samples_and_words(model):
    """Yields the outputs of each of three samples, and its random words."""
    samples = kerasdrop.mc_predict(
        model,
        INPUTS,
        3,
        seed=5,
        plan="independent",
        keep_samples=True,
        verbose=0,
    ).samples
    key = known_masks.derived_key(known_masks.key_of_seed(5), 0)
    shape = (ROWS, HEADS, STEPS, STEPS)
    for number in range(3):
        words = known_masks.words_of_key(key, number, shape)
        yield samples[:, number], words


def test_samples_of_dropped_logits_are_those_of_the_formula():
    layer = multi_head(layers, dropout=0.3, drop="logits")
    model = model_of(layer)
    weights = weights_of(layer)
    for samples, words in samples_and_words(model):
        keep = known_masks.kept_array(words, 0.3)
        keep |= ~keep.any(axis=-1, keepdims=True)
        assert_close(samples, reference(weights, 1.0, keep))


def test_samples_are_those_of_the_formula():
    layer = multi_head(layers, dropout=0.3)
    model = model_of(layer)
    weights = weights_of(layer)
    for samples, words in samples_and_words(model):
        assert_close(samples, reference(weights, factors(words, 0.3)))


@kinds
def test_inspect_lists_the_layer_inside(kind):
    model = model_of(kind(layers, dropout=0.25))
    [listed] = kerasdrop.inspect(model).layers
    path = model.layers[-1].name + "/dropout"
    assert (listed.path, listed.rate, listed.is_drawn) == (path, 0.25, True)

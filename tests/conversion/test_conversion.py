import copy
import hashlib
import json

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import rates
from kerasdrop.conversion import convert
from kerasdrop.conversion.convert import convert_dropout

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def fingerprint(model):
    """What must not change: values, seed states, configuration, nodes."""
    digest = hashlib.sha256()
    for variable in model.variables:  # seed states among them
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    digest.update(json.dumps(model.get_config(), default=repr).encode())
    for layer in model._flatten_layers():
        nodes = len(layer._inbound_nodes), len(layer._outbound_nodes)
        digest.update(repr((layer.name, nodes)).encode())
    functions = ("train_function", "test_function", "predict_function")
    digest.update(repr([id(getattr(model, f)) for f in functions]).encode())
    optimizer = id(model.optimizer) if model.compiled else None
    digest.update(repr((model.compiled, optimizer)).encode())
    return digest.hexdigest()


def predict(model, x=X):
    outputs = model(x, training=False)
    return keras.tree.map_structure(ops.convert_to_numpy, outputs)


def sequential(*body, name="model"):
    return keras.Sequential([keras.Input((4,)), *body], name=name)


def plain():
    return sequential(
        stock.Dense(16, activation="relu", name="first"),
        stock.Dropout(0.25, seed=3, name="drop"),
        stock.Dense(1, name="last"),
    )


def with_shared_layer():
    dense = stock.Dense(4, name="shared")
    drop = stock.Dropout(0.5, name="drop")
    inputs = keras.Input((4,))
    return keras.Model(inputs, drop(dense(drop(dense(inputs)))))


def with_several_inputs_and_outputs():
    a = keras.Input((4,), name="a")
    b = keras.Input((4,), name="b")
    hidden = stock.Dropout(0.5, name="drop")(stock.Add()([a, b]))
    outputs = {"c": stock.Dense(2, name="c")(hidden), "d": hidden}
    return keras.Model({"a": a, "b": b}, outputs)


def with_nested_models():
    inner = sequential(
        stock.Dense(4), stock.Dropout(0.5, name="drop"), name="inner"
    )
    entry = keras.Input((4,))
    middle = keras.Model(
        entry, stock.Dropout(0.2, name="drop")(inner(entry)), name="middle"
    )
    inputs = keras.Input((4,))
    # `inner` is shared between two levels.
    return keras.Model(inputs, stock.Add()([middle(inputs), inner(inputs)]))


def nested():
    inner = sequential(
        stock.Dense(4), stock.Dropout(0.5, name="drop"), name="inner"
    )
    inputs = keras.Input((4,))
    return keras.Model(inputs, stock.Dense(1)(inner(inputs)))


def with_operations():
    inputs = keras.Input((4,))
    hidden = ops.reshape(inputs, (-1, 2, 2)) * 2.0 + 1.0
    hidden = stock.Dropout(0.5, name="drop")(hidden[:, 0])
    hidden = stock.Lambda(
        lambda x, factor: x * factor, (2,), arguments={"factor": 3.0}
    )(hidden)
    return keras.Model(inputs, ops.concatenate([hidden, inputs], axis=-1))


def with_batch_normalization():
    model = sequential(
        stock.Dense(4),
        stock.BatchNormalization(),
        stock.Dropout(0.5, name="drop"),
        stock.Dense(1),
    )
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    return model


def with_wrappers():
    inputs = keras.Input((4,))
    hidden = stock.Reshape((2, 2))(inputs)
    hidden = stock.TimeDistributed(
        stock.Dropout(0.5, name="drop"), name="steps"
    )(hidden)
    return keras.Model(inputs, stock.Bidirectional(stock.SimpleRNN(2))(hidden))


def with_normalization():
    normalization = stock.Normalization()
    normalization.adapt(X)
    return sequential(normalization, stock.Dropout(0.5, name="drop"))


def with_lora_and_quantization():
    adapted = stock.Dense(4)
    quantized = stock.Dense(4)
    model = sequential(
        adapted, stock.Dropout(0.5, name="drop"), quantized, stock.Dense(2)
    )
    adapted.enable_lora(2)
    adapted.set_weights([w + 0.5 for w in adapted.get_weights()])
    quantized.quantize("int8")
    return model


MODELS = [
    with_lora_and_quantization,
    plain,
    with_shared_layer,
    with_several_inputs_and_outputs,
    with_nested_models,
    with_operations,
    with_batch_normalization,
    with_wrappers,
    with_normalization,
]


def data_for(model):
    return {"a": X, "b": X[::-1]} if len(model.inputs) > 1 else X


@pytest.mark.parametrize("make", MODELS)
def test_the_predictions_are_the_same(make):
    model = make()
    x = data_for(model)
    converted = convert_dropout(model).model
    expected = predict(model, x)
    keras.tree.map_structure(
        np.testing.assert_array_equal, predict(converted, x), expected
    )


@pytest.mark.parametrize("make", MODELS)
def test_the_original_is_untouched(make):
    model = make()
    before = fingerprint(model)
    converted = convert_dropout(model).model
    converted.set_weights([w + 1.0 for w in converted.get_weights()])
    rates.set_rates(converted, 0.9)
    assert fingerprint(model) == before


@pytest.mark.parametrize("make", MODELS)
def test_nothing_is_shared(make):
    model = make()
    converted = convert_dropout(model).model
    ours = {id(variable) for variable in converted.variables}
    ours.update(id(layer) for layer in converted._flatten_layers())
    theirs = {id(variable) for variable in model.variables}
    theirs.update(id(layer) for layer in model._flatten_layers())
    assert not ours & theirs


@pytest.mark.parametrize("make", MODELS)
def test_no_stock_dropout_is_left(make):
    converted, report = convert_dropout(make())
    assert report.skipped == {}
    assert set(rates.get_rates(converted)) == set(report.converted)
    assert not any(
        type(layer) is stock.Dropout for layer in converted._flatten_layers()
    )


def test_the_fingerprint_sees_a_change():
    model = plain()
    before = fingerprint(model)
    model(X, training=True)  # moves the state of the seed only
    assert fingerprint(model) != before


def test_training_the_copy_leaves_the_original_usable():
    # On JAX, training gives its buffers back.
    model = plain()
    expected = predict(model)
    converted = convert_dropout(model).model
    converted.compile("sgd", "mse")
    converted.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(predict(model), expected)


def test_training_the_original_leaves_the_copy_usable():
    model = plain()
    model.compile("sgd", "mse")
    expected = predict(model)
    converted = convert_dropout(model).model
    model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(predict(converted), expected)


def test_a_layer_keeps_its_arguments():
    model = sequential(
        stock.Reshape((2, 2)),
        stock.Dropout(
            0.25, (None, 1, None), 7, name="drop", dtype="mixed_float16"
        ),
    )
    drop = convert_dropout(model).model.get_layer("drop")
    kept = (drop.rate, drop.noise_shape, drop.seed, drop.dtype_policy.name)
    assert type(drop) is layers.Dropout
    assert kept == (0.25, (None, 1, None), 7, "mixed_float16")


def test_sharing_is_kept():
    converted = convert_dropout(with_nested_models()).model
    outer = converted.get_layer("inner")
    assert converted.get_layer("middle").get_layer("inner") is outer


def test_a_shared_layer_is_converted_once():
    model = with_shared_layer()
    converted = convert_dropout(model).model
    assert len(converted.weights) == len(model.weights)
    assert len(converted.get_layer("drop")._inbound_nodes) == 2


def test_training_drops_at_the_rate_and_stays_unbiased():
    model = sequential(stock.Dropout(0.25))
    converted = convert_dropout(model).model
    outputs = ops.convert_to_numpy(converted(np.ones((8, 4)), training=True))
    assert ((outputs == 0) | np.isclose(outputs, 1 / 0.75)).all()


def test_training_true_at_the_call_is_kept():
    inputs = keras.Input((4,))
    outputs = stock.Dropout(1.0, name="drop")(inputs, training=True)
    model = keras.Model(inputs, outputs)
    converted = convert_dropout(model).model
    assert not ops.convert_to_numpy(converted(X)).any()


def test_the_state_of_our_own_layers_is_copied():
    model = sequential(
        stock.Dropout(0.5, name="theirs"), layers.Dropout(0.5, name="ours")
    )
    model(X, training=True)
    rates.set_rates(model, 0.3, layers="ours")
    converted = convert_dropout(model).model
    old, new = model.get_layer("ours"), converted.get_layer("ours")
    assert (new.rate, new.step) == (0.3, 1)
    # The key is the same: so are the masks.
    np.testing.assert_array_equal(
        ops.convert_to_numpy(new(X, training=True)),
        ops.convert_to_numpy(old(X, training=True)),
    )


def test_frozen_layers_stay_frozen():
    model = with_nested_models()
    model.get_layer("middle").trainable = False
    converted = convert_dropout(model).model
    flags = [layer.trainable for layer in model._flatten_layers()]
    copied = [
        layer.trainable
        for layer in converted._flatten_layers()
        if layer.name != "draw_state"
    ]
    assert copied == flags
    assert len(converted.trainable_weights) == len(model.trainable_weights)


def test_a_learned_vocabulary_is_copied():
    lookup = stock.IntegerLookup(name="lookup")
    lookup.adapt(np.array([5, 7, 7]))
    inputs = keras.Input((1,), dtype="int32")
    hidden = ops.cast(lookup(inputs), "float32")
    model = keras.Model(inputs, stock.Dropout(0.5)(hidden))
    copied = convert_dropout(model).model.get_layer("lookup")
    assert copied.get_vocabulary() == [-1, 7, 5]


def test_dtype_policies_are_kept():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = plain()
    finally:
        keras.config.set_dtype_policy("float32")
    converted = convert_dropout(model).model
    layers_of_both = [converted, *converted.layers]
    policies = {layer.dtype_policy.name for layer in layers_of_both}
    assert policies == {"mixed_bfloat16"}


def test_tied_weights_are_refused():
    class Tied(keras.layers.Layer):
        def __init__(self, tied_to=None, **kwargs):
            super().__init__(**kwargs)
            self.kernel = tied_to
            if tied_to is None:
                self.kernel = self.add_weight(shape=(4, 4))

        def call(self, inputs):
            return ops.matmul(inputs, self.kernel)

        def get_config(self):
            return keras.layers.Layer.get_config(self)

    first = Tied()
    model = sequential(first, stock.Dropout(0.5), Tied(first.kernel))
    with pytest.raises(ValueError, match="Share a layer instead of a variable"):
        convert_dropout(model)


def test_a_compiled_model_is_copied_uncompiled():
    model = plain()
    # Cannot be serialized by its name.
    model.compile("adam", lambda truth, guess: ops.mean((truth - guess) ** 2))
    assert convert_dropout(model).model.compiled is False


def test_a_loaded_model_is_converted(tmp_path):
    model = nested()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    converted = convert_dropout(loaded).model
    np.testing.assert_array_equal(predict(converted), predict(model))


def test_the_copy_is_saved_and_loaded(tmp_path):
    converted = convert_dropout(nested()).model
    rates.set_rates(converted, 0.75)
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert set(rates.get_rates(loaded).values()) == {0.75}
    np.testing.assert_array_equal(predict(loaded), predict(converted))


def test_a_subclass_with_the_functional_constructor_keeps_its_class():
    class Custom(keras.Model):
        def train_step(self, *args):
            raise NotImplementedError

    inputs = keras.Input((4,))
    model = Custom(inputs, stock.Dropout(0.5)(inputs))
    assert type(convert_dropout(model).model) is Custom


@pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13),
    reason="Keras 3.12 loses it in a clone: docs/stability.md",
)
def test_an_optional_input_stays_optional():
    a = keras.Input((4,), name="a")
    b = keras.Input((4,), name="b", optional=True)
    hidden = stock.Dropout(0.5)(a)
    either = stock.Lambda(
        lambda pair: pair[0] if pair[1] is None else pair[0] + pair[1],
        output_shape=(4,),
    )
    model = keras.Model([a, b], either([hidden, b]))
    converted = convert_dropout(model).model
    assert converted.get_layer("b").optional


class Block(keras.layers.Layer):
    """Makes its dropout itself; its configuration does not tell."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.drop = stock.Dropout(0.5, name="drop")
        self.dense = stock.Dense(4)

    def call(self, inputs, training=False):
        return self.dense(self.drop(inputs, training=training))


class Own(stock.Dropout):
    pass


class OwnLSTM(stock.LSTM):
    pass


@keras.saving.register_keras_serializable("kerasdrop_tests")
class OwnCell(stock.GRUCell):
    pass


def test_what_cannot_be_reached_is_in_the_report():
    inputs = keras.Input((4,))
    hidden = stock.Dropout(0.5, name="drop")(inputs)
    hidden = Block(name="block")(hidden)
    hidden = Own(0.5, name="own")(hidden)
    hidden = stock.Reshape((2, 2))(hidden)
    hidden = OwnLSTM(2, dropout=0.5, return_sequences=True, name="lstm")(hidden)
    hidden = stock.RNN(
        OwnCell(2, recurrent_dropout=0.5, name="cell"),
        return_sequences=True,
        name="rnn",
    )(hidden)
    hidden = stock.Attention(dropout=0.5, name="attention")([hidden, hidden])
    model = keras.Model(inputs, hidden)
    report = convert_dropout(model).report
    assert set(report.converted) == {"drop", "block/drop"}
    reasons = {
        "own": "a subclass",
        "lstm": "inside its own call (dropout=0.5, recurrent_dropout=0.0)",
        "rnn/cell": "inside its own call",
        "attention": "inside its own call",
    }
    assert set(report.skipped) == set(reasons)
    for path, reason in reasons.items():
        assert reason in report.skipped[path]


def test_attention_that_drops_weights_is_converted():
    inputs = keras.Input((3, 4))
    hidden = inputs
    for layer in (
        stock.MultiHeadAttention(1, 2, dropout=0.5, seed=1, name="mha"),
        stock.GroupQueryAttention(2, 2, 1, dropout=0.3, name="gqa"),
        stock.MultiHeadAttention(1, 2, name="plain"),
    ):
        hidden = layer(hidden, hidden)
    model = keras.Model(inputs, hidden)
    model.get_layer("mha").output_dense.trainable = False
    converted, report = convert_dropout(model)
    assert kerasdrop.get_rates(converted) == {
        "mha/dropout": 0.5,
        "gqa/dropout": 0.3,
    }
    assert set(report.converted) == {"mha", "gqa"}
    assert type(converted.get_layer("plain")) is stock.MultiHeadAttention
    trainable = [
        [weight.name for weight in one.get_layer("mha").trainable_weights]
        for one in (converted, model)
    ]
    assert trainable[0] == trainable[1]
    assert len(trainable[0]) == 6
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype("float32")
    ours, theirs = (predict(one, x) for one in (converted, model))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # What drops has the same number in both: so have its masks.
    ours, theirs = (
        kerasdrop.mc_predict(one, x, 16, seed=0, verbose=0).variance
        for one in (converted, model)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


OTHERS = [
    (stock.SpatialDropout1D(0.3, seed=1, name="d"), (5, 4)),
    (stock.SpatialDropout2D(0.3, "channels_first", name="d"), (3, 5, 4)),
    (stock.SpatialDropout3D(0.3, dtype="mixed_bfloat16"), (2, 3, 5, 4)),
    (stock.AlphaDropout(0.3, noise_shape=(None, 1), name="d"), (4,)),
    (stock.GaussianDropout(0.3, seed=1, dtype="mixed_bfloat16"), (4,)),
]


@pytest.mark.parametrize(
    ("theirs", "shape"), OTHERS, ids=lambda item: type(item).__name__
)
def test_every_stock_dropout_layer_is_converted(theirs, shape):
    model = keras.Sequential([keras.Input(shape), theirs])
    ours = convert_dropout(model).model.layers[-1]
    assert type(ours) is getattr(layers, type(theirs).__name__)
    assert (ours.rate, ours.seed, ours.name, ours.dtype_policy.name) == (
        0.3,
        theirs.seed,
        theirs.name,
        theirs.dtype_policy.name,
    )
    for name in ("data_format", "noise_shape"):
        if name in theirs.get_config():
            assert getattr(ours, name) == getattr(theirs, name)


def test_the_report_is_a_table():
    report = convert_dropout(
        sequential(stock.Dropout(0.5, name="a"), Own(0.5, name="longer"))
    ).report
    assert str(report) == (
        "converted  a            "
        "keras.layers.Dropout -> kerasdrop.layers.Dropout\n"
        "skipped    longer       "
        "Own is a subclass; what it overrides would be lost\n"
        "note       predictions  the same, bit for bit, of inputs tried"
    )


def test_nothing_to_convert_lists_what_was_found():
    model = sequential(layers.Dropout(0.5, name="ours"), Own(0.5, name="own"))
    with pytest.raises(
        ValueError, match="(?s)ours: .*already.*own: .*a subclass"
    ):
        convert_dropout(model)


def test_an_unbuilt_model_is_refused():
    model = keras.Sequential([stock.Dense(2), stock.Dropout(0.5)])
    with pytest.raises(ValueError, match="Start it with a `keras.Input`"):
        convert_dropout(model)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="must be a `keras.Model`"):
        convert_dropout(stock.Dropout(0.5))


def test_a_layer_without_a_configuration_is_refused():
    class Opaque(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    model = sequential(stock.Dropout(0.5), Opaque(ops.relu))
    with pytest.raises(ValueError, match="Give the class a `get_config`"):
        convert_dropout(model)


def test_a_configuration_that_fails_is_refused_by_the_name_of_the_layer():
    """As of a layer that reads in `get_config` what it does not have."""

    class Broken(keras.layers.Layer):
        def call(self, inputs):
            return inputs

        def get_config(self):
            return {"factor": self.factor}

    model = sequential(stock.Dropout(0.5), Broken(name="broken"))
    with pytest.raises(ValueError, match="(?s)'broken'.*factor.*`get_config`"):
        convert_dropout(model)


def test_a_conversion_is_named():
    result = convert_dropout(plain())
    assert isinstance(result, convert.Conversion)
    assert result == (result.model, result.report)
    assert copy.copy(result.report) == result.report

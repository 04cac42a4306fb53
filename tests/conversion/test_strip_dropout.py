"""The form to deploy: nothing of ours in it, the same predictions."""

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import schedules
from kerasdrop import strip_dropout
from kerasdrop._adapters import adapters
from kerasdrop.layers.base import StochasticLayer
from tests.support import helpers

RNG = np.random.default_rng(0)
SEQUENCE, VECTOR = (5, 4), (4,)


def model_of(shape, *body, name="model"):
    model = keras.Sequential([keras.Input(shape), *body], name=name)
    model.set_weights(  # biases other than 0
        [RNG.normal(size=w.shape).astype(w.dtype) for w in model.get_weights()]
    )
    return model


def predict(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def inputs_of(model):
    shape = (3, *model.inputs[0].shape[1:])
    return RNG.normal(size=shape).astype("float32")


def every_layer(model):
    return model._flatten_layers(include_self=False)


def assert_stripped(model, skipped=()):
    """Strips a model; asserts all that a stripped model promises."""
    x = inputs_of(model)
    before, weights = predict(model, x), model.get_weights()
    stripped, report = strip_dropout(model)
    # Products are rounded in another order, sums by another kernel.
    np.testing.assert_allclose(
        predict(stripped, x), before, rtol=2e-5, atol=1e-5
    )
    assert set(report.skipped) == set(skipped)
    if not skipped:
        for layer in every_layer(stripped):
            assert not isinstance(layer, StochasticLayer)
            assert not adapters.can_draw(layer) or adapters.rate_of(layer) == 0
    np.testing.assert_array_equal(predict(model, x), before)
    for one, other in zip(model.get_weights(), weights):
        np.testing.assert_array_equal(one, other)
    return stripped, report


@pytest.mark.parametrize(
    "layer",
    [
        stock.Dropout(0.3),
        stock.SpatialDropout1D(0.3),
        stock.AlphaDropout(0.3),
        stock.GaussianDropout(0.3),
        stock.GaussianNoise(0.3),
        layers.Dropout(0.3),
        layers.Dropout(0.3, dtype="float16"),
        layers.ScheduledDropout(schedules.Linear(0.0, 0.5, num_steps=2)),
        layers.SpatialDropout1D(0.3),
        layers.LockedDropout(0.3),
        layers.GaussianDropout(0.3),
        layers.DropBlock1D(0.3, 3),
        layers.DropPath(0.3),
    ],
    ids=lambda layer: layer.name,
)
def test_a_layer_becomes_an_identity(layer):
    layer = type(layer).from_config({**layer.get_config(), "name": "drop"})
    model = model_of(SEQUENCE, stock.Dense(4), layer, stock.Dense(2))
    stripped, report = assert_stripped(model)
    assert report.stripped == {"drop": "Identity"}
    assert type(stripped.get_layer("drop")) is stock.Identity


def test_classic_scaling_goes_into_the_kernel():
    drop = layers.ClassicDropout(0.25, name="drop")
    dense = stock.Dense(2, name="dense")
    stripped, report = assert_stripped(model_of(VECTOR, drop, dense))
    assert report.stripped == {"drop": "kernels of 'dense' times 0.75"}
    assert type(stripped.get_layer("drop")) is stock.Identity
    np.testing.assert_allclose(
        stripped.get_layer("dense").get_weights()[0],
        0.75 * dense.get_weights()[0],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "drop",
    [
        layers.ClassicDropout(0.25, name="drop"),
        layers.DropPath(0.25, scaling="classic", name="drop"),
    ],
)
def test_scaling_that_no_kernel_can_take_becomes_a_rescaling(drop):
    model = model_of(VECTOR, stock.Dense(4), drop, stock.Activation("tanh"))
    _, report = assert_stripped(model)
    assert report.stripped == {"drop": "Rescaling by 0.75"}


def test_the_rate_is_the_one_of_now():
    ramp = schedules.Linear(0.0, 0.5, num_steps=2)
    scheduled = layers.ClassicDropout(ramp, name="ramp")
    live = layers.ClassicDropout(0.5, name="live")
    model = model_of(VECTOR, scheduled, live, stock.Activation("tanh"))
    model(np.ones((2, 4)), training=True)
    live.rate = 0.2
    _, report = assert_stripped(model)
    assert report.stripped == {
        "ramp": "Rescaling by 0.75",
        "live": "Rescaling by 0.8",
    }


@pytest.mark.parametrize("scaling", ["classic", "inverted"])
def test_stochastic_depth_becomes_a_sum(scaling):
    inner = keras.Sequential(
        [
            keras.Input(VECTOR),
            stock.Dropout(0.5, name="drop"),
            stock.Dense(4),
        ],
        name="inner",
    )
    depth = layers.StochasticDepth(inner, 0.25, scaling, name="depth")
    _, report = assert_stripped(model_of(VECTOR, depth, stock.Dense(2)))
    assert report.stripped == {
        "depth": "sum of inputs and layer",
        "depth/inner/drop": "Identity",
    }


@pytest.mark.parametrize("cls", [layers.ConcreteDropout, layers.DropConnect])
def test_a_layer_around_another_leaves_the_latter(cls):
    """And the learned rate, a weight, is no more."""
    drop = cls(stock.Dense(3, "tanh", name="dense"), 0.5, name="drop")
    model = model_of(SEQUENCE, drop, stock.Dense(2))
    stripped, report = assert_stripped(model)
    assert report.stripped == {"drop": "the layer in it"}
    shapes = [weight.shape for weight in stripped.weights]
    assert shapes == [(4, 3), (3,), (3, 2), (2,)]
    dense = stripped.get_layer("drop").get_layer("dense")
    for one, other in zip(dense.get_weights(), drop.layer.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_convolution_at_a_learned_rate_is_left_too():
    inner = stock.Conv1D(3, 2)
    drop = layers.ConcreteDropout(inner, granularity="channel", name="drop")
    _, report = assert_stripped(model_of(SEQUENCE, drop, stock.Dense(2)))
    assert report.stripped == {"drop": "the layer in it"}


@pytest.mark.parametrize(
    "inner", [stock.Dense(3), stock.Conv1D(3, 2)], ids=["dense", "convolution"]
)
def test_a_layer_that_is_called_on_two_lengths(inner):
    drop = layers.ConcreteDropout(inner, name="drop")
    short, long = keras.Input((5, 4)), keras.Input((9, 4))
    parts = [stock.Flatten()(drop(each)) for each in (short, long)]
    outputs = stock.Dense(2)(stock.Concatenate()(parts))
    model = keras.Model([short, long], outputs)
    stripped = strip_dropout(model).model
    x = [np.ones((2, 5, 4), "float32"), np.ones((2, 9, 4), "float32")]
    np.testing.assert_allclose(
        predict(stripped, x), predict(model, x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "drop",
    [
        layers.ConcreteDropout(stock.Dense(4, name="inner"), name="drop"),
        layers.DropConnect(stock.Dense(4, name="inner"), 0.25, name="drop"),
        layers.ConcreteDropout(
            stock.Dense(4, name="inner"), name="drop", dtype="bfloat16"
        ),
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        lambda drop: stock.TimeDistributed(drop, name="td"),
        lambda drop: stock.TimeDistributed(
            stock.TimeDistributed(drop, name="td")
        ),
    ],
)
def test_around_a_layer_and_inside_another_it_leaves_the_former(around, drop):
    layer = around(type(drop).from_config(drop.get_config()))
    shape = (2, *SEQUENCE) if "time" in layer.name else SEQUENCE
    is_cast = drop.compute_dtype != "float32"
    path = "td/drop" if layer.name == "td" else f"{layer.name}/td/drop"
    stripped, report = assert_stripped(
        model_of(shape, layer, stock.Dropout(0.5)),
        skipped={path} if is_cast else (),
    )
    names = [one.name for one in every_layer(stripped)]
    assert ("drop" in names) == is_cast
    assert (path in report.stripped) != is_cast


def test_stochastic_depth_inside_another_layer_is_left_and_reported():
    drop = layers.StochasticDepth(stock.Dense(4), 0.25, name="drop")
    body = stock.TimeDistributed(drop, name="td"), stock.Dropout(0.5)
    _, report = assert_stripped(model_of(SEQUENCE, *body), skipped={"td/drop"})
    assert "made by a layer around it" in report.skipped["td/drop"]


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="others export uncalled models"
)
# Keras uses an exporter of PyTorch that is deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_stripped_model_that_was_never_called_is_exported(tmp_path):
    pytest.importorskip("onnxscript", reason="Keras writes ONNX with it")
    model = model_of(VECTOR, stock.Dense(3), layers.Dropout(0.5))
    strip_dropout(model).model.export(
        tmp_path / "model.onnx", format="onnx", verbose=False
    )
    assert (tmp_path / "model.onnx").stat().st_size > 0


def test_our_attention_becomes_that_of_keras():
    inputs = keras.Input(SEQUENCE)
    hidden = inputs
    for layer in (
        layers.MultiHeadAttention(2, 4, dropout=0.5, name="mha"),
        layers.GroupQueryAttention(4, 2, 1, dropout=0.5, name="gqa"),
    ):
        hidden = layer(hidden, hidden, use_causal_mask=True)
    stripped, report = assert_stripped(keras.Model(inputs, hidden))
    assert set(report.stripped) == {"mha", "gqa"}
    assert report.stripped["mha"] == "keras.layers.MultiHeadAttention"
    assert "no key" in report.notes["padded steps"]
    assert type(stripped.get_layer("mha")) is stock.MultiHeadAttention
    for name in ("mha", "gqa"):
        assert stripped.get_layer(name).get_config()["dropout"] == 0.0


def test_recurrent_layers_of_ours_become_those_of_keras():
    rates = {"input_rate": 0.3, "recurrent_rate": 0.3}
    model = model_of(
        SEQUENCE,
        layers.DropoutRNN(
            stock.GRUCell(3), **rates, return_sequences=True, name="rnn"
        ),
        stock.Bidirectional(
            layers.DropoutRNN(stock.LSTMCell(2), **rates, name="way"),
            name="both",
        ),
    )
    model.get_layer("both").backward_layer.cell.trainable = False
    stripped, report = assert_stripped(model)
    names = ("rnn", "both/forward_way", "both/backward_way")
    assert report.stripped == dict.fromkeys(names, "keras.layers.RNN")
    assert type(stripped.get_layer("rnn")) is stock.RNN
    assert stripped.get_layer("rnn").return_sequences
    backward = stripped.get_layer("both").backward_layer
    assert type(backward) is stock.RNN
    assert not backward.trainable_weights


@pytest.mark.parametrize("training", [None, True])
def test_ours_that_draw_at_inference_are_left_and_reported(training):
    always = training is None
    rnn = layers.DropoutRNN(
        stock.LSTMCell(4),
        0.5,
        return_sequences=True,
        stochastic_inference=always,
        name="rnn",
    )
    mha = layers.MultiHeadAttention(
        1, 2, dropout=0.5, stochastic_inference=always, name="mha"
    )
    inputs = keras.Input(SEQUENCE)
    hidden = rnn(layers.Dropout(0.5, name="drop")(inputs), training=training)
    hidden = mha(hidden, hidden, training=training)
    report = strip_dropout(keras.Model(inputs, hidden)).report
    assert report.stripped == {"drop": "Identity"}
    assert set(report.skipped) == {"rnn", "mha"}
    how = "`training=True`" if training else "`stochastic_inference=True`"
    for reason in report.skipped.values():
        assert "draws in predictions" in reason
        assert how in reason


def test_attention_gets_its_fused_path():
    inputs = keras.Input((6, 8))
    attention = stock.MultiHeadAttention(2, 4, dropout=0.5, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    stripped, report = assert_stripped(model)
    assert report.stripped == {"attention": "dropout=0.5 -> 0"}
    assert "no key" in report.notes["padded steps"]
    assert stripped.get_layer("attention").get_config()["dropout"] == 0.0


@pytest.mark.parametrize(
    "layer",
    [
        stock.GRU(3, dropout=0.2, recurrent_dropout=0.3),
        stock.Bidirectional(stock.LSTM(3, dropout=0.2)),
        stock.RNN(stock.LSTMCell(3, recurrent_dropout=0.3)),
        stock.RNN([stock.GRUCell(3, dropout=0.2), stock.SimpleRNNCell(3)]),
        stock.TimeDistributed(stock.Dropout(0.5)),
        stock.TimeDistributed(layers.ClassicDropout(0.5)),
        stock.TimeDistributed(
            keras.Sequential([stock.Dense(3), layers.Dropout(0.5)])
        ),
    ],
    ids=lambda layer: layer.name,
)
def test_what_is_inside_layers_of_keras_is_stripped(layer):
    _, report = assert_stripped(model_of(SEQUENCE, layer))
    assert report.stripped


def test_nested_models_and_shared_layers():
    drop = layers.Dropout(0.5, name="drop")
    inner = model_of(VECTOR, stock.Dense(4), drop, name="inner")
    x = keras.Input(VECTOR)
    model = keras.Model(x, inner(drop(inner(x))))
    stripped, _ = assert_stripped(model)
    names = [layer.name for layer in every_layer(stripped)]
    assert names.count("drop") == 1


def test_what_draws_in_predictions_stays():
    x = keras.Input(VECTOR)
    y = layers.MCDropout(0.5, name="mc")(x)
    y = stock.Dropout(0.5, name="always")(y, training=True)
    y = stock.Dropout(0.5, name="never")(y, training=False)
    model = keras.Model(x, y)
    stripped, report = strip_dropout(model)
    assert report.stripped == {"never": "Identity"}
    assert "`stochastic_inference=True`" in report.skipped["mc"]
    assert "`training=True`" in report.skipped["always"]
    assert (predict(stripped, np.ones((100, 4))) == 0).any()


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Mine(stock.Dropout):
    """A subclass, which could do anything."""


def test_a_subclass_is_left_and_reported():
    body = stock.Dropout(0.5), Mine(0.5, name="mine"), stock.Dense(2)
    _, report = assert_stripped(model_of(VECTOR, *body), skipped={"mine"})
    assert "is a subclass" in report.skipped["mine"]


def test_a_model_with_nothing_to_strip_is_refused():
    with pytest.raises(ValueError, match=r"nothing to strip.*\n.*nothing that"):
        strip_dropout(model_of(VECTOR, stock.Dense(2)))
    model = model_of(VECTOR, layers.MCDropout(0.5, name="mc"), stock.Dense(2))
    with pytest.raises(ValueError, match="mc: MCDropout draws in predictions"):
        strip_dropout(model)


def test_the_file_can_be_read_without_kerasdrop(tmp_path):
    block = stock.Dense(4, activation="tanh")
    model = model_of(
        VECTOR,
        layers.StochasticDepth(block, 0.25),
        layers.ClassicDropout(0.5),
        stock.Dense(2),
    )
    path = tmp_path / "model.keras"
    stripped, _ = assert_stripped(model)
    stripped.save(path)
    output = helpers.run_python(
        "import sys, keras, numpy as np\n"
        f"model = keras.models.load_model({str(path)!r})\n"
        "print('kerasdrop' in sys.modules)\n"
        "print(*np.ravel(model.predict(np.ones((1, 4)), verbose=0)))"
    )
    found, *numbers = output.split()
    assert found == "False"
    expected = predict(model, np.ones((1, 4), "float32")).ravel()
    np.testing.assert_allclose(
        np.array(numbers, float), expected, rtol=2e-5, atol=1e-5
    )


def test_a_stripped_model_has_nothing_to_draw():
    model = model_of(VECTOR, stock.Dropout(0.5), stock.Dense(2))
    stripped, _ = assert_stripped(model)
    with pytest.raises(ValueError, match="no layer of .* can draw"):
        kerasdrop.mc_predict(stripped, np.ones((2, 4)), 4, verbose=0)

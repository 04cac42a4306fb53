"""LSTM, GRU, SimpleRNN, ConvLSTM and RNN: their masks, and their law."""

import functools
import json
import threading

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import schedules
from tests.support import helpers
from tests.support import known_masks
from tests.support import traced

BACKEND = keras.backend.backend()
ROWS, STEPS, FEATURES, UNITS = 4, 3, 3, 5
SEED = 7
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(ROWS, STEPS, FEATURES)).astype("float32")


numpy = ops.convert_to_numpy


def assert_close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# A step of each layer, in numpy: `x` and `h` are lists of what meets the kernel
# of each gate, `state` what is carried on.


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def products(gates, kernel):
    kernels = np.split(kernel, len(gates), axis=-1)
    return [gate @ part for gate, part in zip(gates, kernels)]


def simple_step(weights, x, h, state, c):
    kernel, recurrent_kernel, bias = weights
    return np.tanh(x[0] @ kernel + h[0] @ recurrent_kernel + bias), c


def lstm_step(weights, x, h, state, c):
    kernel, recurrent_kernel, bias = weights
    i, f, g, o = (
        sum(three)
        for three in zip(
            products(x, kernel),
            products(h, recurrent_kernel),
            np.split(bias, 4),
        )
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(weights, x, h, state, c, reset_after=True):
    kernel, recurrent_kernel, bias = weights
    if not reset_after:
        bias = np.stack([bias, np.zeros_like(bias)])
    x_z, x_r, x_n = products(x, kernel)
    b_z, b_r, b_n = np.split(bias[0], 3)
    c_z, c_r, c_n = np.split(bias[1], 3)
    h_z, h_r, h_n = products(h, recurrent_kernel)
    z = sigmoid(x_z + b_z + h_z + c_z)
    r = sigmoid(x_r + b_r + h_r + c_r)
    if reset_after:
        n = np.tanh(x_n + b_n + r * (h_n + c_n))
    else:
        u_n = np.split(recurrent_kernel, 3, axis=-1)[2]
        n = np.tanh(x_n + b_n + (r * h[2]) @ u_n)
    return z * state + (1.0 - z) * n, c


# Class, arguments, number of gates, step.
KINDS = {
    "LSTM": ("LSTM", {}, 4, lstm_step),
    "GRU": ("GRU", {}, 3, gru_step),
    "GRU, reset before": (
        "GRU",
        {"reset_after": False},
        3,
        functools.partial(gru_step, reset_after=False),
    ),
    "SimpleRNN": ("SimpleRNN", {}, 1, simple_step),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def layer_of(kind, *rates, **arguments):
    name, others, *_ = KINDS[kind]
    return getattr(layers, name)(
        UNITS,
        bias_initializer="random_normal",
        **dict(zip(("dropout", "recurrent_dropout"), rates)),
        **{"seed": SEED, "name": "rnn", "unroll": True, **others, **arguments},
    )


def factors(number, index, rate, size, gates, by_gate):
    """What the inputs, or the state, of each gate are multiplied by."""
    seed = known_masks.derived_seed(SEED, number)
    words = known_masks.words(seed, index, (ROWS, size * gates))
    drawn = known_masks.kept_array(words, rate) / (1.0 - rate)
    masks = np.split(drawn, gates, axis=-1)
    return masks if by_gate else [masks[0]] * gates


def reference(layer, kind, rates, index=0, by_gate=None, numbers=(0, 1)):
    """All outputs in training call `index`: `(rows, steps, units)`."""
    *_, gates, step = KINDS[kind]
    if by_gate is None:
        by_gate = rates[1] > 0.0
    of_inputs, of_state = (
        factors(number, index, rate, size, gates, by_gate)
        for number, rate, size in zip(numbers, rates, (FEATURES, UNITS))
    )
    h = c = np.zeros((ROWS, UNITS))
    outputs = []
    for t in range(STEPS):
        x = [INPUTS[:, t] * mask for mask in of_inputs]
        dropped = [h * mask for mask in of_state]
        h, c = step(layer.get_weights(), x, dropped, h, c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


# Values.


@kinds
@pytest.mark.parametrize("rates", [(0.3, 0.4), (0.3, 0.0), (0.0, 0.4)])
def test_training_follows_the_equations_under_the_known_masks(kind, rates):
    layer = layer_of(kind, *rates, return_sequences=True)
    for index in range(2):
        drawn = numpy(layer(INPUTS, training=True))
        assert_close(drawn, reference(layer, kind, rates, index))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_in_the_first_implementation_each_gate_has_a_mask_always(kind):
    layer = layer_of(kind, 0.3, return_sequences=True, implementation=1)
    drawn = numpy(layer(INPUTS, training=True))
    assert_close(drawn, reference(layer, kind, (0.3, 0.0), by_gate=True))
    again = type(layer).from_config(layer.get_config())
    assert again.cell.implementation == 1


def test_rates_are_live_in_a_compiled_function_without_a_retrace():
    compiled = layer_of("LSTM", 0.5, unroll=False, return_sequences=True)
    call = traced.Training(compiled, INPUTS)
    for index, rates in enumerate([(0.5, 0.0), (0.3, 0.4), (0.0, 0.25)]):
        compiled.dropout, compiled.recurrent_dropout = rates
        expected = reference(compiled, "LSTM", rates, index)
        assert_close(numpy(call(INPUTS)), expected)
    assert call.num_traces == 1


def test_a_rate_of_one_drops_all():
    layer = layer_of("GRU", 1.0, 1.0)
    x = np.zeros_like(INPUTS)
    np.testing.assert_array_equal(
        numpy(layer(INPUTS, training=True)), numpy(layer(x, training=True))
    )


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_predictions_are_those_of_keras_at_any_rates(name):
    plain = getattr(stock, name)(UNITS)
    ours = getattr(layers, name)(UNITS, dropout=0.3, recurrent_dropout=0.4)
    ours.build(INPUTS.shape)
    expected = numpy(plain(INPUTS))
    ours.set_weights(plain.get_weights())
    np.testing.assert_array_equal(numpy(ours(INPUTS)), expected)


def test_a_stateful_layer_goes_on_with_other_masks():
    layer = layer_of("SimpleRNN", 0.3, 0.4, stateful=True)
    other = layer_of("SimpleRNN", 0.3, 0.4)
    other.build(INPUTS.shape)
    state = None
    for _ in range(2):
        drawn = layer(INPUTS, training=True)
        other.set_weights(layer.get_weights()[:3])
        expected = other(INPUTS, initial_state=state, training=True)
        assert_close(numpy(drawn), numpy(expected))
        state = [expected]


# The law, against the layer of Keras.

SIX = INPUTS[:1, [0, 1, 2, 1, 0, 2]]
PADDING = np.array([[1, 1, 0, 1, 1, 1]], bool)
LAWS = {
    "inputs": {"dropout": 0.4},
    "inputs, first implementation": {"dropout": 0.4, "implementation": 1},
    "state": {"recurrent_dropout": 0.4},
    "both": {"dropout": 0.4, "recurrent_dropout": 0.3},
    "both, unrolled": {
        **{"dropout": 0.3, "recurrent_dropout": 0.4, "unroll": True},
    },
    "both, backwards": {
        **{"dropout": 0.3, "recurrent_dropout": 0.4, "go_backwards": True},
        "return_state": True,
    },
}


def draws_of(make, law, rows, weights=None):
    """Outputs of a training call on equal rows, `(rows, numbers)`."""
    arguments = dict(LAWS[law])
    if make.__module__.startswith("keras.") and "implementation" in arguments:
        # The kernels of Keras have no mask for each gate, and it fails.
        arguments["use_cudnn"] = False
    layer = make(UNITS, seed=1, return_sequences=True, **arguments)
    x = np.repeat(3.0 * SIX, rows, axis=0)
    layer.build(x.shape)
    if weights is not None:
        layer.set_weights(weights)
    padding = np.repeat(PADDING, rows, axis=0)
    drawn = layer(x, mask=padding, training=True)
    if isinstance(drawn, tuple):
        drawn = drawn[0]
    return layer.get_weights(), numpy(drawn).reshape(rows, -1)


@pytest.mark.skipif(BACKEND != "torch", reason="the law is the same on each")
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_the_law_is_that_of_keras(name, law):
    if name == "SimpleRNN" and "implementation" in LAWS[law]:
        pytest.skip("it has one implementation")
    weights, theirs = draws_of(getattr(stock, name), law, 10_000)
    _, ours = draws_of(getattr(layers, name), law, 10_000, weights)
    helpers.assert_same_moments(ours, theirs)
    # Which numbers move together: masks that are one for all gates or steps.
    for shift in (1, UNITS, 3 * UNITS):
        helpers.assert_same_moments(
            ours * np.roll(ours, shift, axis=1),
            theirs * np.roll(theirs, shift, axis=1),
        )


@pytest.mark.skipif(BACKEND != "torch", reason="the law is the same on each")
def test_the_law_of_convolutions_is_that_of_keras():
    rows, x = 4000, np.ones((1, 3, 4, 2), "float32")
    x = np.repeat(x * np.arange(1, 4)[:, None, None], rows, axis=0)
    arguments = {"padding": "same", "dropout": 0.4, "recurrent_dropout": 0.3}
    theirs = stock.ConvLSTM1D(2, 3, **arguments)
    ours = layers.ConvLSTM1D(2, 3, **arguments)
    drawn = numpy(theirs(x, training=True)).reshape(rows, -1)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    own = numpy(ours(x, training=True)).reshape(rows, -1)
    helpers.assert_same_moments(own, drawn)
    helpers.assert_same_moments(own * own[:, :1], drawn * drawn[:, :1])


# Rates, seeds, configurations.


def test_rates_are_those_of_layers_inside():
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES)), layers.GRU(UNITS, name="gru")]
    )
    layer = model.get_layer("gru")
    kerasdrop.set_rates(model, {"gru/recurrent_dropout": 0.25})
    assert (layer.dropout, layer.recurrent_dropout) == (0.0, 0.25)
    layer.dropout = 0.125
    assert kerasdrop.get_rates(model) == {
        "gru/dropout": 0.125,
        "gru/recurrent_dropout": 0.25,
    }
    kerasdrop.set_rates(model, 0.5, layers="gru")
    assert (layer.dropout, layer.recurrent_dropout) == (0.5, 0.5)


def test_a_rate_may_be_a_schedule():
    ramp = schedules.Linear(0.0, 0.5, num_steps=2)
    layer = layer_of("SimpleRNN", 0.25, ramp, return_sequences=True)
    for index, rate in enumerate((0.0, 0.25, 0.5)):
        assert layer.recurrent_dropout == rate
        drawn = numpy(layer(INPUTS, training=True))
        expected = reference(layer, "SimpleRNN", (0.25, rate), index)
        assert_close(drawn, expected)
    again = layers.SimpleRNN.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_none_is_no_rate():
    layer = layer_of("LSTM", 0.3, None, return_sequences=True)
    drawn = numpy(layer(INPUTS, training=True))
    assert_close(drawn, reference(layer, "LSTM", (0.3, 0.0)))
    assert layer.recurrent_dropout is None
    with pytest.raises(ValueError, match="made with `recurrent_dropout=None`"):
        layer.recurrent_dropout = 0.5
    with pytest.raises(ValueError, match=r"at least one.*use `keras.layers.L"):
        layer_of("LSTM", None, None)


@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout"])
def test_a_wrong_rate_is_told_by_the_layer_that_got_it(rate):
    told = rf"Layer 'words' \(LSTM\): argument `{rate}` .*{rate}=1.5"
    with pytest.raises(ValueError, match=told):
        layers.LSTM(2, name="words", **{rate: 1.5})
    layer = layers.LSTM(2, name="words", **{rate: 0.5})
    with pytest.raises(ValueError, match=told):
        setattr(layer, rate, 1.5)
    assert getattr(layer, rate) == 0.5


def test_the_dropout_inside_is_listed_and_not_its_cell():
    model = keras.Sequential([keras.Input((3, 2)), layers.GRU(2, name="gru")])
    found = [(one.path, one.why) for one in kerasdrop.inspect(model).layers]
    assert found == [
        (f"gru/{name}", "no: its rate is 0")
        for name in ("dropout", "recurrent_dropout")
    ]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "ConvLSTM1D"])
def test_a_wrong_seed_is_told_before_there_is_a_layer(name):
    cls = getattr(layers, name)
    sizes = (2, 3) if name == "ConvLSTM1D" else (2,)
    with pytest.raises(ValueError, match=f"{name}: argument `seed` must be"):
        cls(*sizes, dropout=0.1, seed="a")


def test_cudnn_is_not_promised_where_it_has_no_masks():
    layer = layer_of("LSTM", 0.3, 0.2, use_cudnn=True, unroll=False)
    with pytest.raises(ValueError, match="cuDNN supports neither masks"):
        layer(INPUTS, training=True)


def test_a_config_comes_back_through_json_with_the_rates_of_now():
    layer = layer_of("GRU", 0.5, 0.5, go_backwards=True, use_cudnn=False)
    layer.dropout = 0.125
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()
    assert (again.dropout, again.use_cudnn) == (0.125, False)


def test_what_follows_an_unseeded_layer_is_what_follows_that_of_keras():
    made = []
    for of in (stock, layers):
        keras.utils.set_random_seed(3)
        cls = of.LSTM
        model = [cls(UNITS, dropout=0.5), cls(UNITS, dropout=0.5)]
        dense = stock.Dense(2)
        dense.build((None, UNITS))
        made.append((model, numpy(dense.kernel)))
    np.testing.assert_array_equal(made[0][1], made[1][1])
    one, other = made[1][0]
    one.build(INPUTS.shape)
    other.build(INPUTS.shape)
    other.set_weights(one.get_weights())
    drawn = numpy(one(INPUTS, training=True))
    assert (drawn != numpy(other(INPUTS, training=True))).any()
    keras.utils.set_random_seed(3)
    again = layers.LSTM(UNITS, dropout=0.5)
    again.build(INPUTS.shape)
    again.set_weights(one.get_weights())
    np.testing.assert_array_equal(numpy(again(INPUTS, training=True)), drawn)


# RNN.


def test_a_stack_of_cells_has_masks_for_each():
    cells = [
        stock.SimpleRNNCell(UNITS, dropout=0.3, bias_initializer="ones"),
        stock.GRUCell(UNITS, recurrent_dropout=0.4, name="second"),
    ]
    layer = layers.RNN(cells, return_sequences=True, seed=SEED, unroll=True)
    drawn = numpy(layer(INPUTS, training=True))
    weights = layer.get_weights()
    x = factors(0, 0, 0.3, FEATURES, 1, True)[0]
    h_masks = factors(3, 0, 0.4, UNITS, 3, True)
    first = second = np.zeros((ROWS, UNITS))
    for t in range(STEPS):
        first, _ = simple_step(
            weights[:3], [INPUTS[:, t] * x], [first], first, None
        )
        dropped = [second * mask for mask in h_masks]
        second, _ = gru_step(weights[3:], [first] * 3, dropped, second, None)
        assert_close(drawn[:, t], second)
    assert kerasdrop.get_rates(layer)["second_recurrent_dropout"] == 0.4
    again = layers.RNN.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_a_cell_hands_its_rates_and_its_seed_over():
    cell = stock.LSTMCell(UNITS, dropout=0.3, recurrent_dropout=0.4, seed=SEED)
    layer = layers.RNN(cell, return_sequences=True, unroll=True)
    drawn = numpy(layer(INPUTS, training=True))
    assert_close(drawn, reference(layer, "LSTM", (0.3, 0.4)))
    assert cell.dropout == cell.recurrent_dropout == 0.0
    with pytest.raises(ValueError, match="another layer took the rates"):
        layers.RNN(cell)
    own = layers.RNN(cell, dropout=0.2, recurrent_dropout=0.0)
    assert kerasdrop.get_rates(own) == {
        "dropout": 0.2,
        "recurrent_dropout": 0.0,
    }


def test_a_cell_whose_masks_are_not_known_is_refused():
    class Own(stock.GRUCell):
        pass

    with pytest.raises(ValueError, match="not a subclass.*use `keras.layers.R"):
        layers.RNN(Own(2, dropout=0.5))
    with pytest.raises(ValueError, match="one for each of the 2 cells"):
        layers.RNN([stock.GRUCell(2), stock.GRUCell(2)], dropout=[0.5])


# Models, threads, Monte Carlo.


def test_predictions_are_undisturbed_by_a_thread_that_trains():
    layer = layer_of("LSTM", 0.5, 0.5)
    expected = numpy(layer(INPUTS))
    seen = []
    stop = threading.Event()

    def train():
        while not stop.is_set():
            layer(INPUTS, training=True)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(20):
            seen.append(numpy(layer(INPUTS)))
    finally:
        stop.set()
        thread.join()
    for drawn in seen:
        np.testing.assert_array_equal(drawn, expected)


def test_monte_carlo_has_the_moments_of_training():
    """Self-checked; in `Bidirectional`, and at a rate that is given."""
    inner = layers.LSTM(UNITS, dropout=0.4, recurrent_dropout=0.3, seed=2)
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES)), stock.Bidirectional(inner)]
    )
    rows = 4000
    x = np.repeat(INPUTS[:1], rows, axis=0)
    layer = model.layers[0]
    trained = numpy(layer(x, training=True))
    predictive = kerasdrop.mc_predict(
        model, x[:250], num_samples=16, kind="regression", verbose=0
    )
    samples = kerasdrop.MonteCarlo(
        model, 16, kind="regression", keep_samples=True, plan="independent"
    )(x[:250])["samples"]
    samples = numpy(samples).reshape(rows, -1)
    helpers.assert_same_moments(samples, trained)
    assert (predictive.std > 0.0).all()
    drawn = kerasdrop.mc_predict(
        model,
        INPUTS,
        kind="regression",
        layers=[f"*forward_{inner.name}/dropout"],
        rate=0.3,
        verbose=0,
    )
    assert (drawn.std[:, :UNITS] > 0.0).all()
    assert (drawn.std[:, UNITS:] == 0.0).all()
    assert layer.forward_layer.dropout == 0.4

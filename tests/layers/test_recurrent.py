"""DropoutRNN against its equations, and against `keras.layers.RNN`."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import schedules
from kerasdrop.layers import DropoutRNN
from kerasdrop.layers import LockedDropout
from tests.support import known_masks
from tests.support import traced

BACKEND = keras.backend.backend()
ROWS, STEPS, FEATURES, UNITS = 4, 4, 3, 6
SEED = 7
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(ROWS, STEPS, FEATURES)).astype("float32")
RATES = {"input_rate": 0.3, "recurrent_rate": 0.4, "output_rate": 0.25}
NAMES = {
    "input_rate": "rnn/input_dropout",
    "recurrent_rate": "rnn/recurrent_dropout",
    "output_rate": "rnn/output_dropout",
}


numpy = ops.convert_to_numpy


def assert_close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# A step of each cell, in numpy: `h` is what is carried on, `noisy` what meets
# the kernels.


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def simple_step(weights, x, noisy, h, c):
    kernel, recurrent_kernel, bias = weights
    new = np.tanh(x @ kernel + noisy @ recurrent_kernel + bias)
    return new, c


def lstm_step(weights, x, noisy, h, c):
    kernel, recurrent_kernel, bias = weights
    gates = x @ kernel + noisy @ recurrent_kernel + bias
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(weights, x, noisy, h, c, reset_after=True):
    kernel, recurrent_kernel, *biases = weights
    bias = biases[0] if biases else np.zeros((2, 3 * UNITS))
    if not reset_after:
        bias = np.stack([bias, np.zeros_like(bias)])
    x_z, x_r, x_n = np.split(x @ kernel + bias[0], 3, axis=-1)
    u_z, u_r, u_n = np.split(recurrent_kernel, 3, axis=-1)
    b_z, b_r, b_n = np.split(bias[1], 3)
    z = sigmoid(x_z + noisy @ u_z + b_z)
    r = sigmoid(x_r + noisy @ u_r + b_r)
    if reset_after:
        n = np.tanh(x_n + r * (noisy @ u_n + b_n))
    else:
        n = np.tanh(x_n + (r * noisy) @ u_n)
    return z * h + (1.0 - z) * n, c


gru_reset_before = functools.partial(gru_step, reset_after=False)

CELLS = {
    "simple": (stock.SimpleRNNCell, {}, simple_step),
    "lstm": (stock.LSTMCell, {}, lstm_step),
    "gru": (stock.GRUCell, {}, gru_step),
    "gru, reset before": (
        stock.GRUCell,
        {"reset_after": False},
        gru_reset_before,
    ),
    "gru, no bias": (stock.GRUCell, {"use_bias": False}, gru_step),
}
cells = pytest.mark.parametrize("name", CELLS)
both_ways = pytest.mark.parametrize("name", ["lstm", "gru"])


def cell_of(name):
    cls, arguments, _ = CELLS[name]
    if arguments.get("use_bias", True):
        arguments = {**arguments, "bias_initializer": "random_normal"}
    return cls(UNITS, **arguments)


def layer_of(name="simple", rates=RATES, **arguments):
    arguments = {"seed": SEED, "name": "rnn", **arguments}
    return DropoutRNN(cell_of(name), **rates, **arguments)


def factors(words, rate):
    """What a unit is multiplied by."""
    return known_masks.kept_array(words, rate) / (1.0 - rate)


def training_factors(index=0, rates=RATES):
    """Those of inputs, state and outputs in training call `index`."""
    sizes = (FEATURES, UNITS, UNITS)
    return [
        factors(
            known_masks.words(
                known_masks.derived_seed(SEED, number), index, (ROWS, size)
            ),
            rate,
        )
        for number, (rate, size) in enumerate(zip(rates.values(), sizes))
    ]


def reference(name, weights, noise, x=INPUTS, padding=None, h=0.0, c=0.0):
    """All outputs `(rows, steps, units)`, and the last states."""
    step = CELLS[name][-1]
    h, c = np.zeros((2, len(x), UNITS)) + np.stack([h, c])[:, None, None]
    output = np.zeros_like(h)
    outputs = []
    for t in range(x.shape[1]):
        new_h, new_c = step(weights, x[:, t] * noise[0], h * noise[1], h, c)
        real = np.ones((len(x), 1)) if padding is None else padding[:, t, None]
        h, c = np.where(real, new_h, h), np.where(real, new_c, c)
        output = np.where(real, new_h * noise[2], output)
        outputs.append(output)
    return np.stack(outputs, axis=1), [h, c]


# Values.


@cells
def test_training_follows_the_equations_under_the_known_masks(name):
    layer = layer_of(name, return_sequences=True)
    for index in range(2):
        drawn = numpy(layer(INPUTS, training=True))
        noise = training_factors(index)
        expected, _ = reference(name, layer.get_weights(), noise)
        assert_close(drawn, expected)


def test_an_unrolled_loop_computes_the_same():
    layer = layer_of("gru", return_sequences=True, unroll=True)
    drawn = numpy(layer(INPUTS, training=True))
    noise = training_factors()
    assert_close(drawn, reference("gru", layer.get_weights(), noise)[0])


@both_ways
def test_without_training_it_is_the_layer_of_keras(name):
    layer = layer_of(name, return_sequences=True)
    plain = stock.RNN(layer.cell, return_sequences=True)
    np.testing.assert_array_equal(numpy(layer(INPUTS)), numpy(plain(INPUTS)))


def test_the_last_output_is_dropped_as_all_are():
    layer, whole = layer_of(), layer_of(return_sequences=True)
    whole.build(INPUTS.shape)
    last = numpy(layer(INPUTS, training=True))
    whole.set_weights(layer.get_weights())
    assert_close(last, numpy(whole(INPUTS, training=True))[:, -1])


def test_states_are_handed_out_and_taken_in_undropped():
    layer = layer_of("lstm", return_state=True)
    states = [np.full((ROWS, UNITS), value, "float32") for value in (1, 2)]
    output, h, c = layer(INPUTS, initial_state=states, training=True)
    noise = training_factors()
    expected, (last_h, last_c) = reference(
        "lstm", layer.get_weights(), noise, h=1.0, c=2.0
    )
    assert_close(numpy(output), expected[:, -1])
    assert_close(numpy(h), last_h)
    assert_close(numpy(c), last_c)


@both_ways
def test_a_padded_step_changes_nothing(name):
    padding = np.ones((ROWS, STEPS), bool)
    padding[1, 2:] = padding[2, 3:] = False
    layer = layer_of(name, return_sequences=True)
    drawn = numpy(layer(INPUTS, mask=padding, training=True))
    expected, _ = reference(
        name, layer.get_weights(), training_factors(), padding=padding
    )
    assert_close(drawn, expected)


def test_it_may_go_backwards():
    layer = layer_of("lstm", return_sequences=True, go_backwards=True)
    drawn = numpy(layer(INPUTS, training=True))
    noise = training_factors()
    backwards = INPUTS[:, ::-1]
    expected, _ = reference("lstm", layer.get_weights(), noise, backwards)
    assert_close(drawn, expected)


def test_a_stateful_layer_goes_on_where_it_was_with_other_masks():
    layer = layer_of("gru", return_sequences=True, stateful=True)
    h = 0.0
    for index in range(2):
        drawn = numpy(layer(INPUTS, training=True))
        noise = training_factors(index)
        weights = layer.get_weights()
        x = INPUTS
        expected = []
        for t in range(STEPS):
            carried = np.zeros((ROWS, UNITS)) + h
            h, _ = gru_step(
                weights, x[:, t] * noise[0], carried * noise[1], carried, None
            )
            expected.append(h * noise[2])
        assert_close(drawn, np.stack(expected, axis=1))


def test_what_a_gru_carries_on_is_not_divided_by_what_is_kept():
    """An update gate that is open lets the state through, 60 times."""
    layer = layer_of("gru", {"recurrent_rate": 0.5}, return_sequences=True)
    x = np.zeros((ROWS, 60, FEATURES), "float32")
    layer.build(x.shape)
    kernel, recurrent_kernel, bias = layer.get_weights()
    bias = np.zeros_like(bias)
    bias[0, :UNITS] = 100.0
    layer.set_weights([kernel, recurrent_kernel, bias])
    state = np.ones((ROWS, UNITS), "float32")
    outputs = layer(x, initial_state=state, training=True)
    assert_close(numpy(outputs), 1.0)


class Cell(keras.layers.Layer):
    """A cell of a user: `y = h = 2 x + h`, without an argument `training`."""

    state_size = output_size = FEATURES

    def call(self, inputs, states):
        h = 2.0 * inputs + states[0]
        return h, [h]


def test_of_another_cell_the_state_is_dropped_where_it_enters():
    layer = DropoutRNN(Cell(), recurrent_rate=0.5, seed=SEED)
    words = known_masks.words(
        known_masks.derived_seed(SEED, 1), 0, (ROWS, FEATURES)
    )
    expected = 0.0
    for t in range(STEPS):
        expected = 2.0 * INPUTS[:, t] + expected * factors(words, 0.5)
    assert_close(numpy(layer(INPUTS, training=True)), expected)


def test_a_rate_of_none_makes_no_dropout():
    for name in RATES:
        layer = layer_of(rates={name: 0.5})
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer])
        assert kerasdrop.get_rates(model) == {NAMES[name]: 0.5}
        drawn = numpy(layer(INPUTS, training=True))
        assert (drawn != numpy(layer(INPUTS))).any()


@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_gradients_are_finite(rate):
    layer = layer_of("gru", dict.fromkeys(RATES, rate))
    gradient = traced.gradient(layer, INPUTS)
    assert np.isfinite(gradient).all()
    assert (gradient == 0.0).all() == (rate == 1.0)


# Rates.


def test_rates_are_live_in_a_compiled_function_without_a_retrace():
    name = "lstm"
    compiled = layer_of(name)
    call = traced.Training(compiled, INPUTS)
    for index, rate in enumerate((0.5, 0.0, 0.25)):
        rates = dict.fromkeys(RATES, rate)
        kerasdrop.set_rates(compiled, rate)
        noise = training_factors(index, rates)
        expected, _ = reference(name, compiled.get_weights(), noise)
        assert_close(numpy(call(INPUTS)), expected[:, -1])
    assert call.num_traces == 1


def test_a_rate_may_be_a_schedule():
    ramp = schedules.Linear(0.0, 0.5, num_steps=2)
    layer = layer_of(rates={"recurrent_rate": ramp})
    for rate in (0.0, 0.25, 0.5):
        assert layer.recurrent_dropout.rate == rate
        layer(INPUTS, training=True)
    again = DropoutRNN.from_config(layer.get_config())
    assert again.recurrent_dropout.schedule.get_config() == ramp.get_config()


# Configurations, files, policies.


def test_a_config_comes_back_through_json_with_the_rates_of_now():
    layer = layer_of("gru", return_sequences=True, go_backwards=True)
    layer.output_dropout.rate = 0.125
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()
    assert again.output_dropout.rate == 0.125


def model_of(layer):
    return keras.Sequential(
        [keras.Input((STEPS, FEATURES)), layer, stock.Dense(1, name="dense")]
    )


def test_a_file_brings_back_rates_and_masks(tmp_path):
    model = model_of(layer_of("lstm", seed=None))
    layer = model.get_layer("rnn")
    layer(INPUTS, training=True)
    kerasdrop.set_rates(model, 0.35)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert kerasdrop.get_rates(loaded) == dict.fromkeys(NAMES.values(), 0.35)
    again = loaded.get_layer("rnn")
    assert_close(
        numpy(again(INPUTS, training=True)), numpy(layer(INPUTS, training=True))
    )


def test_weights_are_those_of_the_stock_layer():
    theirs, ours = stock.RNN(cell_of("lstm")), layer_of("lstm")
    theirs.build(INPUTS.shape)
    ours.build(INPUTS.shape)
    ours.set_weights(theirs.get_weights())
    assert_close(numpy(ours(INPUTS)), numpy(theirs(INPUTS)))


@pytest.mark.parametrize(
    ("name", "of_cell"),
    [("lstm", "mixed_bfloat16"), ("gru", "float32")],
)
def test_it_computes_in_its_dtype_and_its_cell_in_that_of_the_cell(
    name, of_cell
):
    exact = layer_of(name)
    exact.build(INPUTS.shape)
    cell = type(exact.cell)(UNITS, dtype=of_cell)
    layer = DropoutRNN(cell, **RATES, seed=SEED, dtype="mixed_bfloat16")
    layer.build(INPUTS.shape)
    layer.set_weights(exact.get_weights())
    drawn = layer(INPUTS, training=True)
    dtype = keras.backend.standardize_dtype(drawn.dtype)
    assert dtype == "bfloat16"
    expected = numpy(exact(INPUTS, training=True))
    drawn = numpy(ops.cast(drawn, "float32"))
    # Some roundings to 8 bits, of numbers around 1, in each step.
    np.testing.assert_allclose(drawn, expected, atol=0.03)
    assert np.abs(expected).max() > 0.1


# Models.


def test_inputs_of_it_are_those_of_locked_dropout():
    rates = {"input_rate": 0.5}
    layer = layer_of("lstm", rates)
    locked = LockedDropout(0.5, seed=known_masks.derived_seed(SEED, 0))
    plain = stock.RNN(layer.cell)
    expected = plain(locked(INPUTS, training=True))
    assert_close(numpy(layer(INPUTS, training=True)), numpy(expected))


def test_a_bidirectional_layer_trains_compiled_and_is_predicted():
    model = model_of(
        stock.Bidirectional(layer_of("gru", seed=None), name="both")
    )
    model.compile("sgd", "mse", jit_compile=BACKEND != "torch")
    history = model.fit(INPUTS, np.ones((ROWS, 1)), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    rates = kerasdrop.get_rates(model)
    assert set(rates) == {
        f"both/{way}_{path}"
        for way in ("forward", "backward")
        for path in NAMES.values()
    }
    for way in (
        model.layers[0].forward_layer,
        model.layers[0].backward_layer,
    ):
        assert way.recurrent_dropout.step == 2
    result = kerasdrop.mc_predict(model, INPUTS, 16, seed=0, verbose=0)
    assert (result.variance > 0.0).all()


@both_ways
def test_monte_carlo_samples_are_those_of_the_equations(name):
    layer = layer_of(name, return_sequences=True)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer])
    result = kerasdrop.mc_predict(
        model,
        INPUTS,
        3,
        seed=5,
        plan="independent",
        keep_samples=True,
        verbose=0,
    )
    key = known_masks.key_of_seed(5)
    sizes = (FEATURES, UNITS, UNITS)
    for sample in range(3):
        noise = [
            factors(
                known_masks.words_of_key(
                    # Before them, the model has the cell.
                    known_masks.derived_key(key, 1 + number),
                    sample,
                    (ROWS, size),
                ),
                rate,
            )
            for number, (rate, size) in enumerate(zip(RATES.values(), sizes))
        ]
        expected, _ = reference(name, layer.get_weights(), noise)
        assert_close(result.samples[:, sample], expected)
    assert layer.input_dropout.step == 0


def test_inspect_lists_the_three():
    listed = kerasdrop.inspect(model_of(layer_of("lstm"))).layers
    drawn = {one.path: one.rate for one in listed if one.is_drawn}
    expected = zip(NAMES.values(), RATES.values())
    assert drawn == pytest.approx(dict(expected))


# Mistakes.


class OwnGRUCell(stock.GRUCell):
    pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": [stock.LSTMCell(2)]}, "stack layers, each with masks of"),
        (
            {"cell": stock.LSTMCell(2, dropout=0.5)},
            "Make it without.*LSTMCell with dropout=0.5, recurrent_dropout=0.0",
        ),
        ({"cell": OwnGRUCell(2)}, "Leave `recurrent_rate` out. Received: cell"),
        ({"recurrent_rate": None}, "at least one of `input_rate`.*None for al"),
        ({"recurrent_rate": 1.5}, r"'recurrent_dropout'.*must be in \[0, 1\]"),
        ({"seed": 0.5}, "argument `seed` must be an integer"),
        ({"stochastic_inference": 1}, "`stochastic_inference` must be True"),
    ],
)
def test_mistakes_are_refused(arguments, message):
    arguments = {
        "cell": stock.LSTMCell(2),
        "recurrent_rate": 0.5,
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        DropoutRNN(**arguments)


def test_a_cell_that_is_no_layer_is_refused():
    class NoLayer:
        state_size = 2

        def call(self, inputs, states):
            return inputs, states

    with pytest.raises(ValueError, match="must be a Keras layer"):
        DropoutRNN(NoLayer(), 0.5)


def test_a_gru_cell_of_a_user_may_have_its_inputs_dropped():
    drawn = DropoutRNN(OwnGRUCell(2), input_rate=0.5)(INPUTS, training=True)
    assert np.isfinite(numpy(drawn)).all()

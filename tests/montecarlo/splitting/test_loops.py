"""Layers that draw inside loops: anew at each step, or refused by name.

On inputs of ones a cell that adds up what it drops has the law of a sum of
independent terms: 0 or 2 each, so mean and variance are the number of steps.
One mask for all steps would have that number squared.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support.helpers import assert_mean
from tests.support.helpers import assert_proportion

IS_TRACED = keras.backend.backend() != "torch"
STEPS = 5
ROWS = 200


class Adding(layers.Layer):
    """A cell: the state plus the dropped inputs."""

    state_size = output_size = 1

    def __init__(self, dropout=None, **kwargs):
        super().__init__(**kwargs)
        self.dropout_layer = dropout or layers.Dropout(0.5)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, states, training=None):
        state = states[0] + self.dropout_layer(inputs, training=training)
        return state, [state]

    def get_config(self):  # of a cell with stock dropout
        return layers.Layer.get_config(self)


class Silent(Adding):
    """The same, without the argument `training`."""

    def call(self, inputs, states):
        state = states[0] + self.dropout_layer(inputs)
        return state, [state]


def sampled(model, x, num_samples=16, **kwargs):
    """`(rows, samples, ...)`, independent."""
    settings = {
        "seed": 0,
        "plan": "independent",
        "kind": "regression",
        "keep_samples": True,
        "batch_size": len(x),
        "verbose": 0,
    }
    return kerasdrop.mc_predict(
        model, x, num_samples, **{**settings, **kwargs}
    ).samples


def ones(steps=STEPS, rows=ROWS, features=1):
    return np.ones((rows, steps, features), "float32")


def recurrent(layer, steps=STEPS, features=1):
    x = keras.Input((steps, features))
    return keras.Model(x, layer(x))


def assert_sum_of_steps(samples, steps):
    """Sums of `steps` independent numbers that are 0 or 2, half each."""
    terms = samples / 2.0
    assert np.isin(terms, np.arange(steps + 1)).all()
    assert_mean(terms, steps / 2, (steps / 4) ** 0.5)
    # The fourth central moment of a binomial distribution at 1/2.
    variance, fourth = steps / 4, (3 * steps**2 - 2 * steps) / 16
    squares = (terms - steps / 2) ** 2
    assert_mean(squares, variance, (fourth - variance**2) ** 0.5)


CELLS = {
    "stock dropout": lambda: layers.RNN(Adding()),
    "our dropout": lambda: layers.RNN(Adding(kerasdrop.layers.Dropout(0.5))),
    "a cell without training": lambda: layers.RNN(Silent()),
    "backwards": lambda: layers.RNN(Adding(), go_backwards=True),
    "unrolled": lambda: layers.RNN(Adding(), unroll=True),
    "a stack of one": lambda: layers.RNN([Adding()]),
    "DropoutRNN": lambda: kerasdrop.layers.DropoutRNN(Adding(), 0.0),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_ones_own_draws_at_each_step(name):
    samples = sampled(recurrent(CELLS[name]()), ones())
    assert_sum_of_steps(samples, STEPS)


def test_unrolled_or_not_the_numbers_are_the_same():
    cell = Adding()
    loops = [layers.RNN(cell, unroll=unroll) for unroll in (False, True)]
    x = ones(rows=4)
    one, other = (sampled(recurrent(loop), x, 8) for loop in loops)
    np.testing.assert_array_equal(one, other)


def test_steps_rows_samples_and_calls_are_independent():
    loop = layers.RNN(Adding(), return_sequences=True)
    x = keras.Input((STEPS, 1))
    model = keras.Model(x, ops.stack([loop(x), loop(x)], axis=1))
    samples = sampled(model, ones(rows=60), 40)

    kept = np.diff(samples, axis=3, prepend=0.0)[..., 0] / 2.0
    kept = kept.reshape(-1, 2 * STEPS)
    assert np.isin(kept, (0.0, 1.0)).all()
    for one in range(2 * STEPS):
        assert_proportion(kept[:, one] == 1.0, 0.5)
        for other in range(one):
            assert_proportion(kept[:, one] == kept[:, other], 0.5)


def test_a_bidirectional_layer_draws_at_each_step_both_ways():
    class Configured(Adding):
        def get_config(self):
            return {"dtype": "float32"}

    with keras.utils.custom_object_scope({"Configured": Configured}):
        loop = layers.Bidirectional(layers.RNN(Configured()))
        model = recurrent(loop)
    samples = sampled(model, ones())
    assert_sum_of_steps(samples, STEPS)
    product = (samples[..., 0] - STEPS) * (samples[..., 1] - STEPS)
    assert_mean(product, 0.0, STEPS)


def test_the_length_may_differ_from_call_to_call():
    predictive = kerasdrop.MonteCarlo(
        recurrent(layers.RNN(Adding()), steps=None),
        16,
        seed=1,
        plan="independent",
        kind="regression",
        keep_samples=True,
    )
    for steps in (3, 7, 3):
        x = ones(steps)
        result = predictive.predict(x, batch_size=ROWS, verbose=0)
        assert_sum_of_steps(result["samples"], steps)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_steps_are_told_apart_in_any_dtype(policy):
    """Of 300 steps: numbers that these dtypes cannot hold."""
    cell = Last(layers.Dropout(0.5, dtype=policy), dtype=policy)
    loop = layers.RNN(cell, return_sequences=True, dtype=policy)
    samples = sampled(recurrent(loop, 300), ones(300, rows=10), 4)
    kept = samples.reshape(-1, 300) > 0.0
    for shift in (1, 128, 256):
        assert_proportion(kept[:, shift:] == kept[:, :-shift], 0.5)


class Last(Adding):
    """A cell whose state is the dropped input."""

    def call(self, inputs, states, training=None):
        state = self.dropout_layer(inputs, training=training)
        return state, [state]


class Wide(Last):
    state_size = output_size = 6


def test_integer_inputs_stay_what_they_are():
    class Embedded(Adding):
        def call(self, inputs, states, training=None):
            x = ops.cast(inputs, "float32")
            return super().call(x, states, training=training)

    x = keras.Input((STEPS, 1), dtype="int32")
    model = keras.Model(x, layers.RNN(Embedded())(x))
    samples = sampled(model, np.ones((ROWS, STEPS, 1), "int32"))
    assert_sum_of_steps(samples, STEPS)


def test_padded_steps_count_for_nothing_and_rows_do_not_see_each_other():
    x = keras.Input((6, 1))
    model = keras.Model(x, layers.RNN(Adding())(layers.Masking()(x)))
    steps = np.arange(6)[None, :, None]
    left, right = (steps >= 4) * np.ones((50, 1, 1)), steps < 3
    x = np.concatenate([left, right * np.ones((50, 1, 1))]).astype("float32")

    samples = sampled(model, x, 40)
    assert_sum_of_steps(samples[:50], 2)
    assert_sum_of_steps(samples[50:], 3)
    # Steps 4 and 5 of the upper rows, and none of the lower ones.
    alone = sampled(model, x[:50], 40)
    np.testing.assert_array_equal(alone, samples[:50])


def test_a_loop_in_a_loop_draws_at_each_step_of_both():
    class Outer(layers.Layer):
        state_size = output_size = 1

        def __init__(self):
            super().__init__()
            self.inner = layers.RNN(Adding())

        def build(self, input_shape):
            self.inner.build((None, 3, 1))
            self.built = True

        def call(self, inputs, states, training=None):
            parts = ops.reshape(inputs, (-1, 3, 1))
            state = states[0] + self.inner(parts, training=training)
            return state, [state]

    model = recurrent(layers.RNN(Outer()), 4, features=3)
    samples = sampled(model, ones(4, features=3))
    assert_sum_of_steps(samples, 12)


def test_stock_cells_keep_their_mask_wherever_they_stand():
    """Around a stock cell of the identity, outputs are the dropped inputs."""

    class Around(layers.Layer):
        def __init__(self, cell):
            super().__init__()
            self.cell = cell
            self.state_size = self.output_size = cell.state_size

        def build(self, input_shape):
            self.cell.build(input_shape)
            self.built = True

        def call(self, inputs, states, training=None):
            return self.cell(inputs, states, training=training)

    def kept_by(wrap):
        cell = layers.SimpleRNNCell(
            6,
            activation=None,
            dropout=0.5,
            kernel_initializer="identity",
            recurrent_initializer="zeros",
            use_bias=False,
        )
        loop = layers.RNN(wrap(cell), return_sequences=True)
        return sampled(recurrent(loop, features=6), ones(features=6)) > 0.0

    kept = kept_by(Around)
    assert_proportion(kept[:, :, 0], 0.5)
    assert (kept == kept[:, :, :1]).all()
    # Where the mask of the sequence keeps, the first cell's decides.
    for kept in (
        kept_by(lambda cell: [Wide(), cell]),
        kept_by(lambda cell: [Wide(), Around(cell)]),
    ):
        assert_proportion(kept[:, :, 0], 0.25)
        assert_proportion(kept.any(axis=2), 0.5 * (1 - 0.5**STEPS))


@pytest.mark.parametrize("steps", [STEPS, None])
def test_what_is_distributed_over_time_draws_at_each_step(steps):
    x = keras.Input((steps, 1))
    dropped = layers.TimeDistributed(layers.Dropout(0.5))(x)
    model = keras.Model(x, ops.sum(dropped, axis=1))
    predictive = kerasdrop.MonteCarlo(
        model,
        16,
        seed=1,
        plan="independent",
        kind="regression",
        keep_samples=True,
    )
    for length in (STEPS, 7, STEPS) if steps is None else (STEPS,):
        result = predictive.predict(ones(length), batch_size=ROWS, verbose=0)
        assert_sum_of_steps(result["samples"], length)


class Looping(layers.Layer):
    """Adds up its dropped steps by an operation of Keras."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.dropout = layers.Dropout(0.5)

    def call(self, inputs):
        x = ops.transpose(inputs, (1, 0, 2))
        if self.how == "scan":
            zeros = ops.zeros_like(x[0])
            return ops.scan(
                lambda s, step: (s + self.dropout(step), s), zeros, x
            )[0]
        if self.how == "map":
            return ops.sum(ops.map(self.dropout, x), axis=0)
        if self.how == "vectorized_map":
            return ops.sum(ops.vectorized_map(self.dropout, x), axis=0)
        if self.how == "fori_loop":
            return ops.fori_loop(
                0,
                STEPS,
                lambda _, state: state + self.dropout(x[0]),
                ops.zeros_like(x[0]),
            )
        return ops.while_loop(
            lambda number, _: number < STEPS,
            lambda number, state: (number + 1, state + self.dropout(x[0])),
            (ops.zeros((), "int32"), ops.zeros_like(x[0])),
        )[1]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])


@pytest.mark.parametrize(
    "how", ["scan", "map", "vectorized_map", "fori_loop", "while_loop"]
)
def test_in_a_loop_of_operations_each_step_draws_or_it_is_refused(how):
    model = recurrent(Looping(how))
    before = model.predict(ones(), verbose=0)
    if IS_TRACED or how == "vectorized_map":
        with pytest.raises(
            ValueError,
            match=r"'looping[_\d]*/dropout[_\d]*' \(keras.layers.Dropout\) .* "
            "draws inside a loop",
        ):
            sampled(model, ones())
    else:
        assert_sum_of_steps(sampled(model, ones()), STEPS)
    np.testing.assert_array_equal(model.predict(ones(), verbose=0), before)


@pytest.mark.parametrize("unroll", [False, True])
def test_a_loop_of_ones_own_draws_at_each_step_or_is_refused(unroll):
    class Own(layers.RNN):
        def inner_loop(self, sequences, initial_state, mask, training=False):
            return super().inner_loop(
                sequences, initial_state, mask=mask, training=training
            )

    model = recurrent(Own(Adding(), unroll=unroll))
    if IS_TRACED and not unroll:
        with pytest.raises(ValueError, match="draws inside a loop"):
            sampled(model, ones())
    else:
        assert_sum_of_steps(sampled(model, ones()), STEPS)


def test_a_branch_and_a_loop_of_python_draw():
    class Branching(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dropout = layers.Dropout(0.5)

        def call(self, inputs):
            return ops.cond(
                ops.sum(inputs) > 0.0,
                lambda: sum(self.dropout(inputs)[:, i] for i in range(STEPS)),
                lambda: inputs[:, 0],
            )

        def compute_output_shape(self, input_shape):
            return (input_shape[0], input_shape[2])

    assert_sum_of_steps(sampled(recurrent(Branching()), ones()), STEPS)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="Keras on TensorFlow cannot call such a layer",
)
def test_a_rematerialised_layer_draws():
    with keras.RematScope(mode="full"):
        dropout = layers.Dropout(0.5)
    x = keras.Input((STEPS, 1))
    model = keras.Model(x, ops.sum(dropout(x), axis=1))
    assert_sum_of_steps(sampled(model, ones()), STEPS)

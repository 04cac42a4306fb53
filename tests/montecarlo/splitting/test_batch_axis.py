"""Where the batch is: folded in time, left as it is, or refused by name."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support import plain_calls

ROWS = 6


def dropout(**settings):
    return layers.Dropout(plain_calls.NEXT_TO_NOTHING, **settings)


def data(*shape):
    shape = (ROWS, *shape)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def predict(model, x, **settings):
    settings = {"kind": "regression", "verbose": 0, "seed": 1, **settings}
    return kerasdrop.mc_predict(model, x, 5, **settings)


class Windows(layers.Layer):
    """Several places for each row, and no word of it to Keras."""

    def call(self, inputs):
        return ops.reshape(inputs, (-1, 2))

    def compute_output_shape(self, input_shape):
        return (None, 2)


class Joined(layers.Layer):
    def call(self, inputs):
        return ops.reshape(inputs, (-1, 4))

    def compute_output_shape(self, input_shape):
        return (None, 4)


class Learned(layers.Layer):
    """A constant of as many rows as it is told, and no batch."""

    def __init__(self, num_rows):
        super().__init__()
        self.num_rows = num_rows

    def build(self, input_shape):
        self.table = self.add_weight(
            shape=(self.num_rows, 4), initializer="normal"
        )

    def call(self, inputs):
        return self.table + 0.0

    def compute_output_shape(self, input_shape):
        return (self.num_rows, 4)


def spread(x):
    return ops.reshape(x, (-1, 2))


def joined(x):
    return ops.reshape(x, (-1, 4))


def time_first(x):
    return ops.transpose(x, (1, 0))


def inner(function):
    x = keras.Input((4,))
    return keras.Model(x, function(x))


def steps_in_front():
    """A transposed tensor that is plain meets one that was drawn."""
    x = keras.Input((5, 3))
    plain = ops.transpose(layers.Dense(3)(x), (1, 0, 2))
    drawn = ops.transpose(dropout()(x), (1, 0, 2))
    return keras.Model(x, ops.transpose(plain + drawn, (1, 0, 2)))


# What comes back to the batch, and what has none.
RIGHT = {
    "spread": lambda x: joined(spread(x) * 2.0 + spread(dropout()(x))),
    "spread_twice": lambda x: joined(
        ops.tanh(spread(joined(ops.reshape(x, (-1, 1))))) + spread(dropout()(x))
    ),
    "spread_in_the_prefix": lambda x: dropout()(
        joined(layers.Dense(2)(spread(x)))
    ),
    "spread_behind": lambda x: joined(layers.Dense(2)(spread(dropout()(x)))),
    "spread_used_twice": lambda x: [
        joined(spread(x) + spread(dropout()(x))),
        joined(spread(x)),
    ],
    "flat": lambda x: joined(
        ops.reshape(x, (-1,)) + ops.reshape(dropout()(x), (-1,))
    ),
    "transposed": lambda x: time_first(
        time_first(x) + time_first(dropout()(x))
    ),
    "one_behind_the_other": lambda x: ops.subtract(
        *ops.split(
            layers.Dense(3)(ops.concatenate([dropout()(x), x * 2.0], axis=0)),
            2,
            axis=0,
        )
    ),
    "inside_an_inner_model": lambda x: inner(
        lambda j: joined(spread(j) + spread(dropout()(j)))
    )(x),
    "inner_model_on_the_spread": lambda x: joined(
        spread(dropout()(x))
        + keras.Sequential([keras.Input((2,)), layers.Dense(2)])(spread(x))
    ),
    "inner_output_is_spread": lambda x: joined(
        inner(lambda j: [spread(j * 2.0), dropout()(j)])(x)[0]
        + spread(dropout()(x))
    ),
    "windows": lambda x: Joined()(Windows()(x) * 2.0 + Windows()(dropout()(x))),
    "windows_in_the_prefix": lambda x: dropout()(Joined()(Windows()(x))) + x,
    "windows_behind": lambda x: Joined()(
        layers.Dense(2)(Windows()(dropout()(x)))
    ),
    "learned": lambda x: dropout()(x) + Learned(1)(x),
    "learned_behind": lambda x: (h := dropout()(x)) + Learned(1)(h),
    "learned_of_as_many": lambda x: ops.matmul(
        dropout()(x), ops.transpose(Learned(ROWS)(x))
    ),
    "learned_of_as_many_behind": lambda x: ops.matmul(
        (h := dropout()(x)), ops.transpose(Learned(ROWS)(h))
    ),
    "numbers": lambda x: dropout()(x) + ops.arange(4, dtype="float32"),
    "only_of_the_shape": lambda x: (
        dropout()(x) + ops.cumsum(ops.ones_like(x[0]))
    ),
    "a_number_each": lambda x: ops.expand_dims(dropout()(x)[:, 0], axis=-1),
    "numbers_stacked": lambda x: ops.stack(
        [dropout()(x)[:, 0], x[:, 1]], axis=-1
    ),
    "one_more_axis": lambda x: ops.squeeze(
        ops.expand_dims(x, 0) + ops.expand_dims(dropout()(x), 0), 0
    ),
    "input_is_output": lambda x: [x, dropout()(x), x],
    "list_of_tensors": lambda x: layers.Add()([x, dropout()(x), x]),
}


@pytest.mark.parametrize("fixed", [None, ROWS], ids=["any size", "fixed size"])
def test_what_comes_back_to_the_batch_is_right(fixed):
    x = keras.Input((4,), batch_size=fixed)
    outputs = {name: function(x) for name, function in RIGHT.items()}
    plain_calls.assert_samples_are_like_a_plain_call(
        keras.Model(x, outputs), data(4)
    )


@pytest.mark.parametrize("rows", [1, 5, ROWS])
def test_an_axis_of_the_size_of_the_batch_is_not_taken_for_it(rows):
    # Also as many steps as there are rows.
    plain_calls.assert_samples_are_like_a_plain_call(
        steps_in_front(), data(5, 3)[:rows]
    )


def test_a_plain_reshape_beside_a_drawn_one():
    x = keras.Input((3, 2))
    pairs = ops.reshape(x, (-1, 2)) + ops.reshape(dropout()(x), (-1, 2))
    model = keras.Model(x, ops.reshape(pairs, (-1, 3, 2)))
    numbers = np.arange(12, dtype="float32").reshape(2, 3, 2)
    np.testing.assert_allclose(predict(model, numbers).mean, 2 * numbers)


def test_a_draw_is_made_once_though_its_surroundings_are_made_anew():
    # An inner model with one output that is spread and one that is drawn.
    x = keras.Input((4,))
    plain, drawn = inner(lambda j: [spread(j), layers.Dropout(0.5)(j)])(x)
    other = spread(layers.Dropout(0.5)(x))
    model = keras.Model(x, [drawn, joined(plain + other) - other_of(x)])
    result = predict(model, data(4), keep_samples=True)
    kept = result.samples[0] / data(4)[:, None]
    assert set(np.unique(kept.round(4))) == {0.0, 2.0}


def other_of(x):
    return x * 1.0


REFUSED = {
    "centred": (lambda x: x - ops.mean(x, axis=0), "'mean.* one result of all"),
    "centred_keepdims": (
        lambda x: x - ops.mean(x, axis=0, keepdims=True),
        r"'mean.*\(1, 4\)",
    ),
    "first_row": (lambda x: x - x[0], "'get_item.* one result of all rows"),
    "pairs": (
        lambda x: ops.matmul(x, ops.transpose(x)),
        r"'matmul.*\(batch, batch\)",
    ),
    "einsum": (lambda x: ops.einsum("bi,ci->bc", x, x), "'einsum.*two axes"),
    "gram": (
        lambda x: ops.matmul(x, ops.matmul(ops.transpose(x), x)),
        "'matmul.* one result of all rows",
    ),
    "graph_convolution": (
        lambda x: ops.matmul(np.ones((ROWS, ROWS), "float32"), x),
        "matmul",
    ),
    "scalar": (lambda x: ops.sum(x), r"'sum.*\(\), whose axis 0 is not"),
    "reduced": (lambda x: ops.max(x, axis=0), r"'max.*\(4,\), whose axis 0"),
    "no_batch_first": (
        lambda x: ops.transpose(x),
        r"'transpose.*\(4, batch\), whose axis 0",
    ),
    "spread": (spread, r"'reshape.*\(2 \* batch, 2\), whose axis 0"),
    "constant": (lambda x: Learned(3)(x), r"'learned.*\(3, 4\), whose axis 0"),
    "hard_coded": (lambda x: ops.reshape(x, (ROWS, 4)), "'reshape"),
    "flipped": (lambda x: ops.flip(x, axis=0), "'flip.* along axis 0"),
    "flipped_all": (lambda x: ops.flip(x), "'flip.* along axis 0"),
    "rolled": (lambda x: ops.roll(x, 1, axis=0), "'roll.* along axis 0"),
    "sorted": (lambda x: ops.sort(x, axis=0), "'sort.* along axis 0"),
    "summed_up": (lambda x: ops.cumsum(x, axis=0), "'cumsum.* along axis 0"),
    "softmax": (lambda x: ops.softmax(x, axis=-2), "'softmax.* along axis 0"),
    "softmax_layer": (layers.Softmax(axis=0), r"'softmax.* along axis 0"),
    "along_time_first": (
        lambda x: time_first(ops.softmax(time_first(x), axis=1)),
        "'softmax.* along axis 1",
    ),
    "inside": (
        lambda x: inner(lambda j: j - ops.mean(j, axis=0))(x),
        "operation 'functional.*/mean.* one result",
    ),
    "drawn_off_axis": (
        lambda x: joined(dropout(name="off")(spread(x))),
        "first axis of what layer 'off' .* is not the batch",
    ),
    "drawn_off_axis_inside": (
        lambda x: joined(
            keras.Sequential([keras.Input((2,)), dropout(name="off")])(
                spread(x)
            )
        ),
        "first axis of what layer '.*/off' .* is not the batch",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", ["behind", "before"])
def test_rows_that_see_each_other_are_refused_by_name(name, where):
    function, expected = REFUSED[name]
    x = keras.Input((4,))
    if where == "behind":
        model = keras.Model(x, function(dropout()(x)))
    else:
        model = keras.Model(x, [function(x), dropout()(x)])
    with pytest.raises(ValueError, match=f"(?s){expected}") as refusal:
        predict(model, data(4))
    message = str(refusal.value)
    assert message.startswith(f"The samples of model '{model.name}' cannot be")
    assert "vectorized=False" in message
    assert kerasdrop.inspect(model).refusal == message


def test_a_hard_coded_batch_is_right_before_the_draws_alone():
    x = keras.Input((4,), batch_size=ROWS)
    before = keras.Model(x, dropout()(ops.reshape(x, (ROWS, 4))))
    plain_calls.assert_samples_are_like_a_plain_call(before, data(4))
    behind = keras.Model(x, ops.reshape(dropout()(x), (ROWS, 4)))
    with pytest.raises(ValueError, match="operation 'reshape.*vectorized=Fal"):
        predict(behind, data(4))


def test_a_layer_whose_rows_see_each_other():
    class Pairs(layers.Layer):
        def call(self, inputs):
            return ops.matmul(inputs, ops.transpose(inputs))

    x = keras.Input((4,))
    model = keras.Model(x, Pairs(name="pairs")(dropout()(x)))
    expected = r"layer 'pairs' \(Pairs\).*\(batch, batch\).*vectorized=False"
    with pytest.raises(ValueError, match=expected):
        predict(model, data(4))


class OfSixRows(layers.Layer):
    """Fails on any other number."""

    def call(self, inputs):
        return inputs + ops.ones((ROWS, 1))

    def compute_output_shape(self, input_shape):
        return input_shape


def test_a_layer_that_fails_on_folded_rows_alone():
    x = keras.Input((4,))
    model = keras.Model(x, OfSixRows(name="six")(dropout()(x)))
    expected = r"layer 'six' \(OfSixRows\) fails on the rows of several sampl"
    with pytest.raises(ValueError, match=f"{expected}.*vectorized=False"):
        predict(model, data(4))


def test_a_layer_that_fails_anyway_says_so_itself():
    class Broken(layers.Layer):
        def call(self, inputs):
            raise RuntimeError("out of order")

        def compute_output_shape(self, input_shape):
            return input_shape

    x = keras.Input((4,))
    model = keras.Model(x, Broken()(dropout()(x)))
    with pytest.raises(RuntimeError, match="out of order"):
        predict(model, data(4))


class Net(keras.Model):
    def __init__(self, function):
        super().__init__(name="net")
        self.dropout = dropout()
        self.six = OfSixRows(name="six")
        self.function = function

    def build(self, input_shape):
        self.built = True

    def call(self, inputs):
        return self.function(self, self.dropout(inputs))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda net, x: ops.sum(x), r"returns the shape \(\)"),
        (lambda net, x: ops.matmul(x, ops.transpose(x)), "rows see each other"),
        (lambda net, x: net.six(x), r"layer 'six' \(OfSixRows\) fails on"),
    ],
)
def test_a_model_without_a_graph_is_refused(function, expected):
    model = Net(function)
    model(data(4))
    with pytest.raises(ValueError, match=f"(?s)model 'net'.*{expected}"):
        predict(model, data(4))


def test_a_model_without_a_graph_may_have_as_many_units_as_rows():
    # 6 rows, 5 samples: 30 rows in all.
    model = Net(lambda net, x: ops.concatenate([x] * 7 + [x[:, :2]], axis=1))
    model(data(4))
    assert predict(model, data(4)).mean.shape == (ROWS, 30)

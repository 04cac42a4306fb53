"""A part of a batch draws the masks of its rows of the whole batch."""

import contextlib
import threading

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import row_scope
from tests.support import helpers
from tests.support import versions

BACKEND = keras.backend.backend()
INPUTS = np.ones((12, 40), "float32")
PART = slice(4, 8)


def mask(layer, inputs=INPUTS):
    return ops.convert_to_numpy(layer(inputs, training=True)) == 0


def whole_mask():
    return mask(layers.Dropout(0.5, seed=3))


def test_the_rows_behind_a_first_row():
    with row_scope(first_row=4):
        part = mask(layers.Dropout(0.5, seed=3), INPUTS[PART])
    np.testing.assert_array_equal(part, whole_mask()[PART])


@pytest.mark.parametrize("form", [list, np.array, ops.convert_to_tensor])
def test_rows_in_any_order(form):
    rows = [7, 0, 11, 4]
    with row_scope(rows=form(rows)):
        part = mask(layers.Dropout(0.5, seed=3), INPUTS[:4])
    np.testing.assert_array_equal(part, whole_mask()[rows])


def test_a_first_row_may_be_a_tensor():
    with row_scope(first_row=ops.convert_to_tensor(4)):
        part = mask(layers.Dropout(0.5, seed=3), INPUTS[PART])
    np.testing.assert_array_equal(part, whole_mask()[PART])


WRAPPED = {
    "attention": lambda: layers.MultiHeadAttention(2, 5, dropout=0.5, seed=3),
    "connections": lambda: layers.DropConnect(
        keras.layers.Dense(8), 0.5, seed=3
    ),
    "block": lambda: layers.DropBlock1D(0.5, 2, seed=3),
    "alpha": lambda: layers.AlphaDropout(0.5, seed=3),
    "recurrent": lambda: layers.DropoutRNN(
        keras.layers.SimpleRNNCell(5), 0.5, 0.5, seed=3
    ),
    "at inference": lambda: layers.MCDropout(0.5, seed=3),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_every_kind_of_layer_sees_it(name):
    x = np.random.default_rng(0).normal(size=(12, 6, 8)).astype("float32")
    training = name != "at inference"

    def outputs(inputs, scope):
        keras.utils.set_random_seed(1)
        layer = WRAPPED[name]()
        arguments = (inputs, inputs) if name == "attention" else (inputs,)
        layer.build(*(a.shape for a in arguments))
        with scope:
            return ops.convert_to_numpy(layer(*arguments, training=training))

    whole = outputs(x, contextlib.nullcontext())
    part = outputs(x[PART], row_scope(first_row=4))
    np.testing.assert_allclose(part, whole[PART], rtol=1e-5, atol=1e-6)


def test_the_innermost_scope_counts_and_the_outer_one_comes_back():
    layer = layers.Dropout(0.5, seed=3)
    with row_scope(first_row=4):
        with row_scope(first_row=8), pytest.raises(RuntimeError):
            raise RuntimeError
        part = mask(layer, INPUTS[PART])
    np.testing.assert_array_equal(part, whole_mask()[PART])


def test_after_the_scope_rows_are_numbered_as_before():
    with row_scope(first_row=4):
        pass
    np.testing.assert_array_equal(
        mask(layers.Dropout(0.5, seed=3)), whole_mask()
    )


def test_a_scope_may_be_entered_inside_itself():
    scope = row_scope(first_row=4)
    layer = layers.Dropout(0.5, seed=3)
    with scope:
        with scope, row_scope(first_row=8):
            pass
        part = mask(layer, INPUTS[PART])
    layer.step = 0
    np.testing.assert_array_equal(part, whole_mask()[PART])
    np.testing.assert_array_equal(mask(layer), whole_mask())


def test_threads_may_share_a_scope():
    scope = row_scope(first_row=4)
    entered = threading.Barrier(2)
    found = {}

    def work(num_rows):
        layer = layers.Dropout(0.5, seed=3)
        with row_scope(first_row=num_rows):
            with scope:
                entered.wait(60)
                found[num_rows, "in"] = mask(layer, INPUTS[4 : 4 + num_rows])
                entered.wait(60)
            layer.step = 0
            found[num_rows, "out"] = mask(layer, INPUTS[:1])

    threads = [threading.Thread(target=work, args=(n,)) for n in (3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for num_rows in (3, 5):
        np.testing.assert_array_equal(
            found[num_rows, "in"], whole_mask()[4 : 4 + num_rows]
        )
        np.testing.assert_array_equal(
            found[num_rows, "out"], whole_mask()[num_rows : num_rows + 1]
        )


def test_another_thread_does_not_see_it():
    found = []
    with row_scope(first_row=4):
        thread = threading.Thread(
            target=lambda: found.append(mask(layers.Dropout(0.5, seed=3)))
        )
        thread.start()
        thread.join()
    np.testing.assert_array_equal(found[0], whole_mask())


def test_one_mask_for_all_rows_is_that_of_all_parts():
    whole = mask(layers.Dropout(0.5, noise_shape=(1, None), seed=3))
    with row_scope(first_row=4):
        part = mask(
            layers.Dropout(0.5, noise_shape=(1, None), seed=3), INPUTS[PART]
        )
    np.testing.assert_array_equal(part, whole[PART])


def test_a_monte_carlo_prediction_has_rows_of_its_own():
    model = keras.Sequential([keras.Input((40,)), layers.Dropout(0.5)])
    expected = kerasdrop.mc_predict(model, INPUTS, 16, seed=0, verbose=0)
    with row_scope(first_row=4):
        found = kerasdrop.mc_predict(model, INPUTS, 16, seed=0, verbose=0)
    np.testing.assert_array_equal(found.mean, expected.mean)


def test_a_model_that_is_built_inside_the_scope():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop = layers.Dropout(0.5, seed=3)

        def call(self, inputs, training=False):
            return self.drop(inputs, training=training)

    with row_scope(first_row=4):
        part = mask(Model(), INPUTS[PART])
    np.testing.assert_array_equal(part, whole_mask()[PART])


def jitted(function):
    """The function compiled; `layer.step` may be lost."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.compile(function, backend="eager", fullgraph=True)


def stateless(layer):
    """A training call that leaves the layer as it is: a function."""
    values = [variable.value for variable in layer.non_trainable_variables]

    def call(inputs):
        outputs, _ = layer.stateless_call([], values, inputs, training=True)
        return outputs

    return call


@versions.needs_one_graph
def test_numbers_that_a_compiled_function_gets():
    call = stateless(layers.Dropout(0.5, seed=3))

    @jitted
    def step(x, rows):
        with row_scope(rows=rows):
            return call(x)

    x = ops.convert_to_tensor(INPUTS[:4])
    for rows in ([7, 0, 11, 4], [1, 2, 3, 5]):
        outputs = step(x, ops.convert_to_tensor(rows, "int32"))
        np.testing.assert_array_equal(
            ops.convert_to_numpy(outputs) == 0, whole_mask()[rows]
        )


@versions.needs_one_graph
def test_a_first_row_that_a_compiled_function_gets():
    call = stateless(layers.Dropout(0.5, seed=3))

    @jitted
    def step(x, first_row):
        with row_scope(first_row=first_row):
            return call(x)

    x = ops.convert_to_tensor(INPUTS[:4])
    for first in (4, 8):
        outputs = step(x, ops.convert_to_tensor(first, "int32"))
        np.testing.assert_array_equal(
            ops.convert_to_numpy(outputs) == 0, whole_mask()[first : first + 4]
        )


@versions.needs_one_graph
@pytest.mark.skipif(BACKEND != "torch", reason="torch.compile")
def test_torch_compile_sees_a_scope_around_it():
    call = stateless(layers.Dropout(0.5, seed=3))
    step = jitted(call)
    x = ops.convert_to_tensor(INPUTS[:4])
    for first in (4, 8, 4):
        with row_scope(first_row=first):
            outputs = step(x)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(outputs) == 0, whole_mask()[first : first + 4]
        )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(step(x)) == 0, whole_mask()[:4]
    )


@pytest.mark.skipif(BACKEND == "torch", reason="compiled functions of others")
def test_a_scope_around_a_compiled_function_is_refused():
    call = stateless(layers.Dropout(0.5, seed=3))
    with (
        row_scope(first_row=4),
        pytest.raises(ValueError, match="Enter the scope inside the function"),
    ):
        jitted(call)(ops.convert_to_tensor(INPUTS[:4]))


@pytest.mark.skipif(BACKEND == "torch", reason="fit is eager there")
def test_a_scope_around_fit_is_refused():
    model = keras.Sequential([layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with (
        row_scope(first_row=4),
        pytest.raises(ValueError, match="train_step"),
    ):
        model.fit(INPUTS[PART], INPUTS[PART, :1], verbose=0)


class RowsWithTheBatch(keras.Model):
    """Trains on batches `((x, rows), y)`."""

    def train_step(self, *args):
        (_, rows), _ = args[-1]
        with row_scope(rows=rows):
            return super().train_step(*args)


def test_rows_that_come_with_the_batches_of_fit():
    x = np.random.default_rng(0).normal(size=(12, 40)).astype("float32")
    rows = np.arange(12, dtype="int32")
    order = np.random.default_rng(1).permutation(12)
    weights = []
    for part in (rows, order):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((40,)), keras.Input((), dtype="int32")
        # Keras before 3.14 refuses an input that leads nowhere.
        x_alone = keras.layers.Lambda(lambda pair: pair[0])(inputs)
        hidden = layers.Dropout(0.5, seed=3)(x_alone)
        model = RowsWithTheBatch(inputs, keras.layers.Dense(1)(hidden))
        model.compile("sgd", "mse")
        data = (x[part], rows[part]), x[part, :1]
        model.fit(*data, 12, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    # The sums over the batch are in another order.
    for mine, theirs in zip(*weights):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="vmap of JAX")
def test_examples_under_vmap():
    import jax

    call = stateless(layers.Dropout(0.5, seed=3))

    def one(x, row):
        with row_scope(first_row=row):
            return call(x[None])[0]

    outputs = jax.vmap(one)(INPUTS, np.arange(12))
    np.testing.assert_array_equal(np.asarray(outputs) == 0, whole_mask())


_PMAP = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
import numpy as np
import kerasdrop

layer = kerasdrop.layers.Dropout(0.5, seed=3)
values = [np.asarray(v.value) for v in layer.non_trainable_variables]
call = lambda x: layer.stateless_call([], values, x, training=True)[0]

def part(x):
    with kerasdrop.row_scope(first_row=4 * jax.lax.axis_index("device")):
        return call(x)

x = np.ones((2, 4, 50), "float32")
whole = np.asarray(call(x.reshape(8, 50)))
parts = np.asarray(jax.pmap(part, "device")(x)).reshape(8, 50)
alone = np.asarray(jax.pmap(call)(x))
print(jax.device_count(), (parts == whole).all(), (alone[0] == alone[1]).all())
"""


@pytest.mark.skipif(BACKEND != "jax", reason="pmap of JAX")
def test_devices_under_pmap():
    # Without the scope, each part has the masks of the first rows.
    assert helpers.run_python(_PMAP).split()[-3:] == ["2", "True", "True"]


@pytest.mark.skipif(BACKEND != "torch", reason="vmap of PyTorch")
def test_examples_under_vmap_of_torch():
    import torch

    call = stateless(layers.Dropout(0.5, seed=3))

    def one(x, row):
        with row_scope(first_row=row):
            return call(x[None])[0]

    outputs = torch.vmap(one)(torch.tensor(INPUTS), torch.arange(12))
    np.testing.assert_array_equal(outputs.numpy() == 0, whole_mask())


ILLEGAL = {
    "nothing": ({}, "pass one of"),
    "both": ({"rows": [0], "first_row": 0}, "pass one of"),
    "negative": ({"first_row": -1}, "`first_row` must be an integer"),
    "too large": ({"first_row": 2**31}, r"numbered below 2\*\*31"),
    "a float": ({"first_row": 1.5}, "`first_row` must be an integer"),
    "rows of floats": ({"rows": [0.5]}, "`rows` must be integers"),
    "a table": ({"rows": [[0], [1]]}, "`rows` must be integers"),
    "a negative row": ({"rows": [-1]}, "`rows` must be integers"),
    "a vector": (
        {"first_row": np.array([1, 2])},
        "`first_row` must be an integer",
    ),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_what_is_no_row_number_is_refused(name):
    arguments, message = ILLEGAL[name]
    with pytest.raises(ValueError, match=message):
        row_scope(**arguments)


def test_a_tensor_of_floats_is_refused():
    with pytest.raises(ValueError, match="`first_row` must be integers"):
        row_scope(first_row=ops.convert_to_tensor(1.5))


def test_another_number_of_rows_is_refused():
    layer = layers.Dropout(0.5)
    with row_scope(rows=[0, 1, 2]), pytest.raises(ValueError, match="3 rows"):
        layer(INPUTS, training=True)


def test_batches_of_two_sizes_behind_one_first_row_are_refused():
    layer = layers.Dropout(0.5)
    with row_scope(first_row=4):
        layer(INPUTS, training=True)
        with pytest.raises(ValueError, match="24 rows after one of 12"):
            layer(INPUTS.reshape(24, 20), training=True)

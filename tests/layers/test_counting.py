"""The step counts the batches that were trained on, and nothing else."""

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import schedules

X = np.random.default_rng(0).normal(size=(56, 8)).astype("float32")


def trained(data, jit_compile, **arguments):
    """The layer and the weights after three epochs of seven batches."""
    keras.utils.set_random_seed(0)
    schedule = schedules.Linear(0.0, 0.5, 42)
    layer = kerasdrop.layers.Dropout(schedule, seed=1)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8), layer, keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse", jit_compile=jit_compile, **arguments)
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    return layer, model.get_weights()


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_data_of_unknown_length(jit_compile, steps_per_execution):
    tf = pytest.importorskip("tensorflow")
    backend = keras.backend.backend()
    if backend == "torch" and (jit_compile or steps_per_execution > 1):
        pytest.skip("slow to compile on PyTorch, or not there")
    arguments = {"jit_compile": jit_compile}
    if steps_per_execution > 1:
        arguments["steps_per_execution"] = steps_per_execution
    known = tf.data.Dataset.from_tensor_slices((X, X[:, :1])).batch(8)
    unknown = known.filter(lambda x, y: True)
    layer, weights = trained(known, **arguments)
    other, others = trained(unknown, **arguments)
    assert (layer.step, other.step) == (21, 21)
    assert layer.rate == other.rate == 0.25
    for one, two in zip(weights, others):
        np.testing.assert_allclose(one, two, rtol=1e-6)

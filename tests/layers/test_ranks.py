"""Processes and replicas never repeat each other's masks in training."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerasdrop import layers
from tests.support import helpers
from tests.support import ranks

BACKEND = keras.backend.backend()
ROOT = pathlib.Path(__file__).parents[2]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run_both(name, folder):
    """What `ranks.NAME` returns in each of two processes: dicts of arrays."""
    ports = map(str, free_ports(ranks.WORLD))
    arguments = [sys.executable, "-m", "tests.support.ranks", name]
    ports = list(ports)
    processes = [
        subprocess.Popen(
            [*arguments, str(rank), str(folder), *ports],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks.WORLD)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=250)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    found = []
    for rank in range(ranks.WORLD):
        with np.load(folder / f"{rank}.npz") as arrays:
            found.append(dict(arrays))
    return found


def assert_masks_differ(one, other):
    """No more equal than masks that have nothing to do with each other."""
    helpers.assert_proportion(one == other, 0.5)


def one_process(rows=None):
    """The masks that one process draws for all rows."""
    whole = ranks.masks(layers.Dropout(0.5, seed=7), ranks.WORLD * ranks.ROWS)
    return whole if rows is None else whole[rows]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    name = {
        "torch": "torch_ddp",
        "jax": "jax_processes",
        "tensorflow": "tensorflow_workers",
    }[BACKEND]
    return run_both(name, tmp_path_factory.mktemp("ranks"))


def of(backend):
    return pytest.mark.skipif(BACKEND != backend, reason=f"of {backend}")


@of("torch")
@pytest.mark.parametrize("name", ["unseeded", "seeded"])
def test_ranks_of_one_key_draw_masks_of_their_own(both, name):
    one, other = both
    np.testing.assert_array_equal(one[f"{name} keys"], other[f"{name} keys"])
    for layer in range(2):
        assert_masks_differ(
            one[f"{name} masks"][layer], other[f"{name} masks"][layer]
        )


@of("torch")
@pytest.mark.parametrize("name", ["unseeded", "seeded"])
def test_a_monte_carlo_prediction_is_the_same_on_all_ranks(both, name):
    one, other = both
    np.testing.assert_array_equal(
        one[f"{name} samples"], other[f"{name} samples"]
    )


@of("torch")
def test_ranks_together_draw_what_one_process_draws(both):
    blocks = np.concatenate([rank["a block of the batch"] for rank in both])
    np.testing.assert_array_equal(blocks, one_process())


@of("torch")
def test_rows_that_are_dealt_in_turn_keep_their_masks(both):
    drop = layers.Dropout(0.5, seed=7)
    ranks.masks(drop)  # the step before
    whole = ranks.masks(drop, ranks.WORLD * ranks.ROWS)
    for rank, found in enumerate(both):
        np.testing.assert_array_equal(
            found["dealt in turn"], whole[rank :: ranks.WORLD]
        )


@of("torch")
def test_the_loop_of_the_guide_trains_as_one_process_does(both):
    import torch

    keras.utils.set_random_seed(0)
    model = ranks.network()
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.05)
    for x in map(torch.tensor, ranks.batches()):
        optimizer.zero_grad()
        loss = (model(x, training=True) - x[:, :1]) ** 2
        loss.mean().backward()
        optimizer.step()
    expected = ranks.weights_of(model)
    for rank in both:
        np.testing.assert_allclose(rank["weights"], expected, atol=1e-5)


@of("jax")
@pytest.mark.parametrize("name", ["a global array", "first_row", "rows"])
def test_parts_of_a_global_array_draw_what_one_process_draws(both, name):
    found = np.concatenate([process[name] for process in both])
    np.testing.assert_array_equal(found, one_process())


@of("jax")
def test_a_prediction_by_arrays_over_processes_is_refused_with_the_way(both):
    for process in both:
        one, other = process["refusals"]
        assert "set_distribution(None)" in one
        assert other.startswith("inspect: ")
    parts = np.concatenate([process["samples of a part"] for process in both])
    # By the same weights as the model that has no distribution.
    np.testing.assert_allclose(parts, both[0]["samples"], rtol=1e-5)


@of("tensorflow")
def test_workers_draw_masks_of_their_own(both):
    assert_masks_differ(both[0]["masks"], both[1]["masks"])


@of("tensorflow")
def test_workers_together_draw_what_one_process_draws(both):
    found = np.concatenate([worker["first_row"] for worker in both])
    np.testing.assert_array_equal(found, one_process())


@pytest.mark.skipif(BACKEND == "torch", reason="tested above")
def test_a_monte_carlo_prediction_is_the_same_on_all_processes(both):
    np.testing.assert_array_equal(both[0]["samples"], both[1]["samples"])


_MIRRORED = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import keras
import numpy as np
from keras import ops
import kerasdrop

seen = []

def watch(masked):
    zeros = tf.cast(tf.equal(masked, 0), tf.int32)
    tf.py_function(lambda z: seen.append(z.numpy()), [zeros], [])

class Two(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.drops = [kerasdrop.layers.Dropout(0.5) for _ in range(2)]

    def call(self, inputs, training=False):
        for drop in self.drops:
            watch(drop(inputs, training=training))
        return inputs

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    two = Two()
    model = keras.Sequential([
        keras.Input((64,)), two, keras.layers.Dense(1),
    ])
    model.compile("sgd", "mse")
model.fit(np.ones((16, 64)), np.zeros((16, 1)), batch_size=8, epochs=2,
          verbose=0)
assert [part.shape for part in seen] == [(4, 64)] * 16
rows = np.concatenate(seen)
print(two.drops[0].step, len(np.unique(rows, axis=0)), len(rows))
"""


@of("tensorflow")
def test_replicas_that_keras_trains_never_repeat_a_mask():
    found = helpers.run_python(_MIRRORED).split()[-3:]
    assert found == ["4", "64", "64"]


@of("torch")
@pytest.mark.parametrize("count", [256, 257, 1000, 2**16])
def test_many_ranks_have_row_numbers_of_their_own(count, monkeypatch):
    from kerasdrop import _backend
    from kerasdrop import masks

    x = np.ones((3, 1), "float32")
    seen = set()
    for rank in sorted({0, 1, 127, 128, 255, count - 1}):
        monkeypatch.setattr(_backend, "replica", lambda r=rank: (r, count))
        rows = masks.rows_of_batch(keras.ops.convert_to_tensor(x))
        rows = range(3) if rows is None else keras.ops.convert_to_numpy(rows)
        assert not seen & set(map(int, rows))
        seen |= set(map(int, rows))

"""The same masks on every backend, in other processes and on many devices."""

import importlib.util

import keras
import pytest

from tests.support import helpers
from tests.support import other_backends

BACKEND = keras.backend.backend()


def digests(backend):
    path = other_backends.folder_of(backend) / "digests.txt"
    return path.read_text().splitlines()


@pytest.mark.parametrize("backend", other_backends.BACKENDS)
def test_the_masks_are_those_of_the_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if backend == BACKEND:
        pytest.skip("this backend is compared with the two others")

    assert digests(backend) == digests(BACKEND)


def test_the_masks_of_float64_are_those_of_float32():
    # JAX has float64 only if asked at its start.
    lines = other_backends.digests(
        BACKEND,
        ("float32", "float64"),
        environment={"JAX_ENABLE_X64": "1"},
        is_new=BACKEND == "jax",
    )

    by_dtype = {
        dtype: [line.split(")", 1)[1] for line in lines if f"'{dtype}'" in line]
        for dtype in ("float32", "float64")
    }

    assert len(by_dtype["float64"]) > 50
    assert by_dtype["float64"] == by_dtype["float32"]


def run_with(environment, code):
    return helpers.run_python(code, environment=environment).split()


_REPLICAS = """
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import keras
from kerasdrop import layers

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = MAKE_LAYER

@tf.function
def step():
    return strategy.run(lambda: layer(tf.ones((16, 32)), training=True))

for _ in range(3):
    first, second = strategy.experimental_local_results(step())
    print(np.any(np.all(np.equal(first, second), axis=1)))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
class TestReplicas:
    def code(self, layer):
        return _REPLICAS.replace("MAKE_LAYER", layer)

    def test_replicas_do_not_repeat_each_others_masks(self):
        repeated = run_with({}, self.code("layers.Dropout(0.5, seed=0)"))

        assert repeated == ["False"] * 3

    def test_replicas_of_the_stock_layer_do(self):
        # So the test above would notice.
        code = self.code("keras.layers.Dropout(0.5, seed=0)")

        assert run_with({}, code) == ["True"] * 3

    def test_the_first_replica_draws_what_one_device_draws(self):
        code = self.code("layers.Dropout(0.5, seed=0)").replace(
            "print(np.any(np.all(np.equal(first, second), axis=1)))",
            "print(hash(np.asarray(first).tobytes()))",
        )
        single = (
            code.replace("MirroredStrategy([", "OneDeviceStrategy((")
            .replace('"CPU:0", "CPU:1"])', '"CPU:0"))')
            .replace("first, second = ", "first, = ")
        )

        environment = {"PYTHONHASHSEED": "0"}
        assert run_with(environment, code) == run_with(environment, single)


_MESH = """
import hashlib
import jax
import keras
import numpy as np
from kerasdrop import layers

assert len(jax.devices()) == NUM_DEVICES
if NUM_DEVICES > 1:
    keras.distribution.set_distribution(keras.distribution.DataParallel())
inputs = keras.Input((32,))
model = keras.Model(inputs, layers.Dropout(0.5, seed=3)(inputs))
x = np.arange(1, 64 * 32 + 1, dtype="float32").reshape(64, 32)

@jax.jit
def step(state, x):
    outputs, state = model.stateless_call([], state, x, training=True)
    return outputs, state

state = [variable.value for variable in model.non_trainable_variables]
if NUM_DEVICES > 1:
    layout = keras.distribution.distribution().get_data_layout(x.shape)
    x = keras.distribution.distribute_tensor(x, layout)
    assert len(x.sharding.device_set) == NUM_DEVICES
for _ in range(3):
    outputs, state = step(state, x)
    print(hashlib.sha256(np.asarray(outputs).tobytes()).hexdigest())
"""


@pytest.mark.skipif(BACKEND != "jax", reason="a mesh of JAX devices")
def test_a_data_parallel_mesh_draws_the_masks_of_one_device():
    flag = "--xla_force_host_platform_device_count"

    sharded = run_with(
        {"XLA_FLAGS": f"{flag}=8"}, _MESH.replace("NUM_DEVICES", "8")
    )
    single = run_with(
        {"XLA_FLAGS": f"{flag}=1"}, _MESH.replace("NUM_DEVICES", "1")
    )

    assert len(set(sharded)) == 3
    assert sharded == single

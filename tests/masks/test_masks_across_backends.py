"""The same masks on every backend, in other processes and on many devices."""

import functools
import importlib.util
import os
import subprocess
import sys

import keras
import pytest

from tests.support import helpers

BACKEND = keras.backend.backend()

# Prints a digest of each of many masks and of a layer's outputs.
_DIGESTS = """
import hashlib
import numpy as np
from keras import ops
from kerasdrop import layers
from kerasdrop import masks

def show(name, tensor):
    array = np.ascontiguousarray(ops.convert_to_numpy(tensor))
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    print(name, array.dtype, array.shape, digest)

def int32(value):
    return ops.convert_to_tensor(np.asarray(value, "int32"))

for seed in (0, -1, 2**63 - 1):
    key = masks.key_of_seed(seed)
    for index in (0, 2**31 - 1, -(2**31)):
        draw = masks.Draw(key, int32(index))
        for shape in ((), (7,), (64, 1024), (2, 300, 300)):
            show((seed, index, shape), masks.words(draw, shape))
    child = masks.derived_key(key, 3)
    rows = int32([5, 0, 2**31 - 1])
    draw = masks.Draw(child, int32([1, 2, 3]), rows)
    show((seed, "child, rows"), masks.words(draw, (3, 50)))
    for set_size in (4, 16, 256):
        draw = masks.Draw(child, int32([1, 2, 300]), rows, set_size)
        show((seed, "stratified", set_size), masks.words(draw, (3, 50)))
    for rate in (0.0, 1e-6, 0.001, 0.1, 0.3, 0.5, 0.9, 0.999, 1.0):
        rate32 = ops.convert_to_tensor(np.float32(rate))
        for dtype in DTYPES:
            inputs = ops.zeros((200, 7, 13), dtype)
            draw = masks.Draw(key, int32(9))
            keep = masks.keep_mask(draw, rate32, inputs)
            show((seed, rate, dtype), keep)
            keep = masks.keep_mask(draw, rate32, inputs, (None, 1, None))
            show((seed, rate, dtype, "noise shape"), keep)

layer = layers.Dropout(0.5, seed=4)
for step in range(3):
    show(("layer", step), layer(np.ones((16, 33), "float32"), training=True))
"""


@functools.cache
def digests(backend, dtypes=("float32", "float16", "bfloat16")):
    code = f"DTYPES = {dtypes!r}\n{_DIGESTS}"
    return helpers.run_python(code, backend).splitlines()


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_masks_are_those_of_the_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if backend == BACKEND:
        pytest.skip("this backend is compared with the two others")

    assert digests(backend) == digests(BACKEND)


def test_the_masks_of_float64_are_those_of_float32(monkeypatch):
    # JAX has float64 only if asked at its start.
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    lines = digests(BACKEND, ("float32", "float64"))

    by_dtype = {
        dtype: [line.split(")", 1)[1] for line in lines if f"'{dtype}'" in line]
        for dtype in ("float32", "float64")
    }

    assert len(by_dtype["float64"]) > 50
    assert by_dtype["float64"] == by_dtype["float32"]


def run_with(environment, code):
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": BACKEND, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


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

"""What `import kerasdrop` leaves as it was: everything."""

import keras
import pytest

import kerasdrop
from tests.support import helpers

BACKEND = keras.backend.backend()

# What the import must not have done, told by what still works behind it.
_STILL_POSSIBLE = {
    "jax": """
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
""",
    "tensorflow": """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
assert len(tf.config.list_logical_devices("CPU")) == 2
""",
    "torch": """
import torch
assert torch.initial_seed() == SEED
""",
}

_BEFORE = """
import random
import sys
import keras
import numpy as np
random.seed(0)
np.random.seed(0)
SEED = None
if "torch" in sys.modules:
    import torch
    SEED = torch.initial_seed()
    STATE = torch.random.get_rng_state()
before = random.getstate(), np.random.get_state()[1].tolist()
import kerasdrop
assert random.getstate() == before[0]
assert np.random.get_state()[1].tolist() == before[1]
if SEED is not None:
    assert torch.equal(torch.random.get_rng_state(), STATE)
"""

_NAMES = """
assert keras.layers.ConvLSTM1D(1, 1).name == "conv_lstm1d"
assert keras.layers.Dropout(0.5).name == "dropout"
assert keras.layers.Layer().name == "layer"
assert keras.Variable(0.0).name == "variable"
"""


def test_it_draws_nothing_initialises_no_backend_and_shifts_no_name():
    helpers.run_python(_BEFORE + _STILL_POSSIBLE[BACKEND] + _NAMES)


_TIMES = """
import time
start = time.process_time()
import keras
middle = time.process_time()
import kerasdrop
print((time.process_time() - start) / (middle - start))
"""


def test_it_takes_little_longer_than_that_of_keras():
    # Others may use the machine as well: one of three is enough.
    ratios = (float(helpers.run_python(_TIMES)) for _ in range(3))
    assert any(ratio <= 1.3 for ratio in ratios)


@pytest.mark.skipif(
    BACKEND != "jax", reason="others have no distribution to initialise"
)
def test_a_distribution_can_be_initialised_behind_it():
    helpers.run_python(
        """
import socket
import kerasdrop
import keras
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
keras.distribution.initialize(f"127.0.0.1:{port}", 1, 0)
"""
    )


def test_completion_offers_what_is_public():
    for module in (kerasdrop, kerasdrop.layers, kerasdrop.plots):
        offered = {name for name in dir(module) if not name.startswith("__")}
        assert offered == set(module.__all__)
    assert "__version__" in dir(kerasdrop)

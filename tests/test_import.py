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
import time
start = time.process_time()
import keras
middle = time.process_time()
import random
import sys
import numpy as np
random.seed(0)
np.random.seed(0)
SEED = None
if "torch" in sys.modules:
    import torch
    SEED = torch.initial_seed()
    STATE = torch.random.get_rng_state()
before = random.getstate(), np.random.get_state()[1].tolist()
known = time.process_time()
import kerasdrop
print(1 + (time.process_time() - known) / (middle - start))
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


def imported():
    """Imports in a new process; returns how long it takes, that of Keras is 1.

    Asserts the rest there.
    """
    code = _BEFORE + _STILL_POSSIBLE[BACKEND] + _NAMES
    return float(helpers.run_python(code, is_new=True))


def test_it_leaves_all_as_it_was_and_takes_little_longer_than_that_of_keras():
    """It draws nothing, initialises no backend and shifts no name."""
    # Others may use the machine as well: one of three is fast enough.
    assert any(imported() <= 1.3 for _ in range(3))


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

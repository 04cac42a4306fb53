"""On a device that is not the CPU: the same numbers, and nothing left behind.

A stand-in for a GPU, in a process of its own: tests/support/pretend_device.py.
"""

import json

import keras
import pytest

from tests.support import processes
from tests.support.versions import needs_keras

pytestmark = needs_keras("3.15", "takes no device from `KERAS_TORCH_DEVICE`")

if keras.backend.backend() != "torch":
    pytest.skip("the device is one of PyTorch", allow_module_level=True)


def found(*names):
    """What `on_pretend_device` says of its cases, by their names."""
    printed = processes.run_module("tests.support.on_pretend_device", *names)
    return json.loads(printed.splitlines()[-1])


def told(cases, what):
    """What there is to tell, by the names of the cases."""
    return {name: case[what] for name, case in cases.items() if case[what]}


def test_each_layer_computes_there_and_its_calls_wait_for_nothing():
    cases = found("layers", "planted")
    constant, read = (cases.pop(name) for name in ("constant", "read"))

    assert len(cases) > 100
    assert told(cases, "error") == {}
    # In a training call the host reads no rate, no key and no step.
    calls = {name: cases[name] for name in cases if name.endswith(": a call")}
    assert len(calls) > 30
    assert told(calls, "reads") == {}
    # Nor does it send a number, for which a GPU would have it wait. Layers of
    # Keras do, in which some of ours are.
    copies = told(calls, "copies")
    of_keras = ("Attention", "LoRA")
    assert {
        one for one in copies if not any(k in one for k in of_keras)
    } == set()

    # Mistakes that were planted are found, and where they are.
    assert "same device" in constant["error"]
    assert "in stochastic" in constant["error"]
    assert read["error"] == ""
    (found_read,) = read["reads"]
    assert "_local_scalar_dense in /tests/support/on_pretend" in found_read


def test_models_are_trained_and_predict_as_on_the_cpu():
    cases = found("models")

    assert len(cases) == 4 * 5
    assert told(cases, "error") == {}

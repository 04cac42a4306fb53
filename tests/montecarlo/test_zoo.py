"""Each model of the zoo keeps what its entry says."""

import keras
import pytest

from tests.support import zoo
from tests.support import zoo_checks

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in zoo_checks.KERAS_WARNS
]


def _named(entries):
    return [pytest.param(one, id=one.name) for one in entries]


@pytest.mark.parametrize("entry", _named(filter(zoo.is_quick, zoo.here())))
def test_zoo(entry):
    found = zoo_checks.failures(entry, zoo_checks.quick(entry))
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("entry", _named(zoo.here()))
def test_the_whole_zoo(entry):
    found = zoo_checks.failures(entry, zoo_checks.WHOLE)
    assert not found, "\n".join(found)


ELSEWHERE = {
    "ActivityRegularization": "an interrupted call empties `model.losses`",
    "FlaxLayer": "as JaxLayer, of a package that is not installed",
    "InputSpec": "no layer",
    "JaxLayer": "in the zoo on JAX",
    "Layer": "the class of all layers",
    "MaxNumBoundingBoxes": "of boxes, which no model returns",
    "StringLookup": "of strings, which `predict` does not take",
    "TFSMLayer": "a graph of TensorFlow, of which Keras sees nothing",
    "TextVectorization": "of strings, which `predict` does not take",
    "TorchModuleWrapper": "in the zoo on PyTorch",
    "Wrapper": "the class of all wrappers",
}


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="the classes are those of PyTorch, where models are made fastest",
)
def test_every_layer_class_of_keras_is_in_the_zoo():
    classes = {
        name: cls
        for name, cls in vars(keras.layers).items()
        if isinstance(cls, type) and name not in ELSEWHERE
    }
    found = set()
    for entry in zoo.here():
        found |= {type(layer) for layer in entry.make()._flatten_layers()}
    missing = sorted(name for name, cls in classes.items() if cls not in found)
    assert not missing

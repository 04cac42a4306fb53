import gc
import weakref
from typing import NamedTuple

import keras
import pytest
from keras import ops
from keras import tree

from kerasdrop._structure import nested


class Pair(NamedTuple):
    one: object
    other: object


def tensors(count):
    return [ops.full((2,), float(number)) for number in range(count)]


a, b, c = tensors(3)
STRUCTURES = {
    "a tensor": a,
    "a list": [a, b],
    "a tuple of one": (a,),
    "named, in a list": [Pair(a, [b, c])],
    "nothing": [],
    "None": (None, a),
    "a dict, whose keys are sorted": {"b": a, "a": [b, c]},
    "a dict inside": [a, {"y": b, "x": c}],
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_read_as_keras_reads_them(name):
    structure = STRUCTURES[name]
    leaves = nested.flatten(structure)
    assert list(map(id, leaves)) == list(map(id, tree.flatten(structure)))
    shapes = nested.map_structure(lambda x: x is None, structure)
    assert shapes == tree.map_structure(lambda x: x is None, structure)
    assert type(shapes) is type(structure) or ops.is_tensor(structure)
    numbered = nested.packed(structure, list(range(len(leaves))))
    assert numbered == tree.pack_sequence_as(structure, range(len(leaves)))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="only there `keras.tree` keeps"
)
def test_tensors_are_given_back_without_a_collection_of_garbage():
    (tensor,) = tensors(1)
    kept = weakref.ref(tensor)
    gc.disable()
    try:
        nested.packed([tensor], nested.flatten([Pair(tensor, tensor)])[:1])
        nested.map_structure(id, (tensor,))
        del tensor
        assert kept() is None
    finally:
        gc.enable()

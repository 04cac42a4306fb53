"""`keras.tree` for large tensors.

On PyTorch, `keras.tree` leaves its arguments in a cycle of references, so that
the tensors stay in memory until Python's garbage collection. These functions
create no cycles for tensors, and for tuples and lists of them. They pass all
other structures on to Keras.
"""

from collections.abc import Iterable
from collections.abc import Iterator

from keras import ops
from keras import tree

from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure


def flatten(structure: Structure) -> list[Given]:
    """As `keras.tree.flatten`."""
    if ops.is_tensor(structure):
        return [structure]
    if _is_sequence(structure):
        return [leaf for part in structure for leaf in flatten(part)]
    return tree.flatten(structure)


def map_structure(function: Function, structure: Structure) -> Structure:
    """As `keras.tree.map_structure` for one structure."""
    if ops.is_tensor(structure):
        return function(structure)
    if _is_sequence(structure):
        parts = [map_structure(function, part) for part in structure]
        return _like(structure, parts)
    return tree.map_structure(function, structure)


def packed(structure: Structure, leaves: Iterable[Given]) -> Structure:
    """As `keras.tree.pack_sequence_as`."""
    return _packed(structure, iter(leaves))


def _packed(structure: Structure, rest: Iterator[Given]) -> Structure:
    if ops.is_tensor(structure):
        return next(rest)
    if _is_sequence(structure):
        return _like(structure, [_packed(part, rest) for part in structure])
    count = len(tree.flatten(structure))
    return tree.pack_sequence_as(structure, [next(rest) for _ in range(count)])


def _is_sequence(structure: Structure) -> bool:
    return type(structure) in (list, tuple) or _is_named(structure)


def _is_named(structure: Structure) -> bool:
    return isinstance(structure, tuple) and hasattr(structure, "_fields")


def _like(structure: Structure, parts: list[Given]) -> Structure:
    cls = type(structure)
    return cls(*parts) if _is_named(structure) else cls(parts)

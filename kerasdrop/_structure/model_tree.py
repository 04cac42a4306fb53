"""Finds layers inside a model, with a path for each.

What it reads of Keras' private names is in `_listed` and `CONV_LSTM_CELL`;
`tests/contracts/test_sublayers.py` pins it.
"""

import contextlib
import dataclasses
import functools
import sys
import threading
from collections.abc import Iterator

import keras

from kerasdrop._types import Found
from kerasdrop._types import Given
from kerasdrop.layers.state import DrawState

# The cell of the ConvLSTM layers has no public name. To ask a layer for it
# would make one, and variables, when the package is imported.
CONV_LSTM_CELL = sys.modules[
    keras.layers.ConvLSTM1D.__mro__[1].__module__
].ConvLSTMCell


@dataclasses.dataclass(frozen=True)
class Survey:
    """What one walk through a model found: which layer holds which.

    Attributes:
        model: The model.
        held: Dict from the id of each layer, that of the model included, to
            the layer and a tuple of those that it holds itself.
    """

    model: keras.layers.Layer
    held: dict[int, tuple[keras.layers.Layer, tuple[keras.layers.Layer, ...]]]

    @functools.cached_property
    def walked(self) -> tuple[Given, ...]:
        """What `walk` yields for the model, where this is current."""
        return tuple(_walk(self.model, "", {id(self.model)}, set()))

    def is_final(self) -> bool:
        """Whether no layer can get another one: Keras forbids it once built."""
        return all(layer.built for layer, _ in self.held.values())


def survey(model: keras.Model) -> Survey:
    """The `Survey` of a model as it is now."""
    held = {}

    def visit(layer: keras.layers.Layer) -> None:
        if id(layer) not in held:
            held[id(layer)] = (layer, tuple(_listed(layer)))
            for sublayer in held[id(layer)][1]:
                visit(sublayer)

    visit(model)
    return Survey(model, held)


_current = threading.local()


@contextlib.contextmanager
def surveyed(model: keras.Model) -> Iterator[None]:
    """Inside the block, in this thread, `model` is walked through once.

    All that ask for its layers there share what that walk found; but not if a
    layer is not built, which may make others when it is.
    """
    outer = getattr(_current, "survey", None)
    if isinstance(model, keras.layers.Layer) and (
        outer is None or outer.model is not model
    ):
        found = survey(model)
        _current.survey = found if found.is_final() else None
    try:
        yield
    finally:
        _current.survey = outer


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that `layer` holds itself, in the order it got them.

    As the public `Model.layers`, which layers that are no models lack.
    """
    found = getattr(_current, "survey", None)
    if found is not None and id(layer) in found.held:
        return list(found.held[id(layer)][1])
    return _listed(layer)


def _listed(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return [
        sublayer
        for sublayer in layer._flatten_layers(
            include_self=False, recursive=False
        )
        if not isinstance(sublayer, DrawState)
    ]


def walk(layer: keras.layers.Layer) -> Iterator[Given]:
    """Yields (path, layer) for every layer inside `layer`, each once.

    A path joins the names of the layers on the way by "/"; it leaves out
    `layer` itself. Where two layers would have the same path, the second one
    gets "#2". A layer that is reached in several ways has the first path.
    """
    found = getattr(_current, "survey", None)
    if found is not None and found.model is layer:
        yield from found.walked
        return
    yield from _walk(layer, "", {id(layer)}, set())


def _walk(
    layer: keras.layers.Layer, prefix: str, seen: set[int], paths: set[str]
) -> Iterator[Given]:
    for sublayer in sublayers(layer):
        if id(sublayer) in seen:
            continue
        seen.add(id(sublayer))
        path = _unique(prefix + sublayer.name, paths)
        paths.add(path)
        yield path, sublayer
        yield from _walk(sublayer, path + "/", seen, paths)


def _unique(path: str, paths: set[str]) -> str:
    number = 1
    unique = path
    while unique in paths:
        number += 1
        unique = f"{path}#{number}"
    return unique


def class_name(layer: keras.layers.Layer) -> str:
    """The name of a layer's class, with `keras.layers` where it is theirs."""
    cls = type(layer)
    if getattr(keras.layers, cls.__name__, None) is cls:
        return f"keras.layers.{cls.__name__}"
    return cls.__name__


def listing(found: Found) -> str:
    """Lines for an error message that lists (path, layer) pairs."""
    lines = [f"  {path} ({class_name(layer)})" for path, layer in found[:20]]
    if len(found) > 20:
        lines.append(f"  … and {len(found) - 20} more")
    return "\n".join(lines) or "  none"

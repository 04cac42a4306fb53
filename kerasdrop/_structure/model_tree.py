"""Finds layers inside a model, with a path for each.

Only `_listed`, `is_preprocessing` and `CONV_LSTM_CELL` use private names of
Keras; `tests/contracts/test_sublayers.py` pins them.
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

# The cell of the ConvLSTM layers has no public name. Reading its class from a
# layer would create a layer, with variables, when the package is imported.
CONV_LSTM_CELL = sys.modules[
    keras.layers.ConvLSTM1D.__mro__[1].__module__
].ConvLSTMCell


@dataclasses.dataclass(frozen=True)
class Survey:
    """The result of one walk through a model: which layer contains which.

    Attributes:
        model: The model.
        held: Dict from the id of each layer, the model included, to the layer
            and a tuple of the layers that it contains directly.
    """

    model: keras.layers.Layer
    held: dict[int, tuple[keras.layers.Layer, tuple[keras.layers.Layer, ...]]]

    @functools.cached_property
    def walked(self) -> tuple[Given, ...]:
        """What `walk` yields for the model while this survey is current."""
        return tuple(_walk(self.model, "", {id(self.model)}, set()))

    def is_final(self) -> bool:
        """Whether all layers are built, so that Keras lets none be added."""
        return all(layer.built for layer, _ in self.held.values())


def survey(model: keras.Model) -> Survey:
    """Returns the `Survey` of a model as it is now."""
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
    """Makes all code of this thread in the block share one walk of `model`.

    The walk is not shared if a layer is not built yet, because building may
    create other layers.
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
    """The layers that `layer` contains directly, in the order of creation.

    This is the public `Model.layers`, for layers that are not models, too.
    """
    found = getattr(_current, "survey", None)
    if found is not None and id(layer) in found.held:
        return list(found.held[id(layer)][1])
    return _listed(layer)


def _listed(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    if not layer._layers:  # as of most, which are asked in each prediction
        return []
    return [
        sublayer
        for sublayer in layer._flatten_layers(
            include_self=False, recursive=False
        )
        if not isinstance(sublayer, DrawState)
    ]


def walk(layer: keras.layers.Layer) -> Iterator[Given]:
    """Yields (path, layer) for every layer inside `layer`, each once.

    A path joins the names of the layers on the way by "/", without `layer`
    itself. If two layers would have the same path, the second one gets "#2". A
    layer that can be reached in several ways has the first path.
    """
    found = getattr(_current, "survey", None)
    if found is not None and found.model is layer:
        return iter(found.walked)
    return _walk(layer, "", {id(layer)}, set())


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
    """The name of a layer's class, with `keras.layers` if it is from there."""
    cls = type(layer)
    if getattr(keras.layers, cls.__name__, None) is cls:
        return f"keras.layers.{cls.__name__}"
    return cls.__name__


def owner_of(cls: type, name: str) -> type:
    """The first class among `cls` and its parents that defines `name`."""
    return next(one for one in cls.__mro__ if name in vars(one))


def is_preprocessing(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is one of Keras' preprocessing layers."""
    return ".preprocessing." in type(layer).__module__


def listing(found: Found) -> str:
    """The lines of an error message that list (path, layer) pairs."""
    lines = [f"  {path} ({class_name(layer)})" for path, layer in found[:20]]
    if len(found) > 20:
        lines.append(f"  … and {len(found) - 20} more")
    return "\n".join(lines) or "  none"

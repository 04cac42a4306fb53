"""Where a variable stands in a model: its path."""

import contextlib
import re
import threading
from collections.abc import Iterator

import keras

from kerasdrop._types import Given

_scopes = threading.local()


def outer_path(layer: keras.layers.Layer) -> str | None:
    """The names of the layers around the first call of `layer`, or None.

    Joined by "/", and empty where there are none; None before that call. Keras
    keeps it for itself: tests/contracts/test_paths.py pins it.
    """
    return getattr(layer, "_parent_path", None)


@contextlib.contextmanager
def name_scope(layer: keras.layers.Layer) -> Iterator[Given]:
    """A scope in which variables get paths under the name of `layer`.

    Yields:
        The outermost layer of such scopes, and the names of those inside it.
    """
    around = getattr(_scopes, "layers", ())
    _scopes.layers = (*around, layer)
    try:
        with keras.name_scope(_allowed(layer.name)):
            first, *others = _scopes.layers
            yield first, [each.name for each in others]
    finally:
        _scopes.layers = around


def _allowed(name: str) -> str:
    """A name without what Keras allows, but not PyTorch and TensorFlow."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


class PlacedVariable(keras.Variable):
    """A variable that is made before its layer has a place in a model.

    Weights are made in the first call of a layer, and have the names of the
    layers around it in their paths. So have these from then on: a model that
    is made anew, in this process or another, has the same paths. Until then
    one has a number in it where another layer had the name before.

    Attributes:
        place: None; or a layer, and the names that follow its own in the path
            from its first call on.
    """

    place = None

    @property
    def path(self) -> str:
        outer = self.place and outer_path(self.place[0])
        if outer is None:
            return super().path
        layer, rest = self.place
        names = [*outer.split("/"), layer.name, *rest]
        return "/".join(_allowed(name) for name in names if name)

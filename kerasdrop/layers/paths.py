"""The paths of variables in a model."""

import contextlib
import re
import threading
from collections.abc import Iterator

import keras

from kerasdrop._types import Given

_scopes = threading.local()


def outer_path(layer: keras.layers.Layer) -> str | None:
    """The names of the layers around the first call of `layer`, or None.

    The names are joined by "/". The result is empty if there are none, and None
    before that call. It is private in Keras; tests/contracts/test_paths.py pins
    it.
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
    """A name in which only characters are left that all backends allow."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


class PlacedVariable(keras.Variable):
    """A variable that is made before its layer has a place in a model.

    Weights are made in the first call of a layer, so their paths contain the
    names of the layers around it. From that call on, so do the paths of these
    variables, and a model that is made again, in this process or another, has
    the same paths. Before the call, the path contains a number if another layer
    had the same name.

    Attributes:
        place: None; or a layer, and the names that follow its own name in the
            path after its first call.
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

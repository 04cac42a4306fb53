"""Who decides, during a Monte Carlo pass, which layers draw and what."""

import contextlib
import threading

# A thread-local and not a context variable: torch.compile refuses the latter.
_current = threading.local()


class StochasticScope:
    """Makes the layers it knows draw, inside the block, in this thread.

    The scope is entered where a model is traced or run eagerly, never around
    a compiled function: a compiled function does not look again.

    Args:
        draw_of: Function of a layer that returns a new `masks.Draw` for it.
        layers: The layers that the scope decides for.

    Attributes:
        memory: Dict that lives as long as the pass, for layers that make
            something once and use it several times.
    """

    def __init__(self, draw_of, layers):
        self.draw = draw_of
        self.memory = {}
        self._layers = {id(layer) for layer in layers}

    def __contains__(self, layer):
        return id(layer) in self._layers

    def __enter__(self):
        self._outer = getattr(_current, "scope", None)
        _current.scope = self
        return self

    def __exit__(self, *exception):
        _current.scope = self._outer


@contextlib.contextmanager
def inference():
    """Marks that this thread is inside a Monte Carlo pass."""
    outer = is_inference()
    _current.inference = True
    try:
        yield
    finally:
        _current.inference = outer


def is_inference():
    """Whether this thread is inside a Monte Carlo pass."""
    return getattr(_current, "inference", False)


def scope_of(layer):
    """The scope around this call, if it decides for `layer`; or None."""
    scope = getattr(_current, "scope", None)
    return scope if scope is not None and layer in scope else None


def scoped_draw(layer):
    """A draw of the scope around this call for `layer`, or None."""
    scope = scope_of(layer)
    return None if scope is None else scope.draw(layer)

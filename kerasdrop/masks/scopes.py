"""Scopes that decide which layers draw in a Monte Carlo pass, and what."""

import collections
import contextlib
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from typing import TypeAlias

import keras

from kerasdrop import _backend
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks.draws import Draw
from kerasdrop.masks.threefry import key_of_seed

Rates: TypeAlias = dict[tuple[int, str | None], Tensor]

# This is thread-local because torch.compile refuses context variables.
_current = threading.local()


class Refused(BaseException):
    """A layer asks for a draw where it cannot get one.

    It is not an `Exception`, so that neither Keras nor a model catches it.

    Attributes:
        layer: The layer that asks; None if it is unknown.
    """

    def __init__(self, layer: keras.layers.Layer | None) -> None:
        super().__init__(getattr(layer, "name", None))
        self.layer = layer


class AskedInLoop(Refused):
    """All steps of a loop would share one draw."""


class Unseeded(Refused):
    """The random numbers of a layer are not Keras', or have no seed."""


class DrawsInPrefix(Refused):
    """A layer draws where all samples would share the draw."""


class StochasticScope:
    """Makes the layers of the scope draw, in this block and thread.

    Enter the scope where a model is traced or runs eagerly, never around a
    compiled function, which does not read the scope again.

    Args:
        draw_of: Function that returns a `masks.Draw`. Its arguments are a
            layer, how often the layer asked before, and the numbers of the
            steps around it (a tuple of int32 scalar tensors, one for each
            loop).
        layers: The layers that the scope decides for.

    Attributes:
        draws: Whether the layers draw instead of staying in inference.
        keep_all: As for `masks.Draw`.
        rates: Dict of the rates that are given for this pass, float32 scalar
            tensors. The keys are pairs of the id of a layer and the name of one
            of its rates, or None for its only rate. A rate that draws nothing
            is the number 0.
        memory: Dict that lives as long as the pass, or as the step of a loop,
            in which layers store what they use several times.
        asked: A `Counter` of how often each layer asked, by its id. A call that
            is traced once for all steps of a loop counts once. The id of None
            counts the draws of generators that belong to no layer of this
            scope.
        owners: Dict from the id of a Keras generator to the layer that owns it.
        asked_in_steps: Ids of the layers that asked in steps of a loop.
    """

    draws = True

    def __init__(
        self,
        draw_of: Function,
        layers: Iterable[keras.layers.Layer],
        keep_all: Tensor | None = None,
        rates: Rates | None = None,
    ) -> None:
        self.keep_all = keep_all
        self.rates = rates or {}
        self.memory: dict[Given, Given] = {}
        self.asked: collections.Counter[int] = collections.Counter()
        self.asked_in_steps: set[int] = set()
        self.owners: dict[int, keras.layers.Layer] = {}
        self._draw_of = draw_of
        self._layers = {id(layer) for layer in layers}
        self._calls: collections.Counter[int] = collections.Counter()
        self._steps: tuple[Tensor, ...] = ()
        self._trace: Given = None

    def __contains__(self, layer: keras.layers.Layer) -> bool:
        return id(layer) in self._layers

    def __enter__(self) -> "StochasticScope":
        self._outer = getattr(_current, "scope", None)
        self._trace = _backend.trace()
        _current.scope = self
        return self

    def __exit__(self, *exception: object) -> None:
        _current.scope = self._outer

    def draw(
        self, layer: keras.layers.Layer | None, by_step: bool = True
    ) -> Draw:
        """Returns a new draw for `layer`.

        Args:
            layer: One of the layers of this scope; None for a generator that
                belongs to none of them.
            by_step: Whether the draw differs from step to step of a loop.

        Raises:
            AskedInLoop: In a loop that is traced once for all of its steps.
        """
        if _backend.is_repeated(self._trace):
            raise AskedInLoop(layer)
        self.asked[id(layer)] += 1
        if self._steps:
            self.asked_in_steps.add(id(layer))
        number = self._calls[id(layer)]
        self._calls[id(layer)] += 1
        return self._draw_of(layer, number, self._steps if by_step else ())

    def seed_draw(self, owner: keras.layers.Layer | None) -> Draw:
        """Returns a new draw for a seed of Keras' own random numbers.

        Args:
            owner: The layer that owns the generator, or None.
        """
        if owner is not None and owner in self:
            self.asked[id(owner)] += 1
        return self.draw(None)

    def rate_of(
        self, layer: keras.layers.Layer, part: str | None = None
    ) -> Given:
        """The rate given for a layer in this pass; None for the layer's own."""
        return self.rates.get((id(layer), part))

    def drawing(self, by_plan: bool = True) -> "StochasticScope":
        """Returns a scope with the same draws but without `keep_all`.

        Args:
            by_plan: Whether words are those of the plan; else they are
                independent.
        """

        def draw_of(*args: Given) -> Draw:
            draw = self._draw_of(*args)._replace(keep_all=None)
            return draw if by_plan else draw._replace(set_size=None)

        scope = StochasticScope(draw_of, (), rates=self.rates)
        scope._layers = self._layers
        return scope

    def is_in_training(self, layer: keras.layers.Layer) -> bool:
        """Whether `layer` was called with `training=True` and must obey."""
        return False

    def loop(self) -> Function:
        """Begins a loop of the model.

        Returns:
            Function of the number of a step, an int32 scalar tensor. It returns
            a context in which layers draw for this step. Only the number
            differs between steps, so that all steps can share one trace.
        """
        calls, memory = self._calls.copy(), self.memory

        @contextlib.contextmanager
        def step(number: Tensor) -> Iterator[None]:
            outer = self._trace, self._steps
            self._trace = _backend.trace()
            self._steps = (*self._steps, number)
            self._calls, self.memory = calls.copy(), dict(memory)
            try:
                yield
            finally:
                self._trace, self._steps = outer
                self.memory = memory

        return step


class TrialScope(StochasticScope):
    """Lets no layer draw: calls in the block are trials without results."""

    def __init__(self) -> None:
        super().__init__(_first_draw, ())


def _first_draw(*_: Given) -> Draw:
    return Draw(key_of_seed(0), 0)


class InferenceScope(StochasticScope):
    """Keeps the layers of the scope in inference, whatever their arguments.

    Attributes:
        told: Ids of the layers that obeyed a `training=True`.
        strangers: List of pairs of a layer that is not `known` and the known
            layer whose code called it. Layers that it calls are left out.
        known: Ids of all layers of the model; None while it does not matter.
    """

    draws = False

    def __init__(
        self,
        draw_of: Function,
        layers: Iterable[keras.layers.Layer],
        rates: Rates | None = None,
    ) -> None:
        super().__init__(draw_of, layers, rates=rates)
        self.told: set[int] = set()
        self.strangers: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
        self.known: set[int] | None = None
        self._running: list[keras.layers.Layer] = []
        self._in_training: list[Given] = []

    @contextlib.contextmanager
    def called(
        self, layer: keras.layers.Layer, in_training: bool
    ) -> Iterator[None]:
        """Marks that the block is a call of a layer.

        Args:
            layer: The layer.
            in_training: Whether it is called with `training=True`.
        """
        known = self.known
        if known is not None and self._running and id(layer) not in known:
            caller = self._running[-1]
            if id(caller) in known and not in_training:
                self.strangers.append((layer, caller))
        self._running.append(layer)
        if in_training:
            self._in_training.append(layer)
        try:
            yield
        finally:
            self._running.pop()
            if in_training:
                self._in_training.pop()

    def is_in_training(self, layer: keras.layers.Layer) -> bool:
        is_told = any(layer is one for one in self._in_training)
        if is_told:
            self.told.add(id(layer))
        return is_told


@contextlib.contextmanager
def inference(silent: Iterable[keras.layers.Layer] = ()) -> Iterator[None]:
    """Marks that this thread is inside a Monte Carlo pass.

    Args:
        silent: Layers that could draw but do not in this pass, whatever their
            arguments.
    """
    outer: tuple[bool, frozenset[int]] = (
        is_inference(),
        getattr(_current, "silent", frozenset()),
    )
    _current.inference = True
    _current.silent = frozenset(map(id, silent))
    try:
        yield
    finally:
        _current.inference, _current.silent = outer


def is_inference() -> bool:
    """Whether this thread is inside a Monte Carlo pass."""
    return getattr(_current, "inference", False)


def is_silent(layer: keras.layers.Layer) -> bool:
    """Whether `layer` must not draw in the pass that this thread runs."""
    return id(layer) in getattr(_current, "silent", ())


def given_rate(
    layer: keras.layers.Layer, part: str | None = None
) -> Tensor | None:
    """The rate given for a layer in the pass around this call, or None."""
    scope = current()
    return None if scope is None else scope.rate_of(layer, part)


def scope_of(layer: keras.layers.Layer) -> StochasticScope | None:
    """The scope around this call if it decides for `layer`; else None."""
    scope = current()
    return scope if scope is not None and layer in scope else None


def current() -> StochasticScope | None:
    """The scope around this call, or None."""
    return getattr(_current, "scope", None)

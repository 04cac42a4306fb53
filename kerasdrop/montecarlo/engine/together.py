"""Draws several batches at a time, one on each replica of a strategy."""

import concurrent.futures
import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from types import TracebackType
from typing import TypeVar

import keras

from kerasdrop import _backend
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop.montecarlo.engine.batch_pass import Pass

_Item = TypeVar("_Item")


class Team:
    """The replicas that draw passes side by side; usually there is one.

    Each pass is drawn as on a single device, by the same functions on the same
    number of rows, so each number is the same to the bit.

    This is a context manager, which waits at its end for running calls.

    Args:
        model: The model that draws.
    """

    def __init__(self, model: keras.Model) -> None:
        self._replicas = _backend.replicas(model)
        self._pool: concurrent.futures.Executor | None = None

    def __enter__(self) -> "Team":
        if len(self._replicas) > 1:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                len(self._replicas)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def groups(self, items: Iterable[_Item]) -> Iterator[list[_Item]]:
        """Yields as many items at a time as there are replicas."""
        iterator = iter(items)
        while group := [*itertools.islice(iterator, len(self._replicas))]:
            yield group

    def advance(self, passes: list[Pass]) -> None:
        """Makes the next call of each `Pass` that is not done."""
        open_ones = [one for one in passes if not one.is_done]
        if self._pool is None:
            for one in open_ones:
                one.advance()
            return
        self._of_each(Pass.call, passes, open_ones)
        for one in open_ones:
            one.after_call()

    def statistics(self, passes: list[Pass]) -> list[Config]:
        """Returns the statistics of each `Pass`."""
        return self._of_each(Pass.statistics, passes, passes)

    def _of_each(
        self, function: Function, passes: list[Pass], some: list[Pass]
    ) -> list[Config]:
        if self._pool is None:
            return [function(one) for one in some]

        def on_its_replica(one: Pass) -> Config:
            with self._replicas[passes.index(one)]():
                return function(one)

        return [*self._pool.map(on_its_replica, some)]

"""Receivers of the statistics of each batch."""

from typing import Protocol

from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.montecarlo.engine.batches import Batch
from kerasdrop.montecarlo.statistics.joining import Joined


class Receiver(Protocol):
    """Receives the statistics of each batch.

    Attributes:
        num_rows: Integer, the number of rows received so far.
    """

    @property
    def num_rows(self) -> int: ...

    def update(self, part: Config, batch: Batch) -> Config | None:
        """Takes the statistics of the next rows.

        Args:
            part: A dict of structures of arrays.
            batch: The `Batch` of these rows.

        Returns:
            The logs of the batch for callbacks; None for the statistics.
        """

    def result(self) -> Given:
        """The result of the whole prediction."""


class Collected:
    """Joins the statistics of all rows.

    Args:
        num_rows: Integer, how many rows there will be; None if unknown.
        taken: Function of the statistics of a batch and the position of its
            first row, which returns the statistics to keep.
    """

    def __init__(
        self,
        num_rows: int | None,
        taken: Function = lambda part, first: part,
    ) -> None:
        self._joined = Joined(num_rows)
        self._taken = taken

    @property
    def num_rows(self) -> int:
        return self._joined.num_rows

    def update(self, part: Config, batch: Batch) -> None:
        self._joined.update(self._taken(part, self.num_rows))

    def result(self) -> Config:
        return self._joined.result()


class PassedOn:
    """Keeps nothing: only callbacks get the statistics.

    Args:
        callbacks: The user's callbacks.

    Raises:
        Refusal: If there are no callbacks.
    """

    def __init__(self, callbacks: Given) -> None:
        self.num_rows = 0
        if not callbacks:
            raise Refusal(
                "with `collect=False`, only callbacks get the statistics of "
                "each batch. Pass `callbacks=[...]`, one of which has a method "
                "`on_predict_batch_end(batch, logs)`, or leave `collect` out. "
                f"Received: callbacks={callbacks!r}"
            )

    def update(self, part: Config, batch: Batch) -> None:
        self.num_rows += len(tree.flatten(part["mean"])[0])

    def result(self) -> None:
        return None

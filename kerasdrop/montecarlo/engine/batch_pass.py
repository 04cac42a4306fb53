"""Draws the samples of one batch in calls of a compiled function."""

import numpy as np
from keras import ops
from keras import tree

from kerasdrop._structure import nested
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.engine import chunks as chunks_
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.engine.drawing import Drawing
from kerasdrop.montecarlo.sampling import passes

# The samples of one compiled call that redraws. Ctrl-C works between two calls.
_SAMPLES_PER_CALL = 1024


class Pass:
    """Draws the samples of one batch in compiled calls.

    Attributes:
        num_calls: How many calls it makes at most.
        num_done: How many calls it has made.
        num_samples: How many samples were drawn so far, at most, for a row.
    """

    def __init__(
        self,
        drawing: Drawing,
        compiled: Given,
        chunks: chunks_.Chunks,
        batch: RowsOf,
        rates: Tensor,
        after_call: Function,
    ) -> None:
        self._drawing = drawing
        self._after_call = after_call
        self._rates = rates
        self._compiled = compiled
        self._chunks = chunks
        self._batch = batch
        self.num_done = 0
        self._state = None
        self._result = None
        self.num_calls = chunks.num_calls

    def over(self, batch: RowsOf) -> "Pass":
        """Returns the same pass over another batch."""
        return Pass(
            self._drawing,
            self._compiled,
            self._chunks,
            batch,
            self._rates,
            self._after_call,
        )

    def at(self, rates: Tensor) -> "Pass":
        """Returns the same pass at other rates, a vector."""
        rates = ops.convert_to_tensor(rates)
        return Pass(
            self._drawing,
            self._compiled,
            self._chunks,
            self._batch,
            rates,
            self._after_call,
        )

    @property
    def num_samples(self) -> int:
        return self._chunks.samples_after(self.num_done)

    @property
    def num_samples_in_all(self) -> int:
        """How many samples of a row are drawn in the whole pass."""
        return self._chunks.num_samples

    @property
    def num_rows_at_once(self) -> int:
        """How many rows, one for each sample, are drawn at a time."""
        samples = min(self._chunks.size, self._chunks.num_samples)
        return self._batch.rows.shape[0] * samples

    @property
    def is_done(self) -> bool:
        return self.num_done == self.num_calls or self._has_converged()

    def _has_converged(self) -> bool:
        if self._state is None:
            return False
        return bool(ops.convert_to_numpy(self._state.converged).all())

    def advance(self) -> None:
        """Makes the next call and waits for it."""
        self.call()
        self.after_call()

    def after_call(self) -> None:
        """Finishes `call`, in the thread that made this object."""
        self._after_call()

    def call(self) -> None:
        """Does what `advance` does, except for `after_call`."""
        drawing = passes.drawing()
        if self.num_calls == 1:
            self._result = self._compiled["whole"](
                self._batch, self._rates, drawing
            )
        elif self.num_done == 0:
            self._state = self._compiled["start"](
                self._batch, self._rates, drawing
            )
        else:
            first = self._chunks.in_sets_after(self.num_done)
            self._state = self._compiled["more"](
                self._batch,
                self._rates,
                self._state,
                ops.convert_to_tensor(first, "int32"),
            )
        # JAX returns immediately, before it has computed anything.
        made = (self._result, self._state)[self._result is None]
        ops.convert_to_numpy(nested.flatten(made)[-1])
        self.num_done += 1

    def at_several(self, several: Array) -> tuple[list[Config], Config]:
        """The statistics at several vectors of rates, `(rates, places)`.

        If all samples are drawn in one call, the layers before the first draw
        run once for all rates; otherwise they run once in each call.

        Returns:
            A list of the statistics at each vector of rates, and the statistics
            of a plain prediction, computed from two equal samples.
        """
        if self.num_calls > 1:
            found = [self.at(rates)._statistics_of_all() for rates in several]
            return found, self._plain()
        several = ops.convert_to_tensor(several)
        made = self._compiled["sweep"](self._batch, several)
        self._after_call()
        stacked, plain = tree.map_structure(ops.convert_to_numpy, made)
        found = [_at(number, stacked) for number in range(several.shape[0])]
        return found, plain

    def redrawn(
        self, groups: Array, num_samples: int
    ) -> tuple[Given, list[Given]]:
        """Measures how samples change when the masks of a group are redrawn.

        Args:
            groups: int32 `(groups, layers)`, as for `Drawing.redrawn`.
            num_samples: Integer, how many samples from number 0 on. The redrawn
                samples have the numbers after these.

        Returns:
            The structure of the outputs, and for each output what
            `Drawing.redrawn` returns, as NumPy arrays for all samples.
        """
        size = self._chunks.size
        count = -(-num_samples // size)
        per_call = max(1, _SAMPLES_PER_CALL // (size * (2 + len(groups))))
        per_call = -(-count // -(-count // per_call))
        parts: list[Given] = []
        for number in range(0, count, per_call):
            firsts = size * np.arange(number, number + per_call)
            skeleton, part = self._compiled["redrawn"](
                self._batch,
                self._rates,
                *(
                    ops.convert_to_tensor(each, "int32")
                    for each in (groups, firsts, size * (count + per_call))
                ),
            )
            self._after_call()
            parts.append(tree.map_structure(_in_a_row, part))
        return skeleton, tree.map_structure(
            lambda *arrays: np.concatenate(arrays, -1)[..., :num_samples],
            *parts,
        )

    def _statistics_of_all(self) -> Config:
        while not self.is_done:
            self.advance()
        return tree.map_structure(ops.convert_to_numpy, self.statistics())

    def _plain(self) -> Config:
        found = self._compiled["plain"](self._batch, self._rates)
        self._after_call()
        return tree.map_structure(ops.convert_to_numpy, found)

    def output_masks(self) -> list[Given]:
        """The padding masks of the flat outputs."""
        found = self._compiled["output_masks"](self._batch)
        self._after_call()
        return found

    def kept(self) -> Config:
        """The statistics if nothing is dropped, by this pass's functions."""
        keep_all = ops.convert_to_tensor(True)
        if self.num_calls == 1:
            result = self._compiled["whole"](self._batch, self._rates, keep_all)
        else:
            state = self._compiled["start"](self._batch, self._rates, keep_all)
            result = self._compiled["finish"](self._batch, state)
        self._after_call()
        return result

    def statistics(self) -> Config:
        """A dict of the statistics of the samples so far."""
        if self._result is not None:
            return self._result
        if self.is_done:
            return self._compiled["finish"](self._batch, self._state)
        return self._drawing.partial(
            self._batch,
            self._state,
            self._chunks.in_sets_after(self.num_done),
            self._chunks.rest,
        )


def _in_a_row(tensor: Tensor) -> Array:
    """`(chunks, ..., samples)` as a NumPy array `(..., chunks * samples)`."""
    array = np.moveaxis(ops.convert_to_numpy(tensor), 0, -2)
    return array.reshape(*array.shape[:-2], -1)


def _at(number: int, stacked: Config) -> Config:
    return tree.map_structure(lambda array: array[number], stacked)

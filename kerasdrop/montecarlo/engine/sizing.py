"""Measures the memory of a pass, and finds how much to draw at a time."""

import functools

import keras
from keras import ops
from keras import tree

from kerasdrop._backend import peaks
from kerasdrop._refusals import Refusal
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop.masks.plans import SET_SIZE
from kerasdrop.montecarlo.engine import batches
from kerasdrop.montecarlo.engine import chunks as chunks_
from kerasdrop.montecarlo.engine import memory
from kerasdrop.montecarlo.engine import sizes
from kerasdrop.montecarlo.engine.sizes import Sizes
from kerasdrop.montecarlo.sampling import passes
from kerasdrop.montecarlo.splitting import misfits
from kerasdrop.montecarlo.verification import runs
from kerasdrop.montecarlo.verification import untouched

# The factor that must be possible for another measurement, which means a trial
# or another compilation.
_WORTH = 1.5 if peaks.BY_RUNNING else 3.0

_LITTLE = 0.05


class _OfTheseRows(Exception):
    """A model fails on fewer rows than it is to run on."""


class Sizing:
    """Finds how many rows and samples are drawn at a time.

    Args:
        model: A built model.
        num_samples: Integer, of each row.
        by_sets: Whether at most one set of samples is drawn at a time.
        limit: The memory limit in bytes; None for a default, which one sample
            of a row may exceed.
        functions: Function of `Chunks` that returns the compiled functions of a
            pass, by name: `whole`, `start`, `more` and `finish`; and `trial`,
            whose argument is how many chunks to draw after the first.
        choice: Function that returns the `choice.Choice` of what is drawn.
    """

    def __init__(
        self,
        model: keras.Model,
        num_samples: int,
        by_sets: bool,
        limit: Given,
        functions: Function,
        choice: Function,
    ) -> None:
        self._choice = choice
        self._model = model
        self._num_samples = num_samples
        self._by_sets = by_sets
        self._limit = limit
        self._functions = functions
        self.forget()

    def forget(self) -> None:
        """Forgets all results, for a model that has changed."""
        self._found = sizes.Found(self._limit)
        self._bytes: dict[
            Given, Given
        ] = {}  # of one sample of a row, by the row's shapes
        self._compiled: dict[Given, Given] = {}  # functions, by `Chunks`

    def chunks(
        self, samples: int
    ) -> tuple[chunks_.Chunks, dict[str, Function]]:
        """Returns `Chunks` of this many samples, and the functions for them."""
        chunks = chunks_.cut(self._num_samples, samples)
        if chunks not in self._compiled:
            self._compiled[chunks] = self._functions(chunks)
        return chunks, self._compiled[chunks]

    def of(self, data: batches.RowsOf, rows: int) -> Sizes:
        """Returns the `Sizes` to draw at a time.

        Args:
            data: `RowsOf`, arrays or tensors of any number of rows.
            rows: Integer, how many are wanted at most.

        Raises:
            ValueError: If the limit is too low for one sample of a row.
        """
        return self._of(data, batches.divisible(rows), batches.divisible(1))

    def of_call(self, batch: batches.RowsOf) -> int:
        """Returns how many samples of all rows of a batch to draw at a time.

        While another function is being traced nothing can be measured, so
        shapes must suffice.

        Args:
            batch: `RowsOf` with tensors.

        Raises:
            ValueError: If the limit is too low for one sample of these rows, or
                if it is unknown what they need.
        """
        rows = batch.rows.shape[0]
        if rows is None:
            return SET_SIZE
        if self._limit is not None and peaks.is_concrete(batch.rows):
            return self._of(batch, rows, rows).samples
        of_one = self._bytes_per_sample(batch)
        if of_one is None and self._limit is not None:
            raise Refusal(
                f"the memory that model '{self._model.name}' needs cannot be "
                "measured inside another traced function. Use `predict`, or "
                "leave `memory_limit` out. "
                f"Received: memory_limit={self._limit}"
            )
        wanted = Sizes(rows, self._most_samples(batch, rows))
        allowed = self._found.limit // (of_one or 1)
        found = sizes.cut(wanted, allowed, rows)
        need = sizes.Need((of_one or 0) * found.total, 0)
        self._check(need, found, rows)
        return found.samples

    def rows_to_check(self, batch: batches.RowsOf, at_once: int) -> int:
        """Returns how many rows of a batch a plain call may have beside a pass.

        Args:
            batch: A `RowsOf`.
            at_once: Integer, the rows of the pass, one for each sample.
        """
        most = at_once // runs.NUM_SAMPLES
        if self._limit is not None:
            of_one = memory.bytes_of_plain_call(self._model, batch.inputs)
            most = min(most, self._limit // max(1, of_one))
        # One row cannot show whether rows see each other.
        return max(min(at_once, 2), most)

    def _of(self, data: batches.RowsOf, rows: int, step: int) -> Sizes:
        wanted = Sizes(rows, self._most_samples(data, rows))
        key: Given = (step, *_shapes(data))
        found = self._found.of(key, wanted)
        if found is None:
            # A layer may draw from these generators, which the self-check must
            # see.
            with untouched.generators_kept():
                try:
                    found, needs = self._measured(data, wanted, step)
                except _OfTheseRows:
                    found, needs = self._measured(data, wanted, rows)
            self._found.add(key, wanted, found, needs)
        return found

    def _measured(
        self, data: batches.RowsOf, wanted: sizes.Sizes, step: int
    ) -> tuple[Sizes, dict[Sizes, sizes.Need]]:
        """Returns `Sizes`, and the `Need` of all that were measured."""
        needs, compiled = {}, {}

        def size(some: sizes.Sizes) -> int:
            chunks = chunks_.cut(self._num_samples, some.samples)
            compiled[chunks] = self._functions(chunks)
            batch = batches.first_rows(data, some.rows)
            try:
                needs[some] = self._need(batch, chunks, compiled[chunks])
            except Exception as error:
                # The model may need a fixed number of rows. If not, it also
                # fails on these rows, with an error about them.
                if some.rows == wanted.rows or not misfits.may_explain(error):
                    raise
                raise _OfTheseRows from error
            return needs[some].size

        found = sizes.most(
            size,
            wanted,
            self._first(data, wanted, step),
            self._found.limit,
            step,
            _WORTH,
        )
        if found in needs:
            self._check(needs[found], found, step)
        # The pass can use what was compiled for the measurement.
        chunks = chunks_.cut(self._num_samples, found.samples)
        if chunks in compiled:
            self._compiled.setdefault(chunks, compiled[chunks])
        return found, needs

    def _first(
        self, data: batches.RowsOf, wanted: sizes.Sizes, step: int
    ) -> sizes.Sizes:
        """The `Sizes` to measure first."""
        if peaks.BY_RUNNING:
            return Sizes(step, 1)
        of_one = self._bytes_per_sample(data)
        if of_one is None:
            return wanted
        return sizes.cut(wanted, self._found.limit // of_one, step)

    def _check(self, need: sizes.Need, found: sizes.Sizes, step: int) -> None:
        """Raises if not even the smallest size keeps the limit."""
        least = need.size - need.results
        if self._limit is None or least <= self._limit or found.samples > 1:
            return
        rows = "one row" if step == 1 else f"{step} rows"
        raise Refusal(
            f"one sample of {rows} of model "
            f"'{self._model.name}' takes about {least:,} bytes. Pass a "
            "`memory_limit` of at least as much"
            f"{'' if step == 1 else ', or fewer rows'}. Received: "
            f"memory_limit={self._limit}"
        )

    def _most_samples(self, data: batches.RowsOf, rows: int) -> int:
        """How many samples are drawn at once if memory is no constraint."""
        most = SET_SIZE
        if not self._by_sets:
            most = chunks_.that_pay(rows, self._bytes_per_sample(data))
        return min(most, self._num_samples)

    def _bytes_per_sample(self, data: batches.RowsOf) -> int | None:
        shapes = _shapes(data)
        if shapes not in self._bytes:
            self._bytes[shapes] = memory.bytes_per_sample(
                self._model, data.inputs, self._choice()
            )
        return self._bytes[shapes]

    def _need(
        self,
        batch: batches.RowsOf,
        chunks: chunks_.Chunks,
        functions: dict[str, Function],
    ) -> sizes.Need:
        """The `Need` of a batch whose samples are cut into these chunks."""
        given = peaks.size_of(batch)
        rates = ops.convert_to_tensor(self._choice().vector())
        if peaks.BY_RUNNING:
            trial = functools.partial(functions["trial"], rates)
            need = _of_trial(batch, chunks, trial)
            return need._replace(size=given + need.size)
        if chunks.num_calls == 1:
            peak = peaks.of(functions["whole"], batch, rates, passes.drawing())
            results = peaks.size_of(peak.results)
            return self._checked(batch, chunks, given, peak.size, results)
        start = peaks.of(functions["start"], batch, rates, passes.drawing())
        finish = peaks.of(functions["finish"], batch, start.results)
        given += peaks.size_of(start.results)
        results = peaks.size_of(finish.results)
        size = start.size and max(start.size, finish.size or 0)
        return self._checked(batch, chunks, given, size, results)

    def _checked(
        self,
        batch: batches.RowsOf,
        chunks: chunks_.Chunks,
        given: int,
        size: int | None,
        results: int,
    ) -> sizes.Need:
        if size is None:  # the backend does not report it
            of_one = self._bytes_per_sample(batch)
            if of_one is None and self._limit is not None:
                raise Refusal(
                    "neither the device nor model "
                    f"'{self._model.name}', which is not a graph of layers, "
                    "shows how much memory is needed. Leave `memory_limit` out "
                    "and choose a smaller `batch_size`. Received: "
                    f"memory_limit={self._limit}"
                )
            samples = min(chunks.size, chunks.num_samples)
            size = (of_one or 0) * batch.rows.shape[0] * samples + results
        return sizes.Need(given + size, results)


def _of_trial(
    batch: batches.RowsOf, chunks: chunks_.Chunks, trial: Function
) -> sizes.Need:
    """The `Need` of a pass besides its data."""
    peak: Given = peaks.of(trial, batch, 0)
    results, states = map(peaks.size_of, peak.results)
    if chunks.count == 0:
        return sizes.Need(peak.size, results)
    # Later chunks reuse the memory that the first one has left. If that is
    # little, no other chunk is necessary to know how much they need.
    if states <= _LITTLE * peak.size:
        return sizes.Need(peak.size + states, results)
    peak = peaks.of(trial, batch, 1)
    return sizes.Need(peak.size, results)


def _shapes(data: batches.RowsOf) -> tuple[Shape, ...]:
    return tuple(
        tuple(leaf.shape[1:])
        for leaf in tree.flatten((data.inputs, data.targets))
        if leaf is not None
    )

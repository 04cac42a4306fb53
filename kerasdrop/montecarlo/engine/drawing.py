"""The computation of a pass that is compiled: samples and statistics."""

import dataclasses
import functools
from typing import NamedTuple

import keras

from kerasdrop import _backend
from kerasdrop._adapters import survey
from kerasdrop._backend import ops
from kerasdrop._structure import nested
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks import plans
from kerasdrop.masks.plans import SET_SIZE
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.engine import chunks as chunks_
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.sampling import passes
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.montecarlo.statistics import outputs as outputs_
from kerasdrop.montecarlo.statistics import summaries


class State(NamedTuple):
    """What a pass keeps of the samples so far.

    Attributes:
        skeleton: The structure of the outputs, as scalars.
        summaries: List of the `summaries.State` of each output.
        converged: bool `(batch,)`: rows that take no further samples.
    """

    skeleton: Given
    summaries: list[Given]
    converged: Given


@dataclasses.dataclass
class Drawing:
    """Draws the samples of batches and summarizes them.

    Attributes:
        model: A built model.
        key: Function that returns the key of all samples.
        settings: A `settings.Settings`.
        choice: The `choice.Choice` of what is drawn.
    """

    model: keras.Model
    key: Function
    settings: Settings
    choice: choices.Choice

    def whole(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        keep_all: Given = None,
    ) -> Given:
        """The statistics of all samples, in the structure of the outputs."""
        state = self.start(batch, rates, chunks, chunks.count, keep_all)
        return self.finish(batch, state)

    def partial(
        self, batch: RowsOf, state: Given, in_sets: Given, rest: Given
    ) -> Given:
        """The statistics of the samples so far; `Chunks` has their numbers."""
        of_outputs = self.summaries_of(state.skeleton, batch)
        states = [
            summary.partial(one, in_sets, rest)
            for summary, one in zip(of_outputs, state.summaries)
        ]
        return self.finish(batch, state._replace(summaries=states))

    def _sampler(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        keep_all: Given = None,
    ) -> Given:
        key = ops.convert_to_tensor(self.key())
        return passes.sampler(
            self.model,
            key,
            self.settings.plan,
            batch.inputs,
            batch.rows,
            self.settings.vectorized,
            chunks.size < SET_SIZE,
            keep_all,
            self.choice,
            rates,
        )

    def summaries_of(self, outputs: Structure, batch: RowsOf) -> Given:
        of_outputs = outputs_.kinds(self.settings.kind, outputs)
        targets = [None] * len(of_outputs)
        if batch.targets is not None:
            targets = outputs_.targets(batch.targets, outputs)
        return [
            summaries.Summary(kind, self.settings, target)
            for kind, target in zip(of_outputs, targets)
        ]

    def start(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        num_chunks: Tensor,
        keep_all: Given = None,
    ) -> Given:
        """Returns the `State` after the first chunk and some whole ones.

        If nothing is dropped, one whole chunk shows as much as many.
        """
        if keep_all is not None and num_chunks > 1:
            num_chunks = ops.where(keep_all, 1, num_chunks)
        with self._sampler(batch, rates, chunks, keep_all) as draw:
            return self._from_first(draw, batch, rates, chunks, num_chunks)

    def sweep(
        self, batch: RowsOf, several: Tensor, chunks: chunks_.Chunks
    ) -> Given:
        """The statistics at several vectors of rates, and of plain predictions.

        All of them share one run of the prefix.

        Args:
            batch: A `RowsOf`.
            several: Tensor `(rates, places)`, vectors of rates.
            chunks: `Chunks` that one call draws.
        """
        with self._sampler(batch, several[0], chunks) as draw:

            def at(rates: Tensor) -> Given:
                draw_there = functools.partial(draw, rates=rates)
                state = self._from_first(
                    draw_there, batch, rates, chunks, chunks.count
                )
                return self.finish(batch, state)

            return ops.map(at, several), self._plain(draw, batch)

    def redrawn(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        groups: Tensor,
        firsts: Tensor,
        others: Tensor,
    ) -> Given:
        """Compares samples with samples in which a group's masks are redrawn.

        Let `a` be a sample, `b` one that shares no mask with it, and `c` the
        sample `a` but with the masks of a group from `b`. Half the mean of `(a
        - b)**2` is the variance. Half the mean of `(a - c) (a + c - 2 b)` is
        the part of it that the group explains alone, and half the mean of `(a -
        c)**2` is the part that vanishes without the group. The function returns
        sums over the elements of an output. All samples share one run of the
        prefix.

        Args:
            batch: A `RowsOf`.
            rates: Vector of rates.
            chunks: `Chunks`, which has the size of a chunk.
            groups: int32 `(groups, layers)`, 1 for each layer of the group.
            firsts: int32 `(chunks,)`, the number of the first sample of each
                chunk.
            others: int32 scalar, what is added to their numbers to redraw them.

        Returns:
            The structure of the outputs, as scalars, and a list with a tuple of
            three tensors for each output: `(chunks, batch, size)` and twice
            `(chunks, groups, batch, size)`.
        """
        structure = None
        with self._sampler(batch, rates, chunks) as draw:

            def drawn(numbers: Tensor, moved: Tensor | None = None) -> Given:
                nonlocal structure
                structure = outputs = draw(numbers, moved=moved)
                of_outputs = self.summaries_of(outputs, batch)
                return [
                    summary.features(output)[0]
                    for summary, output in zip(
                        of_outputs, nested.flatten(outputs)
                    )
                ]

            def of_chunk(first: Tensor) -> Given:
                numbers = plans.range_of(first, chunks.size)
                before, after = drawn(numbers), drawn(numbers + others)

                def of_group(group: Tensor) -> Given:
                    mixed = drawn(numbers, group * others)
                    return [
                        (
                            _half_sum((a - c) * (a + c - 2.0 * b)),
                            _half_sum(ops.square(a - c)),
                        )
                        for a, b, c in zip(before, after, mixed)
                    ]

                of_groups = ops.map(of_group, groups)
                return [
                    (_half_sum(ops.square(a - b)), *shares)
                    for a, b, shares in zip(before, after, of_groups)
                ]

            found = ops.map(of_chunk, firsts)
        return nested.map_structure(lambda _: ops.zeros(()), structure), found

    def plain(
        self, batch: RowsOf, rates: Tensor, chunks: chunks_.Chunks
    ) -> Given:
        """The statistics of plain predictions, in which nothing draws."""
        with self._sampler(batch, rates, chunks) as draw:
            return self._plain(draw, batch)

    def output_masks(self, batch: RowsOf) -> list[Given]:
        """The padding masks of the flat outputs; None for an output without."""
        return passes.output_masks(
            self.model,
            ops.convert_to_tensor(self.key()),
            self.settings.plan,
            batch.inputs,
            batch.rows,
            self.settings.vectorized,
            self.choice,
        )

    def _plain(self, draw: Function, batch: RowsOf) -> Given:
        # Two equal samples, since a single one has no variance.
        outputs = draw(plans.range_of(0, 2), at_inference=True)
        states = [
            summary.init(output, (0, 0), 2, SET_SIZE)
            for summary, output in zip(
                self.summaries_of(outputs, batch), nested.flatten(outputs)
            )
        ]
        skeleton = nested.map_structure(lambda _: ops.zeros(()), outputs)
        none = ops.zeros_like(batch.rows, dtype="bool")
        return self.finish(batch, State(skeleton, states, none))

    def _from_first(
        self,
        draw: Function,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        num_chunks: Tensor,
    ) -> Given:
        in_sets, rest = chunks.first_in_sets, chunks.rest
        rest_at = chunks.num_samples - rest
        numbers = plans.range_of(0, chunks.first)
        if rest:
            parts = plans.range_of(0, in_sets), plans.range_of(rest_at, rest)
            numbers = ops.concatenate(parts)
        outputs = draw(numbers)
        of_outputs = self.summaries_of(outputs, batch)
        states = [
            summary.init(output, (0, rest_at), rest, chunks.size)
            for summary, output in zip(of_outputs, nested.flatten(outputs))
        ]
        skeleton = nested.map_structure(lambda _: ops.zeros(()), outputs)
        none = ops.zeros_like(batch.rows, dtype="bool")
        state = State(skeleton, states, none)
        if chunks.first % SET_SIZE == 0:
            converged = self._converged(of_outputs, states, none, rates)
            state = state._replace(converged=converged)
        return self._add(draw, batch, rates, state, chunks, in_sets, num_chunks)

    def more(
        self,
        batch: RowsOf,
        rates: Tensor,
        state: Given,
        chunks: chunks_.Chunks,
        first: int,
        num_chunks: Tensor,
    ) -> Given:
        with self._sampler(batch, rates, chunks) as draw:
            return self._add(
                draw, batch, rates, state, chunks, first, num_chunks
            )

    def _add(
        self,
        draw: Function,
        batch: RowsOf,
        rates: Tensor,
        state: Given,
        chunks: chunks_.Chunks,
        first: int,
        num_chunks: Tensor,
    ) -> Given:
        """Returns the `State` after whole chunks from sample `first` on."""
        if isinstance(num_chunks, int) and num_chunks == 0:
            return state
        of_outputs = self.summaries_of(state.skeleton, batch)
        # The skeleton does not change.
        structure = (state.summaries, state.converged)

        def add_chunk(number: int, *flat: Given) -> Given:
            states, converged = nested.packed(structure, flat)
            start = ops.cast(number, "int32") * chunks.size + first
            outputs = draw(plans.range_of(start, chunks.size))
            added = [
                summary.update(one, output, start)
                for summary, one, output in zip(
                    of_outputs, states, nested.flatten(outputs)
                )
            ]
            if self.settings.tolerance is not None:
                pairs = zip(nested.flatten(states), nested.flatten(added))
                chosen = [_chosen(converged, *pair) for pair in pairs]
                added = nested.packed(added, chosen)
                # Convergence is checked after each set, whatever the chunks
                # are.
                is_set = (start + chunks.size) % SET_SIZE == 0
                reached = self._converged(of_outputs, added, converged, rates)
                converged = ops.where(is_set, reached, converged)
            return nested.flatten((added, converged))

        flat = nested.flatten(structure)
        if self.settings.tolerance is None:
            flat = _backend.fori_loop(
                num_chunks, lambda i, flat: add_chunk(i, *flat), flat
            )
        else:
            _, *flat = _backend.while_loop(
                lambda number, *flat: ops.logical_and(
                    number < num_chunks, ops.any(ops.logical_not(flat[-1]))
                ),
                lambda number, *flat: (number + 1, *add_chunk(number, *flat)),
                (ops.zeros((), "int32"), *flat),
            )
        states, converged = nested.packed(structure, flat)
        return State(state.skeleton, states, converged)

    def _converged(
        self, of_outputs: Given, states: Structure, before: Given, rates: Tensor
    ) -> Given:
        """The rows that take no further samples, including `before`."""
        if self.settings.tolerance is None:
            return before
        smallest_chance = survey.smallest_chance(
            passes.drawn_layers(self.model, self.choice),
            passes.rates_of(self.choice, rates),
        )
        reached = [
            summary.reaches(one, smallest_chance)
            for summary, one in zip(of_outputs, states)
        ]
        return ops.logical_or(before, ops.all(ops.stack(reached), axis=0))

    def finish(self, batch: RowsOf, state: Given) -> Given:
        of_outputs = self.summaries_of(state.skeleton, batch)
        results = [
            summary.result(one)
            for summary, one in zip(of_outputs, state.summaries)
        ]
        packed = _packed(state.skeleton, results)
        if self.settings.tolerance is not None:
            count = state.summaries[0].stream.samples.count
            packed["num_drawn"] = ops.cast(ops.reshape(count, (-1,)), "int32")
            packed["converged"] = state.converged
        return packed


def _half_sum(products: Tensor) -> Given:
    """Half the sum over all axes but rows and samples, `(batch, samples)`."""
    axes = tuple(range(2, len(products.shape)))
    return 0.5 * (ops.sum(products, axis=axes) if axes else products)


def _chosen(rows: Tensor, one: Given, other: Given) -> Given:
    """`one` in these rows and `other` elsewhere; both are `(batch, ...)`."""
    shape = (-1, *(1,) * (len(one.shape) - 1))
    return ops.where(ops.reshape(rows, shape), one, other)


def _packed(skeleton: Given, results: Given) -> Given:
    """A dict of statistics, each in the structure of the outputs.

    If outputs are of several kinds, a statistic contains only the outputs that
    it exists for.
    """
    packed = {}
    for name in summaries.STATISTICS:
        values = [result.get(name) for result in results]
        if any(value is not None for value in values):
            packed[name] = outputs_.of_some(skeleton, values)
    return packed

"""Samples of a batch, streamed into statistics by compiled functions."""

import copy
import functools
from typing import NamedTuple

import keras
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import _refusals
from kerasdrop._adapters import survey
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks import plans
from kerasdrop.masks.plans import SET_SIZE
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.engine import chunks as chunks_
from kerasdrop.montecarlo.engine import sizing
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.sampling import passes
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.montecarlo.statistics import outputs as outputs_
from kerasdrop.montecarlo.statistics import summaries
from kerasdrop.montecarlo.verification import whole_pass


class State(NamedTuple):
    """What a pass knows of the samples so far.

    Attributes:
        skeleton: The structure of the outputs, as scalars.
        summaries: List of the `summaries.State` of each output.
        converged: bool `(batch,)`: rows that take no further samples.
    """

    skeleton: Given
    summaries: list[Given]
    converged: Given


class Engine:
    """Draws what was asked for, and summarises it.

    Args:
        model: A built model.
        key: Function that returns the key of all samples.
        settings: A `settings.Settings`.
        holder: A layer, with all variables of these among its own.
        owner: Who is to blame in a message.
        choice: The `choice.Choice` of what is drawn.
        rates: Function that returns the vector of its rates.
    """

    def __init__(
        self,
        model: keras.Model,
        key: Function,
        settings: Settings,
        holder: keras.Model,
        owner: str,
        choice: choices.Choice,
        rates: Function,
    ) -> None:
        self._model = model
        self._key = key
        self._settings = settings
        self._holder = holder
        self._choice = choice
        self._rates = rates
        self._made_for = None
        self._sizing = sizing.Sizing(
            model,
            settings.num_samples,
            # Rows are looked at after each set, if they may converge.
            settings.tolerance is not None,
            settings.memory_limit,
            self._functions,
            lambda: self._choice,
        )
        self._traces: list[
            Given
        ] = []  # names of functions traced in the last call
        self._verifier = whole_pass.Verifier(
            model, settings.plan, settings.vectorized, owner
        )

    def most_rows(self, data: Given, rows: int) -> int | None:
        """How many rows can be drawn at a time, at most so many; None for all.

        To be asked before each prediction: it looks whether the model is still
        what was compiled.

        Args:
            data: `RowsOf` with arrays of any number of rows, as `batches`
                makes batches of.
            rows: Integer.

        Raises:
            ValueError: If the memory limit is too low for one row.
        """
        self._forget_what_is_out_of_date()
        if not self._settings.vectorized:
            return None
        found = self._sizing.of(data, rows).rows
        self.after_call()
        return found

    @property
    def choice(self) -> choices.Choice:
        """The `choice.Choice` of what is drawn."""
        return self._choice

    def with_choice(self, choice: choices.Choice) -> "Engine":
        """An engine that draws what is in another `choice.Choice`."""
        engine = copy.copy(self)
        engine._choice = choice
        return engine

    def choose(self, choice: choices.Choice) -> None:
        """From now on draws what is in another `choice.Choice`."""
        self._choice = choice

    def _now(self) -> Given:
        """What a compiled pass depends on, as it is."""
        return self._choice.key, survey.of(self._model).fingerprint

    def _forget_what_is_out_of_date(self) -> None:
        # Stock layers have their own rates in the compiled function.
        made_for = self._now()
        if made_for != self._made_for:
            self._sizing.forget()
            self._verifier.forget()
            self._made_for = made_for

    def with_key(self, key: Tensor, rates: Tensor = None) -> Given:
        """An engine that differs in the key: a function that returns it.

        Args:
            key: Such a function.
            rates: The same for the rates; None for those of this engine.
        """
        engine = copy.copy(self)
        engine._key = key
        engine._rates = rates or self._rates
        return engine

    def of_call(self, batch: RowsOf) -> Given:
        """The statistics of a `RowsOf`, of all rows at a time."""
        if not self._settings.vectorized:
            return self.whole(batch, SET_SIZE)
        self._forget_what_is_out_of_date()
        return self.whole(batch, self._sizing.of_call(batch))

    def whole(self, batch: RowsOf, samples_at_once: int) -> Given:
        """The statistics of a `RowsOf`: one function, to trace or run."""
        chunks = chunks_.cut(self._settings.num_samples, samples_at_once)
        return self._whole(batch, self._rates(), chunks)

    def _whole(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        keep_all: Given = None,
    ) -> Given:
        state = self._start(batch, rates, chunks, chunks.count, keep_all)
        return self._finish(batch, state)

    def over(self, batch: RowsOf) -> Given:
        """A `Pass` over a batch, which draws a compiled call at a time."""
        at_once = SET_SIZE
        if self._settings.vectorized:
            at_once = self._sizing.of(batch, batch.rows.shape[0]).samples
        chunks, functions = self._sizing.chunks(at_once)
        rates = ops.convert_to_tensor(self._rates())
        return Pass(self, functions, chunks, batch, rates)

    def verified(self, one: Given, batch: RowsOf, num_rows: int) -> Given:
        """Makes the self-check, if it was not yet made for such inputs.

        Args:
            one: The `Pass` over the batch.
            batch: A `RowsOf`.
            num_rows: Integer, how many rows of it are not filling.

        Returns:
            Function that is to be called when the pass has been made.

        Raises:
            VerificationError: If the model fails.
        """
        finish = self._verifier.check(
            batch,
            num_rows,
            self._sizing.rows_to_check(batch, one.num_rows_at_once),
            functools.partial(self._kept, one, batch),
            lambda outputs: self._summaries(outputs, batch),
            self._choice,
        )
        if finish is None:
            return lambda: None
        self._traces.append("self-check")
        self.after_call()
        return finish

    def _kept(self, one: Given, batch: RowsOf, chosen: Given) -> Given:
        """The statistics of these rows of a batch where all is kept."""
        # What classic layers make of it depends on the rate.
        one = one.at(self._choice.of_check().vector())
        if _backend.COMPILES:
            return tree.map_structure(
                lambda tensor: ops.convert_to_numpy(tensor)[chosen], one.kept()
            )
        # Nothing is gained by running all rows.
        part = tree.map_structure(
            lambda tensor: None if tensor is None else tensor[chosen], batch
        )
        return one.over(part).kept()

    def _functions(self, chunks: chunks_.Chunks) -> dict[str, Function]:
        """The functions that a pass calls, compiled, by name."""

        def whole(batch: RowsOf, rates: Tensor, keep_all: Given) -> Given:
            return self._whole(batch, rates, chunks, keep_all)

        def start(batch: RowsOf, rates: Tensor, keep_all: Given) -> Given:
            count = chunks.in_first_call
            return self._start(batch, rates, chunks, count, keep_all)

        def more(
            batch: RowsOf, rates: Tensor, state: Given, first: int
        ) -> Given:
            count = chunks.per_call
            return self._more(batch, rates, state, chunks, first, count)

        def trial(rates: Tensor, batch: RowsOf, num_chunks: Tensor) -> Given:
            state = self._start(batch, rates, chunks, num_chunks)
            return self._finish(batch, state), state.summaries

        named: dict[str, Function] = {
            "trial": trial,
            "whole": whole,
            "start": start,
            "more": more,
            "finish": self._finish,
        }
        # In plain calls of the model no size is left open, nor where the number
        # of steps decides how Keras runs them.
        found = survey.of(self._model)
        any_size = self._settings.vectorized and not found.draws_by_step
        return {
            name: _backend.compiled(
                self._noted(function),
                self._holder,
                any_size=any_size,
                traceable=found.is_traceable,
            )
            for name, function in named.items()
        }

    def _noted(self, function: Function) -> Function:
        """`function`, which tells when it is traced."""

        @functools.wraps(function)
        def traced(*args: Given) -> Given:
            self._traces.append(function.__name__)
            return function(*args)

        return traced

    def after_call(self) -> None:
        """To be called after a compiled function.

        A layer may count its calls, or keep what it saw in its last: what a
        trace itself changed does not make the trace out of date.
        """
        if _backend.TRACES and self._traces:
            self._made_for = self._now()
        self._traces.clear()

    def after_predict(self) -> None:
        """To be called behind a prediction.

        On PyTorch a layer that counts its calls does so in each pass: that is
        no other model, which would have to be checked again.
        """
        if not _backend.TRACES:
            self._made_for = self._now()

    def partial(
        self, batch: RowsOf, state: Given, in_sets: Given, rest: Given
    ) -> Given:
        """The statistics of what was drawn: numbers as of `Chunks`."""
        of_outputs = self._summaries(state.skeleton, batch)
        states = [
            summary.partial(one, in_sets, rest)
            for summary, one in zip(of_outputs, state.summaries)
        ]
        return self._finish(batch, state._replace(summaries=states))

    def _sampler(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        keep_all: Given = None,
    ) -> Given:
        key = ops.convert_to_tensor(self._key())
        return passes.sampler(
            self._model,
            key,
            self._settings.plan,
            batch.inputs,
            batch.rows,
            self._settings.vectorized,
            chunks.size < SET_SIZE,
            keep_all,
            self._choice,
            rates,
        )

    def _summaries(self, outputs: Structure, batch: RowsOf) -> Given:
        of_outputs = outputs_.kinds(self._settings.kind, outputs)
        targets = batch.targets or [None] * len(of_outputs)
        if len(targets) != len(of_outputs):
            raise _refusals.Refusal(
                "there must be targets for each output of the "
                f"model, in its structure. Received: y of {len(targets)} "
                f"arrays for {len(of_outputs)} outputs"
            )
        return [
            summaries.Summary(kind, self._settings, target)
            for kind, target in zip(of_outputs, targets)
        ]

    def _start(
        self,
        batch: RowsOf,
        rates: Tensor,
        chunks: chunks_.Chunks,
        num_chunks: Tensor,
        keep_all: Given = None,
    ) -> Given:
        """The `State` after the first chunk and as many whole ones.

        If all is kept, one whole chunk tells as much as many.
        """
        if keep_all is not None and num_chunks > 1:
            num_chunks = ops.where(keep_all, 1, num_chunks)
        in_sets, rest = chunks.first_in_sets, chunks.rest
        rest_at = chunks.num_samples - rest
        numbers = plans.range_of(0, chunks.first)
        if rest:
            parts = plans.range_of(0, in_sets), plans.range_of(rest_at, rest)
            numbers = ops.concatenate(parts)
        with self._sampler(batch, rates, chunks, keep_all) as draw:
            outputs = draw(numbers)
            of_outputs = self._summaries(outputs, batch)
            states = [
                summary.init(output, (0, rest_at), rest, chunks.size)
                for summary, output in zip(of_outputs, tree.flatten(outputs))
            ]
            skeleton = tree.map_structure(lambda _: ops.zeros(()), outputs)
            none = ops.zeros_like(batch.rows, dtype="bool")
            state = State(skeleton, states, none)
            if chunks.first % SET_SIZE == 0:
                converged = self._converged(of_outputs, states, none, rates)
                state = state._replace(converged=converged)
            return self._add(
                draw, batch, rates, state, chunks, in_sets, num_chunks
            )

    def _more(
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
        """The `State` after whole chunks of samples from number `first` on."""
        if isinstance(num_chunks, int) and num_chunks == 0:
            return state
        of_outputs = self._summaries(state.skeleton, batch)
        # The skeleton is no part of what changes.
        structure = (state.summaries, state.converged)

        def add_chunk(number: int, *flat: Given) -> Given:
            states, converged = tree.pack_sequence_as(structure, list(flat))
            start = ops.cast(number, "int32") * chunks.size + first
            outputs = draw(plans.range_of(start, chunks.size))
            added = [
                summary.update(one, output, start)
                for summary, one, output in zip(
                    of_outputs, states, tree.flatten(outputs)
                )
            ]
            if self._settings.tolerance is not None:
                added = tree.map_structure(
                    lambda old, new: _chosen(converged, old, new), states, added
                )
                # Whatever a chunk is, rows are looked at after each set.
                is_set = (start + chunks.size) % SET_SIZE == 0
                reached = self._converged(of_outputs, added, converged, rates)
                converged = ops.where(is_set, reached, converged)
            return tree.flatten((added, converged))

        flat = tree.flatten(structure)
        if self._settings.tolerance is None:
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
        states, converged = tree.pack_sequence_as(structure, list(flat))
        return State(state.skeleton, states, converged)

    def _converged(
        self, of_outputs: Given, states: Structure, before: Given, rates: Tensor
    ) -> Given:
        """Rows that take no further samples, with `before` among them."""
        if self._settings.tolerance is None:
            return before
        smallest_chance = survey.smallest_chance(
            passes.drawn_layers(self._model, self._choice),
            passes.rates_of(self._choice, rates),
        )
        reached = [
            summary.reaches(one, smallest_chance)
            for summary, one in zip(of_outputs, states)
        ]
        return ops.logical_or(before, ops.all(ops.stack(reached), axis=0))

    def _finish(self, batch: RowsOf, state: Given) -> Given:
        of_outputs = self._summaries(state.skeleton, batch)
        results = [
            summary.result(one)
            for summary, one in zip(of_outputs, state.summaries)
        ]
        packed = _packed(state.skeleton, results)
        if self._settings.tolerance is not None:
            count = state.summaries[0].stream.samples.count
            packed["num_drawn"] = ops.cast(ops.reshape(count, (-1,)), "int32")
            packed["converged"] = state.converged
        return packed


class Pass:
    """The samples of one batch, a compiled call at a time.

    Attributes:
        num_calls: How many calls it takes at most.
        num_done: How many of them were made.
        num_samples: How many samples of a row were drawn, at most.
    """

    def __init__(
        self,
        engine: Given,
        compiled: Given,
        chunks: chunks_.Chunks,
        batch: RowsOf,
        rates: Tensor,
    ) -> None:
        self._engine = engine
        self._rates = rates
        self._compiled = compiled
        self._chunks = chunks
        self._batch = batch
        self.num_done = 0
        self._state = None
        self._result = None
        self.num_calls = chunks.num_calls

    def over(self, batch: RowsOf) -> Given:
        """The same over another batch."""
        return Pass(
            self._engine, self._compiled, self._chunks, batch, self._rates
        )

    def at(self, rates: Tensor) -> "Pass":
        """The same at other rates, a vector."""
        rates = ops.convert_to_tensor(rates)
        return Pass(
            self._engine, self._compiled, self._chunks, self._batch, rates
        )

    @property
    def num_samples(self) -> int:
        return self._chunks.samples_after(self.num_done)

    @property
    def num_rows_at_once(self) -> int:
        """How many rows, one for each sample, are drawn at once."""
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
        """Makes the next call, and waits for it."""
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
        self._engine.after_call()
        # JAX returns at once, before it has computed anything.
        made = (self._result, self._state)[self._result is None]
        ops.convert_to_numpy(tree.flatten(made)[-1])
        self.num_done += 1

    def kept(self) -> Given:
        """The statistics where all is kept, by the functions of this pass."""
        keep_all = ops.convert_to_tensor(True)
        if self.num_calls == 1:
            result = self._compiled["whole"](self._batch, self._rates, keep_all)
        else:
            state = self._compiled["start"](self._batch, self._rates, keep_all)
            result = self._compiled["finish"](self._batch, state)
        self._engine.after_call()
        return result

    def statistics(self) -> Config:
        """A dict of the statistics of what was drawn."""
        if self._result is not None:
            return self._result
        if self.is_done:
            return self._compiled["finish"](self._batch, self._state)
        return self._engine.partial(
            self._batch,
            self._state,
            self._chunks.in_sets_after(self.num_done),
            self._chunks.rest,
        )


def _chosen(rows: Tensor, one: Given, other: Given) -> Given:
    """`one` in these rows, `other` else; both `(batch, ...)`."""
    shape = (-1, *(1,) * (len(one.shape) - 1))
    return ops.where(ops.reshape(rows, shape), one, other)


def _packed(skeleton: Given, results: Given) -> Given:
    """A dict of statistics, each in the structure of the outputs.

    Where outputs are of several kinds, a statistic has those outputs that it
    exists for.
    """
    packed = {}
    for name in summaries.STATISTICS:
        values = [result.get(name) for result in results]
        if any(value is not None for value in values):
            packed[name] = outputs_.of_some(skeleton, values)
    return packed

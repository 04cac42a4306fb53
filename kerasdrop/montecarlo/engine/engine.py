"""Streams the samples of a batch into statistics by compiled functions."""

import copy
import dataclasses
import functools

import keras
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._adapters import survey
from kerasdrop._structure import keras_graph
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks.plans import SET_SIZE
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.engine import chunks as chunks_
from kerasdrop.montecarlo.engine import sizing
from kerasdrop.montecarlo.engine.batch_pass import Pass
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.engine.drawing import Drawing
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.montecarlo.verification import whole_pass


class Engine:
    """Draws the samples of a prediction and summarizes them.

    Args:
        model: A built model.
        key: Function that returns the key of all samples.
        settings: A `settings.Settings`.
        holder: A layer that tracks all variables of the model.
        owner: The public function that messages name.
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
        self._drawing = Drawing(model, key, settings, choice)
        self._settings = settings
        self._holder = holder
        self._rates = rates
        self._made_for: Given = None
        self._sizing = sizing.Sizing(
            model,
            settings.num_samples,
            # If rows may converge, they are checked after each set.
            settings.tolerance is not None,
            settings.memory_limit,
            self._functions,
            lambda: self._drawing.choice,
        )
        # The names of the functions that the last call traced.
        self._traces: list[str] = []
        self._verifier = whole_pass.Verifier(
            model, settings.plan, settings.vectorized, owner
        )

    def most_rows(self, data: RowsOf, rows: int) -> int | None:
        """How many of `rows` rows can be drawn at a time; None for all.

        Call this before each prediction: it also checks whether the model has
        changed since it was compiled.

        Args:
            data: `RowsOf` with arrays of any number of rows, which `batches`
                cuts into batches.
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
        return self._drawing.choice

    def with_choice(self, choice: choices.Choice) -> "Engine":
        """Returns an engine that draws another `choice.Choice`."""
        engine = copy.copy(self)
        engine._drawing = dataclasses.replace(self._drawing, choice=choice)
        return engine

    def choose(self, choice: choices.Choice) -> None:
        """Makes this engine draw another `choice.Choice` from now on."""
        self._drawing.choice = choice

    def _now(self) -> Given:
        """The present state of everything that a compiled pass depends on."""
        before = None if self._made_for is None else self._made_for[1]
        found = survey.of(self._model).fingerprint_after(before)
        return self._drawing.choice.key, found

    def _forget_what_is_out_of_date(self) -> None:
        # The rates of stock layers are constants in the compiled function.
        made_for = self._now()
        if made_for != self._made_for:
            self._sizing.forget()
            self._verifier.forget()
        # Of two that are equal the newer one is of the objects that are there.
        self._made_for = made_for

    def with_key(
        self, key: Function, rates: Function | None = None
    ) -> "Engine":
        """Returns an engine with another key.

        Args:
            key: Function that returns the key.
            rates: Function that returns the rates; None for the rates of this
                engine.
        """
        engine = copy.copy(self)
        engine._drawing = dataclasses.replace(self._drawing, key=key)
        engine._rates = rates or self._rates
        return engine

    def of_call(self, batch: RowsOf) -> Given:
        """The statistics of a `RowsOf`, with all rows drawn at a time."""
        if not self._settings.vectorized:
            return self.whole(batch, SET_SIZE)
        self._forget_what_is_out_of_date()
        return self.whole(batch, self._sizing.of_call(batch))

    def whole(self, batch: RowsOf, samples_at_once: int) -> Given:
        """The statistics of a `RowsOf`, in one function to trace or run."""
        chunks = chunks_.cut(self._settings.num_samples, samples_at_once)
        return self._drawing.whole(batch, self._rates(), chunks)

    def over(self, batch: RowsOf) -> Pass:
        """A `Pass` over a batch, which draws it in compiled calls."""
        at_once = SET_SIZE
        if self._settings.vectorized:
            at_once = self._sizing.of(batch, batch.rows.shape[0]).samples
        chunks, functions = self._sizing.chunks(at_once)
        return Pass(
            self._drawing,
            functions,
            chunks,
            batch,
            self._rates(),
            self.after_call,
        )

    def verified(self, one: Pass, batch: RowsOf, num_rows: int) -> Function:
        """Makes the self-check unless it was already made for such inputs.

        Args:
            one: The `Pass` over the batch.
            batch: A `RowsOf`.
            num_rows: Integer, how many of its rows are not padding.

        Returns:
            Function to call after the pass.

        Raises:
            VerificationError: If the model fails.
        """
        finish = self._verifier.check(
            batch,
            num_rows,
            self._sizing.rows_to_check(batch, one.num_rows_at_once),
            functools.partial(self._kept, one, batch),
            lambda outputs: self._drawing.summaries_of(outputs, batch),
            self._drawing.choice,
        )
        if finish is None:
            return lambda: None
        self._traces.append("self-check")
        self.after_call()
        return finish

    def _kept(self, one: Pass, batch: RowsOf, chosen: Array) -> Config:
        """The statistics of these rows of a batch if nothing is dropped."""
        # Classic layers scale by the rate even if they drop nothing.
        one = one.at(self._drawing.choice.for_check().vector())
        if _backend.COMPILES:
            return tree.map_structure(
                lambda tensor: ops.convert_to_numpy(tensor)[chosen], one.kept()
            )
        # Running all rows would gain nothing.
        part = tree.map_structure(
            lambda tensor: None if tensor is None else tensor[chosen], batch
        )
        return one.over(part).kept()

    def output_masks(self, batch: RowsOf) -> list[Given]:
        """The padding masks of the flat outputs of a plain prediction.

        Returns:
            A list of arrays `(batch, ...)`; None for an output without one.
        """
        found = self.over(batch).output_masks()
        return [
            None if one is None else ops.convert_to_numpy(one) for one in found
        ]

    def _functions(self, chunks: chunks_.Chunks) -> dict[str, Function]:
        """The compiled functions that a pass calls, by name."""
        draw = self._drawing

        def whole(batch: RowsOf, rates: Tensor, keep_all: Given) -> Given:
            return draw.whole(batch, rates, chunks, keep_all)

        def start(batch: RowsOf, rates: Tensor, keep_all: Given) -> Given:
            count = chunks.in_first_call
            return draw.start(batch, rates, chunks, count, keep_all)

        def more(
            batch: RowsOf, rates: Tensor, state: Given, first: int
        ) -> Given:
            count = chunks.per_call
            return draw.more(batch, rates, state, chunks, first, count)

        def sweep(batch: RowsOf, several: Tensor) -> Given:
            return draw.sweep(batch, several, chunks)

        def redrawn(
            batch: RowsOf,
            rates: Tensor,
            groups: Tensor,
            firsts: Tensor,
            others: Tensor,
        ) -> Given:
            return draw.redrawn(batch, rates, chunks, groups, firsts, others)

        def plain(batch: RowsOf, rates: Tensor) -> Given:
            return draw.plain(batch, rates, chunks)

        def trial(rates: Tensor, batch: RowsOf, num_chunks: Tensor) -> Given:
            state = draw.start(batch, rates, chunks, num_chunks)
            return draw.finish(batch, state), state.summaries

        named: dict[str, Function] = {
            "trial": trial,
            "whole": whole,
            "start": start,
            "more": more,
            "finish": draw.finish,
            "sweep": sweep,
            "plain": plain,
            "redrawn": redrawn,
            "output_masks": draw.output_masks,
        }
        # No size is left open in plain calls of the model, nor where the number
        # of steps decides how Keras runs them.
        found = survey.of(self._model)
        any_size = self._settings.vectorized and not found.draws_by_step
        compiled = {
            name: _backend.compiled(
                self._noted(function),
                self._holder,
                any_size=any_size,
                traceable=found.is_traceable,
            )
            for name, function in named.items()
        }
        if found.has_foreign and not _backend.SEEDS_OWN:
            return {
                name: _making_no_generator(run)
                for name, run in compiled.items()
            }
        return compiled

    def _noted(self, function: Function) -> Function:
        """Wraps `function` so that it notes when it is traced."""

        @functools.wraps(function)
        def traced(*args: Given) -> Given:
            self._traces.append(function.__name__)
            return function(*args)

        return traced

    def after_call(self) -> None:
        """Call this after each compiled function.

        A layer may count its calls or store its last inputs. What a trace
        itself changed does not make the trace out of date.
        """
        if _backend.TRACES and self._traces:
            self._made_for = self._now()
        self._traces.clear()

    def after_predict(self) -> None:
        """Call this after each prediction.

        On PyTorch, a user's layer that counts its calls does so in each pass.
        This does not make it another model that must be checked again.
        """
        if not _backend.TRACES and survey.of(self._model).has_foreign:
            self._made_for = self._now()


def _making_no_generator(run: Function) -> Function:
    @functools.wraps(run)
    def call(*args: Given) -> Given:
        with keras_graph.no_global_generator_made():
            return run(*args)

    return call

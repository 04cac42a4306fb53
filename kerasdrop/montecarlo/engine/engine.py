"""Samples of a batch, streamed into statistics by compiled functions."""

import copy
import dataclasses
import functools

import keras
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._adapters import survey
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
        self._drawing = Drawing(model, key, settings, choice)
        self._settings = settings
        self._holder = holder
        self._rates = rates
        self._made_for = None
        self._sizing = sizing.Sizing(
            model,
            settings.num_samples,
            # Rows are looked at after each set, if they may converge.
            settings.tolerance is not None,
            settings.memory_limit,
            self._functions,
            lambda: self._drawing.choice,
        )
        # Names of functions traced in the last call.
        self._traces: list[str] = []
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
        return self._drawing.choice

    def with_choice(self, choice: choices.Choice) -> "Engine":
        """An engine that draws what is in another `choice.Choice`."""
        engine = copy.copy(self)
        engine._drawing = dataclasses.replace(self._drawing, choice=choice)
        return engine

    def choose(self, choice: choices.Choice) -> None:
        """From now on draws what is in another `choice.Choice`."""
        self._drawing.choice = choice

    def _now(self) -> Given:
        """What a compiled pass depends on, as it is."""
        return self._drawing.choice.key, survey.of(self._model).fingerprint

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
        engine._drawing = dataclasses.replace(self._drawing, key=key)
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
        return self._drawing.whole(batch, self._rates(), chunks)

    def over(self, batch: RowsOf) -> Given:
        """A `Pass` over a batch, which draws a compiled call at a time."""
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
            lambda outputs: self._drawing.summaries_of(outputs, batch),
            self._drawing.choice,
        )
        if finish is None:
            return lambda: None
        self._traces.append("self-check")
        self.after_call()
        return finish

    def _kept(self, one: Given, batch: RowsOf, chosen: Given) -> Given:
        """The statistics of these rows of a batch where all is kept."""
        # What classic layers make of it depends on the rate.
        one = one.at(self._drawing.choice.of_check().vector())
        if _backend.COMPILES:
            return tree.map_structure(
                lambda tensor: ops.convert_to_numpy(tensor)[chosen], one.kept()
            )
        # Nothing is gained by running all rows.
        part = tree.map_structure(
            lambda tensor: None if tensor is None else tensor[chosen], batch
        )
        return one.over(part).kept()

    def output_masks(self, batch: RowsOf) -> list[Given]:
        """The masks of padding of the flat outputs, of a plain prediction.

        Returns:
            A list of arrays `(batch, ...)`; None for an output without one.
        """
        found = self.over(batch).output_masks()
        return [
            None if one is None else ops.convert_to_numpy(one) for one in found
        ]

    def _functions(self, chunks: chunks_.Chunks) -> dict[str, Function]:
        """The functions that a pass calls, compiled, by name."""
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

        On PyTorch a layer of a user that counts its calls does so in each
        pass: that is no other model, which would have to be checked again.
        """
        if not _backend.TRACES and survey.of(self._model).has_foreign:
            self._made_for = self._now()

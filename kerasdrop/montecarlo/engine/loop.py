"""Loops over the batches of a prediction, with progress bar and callbacks."""

import contextlib
import warnings
from collections.abc import Generator
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.montecarlo.engine.batch_pass import Pass
from kerasdrop.montecarlo.engine.batches import Batch
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.engine.receivers import Receiver
from kerasdrop.montecarlo.engine.together import Team
from kerasdrop.montecarlo.statistics import outputs
from kerasdrop.montecarlo.statistics import summaries
from kerasdrop.predictive import Predictive

# The stack level from a warning here to the caller of `predict` or
# `mc_predict`.
_STACKLEVEL = 5


class Calls(NamedTuple):
    """Which methods of callbacks are called, as in Keras.

    Attributes:
        stage: String, `"predict"` or `"test"`: `on_predict_begin` and so on.
        stop: String, the attribute of a model that ends the loop.
        tells_end: Whether the callbacks get the last logs at the end.
    """

    stage: str
    stop: str
    tells_end: bool


PREDICTING = Calls("predict", "stop_predicting", False)
EVALUATING = Calls("test", "stop_evaluating", True)


def run(
    predictive: keras.Model,
    engine: Given,
    data: Batches,
    receiver: Receiver,
    verbose: int,
    callbacks: Given,
    on_interrupt: str = "raise",
    calls: Calls = PREDICTING,
) -> tuple[Given, int]:
    """Runs a prediction; returns a receiver's result and the samples.

    Args:
        predictive: The `MonteCarlo` that predicts. It has the settings and
            `verify`, and it is the model that callbacks see.
        engine: Its `Engine`.
        data: `Batches`.
        receiver: A `receivers.Receiver`.
        verbose: Integer, checked.
        callbacks: The user's callbacks, or None.
        on_interrupt: `"raise"` or `"return"`.
        calls: `PREDICTING` or `EVALUATING`.
    """
    if callbacks is None:
        # Not an empty callback list, for which Keras starts a thread in each
        # call.
        callbacks = keras.callbacks.Callback()
    elif not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            _checked(callbacks),
            model=predictive,
            epochs=1,
            steps=data.num_batches,
        )
    call = _caller(callbacks, calls.stage)
    setattr(predictive, calls.stop, False)
    call("begin")
    drawn, late = _Drawn(predictive, engine, data, verbose), _Unconverged()
    num_samples, logs = predictive.num_samples, None

    def take(batch: Batch, statistics: Config) -> Config:
        part = _arrays(statistics, batch.num_valid)
        outputs.check(predictive.kind, part)
        logs = receiver.update(part, batch)
        late.update(part)
        return {"outputs": _record(predictive, part)} if logs is None else logs

    def begin(number: int) -> None:
        call("batch_begin", number)

    try:
        with contextlib.closing(drawn.batches(begin)) as batches:
            for number, batch, statistics, finish in batches:
                logs = take(batch, statistics)
                finish()
                call("batch_end", number, logs)
                if getattr(predictive, calls.stop):
                    break
    except KeyboardInterrupt:
        if on_interrupt == "raise" or drawn.current is None:
            raise
        if not receiver.num_rows:
            batch, one = drawn.current
            if one.num_samples == 0:
                raise
            take(batch, one.statistics())
            num_samples = one.num_samples
        _warn_of_interrupt(predictive, receiver.num_rows, num_samples)
    engine.after_predict()
    result = receiver.result()
    call("end", *([logs] if calls.tells_end else []))
    late.warn(predictive)
    return result, num_samples


class _Drawn:
    """Draws the batches of some data, one on each replica at a time.

    Attributes:
        current: The first `Batch` that is being drawn and its `Pass`; None
            before that.
    """

    def __init__(
        self,
        predictive: keras.Model,
        engine: Given,
        data: Batches,
        verbose: int,
    ) -> None:
        self._predictive = predictive
        self._engine = engine
        self._data = data
        self._verbose = verbose
        self._bar: Given = None
        self.current: tuple[Batch, Pass] | None = None

    def batches(self, begin: Function) -> Generator[Given, None, None]:
        """Yields for each batch its number, itself, statistics and a function.

        Args:
            begin: Function of the number of a batch, called before anything is
                drawn for the batch.

        Yields:
            The function must be called when the statistics have been used.
        """
        first = 0
        with Team(self._predictive.model) as team:
            for group in team.groups(self._data):
                for number in range(first, first + len(group)):
                    begin(number)
                passes = [self._engine.over(batch.rows) for batch in group]
                self.current = group[0], passes[0]
                finishing = [
                    self._verified(one, batch)
                    for one, batch in zip(passes, group)
                ]
                self._draw(team, passes, first)
                for batch, statistics, finish in zip(
                    group, team.statistics(passes), finishing
                ):
                    yield first, batch, statistics, finish
                    first += 1

    def _verified(self, one: Pass, batch: Batch) -> Function:
        if not self._predictive.verify:
            return lambda: None
        return self._engine.verified(one, batch.rows, batch.num_valid)

    def _draw(self, team: Team, passes: list[Pass], first: int) -> None:
        """Draws all samples of the batches from number `first` on."""
        of_one = passes[0].num_calls
        if self._bar is None:
            # If batches had to be cut, their number is unknown from now on.
            total = self._data.num_batches
            most = None if total is None else total * of_one
            self._bar = keras.utils.Progbar(most, verbose=self._verbose)
        done = first * of_one
        while not all(one.is_done for one in passes):
            team.advance(passes)
            made = sum(one.num_done for one in passes)
            self._bar.update(done + made)
        # A converged batch ends before all its calls. The bar prints its last
        # line each time that it gets the final value.
        if made < of_one * len(passes):
            self._bar.update(done + of_one * len(passes))


def _record(predictive: keras.Model, part: Config) -> Predictive:
    # Keras merges dicts in the logs into the logs.
    return Predictive(
        part,
        predictive.num_samples,
        predictive.seed,
        predictive.plan,
        predictive.kind,
    )


def _checked(callbacks: Given) -> list[Given]:
    given = tree.flatten(callbacks)
    if all(isinstance(one, keras.callbacks.Callback) for one in given):
        return given
    raise Refusal(
        "argument `callbacks` must be a list of `keras.callbacks.Callback`. "
        "For a function write `keras.callbacks.LambdaCallback("
        "on_predict_batch_end=function)`. Received: "
        f"callbacks={callbacks!r}"
    )


def _caller(callbacks: Given, stage: str) -> Given:
    """Returns a function of an event's name that reports it to callbacks."""

    def call(name: str, *args: Given) -> None:
        getattr(callbacks, f"on_{stage}_{name}")(*args)

    return call


class _Unconverged:
    """Counts the rows that miss the tolerance, and by how much they do."""

    def __init__(self) -> None:
        self._num_rows = self._num_late = 0
        self._largest_error = 0.0

    def update(self, part: Config) -> None:
        """Takes the statistics of the next rows."""
        if "converged" not in part:
            return
        late = ~part["converged"]
        self._num_rows += late.size
        self._num_late += late.sum()
        if late.any():
            errors = [
                array[late].max()
                for array in tree.flatten(part["standard_error"])
            ]
            # NaN stays NaN.
            self._largest_error = np.maximum(self._largest_error, max(errors))

    def warn(self, predictive: keras.Model) -> None:
        if not self._num_late:
            return
        warnings.warn(
            f"{predictive._owner}: {self._num_late} of {self._num_rows} rows "
            f"did not reach tolerance={predictive.tolerance} within "
            f"num_samples={predictive.num_samples}; their largest standard "
            f"error is {self._largest_error:.3g}. Their `converged` is False.",
            stacklevel=_STACKLEVEL,
        )


def _warn_of_interrupt(
    predictive: keras.Model, num_rows: int, num_samples: int
) -> None:
    warnings.warn(
        f"Interrupted. The result has the first {num_rows} rows, each "
        f"from {num_samples} of {predictive.num_samples} samples.",
        stacklevel=_STACKLEVEL,
    )


def _arrays(statistics: Config, num_rows: int) -> Config:
    """The first rows of all statistics as numpy arrays, in the usual order."""
    return {
        # JAX sorts the keys of a dict.
        name: tree.map_structure(
            lambda value: ops.convert_to_numpy(value)[:num_rows],
            statistics[name],
        )
        for name in summaries.STATISTICS
        if name in statistics
    }

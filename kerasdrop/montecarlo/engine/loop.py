"""The way through the batches of a prediction, with bar and callbacks."""

import warnings
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.engine.receivers import Receiver
from kerasdrop.montecarlo.statistics import outputs
from kerasdrop.montecarlo.statistics import summaries
from kerasdrop.predictive import Predictive

# From a warning below to who called `predict` or `mc_predict`.
_STACKLEVEL = 5


class Calls(NamedTuple):
    """The methods of callbacks that are called, as Keras calls them.

    Attributes:
        stage: String, `"predict"` or `"test"`: `on_predict_begin` and so on.
        stop: String, the attribute of a model that ends it.
        tells_end: Whether the last logs are told at the end.
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
    """What a receiver makes of all statistics, and of how many samples.

    Args:
        predictive: The `MonteCarlo` that predicts: settings, `verify`, and
            what callbacks see as their model.
        engine: Its `Engine`.
        data: `Batches`.
        receiver: A `receivers.Receiver`.
        verbose: Integer, checked.
        callbacks: Those of the user, or None.
        on_interrupt: `"raise"` or `"return"`.
        calls: `PREDICTING` or `EVALUATING`.
    """
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            _checked(callbacks),
            model=predictive,
            epochs=1,
            steps=data.num_batches,
        )
    call = _caller(callbacks, calls.stage)
    setattr(predictive, calls.stop, False)
    call("begin")
    one, bar, late, logs = None, None, _Unconverged(), None
    num_samples = predictive.num_samples
    try:
        for number, (batch, valid, labels) in enumerate(data):
            call("batch_begin", number)
            one = engine.over(batch)
            if bar is None:
                # Unknown by now, if batches had to be cut.
                total = data.num_batches
                most = None if total is None else total * one.num_calls
                bar = keras.utils.Progbar(most, verbose=verbose)
            is_verified = predictive.verify
            if is_verified:
                finish = engine.verified(one, batch, valid)
            done = number * one.num_calls
            while not one.is_done:
                one.advance()
                bar.update(done + one.num_done)
            # A batch that has converged is done before all its calls. The
            # bar prints its last line each time that it is told the end.
            if one.num_done < one.num_calls:
                bar.update(done + one.num_calls)
            part = _arrays(one.statistics(), valid)
            outputs.check(predictive.kind, part)
            logs = receiver.update(part, labels)
            if logs is None:
                logs = {"outputs": _record(predictive, part)}
            late.update(part)
            if is_verified:
                finish()
            call("batch_end", number, logs)
            if getattr(predictive, calls.stop):
                break
    except KeyboardInterrupt:
        if on_interrupt == "raise" or one is None:
            raise
        if not receiver.num_rows:
            if one.num_samples == 0:
                raise
            part = _arrays(one.statistics(), valid)
            receiver.update(part, labels)
            late.update(part)
            num_samples = one.num_samples
        _say_what_is_there(predictive, receiver.num_rows, num_samples)
    engine.after_predict()
    result = receiver.result()
    call("end", *([logs] if calls.tells_end else []))
    late.warn(predictive)
    return result, num_samples


def _record(predictive: keras.Model, part: Config) -> Predictive:
    # Keras merges dicts in the logs into these.
    return Predictive(
        part,
        predictive.num_samples,
        predictive.seed,
        predictive.plan,
        predictive.kind,
    )


def _checked(callbacks: Given) -> list[Given]:
    given = [] if callbacks is None else tree.flatten(callbacks)
    if all(isinstance(one, keras.callbacks.Callback) for one in given):
        return given
    raise Refusal(
        "argument `callbacks` must be a list of `keras.callbacks.Callback`. "
        "For a function write `keras.callbacks.LambdaCallback("
        "on_predict_batch_end=function)`. Received: "
        f"callbacks={callbacks!r}"
    )


def _caller(callbacks: Given, stage: str) -> Given:
    """Function of what happened, which tells the callbacks of it."""

    def call(name: str, *args: Given) -> None:
        getattr(callbacks, f"on_{stage}_{name}")(*args)

    return call


class _Unconverged:
    """The rows that did not reach the tolerance, and how far they are."""

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
            # Whatever is no number stays one.
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


def _say_what_is_there(
    predictive: keras.Model, num_rows: int, num_samples: int
) -> None:
    warnings.warn(
        f"Interrupted. The result has the first {num_rows} rows, each "
        f"from {num_samples} of {predictive.num_samples} samples.",
        stacklevel=_STACKLEVEL,
    )


def _arrays(statistics: Config, num_rows: int) -> Config:
    """The first rows of all statistics as numpy arrays, in their order."""
    return {
        # JAX sorts the keys of a dict.
        name: tree.map_structure(
            lambda value: ops.convert_to_numpy(value)[:num_rows],
            statistics[name],
        )
        for name in summaries.STATISTICS
        if name in statistics
    }

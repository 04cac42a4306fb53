"""The way through the batches of a prediction, with bar and callbacks."""

import warnings

import keras
from keras import ops
from keras import tree

from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.statistics import outputs
from kerasdrop.montecarlo.statistics import summaries
from kerasdrop.montecarlo.statistics.joining import Joined

# From a warning below to who called `predict` or `mc_predict`.
_STACKLEVEL = 5


def predicted(
    predictive: keras.Model,
    engine: Given,
    data: Batches,
    verbose: int,
    callbacks: Given,
    on_interrupt: str,
    samples_out: Given,
) -> tuple[Config, int]:
    """Statistics as numpy arrays, and of how many samples they are.

    Args:
        predictive: The `MonteCarlo` that predicts: settings, `verify`, and
            what callbacks see as their model.
        engine: Its `Engine`.
        data: `Batches`.
        verbose: Integer, checked.
        callbacks: Those of the user, or None.
        on_interrupt: `"raise"` or `"return"`.
        samples_out: A `SamplesOut`, into which the samples go, or None.
    """
    taken = samples_out.taken if samples_out else lambda part, first: part
    callbacks = keras.callbacks.CallbackList(
        callbacks, model=predictive, epochs=1, steps=data.num_batches
    )
    predictive.stop_predicting = False
    callbacks.on_predict_begin()
    joined, one, bar = Joined(data.num_rows), None, None
    num_samples = predictive.num_samples
    try:
        for number, (batch, valid) in enumerate(data):
            callbacks.on_predict_batch_begin(number)
            one = engine.over(batch)
            if bar is None:
                # Unknown by now, if batches had to be cut.
                total = data.num_batches
                calls = None if total is None else total * one.num_calls
                bar = keras.utils.Progbar(calls, verbose=verbose)
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
            joined.update(taken(part, joined.num_rows))
            if is_verified:
                finish()
            callbacks.on_predict_batch_end(number, {"outputs": part})
            if predictive.stop_predicting:
                break
    except KeyboardInterrupt:
        if on_interrupt == "raise" or one is None:
            raise
        if not joined.num_rows:
            if one.num_samples == 0:
                raise
            joined.update(taken(_arrays(one.statistics(), valid), 0))
            num_samples = one.num_samples
        _say_what_is_there(predictive, joined.num_rows, num_samples)
    engine.after_predict()
    callbacks.on_predict_end()
    statistics = joined.result()
    _warn_of_unconverged(predictive, statistics)
    return statistics, num_samples


def _warn_of_unconverged(predictive: keras.Model, statistics: Config) -> None:
    if predictive.tolerance is None or statistics["converged"].all():
        return
    late = ~statistics["converged"]
    errors = [
        array[late].max()
        for array in tree.flatten(statistics["standard_error"])
    ]
    warnings.warn(
        f"{predictive._owner}: {late.sum()} of {late.size} rows did not "
        f"reach tolerance={predictive.tolerance} within num_samples="
        f"{predictive.num_samples}; their largest standard error is "
        f"{max(errors):.3g}. Their `converged` is False.",
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

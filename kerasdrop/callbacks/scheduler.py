"""Sets rates by a schedule, from outside the compiled step."""

import inspect

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop import rates
from kerasdrop._refusals import blame
from kerasdrop._types import Config
from kerasdrop._types import Given

_OWNER = "DropoutRateScheduler"


class DropoutRateScheduler(keras.callbacks.Callback):
    """Sets the dropout rate of a model at each epoch, or at each batch.

    It does for rates what `keras.callbacks.LearningRateScheduler` does for
    learning rates. It sets the rate before the epoch or the batch, without a
    retrace, on every backend, with or without `jit_compile`.

    With `frequency="epoch"`, the schedule is called with the index of the
    epoch. With `frequency="batch"`, it is called with the index of the batch in
    the whole training, `epoch * steps_per_epoch + batch`. Both indices start
    where `fit` starts: at `initial_epoch`, or where `BackupAndRestore` resumes.

    A rate that changes at every batch costs time on JAX, where Keras must take
    the state of the model out of its loop and put it back. If the layer has the
    schedule itself, `Dropout(rate=schedule)`, this costs nothing and also works
    with `steps_per_execution`. Use `frequency="batch"` for functions that only
    Python can compute, and for small models.

    Args:
        schedule: A schedule (from `kerasdrop.schedules` or from Keras); or any
            function of the index, `f(epoch)`, or of the index and the layer's
            current rate, `f(epoch, rate)`, that returns a float in [0, 1].
            Indices are integers from 0.
        frequency: `"epoch"` or `"batch"`.
        layers: The layers to change, as in `kerasdrop.set_rates`; None for all
            layers of kerasdrop.
        verbose: 0, 1, 2 or `"auto"`, which means 1; all but 0 print the rates
            of each epoch, or of each batch.

    Raises:
        ValueError: If an argument is not one of these. When training begins: if
            nothing is selected; if a selected layer is a stock Keras layer or
            follows a schedule of its own; if `frequency="batch"` and
            `steps_per_execution` is above 1. Later: if the schedule returns
            anything but a number in [0, 1].

    Example:

    >>> schedule = kerasdrop.schedules.Linear(0.5, 0.0, num_steps=2)
    >>> anneal = DropoutRateScheduler(schedule)  # by epoch
    >>> history = model.fit(x, y, epochs=3, callbacks=[anneal], verbose=0)
    >>> kerasdrop.get_rates(model)
    {'dropout': 0.0}
    """

    @blame(_OWNER)
    def __init__(
        self,
        schedule: Given,
        frequency: str = "epoch",
        layers: Given = None,
        verbose: int | str = 0,
    ) -> None:
        super().__init__()
        if _checks.is_schedule(schedule):
            _checks.schedule(schedule, "schedule")
        self.schedule = schedule
        self.frequency = _checks.choice(
            frequency, ("epoch", "batch"), "frequency"
        )
        self.layers = layers
        self.verbose = _checks.verbosity(verbose)
        self._takes_rate = _takes_rate(schedule)
        # Otherwise Keras on JAX would wait for each batch, for a method that
        # only counts.
        self.async_safe = True

    def on_train_begin(self, logs: Config | None = None) -> None:
        model = self.model
        if self.frequency == "batch" and model.steps_per_execution > 1:
            raise ValueError(
                f'{_OWNER}: frequency="batch" needs `steps_per_execution=1` '
                "in `compile`, because callbacks do not run between the steps "
                "of one execution. Give the schedule to the layers instead, "
                "`Dropout(rate=schedule)`: they count each step themselves. "
                f"Received: steps_per_execution={model.steps_per_execution}"
            )
        self._selected = rates.settable_layers(model, self.layers, _OWNER)
        self._steps_per_epoch = (self.params or {}).get("steps")
        self._ended_batches: list[int] = []
        self._last_step: int | None = None
        self._last_set: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Config | None = None) -> None:
        if self.frequency == "epoch":
            self._set_rates(epoch, f"epoch {epoch}")
            return
        if epoch > 0 and self._steps_per_epoch is None:
            raise ValueError(
                f'{_OWNER}: with frequency="batch" and training that starts '
                f"at epoch {epoch}, the number of earlier batches must be "
                "known, but the data have no known length. Pass "
                "`steps_per_epoch` to `fit`."
            )
        self._first_step = epoch * (self._steps_per_epoch or 0)
        # Other code may have set the rates between two epochs.
        self._last_set = {}

    def on_train_batch_begin(
        self, batch: int, logs: Config | None = None
    ) -> None:
        if self.frequency == "epoch":
            return
        step = self._first_step + batch
        # On TensorFlow, Keras begins a batch that does not come when data
        # end unannounced; the next epoch begins with the same step.
        if step != self._last_step:
            self._set_rates(step, f"step {step}")
        self._last_step = step

    def on_train_batch_end(
        self, batch: int, logs: Config | None = None
    ) -> None:
        if self._steps_per_epoch is None:
            # Appended, not assigned: batches may end in another order.
            self._ended_batches.append(batch)

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        if self._steps_per_epoch is None:
            self._steps_per_epoch = max(self._ended_batches) + 1

    def _set_rates(self, index: int, when: str) -> None:
        if self._takes_rate:
            # On JAX the rates cannot be read before `self.model` is asked.
            _ = self.model
            new_rates = {
                path: self._rate(when, index, layer.rate)
                for path, layer in self._selected
            }
        else:
            rate = self._rate(when, index)
            new_rates = {path: rate for path, _ in self._selected}
        if self.frequency == "batch" and new_rates == self._last_set:
            return  # saves JAX the way out of its loop and back
        _ = self.model
        for path, layer in self._selected:
            layer.rate = new_rates[path]
        self._last_set = new_rates
        if self.verbose > 0:
            listed = ", ".join(f"{k}: {v:.6g}" for k, v in new_rates.items())
            print(f"\n{_OWNER}: rates of {when}: {listed}")

    def _rate(self, when: str, *args: Given) -> float:
        value = self.schedule(*args)
        if ops.is_tensor(value):
            value = ops.convert_to_numpy(value)
        with blame(f"{_OWNER}, what the schedule returned at {when}"):
            return _checks.rate(value)


def _takes_rate(schedule: Given) -> bool:
    """Whether a function wants the current rate after the index."""
    if _checks.is_schedule(schedule):
        return False
    expected = (
        f"{_OWNER}: argument `schedule` must be a schedule, or a function of "
        "the epoch, `f(epoch)`, or of the epoch and the current rate, "
        "`f(epoch, rate)`, with no other positional parameters."
    )
    try:
        parameters = inspect.signature(schedule).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(
            f"{expected} Received: schedule={schedule!r}"
        ) from None
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
    ]
    plain = all(
        parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_POSITIONAL
        for parameter in positional
    )
    # A default may be meant as a constant or as a rate: so no guess.
    if not plain or len(positional) not in (1, 2):
        raise ValueError(
            f"{expected} Bind constants with `functools.partial` and keywords. "
            f"Received: {schedule!r} with the parameters "
            f"{', '.join(str(parameter) for parameter in positional)}"
        )
    return len(positional) == 2

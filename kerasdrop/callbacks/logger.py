"""Adds the rates of a model to the logs of its training."""

import keras

from kerasdrop import _checks
from kerasdrop import rates
from kerasdrop._refusals import blame
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Found


class DropoutRateLogger(keras.callbacks.Callback):
    """Adds the rate of each layer to the logs, as `"rate/<path>"`.

    `History`, `CSVLogger`, `TensorBoard` and the progress bar then show the
    rates. Callbacks run in the order of the list and share the logs. Put this
    one first, so that later callbacks see the rates, and so that it logs the
    rates of the epoch before another callback changes them.

    The logged rate is the value of `layer.rate` at the end of the epoch (or
    batch). For a layer with a schedule, this is the rate of its next training
    call. The paths are those of `kerasdrop.get_rates`. Stock Keras layers are
    left out, because their rates are constants.

    There is an entry for each layer that the model has when training begins,
    and the entries stay the same until it ends. A layer that is added later is
    logged in the next training.

    Args:
        frequency: `"epoch"`, or `"batch"` for the logs of each batch too. On
            JAX the latter costs time: see `DropoutRateScheduler`.
        entries: `"layers"` for one entry per layer; or `"mean"` for a single
            entry `"rate"`, the mean over the layers, which keeps the progress
            bar of a deep model short.

    Raises:
        ValueError: If `frequency` or `entries` is none of these. When training
            begins: if the model has no layer of kerasdrop.

    Example:

    >>> history = model.fit(x, y, callbacks=[DropoutRateLogger()], verbose=0)
    >>> history.history["rate/dropout"]
    [0.5]
    """

    @blame_itself
    def __init__(
        self, frequency: str = "epoch", entries: str = "layers"
    ) -> None:
        super().__init__()
        self.frequency = _checks.choice(
            frequency, ("epoch", "batch"), "frequency"
        )
        self.entries = _checks.choice(entries, ("layers", "mean"), "entries")
        # Otherwise Keras on JAX would wait for the result of each batch, for a
        # method that then does nothing.
        self.async_safe = frequency == "epoch"
        self._layers: Found | None = None

    def on_train_begin(self, logs: Config | None = None) -> None:
        # Raises if there is nothing to log.
        self._layers = self._layers_of(self.model)

    def on_train_batch_end(
        self, batch: int, logs: Config | None = None
    ) -> None:
        if self.frequency == "batch":
            self._log(logs)

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        self._log(logs)

    def _layers_of(self, model: keras.Model) -> Found:
        with blame(type(self).__name__):
            return rates.live_layers(model)

    def _log(self, logs: Config | None) -> None:
        if logs is None:  # of a loop of one's own
            return
        model = self.model  # Keras on JAX writes its state back when asked.
        if self._layers is None:  # on_train_begin was not called
            self._layers = self._layers_of(model)
        found = [(path, layer.rate) for path, layer in self._layers]
        if self.entries == "mean":
            logs["rate"] = sum(rate for _, rate in found) / len(found)
            return
        for path, rate in found:
            logs[f"rate/{path}"] = rate

"""Rates that any thread requests during `fit`, and the thread of `fit` sets."""

import threading

import keras

from kerasdrop import _backend
from kerasdrop import rates
from kerasdrop._refusals import blame
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Found
from kerasdrop._types import Given

_OWNER = "DropoutRateControl"
_SECONDS = 10.0


class DropoutRateControl(keras.callbacks.Callback):
    """Lets any thread set dropout rates while `fit` runs.

    It is for a slider in a notebook, a server, or a watchdog. Its method
    `set_rates` may be called in any thread, at any time. While `fit` trains
    with this callback, the new rates wait for the thread of `fit`, which sets
    them before its next batch (with `steps_per_execution` above 1, before the
    next execution), without a retrace. When training ends, rates that still
    wait are set too. While no training runs, rates are set at once.

    It works in the same way on each backend. On JAX it is the only way: there
    Keras keeps the state of a model elsewhere during an epoch, and rates that
    other threads set are refused or would be lost.

    If no rate was set before a batch, the callback costs nothing there.
    Otherwise, on JAX, the batch costs what `DropoutRateScheduler` describes.

    If a training ends with an error, callbacks are not informed. Rates that
    other threads set after that wait until the thread that trained ends or
    calls `set_rates`, or until `fit` is called again with this callback.

    Args:
        model: The `keras.Model` that will be trained, or a model or layer
            inside it.

    Raises:
        TypeError: If `model` is not a layer.
        ValueError: If it has no layer of kerasdrop. When training begins: if
            the trained model neither is `model` nor contains it.

    Example:

    >>> control = DropoutRateControl(model)
    >>> control.set_rates(0.25)  # at any time, also from another thread
    >>> history = model.fit(x, y, callbacks=[control], verbose=0)
    >>> kerasdrop.get_rates(model)
    {'dropout': 0.25}
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        with blame(_OWNER):
            rates.live_layers(model)  # raises
        self._controlled = model
        self._lock = threading.Lock()
        # Dict from the id of a layer to the layer and its rate.
        self._waiting: dict[int, tuple[keras.layers.Layer, float]] = {}
        # The thread in which `fit` runs.
        self._trainer: threading.Thread | None = None

    def set_rates(
        self, rate: float | dict[str, float], layers: Given = None
    ) -> None:
        """Sets the rate of some or all layers, as `kerasdrop.set_rates` does.

        If several rates for a layer wait for the same batch, the last one is
        set. A wrong argument raises an error here, in the calling thread, and
        `fit` continues.

        Args:
            rate: Float in [0, 1], or a dict, as in `kerasdrop.set_rates`.
            layers: Which layers, as in `kerasdrop.set_rates`.

        Raises:
            ValueError: In the same cases as `kerasdrop.set_rates`.
            TypeError: In the same cases as `kerasdrop.set_rates`.
            RuntimeError: On JAX, if Keras trains, evaluates or predicts with
                the model in another thread without this callback.
        """
        found = rates.assignments(self._controlled, rate, layers)
        # `fit` may be about to begin or to return in another thread.
        _backend.patient(lambda: self._take(found), _SECONDS)

    def _take(self, found: Found) -> None:
        with self._lock:
            if self._is_training():
                for layer, number in found:
                    self._waiting[id(layer)] = layer, number
            else:
                self._apply()
                rates.assign(found)

    def on_train_begin(self, logs: Config | None = None) -> None:
        trained = self.model
        inside = (layer for _, layer in model_tree.walk(trained))
        if not any(self._controlled is each for each in (trained, *inside)):
            raise ValueError(
                f"{_OWNER}: it was made for '{self._controlled.name}', but "
                "the trained model neither is that model nor contains it. "
                f"Pass the model that is trained: `{_OWNER}(model)`. "
                f"Received: a model '{trained.name}'"
            )
        with self._lock:
            self._trainer = threading.current_thread()
            self._apply()

    def on_epoch_begin(self, epoch: int, logs: Config | None = None) -> None:
        self._apply_in_turn()

    def on_train_batch_begin(
        self, batch: int, logs: Config | None = None
    ) -> None:
        self._apply_in_turn()

    def on_train_end(self, logs: Config | None = None) -> None:
        with self._lock:
            self._apply()
            self._trainer = None

    def _is_training(self) -> bool:
        """Whether a later method of the callback will set the rates."""
        if self._trainer is threading.current_thread():
            # Code that `fit` calls waits for its turn, too. On JAX it may be
            # called where no state can be set, like data generators.
            return _backend.is_in_trainer()
        return self._trainer is not None and self._trainer.is_alive()

    def _apply_in_turn(self) -> None:
        if self._waiting:  # avoids the cost of the lock in each batch
            with self._lock:
                self._apply()

    def _apply(self) -> None:
        """Sets waiting rates, in the thread of `fit` or while none runs."""
        if not self._waiting:
            return
        if self._trainer is threading.current_thread():
            _ = self.model  # on JAX: brings the state back
        rates.assign(list(self._waiting.values()))
        self._waiting.clear()

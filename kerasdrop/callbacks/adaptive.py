"""Changes the rates according to a validation metric."""

import os
import warnings

import keras

from kerasdrop import _checks
from kerasdrop import rates
from kerasdrop._refusals import blame
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.callbacks.plateau import Plateau
from kerasdrop.callbacks.record import EpochRecord

_OWNER = "AdaptiveDropoutRate"


class AdaptiveDropoutRate(keras.callbacks.Callback):
    """Changes the dropout rate when a validation metric has stopped improving.

    It does for rates what `keras.callbacks.ReduceLROnPlateau` does for learning
    rates. If the monitored metric has not improved for `patience` epochs, the
    rate of each selected layer changes, within `min_rate` and `max_rate`:

    - If the model overfits, the rate is raised: `1 - rate` becomes
      `factor * (1 - rate)`.
    - If it underfits, the rate is lowered: `rate` becomes `factor * rate`.

    A rate of 0 can thus be raised, and no rate leaves [0, 1].

    The gap between validation and training decides between the two. The
    training loss that `fit` reports is not suitable: it is measured with
    dropout, grows with the rate, and averages over changing weights. Instead,
    the gap compares two evaluations without dropout, with the weights at the
    end of the epoch: one of the validation data, and one of `train_data`, a
    part of the training data:

        gap = validation - training     (metrics to be minimised)
        gap = training - validation     (metrics to be maximised)

    The model overfits if `gap > target_gap`, and underfits otherwise. Without
    `train_data`, underfitting cannot be detected, and the rate only rises.

    The state is kept in memory and, with `state_path`, also in a JSON file. The
    file has one entry for each epoch: best value, epochs without improvement,
    cooldown, rates. A training that begins at epoch `n`, through
    `initial_epoch` or `BackupAndRestore`, continues from the entry of epoch
    `n - 1`, whatever the order of the callbacks. A training from epoch 0 begins
    a new file.

    Args:
        monitor: String, the validation metric to watch, `"val_..."`.
        factor: Float in (0, 1), see above.
        patience: Integer of at least 1, the number of epochs without
            improvement after which the rates change.
        verbose: 0, 1, 2 or `"auto"`, which means 1; all but 0 print a line for
            each change with its reason.
        mode: `"min"` or `"max"`: whether the metric is to be minimised or
            maximised. `"auto"` knows losses and errors (minimised) and
            accuracies, AUC, precision and recall (maximised), and refuses
            other names.
        min_delta: Float of at least 0, the smallest change that counts as an
            improvement.
        cooldown: Integer of at least 0, the number of epochs after a change of
            the rates that do not count.
        min_rate: Float in [0, 1], the lower bound when a rate is lowered.
        max_rate: Float in [0, 1], the upper bound when a rate is raised.
        train_data: `(x, y)`, `(x, y, sample_weight)` or a dataset, as for
            `evaluate`: a fixed part of the training data. It costs one
            evaluation in each epoch after which the rates may change.
        target_gap: Float, the accepted gap, in units of the monitored metric.
            Pass it together with `train_data`.
        layers: The layers to change, as in `kerasdrop.set_rates`; None for all
            layers of kerasdrop.
        state_path: Path of the JSON file, or None to keep the state in memory
            only.

    Raises:
        ValueError: If an argument is out of its range. When training begins:
            if nothing is selected; if a selected layer is a stock Keras layer
            or follows a schedule; if the file has no entry for the previous
            epoch. Later: if the monitored metric is not in the logs.

    Example:

    >>> adapt = AdaptiveDropoutRate(
    ...     factor=0.8,
    ...     patience=3,
    ...     train_data=(x[:40], y[:40]),
    ...     target_gap=0.05,
    ...     verbose=0,
    ... )
    >>> history = model.fit(
    ...     x[:40],
    ...     y[:40],
    ...     validation_data=(x[40:], y[40:]),
    ...     epochs=2,
    ...     callbacks=[adapt],
    ...     verbose=0,
    ... )
    """

    @blame(_OWNER)
    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.9,
        patience: int = 10,
        verbose: int | str = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_rate: float = 0.0,
        max_rate: float = 0.9,
        train_data: Given = None,
        target_gap: float | None = None,
        layers: Given = None,
        state_path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.monitor = _validation_metric(monitor)
        self.factor = _checks.positive_number(factor, "factor")
        if self.factor >= 1.0:
            raise ValueError(
                f"{_OWNER}: argument `factor` must be below 1, because it "
                "shrinks the rate, or the part that is kept. Received: "
                f"factor={factor!r}"
            )
        self.plateau = Plateau(
            patience=_checks.positive_integer(patience, "patience"),
            maximised=_is_maximised(mode, self.monitor),
            min_delta=_checks.number(min_delta, "min_delta", 0.0),
            cooldown=_checks.step(cooldown, "cooldown"),
        )
        self.verbose = _checks.verbosity(verbose)
        self.min_rate = _checks.rate(min_rate, "min_rate")
        self.max_rate = _checks.rate(max_rate, "max_rate")
        if self.min_rate > self.max_rate:
            raise ValueError(
                f"{_OWNER}: `min_rate` must not be above `max_rate`. "
                f"Received: min_rate={min_rate}, max_rate={max_rate}"
            )
        if (train_data is None) != (target_gap is None):
            raise ValueError(
                f"{_OWNER}: pass `train_data` and `target_gap` together. One "
                "is a part of the training data, to measure the gap from "
                "validation; the other is the accepted gap. Received: "
                f"target_gap={target_gap!r} "
                f"{'without' if train_data is None else 'with'} `train_data`"
            )
        self.train_data = train_data
        self.target_gap = target_gap
        if target_gap is not None:
            self.target_gap = _checks.number(target_gap, "target_gap")
        self.layers = layers
        self.record = EpochRecord(state_path, _OWNER)

    def on_train_begin(self, logs: Config | None = None) -> None:
        self._selected = rates.settable_layers(self.model, self.layers, _OWNER)
        self._resumes = True
        self._has_warned = False

    def on_epoch_begin(self, epoch: int, logs: Config | None = None) -> None:
        # Only now `BackupAndRestore` has said where training begins.
        if not self._resumes:
            return
        self._resumes = False
        if epoch == 0:
            self.record.clear()
            self.plateau.reset()
            return
        state = self.record.after(epoch - 1)
        if state is None:
            self.plateau.reset()
            warnings.warn(
                f"{_OWNER}: training begins at epoch {epoch}, and nothing is "
                "known about the epochs before, so patience counts from here. "
                "To continue where a process was interrupted, pass the same "
                "`state_path` in both processes.",
                stacklevel=2,
            )
            return
        self.plateau.set_state(state["plateau"])
        _ = self.model
        rate_of_path = state["rates"]
        for path, layer in self._selected:
            layer.rate = rate_of_path[path]

    def on_epoch_end(self, epoch: int, logs: Config | None = None) -> None:
        value = self._monitored(logs or {}, epoch)
        if value is not None and self.plateau.update(value):
            self._move_rates(epoch, value)
        self.record.add(
            epoch,
            {
                "plateau": self.plateau.get_state(),
                "rates": {path: layer.rate for path, layer in self._selected},
            },
        )

    def _monitored(self, logs: Config, epoch: int) -> float | None:
        """The metric of the epoch; None if there was no validation."""
        if self.monitor in logs:
            return float(logs[self.monitor])
        if any(name.startswith("val_") for name in logs):
            raise ValueError(
                f"{_OWNER}: the logs of the epoch have no metric "
                f"'{self.monitor}'. Monitor one that they have. Received: "
                f"logs of {sorted(logs)}"
            )
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{_OWNER}: epoch {epoch + 1} had no validation. Epochs "
                "without validation, as with `validation_freq=2`, do not count "
                "and change no rate. If no epoch has any, pass "
                "`validation_data` to `fit`.",
                stacklevel=2,
            )
        return None

    def _move_rates(self, epoch: int, value: Given) -> None:
        overfits, reason = True, "validation does not improve"
        if self.target_gap is not None:
            gap = self._gap(value)
            overfits = gap > self.target_gap
            reason = f"the gap is {gap:.4g}, accepted is {self.target_gap:.4g}"
        paths_of_move: dict[tuple[float, float], list[str]] = {}
        _ = self.model  # on JAX: the state is written back before it is read
        for path, layer in self._selected:
            old = layer.rate
            new = self._moved(old, overfits)
            if new != old:
                layer.rate = new
                paths_of_move.setdefault((old, new), []).append(path)
        if paths_of_move:
            self.plateau.start_cooldown()
            if self.verbose > 0:
                print(
                    f"\nEpoch {epoch + 1}: {_OWNER}: dropout rate "
                    f"{_told(paths_of_move)}, since {reason}."
                )

    def _moved(self, rate: float, overfits: bool) -> float:
        if overfits:
            # A rate set beyond the bound stays: raising never lowers.
            raised = 1.0 - self.factor * (1.0 - rate)
            return max(rate, min(raised, self.max_rate))
        return min(rate, max(self.factor * rate, self.min_rate))

    def _gap(self, validation: float) -> float:
        name = self.monitor.removeprefix("val_")
        data = self.train_data
        if isinstance(data, (tuple, list)):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        else:
            x, y, sample_weight = data, None, None
        logs = self.model.evaluate(
            x, y, sample_weight=sample_weight, verbose=0, return_dict=True
        )
        if name not in logs:
            raise ValueError(
                f"{_OWNER}: with `train_data`, `monitor` must be `val_` and "
                "the name of a metric of the compiled model. Received: "
                f"monitor='{self.monitor}', metrics of the model: "
                f"{sorted(logs)}"
            )
        gap = validation - logs[name]
        return -gap if self.plateau.maximised else gap


def _told(paths_of_move: dict[tuple[float, float], list[str]]) -> str:
    """`0.5 -> 0.4 (2 layers: a, b), 0.3 -> 0.24 (1 layer: c)`."""
    parts = []
    for (old, new), paths in paths_of_move.items():
        number = "1 layer" if len(paths) == 1 else f"{len(paths)} layers"
        parts.append(f"{old:.4g} -> {new:.4g} ({number}: {', '.join(paths)})")
    return ", ".join(parts)


def _validation_metric(monitor: str) -> str:
    if not isinstance(monitor, str) or not monitor.startswith("val_"):
        raise ValueError(
            f"{_OWNER}: argument `monitor` must be a validation metric, "
            '"val_...". Metrics of training batches are measured with dropout '
            "and depend on the rate that they would decide. "
            f"Received: monitor={monitor!r}"
        )
    return monitor


_MINIMISED = ("loss", "error", "crossentropy", "mse", "mae", "nll", "brier")
_MAXIMISED = ("acc", "auc", "precision", "recall", "f1_score", "r2_score")


def _is_maximised(mode: str, monitor: str) -> bool:
    _checks.choice(mode, ("auto", "min", "max"), "mode")
    if mode != "auto":
        return mode == "max"
    if any(word in monitor for word in _MINIMISED):
        return False
    if any(word in monitor for word in _MAXIMISED):
        return True
    raise ValueError(
        f'{_OWNER}: argument `mode` must be "min" or "max" for a metric '
        "whose name does not show whether it should be minimised or "
        f"maximised. Received: mode='auto', monitor={monitor!r}"
    )

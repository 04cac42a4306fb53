"""The loss and metrics of a predictive mean, batch by batch."""

import functools

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._refusals import Refusal
from kerasdrop._structure import padding
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo.engine.batches import Batch
from kerasdrop.montecarlo.statistics import outputs

# The reduction that Keras uses for a function as a loss.
_BY_DEFAULT = "sum_over_batch_size"
# Reductions that average over the entries that are not masked.
_OF_VALID = {_BY_DEFAULT, "mean"}


class Judged:
    """Evaluates the means of each batch, without keeping them.

    A `receivers.Receiver`.

    Args:
        model: A compiled model. Its metrics are reset.
        masks_of: Function of a `RowsOf` that returns the padding mask, or None,
            of each flat output.
        return_dict: Whether the result is a dict.
    """

    def __init__(
        self, model: keras.Model, masks_of: Function, return_dict: bool
    ) -> None:
        self._model = model
        self._masks_of = masks_of
        self._has_masks = True
        self._return_dict = return_dict
        # A model with metrics but no loss has a loss of 0, as in Keras.
        self._loss = None if model.loss is None else _StreamedLoss(model)
        self._logs: Config = {}
        self.num_rows = 0
        model.reset_metrics()

    def update(self, part: Config, batch: Batch) -> Config:
        mean, weight = part["mean"], batch.labels.sample_weight
        y = _like(mean, batch.labels.y, "y")
        if tree.is_nested(weight):
            weight = _like(mean, weight, "sample_weight")
        self._check_compiled(mean, y)
        flat = tree.flatten(mean)
        masks = self._masks(batch, len(flat))
        self.num_rows += len(flat[0])
        mean = tree.pack_sequence_as(
            mean, list(map(padding.masked, flat, masks))
        )
        if self._loss is not None:
            self._loss.update(y, mean, weight, masks)
        logs = self._model.compute_metrics(None, y, mean, weight)
        logs = {"loss": 0.0, **logs}
        if self._loss is not None:
            logs["loss"] = self._loss.result()
        self._logs = {name: _plain(value) for name, value in logs.items()}
        return dict(self._logs)

    def _masks(self, batch: Batch, count: int) -> list[Array | None]:
        """The padding mask of each flat output, as Keras applies it."""
        if not self._has_masks:
            return [None] * count
        masks = self._masks_of(batch.rows)
        # A model without masks is asked only once.
        self._has_masks = any(one is not None for one in masks)
        return [
            None if one is None else one[: batch.num_valid] for one in masks
        ]

    def _check_compiled(self, mean: Structure, y: Structure) -> None:
        """Raises if the compiled losses or metrics do not fit the outputs."""
        names = self._model._compiled_with.names_of(mean)
        judged = [
            name for name, one in zip(names, tree.flatten(y)) if one is not None
        ]
        if len(names) > 1:  # skips outputs without targets
            self._check_compiled_for(names, judged)
        kinds = outputs.kinds(self._model.kind, mean)
        for place, kind in enumerate(kinds):
            if kind == "logits":
                self._check_takes_probabilities(names, place)

    def _check_compiled_for(
        self, names: list[Given], judged: list[Given]
    ) -> None:
        """Raises if there are losses or metrics for outputs that do not exist.

        Keras may apply one that is for another output to the only output.
        """
        named = self._model._compiled_with.named(names)
        if self._model._compiled_with.is_for_all(names):
            named = names
        others = [name for name in named if name not in judged]
        if not others:
            return
        raise Refusal(
            "losses and metrics must be for outputs that the model has and "
            f"that have targets: {judged}. Compile only those, or pass the "
            f"targets of the others. Received: some for {others}"
        )

    def _check_takes_probabilities(
        self, names: list[Given], place: int
    ) -> None:
        """Raises if a loss or metric would treat mean values as logits."""
        found = self._model._compiled_with.take_logits(names, place)
        if found:
            raise Refusal(
                "the predictive mean of an output of kind 'logits' consists of "
                "probabilities, so a loss or metric with `from_logits=True` "
                "would be wrong. Compile this `MonteCarlo` with "
                f"`from_logits=False`. Received: {found[0]} with "
                "from_logits=True"
            )

    def result(self) -> Given:
        """Returns the loss, a list of the loss and the metrics, or a dict."""
        if self._return_dict:
            return dict(self._logs)
        values = list(self._logs.values())  # the loss is the first
        return values if len(values) > 1 else values[0]


class _StreamedLoss:
    """Computes the loss of all rows from the losses of the batches.

    If the loss is a mean over rows, a sum, or a weighted mean, the result is
    the loss of all rows at once, up to rounding.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._reductions = {
            getattr(keras.losses.get(loss), "reduction", _BY_DEFAULT)
            for loss in tree.flatten(model.loss)
            if loss is not None
        }
        self._is_sum = self._reductions == {"sum"}
        if "sum" in self._reductions and not self._is_sum:
            self._refuse()
        self._total = self._weight = self._added = 0.0

    def update(
        self,
        y: Structure,
        mean: Structure,
        weight: Given,
        masks: list[Array | None],
    ) -> None:
        model = self._model
        loss = _number(
            _backend.for_one_replica(
                functools.partial(
                    model.compute_loss,
                    y=y,
                    y_pred=mean,
                    sample_weight=weight,
                    training=False,
                )
            )
        )
        if self._is_sum:
            # The regularizers' losses are not sums over rows.
            self._added = sum(_number(ops.sum(one)) for one in model.losses)
            self._total += loss - self._added
            return
        share = self._share(len(tree.flatten(mean)[0]), weight, masks)
        if share:
            self._total += share * loss
            self._weight += share

    def _share(
        self, num_rows: int, weight: Given, masks: list[Array | None]
    ) -> float:
        """The weight of a batch's loss in the mean."""
        mask = masks[0] if len(masks) == 1 else None
        if "mean_with_sample_weight" in self._reductions:
            if weight is None and mask is None:
                return float(num_rows)
            if len(self._reductions) > 1 or tree.is_nested(weight):
                self._refuse()
            return _sum(weight, mask)
        if self._reductions <= _OF_VALID and mask is not None:
            return _sum(None, mask)
        return float(num_rows)

    def _refuse(self) -> None:
        raise Refusal(
            "losses with different reductions cannot be summed over batches. "
            "Give all of them the same `reduction`, 'sum' or "
            "'sum_over_batch_size'. Received: "
            f"{', '.join(sorted(map(str, self._reductions)))}"
        )

    def result(self) -> float:
        if self._is_sum:
            return self._total + self._added
        return self._total / self._weight if self._weight else 0.0


def _sum(weight: Given, mask: Array | None) -> float:
    """The sum of the weights of rows, or of steps, that are not masked."""
    if mask is None:
        return float(np.sum(weight, dtype="float64"))
    valid = np.asarray(mask, "float64")
    if weight is None:
        return float(valid.sum())
    weight = np.asarray(weight, "float64")
    steps = valid.ndim - weight.ndim
    return float((weight.reshape(*weight.shape, *[1] * steps) * valid).sum())


def _plain(value: Given) -> Given:
    """A number as a float; or an array, which some metrics return."""
    array = ops.convert_to_numpy(value)
    return array if array.ndim else float(array)


def _number(value: Given) -> float:
    """A scalar as a float; the mean if there is a loss for each row."""
    return float(np.mean(ops.convert_to_numpy(value)))


def _like(mean: Structure, labels: Structure, name: str) -> Structure:
    """Returns labels in the structure of the outputs, which Keras needs."""
    flat = outputs.targets(labels, mean, name)
    return tree.pack_sequence_as(mean, flat)

"""Loss and metrics of a predictive mean, batch by batch."""

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo.engine.batches import Labels
from kerasdrop.montecarlo.statistics import outputs


class Judged:
    """Judges the means of each batch, of which it keeps none.

    A `receivers.Receiver`.

    Args:
        model: A compiled model, whose metrics are reset.
        return_dict: Whether the result is a dict.
    """

    def __init__(self, model: keras.Model, return_dict: bool) -> None:
        self._model = model
        self._return_dict = return_dict
        # Of metrics alone the loss is 0, as Keras has it.
        self._loss = None if model.loss is None else _StreamedLoss(model)
        self._logs: Config = {}
        self.num_rows = 0
        model.reset_metrics()

    def update(self, part: Config, labels: Labels) -> Config:
        mean, weight = part["mean"], labels.sample_weight
        y = _like(mean, labels.y, "y")
        if tree.is_nested(weight):
            weight = _like(mean, weight, "sample_weight")
        if isinstance(mean, dict):  # what has no targets is not judged
            self._check_compiled_for(
                [name for name in mean if y[name] is not None]
            )
        if self._loss is not None:
            self._loss.update(y, mean, weight)
        logs = self._model.compute_metrics(None, y, mean, weight)
        self.num_rows += len(tree.flatten(mean)[0])
        logs = {"loss": 0.0, **logs}
        if self._loss is not None:
            logs["loss"] = self._loss.result()
        self._logs = {name: _plain(value) for name, value in logs.items()}
        return dict(self._logs)

    def _check_compiled_for(self, judged: list[str]) -> None:
        """Raises if there are losses or metrics for other outputs.

        Keras may take one that is for another output for the only one.
        """
        others = set(self._model._compiled_for) - set(judged)
        if not others:
            return
        raise Refusal(
            "losses and metrics must be for outputs that the model has and "
            f"that have targets: {judged}. Compile those alone, or pass the "
            f"targets of the others. Received: some for {sorted(others)}"
        )

    def result(self) -> Given:
        """The loss, a list of it and the metrics, or a dict."""
        if self._return_dict:
            return dict(self._logs)
        values = list(self._logs.values())  # the loss is the first
        return values if len(values) > 1 else values[0]


class _StreamedLoss:
    """The loss of all rows from those of the batches.

    Where it is a mean over rows, a sum, or a mean by weights, it is that of
    all rows at once, to rounding.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._reductions = {
            getattr(keras.losses.get(loss), "reduction", None)
            for loss in tree.flatten(model.loss)
            if loss is not None
        }
        self._is_sum = self._reductions == {"sum"}
        if "sum" in self._reductions and not self._is_sum:
            self._refuse()
        self._total = self._weight = self._added = 0.0

    def update(self, y: Structure, mean: Structure, weight: Given) -> None:
        model = self._model
        loss = _number(
            model.compute_loss(
                y=y, y_pred=mean, sample_weight=weight, training=False
            )
        )
        if self._is_sum:
            # Of regularizers, which are no sum over rows.
            self._added = sum(_number(ops.sum(one)) for one in model.losses)
            self._total += loss - self._added
            return
        share = float(len(tree.flatten(mean)[0]))
        if "mean_with_sample_weight" in self._reductions and weight is not None:
            if len(self._reductions) > 1 or tree.is_nested(weight):
                self._refuse()
            share = float(np.sum(weight, dtype="float64"))
        if share:
            self._total += share * loss
            self._weight += share

    def _refuse(self) -> None:
        raise Refusal(
            "losses that are put together in different ways cannot be summed "
            "over batches. Give all of them one `reduction`, 'sum' or "
            "'sum_over_batch_size'. Received: "
            f"{', '.join(sorted(map(str, self._reductions)))}"
        )

    def result(self) -> float:
        if self._is_sum:
            return self._total + self._added
        return self._total / self._weight if self._weight else 0.0


def _plain(value: Given) -> Given:
    """A number, as a float; or an array, as some metrics have it."""
    array = ops.convert_to_numpy(value)
    return array if array.ndim else float(array)


def _number(value: Given) -> float:
    """A scalar as a float; of a loss of each row the mean."""
    return float(np.mean(ops.convert_to_numpy(value)))


def _like(mean: Structure, labels: Structure, name: str) -> Structure:
    """Labels in the structure of the outputs, as Keras takes them."""
    flat = outputs.targets(labels, mean, name)
    return tree.pack_sequence_as(mean, flat)

"""The compiled losses and metrics of each output of a model."""

import dataclasses

import keras
from keras import tree

from kerasdrop._types import Given
from kerasdrop._types import Structure


@dataclasses.dataclass  # Keras does not track its fields, as those of a tuple
class CompiledWith:
    """Losses and metrics in the form in which they were given.

    Attributes:
        given: List of the loss, the metrics and the weighted metrics.
        output_names: List of the names of outputs in a list; or None.
    """

    given: list[Given]
    output_names: list[str] | None = None

    def names_of(self, mean: Structure) -> list[Given]:
        """The name of each flat output; its position if it has none."""
        paths = [path for path, _ in tree.flatten_with_path(mean)]
        if self.output_names is not None:
            return list(self.output_names)
        return [path[0] if path else None for path in paths]

    def named(self, names: list[Given]) -> list[Given]:
        """The names of outputs for which there is a loss or a metric.

        Args:
            names: As of `names_of`.
        """
        found = {
            name
            for one in self.given
            for name, value in _by_name(one, names).items()
            if value is not None
        }
        return sorted(found, key=str)

    def is_for_all(self, names: list[Given]) -> bool:
        """Whether there is a loss or a metric for all outputs alike.

        Args:
            names: As of `names_of`.
        """
        return any(one and not _is_by_name(one, names) for one in self.given)

    def take_logits(self, names: list[Given], place: int) -> list[str]:
        """The classes of the losses and metrics that treat an output as logits.

        Args:
            names: As of `names_of`.
            place: Integer, the number of the output.
        """
        of_output = [
            _by_name(one, names).get(names[place])
            if _is_by_name(one, names)
            else one
            for one in self.given
        ]
        return [
            type(one).__name__
            for one in tree.flatten(of_output)
            if isinstance(one, (keras.Loss, keras.Metric))
            and one.get_config().get("from_logits")
        ]


def output_names(model: keras.Model) -> list[str] | None:
    """The names by which Keras distinguishes outputs in a list; or None."""
    names = getattr(model, "output_names", None)
    if names is None or not isinstance(model.output, (list, tuple)):
        return None
    are_flat = len(names) == len(model.output) == len(model.outputs) > 1
    return list(names) if are_flat else None


def _is_by_name(given: Given, names: list[Given]) -> bool:
    if isinstance(given, dict):
        return len(names) > 1
    is_list = isinstance(given, (list, tuple))
    return is_list and len(names) == len(given) > 1


def _by_name(given: Given, names: list[Given]) -> dict[Given, Given]:
    if not _is_by_name(given, names):
        return {}
    return dict(given) if isinstance(given, dict) else dict(zip(names, given))

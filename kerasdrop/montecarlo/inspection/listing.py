"""Lists the layers of a model that are or could be random."""

import dataclasses

import keras

from kerasdrop._adapters import adapters
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import registry
from kerasdrop._adapters.survey import Survey
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.montecarlo import choice as choices

_HEADER = ("layer", "class", "rate", "drawn")


@dataclasses.dataclass(frozen=True)
class LayerInspection:
    """One layer that is or could be random.

    Attributes:
        path: The names of the layers from the model down to it, joined by "/".
        class_name: String.
        rate: Float; its standard deviation if it adds noise; None if unknown.
        is_drawn: Whether the layer would draw in a Monte Carlo pass.
        why: How it would draw, or why not.
    """

    path: str
    class_name: str
    rate: Given
    is_drawn: bool
    why: str


def random_layers(
    found: Survey, choice: choices.Choice
) -> list[LayerInspection]:
    """A list of `LayerInspection`, in the order of a `Survey`.

    Args:
        found: The `Survey`.
        choice: The `choice.Choice` of what would be drawn.
    """
    unknown = {id(layer) for layer in found.unknown}
    # Cells whose masks come from dropout layers beside them, which are listed.
    thinned = registry.thinned_cells(layer for _, layer in found.layers)
    return [
        _inspected(path or layer.name, layer, id(layer) in unknown, choice)
        for path, layer in found.layers
        if id(layer) not in thinned
        and (
            id(layer) in unknown
            or (
                layer is not found.model
                and (
                    adapters.can_draw(layer) or by_keras.is_augmentation(layer)
                )
            )
        )
    ]


def _inspected(
    path: str,
    layer: keras.layers.Layer,
    is_unknown: bool,
    choice: choices.Choice,
) -> LayerInspection:
    name = model_tree.class_name(layer)
    if is_unknown:
        why = (
            "no: unknown class, see `kerasdrop.register_stochastic`; but yes, "
            "by Keras, if it draws at inference by itself"
        )
        return LayerInspection(path, name, None, False, why)
    if not adapters.can_draw(layer):
        why = "no: augmentation stays off"
        return LayerInspection(path, name, None, False, why)
    if not choice.is_whole and not choice.of_layer(layer):
        rate = adapters.rate_of(layer)
        return LayerInspection(path, name, rate, False, "no: not selected")
    rate = choice.rate_of(layer)
    if rate == 0.0:
        return LayerInspection(path, name, rate, False, "no: its rate is 0")
    if isinstance(layer, StochasticLayer):
        why = "yes"
    elif adapters.is_by_keras(layer):
        why = "yes, by Keras: its draws depend on the batch"
    else:
        why = "yes, with the masks of kerasdrop"
    if choice.is_given(layer):
        why += "; the rate is given"
    return LayerInspection(path, name, rate, True, why)


def table(found: Survey, choice: choices.Choice) -> str:
    """Lines of text, one for each layer of `random_layers`: its arguments."""
    listed = random_layers(found, choice)
    if not listed:
        classes = {
            model_tree.class_name(layer) for _, layer in found.layers[1:]
        }
        return (
            "No layer is or could be random. Layers found: "
            f"{', '.join(sorted(classes))}"
        )
    rows = [
        _HEADER,
        *(
            (
                one.path,
                one.class_name,
                "?" if one.rate is None else f"{one.rate:g}",
                one.why,
            )
            for one in listed
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]
        )
        for row in rows
    )

"""Groups of layers, each with its own rate: the argument `groups`."""

import dataclasses
from typing import NamedTuple
from typing import TypeAlias

import keras

from kerasdrop._refusals import Refusal
from kerasdrop._structure import groups as named
from kerasdrop._types import Given
from kerasdrop.montecarlo import choice

# A rate for each group.
Point: TypeAlias = tuple[float, ...]


class Groups(NamedTuple):
    """The places that are drawn, in groups that share a rate.

    Attributes:
        names: Tuple of the names; None if all layers have one rate.
        numbers: Tuple of the numbers of the places of each group.
        chosen: The `choice.Choice` of all of them.
    """

    names: tuple[str, ...] | None
    numbers: tuple[frozenset[int], ...]
    chosen: choice.Choice

    def at(self, point: Point) -> choice.Choice:
        """The choice at a rate for each group."""
        given = {
            number: rate
            for numbers, rate in zip(self.numbers, point)
            for number in sorted(numbers)
        }
        return dataclasses.replace(self.chosen, given=given)

    def common(self, rate: float) -> Point:
        """The point at which all groups have one rate."""
        return (rate,) * len(self.numbers)

    def line(self, point: Point, group: int, grid: list[float]) -> list[Point]:
        """The points that differ from a point in the rate of one group."""
        return [(*point[:group], rate, *point[group + 1 :]) for rate in grid]

    def paths(self, group: int) -> tuple[str, ...]:
        """The paths of the places in a group."""
        places = self.chosen.places
        return tuple(places[i].path for i in sorted(self.numbers[group]))


def of(
    model: keras.Model, layers: Given, groups: Given, grid: list[float]
) -> Groups:
    """Returns the `Groups` for the arguments `layers` and `groups`.

    Args:
        model: A built model.
        layers: As in `mc_predict`.
        groups: None, or a dict from names to such values.
        grid: The rates to try, all of which must be possible.

    Raises:
        Refusal: If groups overlap or are empty, or a rate cannot be given.
        TypeRefusal: If `groups` is not a dict.
    """
    if groups is None:
        chosen = _chosen(model, layers, grid)
        return Groups(None, (chosen.selected,), chosen)
    named.check(groups)
    if len(groups) < 2:
        raise Refusal(
            "argument `groups` must have two or more groups; for one rate, "
            f"pass what is drawn as `layers`. Received: groups={groups!r}"
        )
    if layers is not None:
        raise Refusal(
            "argument `groups` says what is drawn. Leave `layers` out. "
            f"Received: layers={layers!r}"
        )
    places = choice.whole(model).places
    numbers = named.numbers(
        groups,
        lambda selector: choice.of(model, selector).selected,
        [place.path for place in places],
    )
    drawn = [places[i].path for one in numbers.values() for i in sorted(one)]
    chosen = _chosen(model, drawn, grid)
    return Groups(tuple(numbers), tuple(numbers.values()), chosen)


def _chosen(
    model: keras.Model, layers: Given, grid: list[float]
) -> choice.Choice:
    """Returns the choice if all its places can have each rate of the grid."""
    for rate in grid:
        chosen = choice.of(model, layers, rate)
    return chosen

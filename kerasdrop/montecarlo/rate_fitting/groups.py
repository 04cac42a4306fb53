"""Groups of layers, each with a rate of its own: the argument `groups`."""

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
    """What is drawn, and what of it has one rate.

    Attributes:
        names: Tuple of the names; None where all layers have one rate.
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
        """The point at which all have one rate."""
        return (rate,) * len(self.numbers)

    def line(self, point: Point, group: int, grid: list[float]) -> list[Point]:
        """The points that differ from a point in the rate of one group."""
        return [(*point[:group], rate, *point[group + 1 :]) for rate in grid]

    def paths(self, group: int) -> tuple[str, ...]:
        """The paths of what a group has."""
        places = self.chosen.places
        return tuple(places[i].path for i in sorted(self.numbers[group]))


def of(
    model: keras.Model, layers: Given, groups: Given, grid: list[float]
) -> Groups:
    """The `Groups` that are meant by the arguments `layers` and `groups`.

    Args:
        model: A built model.
        layers: As in `mc_predict`.
        groups: None, or a dict from names to such.
        grid: The rates that are to be tried, all of which must be possible.

    Raises:
        Refusal: If groups overlap or are empty, or a rate cannot be given.
        TypeRefusal: If `groups` is no dict.
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
    """What is drawn, if each rate of the grid can be given to all of it."""
    for rate in grid:
        chosen = choice.of(model, layers, rate)
    return chosen

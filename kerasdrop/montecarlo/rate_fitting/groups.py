"""Groups of layers, each with a rate of its own: the argument `groups`."""

import dataclasses
from typing import NamedTuple
from typing import TypeAlias

import keras

from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
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
    if not isinstance(groups, dict):
        raise TypeRefusal(
            "argument `groups` must be None or a dict from a name to layers. "
            f"Received: {groups!r} (of type {type(groups).__name__})"
        )
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
    numbers = {
        name: _of_group(model, name, selector)
        for name, selector in groups.items()
    }
    _check_apart(choice.whole(model), numbers)
    places = choice.whole(model).places
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


def _of_group(
    model: keras.Model, name: Given, selector: Given
) -> frozenset[int]:
    if not isinstance(name, str) or not name:
        raise TypeRefusal(
            "the keys of argument `groups` must be strings, names of your "
            "choice. "
            f"Received: {name!r} (of type {type(name).__name__})"
        )
    if selector is None:
        raise Refusal(
            f"group '{name}' of argument `groups` must say which layers it "
            "has: a path, a name, a pattern, a layer, a function of a layer, "
            "or a list of these. Received: None"
        )
    try:
        return choice.of(model, selector).selected
    except (Refusal, TypeRefusal) as refusal:
        raise type(refusal)(f"in group '{name}', {refusal}") from refusal


def _check_apart(
    found: choice.Choice, numbers: dict[str, frozenset[int]]
) -> None:
    group_of: dict[int, str] = {}
    for name, of_group in numbers.items():
        for number in sorted(of_group):
            if number in group_of:
                raise Refusal(
                    "a layer has one rate, so groups must not overlap. "
                    f"Narrow one of them. Received: '{group_of[number]}' and "
                    f"'{name}', which both have "
                    f"'{found.places[number].path}'"
                )
            group_of[number] = name

"""The argument `groups`: named groups of layers."""

from collections.abc import Callable

from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
from kerasdrop._types import Given


def check(groups: Given) -> None:
    """Raises unless `groups` is a dict with strings as keys."""
    if not isinstance(groups, dict):
        raise TypeRefusal(
            "argument `groups` must be None or a dict from a name to layers. "
            f"Received: {groups!r} (of type {type(groups).__name__})"
        )
    for name in groups:
        if not isinstance(name, str) or not name:
            raise TypeRefusal(
                "the keys of argument `groups` must be strings, names of your "
                f"choice. Received: {name!r} (of type {type(name).__name__})"
            )


def numbers(
    groups: dict[str, Given],
    of_group: Callable[[Given], frozenset[int]],
    paths: list[str],
) -> dict[str, frozenset[int]]:
    """Returns the numbers of the members of each group, by its name.

    Args:
        groups: What `check` passed.
        of_group: Function of the value of a group, which selects layers like
            the argument `layers` of `mc_predict`. It returns numbers.
        paths: List of the paths of everything that has a number.

    Raises:
        Refusal: If a group names no layer, or two groups share one.
        TypeRefusal: If the value of a group cannot name layers.
    """
    found: dict[str, frozenset[int]] = {}
    group_of: dict[int, str] = {}
    for name, selector in groups.items():
        if selector is None:
            raise Refusal(
                f"group '{name}' of argument `groups` must say which layers "
                "it has: a path, a name, a pattern, a layer, a function of a "
                "layer, or a list of these. Received: None"
            )
        try:
            found[name] = of_group(selector)
        except (Refusal, TypeRefusal) as refusal:
            raise type(refusal)(f"in group '{name}', {refusal}") from refusal
        for number in sorted(found[name]):
            if number in group_of:
                raise Refusal(
                    "groups must not overlap. Narrow one of them. Received: a "
                    f"layer in the groups '{group_of[number]}' and '{name}', "
                    f"which both have '{paths[number]}'"
                )
            group_of[number] = name
    return found

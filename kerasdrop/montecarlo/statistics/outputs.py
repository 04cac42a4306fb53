"""Matches kinds, targets and statistics to a model's outputs."""

from keras import tree

from kerasdrop import _refusals
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo.statistics import summaries
from kerasdrop.montecarlo.statistics.kinds.table import KINDS


def kinds(kind: Structure, outputs: Structure) -> list[str]:
    """Returns the kind of each flat output.

    Args:
        kind: As `choosing.check` returns it.
        outputs: A structure; its leaves can be anything.
    """
    return _of_each(kind, outputs, kind, outputs)


def _of_each(
    kind: Structure,
    outputs: Structure,
    all_kinds: Structure,
    all_outputs: Structure,
) -> list[str]:
    if isinstance(kind, str):
        return [kind] * len(tree.flatten(outputs))
    if isinstance(kind, dict):
        fits = isinstance(outputs, dict) and set(outputs) == set(kind)
    else:
        is_list = isinstance(outputs, (list, tuple))
        fits = is_list and len(outputs) == len(kind)
    if not fits:
        raise _refusals.Refusal(
            "a structure of kinds must have the structure of the "
            "model's outputs, and name each output that has a name. Received: "
            f"kind={all_kinds!r} for outputs "
            f"{tree.map_structure(lambda _: '...', all_outputs)}"
        )
    return [
        one
        for place in _places(outputs)
        for one in _of_each(kind[place], outputs[place], all_kinds, all_outputs)
    ]


def targets(y: Structure, outputs: Structure, name: str = "y") -> list[Given]:
    """Returns the targets of each flat output; None if there are none.

    Args:
        y: Targets, in the structure of the outputs. A dict or a list may
            contain None, and a dict may omit names.
        outputs: A structure; its leaves can be anything.
        name: String, the name of the argument.

    Raises:
        ValueError: If the structures differ. Only lists are matched to outputs
            by their order, if the outputs are a list.
    """
    outputs_only, y_only = tree.flatten(outputs), tree.flatten(y)
    if len(outputs_only) == len(y_only) == 1 and not (
        isinstance(y, dict) and isinstance(outputs, dict)
    ):
        found = y_only
    else:
        found = _aligned_targets(y, outputs)
    if found is None or all(one is None for one in found):
        raise _refusals.Refusal(
            f"`{name}` must have the structure of the model's outputs (and "
            f"None, or no name, for those without): {shown(outputs)}. "
            f"Received: {name}={shown(y)}"
        )
    return found


def shown(structure: Structure) -> Structure:
    """A structure without its values, as an error shows it."""
    return tree.map_structure(
        lambda one: None if one is None else "...", structure
    )


def _aligned_targets(y: Given, outputs: Given) -> list[Given] | None:
    """As `targets`, but returns None if the structures differ."""
    if y is None:
        return [None] * len(tree.flatten(outputs))
    places = _places(outputs)
    if not places:
        return None if tree.is_nested(y) else [y]
    if isinstance(outputs, dict):
        if not isinstance(y, dict) or not set(y) <= set(outputs):
            return None
        y = {place: y.get(place) for place in places}
    elif not isinstance(y, (list, tuple)) or len(y) != len(outputs):
        return None
    found: list[Given] = []
    for place in places:
        part = _aligned_targets(y[place], outputs[place])
        if part is None:
            return None
        found += part
    return found


def _places(structure: Structure) -> list[Given]:
    """The keys of a dict or list, in the order of flat leaves."""
    if isinstance(structure, dict):
        # An `OrderedDict` has an order of its own, other dicts that of names.
        paths = (path for path, _ in tree.flatten_with_path(structure))
        return list(dict.fromkeys(path[0] for path in paths))
    if isinstance(structure, (list, tuple)):
        return list(range(len(structure)))
    return []


def of_some(structure: Given, values: Given) -> Given:
    """Returns a structure of values, without the outputs that have none.

    Args:
        structure: The structure of the outputs.
        values: Flat list, with None where there is no value.

    Returns:
        `structure` with the values as leaves, if no value is missing. Otherwise
        dicts of the existing values, by the name of an output or by its
        position in a list.
    """
    if all(value is not None for value in values):
        return tree.pack_sequence_as(structure, values)
    return _without_none(tree.pack_sequence_as(structure, values))


def _without_none(structure: Given) -> Given:
    if isinstance(structure, dict):
        items: Given = structure.items()
    elif isinstance(structure, (list, tuple)):
        items = enumerate(structure)
    else:
        return structure
    some = {place: _without_none(one) for place, one in items}
    return {
        place: one for place, one in some.items() if one is not None
    } or None


def aligned(some: Given, outputs: Structure) -> Given:
    """The flat list of values in a result of `of_some`, with None for gaps.

    Args:
        some: As `of_some` returns it, or None.
        outputs: A structure of the outputs.
    """
    places = _places(outputs)
    if not places:
        return [some]
    flat = []
    for place in places:
        has_value = some is not None and (
            place in some if isinstance(some, dict) else place < len(some)
        )
        one = some[place] if has_value else None
        flat.extend(aligned(one, outputs[place]))
    return flat


def check(kind: Given, statistics: Given) -> None:
    """Raises if predictions cannot be of their kinds.

    Args:
        kind: As `choosing.check` returns it.
        statistics: A dict of arrays, in the structure of the outputs.
    """
    means = statistics["mean"]
    columns = {
        name: aligned(some, means)
        for name, some in statistics.items()
        if name not in summaries.OF_ROWS
    }
    for place, name in enumerate(kinds(kind, means)):
        found = {name: column[place] for name, column in columns.items()}
        KINDS[name].check(found)

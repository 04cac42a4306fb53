"""Selects layers by path, name, pattern, object or a test function."""

import fnmatch
import inspect
from collections.abc import Sequence

import keras

from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
from kerasdrop._structure import model_tree
from kerasdrop._types import Found
from kerasdrop._types import Given


def selected(
    model: keras.layers.Layer,
    candidates: Found,
    selector: Given,
    what: str = "dropout layer",
    is_key: bool = False,
) -> Found:
    """Returns the candidates that a selector names, in their order.

    Args:
        model: The model, or layer, that contains them.
        candidates: List of (path, layer). Two of them may have the same layer.
        selector: A path, a name, a pattern, a layer, a function of a layer, or
            a list or tuple of these. A named layer that contains candidates
            stands for these candidates.
        what: What the candidates are, for the messages.
        is_key: Whether the selector is a key of a dict of rates instead of the
            argument `layers`.

    Raises:
        Refusal: If the selector, or an entry of a list, names no candidate.
        TypeRefusal: If the selector is none of the above.
    """
    selectors: Sequence[Given] = [selector]
    if isinstance(selector, (list, tuple)):
        selectors = selector
    if not selectors:
        raise Refusal(
            "argument `layers` is empty; leave it out to mean all "
            f"layers. Received: layers={selector!r}"
        )
    found = set()
    for each in selectors:
        matches = _matches(model, candidates, each)
        if not matches:
            raise Refusal(
                f"no {what} of the model is selected. The model has:\n"
                f"{model_tree.listing(candidates)}\nReceived: "
                + (f"key {each!r} of `rate`" if is_key else f"layers={each!r}")
                + _whose(model, each)
            )
        found.update(matches)
    return [entry for entry in candidates if entry[0] in found]


def _whose(model: keras.layers.Layer, selector: Given) -> str:
    if not isinstance(selector, keras.layers.Layer) or selector is model:
        return ""
    if any(layer is selector for _, layer in model_tree.walk(model)):
        return ""
    return f", which is no layer of '{model.name}'"


def _matches(
    model: keras.layers.Layer, candidates: Found, selector: Given
) -> list[str]:
    """The paths of the candidates that a single selector names."""
    if isinstance(selector, str):
        return _named(model, candidates, selector)
    if isinstance(selector, keras.layers.Layer):
        return _inside(candidates, [selector])
    if inspect.isclass(selector):
        raise TypeRefusal(
            f"{selector.__name__} is a class, not a function of a layer. To "
            "name its layers: `lambda layer: isinstance(layer, "
            f"{selector.__name__})`. Received: {selector!r}"
        )
    if callable(selector):
        return [path for path, layer in candidates if selector(layer)]
    raise TypeRefusal(
        "argument `layers` must be None, a path, a name, a "
        "pattern, a layer, a function of a layer, or a list of these. "
        f"Received: {selector!r} (of type {type(selector).__name__})"
    )


def _inside(candidates: Found, holders: list[keras.layers.Layer]) -> list[str]:
    """The paths of the candidates that are, or are inside, one of these."""
    inside = set(map(id, holders))
    for holder in holders:
        inside.update(id(layer) for _, layer in model_tree.walk(holder))
    return [path for path, layer in candidates if id(layer) in inside]


def _named(
    model: keras.layers.Layer, candidates: Found, text: str
) -> list[str]:
    """Looks for a path first, then for a name, then for a pattern.

    Each looks among the candidates before the layers that contain some.
    """
    of_model = [(model.name, model), *model_tree.walk(model)]
    tests = (
        lambda path, layer: path == text,
        lambda path, layer: layer.name == text,
        lambda path, layer: (
            fnmatch.fnmatchcase(path, text)
            or fnmatch.fnmatchcase(layer.name, text)
        ),
    )
    for is_meant in tests:
        paths = [path for path, layer in candidates if is_meant(path, layer)]
        paths = paths or _inside(
            candidates,
            [layer for path, layer in of_model if is_meant(path, layer)],
        )
        if paths:
            return paths
    return []

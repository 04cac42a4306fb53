"""Determines the kinds of outputs, from the user or from the model."""

import re
import warnings

import keras
from keras import tree

from kerasdrop import _refusals
from kerasdrop._types import Structure
from kerasdrop.montecarlo.statistics import activations
from kerasdrop.montecarlo.statistics import outputs
from kerasdrop.montecarlo.statistics.kinds.table import KINDS


def check(kind: Structure, model: keras.Model, owner: str) -> Structure:
    """Returns the kind; if it is None, infers it from the last activations.

    Args:
        kind: One of `KINDS`, a structure of them like that of the outputs, or
            None.
        model: A built model.
        owner: The public function that a warning names.
    """
    found = activations.read(model)
    if kind is None:
        kind = _only(found, model)
        _warn_of_logits(kind, found, model, owner)
        return kind
    kind = _checked(kind)
    if found is not None:
        said = outputs.kinds(kind, _kinds_of(found))
        for one, read in zip(said, tree.flatten(_kinds_of(found))):
            if read in KINDS[one].refuted_by:
                raise _refusals.Refusal(
                    "logits are the inputs of a softmax, but model "
                    f"'{model.name}' ends in one, or in a sigmoid. Pass "
                    f"`kind='{read}'`. Received: kind={kind!r}"
                )
    return kind


def _checked(kind: Structure) -> Structure:
    """Returns a kind or a structure of kinds, or raises."""
    if isinstance(kind, dict) and kind:
        return {name: _checked(one) for name, one in kind.items()}
    if isinstance(kind, (list, tuple)) and kind:
        return [_checked(one) for one in kind]
    if not isinstance(kind, str) or kind not in KINDS:
        raise _refusals.Refusal(
            f"argument `kind` must be one of {', '.join(KINDS)}; a "
            "structure of them, like that of the model's outputs (a dict by "
            "name, a list); or None to read it off the last activations. "
            f"Received: kind={kind!r}"
        )
    return kind


def _kinds_of(found: Structure) -> Structure:
    """The kinds in a structure of `activations.Read`."""
    return tree.map_structure(lambda read: read.kind, found)


def _only(found: Structure, model: keras.Model) -> Structure:
    """Returns one kind for all outputs, or a structure of kinds."""
    if found is None:
        raise _refusals.Refusal(
            f"model '{model.name}' has no graph, so the kind of its outputs "
            "is not known. Pass `kind`, one of "
            f"{', '.join(KINDS)}. Received: kind=None"
        )
    for read in tree.flatten(found):
        _check_class_axis(read, model)
    kinds = _kinds_of(found)
    distinct = set(tree.flatten(kinds))
    return distinct.pop() if len(distinct) == 1 else kinds


def _check_class_axis(read: activations.Read, model: keras.Model) -> None:
    if read.class_axis is None or read.class_axis == read.rank - 1:
        return
    raise _refusals.Refusal(
        f"model '{model.name}' has its classes in axis "
        f"{read.class_axis} of an output with {read.rank} axes, while "
        "entropies and votes are over the last axis. Move the classes there "
        "(`keras.layers.Permute` behind the softmax), or pass "
        "`kind='regression'` for the mean and the variance only. Received: "
        "kind=None"
    )


def _warn_of_logits(
    kind: str, found: activations.Read, model: keras.Model, owner: str
) -> None:
    """Warns if a classifier's logits would be treated as a regression."""
    kinds = outputs.kinds(kind, _kinds_of(found))
    for one, loss in zip(kinds, _losses(model, len(kinds))):
        reason = _reason_for_classes(model, loss)
        if one == "regression" and reason is not None:
            warnings.warn(
                f"{owner}: the outputs of model '{model.name}' are taken for "
                "a regression, because no softmax or sigmoid makes them, but "
                f"{reason}. Pass `kind='logits'` if they are logits of "
                "classes (for logits of a sigmoid, append "
                "`keras.layers.Activation('sigmoid')` to the model), or "
                "`kind='regression'` if they are one.",
                stacklevel=5,
            )
            return


def _reason_for_classes(model: keras.Model, loss: str) -> str | None:
    if "crossentropy" in loss:
        return f"its loss is '{loss}'"
    cls = type(model).__name__
    if re.search("classif", f"{model.name} {cls}", re.IGNORECASE):
        return f"it is called '{model.name}' ({cls})"
    return None


def _losses(model: keras.Model, count: int) -> list[str]:
    """The name of the compiled loss of each of `count` outputs, or ""."""
    losses = tree.flatten(model.loss) if model.compiled else []
    if len(losses) != count:
        losses = (losses if len(losses) == 1 else [""]) * count
    return [
        loss
        if isinstance(loss, str)
        else getattr(loss, "name", getattr(loss, "__name__", ""))
        for loss in losses
    ]

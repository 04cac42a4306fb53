"""What a model's outputs are: stated by the user, or read off the model."""

import re
import warnings

from keras import tree

from kerasdrop._formulas import categorical
from kerasdrop.montecarlo.statistics import activations

KINDS = (
    "probabilities",
    "logits",
    "binary",
    "regression",
    "mean_and_variance",
    "mean_and_log_variance",
)
CLASSES = ("probabilities", "logits")


def check(kind, model, owner):
    """Returns the kind, read off the model's last activations if None.

    Args:
        kind: One of `KINDS`; a structure of them, as that of the outputs; or
            None.
        model: A built model.
        owner: Who is to blame in a message.
    """
    found = activations.read(model)
    if kind is None:
        kind = _only(found, model, owner)
        _warn_of_logits(kind, found, model, owner)
        return kind
    kind = _checked(kind, owner)
    if found is not None:
        said = of_outputs(kind, _kinds_of(found), owner)
        for one, read in zip(said, tree.flatten(_kinds_of(found))):
            if one == "logits" and read in ("probabilities", "binary"):
                raise ValueError(
                    f"{owner}: logits are what comes before a softmax, while "
                    f"model '{model.name}' ends in one, or in a sigmoid. Pass "
                    f"`kind='{read}'`. Received: kind={kind!r}"
                )
    return kind


def _checked(kind, owner):
    """A kind, or a structure of kinds, or an error."""
    if isinstance(kind, dict) and kind:
        return {name: _checked(one, owner) for name, one in kind.items()}
    if isinstance(kind, (list, tuple)) and kind:
        return [_checked(one, owner) for one in kind]
    if kind not in KINDS:
        raise ValueError(
            f"{owner}: argument `kind` must be one of {', '.join(KINDS)}; a "
            "structure of them, as that of the model's outputs (a dict by "
            "name, a list); or None to read it off the last activations. "
            f"Received: kind={kind!r}"
        )
    return kind


def _kinds_of(found):
    """The kinds in a structure of `activations.Read`."""
    return tree.map_structure(lambda read: read.kind, found)


def _only(found, model, owner):
    """One kind for all outputs, or a structure of kinds."""
    if found is None:
        raise ValueError(
            f"{owner}: model '{model.name}' has no graph to read off what its "
            "outputs are. Pass `kind`, one of "
            f"{', '.join(KINDS)}. Received: kind=None"
        )
    for read in tree.flatten(found):
        _check_class_axis(read, model, owner)
    kinds = _kinds_of(found)
    distinct = set(tree.flatten(kinds))
    return distinct.pop() if len(distinct) == 1 else kinds


def _check_class_axis(read, model, owner):
    if read.class_axis is None or read.class_axis == read.rank - 1:
        return
    raise ValueError(
        f"{owner}: model '{model.name}' has its classes in axis "
        f"{read.class_axis} of an output with {read.rank} axes, while "
        "entropies and votes are over the last axis. Move the classes there "
        "(`keras.layers.Permute` behind the softmax), or pass "
        "`kind='regression'` for the mean and the variance alone. Received: "
        "kind=None"
    )


def _warn_of_logits(kind, found, model, owner):
    """Warns where a classifier's logits would be taken for a regression."""
    kinds = of_outputs(kind, _kinds_of(found), owner)
    for one, loss in zip(kinds, _losses(model, len(kinds))):
        reason = _reason_for_classes(model, loss)
        if one == "regression" and reason is not None:
            warnings.warn(
                f"{owner}: the outputs of model '{model.name}' are taken for "
                "a regression, since no softmax or sigmoid makes them, but "
                f"{reason}. Pass `kind='logits'` if they are logits of "
                "classes (for logits of a sigmoid, append "
                "`keras.layers.Activation('sigmoid')` to the model), or "
                "`kind='regression'` if they are one.",
                stacklevel=4,
            )
            return


def _reason_for_classes(model, loss):
    if "crossentropy" in loss:
        return f"its loss is '{loss}'"
    cls = type(model).__name__
    if re.search("classif", f"{model.name} {cls}", re.IGNORECASE):
        return f"it is called '{model.name}' ({cls})"
    return None


def _losses(model, count):
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


def of_outputs(kind, outputs, owner):
    """The kind of each of the flat outputs.

    Args:
        kind: As `check` returns it.
        outputs: A structure; what its leaves are does not matter.
        owner: Who is to blame in a message.
    """
    return tree.flatten(_of_each(kind, outputs, kind, outputs, owner))


def _of_each(kind, outputs, all_kinds, all_outputs, owner):
    if isinstance(kind, str):
        return tree.map_structure(lambda _: kind, outputs)
    if isinstance(kind, dict):
        fits = isinstance(outputs, dict) and set(outputs) == set(kind)
        places = list(outputs) if fits else ()
    else:
        is_list = isinstance(outputs, (list, tuple))
        fits = is_list and len(outputs) == len(kind)
        places = range(len(kind))
    if not fits:
        raise ValueError(
            f"{owner}: a structure of kinds must have the structure of the "
            "model's outputs, and name each output that has a name. Received: "
            f"kind={all_kinds!r} for outputs "
            f"{tree.map_structure(lambda _: '...', all_outputs)}"
        )
    each = {
        place: _of_each(
            kind[place], outputs[place], all_kinds, all_outputs, owner
        )
        for place in places
    }
    return each if isinstance(kind, dict) else list(each.values())


def of_some(structure, values):
    """A structure of values, without the places where there is none.

    Args:
        structure: That of the outputs.
        values: Flat list, None where there is no value.

    Returns:
        `structure` with the values for leaves, if there are all. Else dicts,
        by name of output or by place in a list, of those that there are.
    """
    if all(value is not None for value in values):
        return tree.pack_sequence_as(structure, values)
    return _without_none(tree.pack_sequence_as(structure, values))


def _without_none(structure):
    if isinstance(structure, dict):
        items = structure.items()
    elif isinstance(structure, (list, tuple)):
        items = enumerate(structure)
    else:
        return structure
    some = {place: _without_none(one) for place, one in items}
    return {
        place: one for place, one in some.items() if one is not None
    } or None


def aligned(some, outputs):
    """The flat list of what `of_some` made; None where there is no value.

    Args:
        some: As `of_some` returns it, or None.
        outputs: A structure of the outputs.
    """
    if isinstance(outputs, dict):
        places = sorted(outputs)
    elif isinstance(outputs, (list, tuple)):
        places = range(len(outputs))
    else:
        return [some]
    flat = []
    for place in places:
        has_value = some is not None and (
            place in some if isinstance(some, dict) else place < len(some)
        )
        one = some[place] if has_value else None
        flat.extend(aligned(one, outputs[place]))
    return flat


def check_values(kinds, means, aleatoric_variances, owner):
    """Raises if what was predicted cannot be of its kind.

    Args:
        kinds: The kind of each output.
        means, aleatoric_variances: Arrays of each output; a variance may be
            None.
    """
    for kind, mean, variance in zip(kinds, means, aleatoric_variances):
        if kind == "probabilities":
            fix = "If the model has no softmax, pass `kind='logits'`."
            categorical.check(mean, owner, fix)
        elif kind == "binary":
            if (mean < -1e-3).any() or (mean > 1.001).any():
                raise ValueError(
                    f"{owner}: outputs of kind 'binary' are probabilities, in "
                    "[0, 1]. Add a sigmoid to the model, e.g. "
                    "`keras.layers.Activation('sigmoid')`. Received: outputs "
                    f"from {mean.min():.6g} to {mean.max():.6g}"
                )
        elif kind == "mean_and_variance" and (variance < 0.0).any():
            raise ValueError(
                f"{owner}: the second half of the last axis of an output of "
                "kind 'mean_and_variance' holds variances, at least 0. If it "
                "holds their logarithms, pass `kind='mean_and_log_variance'`. "
                f"Received: a variance of {variance.min():.6g}"
            )

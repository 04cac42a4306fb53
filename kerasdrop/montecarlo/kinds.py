"""What a model's outputs are: stated by the user, or read off the model."""

import keras
from keras import tree

from kerasdrop import _arrays
from kerasdrop import _classes
from kerasdrop import _keras_graph
from kerasdrop import layers

KINDS = (
    "probabilities",
    "logits",
    "binary",
    "regression",
    "mean_and_variance",
    "mean_and_log_variance",
)
CLASSES = ("probabilities", "logits")
# Layers whose outputs are those of the layer in them.
_HOLDING = (
    keras.layers.TimeDistributed,
    layers.ConcreteDropout,
    layers.DropConnect,
)
TWO_PART = ("mean_and_variance", "mean_and_log_variance")


def check(kind, model, owner):
    """Returns the kind, read off the model's last activations if None.

    Args:
        kind: One of `KINDS`; a dict of them, by name of output; or None.
        model: A built model.
        owner: Who is to blame in a message.
    """
    if isinstance(kind, dict) and kind:
        return {name: _one(value, owner) for name, value in kind.items()}
    found = _found(model)
    if kind is None:
        return _only(found, model, owner)
    kind = _one(kind, owner)
    wrong = {"probabilities", "binary"} & set(tree.flatten(found))
    if kind == "logits" and wrong:
        raise ValueError(
            f"{owner}: logits are what comes before a softmax, while model "
            f"'{model.name}' ends in one, or in a sigmoid. Pass "
            f"`kind='{wrong.pop()}'`. Received: kind='logits'"
        )
    return kind


def _one(kind, owner):
    if kind not in KINDS:
        raise ValueError(
            f"{owner}: argument `kind` must be one of {', '.join(KINDS)}; a "
            "dict of them by name of output; or None to read it off the "
            f"activation of the last layer. Received: kind={kind!r}"
        )
    return kind


def _found(model):
    """The kinds in the structure of the model's outputs; () if unknown."""
    graph = _keras_graph.graph_of(model)
    if graph is None:
        return ()
    kinds = map(_kind_of_operation, _keras_graph.last_operations(model))
    return _keras_graph.packed_outputs(graph, list(kinds))


def _only(found, model, owner):
    """Softmax: `probabilities`; sigmoid: `binary`; else `regression`."""
    if found == ():
        raise ValueError(
            f"{owner}: model '{model.name}' has no graph to read off what its "
            "outputs are. Pass `kind`, one of "
            f"{', '.join(KINDS)}. Received: kind=None"
        )
    kinds = set(tree.flatten(found))
    if len(kinds) == 1:
        return kinds.pop()
    if isinstance(found, dict):
        return found
    raise ValueError(
        f"{owner}: the outputs of model '{model.name}' are of several "
        f"kinds ({', '.join(sorted(kinds))}). Pass the `kind` to treat "
        "all of them as, or give the outputs names, "
        "`keras.Model(inputs, {'a': ..., 'b': ...})`, and each is of its own "
        "kind. Received: kind=None"
    )


def _kind_of_operation(operation):
    graph = _keras_graph.graph_of(operation)
    if graph is not None:
        kinds = map(_kind_of_operation, _keras_graph.last_operations(operation))
        return next(iter(kinds))
    if isinstance(operation, _HOLDING):
        return _kind_of_operation(operation.layer)
    if isinstance(operation, keras.layers.Softmax):
        return "probabilities"
    activation = getattr(operation, "activation", None)
    if activation is keras.activations.softmax:
        return "probabilities"
    if activation is keras.activations.sigmoid:
        return "binary"
    return "regression"


def of_outputs(kind, outputs, owner):
    """The kind of each of the flat outputs."""
    if not isinstance(kind, dict):
        return [kind] * len(tree.flatten(outputs))
    if not isinstance(outputs, dict) or set(outputs) != set(kind):
        names = list(outputs) if isinstance(outputs, dict) else "no names"
        raise ValueError(
            f"{owner}: a dict of kinds must name each output of the model. "
            f"Received: kind={kind} for outputs with {names}"
        )
    return tree.flatten({name: kind[name] for name in outputs})


def parts(output, kind, owner):
    """Means, first half of the last axis, and variances, the second.

    Args:
        output: `(batch, ..., 2 * size)`, of a kind in `TWO_PART`.
        kind: That kind.
        owner: Who is to blame in a message.

    Returns:
        A list of two, `(batch, ..., size)` each.
    """
    size = output.shape[-1]
    if size is None or size % 2:
        raise ValueError(
            f"{owner}: an output of kind '{kind}' has the means in the first "
            "half of its last axis and the variances, or their logarithms, in "
            "the second half, in the same order; so that axis must have an "
            f"even size. Received: an output with {size} there"
        )
    xp, output = _arrays.floats(output)
    mean, variance = output[..., : size // 2], output[..., size // 2 :]
    if kind == "mean_and_log_variance":
        variance = xp.exp(variance)
    return [mean, variance]


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
            _classes.check(mean, owner, fix)
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

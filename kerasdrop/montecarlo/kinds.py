"""What a model's output is, and which uncertainties follow from it."""

import keras
from keras import ops
from keras import tree

from kerasdrop import _keras_graph
from kerasdrop.montecarlo import moments
from kerasdrop.montecarlo import plans

KINDS = (
    "probabilities",
    "logits",
    "binary",
    "regression",
    "mean_and_variance",
    "mean_and_log_variance",
)
_CLASSES = ("probabilities", "logits")
_TWO_PART = ("mean_and_variance", "mean_and_log_variance")


def check(kind, model, owner):
    """Returns the kind, read off the model's last activation if None."""
    if kind is None:
        return _kind_of_activation(model, owner)
    if kind not in KINDS:
        raise ValueError(
            f"{owner}: argument `kind` must be one of {', '.join(KINDS)}, or "
            "None to read it off the activation of the last layer. Received: "
            f"kind={kind!r}"
        )
    return kind


def _kind_of_activation(model, owner):
    """Softmax: `probabilities`; sigmoid: `binary`; else `regression`."""
    found = {
        _kind_of_operation(operation)
        for operation in _keras_graph.last_operations(model)
    }
    if not found:
        raise ValueError(
            f"{owner}: model '{model.name}' has no graph to read off what its "
            "outputs are. Pass `kind`, one of "
            f"{', '.join(KINDS)}. Received: kind=None"
        )
    if len(found) > 1:
        raise ValueError(
            f"{owner}: the outputs of model '{model.name}' are of several "
            f"kinds ({', '.join(sorted(found))}). Pass the `kind` to treat "
            "all of them as, or make a model for each. Received: kind=None"
        )
    return found.pop()


def _kind_of_operation(operation):
    graph = _keras_graph.graph_of(operation)
    if graph is not None:
        kinds = map(_kind_of_operation, _keras_graph.last_operations(operation))
        return next(iter(kinds))
    if isinstance(operation, keras.layers.Softmax):
        return "probabilities"
    activation = getattr(operation, "activation", None)
    if activation is keras.activations.softmax:
        return "probabilities"
    if activation is keras.activations.sigmoid:
        return "binary"
    return "regression"


def entropy(probabilities):
    """Shannon entropy over the last axis, in nats; 0 log 0 is 0."""
    return ops.sum(_surprise(probabilities), axis=-1)


def binary_entropy(probability):
    """Entropy of yes or no, element by element, in nats."""
    return _surprise(probability) + _surprise(1.0 - probability)


def _surprise(probability):
    some = probability > 0.0
    return -probability * ops.log(ops.where(some, probability, 1.0))


def num_features(kind):
    """How many `features` an output has."""
    return 1 if kind == "regression" else 2 if kind in _TWO_PART else 3


def features(kind, output, owner="MonteCarlo"):
    """What is averaged over the samples of one output.

    Args:
        kind: One of `KINDS`.
        output: `(batch, num_samples, ...)`.

    Returns:
        A list of tensors `(batch, num_samples, ...)`. First the predicted
        quantity; then for classes the entropy and the vote, for two-part
        outputs the variance.
    """
    if kind in _CLASSES:
        _check_last_axis(kind, output, owner)
        if kind == "logits":
            output = ops.softmax(output, axis=-1)
        vote = ops.one_hot(
            ops.argmax(output, axis=-1), output.shape[-1], dtype=output.dtype
        )
        return [output, entropy(output), vote]
    if kind == "binary":
        vote = ops.cast(output > 0.5, output.dtype)
        return [output, binary_entropy(output), vote]
    if kind in _TWO_PART:
        return _parts(kind, output, owner)
    return [output]


def _check_last_axis(kind, output, owner):
    """Raises if the last axis is that of the samples."""
    if len(output.shape) < 3:
        raise ValueError(
            f"{owner}: an output of kind '{kind}' is `(batch, ..., size)`, "
            "with the classes or the two parts in the last axis. Pass the "
            "`kind` that the output is, e.g. 'regression' or 'binary'. "
            "Received: an output with one number for each row, `(batch,)`"
        )


def _parts(kind, output, owner):
    """Means, the first half of the last axis, and variances, the second."""
    _check_last_axis(kind, output, owner)
    size = output.shape[-1]
    if size is None or size % 2:
        raise ValueError(
            f"{owner}: an output of kind '{kind}' has the means in the first "
            "half of its last axis and the variances, or their logarithms, in "
            "the second half, in the same order; so that axis must have an "
            f"even size. Received: an output with {size} there"
        )
    mean, variance = output[..., : size // 2], output[..., size // 2 :]
    if kind == "mean_and_log_variance":
        variance = ops.exp(variance)
    return [mean, variance]


def statistics(kind, plan, num_samples, structure, streams):
    """The dict of statistics, each in the structure of the outputs.

    Args:
        kind: One of `KINDS`.
        plan: One of `plans.PLANS`.
        num_samples: Integer, the samples in the streams.
        structure: The model's outputs, for their structure.
        streams: List of `moments.Stream`, of the `features` of each output.
    """
    per_output = num_features(kind)
    outputs = [
        _of_one_output(
            kind, plan, num_samples, streams[start : start + per_output]
        )
        for start in range(0, len(streams), per_output)
    ]
    return {
        name: tree.pack_sequence_as(
            structure, [output[name] for output in outputs]
        )
        for name in outputs[0]
    }


def _of_one_output(kind, plan, num_samples, streams):
    samples, set_means = streams[0]
    variance = moments.variance(samples)
    squared_error = plans.squared_standard_error(
        plan, variance, moments.variance(set_means), num_samples
    )
    result = {
        "mean": moments.mean(samples),
        "variance": variance,
        "std": ops.sqrt(variance),
        "standard_error": ops.sqrt(squared_error),
    }
    others = [moments.mean(stream.samples) for stream in streams[1:]]
    if kind in _TWO_PART:
        # The law of total variance.
        result["aleatoric_variance"] = others[0]
        result["epistemic_variance"] = variance
        result["total_variance"] = others[0] + variance
    elif kind != "regression":
        is_binary = kind == "binary"
        total = (binary_entropy if is_binary else entropy)(result["mean"])
        expected, share = others
        winner = (
            ops.maximum(share, 1.0 - share)
            if is_binary
            else ops.max(share, axis=-1)
        )
        result["predictive_entropy"] = total
        result["expected_entropy"] = expected
        result["mutual_information"] = total - expected
        result["votes"] = ops.round(share * num_samples)
        result["variation_ratio"] = 1.0 - winner
    return result

"""What is taken from each sample of an output, by its kind."""

import math

from keras import ops

from kerasdrop._formulas import categorical
from kerasdrop._formulas import likelihood
from kerasdrop._formulas import two_part
from kerasdrop.montecarlo.statistics import kinds

OF_CLASSES = (*kinds.CLASSES, "binary")


def features(output, kind, noise_variance, owner):
    """What is averaged over the samples: tensors `(batch, samples, ...)`.

    First the predicted quantity; then for classes the entropy and the vote,
    for normals the variance.

    Args:
        output: `(batch, samples, ...)`.
        kind: One of `kinds.KINDS`.
        noise_variance: For `"regression"`, or None.
        owner: Who is to blame in a message.
    """
    if kind in kinds.CLASSES:
        _check_last_axis(output, kind, owner)
        if kind == "logits":
            output = ops.softmax(output, axis=-1)
        total = ops.sum(output, axis=-1, keepdims=True)
        vote = _of_numbers(categorical.first_largest(output), total)
        return [output, categorical.entropy(output), vote]
    if kind == "binary":
        vote = _of_numbers(ops.cast(output > 0.5, output.dtype), output)
        return [output, categorical.binary_entropy(output), vote]
    if kind in two_part.KINDS:
        _check_last_axis(output, kind, owner)
        return two_part.parts(output, kind, owner)
    if noise_variance is not None:
        return [output, ops.full_like(output, noise_variance)]
    return [output]


def _of_numbers(vote, values):
    """The vote, but NaN where the values are: no comparison tells of those."""
    return ops.where(values == values, vote, float("nan"))


def _check_last_axis(output, kind, owner):
    """Raises if the last axis is that of the samples."""
    if len(output.shape) < 3:
        raise ValueError(
            f"{owner}: an output of kind '{kind}' is `(batch, ..., size)`, "
            "with the classes or the two parts in the last axis. Pass the "
            "`kind` that the output is, e.g. 'regression' or 'binary'. "
            "Received: an output with one number for each row, `(batch,)`"
        )


def log_terms(output, kind, target, noise_variance, owner):
    """The logarithms of what the likelihood of a target is the mean of.

    Args:
        output, kind, noise_variance, owner: As for `features`.
        target: A tensor, or None.

    Returns:
        A tensor `(batch, samples, ...)`; None if the likelihood is that of
        the mean, or if there is no target.
    """
    if target is None or kind in ("probabilities", "binary"):
        return None
    if kind == "logits":
        return likelihood.of_logits(output, target)
    if kind in two_part.KINDS:
        parts = two_part.parts_in_logs(output, kind, owner)
    elif noise_variance is not None:
        parts = [output, ops.full_like(output, math.log(noise_variance))]
    else:
        raise ValueError(
            f"{owner}: a log-likelihood needs the variance of the targets "
            "around an output of kind 'regression'. Pass `noise_variance`, or "
            "a model with a second half of outputs for it and "
            "`kind='mean_and_variance'`. Received: noise_variance=None"
        )
    return likelihood.log_density(*parts, target)


def divergence(probabilities, mean, kind):
    """The sum over the samples of their divergences from a mean.

    Args:
        probabilities: `(batch, samples, ...)`.
        mean: `(batch, ...)`.
        kind: One of `OF_CLASSES`.

    Returns:
        A tensor `(batch, ...)`, without the axis of the classes.
    """
    is_binary = kind == "binary"
    of = categorical.binary_divergence if is_binary else categorical.divergence
    return ops.sum(of(probabilities, ops.expand_dims(mean, 1)), axis=1)


def added_divergence(total, count, probabilities, before, after, kind):
    """The sum for more samples, from the mean of all of them.

    The divergences of some samples from any distribution are those from their
    own mean, and for each of them the divergence of that mean from it.

    Args:
        total: The sum for those before, from their mean.
        count: `(batch, 1, ...)`, how many those before are.
        probabilities: `(batch, samples, ...)`, those to add.
        before, after: `(batch, ...)`, the means of those before, and of all.
        kind: One of `OF_CLASSES`.
    """
    own = ops.mean(probabilities, axis=1)
    of_before, of_own = (
        divergence(ops.expand_dims(mean, 1), after, kind)
        for mean in (before, own)
    )
    return (
        total
        + per_row(count, total) * of_before
        + divergence(probabilities, own, kind)
        + float(probabilities.shape[1]) * of_own
    )


def per_row(count, values):
    """`(batch, 1, ...)` of as many axes as `values`."""
    return ops.reshape(count, (-1, *(1,) * (len(values.shape) - 1)))


def of_classes(kind, mean, expected_entropy, share, information, count):
    """A dict of the statistics that classes have besides the mean.

    Args:
        kind: One of `OF_CLASSES`.
        mean: `(batch, ...)`.
        expected_entropy: The mean of the entropies.
        share: The part of the samples that vote for a class.
        information: The mean of the divergences from the mean.
        count: `(batch, 1, ...)`.
    """
    if kind == "binary":
        entropy, winner = (
            categorical.binary_entropy,
            ops.maximum(share, 1 - share),
        )
    else:
        # On TensorFlow the largest of NaNs is none.
        entropy, winner = categorical.entropy, ops.max(share, axis=-1)
        winner = _of_numbers(winner, share[..., 0])
    return {
        "predictive_entropy": entropy(mean),
        "expected_entropy": expected_entropy,
        "mutual_information": information,
        "votes": ops.round(share * count),
        "variation_ratio": 1.0 - winner,
    }

"""Proper scores: the true distribution has the lowest expected score."""

import math

import numpy as np
from keras import ops

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import likelihood
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs


@blame("negative_log_likelihood")
def negative_log_likelihood(
    targets: ArrayLike,
    probabilities: ArrayLike,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """Minus the logarithm of the probability of the target, in nats.

    It is infinite for a row whose target has probability 0: nothing is clipped.

    Args:
        targets: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
        probabilities: `(rows, ..., classes)`.
        sample_weight: `(rows,)`, or None.
        reduction: `"mean"`, or None for the score of each row.

    Returns:
        A number, or `(rows, ...)`.

    Raises:
        ValueError: If the arrays do not hold probabilities and classes.

    Example:

    >>> score = negative_log_likelihood([0], [[0.5, 0.5]])
    >>> round(float(score), 4)  # log(2)
    0.6931
    """
    xp, p, one_hot = inputs.labelled(targets, probabilities)
    each = -likelihood.of_classes(p, one_hot)
    return inputs.reduced(xp, each, sample_weight, reduction)


def log_loss_of_logits(targets: ArrayLike, logits: Tensor) -> Tensor:
    """`negative_log_likelihood` of each row, from the logits themselves.

    No probability is too small for it.

    Args:
        targets: As for `negative_log_likelihood`.
        logits: Tensor `(rows, ..., classes)`.
    """
    # This only marks the rows whose targets are illegal.
    one_hot = inputs.one_hot(targets, logits)
    loss = -likelihood.log_of_logits(logits, one_hot)
    return ops.where(ops.isnan(one_hot[..., 0]), float("nan"), loss)


@blame("brier_score")
def brier_score(
    targets: ArrayLike,
    probabilities: ArrayLike,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """Squared distance of the probabilities from the target, over the classes.

    It is from 0 to 2. It is Brier's form, summed over all classes. For two
    classes it is twice the square for one of them, which is also called Brier
    score.

    Args:
        targets: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
        probabilities: `(rows, ..., classes)`.
        sample_weight: `(rows,)`, or None.
        reduction: `"mean"`, or None for the score of each row.

    Returns:
        A number, or `(rows, ...)`.

    Raises:
        ValueError: If the arrays do not hold probabilities and classes.

    Example:

    >>> round(float(brier_score([0], [[0.8, 0.2]])), 6)
    0.08

    Reference: [Brier, 1950](https://doi.org/10.1175/1520-0493(1950)078%3C0001:
    VOFEIT%3E2.0.CO;2), equation 2.
    """
    xp, p, one_hot = inputs.labelled(targets, probabilities)
    each = xp.sum(xp.square(p - one_hot), axis=-1)
    return inputs.reduced(xp, each, sample_weight, reduction)


@blame("gaussian_negative_log_likelihood")
def gaussian_negative_log_likelihood(
    targets: ArrayLike,
    mean: Tensor,
    variance: Tensor,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """Minus the log density of a normal for each number predicted, in nats.

    The density is that of a single normal distribution with these moments.
    `result.log_likelihood` uses the mixture of all samples instead, and is
    joint over several outputs of a row.

    Args:
        targets: `(rows, ...)`.
        mean, variance: `(rows, ...)`, e.g. `result.mean` and
            `result.total_variance`.
        sample_weight: `(rows,)`, or None.
        reduction: `"mean"`, or None for the score of each number.

    Returns:
        A number, or `(rows, ...)`.

    Raises:
        ValueError: If a variance in an array is not above 0; if the shapes
            do not agree.

    Example:

    >>> score = gaussian_negative_log_likelihood([0.0], [0.0], [1.0])
    >>> round(float(score), 4)  # log(2 pi) / 2
    0.9189
    """
    xp, targets, mean, variance = inputs.normal(targets, mean, variance)
    each = -likelihood.of_normal(mean, xp.log(variance), targets)
    return inputs.reduced(xp, each, sample_weight, reduction)


def log_loss_of_normal(
    targets: ArrayLike, mean: Tensor, log_variance: Tensor
) -> Tensor:
    """`gaussian_negative_log_likelihood` of each number.

    It uses the logarithms of the variances, so no variance is too small for it.

    Args:
        targets, mean: As for `gaussian_negative_log_likelihood`.
        log_variance: In the shape of the mean.
    """
    targets = target_shapes.like(targets, mean, "targets, a number each")
    return -likelihood.of_normal(mean, log_variance, targets)


@blame("gaussian_crps")
def gaussian_crps(
    targets: ArrayLike,
    mean: Tensor,
    variance: Tensor,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """The continuous ranked probability score (CRPS) of a normal.

    It is in the unit of the targets. For a prediction without uncertainty it is
    the distance to the target.

    Args:
        targets, mean, variance, sample_weight, reduction: As
            for `gaussian_negative_log_likelihood`.

    Returns:
        A number, or `(rows, ...)`.

    Raises:
        ValueError: In the same cases as `gaussian_negative_log_likelihood`.

    Example:

    >>> score = gaussian_crps([0.0], [0.0], [1.0])
    >>> round(float(score), 4)  # (2**.5 - 1) / pi**.5
    0.2337

    Reference: [Gneiting & Raftery, 2007](
    https://doi.org/10.1198/016214506000001437), section 4.2.
    """
    xp, targets, mean, variance = inputs.normal(targets, mean, variance)
    std = xp.sqrt(variance)
    z = (targets - mean) / std
    density = xp.exp(-0.5 * xp.square(z)) / math.sqrt(2.0 * math.pi)
    each = std * (
        z * (2.0 * arrays.normal_cdf(xp, z) - 1.0)
        + 2.0 * density
        - 1.0 / math.sqrt(math.pi)
    )
    return inputs.reduced(xp, each, sample_weight, reduction)


@blame("sample_crps")
def sample_crps(
    targets: ArrayLike,
    samples: ArrayLike,
    axis: int = 1,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """The continuous ranked probability score (CRPS) of samples.

    It scores the empirical distribution of the samples. With few samples this
    is worse than the distribution they come from. Samples of a network without
    the noise of the targets are too narrow a prediction: add noise, or use
    `gaussian_crps` with `result.total_variance`.

    Args:
        targets: `(rows, ...)`.
        samples: `(rows, samples, ...)`, e.g. `result.samples`.
        axis: Integer, the axis of the samples.
        sample_weight: `(rows,)`, or None.
        reduction: `"mean"`, or None for the score of each number.

    Returns:
        A number, or `(rows, ...)`.

    Raises:
        ValueError: If the shapes do not agree, or there are no samples.

    Example:

    >>> float(sample_crps([0.0], [[-1.0, 1.0]]))
    0.5

    Reference: [Gneiting & Raftery, 2007](
    https://doi.org/10.1198/016214506000001437), equation 21.
    """
    xp, samples = arrays.floats(samples)
    _checks.axis(axis, len(samples.shape))
    samples = xp.moveaxis(samples, axis, -1)
    count = samples.shape[-1]
    if count == 0:
        raise ValueError(
            "sample_crps: there must be at least one sample. Received: 0 along "
            f"axis={axis}"
        )
    targets = target_shapes.like(
        targets,
        samples[..., 0],
        "targets, a number each",
    )
    # Samples are relative to the target, or numbers far from 0 lose digits.
    samples = samples - xp.expand_dims(targets, -1)
    distance = xp.mean(xp.abs(samples), axis=-1)
    # The mean distance of two samples is a weighted sum of the sorted samples.
    sides = np.arange(1 - count, count, 2) / count**2
    _, sides, samples = arrays.floats(sides, samples)
    spread = xp.sum(xp.sort(samples, axis=-1) * sides, axis=-1)
    each = distance - spread
    return inputs.reduced(xp, each, sample_weight, reduction)

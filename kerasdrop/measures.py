"""How uncertain a prediction is, computed from samples and without labels.

The result of `mc_predict` already has most of these, from the same formulas and
without keeping samples, e.g. `result.mutual_information`. The functions here
are for samples that you have: from `keep_samples=True`, from an ensemble, or
from another package.

Samples have the shape `(rows, samples, ..., classes)`, as in `result.samples`.
For a stack of predictions, `(samples, rows, ..., classes)`, pass `axis=0`. A
last axis of size 1 holds the probability of the positive class. All entropies
are in nats; divide by ln 2 for bits.

NumPy arrays and lists give NumPy arrays of float64. They are checked: an
illegal probability or variance raises an error. Tensors give tensors, also in a
compiled step. Their values cannot be checked there; the measure of a row with
an illegal probability or variance is NaN.
"""

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._formulas import estimates
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor
from kerasdrop.masks import plans

__all__ = [
    "aleatoric_variance",
    "confidence",
    "disagreement",
    "entropy",
    "epistemic_variance",
    "expected_entropy",
    "mutual_information",
    "predictive_entropy",
    "probability_variation_ratio",
    "sharpness",
    "total_variance",
    "variation_ratio",
    "votes",
]


@blame("entropy")
def entropy(probabilities: ArrayLike) -> Tensor:
    """Shannon entropy of each distribution, in nats.

    It is 0 if one class is certain, and `log(classes)` if all are equally
    probable.

    Args:
        probabilities: `(..., classes)`.

    Returns:
        `(...)`.

    Raises:
        ValueError: If an array does not hold probabilities.

    Example:

    >>> entropy([[0.5, 0.5], [1.0, 0.0]])
    array([0.69314718, 0.        ])
    """
    _, p = categorical.checked(probabilities)
    return categorical.entropy(p)


@blame("confidence")
def confidence(probabilities: ArrayLike) -> Tensor:
    """The probability of the most probable class.

    Args:
        probabilities: `(..., classes)`, e.g. `result.mean`.

    Returns:
        `(...)`, in `[1 / classes, 1]`.

    Raises:
        ValueError: If an array does not hold probabilities.

    Example:

    >>> confidence([[0.7, 0.2, 0.1]])
    array([0.7])
    """
    xp, p = categorical.checked(probabilities)
    return xp.max(p, axis=-1)


@blame("predictive_entropy")
def predictive_entropy(samples: ArrayLike, axis: int = 1) -> Tensor:
    """Entropy of the mean of the samples: the total uncertainty.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`, in nats.

    Raises:
        ValueError: If an array does not hold probabilities; if `axis` is not
            one before the last.

    Example:

    >>> samples = [[[1.0, 0.0], [0.0, 1.0]]]  # two of a row, opposed
    >>> predictive_entropy(samples)
    array([0.69314718])

    Reference: [Gal, Islam & Ghahramani, 2017](
    https://arxiv.org/abs/1703.02910), section 4.
    """
    xp, p = _samples(samples, axis)
    return categorical.entropy(xp.mean(p, axis=0))


@blame("expected_entropy")
def expected_entropy(samples: ArrayLike, axis: int = 1) -> Tensor:
    """Mean of the entropies of the samples: the part due to the data.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`, in nats.

    Raises:
        ValueError: In the same cases as `predictive_entropy`.

    Example:

    >>> samples = [[[1.0, 0.0], [0.0, 1.0]]]  # two of a row, opposed
    >>> expected_entropy(samples)
    array([0.])

    Reference: [Gal, Islam & Ghahramani, 2017](
    https://arxiv.org/abs/1703.02910), section 4.
    """
    xp, p = _samples(samples, axis)
    return xp.mean(categorical.entropy(p), axis=0)


@blame("mutual_information")
def mutual_information(samples: ArrayLike, axis: int = 1) -> Tensor:
    """Predictive minus expected entropy: the part due to the model (BALD).

    It is computed as the mean divergence of the samples from their mean. This
    is the same number, but at least 0 even after rounding.

    Because entropy is concave, n samples make it too low on average, by an
    amount that shrinks like 1 / n. It is never above `log(n)`. Only compare
    values for the same n.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`, in nats.

    Raises:
        ValueError: In the same cases as `predictive_entropy`.

    Example:

    >>> mutual_information([[[1.0, 0.0], [0.0, 1.0]]])  # sure, and opposed
    array([0.69314718])

    Reference: [Houlsby et al., 2011](https://arxiv.org/abs/1112.5745),
    equation 2.
    """
    xp, p = _samples(samples, axis)
    mean = xp.mean(p, axis=0, keepdims=True)
    return xp.mean(categorical.divergence(p, mean), axis=0)


@blame("votes")
def votes(samples: ArrayLike, axis: int = 1) -> Tensor:
    """The number of samples in which each class is the most probable.

    If classes are equally probable, the first one counts.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ..., classes)`, whole numbers as floats.

    Raises:
        ValueError: In the same cases as `predictive_entropy`.

    Example:

    >>> samples = [[[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]]
    >>> votes(samples)
    array([[3., 1.]])
    """
    xp, p = _samples(samples, axis)
    return _votes(xp, p)


@blame("variation_ratio")
def variation_ratio(samples: ArrayLike, axis: int = 1) -> Tensor:
    """The fraction of the samples that do not vote with the majority.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`, in `[0, 1 - 1 / classes]`.

    Raises:
        ValueError: In the same cases as `predictive_entropy`.

    Example:

    >>> samples = [[[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]]
    >>> variation_ratio(samples)
    array([0.25])

    Reference: [Gal, 2016](https://www.cs.ox.ac.uk/people/yarin.gal/website/
    thesis/thesis.pdf), section 3.3.1.
    """
    xp, p = _samples(samples, axis)
    return 1.0 - xp.max(_votes(xp, p), axis=-1) / p.shape[0]


@blame("probability_variation_ratio")
def probability_variation_ratio(samples: ArrayLike, axis: int = 1) -> Tensor:
    """One minus the confidence of the mean: votes counted by probability.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`, in `[0, 1 - 1 / classes]`.

    Raises:
        ValueError: In the same cases as `predictive_entropy`.

    Example:

    >>> samples = [[[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]]
    >>> probability_variation_ratio(samples).round(6)
    array([0.3])
    """
    xp, p = _samples(samples, axis)
    return 1.0 - xp.max(xp.mean(p, axis=0), axis=-1)


@blame("disagreement")
def disagreement(samples: ArrayLike, axis: int = 1) -> Tensor:
    """The fraction of the pairs of samples whose votes differ.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`, with at least
            two samples.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`, in [0, 1].

    Raises:
        ValueError: In the same cases as `predictive_entropy`; if there is only
            one sample.

    Example:

    >>> samples = [[[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]]
    >>> disagreement(samples)  # 3 of the 6 pairs
    array([0.5])
    """
    xp, p = _samples(samples, axis)
    count = _at_least_two(p)
    each = _votes(xp, p)
    agreeing = xp.sum(each * (each - 1.0), axis=-1)
    return 1.0 - agreeing / (count * (count - 1))


@blame("epistemic_variance")
def epistemic_variance(
    means: Tensor, axis: int = 1, plan: str = "independent"
) -> Tensor:
    """Variance of the samples' means: the part due to the model.

    Args:
        means: `(rows, samples, ...)`, predictions of at least two samples.
        axis: Integer, the axis of the samples.
        plan: How the samples were drawn. `"independent"`, also for `"shared"`
            samples: the denominator is `samples - 1`. `"stratified"`: for the
            `result.samples` of that plan, in their order. It gives
            `result.variance`; the other formula would be up to 7 % too high.

    Returns:
        `(rows, ...)`.

    Raises:
        ValueError: If `axis` is not an axis of `means`; if there is only one
            sample; if `plan` is none of these.

    Example:

    >>> epistemic_variance([[1.0, 3.0]])
    array([2.])

    Reference: [Kendall & Gal, 2017](https://arxiv.org/abs/1703.04977),
    equation 9.
    """
    plans.check(plan)
    xp, means = arrays.floats(means)
    means = _samples_first(xp, means, axis)
    count = _at_least_two(means)
    from_mean = arrays.centred(xp, means)
    squares = xp.sum(xp.square(from_mean), axis=0)
    num_sets = count // plans.SET_SIZE
    set_squares = 0.0
    if num_sets:
        in_sets = from_mean[: num_sets * plans.SET_SIZE]
        shape = (num_sets, plans.SET_SIZE, *in_sets.shape[1:])
        set_means = xp.mean(xp.reshape(in_sets, shape), axis=1)
        of_sets = arrays.centred(xp, set_means)
        set_squares = xp.sum(xp.square(of_sets), axis=0)
    seen = estimates.Seen(count, 0.0, squares, num_sets, set_squares)
    return estimates.variance(plan, seen)


@blame("aleatoric_variance")
def aleatoric_variance(variances: Tensor, axis: int = 1) -> Tensor:
    """Mean of the samples' variances: the part due to the data.

    Args:
        variances: `(rows, samples, ...)`, at least 0.
        axis: Integer, the axis of the samples.

    Returns:
        `(rows, ...)`.

    Raises:
        ValueError: If a variance in an array is below 0; if `axis` is not an
            axis of `variances`.

    Example:

    >>> aleatoric_variance([[1.0, 3.0]])
    array([2.])

    Reference: [Kendall & Gal, 2017](https://arxiv.org/abs/1703.04977),
    equation 9.
    """
    xp, variances = arrays.floats(variances)
    variances = _samples_first(xp, variances, axis)
    variances = arrays.checked_variance(xp, variances)
    return xp.mean(variances, axis=0)


@blame("total_variance")
def total_variance(
    means: Tensor, variances: Tensor, axis: int = 1, plan: str = "independent"
) -> Tensor:
    """Variance of the mixture of the samples: the sum of both parts.

    Args:
        means, variances: `(rows, samples, ...)`, of each sample.
        axis: Integer, the axis of the samples.
        plan: As for `epistemic_variance`.

    Returns:
        `(rows, ...)`.

    Raises:
        ValueError: In the same cases as `epistemic_variance` and
            `aleatoric_variance`.

    Example:

    >>> total_variance([[1.0, 3.0]], [[0.5, 1.5]])
    array([3.])

    Reference: [Kendall & Gal, 2017](https://arxiv.org/abs/1703.04977),
    equation 9.
    """
    epistemic = epistemic_variance(means, axis, plan)
    aleatoric = target_shapes.like(
        aleatoric_variance(variances, axis),
        epistemic,
        "a variance for each mean",
    )
    return epistemic + aleatoric


@blame("sharpness")
def sharpness(variance: Tensor) -> Tensor:
    """Root of the mean variance: how narrow the predictions are.

    It says nothing about whether they are right.

    Args:
        variance: `(rows, ...)`, at least 0; e.g. `result.total_variance`.

    Returns:
        A number, in the unit of the targets.

    Raises:
        ValueError: If a variance in an array is below 0; if there is none.

    Example:

    >>> float(sharpness([1.0, 7.0]))
    2.0

    Reference: [Gneiting, Balabdaoui & Raftery, 2007](
    https://doi.org/10.1111/j.1467-9868.2007.00587.x).
    """
    xp, variance = arrays.floats(variance)
    variance = arrays.checked_variance(xp, variance)
    count = xp.sum(xp.ones_like(variance))
    mean = arrays.weighted(xp, xp.sum(variance), count)
    return xp.sqrt(mean)


def _votes(xp: Namespace, samples: ArrayLike) -> Tensor:
    return xp.sum(categorical.first_largest(samples), axis=0)


def _samples(samples: ArrayLike, axis: int) -> tuple[Namespace, Tensor]:
    """The namespace, and probabilities `(samples, rows, ..., classes)`."""
    xp, p = arrays.floats(samples)
    if len(p.shape) < 3:
        raise Refusal(
            "samples are probabilities `(rows, samples, ..., "
            "classes)`. For probabilities of the positive class, add a last "
            "axis: `samples[..., None]`. Received: samples of shape "
            f"{tuple(p.shape)}"
        )
    if axis in (-1, len(p.shape) - 1):
        raise Refusal(
            "argument `axis` is that of the samples; the last is "
            f"that of the classes. Received: axis={axis} for samples of shape "
            f"{tuple(p.shape)}"
        )
    xp, p = categorical.checked(p)
    return xp, _samples_first(xp, p, axis)


def _samples_first(xp: Namespace, samples: ArrayLike, axis: int) -> Tensor:
    rank = len(samples.shape)
    _checks.axis(axis, rank)
    if not samples.shape[axis]:
        raise Refusal(
            "the axis of the samples must have a known size of at "
            f"least 1. Received: samples of shape {tuple(samples.shape)} and "
            f"axis={axis}"
        )
    return xp.moveaxis(samples, axis, 0)


def _at_least_two(samples: ArrayLike) -> int:
    count = samples.shape[0]
    if count < 2:
        raise Refusal(
            f"needs at least two samples. Received: {count}; is "
            "`axis` the axis of the samples?"
        )
    return count

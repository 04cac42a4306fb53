"""How informative the label of each single row would be."""

import numpy as np

from kerasdrop import _checks
from kerasdrop import measures
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.acquisition import pools
from kerasdrop.predictive import Predictive


def bald(samples: ArrayLike) -> Array:
    """Mutual information between the label of a row and the network.

    It is `measures.mutual_information`, which is high if samples are confident
    and contradict each other. The k rows with the highest values are often
    similar, so that all of them tell little more than one does. Use
    `batch_bald` or `stochastic_top_k` for a batch of rows.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.

    Returns:
        `(rows, ...)`, in nats.

    Raises:
        ValueError: If an array does not hold probabilities.

    Example:

    >>> opposed, alike = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    >>> bald([opposed, alike])
    array([0.69314718, 0.        ])

    Reference: [Houlsby et al., 2011](https://arxiv.org/abs/1112.5745); with
    dropout: [Gal, Islam & Ghahramani, 2017](https://arxiv.org/abs/1703.02910).
    """
    return pools.by_rows(measures.mutual_information, samples)


def max_entropy(samples: ArrayLike) -> Array:
    """Entropy of the mean of the samples, `measures.predictive_entropy`.

    It is also high for rows with noisy labels, which are not informative.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.

    Returns:
        `(rows, ...)`, in nats.

    Raises:
        ValueError: If an array does not hold probabilities.

    Example:

    >>> opposed, alike = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    >>> max_entropy([opposed, alike])
    array([0.69314718, 0.69314718])

    Reference: [Gal, Islam & Ghahramani, 2017](
    https://arxiv.org/abs/1703.02910), section 4.
    """
    return pools.by_rows(measures.predictive_entropy, samples)


def variation_ratio(samples: ArrayLike) -> Array:
    """The fraction of samples outvoted, `measures.variation_ratio`.

    Gal, Islam & Ghahramani (2017) use this name for one minus the largest mean
    probability, which is `measures.probability_variation_ratio`.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`.

    Returns:
        `(rows, ...)`, in `[0, 1 - 1 / classes]`.

    Raises:
        ValueError: If an array does not hold probabilities.

    Example:

    >>> variation_ratio([[[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]])
    array([0.25])
    """
    return pools.by_rows(measures.variation_ratio, samples)


def mean_std(samples: ArrayLike) -> Array:
    """Standard deviation over the samples, averaged over the classes.

    Its square is unbiased, see `measures.epistemic_variance`. With T samples,
    the formula of the paper is smaller by the factor `sqrt((T - 1) / T)`, which
    is the same for all rows.

    Args:
        samples: Probabilities `(rows, samples, ..., classes)`, with at least
            two samples.

    Returns:
        `(rows, ...)`, in [0, 1].

    Raises:
        ValueError: If an array does not hold probabilities, or there is only
            one sample.

    Example:

    >>> opposed, alike = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    >>> mean_std([opposed, alike])
    array([0.70710678, 0.        ])

    Reference: [Gal, Islam & Ghahramani, 2017](
    https://arxiv.org/abs/1703.02910), section 4.
    """
    return pools.by_rows(_mean_std, samples)


@blame("mean_std")
def _mean_std(samples: ArrayLike) -> Tensor:
    xp, p = categorical.checked(samples)
    return xp.mean(xp.sqrt(measures.epistemic_variance(p)), axis=-1)


@blame("epig")
def epig(
    samples: Given, target_samples: Given, memory_limit: int = 2**28
) -> Array:
    """Expected predictive information gain: what a label tells about targets.

    It is the mutual information between the label of a row and that of a target
    row, averaged over the target rows. Unlike `bald`, it does not favour rows
    that tell something about the network on which no prediction depends.

    Args:
        samples: Joint probabilities `(rows, samples, classes)` of the pool; or
            the `Predictive` that has them.
        target_samples: The same for rows like those that will be predicted,
            **with the same networks**: predict both with
            `mc_predict(plan="shared", keep_samples=True)` and the same seed and
            number of samples.
        memory_limit: Integer, approximate size of the working memory in bytes.

    Returns:
        NumPy array `(rows,)`, in nats, at least 0.

    Raises:
        ValueError: If the arrays do not hold joint probabilities, or differ in
            their number of samples; if the memory is too small for one pair of
            rows.

    Example:

    >>> pool = [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]
    >>> targets = [[[1.0, 0.0], [0.0, 1.0]]]
    >>> epig(pool, targets)  # the first row tells which network is right
    array([0.69314718, 0.        ])

    Reference: [Bickford Smith et al., 2023](https://arxiv.org/abs/2304.08151),
    equation 5.
    """
    limit = _checks.memory_limit(memory_limit)
    pool = pools.joint(samples)
    targets = pools.joint(target_samples, "target_samples")
    seeds = {
        each.seed
        for each in (samples, target_samples)
        if isinstance(each, Predictive)
    }
    if len(seeds) > 1:
        raise Refusal(
            "samples and target samples must come from the same networks: "
            f"predict both with one seed. Received: seeds {sorted(seeds)}"
        )
    if pool.shape[1] != targets.shape[1]:
        raise Refusal(
            f"samples and target samples must come from the same "
            "networks, so their numbers must be equal. Received: "
            f"{pool.shape[1]} and {targets.shape[1]}"
        )
    classes = [max(2, each.shape[2]) for each in (pool, targets)]
    # The joint distribution, and some arrays of its size in `divergence`.
    of_pair = 8 * 8 * classes[0] * classes[1]
    if of_pair > limit:
        raise Refusal(
            f"a pair of rows needs about {of_pair:,} bytes. Pass a "
            f"`memory_limit` of at least as much. Received: {limit}"
        )
    pairs = limit // of_pair
    at_once = max(1, min(targets.shape[0], int(pairs**0.5)))
    rows_at_once = pairs // at_once
    total = np.zeros(pool.shape[0])
    for first in range(0, targets.shape[0], at_once):
        others = np.arange(first, min(first + at_once, targets.shape[0]))
        others = pools.rows_of(targets, others)
        for start in range(0, pool.shape[0], rows_at_once):
            rows = np.arange(start, min(start + rows_at_once, pool.shape[0]))
            p = pools.rows_of(pool, rows)
            total[rows] += _information(p, others)
    return total / targets.shape[0]


def _information(p: Tensor, others: Tensor) -> Given:
    """Mutual information with each of the other rows, summed: `(rows,)`."""
    num_samples = p.shape[1]
    left = np.moveaxis(p, 1, -1)  # (rows, classes, samples)
    right = np.moveaxis(others, 1, -1)
    joint = np.tensordot(left, right, (-1, -1)) / num_samples
    product = np.multiply.outer(left.mean(axis=-1), right.mean(axis=-1))
    joint, product = (
        np.moveaxis(each, 1, 2).reshape(len(p), len(others), -1)
        for each in (joint, product)
    )
    return arrays.floats(categorical.divergence(joint, product))[1].sum(axis=-1)

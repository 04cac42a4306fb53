"""The log-likelihood of targets under the predictive mixture.

Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142), equation
8: the logarithm of the mean over the samples, not the mean of the logarithms.
"""

import math

from kerasdrop._backend import ops
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._formulas import log_sums
from kerasdrop._formulas import target_shapes
from kerasdrop._types import ArrayLike
from kerasdrop._types import Tensor


def log_density(mean: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """The log-density of normals, joint over the last axis.

    Args:
        mean, log_variance: `(batch, samples, ..., size)`.
        target: `(batch, ..., size)`; without the last axis if `size` is 1.

    Returns:
        A tensor `(batch, samples, ...)`.
    """
    target = target_shapes.like(
        target,
        mean[:, 0],
        "targets, a number each",
    )
    each = of_normal(mean, log_variance, ops.expand_dims(target, 1))
    return ops.sum(each, axis=-1) if len(mean.shape) > 2 else each


def of_normal(mean: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """The log-density of normals, element by element.

    It takes the logarithm of the variance, which itself may be too small for
    its dtype.

    Args:
        mean, log_variance, target: Arrays or tensors of one shape.
    """
    xp, mean, log_variance, target = arrays.floats(mean, log_variance, target)
    distance = target - mean
    # 0 times infinity would be NaN.
    is_at = distance == 0.0
    inverse_std = xp.exp(-0.5 * xp.where(is_at, 0.0, log_variance))
    squared = xp.square(distance * inverse_std)
    return -0.5 * (squared + log_variance + math.log(2.0 * math.pi))


def of_classes(probabilities: ArrayLike, target: Tensor) -> Tensor:
    """Log-probability of target classes, `(batch, ...)`.

    Args:
        probabilities: `(batch, ..., classes)`, means over the samples; an
            array or a tensor.
        target: Integers `(batch, ...)`, or one-hot as the probabilities. The
            result is NaN where it is no class.
    """
    xp, probabilities = arrays.floats(probabilities)
    target = target_shapes.one_hot(target, probabilities)
    log = xp.log(xp.sum(probabilities * target, axis=-1))
    return xp.where(xp.sum(target, axis=-1) > 0.0, log, float("nan"))


def of_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Log-probability of target classes, `(batch, samples, ...)`.

    It is computed from the logarithm of the softmax, which cannot underflow.

    Args:
        logits: Tensor `(batch, samples, ..., classes)`.
        target: Integers `(batch, ...)`, or one-hot as one sample. The result
            is NaN where it is no class.
    """
    target = ops.expand_dims(target_shapes.one_hot(target, logits[:, 0]), 1)
    log = log_of_logits(logits, target)
    return ops.where(ops.sum(target, axis=-1) > 0.0, log, float("nan"))


def log_of_logits(logits: Tensor, one_hot: Tensor) -> Tensor:
    """The logarithm of the sum of softmax times targets, over the last axis.

    Args:
        logits: Tensor `(..., classes)`.
        one_hot: Tensor that broadcasts.
    """
    some = one_hot > 0.0
    weight = ops.log(ops.where(some, one_hot, 1.0))
    terms = ops.log_softmax(logits, axis=-1) + weight
    terms = ops.where(some, terms, float("-inf"))
    return log_sums.total(log_sums.init(terms, axis=-1))


def of_binary(probability: Tensor, target: Tensor) -> Tensor:
    """Log-probability of the positive (1) or negative (0) class, by element.

    It is NaN where the target is neither.
    """
    xp, probability = arrays.floats(probability)
    target = target_shapes.like(target, probability, "targets, 0 or 1 each")
    is_one = target > 0.5
    log = xp.log(xp.where(is_one, probability, 1.0))
    of_other = categorical.log1p(xp, -xp.where(is_one, 0.0, probability))
    log = xp.where(is_one, log, of_other)
    is_class = (target == 0.0) | (target == 1.0)
    return xp.where(is_class, log, float("nan"))

"""The figures that benchmarks/statistics/plans.py computes from its samples."""

from typing import NamedTuple

import numpy as np


class Reference(NamedTuple):
    """A statistic from many samples, `(rows, outputs)`."""

    value: object
    squared_error: object

    @classmethod
    def of_parts(cls, parts):
        parts = parts.astype("float64")
        return cls(parts.mean(axis=0), parts.var(axis=0, ddof=1) / len(parts))

    def squared_error_of(self, values):
        """For each seed the squared error of `(seeds, rows, outputs)`."""
        return (values - self.value) ** 2 - self.squared_error


def ratio(numerators, denominators):
    """The ratio of two means over the seeds, and its standard error."""
    above, below = numerators.mean(), denominators.mean()
    if below <= 1e-9 * above:  # a linear net at a rate of one half
        return {"ratio": None, "standard error": None}
    # To first order the ratio moves with the difference of the relative
    # deviations, in which what both have in common cancels.
    deviations = numerators / above - denominators / below
    error = deviations.std(ddof=1) / len(deviations) ** 0.5
    value = above / below
    return {
        "ratio": round(float(value), 3),
        "standard error": round(float(value * error), 3),
    }


def middling(mean):
    """Which outputs are near normal: of classes those of .05 to .95."""
    is_probability = mean.value.shape[-1] > 1
    middle = (mean.value >= 0.05) & (mean.value <= 0.95)
    return middle if is_probability else np.ones_like(middle)


def judged(found, references):
    """Bias, coverage and claim of what was found."""
    mean, variance = references["mean"], references["variance"]
    distance = np.abs(found["mean"] - mean.value)
    claimed = found["standard_error"]
    reach = 2.0 * np.sqrt(claimed**2 + mean.squared_error)
    covered = distance <= reach
    middle = middling(mean)
    # In units of the standard deviation of one sample, output by output.
    scale = variance.value[middle]
    squares = mean.squared_error_of(found["mean"])[:, middle] / scale
    claim = (claimed[:, middle] / np.sqrt(scale)).mean()
    true = max(squares.mean(), 0.0) ** 0.5
    bias = found["variance"].mean(axis=(0, 1, 2)) / variance.value.mean()
    return {
        "bias": round(float(bias) - 1.0, 4),
        "covered": mean_of(covered[:, middle]),
        "covered, others": mean_of(covered[:, ~middle]),
        "claimed": round(float(claim / true), 3) if true > 1e-4 else None,
    }


def mean_of(values):
    return round(float(values.mean()), 4) if values.size else None

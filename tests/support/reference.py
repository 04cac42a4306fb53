"""The statistics of samples, written a second time in numpy.

The code follows the formulas in docs/plans.md, sample by sample and set by set.
"""

import numpy as np

SET_SIZE = 16


def set_means(samples):
    """The means of whole sets in `(rows, samples, ...)`.

    The result is `(rows, sets, ...)`. An unfinished set has the last samples.
    """
    samples = np.asarray(samples, "float64")
    sets = samples.shape[1] // SET_SIZE
    whole = samples[:, : sets * SET_SIZE]
    shape = (len(samples), sets, SET_SIZE, *samples.shape[2:])
    return whole.reshape(shape).mean(axis=2)


def variance(samples, plan="stratified"):
    """The variance of one sample, from samples `(rows, samples, ...)`."""
    samples = np.asarray(samples, "float64")
    count = samples.shape[1]
    if plan != "stratified":
        return samples.var(axis=1, ddof=1)
    if count < 2 * SET_SIZE:
        return samples.var(axis=1, ddof=1) * (15 / 16) * (32 / 31)
    means = set_means(samples)
    num_sets = means.shape[1]
    rest = count - SET_SIZE * num_sets
    between = means.var(axis=1, ddof=1)
    # Two equations, linear in the variances of a sample and of a set mean.
    spread = samples.var(axis=1) + between * (
        256 * num_sets + 16 * rest * (rest - 1) / 15
    ) / (count**2)
    return spread / (1 - rest * (16 - rest) / (15 * count**2))


def half_t(degrees):
    """Half the quantile of Student's t that is 2 for a normal, as a series."""
    coefficients = (1.0, 1.25, 1.53125, 1.4297, 0.922, 0, 0, 0, 0.8509)
    return sum(c / degrees**power for power, c in enumerate(coefficients))


def standard_error(samples, plan="stratified"):
    """The standard error of the mean, without the rounding of the mean."""
    count = np.shape(samples)[1]
    of_one = variance(samples, plan)
    if plan != "stratified" or count < 2 * SET_SIZE:
        return np.sqrt(of_one / count)
    means = set_means(samples)
    num_sets = means.shape[1]
    rest = count - SET_SIZE * num_sets
    of_set_mean = np.minimum(
        (1 + 1 / (2 * num_sets)) * of_one / 16,
        half_t(num_sets - 1) ** 2 * means.var(axis=1, ddof=1),
    )
    covariance = (16 * of_set_mean - of_one) / 15
    total = 256 * num_sets * of_set_mean + rest * of_one
    return np.sqrt(total + rest * (rest - 1) * covariance) / count


def can_stop(samples, tolerance, smallest_chance, plan="stratified"):
    """Whether the mean of `(rows, samples, ...)` is exact enough."""
    samples = np.asarray(samples, "float64")
    count = samples.shape[1]
    if count < 128 or (
        count < 10 / smallest_chance and (np.ptp(samples, axis=1) == 0).any()
    ):
        return False
    of_one = variance(samples, plan)
    if plan != "stratified":
        return bool((of_one / count <= tolerance**2).all())
    means = set_means(samples)
    sets = means.shape[1]
    of_set_mean = np.maximum(
        half_t(sets - 1) ** 2 * means.var(axis=1, ddof=1), of_one / 256
    )
    squared = of_set_mean / sets * (1 + 1 / sets)
    return bool((squared <= tolerance**2).all())

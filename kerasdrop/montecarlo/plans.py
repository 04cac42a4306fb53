"""Sampling plans: which draw each (sample, row) of a folded batch makes."""

import numpy as np
from keras import ops

PLANS = ("independent", "stratified", "shared")

# Samples in a stratified set, as `masks.Draw` allows. Sixteen keep most of what
# larger sets gain, and leave enough sets to tell the standard error by.
SET_SIZE = 16


def check(plan, owner):
    if plan not in PLANS:
        raise ValueError(
            f"{owner}: argument `plan` must be one of {', '.join(PLANS)} "
            "(independent: masks of its own for each row; stratified: the "
            f"same, balanced over each {SET_SIZE} samples; shared: for each "
            f"sample one mask for all rows). Received: plan={plan!r}"
        )
    return plan


def set_size(plan):
    """The `set_size` of the draws: None, but for the stratified plan."""
    return SET_SIZE if plan == "stratified" else None


def index_and_rows(plan, samples, rows):
    """The `index` and `rows` of the draws of a folded batch.

    Args:
        plan: One of `PLANS`.
        samples: int32 `(samples,)`, their numbers.
        rows: int32 `(batch,)`, each row's place in the data.

    Returns:
        Two int32 tensors `(batch * samples,)`.
    """
    if plan == "shared":
        rows = ops.zeros_like(rows)
    index = ops.reshape(ops.zeros_like(rows)[:, None] + samples[None, :], (-1,))
    return index, ops.repeat(rows, samples.shape[0], axis=0)


def range_of(first, size):
    """The numbers of `size` samples from `first` on, int32 `(size,)`."""
    return first + ops.convert_to_tensor(np.arange(size, dtype="int32"))


def squared_standard_error(
    plan, variance, variance_of_sets, count, num_sets, fewest_sets=2
):
    """The squared standard error of the mean over the samples.

    Independent samples: variance / count. A stratified set has dependent
    samples, and it is the means of whole sets that are independent: their
    variance over their number. Samples of an unfinished set add what
    independent ones would, which is no less than their share. Below two whole
    sets the formula of independent samples is used, which is cautious where
    units act mostly one by one. It is no strict bound: where they act in pairs
    alone, a set has up to 16/15 times that variance.

    Args:
        plan: One of `PLANS`.
        variance: Tensor, the variance of single samples.
        variance_of_sets: Tensor, the variance of the means of whole sets.
        count: Float tensor, the number of samples.
        num_sets: Float tensor, the number of whole sets among them.
        fewest_sets: With fewer sets, the formula of independent samples.
    """
    of_independent = variance / count
    if plan != "stratified":
        return of_independent
    in_sets = num_sets * SET_SIZE
    of_sets = variance_of_sets / num_sets * (in_sets / count) ** 2
    of_rest = variance * (count - in_sets) / count**2
    return ops.where(num_sets >= fewest_sets, of_sets + of_rest, of_independent)

"""Sampling plans: the draw of each sample of each row in a folded batch."""

import dataclasses

import numpy as np

from kerasdrop import _checks
from kerasdrop._backend import ops
from kerasdrop._refusals import Refusal
from kerasdrop._types import Given
from kerasdrop._types import Tensor

# Samples in a stratified set, one of the sizes of `masks.Draw`. Sixteen keep
# most of the gain of larger sets, and leave enough sets for a standard error.
SET_SIZE = 16

# The default number of samples. Three whole sets are more exact than 50 samples
# wherever the plan saves half of the samples, because the last two of the 50
# fill no set.
NUM_SAMPLES = 48
# The default maximum with a tolerance.
MOST_SAMPLES = 1024
# With a tolerance, a row with fewer sets or samples goes on, because the
# estimate of their spread is too noisy to stop on.
FEWEST_SETS = 8
FEWEST_SAMPLES = FEWEST_SETS * SET_SIZE


@dataclasses.dataclass(frozen=True)
class Plan:
    """The properties that distinguish the masks of a plan.

    Attributes:
        name: String, the name that users write.
        meaning: String, a clause for a message.
        set_size: Integer, the number of samples in a balanced set; None if all
            samples are independent.
        shares_rows: Whether all rows of a sample have the same mask.
    """

    name: str
    meaning: str
    set_size: int | None = None
    shares_rows: bool = False


# The plans by name. A new plan needs a record here.
PLANS = {
    plan.name: plan
    for plan in (
        Plan("independent", "masks of its own for each row"),
        Plan(
            "stratified",
            f"the same, balanced over each {SET_SIZE} samples",
            set_size=SET_SIZE,
        ),
        Plan(
            "shared",
            "for each sample one mask for all rows",
            shares_rows=True,
        ),
    )
}


def check(plan: str) -> str:
    """Returns the name of a plan, or raises."""
    if not isinstance(plan, str) or plan not in PLANS:
        meanings = "; ".join(
            f"{one.name}: {one.meaning}" for one in PLANS.values()
        )
        raise Refusal(
            f"argument `plan` must be one of {', '.join(PLANS)} "
            f"({meanings}). Received: plan={plan!r}"
        )
    return plan


def num_samples(value: Given, tolerance: float | None) -> int:
    """Returns how many samples to draw, or the maximum with a tolerance.

    Args:
        value: Integer; or None for a default.
        tolerance: As in `kerasdrop.MonteCarlo`.
    """
    if value is None:
        return NUM_SAMPLES if tolerance is None else MOST_SAMPLES
    value = _checks.positive_integer(value, "num_samples")
    if tolerance is None:
        return value
    if value % SET_SIZE or value < FEWEST_SAMPLES:
        raise Refusal(
            "with a `tolerance`, `num_samples` is the maximum per row. It must "
            f"be a multiple of {SET_SIZE} and at least {FEWEST_SAMPLES}, the "
            "number that each row takes. Leave it out for "
            f"{MOST_SAMPLES}. Received: num_samples={value}"
        )
    return value


def set_size(plan: str) -> int | None:
    """The samples of a set in a plan, as `masks.Draw` takes it, or None."""
    return PLANS[plan].set_size


def index_and_rows(
    plan: str, samples: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """The `index` and `rows` of the draws of a folded batch.

    Args:
        plan: One of `PLANS`.
        samples: int32 `(samples,)`, their numbers.
        rows: int32 `(batch,)`, the position of each row in the data.

    Returns:
        Two int32 tensors `(batch * samples,)`.
    """
    if PLANS[plan].shares_rows:
        rows = ops.zeros_like(rows)
    index = ops.reshape(ops.zeros_like(rows)[:, None] + samples[None, :], (-1,))
    return index, ops.repeat(rows, samples.shape[0], axis=0)


def range_of(first: Tensor, size: int) -> Tensor:
    """The numbers of `size` samples from `first` on, int32 `(size,)`."""
    return first + ops.convert_to_tensor(np.arange(size, dtype="int32"))

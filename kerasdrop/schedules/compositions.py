"""Schedules made of schedules."""

import keras
import numpy as np
from keras import ops

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.schedules.base import Schedule
from kerasdrop.schedules.base import as_schedule
from kerasdrop.schedules.base import steps_since
from kerasdrop.schedules.pieces import Steps
from kerasdrop.schedules.ramps import Linear


@keras.saving.register_keras_serializable("kerasdrop")
class Join(Schedule):
    """One schedule after the other; each counts its own steps from 0.

    Args:
        schedules: Schedules, or floats in [0, 1] for constant pieces.
        boundaries: Increasing integers of at least 1, one fewer than schedules:
            the steps at which each schedule but the first begins.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> warm_up_and_decay = Join([0.0, Linear(0.5, 0.0, 100)], [10])
    >>> float(warm_up_and_decay(9)), float(warm_up_and_decay(10))
    (0.0, 0.5)
    """

    @blame_itself
    def __init__(
        self, schedules: list[Schedule], boundaries: list[int]
    ) -> None:
        self.schedules = [
            as_schedule(schedule, f"schedules[{index}]")
            for index, schedule in enumerate(
                _checks.sequence(schedules, "schedules")
            )
        ]
        self.boundaries = _checks.boundaries(boundaries)
        if len(self.schedules) != len(self.boundaries) + 1:
            raise Refusal(
                f"`schedules` must have one entry more than "
                f"`boundaries`. Received: {len(self.schedules)} schedules "
                f"and boundaries={self.boundaries}"
            )

    def value(self, step: Tensor) -> Tensor:
        rate = _rate_of(self.schedules[0], step)
        for boundary, schedule in zip(self.boundaries, self.schedules[1:]):
            own_step = steps_since(step, boundary)
            rate = ops.where(
                step >= boundary, _rate_of(schedule, own_step), rate
            )
        return rate

    def get_config(self) -> Config:
        return {
            "schedules": [
                keras.saving.serialize_keras_object(schedule)
                for schedule in self.schedules
            ],
            "boundaries": self.boundaries,
        }


@keras.saving.register_keras_serializable("kerasdrop")
class Cyclic(Schedule):
    """Repeats a schedule.

    Args:
        schedule: The schedule of one cycle.
        num_steps: Integer of at least 1, the length of a cycle: the schedule
            is called with `step % num_steps`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> triangle = PiecewiseLinear([0, 50, 100], [0.0, 0.5, 0.0])
    >>> float(Cyclic(triangle, num_steps=100)(150))
    0.5
    """

    @blame_itself
    def __init__(self, schedule: Given, num_steps: int) -> None:
        self.schedule = as_schedule(schedule, "schedule")
        self.num_steps = _checks.positive_integer(num_steps, "num_steps")

    def value(self, step: Tensor) -> Tensor:
        return _rate_of(self.schedule, ops.mod(step, self.num_steps))

    def get_config(self) -> Config:
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "num_steps": self.num_steps,
        }


@keras.saving.register_keras_serializable("kerasdrop")
class EarlyDropout(Schedule):
    """Dropout in the first steps only, against underfitting.

    In these steps, the rate is `initial_rate * (1 - step / (num_steps - 1))`
    for the shape `"linear"`, which is 0 in the last of them, and `initial_rate`
    for `"constant"`. Afterwards it is 0.

    Args:
        initial_rate: Float in [0, 1], the rate at step 0.
        num_steps: Integer of at least 1, the number of steps with dropout.
        shape: `"linear"` or `"constant"`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = EarlyDropout(0.1, num_steps=11)
    >>> round(float(schedule(5)), 6), float(schedule(10))
    (0.05, 0.0)

    Reference: [Liu et al., 2023](https://arxiv.org/abs/2303.01500).
    """

    @blame_itself
    def __init__(
        self, initial_rate: float, num_steps: int, shape: str = "linear"
    ) -> None:
        self.initial_rate = _checks.rate(initial_rate, "initial_rate")
        self.num_steps = _checks.positive_integer(num_steps, "num_steps")
        self.shape = _checks.choice(shape, ("linear", "constant"), "shape")

    def value(self, step: Tensor) -> Tensor:
        if self.shape == "constant" or self.num_steps == 1:
            rate = Steps([self.num_steps], [self.initial_rate, 0.0])
        else:
            rate = Linear(self.initial_rate, 0.0, self.num_steps - 1)
        return rate(step)

    def get_config(self) -> Config:
        return {
            "initial_rate": self.initial_rate,
            "num_steps": self.num_steps,
            "shape": self.shape,
        }


@keras.saving.register_keras_serializable("kerasdrop")
class LateDropout(Schedule):
    """No dropout at first, and a constant rate from a given step on.

    Args:
        final_rate: Float in [0, 1].
        begin_step: Integer of at least 1, the first step with dropout.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = LateDropout(0.4, begin_step=100)
    >>> float(schedule(99)), round(float(schedule(100)), 6)
    (0.0, 0.4)

    Reference: [Liu et al., 2023](https://arxiv.org/abs/2303.01500).
    """

    @blame_itself
    def __init__(self, final_rate: float, begin_step: int) -> None:
        self.final_rate = _checks.rate(final_rate, "final_rate")
        self.begin_step = _checks.positive_integer(begin_step, "begin_step")

    def value(self, step: Tensor) -> Tensor:
        return Steps([self.begin_step], [0.0, self.final_rate])(step)

    def get_config(self) -> Config:
        return {
            "final_rate": self.final_rate,
            "begin_step": self.begin_step,
        }


@blame("warm_up")
def warm_up(schedule: Given, num_steps: int, initial_rate: float = 0.0) -> Join:
    """A straight line to the first rate of a schedule, then that schedule.

    Args:
        schedule: Schedule, or float in [0, 1] for a constant rate.
        num_steps: Integer of at least 1, the length of the line.
        initial_rate: Float in [0, 1], the rate at step 0.

    Returns: A `Join`.

    Example:

    >>> schedule = warm_up(Cosine(0.5, 0.0, num_steps=900), num_steps=100)
    >>> float(schedule(50)), float(schedule(100)), float(schedule(1000))
    (0.25, 0.5, 0.0)
    """
    schedule = as_schedule(schedule, "schedule")
    first_rate = float(ops.convert_to_numpy(_rate_of(schedule, 0)))
    line = Linear(initial_rate, first_rate, num_steps)
    return Join([line, schedule], [line.num_steps])


@blame("stage_wise")
def stage_wise(
    initial_rate: float, final_rate: float, num_stages: int, num_steps: int
) -> Steps:
    """Equal stages, constant within each, with rates that rise evenly.

    Args:
        initial_rate: Float in [0, 1], the rate of the first stage.
        final_rate: Float in [0, 1], the rate of the last stage.
        num_stages: Integer of at least 2.
        num_steps: Integer, a multiple of `num_stages`: the total length.

    Returns: A `Steps`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> stage_wise(0.1, 0.4, num_stages=4, num_steps=400).boundaries
    [100, 200, 300]

    Reference: [Tan & Le, 2021](https://arxiv.org/abs/2104.00298), section 4.
    """
    num_stages = _checks.positive_integer(num_stages, "num_stages")
    num_steps = _checks.positive_integer(num_steps, "num_steps")
    if num_stages < 2 or num_steps % num_stages:
        raise ValueError(
            "stage_wise: `num_steps` must be a multiple of `num_stages`, "
            "which must be at least 2. Received: "
            f"num_stages={num_stages}, num_steps={num_steps}. For stages of "
            "different lengths use `Steps`."
        )
    length = num_steps // num_stages
    initial_rate = _checks.rate(initial_rate, "initial_rate")
    final_rate = _checks.rate(final_rate, "final_rate")
    return Steps(
        [length * stage for stage in range(1, num_stages)],
        np.linspace(initial_rate, final_rate, num_stages).tolist(),
    )


def _rate_of(schedule: Given, step: Tensor) -> Tensor:
    # A schedule of another make may compute in another float type.
    return ops.cast(schedule(step), "float32")

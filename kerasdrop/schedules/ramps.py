"""Schedules that lead from one rate to another."""

import math

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Tensor
from kerasdrop.schedules.base import Schedule
from kerasdrop.schedules.base import mix
from kerasdrop.schedules.base import part_left
from kerasdrop.schedules.base import progress
from kerasdrop.schedules.base import steps_since


class _Ramp(Schedule):
    """Abstract: from one rate to another in a number of steps."""

    @blame_itself
    def __init__(
        self,
        initial_rate: float,
        final_rate: float,
        num_steps: int,
        begin_step: int = 0,
    ) -> None:
        self.initial_rate = _checks.rate(initial_rate, "initial_rate")
        self.final_rate = _checks.rate(final_rate, "final_rate")
        self.num_steps = _checks.positive_integer(num_steps, "num_steps")
        self.begin_step = _checks.step(begin_step, "begin_step")

    def get_config(self) -> Config:
        return {
            "initial_rate": self.initial_rate,
            "final_rate": self.final_rate,
            "num_steps": self.num_steps,
            "begin_step": self.begin_step,
        }


@keras.saving.register_keras_serializable("kerasdrop")
class Polynomial(_Ramp):
    """From one rate to another along a power of the steps left.

    With the progress `x` from 0 to 1, the rate is
    `final_rate + (initial_rate - final_rate) * (1 - x) ** power`.

    Args:
        initial_rate: Float in [0, 1], the rate until `begin_step`.
        final_rate: Float in [0, 1], the rate from step
            `begin_step + num_steps` on.
        num_steps: Integer of at least 1, the duration in steps.
        power: Float above 0. With 1, the schedule is a straight line. Above 1,
            the rate changes mostly early, below 1 mostly late.
        begin_step: Integer of at least 0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = Polynomial(0.5, 0.1, num_steps=100, power=2)
    >>> float(schedule(0)), float(schedule(50))
    (0.5, 0.20000000298023224)
    """

    @blame_itself
    def __init__(
        self,
        initial_rate: float,
        final_rate: float,
        num_steps: int,
        power: float = 1.0,
        begin_step: int = 0,
    ) -> None:
        super().__init__(initial_rate, final_rate, num_steps, begin_step)
        self.power = _checks.positive_number(power, "power")

    def value(self, step: Tensor) -> Tensor:
        left = part_left(step, self.begin_step, self.num_steps)
        left = _power(left, self.power)
        return mix(self.final_rate, self.initial_rate, left)

    def get_config(self) -> Config:
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable("kerasdrop")
class Linear(_Ramp):
    """From one rate to another in a straight line.

    DropBlock and ScheduledDropPath use it with a rate that rises from 0,
    annealed dropout with one that falls to 0.

    Args:
        initial_rate: Float in [0, 1], the rate until `begin_step`.
        final_rate: Float in [0, 1], the rate from step
            `begin_step + num_steps` on.
        num_steps: Integer of at least 1, the duration in steps.
        begin_step: Integer of at least 0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = Linear(0.0, 0.5, num_steps=1000)
    >>> float(schedule(250)), float(schedule(5000))
    (0.125, 0.5)

    Reference: [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890);
    [Zoph et al., 2018](https://arxiv.org/abs/1707.07012).
    """

    def value(self, step: Tensor) -> Tensor:
        done = progress(step, self.begin_step, self.num_steps)
        return mix(self.initial_rate, self.final_rate, done)


@keras.saving.register_keras_serializable("kerasdrop")
class Cosine(_Ramp):
    """From one rate to another along half a period of a cosine.

    With the progress `x` from 0 to 1, the rate is
    `final_rate + (initial_rate - final_rate) * (1 + cos(pi * x)) / 2`. It
    changes slowly at both ends.

    Args:
        initial_rate: Float in [0, 1], the rate until `begin_step`.
        final_rate: Float in [0, 1], the rate from step
            `begin_step + num_steps` on.
        num_steps: Integer of at least 1, the duration in steps.
        begin_step: Integer of at least 0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> round(float(Cosine(0.5, 0.0, num_steps=100)(50)), 6)
    0.25
    """

    def value(self, step: Tensor) -> Tensor:
        done = progress(step, self.begin_step, self.num_steps)
        left = (ops.cos(done * math.pi) + 1.0) * 0.5
        return mix(self.final_rate, self.initial_rate, left)


@keras.saving.register_keras_serializable("kerasdrop")
class Exponential(_Ramp):
    """From one rate to another, by the same factor at each step.

    With the progress `x` from 0 to 1, the rate is
    `initial_rate * (final_rate / initial_rate) ** x`.

    Args:
        initial_rate: Float in (0, 1], the rate until `begin_step`.
        final_rate: Float in (0, 1], the rate from step
            `begin_step + num_steps` on.
        num_steps: Integer of at least 1, the duration in steps.
        begin_step: Integer of at least 0.

    Raises:
        ValueError: If an argument is out of its range. No factor leads to a
            rate of 0; `Curriculum` approaches 0 exponentially.

    Example:

    >>> round(float(Exponential(0.4, 0.1, num_steps=100)(50)), 6)
    0.2
    """

    def __init__(
        self,
        initial_rate: float,
        final_rate: float,
        num_steps: int,
        begin_step: int = 0,
    ) -> None:
        super().__init__(initial_rate, final_rate, num_steps, begin_step)
        if 0.0 in (self.initial_rate, self.final_rate):
            raise ValueError(
                "Exponential: a rate of 0 cannot be reached or left by a "
                "constant factor; both rates must be above 0. Received: "
                f"initial_rate={initial_rate!r}, final_rate={final_rate!r}. "
                "Use `Curriculum`, which approaches 0 exponentially, or "
                "`Linear`."
            )

    def value(self, step: Tensor) -> Tensor:
        done = progress(step, self.begin_step, self.num_steps)
        log_factor = math.log(self.final_rate / self.initial_rate)
        left = self.initial_rate * ops.exp(done * log_factor)
        low, high = sorted((self.initial_rate, self.final_rate))
        left = ops.clip(left, low, high)
        return ops.where(done >= 1.0, self.final_rate, left)


@keras.saving.register_keras_serializable("kerasdrop")
class Accelerating(_Ramp):
    """From one rate to another, twice as fast at the end as at the beginning.

    With the progress `x` from 0 to 1, the rate is
    `initial_rate + (final_rate - initial_rate) * (2**x - 1)`.

    With a rate that rises from 0, it is LayerSkip's curriculum over time. A
    training of `T` steps reaches the final rate in its last step:
    `num_steps=T - 1`. `exponential_depth_rates` is LayerSkip's profile over
    depth.

    Args:
        initial_rate: Float in [0, 1], the rate until `begin_step`.
        final_rate: Float in [0, 1], the rate from step
            `begin_step + num_steps` on.
        num_steps: Integer of at least 1, the duration in steps.
        begin_step: Integer of at least 0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> round(float(Accelerating(0.0, 0.5, num_steps=100)(50)), 4)
    0.2071

    Reference: [Elhoushi et al., 2024](https://arxiv.org/abs/2404.16710),
    section 4.1.1: `S_exp(t) = exp(t * ln 2 / (T - 1)) - 1`.
    """

    def value(self, step: Tensor) -> Tensor:
        done = progress(step, self.begin_step, self.num_steps)
        # Exactly 0 and 1 at the ends, and nothing beyond by rounding.
        part = ops.clip(ops.expm1(done * math.log(2.0)), 0.0, 1.0)
        part = ops.where(done >= 1.0, 1.0, part)
        return mix(self.initial_rate, self.final_rate, part)


@keras.saving.register_keras_serializable("kerasdrop")
class Curriculum(Schedule):
    """Approaches a rate exponentially, by the same factor at each step.

    At `t` steps after `begin_step` the rate is
    `final_rate + (initial_rate - final_rate) * exp(-gamma * t)`.

    With the default `initial_rate=0.0` this is curriculum dropout: nothing is
    dropped at first. With `final_rate=0.0` it is the "annealed" schedule that
    the paper compares it with.

    Args:
        final_rate: Float in [0, 1], the rate that is approached.
        gamma: Float above 0, the fraction of the remaining difference that
            disappears per step; the paper uses 1e-3 and 1e-4.
        initial_rate: Float in [0, 1], the rate until `begin_step`.
        begin_step: Integer of at least 0.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = Curriculum(0.5, gamma=1e-3)
    >>> round(float(schedule(1000)), 4)
    0.3161

    Reference: [Morerio et al., 2017](https://arxiv.org/abs/1703.06229).
    """

    @blame_itself
    def __init__(
        self,
        final_rate: float,
        gamma: float,
        initial_rate: float = 0.0,
        begin_step: int = 0,
    ) -> None:
        self.final_rate = _checks.rate(final_rate, "final_rate")
        self.gamma = _checks.positive_number(gamma, "gamma")
        self.initial_rate = _checks.rate(initial_rate, "initial_rate")
        self.begin_step = _checks.step(begin_step, "begin_step")

    def value(self, step: Tensor) -> Tensor:
        elapsed = ops.cast(steps_since(step, self.begin_step), "float32")
        left = ops.exp(elapsed * -self.gamma)
        return mix(self.final_rate, self.initial_rate, left)

    def get_config(self) -> Config:
        return {
            "final_rate": self.final_rate,
            "gamma": self.gamma,
            "initial_rate": self.initial_rate,
            "begin_step": self.begin_step,
        }


def _power(base: Tensor, exponent: float) -> Tensor:
    if exponent in (1.0, 2.0, 3.0, 4.0):
        # Products are rounded alike on every backend, powers are not.
        return math.prod([base] * int(exponent))
    return ops.power(base, exponent)

"""Schedules given by a table: rates at steps, joined by lines or constant."""

import keras
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.schedules.base import Schedule
from kerasdrop.schedules.base import mix
from kerasdrop.schedules.base import progress


@keras.saving.register_keras_serializable("kerasdrop")
class PiecewiseLinear(Schedule):
    """Straight lines between given rates at given steps.

    Before the first step it has the first rate, after the last step the last.

    Args:
        steps: Two or more increasing numbers of at least 0. They are integers,
            except for those that `from_fractions` makes.
        rates: Floats in [0, 1], one for each step.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = PiecewiseLinear([0, 100, 400], [0.0, 0.5, 0.2])
    >>> float(schedule(50)), float(schedule(100)), float(schedule(250))
    (0.25, 0.5, 0.3499999940395355)
    """

    @blame_itself
    def __init__(self, steps: list[float], rates: list[float]) -> None:
        self.steps = _checks.increasing_numbers(steps, "steps")
        self.rates = _rates(rates)
        if len(self.steps) != len(self.rates) or len(self.steps) < 2:
            raise Refusal(
                f"`steps` and `rates` must have the same length, at "
                f"least 2. Received: steps={self.steps} and "
                f"rates={self.rates}"
            )

    @classmethod
    def from_fractions(cls, text: str, num_steps: int) -> "PiecewiseLinear":
        """A schedule in the notation of Kaldi: rates at fractions of training.

        Args:
            text: String such as `"0,0@0.20,0.5@0.50,0"`: the rate at the
                start, rates at fractions of the training, the rate at the
                end. A rate in between without a fraction is at 0.5.
            num_steps: Integer of at least 1, the length of the training.

        Raises:
            ValueError: If the text cannot be read; the message names the part.

        Reference: [Cheng et al., 2017](
        https://doi.org/10.21437/Interspeech.2017-129), and Kaldi's option
        `--trainer.dropout-schedule`.
        """
        with blame(f"{cls.__name__}.from_fractions"):
            num_steps = _checks.positive_integer(num_steps, "num_steps")
        points = _points_of_text(text)
        return cls(
            [fraction * num_steps for fraction, _ in points],
            [rate for _, rate in points],
        )

    def value(self, step: Tensor) -> Tensor:
        rate = _backend.full_like(step, self.rates[0], dtype="float32")
        pieces = zip(self.steps, self.steps[1:], self.rates, self.rates[1:])
        for begin, end, start_rate, end_rate in pieces:
            done = progress(step, begin, end - begin)
            piece = mix(start_rate, end_rate, done)
            rate = ops.where(done > 0.0, piece, rate)
        return rate

    def get_config(self) -> Config:
        return {"steps": self.steps, "rates": self.rates}


@keras.saving.register_keras_serializable("kerasdrop")
class Steps(Schedule):
    """Constant rates, each of them up to a boundary.

    The rate is `rates[0]` for `step < boundaries[0]`, `rates[1]` from step
    `boundaries[0]` on, and so forth. (In Keras' `PiecewiseConstantDecay` each
    change comes one step later.)

    Args:
        boundaries: Increasing integers of at least 1.
        rates: Floats in [0, 1], one more than boundaries.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = Steps([10, 20], [0.5, 0.25, 0.0])
    >>> float(schedule(9)), float(schedule(10)), float(schedule(20))
    (0.5, 0.25, 0.0)
    """

    @blame_itself
    def __init__(self, boundaries: list[int], rates: list[float]) -> None:
        self.boundaries = _checks.boundaries(boundaries)
        self.rates = _rates(rates)
        if len(self.rates) != len(self.boundaries) + 1:
            raise Refusal(
                f"`rates` must have one entry more than "
                f"`boundaries`. Received: boundaries={self.boundaries} and "
                f"rates={self.rates}"
            )

    def value(self, step: Tensor) -> Tensor:
        rate = _backend.full_like(step, self.rates[0], dtype="float32")
        for boundary, next_rate in zip(self.boundaries, self.rates[1:]):
            rate = ops.where(step >= boundary, next_rate, rate)
        return rate

    def get_config(self) -> Config:
        return {"boundaries": self.boundaries, "rates": self.rates}


def _rates(values: Given) -> list[float]:
    values = _checks.sequence(values, "rates")
    return [
        _checks.rate(value, f"rates[{index}]")
        for index, value in enumerate(values)
    ]


def _points_of_text(text: str) -> list[tuple[float, float]]:
    """`(fraction, rate)` pairs of a string in the notation of Kaldi."""
    parts = text.split(",") if isinstance(text, str) else []
    if len(parts) < 2:
        raise ValueError(
            "PiecewiseLinear.from_fractions: the text must give at least the "
            'rate at the start and at the end, as in "0.5,0". Received: '
            f"text={text!r}"
        )
    last = len(parts) - 1
    return [
        _point(part, 0.0 if index == 0 else 1.0 if index == last else None)
        for index, part in enumerate(parts)
    ]


def _point(part: str, end: float | None) -> tuple[float, float]:
    first, at, second = part.partition("@")
    try:
        if end is not None and at:
            raise ValueError
        fraction = float(second) if at else 0.5 if end is None else end
        rate = float(first)
    except ValueError:
        raise ValueError(
            "PiecewiseLinear.from_fractions: each part of the text must be "
            "`rate` or, between the first and the last, `rate@fraction`, as "
            f'in "0,0@0.20,0.5@0.50,0". Received: the part {part!r}'
        ) from None
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(
            "PiecewiseLinear.from_fractions: a fraction of the training must "
            f"be in [0, 1]. Received: the part {part!r}"
        )
    return fraction, rate

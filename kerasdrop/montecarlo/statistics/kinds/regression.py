"""Numbers, with or without a known noise around them."""

import math

from kerasdrop import _backend
from kerasdrop import _refusals
from kerasdrop._formulas import likelihood
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics.kinds import base
from kerasdrop.montecarlo.statistics.kinds import normal


class Regression(base.Kind):
    """Numbers without a known noise."""

    name = "regression"

    def features(self, output: Tensor) -> list[Tensor]:
        return [output]

    def log_terms(self, output: Tensor, target: Tensor) -> Tensor | None:
        raise _refusals.Refusal(
            "a log-likelihood needs the variance of the targets "
            "around an output of kind 'regression'. Pass `noise_variance`, or "
            "a model with a second half of outputs for it and "
            "`kind='mean_and_variance'`. Received: noise_variance=None"
        )

    def with_noise(self, variance: float | None) -> "base.Kind":
        return self if variance is None else _WithNoise(variance)


class _WithNoise(normal.Normal):
    """The means of normal distributions with one known variance.

    Args:
        variance: Float above 0.
    """

    name = Regression.name

    def __init__(self, variance: Given) -> None:
        self._variance = variance

    def features(self, output: Tensor) -> list[Tensor]:
        return [output, _backend.full_like(output, self._variance)]

    def log_terms(self, output: Tensor, target: Tensor) -> Tensor | None:
        log_variance = _backend.full_like(output, math.log(self._variance))
        return likelihood.log_density(output, log_variance, target)

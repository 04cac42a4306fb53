"""Outputs that are normal distributions: a mean and a variance."""

import numpy as np

from kerasdrop import _refusals
from kerasdrop._formulas import likelihood
from kerasdrop._formulas import two_part
from kerasdrop._types import Array
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics import quantiles
from kerasdrop.montecarlo.statistics import running
from kerasdrop.montecarlo.statistics.kinds import base


class Normal(base.Kind):
    """A kind whose features are the mean and the variance of a normal.

    Its only sum is the mean of the variances.
    """

    def init(self, features: list[Tensor]) -> list[Tensor]:
        return [running.init(features[1])]

    def update(
        self,
        sums: list[Tensor],
        features: list[Tensor],
        before: Tensor,
        after: Tensor,
    ) -> list[Tensor]:
        return [running.update(sums[0], features[1], after)]

    def result(
        self, sums: list[Tensor], variance: Tensor, count: Tensor
    ) -> dict[str, Tensor]:
        # The law of total variance.
        return {
            "aleatoric_variance": sums[0],
            "epistemic_variance": variance,
            "total_variance": sums[0] + variance,
        }

    def for_quantiles(self, features: list[Tensor]) -> list[Tensor]:
        return features[:2]

    def quantiles(
        self, samples: list[Tensor], probabilities: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        means, variances = samples
        return quantiles.of_normal_mixture(means, variances, probabilities)


class _TwoPart(Normal):
    """The last axis has means in its first half, variances in the second."""

    def features(self, output: Tensor) -> list[Tensor]:
        base.check_last_axis(self, output)
        return two_part.parts(output, self.name)

    def log_terms(self, output: Tensor, target: Tensor) -> Tensor | None:
        mean, log_variance = two_part.parts_in_logs(output, self.name)
        return likelihood.log_density(mean, log_variance, target)


class MeanAndVariance(_TwoPart):
    """The second half has the variances themselves."""

    name = "mean_and_variance"

    def check(self, found: dict[str, Array]) -> None:
        variance = found["aleatoric_variance"]
        if (variance < 0.0).any():
            raise _refusals.Refusal(
                "the second half of the last axis of an output of "
                "kind 'mean_and_variance' holds variances, at least 0. If it "
                "holds their logarithms, pass `kind='mean_and_log_variance'`. "
                f"Received: a variance of {np.nanmin(variance):.6g}"
            )


class MeanAndLogVariance(_TwoPart):
    """The second half has the logarithms of the variances."""

    name = "mean_and_log_variance"

"""The base class of kinds whose samples are probabilities."""

import abc

from kerasdrop._backend import ops
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics import running
from kerasdrop.montecarlo.statistics.kinds import base


def of_numbers(found: Given, values: Given) -> Given:
    """Sets `found` to NaN where `values` are NaN, which comparisons hide.

    Args:
        found, values: Tensors that broadcast.
    """
    return ops.where(values == values, found, float("nan"))


def _nearest(values: Tensor) -> Tensor:
    """The nearest whole numbers; a half is rounded up.

    OpenVINO reads `torch.round` as an operation that writes into its second
    argument, which is the zero that the rest of the graph counts with.
    """
    below = ops.floor(values)
    return below + ops.cast(values - below >= 0.5, below.dtype)


class Probabilistic(base.Kind):
    """A kind with entropies and votes.

    Its features are the probabilities, their entropies and the votes. Its sums
    are the means of these, and the sum of the divergences of the probabilities
    from their mean.
    """

    @abc.abstractmethod
    def entropy(self, probabilities: Tensor) -> Tensor:
        """Entropies, in nats."""

    @abc.abstractmethod
    def divergence(self, probabilities: Tensor, mean: Tensor) -> Tensor:
        """Divergences of probabilities from a mean, which is broadcast."""

    @abc.abstractmethod
    def majority(self, share: Tensor) -> Tensor:
        """The share of the majority, from the shares of votes."""

    def init(self, features: list[Tensor]) -> list[Tensor]:
        means = [running.init(feature) for feature in features]
        return [*means, self._divergences(features[0], means[0])]

    def update(
        self,
        sums: list[Tensor],
        features: list[Tensor],
        before: Tensor,
        after: Tensor,
    ) -> list[Tensor]:
        *means, total = sums
        new = [
            running.update(mean, feature, after)
            for mean, feature in zip(means, features)
        ]
        return [
            *new,
            self._with_divergences(
                total, before, features[0], means[0], new[0]
            ),
        ]

    def mean(self, sums: list[Tensor]) -> Tensor | None:
        return sums[0]

    def result(
        self, sums: list[Tensor], variance: Tensor, count: Tensor
    ) -> dict[str, Tensor]:
        mean, expected_entropy, share, total = sums
        return {
            "predictive_entropy": self.entropy(mean),
            "expected_entropy": expected_entropy,
            "mutual_information": total / running.per_row(count, total),
            "votes": _nearest(share * count),
            "variation_ratio": 1.0 - self.majority(share),
        }

    def _divergences(self, probabilities: Given, mean: Given) -> Given:
        """The sum of the samples' divergences from a mean.

        Args:
            probabilities: `(batch, samples, ...)`.
            mean: `(batch, ...)`.
        """
        mean = ops.expand_dims(mean, 1)
        return ops.sum(self.divergence(probabilities, mean), axis=1)

    def _with_divergences(
        self,
        total: Given,
        count: int,
        probabilities: Given,
        before: Given,
        after: Given,
    ) -> Given:
        """The sum with samples added, with divergences from the mean of all.

        The sum of the divergences of n samples from any distribution is the sum
        of their divergences from their own mean, plus n times the divergence of
        that mean from the distribution.

        Args:
            total: The sum of the earlier samples, from their own mean.
            count: `(batch, 1, ...)`, the number of earlier samples.
            probabilities: `(batch, samples, ...)`, the samples to add.
            before, after: `(batch, ...)`, the means of the earlier samples and
                of all samples.
        """
        own = ops.mean(probabilities, axis=1)
        of_before, of_own = (
            self._divergences(ops.expand_dims(mean, 1), after)
            for mean in (before, own)
        )
        return (
            total
            + running.per_row(count, total) * of_before
            + self._divergences(probabilities, own)
            + float(probabilities.shape[1]) * of_own
        )

"""What a kind of output answers."""

import abc

from kerasdrop import _refusals
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics import quantiles


class Kind(abc.ABC):
    """A kind of output: what is taken from a sample, and what follows.

    Samples of an output come in chunks. From each sample `features` are taken,
    the first of which is the predicted quantity. Its mean and variance are
    streamed for every kind; what a kind needs besides are sums of its own, a
    list of tensors `(batch, ...)`, by `init`, `update` and `result`.

    Attributes:
        name: String, by which users name it.
        refuted_by: Names of kinds; where a model's last activations make one
            of these, its output is not of this kind.
    """

    name = ""
    refuted_by: tuple[str, ...] = ()

    @abc.abstractmethod
    def features(self, output: Tensor) -> None:
        """A list of tensors `(batch, samples, ...)`.

        Args:
            output: `(batch, samples, ...)`, of the model.
        """

    def init(self, features: Given) -> Given:
        """The sums of the first chunk."""
        return []

    def update(
        self, sums: Given, features: Given, before: Given, after: Given
    ) -> Given:
        """The sums with a chunk added.

        Args:
            sums: As `init` returns them.
            features: Those of the chunk.
            before, after: `(batch, 1, ...)`, the samples so far without and
                with the chunk.
        """
        return []

    def mean(self, sums: Given) -> Given:
        """The mean of the predicted quantity if the sums have it, or None."""
        return None

    def result(self, sums: Given, variance: Given, count: int) -> Given:
        """A dict of the statistics of this kind alone.

        Args:
            sums: As `init` returns them.
            variance: `(batch, ...)`, of the predicted quantity.
            count: `(batch, 1, ...)`, the samples.
        """
        return {}

    def for_quantiles(self, features: Given) -> Given:
        """Those of the features from which quantiles follow."""
        return features[:1]

    def quantiles(self, samples: Given, probabilities: Given) -> Given:
        """Quantiles and their standard errors.

        Args:
            samples: What `for_quantiles` returns, of all samples.
            probabilities: Floats in (0, 1).
        """
        return quantiles.of_samples(samples[0], probabilities)

    def log_terms(self, output: Tensor, target: Given) -> Given:
        """The logarithms of what the likelihood of a target is the mean of.

        Args:
            output: As for `features`.
            target: A tensor.

        Returns:
            A tensor `(batch, samples, ...)`; None if the likelihood is that
            of the mean.
        """
        return None

    def log_likelihood(self, mean: Given, target: Given) -> None:
        """The log-likelihood `(batch, ...)`, of a kind without `log_terms`."""
        raise NotImplementedError(self.name)

    def with_noise(self, variance: Given) -> Given:
        """This kind, if targets have a variance around the output."""
        return self

    def check(self, found: Given) -> Given:
        """Raises if what was predicted cannot be of this kind.

        Args:
            found: A dict of arrays, the statistics of the output.
        """
        return None


def check_last_axis(kind: Given, output: Tensor) -> None:
    """Raises if the last axis is that of the samples."""
    if len(output.shape) < 3:
        raise _refusals.Refusal(
            f"an output of kind '{kind.name}' is `(batch, ..., size)`, "
            "with the classes or the two parts in the last axis. Pass the "
            "`kind` that the output is, e.g. 'regression' or 'binary'. "
            "Received: an output with one number for each row, `(batch,)`"
        )

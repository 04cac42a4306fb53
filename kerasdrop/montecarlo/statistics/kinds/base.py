"""What a kind of output answers."""

import abc

from kerasdrop import _refusals
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
    refuted_by = ()

    @abc.abstractmethod
    def features(self, output):
        """A list of tensors `(batch, samples, ...)`.

        Args:
            output: `(batch, samples, ...)`, of the model.
        """

    def init(self, features):
        """The sums of the first chunk."""
        return []

    def update(self, sums, features, before, after):
        """The sums with a chunk added.

        Args:
            sums: As `init` returns them.
            features: Those of the chunk.
            before, after: `(batch, 1, ...)`, the samples so far without and
                with the chunk.
        """
        return []

    def mean(self, sums):
        """The mean of the predicted quantity if the sums have it, or None."""
        return None

    def result(self, sums, variance, count):
        """A dict of the statistics of this kind alone.

        Args:
            sums: As `init` returns them.
            variance: `(batch, ...)`, of the predicted quantity.
            count: `(batch, 1, ...)`, the samples.
        """
        return {}

    def for_quantiles(self, features):
        """Those of the features from which quantiles follow."""
        return features[:1]

    def quantiles(self, samples, probabilities):
        """Quantiles and their standard errors.

        Args:
            samples: What `for_quantiles` returns, of all samples.
            probabilities: Floats in (0, 1).
        """
        return quantiles.of_samples(*samples, probabilities)

    def log_terms(self, output, target):
        """The logarithms of what the likelihood of a target is the mean of.

        Args:
            output: As for `features`.
            target: A tensor.

        Returns:
            A tensor `(batch, samples, ...)`; None if the likelihood is that
            of the mean.
        """
        return None

    def log_likelihood(self, mean, target):
        """The log-likelihood `(batch, ...)`, of a kind without `log_terms`."""
        raise NotImplementedError(self.name)

    def with_noise(self, variance):
        """This kind, if targets have a variance around the output."""
        return self

    def check(self, found):
        """Raises if what was predicted cannot be of this kind.

        Args:
            found: A dict of arrays, the statistics of the output.
        """
        return None


def check_last_axis(kind, output):
    """Raises if the last axis is that of the samples."""
    if len(output.shape) < 3:
        raise _refusals.Refusal(
            f"an output of kind '{kind.name}' is `(batch, ..., size)`, "
            "with the classes or the two parts in the last axis. Pass the "
            "`kind` that the output is, e.g. 'regression' or 'binary'. "
            "Received: an output with one number for each row, `(batch,)`"
        )

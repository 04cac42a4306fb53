"""The interface of a kind of output."""

import abc

from kerasdrop import _refusals
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics import quantiles


class Kind(abc.ABC):
    """A kind of output: its features, sums and statistics.

    Samples of an output come in chunks. `features` computes tensors from each
    sample, the first of which is the predicted quantity. Its mean and variance
    are streamed for every kind. Anything else that a kind needs are its own
    sums, a list of tensors `(batch, ...)`, which `init`, `update` and `result`
    handle.

    Attributes:
        name: String, the name that users write.
        refuted_by: Names of kinds. If a model's last activation shows one of
            these, the output is not of this kind.
    """

    name = ""
    refuted_by: tuple[str, ...] = ()

    @abc.abstractmethod
    def features(self, output: Tensor) -> list[Tensor]:
        """A list of tensors `(batch, samples, ...)`.

        Args:
            output: `(batch, samples, ...)`, an output of the model.
        """

    def init(self, features: list[Tensor]) -> list[Tensor]:
        """Returns the sums of the first chunk."""
        return []

    def update(
        self,
        sums: list[Tensor],
        features: list[Tensor],
        before: Tensor,
        after: Tensor,
    ) -> list[Tensor]:
        """Returns the sums with a chunk added.

        Args:
            sums: As `init` returns them.
            features: The features of the chunk.
            before, after: `(batch, 1, ...)`, how many samples there are without
                and with the chunk.
        """
        return []

    def mean(self, sums: list[Tensor]) -> Tensor | None:
        """The mean of the predicted quantity, or None if no sum has it."""
        return None

    def result(
        self, sums: list[Tensor], variance: Tensor, count: Tensor
    ) -> dict[str, Tensor]:
        """A dict of the statistics that only this kind has.

        Args:
            sums: As `init` returns them.
            variance: `(batch, ...)`, the variance of the predicted quantity.
            count: `(batch, 1, ...)`, the number of samples.
        """
        return {}

    def for_quantiles(self, features: list[Tensor]) -> list[Tensor]:
        """The features that determine the quantiles."""
        return features[:1]

    def quantiles(
        self, samples: list[Tensor], probabilities: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        """Quantiles and their standard errors.

        Args:
            samples: What `for_quantiles` returns for all samples.
            probabilities: Floats in (0, 1).
        """
        return quantiles.of_samples(samples[0], probabilities)

    def log_terms(self, output: Tensor, target: Tensor) -> Tensor | None:
        """The log-likelihood of a target under each sample.

        Args:
            output: As for `features`.
            target: A tensor.

        Returns:
            A tensor `(batch, samples, ...)`, whose exponentials have the
            likelihood as their mean; None if the likelihood is that of the
            predictive mean.
        """
        return None

    def log_likelihood(self, mean: Tensor, target: Tensor) -> Tensor:
        """The log-likelihood `(batch, ...)` for a kind without `log_terms`."""
        raise NotImplementedError(self.name)

    def with_noise(self, variance: float | None) -> "Kind":
        """Returns this kind with a variance of targets around the output."""
        return self

    def check(self, found: dict[str, Array]) -> None:  # noqa: B027
        """Raises if the predictions cannot be of this kind; by default, never.

        Args:
            found: A dict of arrays, the statistics of the output.
        """


def check_last_axis(kind: Given, output: Tensor) -> None:
    """Raises if the last axis is the samples' axis."""
    if len(output.shape) < 3:
        raise _refusals.Refusal(
            f"an output of kind '{kind.name}' is `(batch, ..., size)`, "
            "with the classes or the two parts in the last axis. Pass the "
            "`kind` that the output is, e.g. 'regression' or 'binary'. "
            "Received: an output with one number for each row, `(batch,)`"
        )

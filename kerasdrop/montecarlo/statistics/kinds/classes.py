"""Classes over the last axis: probabilities, or logits."""

from kerasdrop._backend import ops
from kerasdrop._formulas import categorical
from kerasdrop._formulas import likelihood
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics.kinds import base
from kerasdrop.montecarlo.statistics.kinds import entropies


class Probabilities(entropies.Probabilistic):
    """Probabilities of classes."""

    name = "probabilities"

    def features(self, output: Tensor) -> list[Tensor]:
        base.check_last_axis(self, output)
        probabilities = self._probabilities(output)
        return [
            probabilities,
            categorical.entropy(probabilities),
            categorical.first_largest(probabilities),
        ]

    def _probabilities(self, output: Tensor) -> Given:
        return output

    def entropy(self, probabilities: Tensor) -> Tensor:
        return categorical.entropy(probabilities)

    def divergence(self, probabilities: Tensor, mean: Tensor) -> Tensor:
        return categorical.divergence(probabilities, mean)

    def majority(self, share: Tensor) -> Tensor:
        # On TensorFlow the maximum of NaNs is not NaN.
        return entropies.of_numbers(ops.max(share, axis=-1), share[..., 0])

    def log_likelihood(self, mean: Tensor, target: Tensor) -> Tensor:
        return likelihood.of_classes(mean, target)

    def check(self, found: dict[str, Array]) -> None:
        fix = "If the model has no softmax, pass `kind='logits'`."
        categorical.check(found["mean"], fix)


class Logits(Probabilities):
    """Logits, which a softmax turns into probabilities of classes."""

    name = "logits"
    refuted_by = ("probabilities", "binary")

    def _probabilities(self, output: Tensor) -> Given:
        return ops.softmax(output, axis=-1)

    def log_terms(self, output: Tensor, target: Tensor) -> Tensor | None:
        return likelihood.of_logits(output, target)

    def check(self, found: dict[str, Array]) -> None:
        """Accepts everything: a softmax makes probabilities from any logits."""

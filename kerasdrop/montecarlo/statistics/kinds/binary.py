"""The probability of the positive class, in each element."""

import numpy as np

from kerasdrop import _refusals
from kerasdrop._backend import ops
from kerasdrop._formulas import categorical
from kerasdrop._formulas import likelihood
from kerasdrop._types import Array
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics.kinds import entropies


class Binary(entropies.Probabilistic):
    """A probability in each element, independent of all other elements."""

    name = "binary"

    def features(self, output: Tensor) -> list[Tensor]:
        vote = ops.cast(output > 0.5, output.dtype)
        return [
            output,
            categorical.binary_entropy(output),
            entropies.of_numbers(vote, output),
        ]

    def entropy(self, probabilities: Tensor) -> Tensor:
        return categorical.binary_entropy(probabilities)

    def divergence(self, probabilities: Tensor, mean: Tensor) -> Tensor:
        return categorical.binary_divergence(probabilities, mean)

    def majority(self, share: Tensor) -> Tensor:
        return ops.maximum(share, 1 - share)

    def log_likelihood(self, mean: Tensor, target: Tensor) -> Tensor:
        return likelihood.of_binary(mean, target)

    def check(self, found: dict[str, Array]) -> None:
        mean = found["mean"]
        if (mean < -1e-3).any() or (mean > 1.001).any():
            raise _refusals.Refusal(
                "outputs of kind 'binary' are probabilities, in "
                "[0, 1]. Add a sigmoid to the model, e.g. "
                "`keras.layers.Activation('sigmoid')`. Received: outputs "
                f"from {np.nanmin(mean):.6g} to {np.nanmax(mean):.6g}"
            )

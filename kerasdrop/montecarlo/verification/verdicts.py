"""The outcomes of a self-check: an error, or a record of the check."""

import dataclasses

from kerasdrop._types import Given


class VerificationError(ValueError):
    """A model behaves differently in a Monte Carlo pass and in a plain call.

    Args:
        message: String. It names the first layer or operation where both
            differ, and the remedies.

    Example:

    >>> @keras.saving.register_keras_serializable("my_project")
    ... class LessMean(keras.layers.Layer):
    ...     def call(self, inputs):
    ...         return inputs - keras.ops.mean(inputs, axis=0)
    >>> mixing = keras.Sequential([model, LessMean()])
    >>> try:
    ...     kerasdrop.mc_predict(mixing, x, kind="regression", verbose=0)
    ... except kerasdrop.VerificationError:
    ...     print("Its rows see each other.")
    Its rows see each other.
    """

    def __init__(self, message: Given) -> None:
        super().__init__(message)


@dataclasses.dataclass(frozen=True)
class Verification:
    """A record of a self-check that passed; a failure raises an error.

    Attributes:
        num_rows: Integer, how many rows were checked.
        num_calls: Integer, the calls of layers and operations whose outputs
            were compared.
        largest_difference: Float, the largest difference between a plain call
            and samples in which nothing is dropped, relative to the largest
            value of a tensor.
        allowed: Float, the largest difference that counts as rounding.
        without_effect: Tuple of the paths of layers whose draws changed
            nothing on these rows.

    Example:

    >>> verification = kerasdrop.inspect(model, x).verification
    >>> verification.largest_difference <= verification.allowed
    True
    """

    num_rows: int
    num_calls: int
    largest_difference: float
    allowed: float
    without_effect: tuple[Given, ...]

    def __str__(self) -> Given:
        lines = (
            f"Verified on {self.num_rows} rows: with nothing dropped, "
            f"{self.num_calls} calls of layers and operations agree with a "
            f"plain call to {self.largest_difference:.1e} (allowed: "
            f"{self.allowed:.1e})."
        )
        if self.without_effect:
            lines += (
                "\nWithout effect on these rows: "
                f"{', '.join(self.without_effect)}."
            )
        return lines

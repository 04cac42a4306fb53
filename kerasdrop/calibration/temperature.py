"""Temperature scaling of averaged probabilities."""

import math

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._formulas import likelihood
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs
from kerasdrop.calibration import predictions
from kerasdrop.calibration.saved import Calibrator

# Between them lie the temperatures that are looked for.
_COLDEST, _HOTTEST = 1e-3, 1e3


class TemperatureScaling(Calibrator):
    """Probabilities made flatter or sharper: softmax of `log(p) / temperature`.

    The order of the classes stays the same, and so does the accuracy.
    `fit_temperature` makes it.

    Args:
        temperature: Float above 0. A value above 1 reduces the confidence.

    Call arguments:
        probabilities: `(rows, ..., classes)`, or `(rows, ..., 1)` for the
            positive class; or the result of `mc_predict`.

    Returns (of a call):
        Probabilities of the same shape.

    Raises:
        ValueError: If the temperature is not above 0, or an array does not
            hold probabilities.

    Example:

    >>> scaling = TemperatureScaling(2.0)
    >>> p = np.array([[0.9, 0.1]])
    >>> scaling(p).round(4)  # odds of 9 become odds of 3
    array([[0.75, 0.25]])

    Reference: [Guo et al., 2017](https://arxiv.org/abs/1706.04599), section
    4.2. The paper divides the logits. This class divides the logarithms of the
    averaged probabilities, which is the same for a single sample.
    """

    @blame("TemperatureScaling")
    def __init__(self, temperature: float) -> None:
        self.temperature = _checks.positive_number(temperature, "temperature")

    @blame("TemperatureScaling")
    def __call__(self, probabilities: ArrayLike) -> Tensor:
        probabilities = predictions.probabilities(probabilities)
        xp, p = categorical.checked(probabilities)
        # Powers are relative to the largest, so that not all underflow to 0.
        largest = xp.max(p, axis=-1, keepdims=True)
        powers = (xp.maximum(p, 0.0) / largest) ** (1.0 / self.temperature)
        scaled = powers / xp.sum(powers, axis=-1, keepdims=True)
        is_yes_alone = np.shape(probabilities)[-1] == 1
        return scaled[..., 1:] if is_yes_alone else scaled

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        return {"temperature": self.temperature}

    def __repr__(self) -> str:
        return f"TemperatureScaling(temperature={self.temperature:.6g})"


@blame("fit_temperature")
def fit_temperature(
    targets: ArrayLike,
    probabilities: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> TemperatureScaling:
    """Finds the temperature with the lowest negative log-likelihood.

    Fit it on rows that the model was not trained on, e.g. the validation rows,
    and evaluate it on yet other rows. It corrects the confidence as a whole, on
    data like these. It does not help on other data.

    Args:
        targets: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
        probabilities: `(rows, ..., classes)`, as predicted; or the result of
            `mc_predict`.
        sample_weight: `(rows,)`, or None.

    Returns:
        A `TemperatureScaling`.

    Raises:
        ValueError: If the inputs do not hold probabilities and classes; if a
            target has probability 0; if no temperature is best, because all
            rows are right or the probabilities are no better than chance.

    Example:

    >>> p = [[0.9, 0.1]] * 4
    >>> scaling = fit_temperature([0, 0, 0, 1], p)  # 3 of 4 are right
    >>> scaling(np.array(p[:1])).round(3)
    array([[0.75, 0.25]])
    """
    probabilities = predictions.as_numpy(
        predictions.probabilities(probabilities)
    )
    _, p, one_hot = inputs.labelled(targets, probabilities)
    weight = arrays.weight_like(np, sample_weight, p[..., 0])
    if (likelihood.of_classes(p, one_hot)[weight > 0.0] == -math.inf).any():
        raise Refusal(
            "a target has probability 0, and keeps it at every "
            "temperature. Use more Monte Carlo samples, or logits in float32."
        )
    possible = p > 0.0
    logits = np.where(possible, np.log(np.where(possible, p, 1.0)), 0.0)

    def slope(log_temperature: float) -> float:
        """Derivative of the likelihood by 1 / temperature; it is concave."""
        scaled = TemperatureScaling(math.exp(log_temperature))(p)
        return np.sum(weight[..., None] * (one_hot - scaled) * logits)

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    if not slope(low) < 0.0 < slope(high):
        raise Refusal(
            f"no temperature between {_COLDEST:g} and {_HOTTEST:g} is "
            "the best. Either each row is right, so that a lower temperature "
            "is always better, or the probabilities are no better than equal "
            "ones. Fit on more rows that the model was not trained on."
        )
    for _ in range(60):  # halvings, to the last digit of float64
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0.0 else (low, middle)
    return TemperatureScaling(math.exp(0.5 * (low + high)))

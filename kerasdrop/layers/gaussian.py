"""Dropout by Gaussian factors."""

import keras

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticLayer


@keras.saving.register_keras_serializable("kerasdrop")
class GaussianDropout(StochasticLayer, keras.layers.GaussianDropout):
    """Multiplies units by Gaussian noise with the moments of dropout.

    A drop-in for `keras.layers.GaussianDropout`, with a live rate. No unit
    is zeroed; mean and variance of the factors are those that the factors of
    `Dropout` have at the same rate.

    Training: `y = x * n`, with `n` drawn from N(1, rate / (1 - rate)).
    Inference: `y = x`.

    The random words are the same on each backend, and the normal numbers made
    from them are equal up to rounding.

    Args:
        rate: Float in [0, 1), or a schedule, as in
            `kerasdrop.layers.Dropout`. At 1 the variance is infinite: the
            number 1 is refused, and a schedule that reaches it makes the
            outputs infinite or NaN.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor of any rank, `(batch, ...)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers.

    Example:

    >>> layer = GaussianDropout(0.2)
    >>> layer.rate = 0.1
    >>> bool(keras.ops.all(layer(x) == x))  # at inference the identity
    True

    Reference: [Srivastava et al., 2014](
    https://jmlr.org/papers/v15/srivastava14a.html), section 10.
    """

    _is_by_unit = True
    _is_multiplicative = True

    def __init__(
        self,
        rate: Rate,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        # The stock `__init__` would make a generator and lock the state.
        keras.layers.Layer.__init__(self, **kwargs)
        self._start(rate, seed, stochastic_inference)

    def checked_rate(self, rate: float) -> float:
        number = super().checked_rate(rate)
        if number == 1.0:
            raise ValueError(
                f"{self._label()}: argument `rate` must be below 1, where the "
                "variance of the noise, rate / (1 - rate), is infinite. To "
                "drop everything use `kerasdrop.layers.Dropout`. Received: "
                f"rate={rate!r}"
            )
        return number

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        return functional.gaussian_dropout(inputs, draw, rate)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs

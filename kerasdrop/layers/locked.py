"""Dropout with one mask for all steps of a sequence."""

import keras

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticLayer


@keras.saving.register_keras_serializable("kerasdrop")
class LockedDropout(StochasticLayer):
    """Drops the same units at every step of a sequence.

    Use it for the inputs and outputs of recurrent layers. A new mask at each
    step would be noise that the recurrence accumulates; here a whole sequence
    goes through one thinned network. This is also called variational dropout, a
    name that other methods share.

    Training: `y[b, t] = x[b, t] * keep[b] / (1 - rate)`, where each entry of
    `keep[b]`, of the shape of a step, is 1 with probability `1 - rate` and
    else 0.
    Inference: `y = x`.

    On sequences of vectors it does what `SpatialDropout1D` does, and draws
    the same masks. In a sequence of images it drops single units, where
    `SpatialDropout3D` drops a channel. Each call counts as one sequence: if a
    sequence is cut into several calls (`stateful=True`), each part has its own
    mask.

    Args:
        rate: Float in [0, 1], the probability of dropping a unit; or a
            schedule, as in `kerasdrop.layers.Dropout`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, steps, ...)`, of three or more
            axes.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers or have fewer than three axes.

    Example:

    >>> inputs = keras.Input((10, 8))
    >>> sequences = LockedDropout(0.4)(inputs)
    >>> sequences = keras.layers.LSTM(64, return_sequences=True)(sequences)
    >>> outputs = LockedDropout(0.4)(sequences)

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287),
    section 4; [Merity et al., 2018](https://arxiv.org/abs/1708.02182),
    section 4.2, "variational dropout".
    """

    _is_rescaled = True
    _is_multiplicative = True

    def __init__(
        self,
        rate: Rate,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(min_ndim=3)
        self._start(rate, seed, stochastic_inference)

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        noise_shape = functional.over_steps(inputs)
        return functional.dropout(inputs, draw, rate, noise_shape)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs

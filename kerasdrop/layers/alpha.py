"""Dropout for self-normalizing networks: of units, and of whole channels."""

import keras

from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers.base import NoiseShapeLayer
from kerasdrop.layers.base import StochasticLayer


@keras.saving.register_keras_serializable("kerasdrop")
class AlphaDropout(NoiseShapeLayer, keras.layers.AlphaDropout):
    """Drops units to the lowest value of SELU; keeps mean 0 and variance 1.

    A drop-in for `keras.layers.AlphaDropout`, with a live rate. Use it in
    networks with `selu` activations and `lecun_normal` kernels, which dropout
    to 0 would push off their fixed point. PyTorch calls it
    `torch.nn.AlphaDropout`.

    Training: `y = a * (x if kept else limit) + b`, with
    `limit = -1.0507 * 1.6733 = -1.7581`,
    `a = ((1 - rate) * (1 + rate * limit**2)) ** -0.5` and
    `b = -a * limit * rate`. If the inputs have mean 0 and variance 1, so have
    the outputs. At rate 1 the outputs are all 0, their mean.
    Inference: `y = x`.

    Args:
        rate: Float in [0, 1], the probability of dropping a unit; or a
            schedule, as in `kerasdrop.layers.Dropout`. Small rates, such as
            .05 or .1, are usual here.
        noise_shape: As in `kerasdrop.layers.Dropout`.
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

    >>> x = keras.layers.Dense(8, "selu", kernel_initializer="lecun_normal")(x)
    >>> x = AlphaDropout(0.1)(x, training=True)

    Reference: [Klambauer et al., 2017](https://arxiv.org/abs/1706.02515),
    section 2, "New Dropout Technique".
    """

    _is_by_unit = True

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        return functional.alpha_dropout(inputs, draw, rate, self.noise_shape)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs


@keras.saving.register_keras_serializable("kerasdrop")
class FeatureAlphaDropout(StochasticLayer):
    """`AlphaDropout` of whole channels, for convolutions with `selu`.

    PyTorch calls it `torch.nn.FeatureAlphaDropout`. The formula is that of
    `AlphaDropout`, with one decision for each row and channel.

    Args:
        rate: Float in [0, 1], the probability of dropping a channel; or a
            schedule, as in `kerasdrop.layers.Dropout`.
        data_format: `"channels_last"` or `"channels_first"`; None is
            `keras.config.image_data_format()`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, ..., channels)`, or with
            `"channels_first"` `(batch, channels, ...)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers or have no channels.

    Example:

    >>> layer = FeatureAlphaDropout(0.1)
    >>> layer(np.ones((2, 16, 3)), training=True).shape == (2, 16, 3)
    True

    Reference: [Klambauer et al., 2017](https://arxiv.org/abs/1706.02515),
    section 2; [Tompson et al., 2015](https://arxiv.org/abs/1411.4280),
    section 3.2, for the dropping of channels.
    """

    def __init__(
        self,
        rate: Rate,
        data_format: str | None = None,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.data_format = _checks.data_format(data_format)
        self._start(rate, seed, stochastic_inference)

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        noise_shape = functional.by_channel(inputs, self.data_format)
        return functional.alpha_dropout(inputs, draw, rate, noise_shape)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": self.data_format}

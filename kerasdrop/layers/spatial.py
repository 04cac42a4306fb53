"""Dropout of whole channels of sequences, images and volumes."""

import keras

from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticLayer


class _SpatialDropout(StochasticLayer):
    """Abstract: dropout with one decision for each row and channel."""

    _is_rescaled = True
    _is_multiplicative = True

    def _start_spatial(
        self,
        rate: Rate,
        data_format: str | None,
        seed: Seed,
        stochastic_inference: bool,
    ) -> None:
        self.data_format = _checks.data_format(data_format)
        self._start(rate, seed, stochastic_inference)

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        noise_shape = functional.by_channel(inputs, self.data_format)
        return functional.dropout(inputs, draw, rate, noise_shape)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": self.data_format}


@keras.saving.register_keras_serializable("kerasdrop")
class SpatialDropout1D(_SpatialDropout, keras.layers.SpatialDropout1D):
    """Drops whole channels of sequences in training.

    A drop-in for `keras.layers.SpatialDropout1D`, with a live rate. Use it for
    features that are similar from one step to the next, such as those behind a
    convolution, where a single dropped unit can be inferred from its
    neighbours. PyTorch calls it `torch.nn.Dropout1d`.

    Training: `y = x * keep / (1 - rate)`, where `keep`, for each row and
    channel, is 1 with probability `1 - rate` and else 0.
    Inference: `y = x`.

    Args:
        rate: Float in [0, 1], the probability of dropping a channel; or a
            schedule, as in `kerasdrop.layers.Dropout`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        name, dtype: As in `keras.layers.Layer`.
        data_format: `"channels_last"` (as the stock layer, and the default)
            or `"channels_first"`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`.

    Call arguments:
        inputs: Floating-point tensor `(batch, steps, channels)`, or with
            `"channels_first"` `(batch, channels, steps)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers or of another rank.

    Example:

    >>> layer = SpatialDropout1D(0.2)
    >>> inputs = np.ones((2, 16, 3))
    >>> layer(inputs, training=True).shape == inputs.shape
    True

    Reference: [Tompson et al., 2015](https://arxiv.org/abs/1411.4280),
    section 3.2.
    """

    def __init__(
        self,
        rate: Rate,
        seed: Seed = None,
        name: str | None = None,
        dtype: str | None = None,
        data_format: str = "channels_last",
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        # The stock `__init__` would make a generator and lock the state.
        keras.layers.Layer.__init__(self, name=name, dtype=dtype, **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self._start_spatial(rate, data_format, seed, stochastic_inference)


@keras.saving.register_keras_serializable("kerasdrop")
class SpatialDropout2D(_SpatialDropout, keras.layers.SpatialDropout2D):
    """Drops whole channels of images in training.

    A drop-in for `keras.layers.SpatialDropout2D`, with a live rate. Use it for
    pixels that resemble their neighbours, such as those behind a convolution.
    PyTorch calls it `torch.nn.Dropout2d`.

    Args:
        rate, seed, name, dtype, stochastic_inference: As in
            `SpatialDropout1D`; the order is that of the stock layer.
        **kwargs: As in `keras.layers.Layer`.
        data_format: `"channels_last"` or `"channels_first"`; None is
            `keras.config.image_data_format()`.

    Call arguments:
        inputs: Floating-point tensor `(batch, height, width, channels)`, or
            with `"channels_first"` `(batch, channels, height, width)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: As in `SpatialDropout1D`.

    Example:

    >>> layer = SpatialDropout2D(0.2)
    >>> inputs = np.ones((2, 16, 16, 3))
    >>> layer(inputs, training=True).shape == inputs.shape
    True

    Reference: [Tompson et al., 2015](https://arxiv.org/abs/1411.4280),
    section 3.2.
    """

    def __init__(
        self,
        rate: Rate,
        data_format: str | None = None,
        seed: Seed = None,
        name: str | None = None,
        dtype: str | None = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.Layer.__init__(self, name=name, dtype=dtype, **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self._start_spatial(rate, data_format, seed, stochastic_inference)


@keras.saving.register_keras_serializable("kerasdrop")
class SpatialDropout3D(_SpatialDropout, keras.layers.SpatialDropout3D):
    """Drops whole channels of volumes or videos in training.

    A drop-in for `keras.layers.SpatialDropout3D`, with a live rate. PyTorch
    calls it `torch.nn.Dropout3d`.

    Args:
        rate, seed, name, dtype, stochastic_inference: As in
            `SpatialDropout1D`; the order is that of the stock layer.
        **kwargs: As in `keras.layers.Layer`.
        data_format: `"channels_last"` or `"channels_first"`; None is
            `keras.config.image_data_format()`.

    Call arguments:
        inputs: Floating-point tensor `(batch, depth, height, width,
            channels)`, or with `"channels_first"` `(batch, channels, depth,
            height, width)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: As in `SpatialDropout1D`.

    Example:

    >>> layer = SpatialDropout3D(0.2)
    >>> inputs = np.ones((2, 8, 8, 8, 3))
    >>> layer(inputs, training=True).shape == inputs.shape
    True

    Reference: [Tompson et al., 2015](https://arxiv.org/abs/1411.4280),
    section 3.2.
    """

    def __init__(
        self,
        rate: Rate,
        data_format: str | None = None,
        seed: Seed = None,
        name: str | None = None,
        dtype: str | None = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.Layer.__init__(self, name=name, dtype=dtype, **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=5)
        self._start_spatial(rate, data_format, seed, stochastic_inference)

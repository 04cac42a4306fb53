"""Dropout of blocks of sequences, images and volumes."""

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


class _DropBlock(StochasticLayer):
    """Abstract: dropout of blocks of `_rank` dimensions."""

    _is_multiplicative = True

    def __init__(
        self,
        rate: Rate,
        block_size: int | tuple[int, ...],
        data_format: str | None = None,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=self._rank + 2)
        self.block_size = _checks.sizes(block_size, self._rank, "block_size")
        self.data_format = _checks.data_format(data_format)
        self._start(rate, seed, stochastic_inference)

    def _check_inputs(self, inputs: Tensor) -> None:
        super()._check_inputs(inputs)
        first_axis = 2 if self.data_format == "channels_first" else 1
        sizes = tuple(inputs.shape)[first_axis : first_axis + self._rank]
        if any(
            isinstance(size, int) and size < block
            for size, block in zip(sizes, self.block_size)
        ):
            raise ValueError(
                f"{self._label()}: `block_size` must not exceed the inputs, "
                "or no block fits. Make it smaller, or use "
                f"`SpatialDropout{self._rank}D`, which drops whole channels. "
                f"Received: block_size={self.block_size} for a map of {sizes} "
                f"({self.data_format}, inputs of shape {tuple(inputs.shape)})"
            )

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        return functional.drop_block(
            inputs, draw, rate, self.block_size, self.data_format
        )

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "block_size": self.block_size,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable("kerasdrop")
class DropBlock1D(_DropBlock):
    """Drops blocks of successive steps of each channel in training.

    This is `DropBlock2D` for sequences.

    Args:
        rate: Float in [0, 1], about the probability that a unit is dropped; or
            a schedule, as in `kerasdrop.layers.Dropout`.
        block_size: Integer, or a tuple of one integer.
        data_format: `"channels_last"` or `"channels_first"`; None is
            `keras.config.image_data_format()`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, steps, channels)`, or with
            `"channels_first"` `(batch, channels, steps)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers, of another rank or smaller
            than a block.

    Example:

    >>> layer = DropBlock1D(0.1, block_size=3)
    >>> inputs = np.ones((2, 16, 3))
    >>> layer(inputs, training=True).shape == inputs.shape
    True

    Reference: [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890),
    algorithm 1, in one dimension.
    """

    _rank = 1


@keras.saving.register_keras_serializable("kerasdrop")
class DropBlock2D(_DropBlock):
    """Drops blocks of neighbouring pixels of each channel in training.

    It is for convolutional networks, in which a single dropped pixel can be
    inferred from its neighbours, but a dropped block cannot.

    Training: in each channel of a row, a block begins at each place where it
    fits with the probability
    `gamma = rate / (b1 * b2) * h * w / ((h - b1 + 1) * (w - b2 + 1))`
    for maps of height `h` and width `w` and blocks of `b1` by `b2`. Units in a
    block become 0, and the rest of the row is divided by the share of it that
    is kept (algorithm 1 of the paper does so for the batch). A row of which
    nothing is kept is all 0.
    Inference: `y = x`.

    **The share of dropped units is below `rate`**, because blocks overlap; the
    same holds for the paper and its figures. At rate 0.1, with blocks of 7 and
    maps of 14 by 14, it is 0.093, and at rate 0.5 it is 0.36; it is smaller
    near the border and larger in the middle. It equals `rate` for blocks of 1,
    as in `Dropout`, and for blocks as large as the map, as in
    `SpatialDropout2D`.

    In the paper the rate rises from 0 during training, to 0.1 on ImageNet:
    `DropBlock2D(Linear(0.0, 0.1, num_steps=...), 7)`.

    Args:
        rate: Float in [0, 1], about the probability that a unit is dropped; or
            a schedule, as in `kerasdrop.layers.Dropout`.
        block_size: Integer, or a tuple with an integer for each dimension. The
            paper uses 7 for maps of 14 and more.
        data_format: `"channels_last"` or `"channels_first"`; None is
            `keras.config.image_data_format()`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, height, width, channels)`, or
            with `"channels_first"` `(batch, channels, height, width)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers, of another rank or smaller
            than a block.

    Example:

    >>> layer = DropBlock2D(0.1, block_size=3)
    >>> inputs = np.ones((2, 16, 16, 3))
    >>> layer(inputs, training=True).shape == inputs.shape
    True

    Reference: [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890),
    algorithm 1 and equation 1.
    """

    _rank = 2


@keras.saving.register_keras_serializable("kerasdrop")
class DropBlock3D(_DropBlock):
    """Drops blocks of neighbouring voxels of each channel in training.

    This is `DropBlock2D` for volumes and videos.

    Args:
        rate: Float in [0, 1], about the probability that a unit is dropped; or
            a schedule, as in `kerasdrop.layers.Dropout`.
        block_size: Integer, or a tuple of three integers.
        data_format: `"channels_last"` or `"channels_first"`; None is
            `keras.config.image_data_format()`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, depth, height, width,
            channels)`, or with `"channels_first"` `(batch, channels, depth,
            height, width)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers, of another rank or smaller
            than a block.

    Example:

    >>> layer = DropBlock3D(0.1, block_size=3)
    >>> inputs = np.ones((2, 8, 8, 8, 3))
    >>> layer(inputs, training=True).shape == inputs.shape
    True

    Reference: [Ghiasi et al., 2018](https://arxiv.org/abs/1810.12890),
    algorithm 1, in three dimensions.
    """

    _rank = 3

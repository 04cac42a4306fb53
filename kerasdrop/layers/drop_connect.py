"""Dropout of single weights."""

import keras
from keras import ops

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticWrapper


@keras.saving.register_keras_serializable("kerasdrop")
class DropConnect(StochasticWrapper):
    """Drops single weights of a dense layer, different ones for each row.

    `Dropout` drops an input for all units of a layer at once; here each unit
    loses other inputs. Biases are kept.

    Training: `y = activation(x @ (kernel * keep / (1 - rate)) + bias)`, where
    each entry of `keep` is 1 with probability `1 - rate` and else 0, drawn
    anew for each row and call; the steps of a sequence share those of the row.
    Inference: `y = layer(x)`, the network of the mean weights.

    The paper draws for each row as well, drops biases too, does not scale in
    training, and at inference averages the activation over a normal
    distribution; Monte Carlo prediction averages over the masks themselves.
    Many layers of this name, and weight drop for recurrent layers, draw one
    mask for a batch: then the samples of a row depend on its neighbours.

    It needs a kernel for each row of a batch, `batch * features * units`
    numbers, where `Dropout` needs `batch * features`; 64 rows with a kernel of
    1,024 x 1,024 take 256 MiB, and as much for the gradient. It is therefore
    meant for small layers, such as the last ones, and for `Dense` only: in a
    convolution or a recurrent layer each row would be a separate call. What
    EfficientNet calls "drop connect" is `DropPath`.

    Args:
        layer: A `keras.layers.Dense`.
        rate: Float in [0, 1], the probability of dropping a weight; or a
            schedule, as in `kerasdrop.layers.Dropout`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, ..., features)`.
        training: Boolean; whether to draw.

    Output shape: `(batch, ..., units)`. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if `layer` is of
            another class, if the schedule leaves [0, 1], if the inputs are
            integers; on drawing, if the layer is quantized.

    Example:

    >>> layer = DropConnect(keras.layers.Dense(64, "relu"), 0.5)
    >>> layer(x, training=True).shape == (len(x), 64)
    True

    Reference: [Wan et al., 2013](
    https://proceedings.mlr.press/v28/wan13.html), section 3.
    """

    _is_layer_inside = True
    _has_kernel_of_rows = True

    def __init__(
        self,
        layer: keras.layers.Layer,
        rate: Rate,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.Wrapper.__init__(self, layer, **kwargs)
        if type(layer) is not keras.layers.Dense:
            raise ValueError(
                f"{self._label()}: argument `layer` must be a "
                "`keras.layers.Dense`, not a subclass: each row of a batch has "
                "its own kernel, and the wrapper computes the outputs, not the "
                "layer. Before other layers, put `Dropout`. Received: "
                f"layer='{layer.name}' (of type {type(layer).__name__})"
            )
        self._start(rate, seed, stochastic_inference)

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        layer = self.layer
        if layer.quantization_mode is not None:
            raise ValueError(
                f"{self._label()}: weights of a quantized layer cannot be "
                "dropped. Quantize after `strip_dropout`. Received: layer "
                f"'{layer.name}', quantized as '{layer.quantization_mode}'"
            )
        inputs = ops.cast(inputs, self.compute_dtype)
        kernel = ops.cast(layer.kernel, self.compute_dtype)
        outputs = functional.drop_connect(inputs, kernel, draw, rate)
        if layer.bias is not None:
            outputs = outputs + ops.cast(layer.bias, self.compute_dtype)
        return layer.activation(outputs)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return self._outputs(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.compute_output_shape(input_shape)

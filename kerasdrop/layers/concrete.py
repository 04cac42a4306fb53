"""Dropout whose rate is learned."""

import math

import keras
import numpy as np
from keras import ops

from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticWrapper
from kerasdrop.layers.state import value_of
from kerasdrop.masks import scopes

# The highest rate below 1 in float32.
_HIGHEST = 1.0 - 2.0**-24


@keras.saving.register_keras_serializable("kerasdrop")
class ConcreteDropout(StochasticWrapper):
    """Drops the inputs of a layer at a rate that is learned with its weights.

    The rate is a trainable weight, `rate_logit`, the logarithm of
    `rate / (1 - rate)`. What is learned is how sure a layer may be of its
    weights: with more data the rate falls, and with it the epistemic
    uncertainty of a Monte Carlo prediction.

    Drawn, in training and in Monte Carlo passes:
    `y = layer(x * (1 - z) / (1 - rate))`, with z between 0 and 1 and mostly
    near one of them, above 1/2 with probability `rate`. At inference:
    `y = layer(x)`. The mean of `(1 - z) / (1 - rate)` is nearly 1: up to a
    rate of .6, it is to within .2 % at the temperature .1, to within 7 % at
    the temperature 2/3.

    To the loss of a model it adds, wherever Keras adds those of
    `kernel_regularizer`, with H the entropy of the rate:

    `weight_regularizer * sum(kernel ** 2) / (1 - rate)`
    `- dropout_regularizer * features * H`,
    `H = -rate * log(rate) - (1 - rate) * log(1 - rate)`.

    For a model of N rows of training data, whose prior has the length scale l,
    this is the paper's objective if

    - the loss is the squared error of an output whose noise has the precision
      tau, the inverse of its variance: `weight_regularizer =
      l**2 / (tau * N)`, `dropout_regularizer = 2 / (tau * N)`. Of D outputs
      Keras takes the mean: divide both by D;
    - the loss is `exp(-s) * (y - mean)**2 + s`, of a model that also predicts
      s, the logarithm of the variance: the same with tau = 1;
    - the loss is a cross-entropy, or another negative log-likelihood:
      half of both, with tau = 1.

    The rates depend on these numbers, and on N in particular: do not leave
    them as they are. The layer needs no `kernel_regularizer` beside. If it is
    quantized, nothing is added, as Keras adds nothing for a regularizer then.

    The rate cannot be set. `layer.rate`, `kerasdrop.get_rates` and
    `DropoutRateLogger` read it. `strip_dropout` leaves the layer inside.

    Args:
        layer: `Dense`, `Conv1D`, `Conv2D` or `Conv3D` of Keras.
        rate: Float in (0, 1), with which the learned rate begins.
        weight_regularizer: Float of at least 0, see above.
        dropout_regularizer: Float of at least 0, see above.
        temperature: Float above 0. The lower it is, the nearer z is to 0
            and 1, and the noisier the gradient of the rate.
        granularity: `"unit"` drops each unit separately; `"channel"` drops a
            channel of a row at all places, or at all steps of a sequence, like
            SpatialConcreteDropout in the authors' code, which has a
            temperature of 2/3.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor, as the layer takes it.
        training: Boolean; whether to draw.

    Output shape: That of the layer. A padding mask is passed through if the
        layer does so.

    Raises:
        ValueError: If an argument is out of its range, if `layer` is of
            another class, if the inputs are integers; on setting `rate`.

    Example:

    >>> num_rows = len(x)
    >>> layer = ConcreteDropout(
    ...     keras.layers.Dense(64, "relu"),
    ...     weight_regularizer=1e-4 / num_rows,
    ...     dropout_regularizer=2.0 / num_rows,
    ... )
    >>> layer(x).shape == (num_rows, 64)
    True

    Reference: [Gal, Hron & Kendall, 2017](https://arxiv.org/abs/1705.07832),
    section 3.
    """

    _is_layer_inside = True
    _wraps = (
        keras.layers.Dense,
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
    )

    def __init__(
        self,
        layer: keras.layers.Layer,
        rate: Rate = 0.1,
        weight_regularizer: float = 1e-6,
        dropout_regularizer: float = 1e-5,
        temperature: float = 0.1,
        granularity: str = "unit",
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.Wrapper.__init__(self, layer, **kwargs)
        if not isinstance(layer, self._wraps):
            raise Refusal(
                "argument `layer` must be a `Dense`, `Conv1D`, "
                "`Conv2D` or `Conv3D` layer of Keras, because its kernel is "
                "needed to learn the rate. Before any other layer, put one "
                "with its own rate, e.g. `Dropout`. Received: "
                f"layer='{layer.name}' (of type {type(layer).__name__})"
            )
        self._first_rate = _checks.inner_rate(rate)
        self.weight_regularizer, self.dropout_regularizer = (
            _checks.number(value, name, minimum=0.0)
            for value, name in (
                (weight_regularizer, "weight_regularizer"),
                (dropout_regularizer, "dropout_regularizer"),
            )
        )
        self.temperature = _checks.positive_number(temperature, "temperature")
        self.granularity = _checks.choice(
            granularity, ("unit", "channel"), "granularity"
        )
        self._start_drawing(None, seed, stochastic_inference)
        self.supports_masking = layer.supports_masking

    def build(self, input_shape: Given = None) -> None:
        super().build(input_shape)
        self._features = input_shape[
            1 if self.data_format == "channels_first" else -1
        ]
        first = self._first_rate
        self.rate_logit = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(
                math.log(first) - math.log1p(-first)
            ),
            dtype="float32",  # a float16 policy would round it too much
            autocast=False,
            regularizer=_Penalty(self),
            name="rate_logit",
        )

    @property
    def data_format(self) -> str:
        """The data format of the inner layer, or `"channels_last"`."""
        return getattr(self.layer, "data_format", "channels_last")

    @property
    def rate(self) -> float:
        """The probability of dropping, as it has been learned: a float.

        Raises:
            ValueError: On setting it.
            RuntimeError: On JAX, while an epoch runs and the model's state is
                not in its variables; the message says what to do.
        """
        if not self.built:
            return self._first_rate
        logit = value_of(self.rate_logit, self._label())
        rate = 1.0 / (1.0 + math.exp(-float(ops.convert_to_numpy(logit))))
        # 0.3 rather than 0.30000001.
        return float(str(np.float32(rate)))

    @rate.setter
    def rate(self, value: Given) -> None:
        self.checked_rate(value)

    def checked_rate(self, rate: float) -> float:
        """Raises an error, because the rate cannot be set."""
        raise ValueError(
            f"{self._label()}: the rate is learned and cannot be set. To set "
            "the rates of other layers, name them: `layers=[...]`. For a rate "
            f"that can be set, put `Dropout({self._first_rate:g})` before the "
            f"layer '{self.layer.name}'. Received: rate={rate!r}"
        )

    def _rate_tensor(self, step: Tensor | None = None) -> Tensor:
        given = scopes.given_rate(self)
        if given is not None:
            return given
        return ops.sigmoid(ops.convert_to_tensor(self.rate_logit))

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        noise_shape = None
        if self.granularity == "channel":
            noise_shape = functional.by_channel(inputs, self.data_format)
        # This uses the logit, because the rate may be rounded to 0 or 1.
        logit = ops.convert_to_tensor(self.rate_logit)
        given = scopes.given_rate(self)
        if given is not None:
            # At a rate of 1, whose logit is infinite, nothing is kept.
            below = ops.minimum(given, _HIGHEST)
            logit = ops.log(below) - ops.log1p(-below)
            logit = ops.where(given > 0.0, logit, functional.LOWEST_LOGIT)
        outputs = functional.concrete_dropout(
            inputs, draw, logit, self.temperature, noise_shape
        )
        if given is not None:
            kept = masks.unless_all_is_kept(draw, 1.0 - given, 1.0)
            # An illegal rate is NaN, which must show.
            some = ops.where(kept <= 0.0, 0.0, kept * 0.0 + 1.0)
            outputs = outputs * ops.cast(some, outputs.dtype)
        return self._outputs(outputs)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return self._outputs(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "rate": self._first_rate,
            "weight_regularizer": self.weight_regularizer,
            "dropout_regularizer": self.dropout_regularizer,
            "temperature": self.temperature,
            "granularity": self.granularity,
        }


class _Penalty(keras.regularizers.Regularizer):
    """The contribution of a layer's rate and kernel to the loss of a model.

    It is a class because Keras 3.13 does not accept a function.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        self._layer = layer

    def __call__(self, logit: Tensor) -> Tensor:
        layer = self._layer
        if layer.layer.quantization_mode is not None:
            return ops.zeros((), "float32")
        rate, kept = ops.sigmoid(logit), ops.sigmoid(-logit)
        kernel = ops.cast(layer.layer.kernel, "float32")
        # This form of the logarithms is finite even if one of the two is 0.
        entropy = rate * ops.softplus(-logit) + kept * ops.softplus(logit)
        return (
            layer.weight_regularizer * ops.sum(ops.square(kernel)) / kept
            - layer.dropout_regularizer * layer._features * entropy
        )

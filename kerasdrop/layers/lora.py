"""Dropout of the inputs of LoRA adapters."""

import functools
import inspect

import keras
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticWrapper


@keras.saving.register_keras_serializable("kerasdrop")
class LoRAInputDropout(StochasticWrapper):
    """Drops the inputs of a LoRA adapter, but not those of its layer.

    Training, with `s = lora_alpha / lora_rank` and `drop` as in `Dropout`:
    `y = activation(x W + b + s * drop(x) A B)`, computed as
    `layer(x) + s * (drop(x) - x) A B` before the activation, so that the
    weights of the layer may be quantized (int8, int4). This is `lora_dropout`
    of PEFT. Keras has no equivalent, because it adds `s A B` to the kernel.
    Inference: `y = layer(x)`, bit for bit.

    Around an `Embedding`, ids are dropped: for a dropped id, the adapter adds
    nothing to the vector, wherever the id occurs in the row. (PEFT drops
    nothing in this case.)

    When Keras saves a layer in `.keras` or `.weights.h5` format, it merges the
    adapter: in the loaded layer A and B are 0, predictions are the same, and
    nothing is left to be trained or dropped. A call that would draw is then an
    error; a compiled call, which cannot raise an error, returns NaN. To keep
    the adapters separate, use `save_lora_weights` and `load_lora_weights` of
    KerasHub, or copy A and B yourself.

    A Monte Carlo prediction in which only the adapters draw tells how
    uncertain the fine-tuning is: `mc_predict(model, x, layers=lambda layer:
    isinstance(layer, LoRAInputDropout))`.

    Args:
        layer: A `keras.layers.Dense`, `EinsumDense` or `Embedding`, made with
            `lora_rank`, or with `enable_lora` called before this layer first
            draws.
        rate: Float in [0, 1], the probability of dropping an input; or a
            schedule, as in `kerasdrop.layers.Dropout`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, and `dtype`, whose
            default is the dtype in which `layer` computes.

    Call arguments:
        inputs: The inputs of `layer`.
        training: Boolean; whether to draw.

    Output shape: That of `layer`.

    Raises:
        ValueError: If an argument is out of its range; if `layer` is of
            another class, computes in another dtype or has an
            `activity_regularizer`; if the schedule leaves [0, 1]. When it
            draws: if LoRA is not enabled or was merged, or if the layer is
            quantized in another mode than int8 or int4.

    Example:

    >>> dense = keras.layers.Dense(8, "relu", lora_rank=2)
    >>> layer = LoRAInputDropout(dense, 0.1)
    >>> layer(x, training=True).shape == (len(x), 8)
    True

    Reference: [Hu et al., 2021](https://arxiv.org/abs/2106.09685), section
    4.1, for adapters. For dropout in predictions: [BayesLoRA, 2025](
    https://arxiv.org/abs/2506.22809).
    """

    _is_layer_inside = True
    _takes = (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Embedding,
    )

    def __init__(
        self,
        layer: keras.layers.Layer,
        rate: Rate,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        if kwargs.get("dtype") is None and hasattr(layer, "compute_dtype"):
            # The policy must stay mixed, or Keras would not cast weights.
            mixed = layer.compute_dtype != layer.variable_dtype
            prefix = "mixed_" if mixed else ""
            kwargs["dtype"] = prefix + layer.compute_dtype
        keras.layers.Wrapper.__init__(self, layer, **kwargs)
        self._check_layer()
        self._is_embedding = type(layer) is keras.layers.Embedding
        self._start(rate, seed, stochastic_inference)
        if self._is_embedding:  # ids must not be rounded
            self.autocast = False

    def _check_layer(self) -> None:
        layer = self.layer
        received = f"layer='{layer.name}' (of type {type(layer).__name__})"
        if type(layer) not in self._takes:
            raise ValueError(
                f"{self._label()}: argument `layer` must be a "
                "`keras.layers.Dense`, `EinsumDense` or `Embedding`, not a "
                "subclass: the wrapper computes what the adapter adds, not the "
                f"layer. Received: {received}"
            )
        if layer.compute_dtype != self.compute_dtype:
            raise ValueError(
                f"{self._label()}: it must compute in the dtype of the layer "
                f"in it. Leave `dtype` out. Received: {self.compute_dtype}, "
                f"around {received} in {layer.compute_dtype}"
            )
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"{self._label()}: the layer in it must have no "
                "`activity_regularizer`, which would see the outputs without "
                "dropout. Put `keras.layers.ActivityRegularization` behind it. "
                f"Received: {received}"
            )

    @blame_itself
    def _check_inputs(self, inputs: Tensor) -> None:
        if self._is_embedding:
            _checks.integer_inputs(inputs)
        else:
            _checks.float_inputs(inputs)

    def build(self, input_shape: Shape) -> None:
        alpha = self.layer.lora_alpha
        super().build(input_shape)
        if alpha is not None:  # `build` of a `Dense` sets it to the rank
            self.layer.lora_alpha = alpha

    def _adapter(self) -> tuple[Tensor, Tensor]:
        """A and B, in the dtype of the computation."""
        layer = self.layer
        if not layer.lora_enabled:
            raise ValueError(
                f"{self._label()}: the layer in it has no adapter, so nothing "
                "can be dropped. Make it with `lora_rank=4`, or call its "
                f"`enable_lora(rank=4)`. Received: layer '{layer.name}'"
            )
        if layer.quantization_mode not in (None, "int8", "int4"):
            raise ValueError(
                f"{self._label()}: adapters of a layer that is quantized by "
                f"'{layer.quantization_mode}' are not supported, because Keras "
                "adds them in another way. Use int8 or int4. Received: layer "
                f"'{layer.name}'"
            )
        if self._is_embedding:
            return layer.lora_embeddings_a, layer.lora_embeddings_b
        return layer.lora_kernel_a, layer.lora_kernel_b

    def _check_drawing(self) -> None:
        self._check_unmerged(
            any(ops.convert_to_numpy(one).any() for one in self._adapter())
        )

    def _scale(self, a: Tensor, b: Tensor) -> Tensor:
        """`lora_alpha / lora_rank`; an error or NaN for a merged adapter.

        Keras leaves A and B at 0 when it merges an adapter. In a new adapter
        only one of them is 0, usually B. If both were 0, so would be their
        gradients, and training could not begin.
        """
        scale = self.layer.lora_alpha / self.layer.lora_rank
        is_there = ops.logical_or(
            ops.any(ops.not_equal(a, 0.0)), ops.any(ops.not_equal(b, 0.0))
        )
        known = _backend.at_hand(is_there)
        if known is None and _backend.TRACES and not _backend.is_tracing():
            known = (ops.convert_to_numpy(is_there),)
        if known is None:
            scale = ops.where(is_there, scale, float("nan"))
        else:
            self._check_unmerged(bool(known[0]))
        return ops.cast(scale, self.compute_dtype)

    def _check_unmerged(self, is_there: bool) -> None:
        if not is_there:
            raise ValueError(
                f"{self._label()}: the adapter of layer '{self.layer.name}' "
                "is 0, A and B: Keras merges adapters into the weights when it "
                "saves, so a file has no adapter left to train or to drop. "
                "Save adapters with `save_lora_weights` of a KerasHub "
                "backbone, and load them with `load_lora_weights`; or store A "
                "and B (`lora_kernel_a`, `lora_kernel_b`) yourself, and assign "
                "them. Predictions without dropout are right"
            )

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        a, b = self._adapter()
        scale = self._scale(*map(ops.convert_to_tensor, (a, b)))
        a, b = (ops.cast(one, self.compute_dtype) for one in (a, b))
        if self._is_embedding:
            ids = ops.cast(inputs, "int32")
            added = ops.matmul(ops.take(a, ids, axis=0), b)
            left = functional.embedding_dropout(added, ids, draw, rate)
            return self._outputs(inputs) + scale * (left - added)
        inputs = ops.cast(inputs, self.compute_dtype)
        change = functional.dropout(inputs, draw, rate) - inputs
        if type(self.layer) is keras.layers.Dense:
            change = ops.matmul(ops.matmul(change, a), b)
        else:
            change = _einsum(self.layer.equation, change, a, b)
        change = scale * change
        activation = self.layer.activation
        if activation in (None, keras.activations.linear):
            return self._outputs(inputs) + change
        linear = _without_activation(self.layer, inputs)
        return activation(ops.cast(linear, self.compute_dtype) + change)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return self._outputs(inputs)

    def compute_mask(
        self, inputs: Tensor, previous_mask: Tensor | None = None
    ) -> Tensor | None:
        if self._is_embedding:
            return self.layer.compute_mask(inputs, previous_mask)
        return previous_mask if self.layer.supports_masking else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(self.layer.compute_output_shape(input_shape))

    def _at_inference(self, copy: Function) -> keras.layers.Layer:
        return copy(self.layer)

    def get_config(self) -> Config:
        # Keras loses it when it builds a layer from its configuration.
        return {**super().get_config(), "lora_alpha": self.layer.lora_alpha}

    @classmethod
    def from_config(
        cls, config: Config, *args: Given, **kwargs: Given
    ) -> Given:
        config = dict(config)
        alpha = config.pop("lora_alpha", None)
        layer = super().from_config(config, *args, **kwargs)
        layer.layer.lora_alpha = alpha
        return layer


def _einsum(equation: str, inputs: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """An einsum of inputs and the kernel `a @ b`, computed only if necessary.

    The last letter of the kernel, of size `units`, becomes the rank in `a`.
    """
    terms, outputs = equation.replace(" ", "").split("->")
    of_inputs, kernel = terms.split(",")
    last = kernel[-1]
    if last in of_inputs or last not in outputs:
        return ops.einsum(equation, inputs, ops.matmul(a, b))
    rank = next(one for one in "zyxwvutsrqponm" if one not in equation)
    of_rank = outputs.replace(last, rank)
    inner = ops.einsum(f"{of_inputs},{kernel[:-1]}{rank}->{of_rank}", inputs, a)
    return ops.einsum(f"{of_rank},{rank}{last}->{outputs}", inner, b)


class _Linear:
    """Stands for a layer without its activation during one call.

    The layer itself does not change, so no other thread is affected.
    """

    activation = None

    def __init__(self, layer: keras.layers.Layer) -> None:
        self._layer = layer

    @property
    def kernel(self) -> Tensor:
        # Keras does this from 3.15 on. With its adapter, a kernel may have
        # another dtype than the inputs, which PyTorch's einsum refuses.
        return ops.cast(self._layer.kernel, self._layer.compute_dtype)

    def __getattr__(self, name: str) -> Given:
        # Methods come from the class, because in a Monte Carlo pass the layer
        # itself has another `call`, which would apply the activation.
        value = getattr(type(self._layer), name, None)
        if inspect.isfunction(value):
            # `torch.compile` cannot trace `types.MethodType`.
            return functools.partial(value, self)
        return getattr(self._layer, name)


def _without_activation(layer: keras.layers.Layer, inputs: Tensor) -> Tensor:
    """The outputs of a layer before its activation.

    This bypasses `layer(...)`, so that the dtypes stay those of the wrapper.
    """
    linear: Given = _Linear(layer)
    if layer.quantization_mode is None:
        return linear.call(inputs)
    return linear.quantized_call(inputs)

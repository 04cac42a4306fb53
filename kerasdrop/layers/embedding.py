"""Dropout of words."""

import inspect

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticWrapper


@keras.saving.register_keras_serializable("kerasdrop")
class EmbeddingDropout(StochasticWrapper):
    """Drops words: all occurrences of an id in a row, or none of them.

    From "the dog and the cat", with ids for words, it may leave "- dog and -
    cat" or "the - and the cat", but never "- dog and the cat". A model
    therefore cannot find a dropped word elsewhere in the row.

    Training: `y = layer(ids) * keep / (1 - rate)`, with one entry of `keep`
    for each row and id, which is 1 with probability `1 - rate` and 0
    otherwise, and is drawn anew in each call. Inference: `y = layer(ids)`.

    This equals a mask over the rows of the embedding matrix, as in the paper,
    with another mask for each sequence. No such mask is stored: a hash of row
    and id decides whether an id is dropped, and the cost does not depend on
    the size of the vocabulary. AWD-LSTM (`embedded_dropout`; in fastai, a
    layer of this name) does the same with one mask for all sequences of a
    batch; here a row does not depend on the other rows.

    As in AWD-LSTM, tied output weights are not dropped: around a
    `keras.layers.ReversibleEmbedding`, call this layer with `reverse=True` as
    you would call the embedding. (Do not call the embedding itself as well:
    Keras cannot load a saved model that contains a layer both by itself and in
    a wrapper.)

    Args:
        layer: A `keras.layers.Embedding`, or a layer of a subclass such as
            `keras.layers.ReversibleEmbedding`.
        rate: Float in [0, 1], the probability of dropping an id; or a
            schedule, as in `kerasdrop.layers.Dropout`. AWD-LSTM uses 0.1.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Tensor of ids `(batch, ...)`, integers from 0 on. A
            `Sequential` needs `keras.Input(shape, dtype="int32")` before it:
            without, it casts ids to floats. With `reverse=True`, a
            floating-point tensor `(batch, ..., output_dim)`.
        training: Boolean; whether to draw.
        reverse: Boolean; whether to project back to the vocabulary.

    Output shape: `(batch, ..., output_dim)`, with the padding mask of the
        embedding (`mask_zero=True`). The padding id is dropped like any other.
        With `reverse=True`, `(batch, ..., input_dim)`.

    Raises:
        ValueError: If an argument is out of its range; if `layer` is not an
            embedding; if the layer is called with `reverse=True` but the
            embedding cannot be reversed; if the schedule leaves [0, 1]; or if
            ids are not integers.

    Example:

    >>> layer = EmbeddingDropout(keras.layers.Embedding(1000, 8), 0.1)
    >>> ids = np.array([[4, 7, 4, 0]])
    >>> layer(ids, training=True).shape == (1, 4, 8)
    True

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287),
    section 4.2; [Merity et al., 2017](https://arxiv.org/abs/1708.02182),
    section 4.3.
    """

    _is_layer_inside = True

    def __init__(
        self,
        layer: keras.layers.Layer,
        rate: Rate,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.Wrapper.__init__(self, layer, **kwargs)
        if not isinstance(layer, keras.layers.Embedding):
            raise ValueError(
                f"{self._label()}: argument `layer` must be a "
                "`keras.layers.Embedding`, which has one vector for each id. "
                "If a layer adds positions, wrap the embedding inside it. "
                "Behind other layers, put `Dropout` or `LockedDropout`. "
                f"Received: layer='{layer.name}' (of type "
                f"{type(layer).__name__})"
            )
        self._start(rate, seed, stochastic_inference)
        # Ids must not be rounded to the compute dtype.
        self.autocast = False

    @blame_itself
    def _check_inputs(self, inputs: Tensor) -> None:
        _checks.integer_inputs(inputs)

    def call(
        self,
        inputs: Tensor,
        training: bool | None = False,
        reverse: bool = False,
    ) -> Tensor:
        if reverse:
            self._check_reversible()
            return self.layer(inputs, reverse=True)
        return super().call(inputs, training)

    def _check_reversible(self) -> None:
        # The layer is recognized by its arguments, because KerasHub had such a
        # layer before Keras.
        if "reverse" not in inspect.signature(self.layer.call).parameters:
            raise ValueError(
                f"{self._label()}: only a `keras.layers.ReversibleEmbedding` "
                "can be called with `reverse=True`. Received: a layer around "
                f"'{self.layer.name}' (of type {type(self.layer).__name__})"
            )

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        ids = ops.cast(inputs, "int32")
        return functional.embedding_dropout(
            self._outputs(inputs), ids, draw, rate
        )

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return self._outputs(inputs)

    def compute_mask(
        self, inputs: Tensor, previous_mask: Tensor | None = None
    ) -> Tensor | None:
        if _is_float(inputs):  # in reverse
            return None
        if isinstance(self.layer, keras.layers.ReversibleEmbedding):
            # Its `compute_mask` returns none, because its `call` attaches the
            # mask to the outputs.
            return keras.layers.Embedding.compute_mask(self.layer, inputs)
        if not self.layer.supports_masking:
            return None
        return self.layer.compute_mask(inputs, previous_mask)

    def compute_output_spec(
        self,
        inputs: Tensor,
        training: bool | None = False,
        reverse: bool = False,
    ) -> Tensor:
        if reverse:
            self._check_reversible()
            return self.layer.compute_output_spec(inputs, reverse=True)
        return super().compute_output_spec(inputs, training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(self.layer.compute_output_shape(input_shape))

    def _at_inference(self, copy: Function) -> keras.layers.Layer:
        return copy(self.layer)


def _is_float(inputs: Tensor) -> bool:
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    return keras.backend.is_float_dtype(dtype)

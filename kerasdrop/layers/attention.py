"""Attention with a live rate, on the fused path wherever nothing is drawn.

Only this module uses private parts of Keras' attention layers:
`_dropout_layer`, which drops the weights; `_dropout`, or `dropout` of grouped
heads, which keeps the layer off the fused path if it is above 0;
`_masked_softmax`, which makes the weights, and the axes of its `_softmax`;
`_compute_attention`, which returns no weights on the fused path, and which the
class must not override if the kernel for causal masks is to be used.
tests/contracts/test_attention.py pins them.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop._refusals import blame
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers import attention_masks
from kerasdrop.layers.arguments import CheckedArguments
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.paths import name_scope

_current = threading.local()


@contextlib.contextmanager
def _code_of_keras(draws: bool, training: bool | None = None) -> Iterator[None]:
    """Marks that Keras asks, in this thread, which path a call takes."""
    outer = (
        getattr(_current, "draws", None),
        getattr(_current, "training", None),
    )
    _current.draws, _current.training = draws, training
    try:
        yield
    finally:
        _current.draws, _current.training = outer


class _OnLayers:
    """A method of the layers, while their class shows the method of Keras.

    Keras takes its kernel for causal masks only where the class of the layer
    has no `_compute_attention` of its own.
    """

    def __init__(self, method: Function) -> None:
        self._method = method

    def __get__(self, layer: Given, cls: type) -> Function:
        if layer is None:
            name = self._method.__name__
            return getattr(super(_LiveAttention, cls), name)
        # `torch.compile` cannot trace `types.MethodType`.
        return functools.partial(self._method, layer)


class _LiveAttention(CheckedArguments):
    """Abstract: puts our dropout layer in the place of that of Keras."""

    dtype_policy: Given  # of the layer of Keras
    name: Given

    def _start(
        self,
        stock_init: Function,
        dropout: Rate,
        drop: str,
        seed: Seed,
        stochastic_inference: bool,
    ) -> None:
        with _code_of_keras(draws=False):
            stock_init(dropout=0.0, seed=seed)
        with blame(f"Layer '{self.name}' ({type(self).__name__})"):
            self._drop = _checks.choice(drop, ("weights", "logits"), "drop")
        with name_scope(self):
            self._dropout_layer = Dropout(
                dropout,
                seed=0 if seed is None else seed,
                stochastic_inference=stochastic_inference,
                name="dropout",
                dtype=self.dtype_policy,
            )
        if seed is None:
            self._dropout_layer.seed_later()

    def __setattr__(self, name: str, value: Given) -> None:
        # `build` of Keras makes a dropout layer of its own, which is discarded.
        if name != "_dropout_layer" or isinstance(value, Dropout):
            super().__setattr__(name, value)
        else:
            # The stock layer takes its seed here, between those of weights.
            self._dropout_layer.seed_now()

    @property
    def dropout(self) -> float:
        """The rate of the attention weights, as `Dropout.rate`."""
        draws = getattr(_current, "draws", None)
        return self._dropout_layer.rate if draws is None else float(draws)

    @dropout.setter
    def dropout(self, value: Given) -> None:
        if getattr(_current, "draws", None) is None:
            self._dropout_layer.rate = value

    @property
    def drop(self) -> str:
        """What is dropped: `"weights"` or `"logits"`."""
        return self._drop

    def build(
        self,
        query_shape: Shape,
        value_shape: Shape,
        key_shape: Shape | None = None,
    ) -> None:
        with _code_of_keras(draws=False):
            super().build(  # type: ignore[misc]
                query_shape, value_shape, key_shape
            )

    @functools.wraps(keras.layers.MultiHeadAttention.call)
    def call(
        self, *args: Given, training: bool | None = None, **kwargs: Given
    ) -> Tensor:
        self._dropout_layer._state.complete()
        draws = self._dropout_layer.would_draw(training)
        with _code_of_keras(draws, training):
            return super().call(  # type: ignore[misc]
                *args, training=training, **kwargs
            )

    @_OnLayers
    def _compute_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        *args: Given,
        **kwargs: Given,
    ) -> tuple[Tensor, Tensor | None]:
        outputs, weights = super()._compute_attention(  # type: ignore[misc]
            query, key, value, attention_mask, *args, **kwargs
        )
        if weights is None and attention_mask is not None:
            # If no key is allowed, the slow path has weights of 0, while the
            # fused kernel has equal weights.
            outputs = attention_masks.zero_without_keys(outputs, attention_mask)
        return outputs, weights

    def _masked_softmax(
        self, scores: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        if self._drop == "logits" and getattr(_current, "draws", None):
            # At an illegal rate the noise is NaN, which must show.
            noise = self._dropout_layer(
                ops.ones_like(scores), training=_current.training
            )
            scores = scores + noise * 0.0
            attention_mask = attention_masks.kept_keys(
                noise > 0.0,
                attention_mask,
                self._softmax.axis,  # type: ignore[attr-defined]
            )
            _current.draws = False  # the weights are not dropped as well
        return super()._masked_softmax(  # type: ignore[misc]
            scores, attention_mask
        )

    def get_config(self) -> Config:
        ours = self._dropout_layer.get_config()
        return {
            **super().get_config(),  # type: ignore[misc]
            "dropout": ours["rate"],
            "drop": self._drop,
            "seed": ours["seed"],
            "stochastic_inference": ours["stochastic_inference"],
        }


@keras.saving.register_keras_serializable("kerasdrop")
class MultiHeadAttention(_LiveAttention, keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` that keeps its fused path.

    A Keras layer that is made with `dropout > 0` never uses the fused kernel,
    not even in predictions. This layer uses it in each call that draws
    nothing, also with `flash_attention`.

    Training: the values are weighted with
    `softmax(q k / sqrt(key_dim)) * keep / (1 - dropout)`; each weight is kept
    with probability `1 - dropout`.
    Inference: nothing is dropped. A query that may attend to no key, such as
    that of a padded step, attends to 0 on both paths, like the Keras layer
    with `dropout > 0`. (The fused kernel of Keras returns the mean of all
    values for it.)

    With `drop="logits"`, keys are dropped before the softmax (DropKey), and
    the weights of the remaining keys add up to 1:
    `softmax(q k / sqrt(key_dim) - c * (1 - keep))` with a large `c`. If a
    query would lose all keys that it may attend to, none of them is dropped,
    because subtracting the same `c` from all logits does not change a softmax.
    At `dropout=1` the layer therefore behaves as at inference. Returned
    attention scores are those after dropout. The expected output differs from
    that at inference. The paper decreases the rate over depth: reverse the
    list from `linear_depth_rates`.

    The rate can be changed at any time (`layer.dropout = 0.2`). It belongs to
    a dropout layer inside, which `get_rates(model)` lists as
    `"attention/dropout"`.

    Args:
        num_heads, key_dim, value_dim: As in Keras.
        dropout: Float in [0, 1], the probability of dropping an attention
            weight; or a schedule, as in `kerasdrop.layers.Dropout`.
        drop: `"weights"` to drop attention weights after the softmax, or
            `"logits"` to drop keys before it.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: All other arguments of `keras.layers.MultiHeadAttention`, by
            name.

    The call arguments and the output shape are those of the Keras layer.

    Raises:
        ValueError: If the rate is out of its range; or as in Keras.

    Example:

    >>> layer = MultiHeadAttention(num_heads=2, key_dim=16, dropout=0.1)
    >>> sequences = np.ones((2, 5, 8))
    >>> layer(sequences, sequences, use_causal_mask=True).shape == (2, 5, 8)
    True

    Reference: [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762). Its
    section 5.4 describes dropout of the outputs of sublayers; dropout of the
    weights comes from the authors' code. For logits: [Li et al., 2022](
    https://arxiv.org/abs/2208.02646), section 3. For a comparison of both:
    [2403.00812](https://arxiv.org/abs/2403.00812).
    """

    _extends = keras.layers.MultiHeadAttention

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: Rate = 0.0,
        *,
        drop: str = "weights",
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        stock_init = functools.partial(
            super().__init__, num_heads, key_dim, value_dim, **kwargs
        )
        self._start(stock_init, dropout, drop, seed, stochastic_inference)

    # Keras' code reads these attributes.
    _dropout = _LiveAttention.dropout


@keras.saving.register_keras_serializable("kerasdrop")
class GroupQueryAttention(_LiveAttention, keras.layers.GroupQueryAttention):
    """`keras.layers.GroupQueryAttention` that keeps its fused path.

    This is `MultiHeadAttention` with fewer heads for keys and values than for
    queries.

    Args:
        head_dim, num_query_heads, num_key_value_heads: As in Keras.
        dropout, drop, seed, stochastic_inference: As in `MultiHeadAttention`.
        **kwargs: All other arguments of `keras.layers.GroupQueryAttention`,
            by name.

    The call arguments and the output shape are those of the Keras layer.

    Raises:
        ValueError: If the rate is out of its range; or as in Keras.

    Example:

    >>> layer = GroupQueryAttention(
    ...     16, num_query_heads=4, num_key_value_heads=2, dropout=0.1
    ... )
    >>> sequences = np.ones((2, 5, 8))
    >>> layer(sequences, sequences, use_causal_mask=True).shape == (2, 5, 8)
    True

    Reference: [Ainslie et al., 2023](https://arxiv.org/abs/2305.13245).
    """

    _extends = keras.layers.GroupQueryAttention

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: Rate = 0.0,
        *,
        drop: str = "weights",
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        stock_init = functools.partial(
            super().__init__,
            head_dim,
            num_query_heads,
            num_key_value_heads,
            **kwargs,
        )
        self._start(stock_init, dropout, drop, seed, stochastic_inference)

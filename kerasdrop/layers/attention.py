"""Attention with a live rate, fused wherever nothing is drawn.

The one place that uses what Keras keeps private about its attention layers:
`_dropout_layer`, which drops the weights; `_dropout`, or `dropout` of grouped
heads, which keeps the layer off the fused path where it is above 0.
tests/contracts/test_attention.py pins it.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator

import keras

from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers.arguments import CheckedArguments
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.paths import name_scope

_current = threading.local()


@contextlib.contextmanager
def _code_of_keras(draws: bool) -> Iterator[None]:
    """Marks that Keras asks, in this thread, which path a call takes."""
    outer = getattr(_current, "draws", None)
    _current.draws = draws
    try:
        yield
    finally:
        _current.draws = outer


class _LiveAttention(CheckedArguments):
    """Abstract: puts our dropout layer in the place of that of Keras."""

    dtype_policy: Given  # of the layer of Keras

    def _start(
        self,
        stock_init: Function,
        dropout: Rate,
        seed: Seed,
        stochastic_inference: bool,
    ) -> None:
        with _code_of_keras(draws=False):
            stock_init(dropout=0.0, seed=seed)
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
        # `build` of Keras makes a layer of its own, which goes no further.
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
        with _code_of_keras(self._dropout_layer.would_draw(training)):
            return super().call(  # type: ignore[misc]
                *args, training=training, **kwargs
            )

    def get_config(self) -> Config:
        ours = self._dropout_layer.get_config()
        return {
            **super().get_config(),  # type: ignore[misc]
            "dropout": ours["rate"],
            "seed": ours["seed"],
            "stochastic_inference": ours["stochastic_inference"],
        }


@keras.saving.register_keras_serializable("kerasdrop")
class MultiHeadAttention(_LiveAttention, keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` that keeps its fused path.

    The layer of Keras leaves the fused kernel for good, in predictions too,
    when it is made with `dropout > 0`. This one takes it in each call that
    draws nothing; with `flash_attention` and dropout, too.

    Training: `softmax(q k / sqrt(key_dim)) * keep / (1 - dropout)`, each weight
    being kept with the probability `1 - dropout`, meets the values.
    Inference: nothing is dropped.

    The rate is live (`layer.dropout = 0.2`). It is that of the layer inside,
    which `get_rates(model)` finds as `"attention/dropout"`.

    Args:
        num_heads, key_dim, value_dim: As in Keras.
        dropout: Float in [0, 1], the probability of dropping an attention
            weight; or a schedule, as in `kerasdrop.layers.Dropout`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: All other arguments of `keras.layers.MultiHeadAttention`, by
            name.

    Call arguments, output shape: As in Keras.

    Raises:
        ValueError: If the rate is out of its range; or as in Keras.

    Example:

    >>> layer = MultiHeadAttention(num_heads=2, key_dim=16, dropout=0.1)
    >>> sequences = np.ones((2, 5, 8))
    >>> layer(sequences, sequences, use_causal_mask=True).shape == (2, 5, 8)
    True

    Reference: [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762). Its
    section 5.4 has dropout elsewhere, on the outputs of sublayers; on the
    weights it came with the authors' code.
    """

    _extends = keras.layers.MultiHeadAttention

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: Rate = 0.0,
        *,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        stock_init = functools.partial(
            super().__init__, num_heads, key_dim, value_dim, **kwargs
        )
        self._start(stock_init, dropout, seed, stochastic_inference)

    # What the code of Keras reads here.
    _dropout = _LiveAttention.dropout


@keras.saving.register_keras_serializable("kerasdrop")
class GroupQueryAttention(_LiveAttention, keras.layers.GroupQueryAttention):
    """`keras.layers.GroupQueryAttention` that keeps its fused path.

    As `MultiHeadAttention`, with fewer heads for keys and values than for
    queries.

    Args:
        head_dim, num_query_heads, num_key_value_heads: As in Keras.
        dropout, seed, stochastic_inference: As of `MultiHeadAttention`.
        **kwargs: All other arguments of `keras.layers.GroupQueryAttention`,
            by name.

    Call arguments, output shape, raises: As of `MultiHeadAttention`.

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
        self._start(stock_init, dropout, seed, stochastic_inference)

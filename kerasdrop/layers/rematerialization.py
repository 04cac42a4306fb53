"""Gradient checkpointing with the mask of the forward pass in both passes."""

import contextlib
import functools
import threading
from collections.abc import Iterator

import keras
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor

_current = threading.local()


def remat(function: Function) -> Function:
    """`keras.remat` for functions in which layers of kerasdrop draw.

    The intermediate results of `function` are not kept for the backward pass
    but computed again there. Each layer of kerasdrop that it calls draws the
    mask of the forward pass again and counts one training call, so that the
    gradients are those of the function without it. In plain `keras.remat`,
    `tf.recompute_grad`, `torch.utils.checkpoint` and `jax.checkpoint` such a
    layer raises an error.

    Args:
        function: A function of tensors, or a layer, which calls the same
            layers in the same order whenever it is called with the same
            arguments.

    Returns:
        A function with the arguments and the results of `function`.

    Raises:
        RuntimeError: When it is called inside a plain one of those above.

    Example:

    >>> class Block(keras.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = keras.layers.Dense(8)
    ...         self.dropout = kerasdrop.layers.Dropout(0.5)
    ...
    ...     def _body(self, x, training):
    ...         return self.dropout(self.dense(x), training=training)
    ...
    ...     def call(self, x, training=False):
    ...         return kerasdrop.remat(self._body)(x, training=training)

    Reference: [Chen et al., 2016](https://arxiv.org/abs/1604.06174).
    """

    @functools.wraps(function, updated=())
    def rematerialized(*args: Given, **kwargs: Given) -> Structure:
        block = _Block(_block())
        leaves = tree.flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if ops.is_tensor(leaf)]

        # Backends trace or differentiate all arguments, so these are tensors.
        def run(*tensors: Tensor) -> Given:
            filled = list(leaves)
            for place, tensor in zip(places, tensors):
                filled[place] = tensor
            packed_args, packed = tree.pack_sequence_as((args, kwargs), filled)
            with block.running():
                return function(*packed_args, **packed)

        tensors = [leaves[place] for place in places]
        if _backend.CHECKPOINT_TRACES_ONCE:
            block.count_calls(run, tensors)
        return keras.remat(run)(*tensors)

    return rematerialized


def number_of(layer: keras.layers.Layer, advance: Function) -> Tensor:
    """The number of a call in which `layer` draws, such as its step.

    Args:
        advance: Function that counts the call and returns its number. It is
            not called when the call is repeated for a backward pass.
    """
    block = _block()
    if block is not None:
        return block.number_of(layer, advance)
    if _backend.is_recomputing():
        raise RuntimeError(
            f"Layer '{layer.name}' ({type(layer).__name__}) was called in a "
            "block whose results are computed again for the backward pass "
            "(`keras.remat`, `keras.RematScope`, `tf.recompute_grad`, "
            "`torch.utils.checkpoint` or `jax.checkpoint`). The second call "
            "would draw another mask, and the gradients would be wrong. Wrap "
            "the block by `kerasdrop.remat` instead, or take the layer out "
            "of it."
        )
    return advance()


def _block() -> Given:
    return getattr(_current, "block", None)


class _Block:
    """The numbers of the draws in one call of a rematerialized function.

    Args:
        outer: The block around it, or None.
    """

    def __init__(self, outer: Given) -> None:
        self._outer = outer
        # Pairs of a layer and the number of one of its draws.
        self._calls: list[tuple[keras.layers.Layer, Tensor]] = []
        # In a trial pass: pairs of a layer and the function that counts a call.
        self._found: list[tuple[keras.layers.Layer, Function]] | None = None
        self._has_run = False
        self._next = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Marks a pass. The first one counts; others reuse its numbers."""
        around, _current.block = _block(), self
        self._next = 0
        try:
            yield
        finally:
            self._has_run = self._has_run or self._found is None
            _current.block = around

    def count_calls(self, run: Function, tensors: Tensor) -> None:
        """Counts all calls before the first pass, as a trial pass finds them.

        JAX traces the function once for both passes, and an assignment inside
        it would be lost.
        """
        found: list[tuple[keras.layers.Layer, Function]] = []
        self._found = found
        _backend.trial(run, tensors)
        self._found = None
        for layer, advance in found:
            self._take(layer, advance)
        self._has_run = True

    def _take(self, layer: keras.layers.Layer, advance: Function) -> Tensor:
        if self._outer is not None:
            number = self._outer.number_of(layer, advance)
        else:
            number = advance()
        self._calls.append((layer, number))
        return number

    def number_of(self, layer: keras.layers.Layer, advance: Function) -> Tensor:
        if self._found is not None:
            self._found.append((layer, advance))
            return ops.zeros((), "int32")
        if not self._has_run:
            return self._take(layer, advance)
        expected, number = (
            self._calls[self._next]
            if self._next < len(self._calls)
            else (None, None)
        )
        if expected is not layer:
            raise RuntimeError(
                f"Layer '{layer.name}' ({type(layer).__name__}) was called in "
                "the second pass of a rematerialized function, but not at "
                "this place in the first. Let the function call the same "
                "layers in the same order each time."
            )
        self._next += 1
        return number

"""Loops over the steps of a sequence, in which layers draw.

A layer that draws inside a cell draws anew at each step, as it does in training
if the loop is a Python loop. JAX and TensorFlow trace the loop once for all
steps, so the number of the step, which travels with the inputs, distinguishes
the steps. The stock cells have one mask for the whole sequence: see
`rnn_cells`.
"""

import functools
import inspect
from collections.abc import Container

import keras
import numpy as np
from keras import ops

from kerasdrop._adapters import registry
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.layers.recurrent import DropoutRNN
from kerasdrop.layers.recurrent import WithCell
from kerasdrop.masks import scopes


def is_layer_of(
    layer: keras.layers.Layer, cells: Container[keras.layers.Layer]
) -> bool:
    """Whether `layer` is a stock layer around one of `cells`."""
    return registry.is_around_cell(layer) and layer.cell in cells


def stock_class(layer: keras.layers.Layer) -> Given:
    """The stock class of a layer around a cell, or of its parent; or None."""
    found = registry.nearest(type(layer))
    return found if registry.is_around_cell(layer) else None


def loops_over(layer: keras.layers.Layer, drawn: Function) -> bool:
    """Whether layers inside `layer` draw at each step of its loop.

    Args:
        layer: A layer.
        drawn: Function of a layer that returns the layers inside it that draw.
    """
    # The steps of a layer's own loop cannot be distinguished.
    known = (keras.layers.RNN, DropoutRNN)
    return (
        isinstance(layer, keras.layers.RNN)
        and model_tree.owner_of(type(layer), "inner_loop") in known
        and any(one not in _cells_of(layer) for one in drawn(layer.cell))
    )


def _cells_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The stock cells of `layer` that have one mask for the sequence."""
    return [cell for cell in registry.cells_of(layer) if registry.is_cell(cell)]


# The number of a step travels in parts that are exact in any dtype, even int8.
_BASE, _NUM_PARTS = 128, 3


def numbered_loop(layer: keras.layers.Layer) -> Given:
    """A `layer.inner_loop` whose steps draw by their numbers in a pass."""
    plain = layer.inner_loop

    @functools.wraps(plain)
    def inner_loop(
        sequences: Given,
        initial_state: Given,
        mask: Tensor,
        training: Given = False,
    ) -> Given:
        scope = scopes.current()
        dtype = keras.backend.standardize_dtype(sequences.dtype)
        if scope is None or not scope.draws or dtype == "bool":
            return plain(sequences, initial_state, mask, training)
        step = scope.loop()

        def cell(
            inputs: Structure, states: Structure, **kwargs: Given
        ) -> Given:
            inputs, number = _without_number(inputs)
            if "training" in inspect.signature(layer.cell.call).parameters:
                kwargs["training"] = False
            with step(number):
                return layer.cell(inputs, states, **kwargs)

        return type(layer).inner_loop(
            WithCell(layer, cell),
            _with_numbers(sequences),
            initial_state,
            mask,
            training,
        )

    return inner_loop


def _with_numbers(sequences: Given) -> Given:
    """Appends the number of each step to the last axis, in parts."""
    sizes = ops.shape(sequences)
    steps = ops.arange(sizes[1], dtype="int32")[:, None]
    parts = ops.cast(steps // _powers() % _BASE, sequences.dtype)
    inner = (1,) * (len(sizes) - 3)
    parts = ops.reshape(parts, (1, sizes[1], *inner, _NUM_PARTS))
    parts = ops.broadcast_to(parts, (*sizes[:-1], _NUM_PARTS))
    return ops.concatenate([sequences, parts], axis=-1)


def _without_number(inputs: Structure) -> Given:
    """Returns a step's inputs, and its number as an int32 scalar."""
    parts = inputs[..., -_NUM_PARTS:]
    parts = ops.cast(ops.reshape(parts, (-1, _NUM_PARTS))[0], "int32")
    return inputs[..., :-_NUM_PARTS], ops.sum(parts * _powers())


def _powers() -> Given:
    powers = [_BASE**part for part in range(_NUM_PARTS)]
    return ops.convert_to_tensor(np.array(powers, "int32"))


def is_stateful(layer: keras.layers.Layer) -> bool:
    """Whether `layer` carries its state from batch to batch."""
    return isinstance(layer, keras.layers.RNN) and layer.stateful

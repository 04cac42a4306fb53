"""Dropout inside recurrent cells.

A stock cell has one mask for a whole sequence. It multiplies its inputs and
its state by masks that it makes itself, at the first step, and only if called
with `training=True`. All of that goes through public methods of the cell,
which are replaced for a pass.

Reference: [Gal & Ghahramani, 2016b](https://arxiv.org/abs/1512.05287).
"""

import keras
from keras import ops

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._refusals import Refusal
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.masks.scopes import StochasticScope

# What a cell has masks for, by number.
_OF_INPUTS, _OF_STATE = 0, 1


def rate(cell: keras.layers.Layer) -> float:
    """The larger of the rates for inputs and state."""
    return max(cell.dropout, cell.recurrent_dropout)


def check(cell: keras.layers.Layer) -> None:
    """Raises if Keras itself would not drop what the rates of a cell say."""
    who = f"layer '{cell.name}' ({type(cell).__name__})"
    if 1.0 in (cell.dropout, cell.recurrent_dropout):
        raise Refusal(
            f"{who} has a dropout rate of 1, at which Keras drops all in some "
            "kernels and nothing in others. Choose a rate below 1. Received: "
            f"dropout={cell.dropout}, "
            f"recurrent_dropout={cell.recurrent_dropout}"
        )
    if cell.recurrent_dropout and getattr(cell, "implementation", 1) != 1:
        raise Refusal(
            f"{who} was made without `recurrent_dropout`, and reads none in "
            "training either, whatever it is set to. Make the layer with "
            "`recurrent_dropout`. Received: "
            f"recurrent_dropout={cell.recurrent_dropout}"
        )


MAKERS_OF_MASKS = ("get_dropout_mask", "get_recurrent_dropout_mask")


def methods(cell: keras.layers.Layer) -> dict[str, Function]:
    """The methods of a cell to put in place for a pass, by name."""
    return {
        "call": _call,
        "get_dropout_mask": _input_mask,
        "get_recurrent_dropout_mask": _state_mask,
        "reset_dropout_mask": _forget,
        "reset_recurrent_dropout_mask": _forget,
    }


def layer_methods(layer: keras.layers.Layer) -> dict[str, Function]:
    """The same for the layer around a cell."""
    return {"inner_loop": _layer_loop}


def _layer_loop(
    plain: Function,
    layer: keras.layers.Layer,
    scope: StochasticScope,
    *args: Given,
    **kwargs: Given,
) -> Given:
    # Past `cell.call`, the fast kernels ask here whether there is dropout.
    kwargs["training"] = True
    return plain(*args[:3], **kwargs)


def _call(
    plain: Function,
    cell: keras.layers.Layer,
    scope: StochasticScope,
    inputs: Structure,
    states: Structure,
    *args: Given,
    **kwargs: Given,
) -> Given:
    return plain(inputs, states, training=True)


def _input_mask(
    plain: Function,
    cell: keras.layers.Layer,
    scope: StochasticScope,
    step_input: Given,
) -> Given:
    return _masks(cell, scope, step_input, cell.dropout, _OF_INPUTS)


def _state_mask(
    plain: Function,
    cell: keras.layers.Layer,
    scope: StochasticScope,
    step_input: Given,
) -> Given:
    return _masks(cell, scope, step_input, cell.recurrent_dropout, _OF_STATE)


def _masks(
    cell: keras.layers.Layer,
    scope: StochasticScope,
    step_input: Given,
    rate: Given,
    of: Given,
) -> Given:
    """A mask, or as many as the cell has gates; None at rate 0."""
    if rate == 0.0:
        return None
    memory = scope.memory.setdefault(id(cell), {})
    if "draws" not in memory:
        draw = scope.draw(cell, by_step=False)
        keys = masks.derived_keys(draw.key, [_OF_INPUTS, _OF_STATE])
        memory["draws"] = [draw._replace(key=key) for key in keys]
    if of not in memory:
        count = getattr(cell, "dropout_mask_count", None)
        ones = ops.ones_like(step_input)
        if count is not None:
            # Drawn together, side by side: small masks cost by the operation.
            ones = ops.concatenate([ones] * count, axis=-1)
        rate = ops.convert_to_tensor(rate, "float32")
        made = functional.dropout(ones, memory["draws"][of], rate)
        if count is not None:
            made = ops.split(made, count, axis=-1)
        memory[of] = made
    return memory[of]


def _forget(
    plain: Function, cell: keras.layers.Layer, scope: StochasticScope
) -> None:
    scope.memory.pop(id(cell), None)

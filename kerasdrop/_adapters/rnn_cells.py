"""Dropout inside recurrent cells.

A stock cell has one mask for a whole sequence. It multiplies its inputs and
its state by masks that it makes itself, at the first step, and only if called
with `training=True`. All of that goes through public methods of the cell,
which are replaced for a pass.

Any other layer that draws inside a cell draws anew at each step, as it does in
training where the loop is one of Python. JAX and TensorFlow trace the loop
once for all steps: there the number of the step tells the steps apart, and it
travels with the inputs.

Reference: [Gal & Ghahramani, 2016b](https://arxiv.org/abs/1512.05287).
"""

import functools
import inspect

import keras
import numpy as np
from keras import ops

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._structure import model_tree
from kerasdrop.layers.recurrent import DropoutRNN
from kerasdrop.layers.recurrent import WithCell
from kerasdrop.masks import scopes

LAYERS = (
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.SimpleRNN,
    keras.layers.ConvLSTM1D,
    keras.layers.ConvLSTM2D,
    keras.layers.ConvLSTM3D,
)


CELLS = (
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    keras.layers.SimpleRNNCell,
    model_tree.CONV_LSTM_CELL,
)

# What a cell has masks for, by number.
_OF_INPUTS, _OF_STATE = 0, 1


def rate(cell):
    """The larger of the rates for inputs and state."""
    return max(cell.dropout, cell.recurrent_dropout)


def check(cell, owner):
    """Raises if Keras itself would not drop what the rates of a cell say."""
    who = f"{owner}: layer '{cell.name}' ({type(cell).__name__})"
    if 1.0 in (cell.dropout, cell.recurrent_dropout):
        raise ValueError(
            f"{who} has a dropout rate of 1, at which Keras drops all in some "
            "kernels and nothing in others. Choose a rate below 1. Received: "
            f"dropout={cell.dropout}, "
            f"recurrent_dropout={cell.recurrent_dropout}"
        )
    if cell.recurrent_dropout and getattr(cell, "implementation", 1) != 1:
        raise ValueError(
            f"{who} was made without `recurrent_dropout`, and reads none in "
            "training either, whatever it is set to. Make the layer with "
            "`recurrent_dropout`. Received: "
            f"recurrent_dropout={cell.recurrent_dropout}"
        )


MAKERS_OF_MASKS = ("get_dropout_mask", "get_recurrent_dropout_mask")


def methods(cell):
    """The methods of a cell to put in place for a pass, by name."""
    return {
        "call": _call,
        "get_dropout_mask": _input_mask,
        "get_recurrent_dropout_mask": _state_mask,
        "reset_dropout_mask": _forget,
        "reset_recurrent_dropout_mask": _forget,
    }


def layer_methods(layer):
    """The same for the layer around a cell."""
    return {"inner_loop": _layer_loop}


def _layer_loop(plain, layer, scope, *args, **kwargs):
    # Past `cell.call`, the fast kernels ask here whether there is dropout.
    kwargs["training"] = True
    return plain(*args[:3], **kwargs)


def _call(plain, cell, scope, inputs, states, *args, **kwargs):
    return plain(inputs, states, training=True)


def _input_mask(plain, cell, scope, step_input):
    return _masks(cell, scope, step_input, cell.dropout, _OF_INPUTS)


def _state_mask(plain, cell, scope, step_input):
    return _masks(cell, scope, step_input, cell.recurrent_dropout, _OF_STATE)


def _masks(cell, scope, step_input, rate, of):
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


def _forget(plain, cell, scope):
    scope.memory.pop(id(cell), None)


def is_layer_of(layer, cells):
    """Whether `layer` is a stock layer around one of `cells`."""
    return isinstance(layer, LAYERS) and layer.cell in cells


def stock_class(layer):
    """The stock class of a layer around a cell, its own or its parent; None."""
    return next((cls for cls in type(layer).__mro__ if cls in LAYERS), None)


def loops_over(layer, drawn):
    """Whether a layer of `drawn` draws at each step of the loop of `layer`.

    Args:
        layer: A layer.
        drawn: Function of a layer: a list of those inside it that draw.
    """
    # Past a loop of its own it is not known how to tell the steps apart.
    return (
        isinstance(layer, keras.layers.RNN)
        and _owner(type(layer), "inner_loop") in _KNOWN_LOOPS
        and any(one not in _cells_of(layer) for one in drawn(layer.cell))
    )


_KNOWN_LOOPS = (keras.layers.RNN, DropoutRNN)


def _owner(cls, name):
    return next(one for one in cls.__mro__ if name in vars(one))


def _cells_of(layer):
    """The stock cells that have a mask for the sequence, made by `layer`."""
    cells = [layer.cell]
    if isinstance(layer.cell, keras.layers.StackedRNNCells):
        cells = layer.cell.cells
    return [cell for cell in cells if isinstance(cell, CELLS)]


# A step's number travels in parts that are exact in any dtype, int8 included.
_BASE, _NUM_PARTS = 128, 3


def numbered_loop(layer):
    """`layer.inner_loop`, whose steps draw by their numbers in a pass."""
    plain = layer.inner_loop

    @functools.wraps(plain)
    def inner_loop(sequences, initial_state, mask, training=False):
        scope = scopes.current()
        dtype = keras.backend.standardize_dtype(sequences.dtype)
        if scope is None or not scope.draws or dtype == "bool":
            return plain(sequences, initial_state, mask, training)
        step = scope.loop()

        def cell(inputs, states, **kwargs):
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


def _with_numbers(sequences):
    """Appends the number of each step to its last axis, in parts."""
    sizes = ops.shape(sequences)
    steps = ops.arange(sizes[1], dtype="int32")[:, None]
    parts = ops.cast(steps // _powers() % _BASE, sequences.dtype)
    inner = (1,) * (len(sizes) - 3)
    parts = ops.reshape(parts, (1, sizes[1], *inner, _NUM_PARTS))
    parts = ops.broadcast_to(parts, (*sizes[:-1], _NUM_PARTS))
    return ops.concatenate([sequences, parts], axis=-1)


def _without_number(inputs):
    """A step's inputs and its number, an int32 scalar."""
    parts = inputs[..., -_NUM_PARTS:]
    parts = ops.cast(ops.reshape(parts, (-1, _NUM_PARTS))[0], "int32")
    return inputs[..., :-_NUM_PARTS], ops.sum(parts * _powers())


def _powers():
    powers = [_BASE**part for part in range(_NUM_PARTS)]
    return ops.convert_to_tensor(np.array(powers, "int32"))


def is_stateful(layer):
    """Whether `layer` carries its state from batch to batch."""
    return isinstance(layer, keras.layers.RNN) and layer.stateful

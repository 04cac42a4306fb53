"""Dropout inside recurrent cells: one mask for a whole sequence.

A cell multiplies its inputs and its state by masks that it makes itself, at
the first step, and only if called with `training=True`. All of that goes
through public methods of the cell, which are replaced for a pass.

Reference: [Gal & Ghahramani, 2016b](https://arxiv.org/abs/1512.05287).
"""

import keras
from keras import ops

from kerasdrop import functional
from kerasdrop import masks

LAYERS = (
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.SimpleRNN,
    keras.layers.ConvLSTM1D,
    keras.layers.ConvLSTM2D,
    keras.layers.ConvLSTM3D,
)


def _cell_classes():
    # The cell of the ConvLSTM layers has no public name.
    conv_cell = type(keras.layers.ConvLSTM1D(1, 1).cell)
    return (
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
        keras.layers.SimpleRNNCell,
        conv_cell,
    )


CELLS = _cell_classes()

# What a cell has masks for, by number.
_OF_INPUTS, _OF_STATE = 0, 1


def rate(cell):
    """The larger of the rates for inputs and state."""
    return max(cell.dropout, cell.recurrent_dropout)


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
    return {"call": _layer_call}


def _layer_call(plain, layer, scope, *args, **kwargs):
    # Past `cell.call`, the fast kernels ask here whether there is dropout.
    kwargs["training"] = True
    return plain(*args, **kwargs)


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
        draw = scope.draw(cell)
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
    return type(layer) in LAYERS and layer.cell in cells


def is_stateful(layer):
    """Whether `layer` carries its state from batch to batch."""
    return isinstance(layer, keras.layers.RNN) and layer.stateful

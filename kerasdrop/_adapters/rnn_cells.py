"""Dropout inside recurrent cells.

A stock cell has one mask for a whole sequence. It multiplies its inputs and its
state by masks that it makes itself at the first step, and only if it is called
with `training=True`. It does all of this through public methods, which are
replaced for a pass.

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
from kerasdrop.layers.thinned_cells import RATES
from kerasdrop.masks.scopes import StochasticScope

# The places of the rates and masks of a cell in `RATES` and in its keys.
_OF_INPUTS, _OF_STATE = 0, 1


def rate(cell: keras.layers.Layer) -> float:
    """The larger of the rates for inputs and state."""
    return max(cell.dropout, cell.recurrent_dropout)


def check(cell: keras.layers.Layer, parts: tuple[str, ...] = RATES) -> None:
    """Raises if Keras itself would not drop at the rates of a cell.

    Args:
        cell: A cell.
        parts: The names of the rates at which the cell draws.
    """
    who = f"layer '{cell.name}' ({type(cell).__name__})"
    if any(getattr(cell, part) == 1.0 for part in parts):
        raise Refusal(
            f"{who} has a dropout rate of 1, at which Keras drops all in some "
            "kernels and nothing in others. Choose a rate below 1. Received: "
            f"dropout={cell.dropout}, "
            f"recurrent_dropout={cell.recurrent_dropout}"
        )
    is_read = getattr(cell, "implementation", 1) == 1
    if RATES[1] in parts and cell.recurrent_dropout and not is_read:
        raise Refusal(
            f"{who} was made without `recurrent_dropout`, and reads none in "
            "training either, whatever it is set to. Make the layer with "
            "`recurrent_dropout`. Received: "
            f"recurrent_dropout={cell.recurrent_dropout}"
        )


MAKERS_OF_MASKS = ("get_dropout_mask", "get_recurrent_dropout_mask")


def methods(cell: keras.layers.Layer) -> dict[str, Function]:
    """The replacements of a cell's methods for a pass, by name."""
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
    # The fast kernels do not use `cell.call`, and ask here whether there is
    # dropout.
    kwargs["training"] = True
    if _is_given(layer.cell, scope):
        # They read the rates that the cell was made with.
        return keras.layers.RNN.inner_loop(layer, *args[:3], **kwargs)
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
    if not _is_given(cell, scope):
        return plain(inputs, states, training=True)
    # A bound method, or the method of a class that a subclass overrides.
    function = getattr(plain, "func", None) or getattr(plain, "__func__")  # noqa: B009
    return function(_Asking(cell, scope), inputs, states, training=True)


def _is_given(cell: keras.layers.Layer, scope: StochasticScope) -> bool:
    return any(scope.rate_of(cell, part) is not None for part in RATES)


def _draws(cell: keras.layers.Layer, scope: StochasticScope, part: str) -> bool:
    """Whether the mask for one part of a cell is drawn in a pass."""
    rate = scope.rate_of(cell, part)
    if rate is None:
        rate = getattr(cell, part)
    return ops.is_tensor(rate) or rate > 0.0


class _Asking:
    """Stands for a cell, which then applies exactly the drawn masks.

    The code of a cell asks for a mask only if the rate that the cell was made
    with is between 0 and 1, and for a mask of the state only in
    `implementation` 1. Code that reads these attributes here, in this thread
    only, gets values that make it ask.
    """

    def __init__(
        self, cell: keras.layers.Layer, scope: StochasticScope
    ) -> None:
        self._cell = cell
        self.dropout, self.recurrent_dropout = (
            0.5 if _draws(cell, scope, part) else 0.0 for part in RATES
        )
        if self.recurrent_dropout:
            self.implementation = 1

    def __getattr__(self, name: str) -> Given:
        return getattr(self._cell, name)


def _input_mask(
    plain: Function,
    cell: keras.layers.Layer,
    scope: StochasticScope,
    step_input: Given,
) -> Given:
    return _masks(cell, scope, step_input, _OF_INPUTS)


def _state_mask(
    plain: Function,
    cell: keras.layers.Layer,
    scope: StochasticScope,
    step_input: Given,
) -> Given:
    return _masks(cell, scope, step_input, _OF_STATE)


def _number_of_masks(
    cell: keras.layers.Layer, scope: StochasticScope
) -> int | None:
    """How many masks for a part the code of a cell takes; None for one."""
    count = getattr(cell, "dropout_mask_count", None)
    if count is None and hasattr(cell, "implementation"):
        is_one = cell.implementation != 1 and not (
            _is_given(cell, scope) and _draws(cell, scope, RATES[1])
        )
        if not is_one:
            return cell.kernel.shape[-1] // cell.units  # one for each gate
    return count


def _masks(
    cell: keras.layers.Layer,
    scope: StochasticScope,
    step_input: Given,
    of: Given,
) -> Given:
    """A mask, or one for each gate; None if none is drawn."""
    part = RATES[of]
    if not _draws(cell, scope, part):
        return None
    rate = scope.rate_of(cell, part)
    if rate is None:
        rate = getattr(cell, part)
    memory = scope.memory.setdefault(id(cell), {})
    if "draws" not in memory:
        draw = scope.draw(cell, by_step=False)
        keys = masks.derived_keys(draw.key, [_OF_INPUTS, _OF_STATE])
        memory["draws"] = [draw._replace(key=key) for key in keys]
    if of not in memory:
        count = _number_of_masks(cell, scope)
        ones = ops.ones_like(step_input)
        if count is not None:
            # The masks are drawn in one tensor: the cost of small masks is the
            # number of operations.
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

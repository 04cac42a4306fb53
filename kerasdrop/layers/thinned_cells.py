"""Cells of Keras that multiply inputs and state by masks from outside.

A cell of Keras makes its masks itself, at rates that are fixed when it is made.
Here the layer around it makes them, once for a sequence and before the loop
over its steps, and a `ThinnedCell` multiplies by them in each step, with the
code of the cell. It exists for one call, so no thread sees that of another.

tests/contracts/test_recurrent_cells.py pins what that code reads.
"""

import types
from typing import NamedTuple

import keras
from keras import ops

from kerasdrop import _backend
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.layers.dropout import Dropout

# The names of the rates of a cell of Keras: for its inputs and for its state.
RATES = ("dropout", "recurrent_dropout")

_WEIGHTS = ("kernel", "recurrent_kernel", "bias")


class ThinnedCell:
    """Stands for a cell of Keras that multiplies by given masks.

    Args:
        cell: A built cell of a class of Keras.
        of_inputs, of_state: A mask, a list of one for each gate, or None.
    """

    def __init__(
        self, cell: keras.layers.Layer, of_inputs: Given, of_state: Given
    ) -> None:
        self._cell = cell
        self._of_inputs = of_inputs
        self._of_state = of_state
        # The code of the cell asks for masks at rates between 0 and 1.
        self.dropout = 0.0 if of_inputs is None else 0.5
        self.recurrent_dropout = 0.0 if of_state is None else 0.5
        if isinstance(of_inputs, list) or isinstance(of_state, list):
            self.implementation = 1  # which has a product for each gate
        for name in _WEIGHTS:
            weight = getattr(cell, name)
            if weight is not None:
                # Keras casts weights when it calls a layer, which this is not.
                weight = ops.cast(weight, cell.compute_dtype)
            setattr(self, name, weight)

    def __getattr__(self, name: str) -> Given:
        found = getattr(self._cell, name)
        if getattr(found, "__self__", None) is self._cell:
            # A method of the cell reads what is here, too.
            return types.MethodType(found.__func__, self)
        return found

    def get_dropout_mask(self, step_input: Given) -> Given:
        return self._of_inputs

    def get_recurrent_dropout_mask(self, step_input: Given) -> Given:
        return self._of_state

    def __call__(self, inputs: Structure, states: Structure) -> Given:
        """One step: outputs and states, as of the cell."""
        inputs = ops.cast(inputs, self._cell.compute_dtype)
        return type(self._cell).call(self, inputs, states, training=True)


class Masks(NamedTuple):
    """The masks of a cell for a sequence.

    Attributes:
        of_inputs, of_state: A tensor, a list of one for each gate, or None.
    """

    of_inputs: Given
    of_state: Given


class Thinning:
    """The dropout of one cell: that of its inputs and that of its state.

    Args:
        cell: A cell of a class of Keras, whose own rates are 0.
        of_inputs, of_state: A `Dropout`, or None.
    """

    def __init__(
        self,
        cell: keras.layers.Layer,
        of_inputs: Dropout | None,
        of_state: Dropout | None,
    ) -> None:
        self.cell = cell
        self.of_inputs = of_inputs
        self.of_state = of_state

    def would_draw(self, training: bool | None) -> bool:
        """Whether a call with this `training`, here and now, would draw."""
        return any(
            dropout is not None and dropout.would_draw(training)
            for dropout in (self.of_inputs, self.of_state)
        )

    def masks(
        self, inputs: Tensor, state: Tensor, training: bool | None
    ) -> Masks:
        """Draws the masks for a sequence, as a cell of Keras at these rates.

        LSTM and GRU have a mask for each gate if the rate of the state is above
        0, and otherwise one mask of the inputs for all gates.

        Args:
            inputs, state: Tensors of the sizes that they have at one step.
        """
        by_gate = self._is_by_gate()
        of_inputs = self._drawn(self.of_inputs, inputs, by_gate, training)
        drops_state = self.of_state is not None and self.of_state.would_draw(
            training
        )
        if not drops_state:
            return Masks(of_inputs, None)
        of_state = self._drawn(self.of_state, state, by_gate, training)
        if self._has_gates() and not isinstance(of_state, list):
            of_state = None  # the rate is known to be 0
        return Masks(of_inputs, of_state)

    def _number_of_gates(self) -> int:
        cell = self.cell
        if hasattr(cell, "implementation"):
            return int(cell.kernel.shape[-1] // cell.units)
        return int(getattr(cell, "dropout_mask_count", 1))

    def _has_gates(self) -> bool:
        return self._number_of_gates() > 1

    def _is_by_gate(self) -> Given:
        """Whether there is a mask for each gate: a boolean, or a tensor."""
        if not self._has_gates():
            return False
        if hasattr(self.cell, "dropout_mask_count"):
            return True  # as always in its first implementation
        if self.of_state is None:
            return False
        # This is read before the draw, which counts the step. NaN counts as
        # above 0, so that it shows.
        rate = self.of_state._rate_tensor()
        known = _backend.at_hand(rate)
        return rate != 0.0 if known is None else bool(known[0] != 0.0)

    def _drawn(
        self,
        dropout: Dropout | None,
        like: Tensor,
        by_gate: Given,
        training: bool | None,
    ) -> Given:
        """A mask, a list of one for each gate, or None if nothing draws."""
        if dropout is None or not dropout.would_draw(training):
            return None
        ones = ops.ones_like(ops.cast(like, self.cell.compute_dtype))
        if by_gate is False:
            return dropout(ones, training=training)
        # They are drawn in one tensor, because the cost of small masks is the
        # number of operations.
        count = self._number_of_gates()
        drawn = dropout(ops.concatenate([ones] * count, -1), training=training)
        masks = list(ops.split(drawn, count, axis=-1))
        if by_gate is True or dropout is self.of_state:
            return masks
        return [ops.where(by_gate, mask, masks[0]) for mask in masks]


def thinned_cells(
    thinnings: list[Thinning],
    inputs: Tensor,
    states: Structure,
    training: bool | None,
) -> list[Given]:
    """The cells of a stack, thinned where they draw.

    Args:
        thinnings: List of a `Thinning` for each cell.
        inputs: Tensor of the size of the inputs of the first cell at a step.
        states: List of the states of each cell.
    """
    cells: list[Given] = []
    for thinning, own_states in zip(thinnings, states):
        cell: Given = thinning.cell
        if thinning.would_draw(training):
            state = own_states
            if isinstance(own_states, (list, tuple)):
                state = own_states[0]
            drawn = thinning.masks(inputs, state, training)
            cell = ThinnedCell(cell, *drawn)
        cells.append(cell)
        # Its output goes into the next cell.
        size = (ops.shape(inputs)[0], thinning.cell.output_size)
        inputs = ops.ones(size, thinning.cell.compute_dtype)
    return cells


def step_of_stack(
    stack: keras.layers.Layer, cells: list[Given], training: bool | None
) -> Function:
    """The step of `keras.layers.StackedRNNCells` with other cells.

    Args:
        stack: The `keras.layers.StackedRNNCells`.
        cells: List of what takes the place of each of its cells: the cell, or
            a `ThinnedCell`.
    """
    around = types.SimpleNamespace(cells=cells)

    def step(inputs: Structure, states: Structure) -> Given:
        return type(stack).call(around, inputs, states, training=training)

    return step

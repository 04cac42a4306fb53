"""A recurrent layer with one mask each for inputs, state and outputs."""

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.layers.arguments import CheckedArguments
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.locked import LockedDropout
from kerasdrop.layers.paths import name_scope


@keras.saving.register_keras_serializable("kerasdrop")
class DropoutRNN(CheckedArguments, keras.layers.RNN):
    """`keras.layers.RNN` with one thinned cell for all steps of a sequence.

    Each of three masks is drawn once for a row and is the same at each step:
    that of the inputs, of the state that goes back into the cell, and of the
    outputs. With `h` the first state of the cell, in training

        x'[t] = x[t] * keep_x / (1 - input_rate)
        h'[t] = h[t] * keep_h / (1 - recurrent_rate)
        y[t], h[t + 1] = cell(x'[t], h'[t])
        y'[t] = y[t] * keep_y / (1 - output_rate)

    and at inference `y[t], h[t + 1] = cell(x[t], h[t])`, by the code of Keras.

    `h` is dropped where the cell multiplies it by a kernel, by one mask for
    all gates (the paper's tied weights; `recurrent_dropout` of Keras draws one
    for each gate). What the cell carries on is not dropped: neither the second
    state of LSTM, nor what the update gate of GRU lets through. A state that
    was divided by `1 - rate` at each step would grow without end.

    The rates are those of three layers, `input_dropout`, `recurrent_dropout`
    and `output_dropout`: `get_rates(model)` finds them as
    `"rnn/input_dropout"` and so on, `layer.recurrent_dropout.rate = 0.1` sets
    one.

    Args:
        cell: A `keras.layers.LSTMCell`, `GRUCell` or `SimpleRNNCell` without
            dropout of its own; or a cell of yours. For your own cell, dropout
            is applied to the first state at the cell's input; this is right
            only if the cell passes that state on through a kernel alone.
        input_rate, recurrent_rate, output_rate: Float in [0, 1], the
            probability of dropping a unit; or a schedule, as in
            `kerasdrop.layers.Dropout`. None for no such dropout; this costs
            nothing, but leaves no rate that could be set later.
        seed: Integer, from which each of the three gets its own; or None, as
            in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.RNN`: `return_sequences`,
            `return_state`, `go_backwards`, `stateful`, `unroll`,
            `zero_output_for_mask`, `name`, `dtype`.

    Call arguments: As of `keras.layers.RNN`: `sequences`, a floating-point
        tensor `(batch, steps, features)`, `initial_state`, `mask`, `training`.

    Output shape: As of `keras.layers.RNN`. States are returned as they are,
        not dropped.

    Raises:
        ValueError: If an argument is out of its range; if no rate is given; if
            the cell drops units itself or is a stack of cells; or if it is of a
            subclass of `GRUCell` and a `recurrent_rate` is given.

    Example:

    >>> cell = keras.layers.LSTMCell(64)
    >>> layer = DropoutRNN(cell, 0.2, 0.2, return_sequences=True)

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287),
    section 4.
    """

    _extends = keras.layers.RNN
    _cells_with_rates = (
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
        keras.layers.SimpleRNNCell,
    )

    def __init__(
        self,
        cell: keras.layers.Layer,
        input_rate: Rate | None = None,
        recurrent_rate: Rate | None = None,
        output_rate: Rate | None = None,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        super().__init__(cell, **kwargs)
        self.seed = _checks.seed(seed)
        self._check_cell(recurrent_rate is not None)

        def dropout(
            number: int, cls: type, rate: Rate | None, name: str, dtype: Given
        ) -> Given:
            if rate is None:
                return None
            with name_scope(self):
                return cls(
                    rate,
                    seed=masks.derived_seed(self.seed, number),
                    stochastic_inference=stochastic_inference,
                    name=name,
                    dtype=dtype,
                )

        policy = self.dtype_policy
        self.input_dropout = dropout(
            0, LockedDropout, input_rate, "input_dropout", policy
        )
        self.recurrent_dropout = dropout(
            1, Dropout, recurrent_rate, "recurrent_dropout", cell.dtype_policy
        )
        cls = LockedDropout if self.return_sequences else Dropout
        self.output_dropout = dropout(
            2, cls, output_rate, "output_dropout", policy
        )
        self._stochastic_inference = stochastic_inference
        if not any(self._dropouts().values()):
            raise ValueError(
                f"{self._label()}: at least one of `input_rate`, "
                "`recurrent_rate` and `output_rate` must be given; 0.0 is a "
                "rate that can be raised later. Without dropout, use "
                "`keras.layers.RNN`. Received: None for all three"
            )

    def _label(self) -> str:
        return f"Layer '{self.name}' ({type(self).__name__})"

    def _dropouts(self) -> Config:
        return {
            "input_rate": self.input_dropout,
            "recurrent_rate": self.recurrent_dropout,
            "output_rate": self.output_dropout,
        }

    def _check_cell(self, drops_state: bool) -> None:
        cell = self.cell
        received = f"Received: cell={type(cell).__name__}"
        if isinstance(cell, keras.layers.StackedRNNCells):
            raise ValueError(
                f"{self._label()}: argument `cell` must be one cell. Instead "
                "of a stack of cells, stack layers, each with masks of its "
                "own: `DropoutRNN(cell, ..., return_sequences=True)` before "
                f"the last one. {received}"
            )
        if not isinstance(cell, keras.layers.Layer):
            raise ValueError(
                f"{self._label()}: argument `cell` must be a Keras layer, so "
                f"that it has weights and can be saved. {received}"
            )
        if isinstance(cell, self._cells_with_rates):
            rates = (cell.dropout, cell.recurrent_dropout)
            if any(rates):
                raise ValueError(
                    f"{self._label()}: the cell drops units itself, at fixed "
                    "rates. Make it without them, and give the rates to "
                    "this layer: `DropoutRNN(cell, input_rate=..., "
                    f"recurrent_rate=...)`. {received} with dropout={rates[0]},"
                    f" recurrent_dropout={rates[1]}"
                )
        is_gru = isinstance(cell, keras.layers.GRUCell)
        if drops_state and is_gru and type(cell) is not keras.layers.GRUCell:
            raise ValueError(
                f"{self._label()}: in a subclass of `GRUCell` it is not known "
                "where the state is multiplied by a kernel, and where it is "
                "carried on and must not be dropped. Leave `recurrent_rate` "
                f"out. {received}"
            )

    def call(
        self,
        sequences: Tensor,
        initial_state: Structure | None = None,
        mask: Tensor | None = None,
        training: bool | None = False,
    ) -> Tensor:
        if self.input_dropout is not None:
            sequences = self.input_dropout(sequences, training=training)
        results = super().call(sequences, initial_state, mask, training)
        if self.output_dropout is None:
            return results
        if not self.return_state:
            return self.output_dropout(results, training=training)
        outputs, *states = results
        return (self.output_dropout(outputs, training=training), *states)

    def inner_loop(
        self,
        sequences: Tensor,
        initial_state: Structure,
        mask: Tensor,
        training: bool | None = False,
    ) -> Given:
        """The loop over the steps, with the state dropped in each."""
        dropout = self.recurrent_dropout
        layer: Given = self
        if dropout is not None and dropout.would_draw(training):
            ones = ops.ones_like(initial_state[0])
            noise = dropout(ones, training=training)
            layer = WithCell(self, _noisy(self.cell, noise, training))
        return keras.layers.RNN.inner_loop(
            layer, sequences, initial_state, mask, training
        )

    def get_config(self) -> Config:
        rates = {
            name: None if dropout is None else dropout.get_config()["rate"]
            for name, dropout in self._dropouts().items()
        }
        return {
            **super().get_config(),
            **rates,
            "seed": self.seed,
            "stochastic_inference": self._stochastic_inference,
        }


class WithCell:
    """Stands for a recurrent layer with another cell during one call.

    The layer itself does not change, so no other thread is affected.
    """

    def __init__(
        self, layer: keras.layers.Layer, cell: keras.layers.Layer
    ) -> None:
        self._layer = layer
        self.cell = cell

    def __getattr__(self, name: str) -> Given:
        return getattr(self._layer, name)


def _noisy(
    cell: keras.layers.Layer, noise: Tensor, training: bool | None
) -> Function:
    """The step of a cell whose kernels get the first state times `noise`."""

    def step(inputs: Tensor, states: Structure) -> Given:
        if type(cell) is keras.layers.GRUCell:
            output = _gru_step(cell, inputs, states[0], noise)
            return output, [output]
        noisy = [states[0] * noise, *states[1:]]
        return cell(inputs, noisy, training=training)

    return step


def _gru_step(
    cell: keras.layers.Layer, inputs: Tensor, state: Tensor, noise: Tensor
) -> Tensor:
    """The step of a `GRUCell`; only its kernels get the state times `noise`.

    Args:
        cell: A `keras.layers.GRUCell`.
        inputs: Tensor `(batch, features)`.
        state, noise: Tensors `(batch, units)`.
    """

    def cast(tensor: Tensor) -> Tensor:
        return ops.cast(tensor, cell.compute_dtype)

    input_bias = recurrent_bias = cast(0.0)
    if cell.use_bias:
        input_bias = cast(cell.bias)
        if cell.reset_after:
            input_bias, recurrent_bias = ops.unstack(input_bias, 2)
    x = ops.matmul(cast(inputs), cast(cell.kernel)) + input_bias
    x_update, x_reset, x_new = ops.split(x, 3, axis=-1)
    kernel = cast(cell.recurrent_kernel)
    noisy = state * noise
    if cell.reset_after:
        h = ops.matmul(noisy, kernel) + recurrent_bias
        h_update, h_reset, h_new = ops.split(h, 3, axis=-1)
    else:
        h = ops.matmul(noisy, kernel[:, : 2 * cell.units])
        h_update, h_reset = ops.split(h, 2, axis=-1)
    update = cell.recurrent_activation(x_update + h_update)
    reset = cell.recurrent_activation(x_reset + h_reset)
    if cell.reset_after:
        h_new = reset * h_new
    else:
        h_new = ops.matmul(reset * noisy, kernel[:, 2 * cell.units :])
    new = cell.activation(x_new + h_new)
    return update * state + (1.0 - update) * new

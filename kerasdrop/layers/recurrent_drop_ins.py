"""Drop-ins for the recurrent layers of Keras, with live rates."""

import weakref

import keras

from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop.layers.live_recurrent import LiveRecurrent
from kerasdrop.layers.live_recurrent import OneCell
from kerasdrop.layers.live_recurrent import init_as
from kerasdrop.layers.state import fresh_seed


@keras.saving.register_keras_serializable("kerasdrop")
class LSTM(OneCell, keras.layers.LSTM):
    """`keras.layers.LSTM` whose two rates are live.

    In training, each row of a batch has its own masks, which are the same at
    all steps of its sequence. They follow the Keras layer: if
    `recurrent_dropout` is above 0, there is one mask of the inputs and one of
    the state for each gate; if it is 0, one mask of the inputs serves all
    gates (with `implementation=1`, there is one for each gate at any rate).
    The kernels of gate `g` multiply

        x_g[t] = x[t] * keep_x_g / (1 - dropout)
        h_g[t] = h[t] * keep_h_g / (1 - recurrent_dropout)

    The state itself is carried on without dropout. At inference nothing is
    dropped, and the layer uses the fast kernels that Keras has for layers
    without dropout, cuDNN included; the Keras layer uses them only without
    `recurrent_dropout`. In training the layer uses them if it was made with
    `recurrent_dropout=None`, and, on PyTorch in eager mode on a CPU, while
    `recurrent_dropout` is 0. Otherwise it runs the loop of Keras, because this
    rate may be raised at any time.

    The rates (`layer.dropout = 0.2`) belong to two dropout layers inside,
    which `get_rates(model)` lists as `"lstm/dropout"` and
    `"lstm/recurrent_dropout"`. `set_rates(model, 0.2)` sets both; a dict, or
    `layers="*/dropout"`, sets one of them.

    Args:
        units, activation, recurrent_activation: As in Keras.
        use_bias, kernel_initializer, recurrent_initializer: As in Keras.
        bias_initializer, unit_forget_bias, kernel_regularizer: As in Keras.
        recurrent_regularizer, bias_regularizer: As in Keras.
        activity_regularizer, kernel_constraint: As in Keras.
        recurrent_constraint, bias_constraint, return_sequences: As in Keras.
        return_state, go_backwards, stateful, unroll, use_cudnn: As in Keras.
        dropout, recurrent_dropout: Float in [0, 1], the probability of
            dropping a unit of the inputs, or of the state; or a schedule, as
            in `kerasdrop.layers.Dropout`; or None, for no such dropout. None
            cannot be changed to a rate later.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in Keras: `name`, `dtype`, `implementation`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: If a rate is out of its range; if both are None; if
            `use_cudnn=True` and a call needs masks that cuDNN does not
            support; or as in Keras.

    Example:

    >>> layer = LSTM(4, dropout=0.2, recurrent_dropout=0.1)
    >>> layer.recurrent_dropout = 0.3
    >>> layer(np.ones((2, 5, 8)), training=True).shape == (2, 4)
    True

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287),
    section 4, in the variant with untied weights: a mask for each gate.
    """

    _extends = keras.layers.LSTM
    __init__ = init_as(_extends)


@keras.saving.register_keras_serializable("kerasdrop")
class GRU(OneCell, keras.layers.GRU):
    """`keras.layers.GRU` whose two rates are live.

    It is like `LSTM`, with three gates. The part of the state that the update
    gate passes on is not dropped.

    Args:
        units, activation, recurrent_activation: As in Keras.
        use_bias, kernel_initializer, recurrent_initializer: As in Keras.
        bias_initializer, kernel_regularizer: As in Keras.
        recurrent_regularizer, bias_regularizer: As in Keras.
        activity_regularizer, kernel_constraint: As in Keras.
        recurrent_constraint, bias_constraint, return_sequences: As in Keras.
        return_state, go_backwards, stateful, unroll, reset_after: As in Keras.
        use_cudnn: As in Keras.
        dropout, recurrent_dropout: Float in [0, 1], the probability of
            dropping a unit of the inputs, or of the state; or a schedule; or
            None, see `LSTM`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in Keras: `name`, `dtype`, `implementation`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: In the same cases as `LSTM`.

    Example:

    >>> layer = GRU(4, dropout=0.2, return_sequences=True)
    >>> layer(np.ones((2, 5, 8)), training=True).shape == (2, 5, 4)
    True

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287).
    """

    _extends = keras.layers.GRU
    __init__ = init_as(_extends)


@keras.saving.register_keras_serializable("kerasdrop")
class SimpleRNN(OneCell, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` whose two rates are live.

    It is like `LSTM`, with one mask of the inputs and one of the state.

    Args:
        units, activation, use_bias: As in Keras.
        kernel_initializer, recurrent_initializer: As in Keras.
        bias_initializer, kernel_regularizer: As in Keras.
        recurrent_regularizer, bias_regularizer: As in Keras.
        activity_regularizer, kernel_constraint: As in Keras.
        recurrent_constraint, bias_constraint, return_sequences: As in Keras.
        return_state, go_backwards, stateful, unroll: As in Keras.
        dropout, recurrent_dropout: Float in [0, 1], the probability of
            dropping a unit of the inputs, or of the state; or a schedule; or
            None, see `LSTM`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in Keras: `name`, `dtype`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: In the same cases as `LSTM`.

    Example:

    >>> layer = SimpleRNN(4, recurrent_dropout=0.2)
    >>> layer.dropout, layer.recurrent_dropout
    (0.0, 0.2)

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287).
    """

    _extends = keras.layers.SimpleRNN
    __init__ = init_as(_extends)


@keras.saving.register_keras_serializable("kerasdrop")
class ConvLSTM1D(OneCell, keras.layers.ConvLSTM1D):
    """`keras.layers.ConvLSTM1D` whose two rates are live.

    It is like `LSTM`, with a mask of the inputs and one of the state for each
    gate at any rate. Each pixel of each channel is dropped independently.

    Args:
        filters, kernel_size, strides, padding: As in Keras.
        data_format, dilation_rate, activation: As in Keras.
        recurrent_activation, use_bias, kernel_initializer: As in Keras.
        recurrent_initializer, bias_initializer, unit_forget_bias: As in Keras.
        kernel_regularizer, recurrent_regularizer: As in Keras.
        bias_regularizer, activity_regularizer, kernel_constraint: As in Keras.
        recurrent_constraint, bias_constraint, return_sequences: As in Keras.
        return_state, go_backwards, stateful: As in Keras.
        dropout, recurrent_dropout: Float in [0, 1], the probability of
            dropping a unit of the inputs, or of the state; or a schedule; or
            None, see `LSTM`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in Keras: `name`, `dtype`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: In the same cases as `LSTM`.

    Example:

    >>> layer = ConvLSTM1D(4, 3, padding="same", dropout=0.2)
    >>> layer(np.ones((2, 5, 8, 3)), training=True).shape == (2, 8, 4)
    True

    Reference: [Shi et al., 2015](https://arxiv.org/abs/1506.04214).
    """

    _extends = keras.layers.ConvLSTM1D
    __init__ = init_as(_extends)


@keras.saving.register_keras_serializable("kerasdrop")
class ConvLSTM2D(OneCell, keras.layers.ConvLSTM2D):
    """`keras.layers.ConvLSTM2D` whose two rates are live.

    It is like `ConvLSTM1D`, for images.

    Args:
        filters, kernel_size, strides, padding: As in Keras.
        data_format, dilation_rate, activation: As in Keras.
        recurrent_activation, use_bias, kernel_initializer: As in Keras.
        recurrent_initializer, bias_initializer, unit_forget_bias: As in Keras.
        kernel_regularizer, recurrent_regularizer: As in Keras.
        bias_regularizer, activity_regularizer, kernel_constraint: As in Keras.
        recurrent_constraint, bias_constraint, return_sequences: As in Keras.
        return_state, go_backwards, stateful: As in Keras.
        dropout, recurrent_dropout: Float in [0, 1], the probability of
            dropping a unit of the inputs, or of the state; or a schedule; or
            None, see `LSTM`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in Keras: `name`, `dtype`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: In the same cases as `LSTM`.

    Example:

    >>> layer = ConvLSTM2D(4, 3, padding="same", dropout=0.2)
    >>> layer(np.ones((2, 5, 8, 8, 3)), training=True).shape == (2, 8, 8, 4)
    True

    Reference: [Shi et al., 2015](https://arxiv.org/abs/1506.04214).
    """

    _extends = keras.layers.ConvLSTM2D
    __init__ = init_as(_extends)


@keras.saving.register_keras_serializable("kerasdrop")
class ConvLSTM3D(OneCell, keras.layers.ConvLSTM3D):
    """`keras.layers.ConvLSTM3D` whose two rates are live.

    It is like `ConvLSTM1D`, for volumes.

    Args:
        filters, kernel_size, strides, padding: As in Keras.
        data_format, dilation_rate, activation: As in Keras.
        recurrent_activation, use_bias, kernel_initializer: As in Keras.
        recurrent_initializer, bias_initializer, unit_forget_bias: As in Keras.
        kernel_regularizer, recurrent_regularizer: As in Keras.
        bias_regularizer, activity_regularizer, kernel_constraint: As in Keras.
        recurrent_constraint, bias_constraint, return_sequences: As in Keras.
        return_state, go_backwards, stateful: As in Keras.
        dropout, recurrent_dropout: Float in [0, 1], the probability of
            dropping a unit of the inputs, or of the state; or a schedule; or
            None, see `LSTM`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in Keras: `name`, `dtype`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: In the same cases as `LSTM`.

    Example:

    >>> layer = ConvLSTM3D(2, 3, padding="same", recurrent_dropout=0.2)
    >>> layer(np.ones((1, 2, 4, 4, 4, 1))).shape == (1, 4, 4, 4, 2)
    True

    Reference: [Shi et al., 2015](https://arxiv.org/abs/1506.04214).
    """

    _extends = keras.layers.ConvLSTM3D
    __init__ = init_as(_extends)


# Cells whose rates a layer has taken over.
_taken: weakref.WeakSet[Given] = weakref.WeakSet()


@keras.saving.register_keras_serializable("kerasdrop")
class RNN(LiveRecurrent, keras.layers.RNN):
    """`keras.layers.RNN` around cells of Keras, with live rates.

    The masks are those of Keras, as described in `LSTM`. The layer takes the
    rates over from the cells, which drop nothing themselves from then on. The
    rates belong to dropout layers inside: `get_rates(model)` lists
    `"rnn/dropout"` and `"rnn/recurrent_dropout"`. For a stack of cells the
    names contain those of the cells, as in `"rnn/lstm_cell_dropout"`.

    Args:
        cell: A `keras.layers.LSTMCell`, `GRUCell` or `SimpleRNNCell`; or
            several cells, as a list or a `keras.layers.StackedRNNCells`.
        return_sequences, return_state, go_backwards, stateful: As in Keras.
        unroll, zero_output_for_mask: As in Keras.
        dropout, recurrent_dropout: None, for the rates of the cells; or a
            float in [0, 1] or a schedule, as in `kerasdrop.layers.Dropout`,
            for all cells; or a list with one of these for each cell.
        seed: Integer, or None to use the seeds of the cells.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    The order of the arguments, the call arguments and the output shape are
    those of the Keras layer.

    Raises:
        ValueError: If a rate is out of its range; if a cell is of another
            class; or if another layer has already taken over the rates of a
            cell.

    Example:

    >>> cells = [keras.layers.LSTMCell(4, dropout=0.2) for _ in range(2)]
    >>> layer = RNN(cells, recurrent_dropout=0.1)
    >>> layer(np.ones((2, 5, 8)), training=True).shape == (2, 4)
    True

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1512.05287).
    """

    _extends = keras.layers.RNN
    _cells_with_rates = (
        keras.layers.LSTMCell,
        keras.layers.GRUCell,
        keras.layers.SimpleRNNCell,
    )

    def __init__(
        self,
        cell: Given,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        *,
        dropout: Given = None,
        recurrent_dropout: Given = None,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.RNN.__init__(
            self,
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )
        self.seed = _checks.seed(seed)
        given = (
            self._for_each("dropout", dropout),
            self._for_each("recurrent_dropout", recurrent_dropout),
        )
        rates: list[Rate | None] = []
        seeds: list[Seed] = []
        is_seeded = []
        # Keras takes a number from Python's generator for each cell that is
        # made, but none for the layer around it.
        fresh = fresh_seed(is_dropping=False) if self.seed is None else None
        for number, one in enumerate(self._cells()):
            both = [of[number] for of in given]
            rates.extend(self._rates_of(one, both))
            own = getattr(one, "seed", None) if self.seed is None else None
            for part in range(2):
                if own is not None:
                    seeds.append(masks.derived_seed(own, part))
                else:
                    first = fresh if self.seed is None else self.seed
                    seeds.append(masks.derived_seed(first, 2 * number + part))
                is_seeded.append(own is not None or self.seed is not None)
        self._start(rates, seeds, is_seeded, stochastic_inference)

    @classmethod
    def has_taken(cls, cell: Given) -> bool:
        """Whether a layer of this class took the rates of `cell` over."""
        return cell in _taken

    def _for_each(self, name: str, rates: Given) -> list[Given]:
        """A rate for each cell, or None."""
        count = len(self._cells())
        if not isinstance(rates, (list, tuple)):
            return [rates] * count
        if len(rates) != count:
            raise ValueError(
                f"{self._label()}: argument `{name}` must be one rate, or a "
                f"list of one for each of the {count} cells. Received: "
                f"{name}={rates!r}"
            )
        return list(rates)

    def _rates_of(
        self, cell: keras.layers.Layer, given: list[Given]
    ) -> list[Rate | None]:
        """The rates of a cell, which gives them up."""
        if type(cell) not in self._cells_with_rates:
            raise ValueError(
                f"{self._label()}: each cell must be a cell of Keras, whose "
                "masks are known: `keras.layers.LSTMCell`, `GRUCell` or "
                "`SimpleRNNCell`, not a subclass. Around another one, use "
                "`keras.layers.RNN`, or `kerasdrop.layers.DropoutRNN`. "
                f"Received: a cell of class {type(cell).__name__}"
            )
        if cell in _taken and None in given:
            raise ValueError(
                f"{self._label()}: another layer took the rates of cell "
                f"'{cell.name}' over. Give `dropout` and `recurrent_dropout` "
                "to this one, or make a cell for each. Received: "
                f"dropout={given[0]}, recurrent_dropout={given[1]}"
            )
        own = [cell.dropout, cell.recurrent_dropout]
        _taken.add(cell)
        cell.dropout = cell.recurrent_dropout = 0.0
        if own[1] and hasattr(cell, "dropout_mask_count"):
            # Keras chose a slower one for masks that the cell no longer makes.
            cell.implementation = 2
            del cell.dropout_mask_count
        return [rate if now is None else now for rate, now in zip(own, given)]

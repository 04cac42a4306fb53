"""The recurrent layers of Keras with live rates.

Only this module relies on private facts about these layers: the code of `LSTM`
and `GRU` reads the rates of the layer itself when it chooses a kernel, and
`Bidirectional` tests whether those of the cells are true.
tests/contracts/test_recurrent_cells.py pins both.
"""

import contextlib
import inspect
import threading
from collections.abc import Iterator

import keras

from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop._refusals import blame
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.layers.arguments import CheckedArguments
from kerasdrop.layers.base import rate_or_schedule
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.paths import name_scope
from kerasdrop.layers.recurrent import WithCell
from kerasdrop.layers.state import seed_ahead
from kerasdrop.layers.thinned_cells import RATES
from kerasdrop.layers.thinned_cells import ThinnedCell
from kerasdrop.layers.thinned_cells import Thinning
from kerasdrop.layers.thinned_cells import step_of_stack
from kerasdrop.layers.thinned_cells import thinned_cells

_current = threading.local()


@contextlib.contextmanager
def _code_of_keras(layer: keras.layers.Layer) -> Iterator[None]:
    """Marks that the code of Keras runs `layer`, in this thread."""
    outer = getattr(_current, "layer", None)
    _current.layer = layer
    try:
        yield
    finally:
        _current.layer = outer


class _Elsewhere(float):
    """The rate of a cell whose layer drops: a zero that is true.

    A cell drops nothing at rate 0. But `Bidirectional` tests whether the rate
    of a cell is true, and if it is not, may call neither of its layers.
    """

    def __bool__(self) -> bool:
        return True


class LiveRecurrent(CheckedArguments):
    """Abstract: a recurrent layer of Keras, with dropout layers for its masks.

    The cells in it drop nothing themselves.
    """

    # Attributes of the layer of Keras, and of this class.
    cell: Given
    seed: Given
    dtype_policy: Given
    name: Given
    _dropout_layers: tuple[Dropout | None, ...]

    def _start(
        self,
        rates: list[Rate | None],
        seeds: list[Seed],
        is_seeded: list[bool],
        stochastic_inference: bool,
    ) -> None:
        """Makes the dropout layers, once the layer of Keras is made.

        Args:
            rates, seeds, is_seeded: Lists with an entry for the inputs of the
                first cell, one for its state, one for the inputs of the second
                cell, and so on. A rate of None means no dropout. A seed that
                the user did not give (`is_seeded` is False) is forgotten
                afterwards, see `StochasticLayer.seed_later`.
        """
        self._stochastic_inference = stochastic_inference
        dropouts: list[Dropout | None] = []
        for number, rate in enumerate(rates):
            if rate is None:
                dropouts.append(None)
                continue
            rate = rate_or_schedule(rate, RATES[number % 2])
            with name_scope(self):
                made = Dropout(
                    rate,
                    seed=seeds[number],
                    stochastic_inference=stochastic_inference,
                    name=self._name_of(number),
                    dtype=self._cells()[number // 2].dtype_policy,
                )
            if not is_seeded[number]:
                made.seed_later()
            dropouts.append(made)
        if not any(dropouts):
            raise ValueError(
                f"{self._label()}: at least one of `dropout` and "
                "`recurrent_dropout` must be given; 0.0 is a rate that can be "
                "raised later. Without dropout, use "
                f"`keras.layers.{type(self).__name__}`. Received: None for all"
            )
        self._dropout_layers = tuple(dropouts)

    def _label(self) -> str:
        if not hasattr(self, "name"):  # the layer of Keras is not made yet
            return type(self).__name__
        return f"Layer '{self.name}' ({type(self).__name__})"

    def _cells(self) -> list[keras.layers.Layer]:
        is_stack = isinstance(self.cell, keras.layers.StackedRNNCells)
        return list(self.cell.cells) if is_stack else [self.cell]

    def _name_of(self, number: int) -> str:
        name = RATES[number % 2]
        if not isinstance(self.cell, keras.layers.StackedRNNCells):
            return name
        return f"{self._cells()[number // 2].name}_{name}"

    def inner_loop(
        self,
        sequences: Tensor,
        initial_state: Structure,
        mask: Tensor,
        training: bool | None = False,
    ) -> Given:
        """The loop over the steps, with the masks of the sequence in each."""
        of = self._dropout_layers
        thinnings = [
            Thinning(cell, *both)
            for cell, *both in zip(self._cells(), of[::2], of[1::2])
        ]
        if not any(thinning.would_draw(training) for thinning in thinnings):
            return self._by_keras(sequences, initial_state, mask, training)
        if isinstance(self.cell, keras.layers.StackedRNNCells):
            cells = thinned_cells(
                thinnings, sequences[:, 0], initial_state, training
            )
            step = step_of_stack(self.cell, cells, training)
            return self._looped(step, sequences, initial_state, mask, training)
        drawn = thinnings[0].masks(sequences[:, 0], initial_state[0], training)
        if drawn.of_state is None and not isinstance(drawn.of_inputs, list):
            # With one mask of the inputs for all steps, Keras' kernels can run.
            sequences = sequences * keras.ops.expand_dims(drawn.of_inputs, 1)
            return self._by_keras(sequences, initial_state, mask, training)
        step = ThinnedCell(self.cell, *drawn)
        return self._looped(step, sequences, initial_state, mask, training)

    def _by_keras(self, *args: Given) -> Given:
        """The loop of Keras, in which no cell drops anything."""
        with _code_of_keras(self):
            return super().inner_loop(*args)  # type: ignore[misc]

    def _looped(
        self,
        step: Function,
        sequences: Tensor,
        initial_state: Structure,
        mask: Tensor,
        training: bool | None,
    ) -> Given:
        """The loop with another step function, for which there is no kernel."""
        if getattr(self, "use_cudnn", False) is True:
            raise ValueError(
                f"{self._label()}: cuDNN supports neither masks for each gate "
                "nor one of the state. Leave `use_cudnn=True` out; or make the "
                "layer with `recurrent_dropout=None`, a rate that cannot be "
                "raised later. Received: use_cudnn=True"
            )
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        view: Given = WithCell(self, step)
        return keras.layers.RNN.inner_loop(
            view, sequences, initial_state, mask, training
        )

    def get_config(self) -> Config:
        with _code_of_keras(self):
            config = super().get_config()  # type: ignore[misc]
        rates = [
            None if dropout is None else dropout.get_config()["rate"]
            for dropout in self._dropout_layers
        ]
        of_inputs: Given = rates[::2]
        of_state: Given = rates[1::2]
        if not isinstance(self.cell, keras.layers.StackedRNNCells):
            of_inputs, of_state = rates
        return {
            **config,
            "dropout": of_inputs,
            "recurrent_dropout": of_state,
            "seed": self.seed,
            "stochastic_inference": self._stochastic_inference,
        }


def _rate(number: int, what: str) -> property:
    """The rate of one of the two dropout layers, as a property."""
    name = RATES[number]

    def read(self: Given) -> float | None:
        if getattr(_current, "layer", None) is self:
            return 0.0
        dropout = self._dropout_layers[number]
        return None if dropout is None else dropout.rate

    def write(self: Given, value: Given) -> None:
        dropout = self._dropout_layers[number]
        if dropout is None:
            raise ValueError(
                f"{self._label()}: it was made with `{name}=None`, and has no "
                "such rate. Make it with a number, or a schedule. Received: "
                f"{name}={value!r}"
            )
        if not _checks.is_schedule(value):
            with blame(self._label()):
                _checks.rate(value, name, takes_schedule=False)  # raises
        dropout.rate = value

    return property(read, write, doc=f"The rate of {what}, as `Dropout.rate`.")


class OneCell(LiveRecurrent):
    """Abstract: a layer of Keras that makes its own cell."""

    _extends: Given

    def _make(self, args: Given, kwargs: Given, draws: bool) -> None:
        # The names are those of the layer of Keras.
        stock: Given = self._extends
        given = inspect.signature(stock.__init__).bind(self, *args, **kwargs)
        given.apply_defaults()
        others = given.arguments.pop("kwargs")
        arguments = {**given.arguments, **others}
        del arguments["self"]
        rates = [arguments[name] for name in RATES]
        self.seed = seed = _checks.seed(arguments["seed"])
        if seed is None:
            seed = seed_ahead()  # Keras takes a number of its own below
        stock.__init__(self, **{**arguments, **dict.fromkeys(RATES, 0.0)})
        self.cell.dropout = _Elsewhere(0.0)
        seeds: list[Seed] = [masks.derived_seed(seed, i) for i in range(2)]
        self._start(rates, seeds, [self.seed is not None] * 2, draws)

    def get_config(self) -> Config:
        config = super().get_config()
        # Keras does not store these.
        if getattr(self.cell, "implementation", 2) != 2:
            config["implementation"] = self.cell.implementation
        use_cudnn = getattr(self, "use_cudnn", "auto")
        if use_cudnn != "auto":
            config["use_cudnn"] = use_cudnn
        return config

    dropout = _rate(0, "the inputs")
    recurrent_dropout = _rate(1, "the state")


def init_as(stock: Given) -> Given:
    """An `__init__` with the arguments of that of a layer of Keras."""

    def __init__(
        self: Given,
        *args: Given,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        self._make(args, kwargs, stochastic_inference)

    signature = inspect.signature(stock.__init__)
    *named, others = signature.parameters.values()
    own = inspect.signature(__init__).parameters["stochastic_inference"]
    init: Given = __init__
    init.__signature__ = signature.replace(parameters=[*named, own, others])
    return init

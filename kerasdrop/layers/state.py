"""State variables that are not weights: rates, keys and counters."""

import random
from typing import NoReturn

import keras
import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers import paths


class StateVariable(keras.random.SeedGenerator):
    """One variable, in the place where Keras expects the state of a generator.

    Keras therefore passes it through compiled steps on every backend, but does
    not count it as a weight: `layer.weights`, `count_params()` and
    `set_weights()` are as for the stock layer.

    Args:
        place: As in `PlacedVariable`.
    """

    def __init__(
        self, value: Given, dtype: str, name: str, place: Given = None
    ) -> None:
        # The parent's `__init__` is not called, because it would create a seed.
        self.name = name
        self.backend = keras.backend
        self._initial_seed = None
        value = np.asarray(value, dtype)
        with _backend.lasting():
            self.state = paths.PlacedVariable(
                # A function, which Keras may call later: while it only infers
                # shapes, nothing has a value yet.
                lambda shape, dtype=None: ops.convert_to_tensor(value, dtype),
                shape=value.shape,
                dtype=dtype,
                trainable=False,
                autocast=False,  # a float16 policy must not round the rate
                name=name,
                **_backend.whole_layout(value.ndim),
            )
        self.state.place = place

    def hold(self, value: Array) -> None:
        """Assigns an array unless it is there, since a comparison is faster."""
        held = ops.convert_to_numpy(_backend.read(self.state))
        if not np.array_equal(held, value):
            self.state.assign(value)

    def next(self, *args: Given, **kwargs: Given) -> NoReturn:
        raise TypeError("This holds a state of kerasdrop and draws nothing.")


def value_of(variable: keras.Variable, owner: str) -> Tensor:
    """The value of a variable, to read or before it is written.

    Raises:
        RuntimeError: On JAX, if Keras holds it elsewhere.
    """
    try:
        return variable.value
    except TypeError:
        # Keras on JAX holds the values elsewhere during an epoch and leaves
        # None behind. What is written now would be lost.
        raise _backend.ValuesAway(
            f"{owner}: on JAX, Keras keeps the state of a model outside its "
            "variables while an epoch runs, so the rate can neither be read "
            f"nor set now. {_remedy()}"
        ) from None


def _remedy() -> str:
    """The advice if Keras on JAX holds the values."""
    if _backend.is_in_trainer():
        return (
            "In a callback, touch `self.model` first (its getter writes the "
            "state back), or call `model.jax_state_sync()`."
        )
    if not _backend.models_of_other_threads():
        return (
            "No epoch runs: one that ended with an error in its first step "
            "left the model without values. Build the model anew."
        )
    return (
        "The epoch runs in another thread: to set rates from here, pass a "
        "`kerasdrop.callbacks.DropoutRateControl` to `fit` and call its "
        "`set_rates`; to see them, use `DropoutRateLogger`. Do not call "
        "`model.jax_state_sync()` from here, which ends `fit` with an error."
    )


class DrawState(keras.layers.Layer):
    """The state of a stochastic layer, a private child layer.

    It is a layer, so that it is saved and restored with the model, while a
    checkpoint of the stock layer, which lacks it, can be loaded as well.

    The path of each state consists of the name of the layer, `draw_state` and a
    name that no other state has, because paths must be unique in
    `get_state_tree`, in a `state_dict` of PyTorch, and elsewhere.

    States:
        rate: float32 scalar; absent if the rate is a schedule, or learned.
        key: int32 `(2, 2, 1)`, made from the seed. Its path ends in `seed`.
        step: int32 scalar, the number of training calls.
        draws: int32 scalar, the number of draws at inference.
    """

    def __init__(
        self, rate: Rate, seed: Seed, layer: keras.layers.Layer, owner: str
    ) -> None:
        super().__init__(name="draw_state")
        self._owner = owner
        self._keeps_key = seed is not None
        if seed is None:
            seed = fresh_seed(rate != 0.0)
        with paths.name_scope(layer) as place, keras.name_scope(self.name):
            # The name is not "key", which a layout map may use for attention.
            suffix = _suffix()

            def variable(value: Given, dtype: str, name: str) -> StateVariable:
                outermost, names = place
                names = [*names, self.name, name]
                return StateVariable(
                    value, dtype, name + suffix, (outermost, names)
                )

            if rate is not None:
                self.rate = variable(rate, "float32", "rate")
            self.key = variable(masks.key_of_seed(seed), "int32", "seed")
            self.step = variable(0, "int32", "step")
            self.draws = variable(0, "int32", "draws")
        self._register()
        self.built = True

    def complete(self) -> None:
        """Registers the states again if some had no value at first."""
        if not self._is_registered:
            self._register()

    def _register(self) -> None:
        variables = {
            name: one.state for name, one in self._state_variables().items()
        }
        self._checkpointed = _backend.checkpointed(variables)
        self._is_registered = _backend.register(self, variables)

    def seed_later(self) -> None:
        """Makes this the state of an unseeded layer, which has no key yet."""
        self._keeps_key = False

    def seed_now(self, layer: keras.layers.Layer, is_dropping: bool) -> None:
        """Gives it a key when Keras builds the layer around `layer`.

        The key gets a new variable, because Keras may build while it only
        infers shapes, and would then discard an assigned value.
        """
        value = masks.key_of_seed(fresh_seed(is_dropping))
        with paths.name_scope(layer), keras.name_scope(self.name):
            place = self.key.state.place
            new = StateVariable(value, "int32", self.key.name, place)
            self.key.state = new.state
        self._register()

    def _state_variables(self) -> Config:
        names = ("rate", "key", "step", "draws")
        return {
            name: getattr(self, name) for name in names if hasattr(self, name)
        }

    def read(self, name: str) -> Tensor:
        """The value of a state as a numpy array."""
        self._readable(name)
        # NumPy cannot read a strategy's variable inside the scope.
        return ops.convert_to_numpy(self.tensor(name))

    def write(self, name: str, value: Given) -> None:
        """Sets a state from outside the model's computation."""
        self._readable(name)
        variable = getattr(self, name).state
        for model in _backend.models_of_other_threads():
            if any(variable is each for each in model.non_trainable_variables):
                # Even if the values are in place now, Keras may have read them
                # already, and may write them back later.
                raise _backend.ValuesAway(
                    f"{self._owner}: Keras trains, evaluates or predicts with "
                    f"model '{model.name}' just now, and what is set "
                    f"meanwhile may be lost on JAX. {_remedy()}"
                )
        variable.assign(value)

    def tensor(self, name: str) -> Tensor:
        """The value of a state, in the graph."""
        return _backend.read(getattr(self, name).state)

    def advance(self, name: str) -> Tensor:
        """Adds 1 to a counter, in the graph; returns its value before.

        Raises:
            RuntimeError: On JAX in a compiled function, and on PyTorch in one
                that `torch.func` differentiates, if it does not get the state
                as an argument.
        """
        variable = getattr(self, name).state
        if _backend.is_state_lost(variable):
            raise RuntimeError(
                f"{self._owner}: it draws in a function that JAX compiles "
                "(`jax.jit`, `jax.lax.scan`, a loop of `keras.layers.RNN`, "
                "...) or `torch.func` differentiates, and that does not get "
                "the layer's state. Each call, or step of the loop, would draw "
                "the same mask, and the steps would not be counted. Make the "
                "layer outside, and call it by "
                "`outputs, state = model.stateless_call(trainable, state, "
                "inputs, training=True)`, with values of variables as "
                "arguments of that function. In a recurrent layer, "
                "draw outside of the cell, as `kerasdrop.layers.DropoutRNN` "
                "does, or pass `unroll=True`."
            )
        return _backend.counted(variable)

    def _readable(self, name: str) -> Tensor:
        return value_of(getattr(self, name).state, self._owner)

    def quantize(self, mode: str | None = None, **kwargs: Given) -> None:
        """Does nothing, because there are no weights.

        `Model.quantize` calls this, and warns about layers without it.
        """

    def save_own_variables(self, store: Given) -> None:
        for name in self._state_variables():
            store[name] = self.read(name)

    def load_own_variables(self, store: Given) -> None:
        # A checkpoint of the stock layer lacks these, which is not an error.
        stored = set(store.keys())
        for name in self._state_variables():
            # A layer that was made with a seed keeps it. A layer without one
            # continues with the masks of the run that it resumes.
            if name in stored and not (name == "key" and self._keeps_key):
                value = np.asarray(store[name])
                if name == "rate":
                    with blame(self._owner):
                        value = _checks.rate(value)
                self.write(name, value)


def seed_ahead() -> int:
    """The 63 bits that Python's generator would give next, as a seed.

    The generator is not advanced. The caller must take a number from it
    afterwards, or make the code of Keras take one.
    """
    ahead = random.Random()
    ahead.setstate(random.getstate())
    return ahead.getrandbits(63)


def fresh_seed(is_dropping: bool) -> int:
    """A seed of 63 bits for a layer without a seed.

    It has the bits that Python's generator, which
    `keras.utils.set_random_seed` seeds, would give next, so that any two
    unseeded layers differ. The layer takes as many numbers from the generator
    as the stock layer, one if the rate is above 0. The weights of later layers
    are therefore the same as after the stock layer.
    """
    seed = seed_ahead()
    if is_dropping:
        random.randint(1, 10**9)
        return seed
    # Python's `random` is not advanced, so other layers may find the same
    # state.
    number = keras.backend.get_uid(f"kerasdrop_seed_{seed}")
    return masks.derived_seed(seed, number)


def _suffix() -> str:
    """A suffix that makes names unique in this scope; usually empty.

    Keras numbers the names that it makes, but a name that was given may occur
    twice, for example in each of several blocks.
    """
    path = StateVariable(0, "int32", "draws").state.path
    number = keras.backend.get_uid(path)
    return "" if number == 1 else f"_{number - 1}"

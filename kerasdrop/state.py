"""State that is no weight: where a rate, a key and a counter live."""

import random

import keras
import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import masks


class Cell(keras.random.SeedGenerator):
    """One variable, held where Keras expects the state of a generator.

    So the variable is threaded through compiled steps on every backend, yet
    is no weight: `layer.weights`, `count_params()` and `set_weights()` stay
    what they are with the stock layer.
    """

    def __init__(self, value, dtype, name):
        # Not calling the parent: it would create a seed of its own.
        self.name = name
        self.backend = keras.backend
        self._initial_seed = None
        with _backend.lasting():
            self.state = keras.Variable(
                np.asarray(value, dtype),
                dtype=dtype,
                trainable=False,
                autocast=False,  # a float16 policy must not round the rate
                name=name,
            )

    def next(self, *args, **kwargs):
        raise TypeError("This holds a state of kerasdrop and draws nothing.")


def value_of(variable, owner):
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
            "nor set now. In a callback, touch `self.model` first (its getter "
            "writes the state back), or call `model.jax_state_sync()`."
        ) from None


class DrawState(keras.layers.Layer):
    """What a stochastic layer remembers; its private child.

    A layer of its own, so that it is saved and restored with the model and
    yet a checkpoint of the stock layer, which has none of it, loads as well.

    States:
        rate: float32 scalar; absent if the rate is a schedule, or learned.
        key: int32 `(2, 2, 1)`, made from the seed.
        step: int32 scalar, the number of training calls.
        draws: int32 scalar, the number of draws at inference.
    """

    def __init__(self, rate, seed, owner):
        super().__init__(name="draw_state")
        self._owner = owner
        self._keeps_key = seed is not None
        if seed is None:
            # Python's generator: `keras.utils.set_random_seed` seeds it. The
            # 63 bits keep any two unseeded layers apart.
            seed = random.getrandbits(63)
        if rate is not None:
            self.rate = Cell(rate, "float32", "rate")
        self.key = Cell(masks.key_of_seed(seed), "int32", "key")
        self.step = Cell(0, "int32", "step")
        self.draws = Cell(0, "int32", "draws")
        self.built = True

    def _cells(self):
        names = ("rate", "key", "step", "draws")
        return {
            name: getattr(self, name) for name in names if hasattr(self, name)
        }

    def read(self, name):
        """The value of a state as a numpy array."""
        return ops.convert_to_numpy(self._readable(name))

    def write(self, name, value):
        """Sets a state from outside the model's computation."""
        self._readable(name)
        getattr(self, name).state.assign(value)

    def advance(self, name):
        """Adds 1 to a counter, in the graph; returns its value before."""
        variable = getattr(self, name).state
        # A copy: PyTorch's variable is about to change in place.
        before = variable.value + 0
        variable.assign(before + 1)
        return before

    def _readable(self, name):
        return value_of(getattr(self, name).state, self._owner)

    def quantize(self, mode=None, **kwargs):
        """Does nothing, for there is no weight here.

        `Model.quantize` asks every layer, and warns of each that cannot.
        """

    def save_own_variables(self, store):
        for name in self._cells():
            store[name] = self.read(name)

    def load_own_variables(self, store):
        # A stock layer's checkpoint has nothing for us: that is no error.
        stored = set(store.keys())
        for name in self._cells():
            # A seed that was asked for outlives a checkpoint; a layer without
            # one continues the masks of the run that it resumes.
            if name in stored and not (name == "key" and self._keeps_key):
                value = np.asarray(store[name])
                if name == "rate":
                    value = _checks.rate(value, self._owner)
                self.write(name, value)

"""How a model gets into the zoo, and what is said of it there."""

import contextlib
import zlib
from typing import NamedTuple

import keras
import numpy as np

from tests.support import versions

ROWS = 6  # of the inputs of an entry; the last row is the first again
TOKENS = 7  # integers of the inputs are below
OPEN = 5  # size of an axis that a model leaves open
REFUSED = "."  # in any words; the cure is asked for as well
BACKENDS = ("tensorflow", "jax", "torch")


class Entry(NamedTuple):
    """A model of the zoo, and what is true of it.

    Attributes:
        name: String, that of its function.
        make: Function of a rate that returns the model; without a rate it is
            the one of the entry.
        inputs: Function of a number of rows that returns its inputs; None for
            `inputs_of` the model.
        law: What its samples are distributed as: `"training"`, the outputs of
            the stock model in training; `"masks"`, the outputs under all of
            its masks, few enough to be listed; None, neither, since training
            differs from inference in more than what is drawn.
        refused: What must be in the message with which it is refused, a
            regular expression; None if it is accepted. A dict names it for
            the backends on which it is.
        one_by_one: Whether it is right with `vectorized=False`, if it is
            refused.
        by_keras: Whether generators of Keras draw, so that numbers depend on
            the batch and on the backend.
        rows_share_masks: Whether rows are dropped together by design.
        tolerance: Of its outputs, relative to the largest of each; a multiple
            of the rounding of its dtype.
        core: Whether `make test` runs it, on PyTorch and in turn on JAX or
            TensorFlow, which compile. It also runs half of the others, on
            PyTorch. `make test-full` runs all on each backend.
        warns: What a warning says, a regular expression; None for none.
        backends: Those that it runs on.
        comparable: Whether its numbers are those of the other backends: not if
            weights are quantized, or the model does not list them, nor if
            operations of Keras differ, such as those on images.
        since: String, the first version of Keras that can make it.
    """

    name: str
    make: object
    inputs: object = None
    law: object = "training"
    refused: object = None
    one_by_one: bool = True
    by_keras: bool = False
    rows_share_masks: bool = False
    tolerance: float = 1e-5
    core: bool = False
    warns: object = None
    backends: tuple = BACKENDS
    comparable: bool = True
    since: str = "3.0"

    @property
    def number(self):
        """One that is the same in each run, to vary settings by."""
        return zlib.crc32(self.name.encode())


ENTRIES = {}


def entry(inputs=None, **facts):
    """Decorates a function that makes a model, which goes into the zoo.

    Args:
        inputs, **facts: As in `Entry`.
    """

    def register(make):
        name = make.__name__
        assert name not in ENTRIES, f"there are two models '{name}'"
        if isinstance(facts.get("refused"), dict):
            facts["refused"] = facts["refused"].get(keras.backend.backend())
        ENTRIES[name] = Entry(name, make, inputs, **facts)
        return make

    return register


@contextlib.contextmanager
def of_policy(name):
    """Layers and models that are made in the block have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def here():
    """The entries that run on this backend, and on this Keras."""
    backend = keras.backend.backend()
    return [
        one
        for one in ENTRIES.values()
        if backend in one.backends and not versions.is_older(one.since)
    ]


def is_quick(entry):
    """Whether `make test` runs an entry on this backend."""
    backend = keras.backend.backend()
    turn = ("jax", "tensorflow")[entry.number // 7 % 2]
    few = len(entry.backends) < len(BACKENDS)
    if backend == "torch":
        return few or entry.core or entry.number % 2 == 0
    return few or (entry.core and backend == turn)


def inputs_of(model, rows=ROWS):
    """Inputs that fit the model: normal floats, integers below 7."""
    generator = np.random.default_rng(0)

    def draw(symbolic):
        shape = (rows, *(size or OPEN for size in symbolic.shape[1:]))
        if "int" in symbolic.dtype:
            return generator.integers(0, TOKENS, shape).astype("int32")
        # Of float32 in any case, as some backends read what they are given.
        normal = generator.normal(size=shape).astype("float32")
        return normal.astype(symbolic.dtype)

    if len(model.inputs) == 1:
        return draw(model.inputs[0])
    return keras.tree.map_structure(draw, model.input)


def padded_tokens(length):
    """Inputs: rows of 1, 2, ... tokens, and zeros behind them."""

    def make(rows):
        tokens = np.random.default_rng(0).integers(1, TOKENS, (rows, length))
        lengths = 1 + np.arange(rows)[::-1, None] % length
        return np.where(np.arange(length) < lengths, tokens, 0).astype("int32")

    return make


def padded_steps(length, features):
    """Inputs: sequences of 1, 2, ... steps, and zeros behind them."""

    def make(rows):
        generator = np.random.default_rng(0)
        steps = generator.normal(size=(rows, length, features))
        there = padded_tokens(length)(rows)[..., None] > 0
        return np.where(there, steps, 0.0).astype("float32")

    return make


def floats(*shape, scale=1.0):
    """Inputs: normal numbers, of this shape without the rows."""

    def make(rows):
        generator = np.random.default_rng(0)
        normal = generator.normal(size=(rows, *shape))
        return (scale * normal).astype("float32")

    return make


def set_weights(model, seed=0):
    """Gives a model weights that are the same on all backends.

    Kernels keep the size of what passes; what is a scale is about 1, what is
    a variance above 0.
    """
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        dtype = keras.backend.standardize_dtype(variable.dtype)
        if "float" not in dtype:
            continue
        shape = tuple(variable.shape)
        value = generator.normal(size=shape)
        name = variable.path.rpartition("/")[2]
        if "variance" in name:
            value = 1.0 + np.abs(value)
        elif name in ("gamma", "scale"):
            value = 1.0 + 0.2 * value
        elif len(shape) > 1:
            value = value / np.sqrt(np.prod(shape[:-1]))
        else:
            value = 0.3 * value
        variable.assign(value.astype("float32"))

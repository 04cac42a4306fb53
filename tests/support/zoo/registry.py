"""Registers models in the zoo, with facts about each."""

import contextlib
import zlib
from typing import NamedTuple

import keras
import numpy as np

from tests.support import versions

ROWS = 6  # of the inputs of an entry; the last row repeats the first
TOKENS = 7  # integers of the inputs are below this
OPEN = 5  # size of an axis that a model leaves open
REFUSED = "."  # in any words; the remedy is tested as well
BACKENDS = ("tensorflow", "jax", "torch")


class Entry(NamedTuple):
    """A model of the zoo, and facts about it.

    Attributes:
        name: String, the name of its function.
        make: Function of a rate that returns the model. The default rate is
            that of the entry.
        inputs: Function of a number of rows that returns its inputs; None for
            `inputs_of` the model.
        law: The distribution of its samples: `"training"`, the outputs of the
            stock model in training; `"masks"`, the outputs under all of its
            masks, which are few; None, neither, since training differs from
            inference in more than dropout.
        refused: A regular expression that the message of its refusal must
            match; None if it is accepted. A dict has one for each backend that
            refuses it.
        one_by_one: Whether it works with `vectorized=False` if it is refused.
        by_keras: Whether generators of Keras draw, so that numbers depend on
            the batch and on the backend.
        rows_share_masks: Whether rows are meant to be dropped together.
        tolerance: The tolerance of its outputs, relative to the largest number
            of each; a multiple of the rounding of its dtype.
        core: Whether `make test` runs it, on PyTorch and in turn on JAX or
            TensorFlow, which compile. It also runs half of the others, on
            PyTorch. `make test-full` runs all on each backend.
        warns: A regular expression that a warning must match; None if there is
            none.
        backends: The backends that it runs on.
        comparable: Whether its numbers are the same on all backends. They are
            not if weights are quantized or not listed by the model, or if
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
        """A number that is the same in each run, by which settings vary."""
        return zlib.crc32(self.name.encode())


ENTRIES = {}


def entry(inputs=None, **facts):
    """Returns a decorator that adds a function of a model to the zoo.

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
    """Gives layers and models that are made in the block this dtype policy."""
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
        # They are float32 in any case, as some backends use the given dtype.
        normal = generator.normal(size=shape).astype("float32")
        return normal.astype(symbolic.dtype)

    if len(model.inputs) == 1:
        return draw(model.inputs[0])
    return keras.tree.map_structure(draw, model.input)


def padded_tokens(length):
    """Returns a function that makes rows of 1, 2, ... tokens, then zeros."""

    def make(rows):
        tokens = np.random.default_rng(0).integers(1, TOKENS, (rows, length))
        lengths = 1 + np.arange(rows)[::-1, None] % length
        return np.where(np.arange(length) < lengths, tokens, 0).astype("int32")

    return make


def padded_steps(length, features):
    """Returns a function that makes sequences padded with zeros."""

    def make(rows):
        generator = np.random.default_rng(0)
        steps = generator.normal(size=(rows, length, features))
        there = padded_tokens(length)(rows)[..., None] > 0
        return np.where(there, steps, 0.0).astype("float32")

    return make


def floats(*shape, scale=1.0):
    """Returns a function that makes normal rows of this shape."""

    def make(rows):
        generator = np.random.default_rng(0)
        normal = generator.normal(size=(rows, *shape))
        return (scale * normal).astype("float32")

    return make


def set_weights(model, seed=0):
    """Gives a model weights that are the same on all backends.

    Kernels preserve the magnitude of their inputs, scales are about 1, and
    variances are above 0.
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

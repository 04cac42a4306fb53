"""Compares the results of two runs of a model, call by call."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from kerasdrop._structure import keras_graph
from kerasdrop._types import Given

# The tolerance, relative to the largest value of a tensor: so many units of
# rounding, or so many times the difference of a plain call from itself on other
# rows.
_ROUNDING = 32
_FLOORS = 4
# A plain call that differs from itself by more than both of these is not
# rounding: so many units, or this fraction of the largest value.
_MOST_FLOOR = 64
_LEAST_FAULT = 1e-3
# Relative to the largest input of a call: rounding where large numbers cancel.
_CANCELLATION = 4

# Models with more layers than this may round more, but never by more than the
# second number, in bfloat16: true faults are larger.
_FEW_LAYERS = 20
_MOST_DEEP = 2.0**-7

# The path of a model's own outputs.
OUTPUTS = "the outputs"

_EPS = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}


class Call(NamedTuple):
    """One call of a layer or an operation, as numpy arrays.

    Attributes:
        path: The path of the layer or operation.
        outputs: List of arrays.
        largest_input: The largest absolute value of its inputs, or None.
    """

    path: str
    outputs: list[Given]
    largest_input: Given = None


class Difference(NamedTuple):
    """The first call with different results in two runs.

    Attributes:
        path: The path of the layer or operation.
        size: The difference relative to the largest value of the tensor;
            infinite if only one of the two has numbers that are not finite.
        allowed: The largest difference that rounding may cause.
    """

    path: str
    size: float
    allowed: float


def eps(model: keras.Model) -> Given:
    """The unit of rounding of the coarsest dtype that a layer computes in."""
    dtypes = {
        layer.compute_dtype
        for layer in keras_graph.all_layers(model)
        if isinstance(layer, keras.layers.Layer)
    }
    if "float64" in dtypes:
        # Keras on JAX computes functions such as `tanh` of float64 in float32.
        dtypes.add(keras.backend.result_type("float64", float))
    return max(_EPS.get(dtype, _EPS["float32"]) for dtype in dtypes)


def tolerance(model: keras.Model, floor: Given = 0.0) -> Given:
    """The allowed difference of a tensor, relative to its largest value.

    The rounding errors of layers add up as independent errors do, with the
    square root of their number.

    Args:
        model: A model.
        floor: The difference of a plain call from itself on other rows.
    """
    unit = eps(model)
    few = len(keras_graph.all_layers(model)) / _FEW_LAYERS
    deep = min(unit * math.sqrt(max(1.0, few)), max(unit, _MOST_DEEP))
    if floor > max(_MOST_FLOOR * deep, _LEAST_FAULT):
        floor = 0.0
    return max(_ROUNDING * deep, _FLOORS * floor)


def first_difference(
    model: keras.Model,
    reference: Given,
    found: Given,
    allowed: Given,
    layouts: Given,
    at_least: Given = 1,
) -> Given:
    """Returns the first `Difference` of two runs, or None, and the largest.

    A call is compared with the most similar call of the same layer in the
    reference: a shared layer may be called in another order, and a call that is
    made once for all samples may be made for each.

    Args:
        model: The model.
        reference, found: Lists of `Call`.
        allowed: As `tolerance` returns it.
        layouts: `Layouts`.
        at_least: Integer. Differences in fewer layers do not count if the
            outputs agree, since they have no consequences.
    """
    largest, differences = 0.0, []
    by_path: dict[Given, Given] = {}
    for call in reference:
        by_path.setdefault(call.path, []).append(call)
    for call in found:
        sizes = [
            _size(model, other, call, allowed, layouts)
            for other in by_path.get(call.path, ())
        ]
        if not sizes:
            continue
        size = min(sizes)
        if size > allowed:
            differences.append(Difference(call.path, size, allowed))
        else:
            largest = max(largest, size)
    paths = {difference.path for difference in differences}
    counts = len(paths) >= at_least or OUTPUTS in paths
    return (differences[0] if counts else None), largest


def _size(
    model: keras.Model,
    reference: Given,
    call: Given,
    allowed: Given,
    layouts: Given,
) -> Given:
    if len(reference.outputs) != len(call.outputs):
        return np.inf
    sizes = [0.0]
    for one, other in zip(reference.outputs, call.outputs):
        cancels = 0.0
        if reference.largest_input is not None:
            unit = _CANCELLATION * eps(model)
            cancels = unit * float(reference.largest_input)
        least = np.inf
        for pair in layouts.pairs(one, other):
            least = min(least, distance(pair[0], pair[1], cancels))
            if least <= allowed:
                break
        sizes.append(least)
    return max(sizes)


def distance(reference: Given, found: Given, free: Given = 0.0) -> Given:
    """The largest difference, relative to the reference's largest value.

    Args:
        reference, found: Arrays that can be broadcast.
        free: An absolute difference that is ignored.

    Returns:
        A float; infinite where only one of two values is finite, or where two
        values that are not finite differ.
    """
    reference, found = np.broadcast_arrays(reference, found)
    finite = np.isfinite(reference)
    if not np.array_equal(finite, np.isfinite(found)):
        return np.inf
    if not np.array_equal(reference[~finite], found[~finite], equal_nan=True):
        return np.inf
    reference = reference[finite].astype("float64")
    difference = np.abs(reference - found[finite])
    most = np.max(difference, initial=0.0)
    if most <= free:
        return 0.0
    scale = np.max(np.abs(reference), initial=0.0)
    return most / scale if scale else np.inf


class Layouts(NamedTuple):
    """How the rows may lie in a batch's tensor and in one of some of its rows.

    Attributes:
        num_rows: Integer, the rows of the batch.
        order: Integers, the rows of the batch that the other tensor has; None
            for all.
        num_samples: Integer, how many samples of each row the other tensor may
            have.
        only_first: Whether only the first sample is compared.
    """

    num_rows: int
    order: Given = None
    num_samples: int = 1
    only_first: bool = False

    def pairs(self, one: Given, other: Given) -> Iterator[Given]:
        """Yields pairs of arrays that broadcast, the likeliest first.

        The tensors agree if the arrays of any pair do.
        """
        order = self.order
        if order is None:
            if one.shape == other.shape:
                yield one, other
            order = np.arange(self.num_rows)
            yield from self._pairs(one, other, order)
            for a, b in self._pairs(other, one, order):
                yield b, a
        elif any(size % self.num_rows == 0 for size in one.shape):
            yield from self._pairs(one, other, order)
            if one.shape == other.shape:
                yield one, other
        else:
            # No axis can hold the rows. A tensor taken from one row may be used
            # only for its shape.
            yield _NOTHING, _NOTHING

    def _pairs(self, one: Given, other: Given, order: Given) -> Iterator[Given]:
        for axis, size in enumerate(one.shape):
            before, behind = one.shape[:axis], one.shape[axis + 1 :]
            if (
                one.ndim != other.ndim
                or size % self.num_rows
                or (other.shape[:axis], other.shape[axis + 1 :])
                != (before, behind)
            ):
                continue
            yield from self._along(one, other, order, axis)

    def _along(
        self, one: Given, other: Given, order: Given, axis: int
    ) -> Iterator[Given]:
        """Yields the pairs if the rows are in this axis."""
        before, behind = one.shape[:axis], one.shape[axis + 1 :]
        per_row = one.shape[axis] // self.num_rows
        for samples in sorted({self.num_samples, 1}, reverse=True):
            if other.shape[axis] != per_row * len(order) * samples:
                continue
            for outer, inner in _around(per_row):
                rows = one.reshape(
                    *before, outer, self.num_rows, 1, inner, *behind
                )
                parts = other.reshape(
                    *before, outer, len(order), samples, inner, *behind
                )
                if self.only_first:
                    parts = np.take(parts, [0], axis=axis + 2)
                yield np.take(rows, order, axis=axis + 1), parts


_NOTHING = np.zeros(0, "float32")


def _around(size: Given) -> Iterator[Given]:
    """Yields the sizes outside and inside of the rows in an axis."""
    for outer in range(1, size + 1):
        if size % outer == 0:
            yield outer, size // outer


def unequal(calls: Given, others: Given, allowed: Given) -> Given:
    """Paths of the calls that differ between two equal runs.

    Args:
        calls, others: Lists of `Call`, of the same calls in the same order.
        allowed: As `tolerance` returns it.
    """
    return [
        one.path
        for one, other in zip(calls, others)
        if any(
            a.shape != b.shape or distance(a, b) > allowed
            for a, b in itertools.zip_longest(
                one.outputs, other.outputs, fillvalue=np.zeros(0)
            )
        )
    ]

"""Calls models on a few rows, to make weights and to compare copies.

A model that is rebuilt by the code of its classes is a copy if it has the same
weights and predictions. The user gives the inputs, or they are generated:
numbers from 0 to 2, which can be pixels, masks or tokens.
"""

import functools
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Structure

_ROWS = 2
# An open size gets the first of these numbers that a model accepts.
_SIZES = (8, 32, 128, 224)


class Trial:
    """Inputs that a model accepts, and its predictions for them.

    Args:
        model: A built model.
        x: Inputs of a few rows, as for a call of the model; None to generate
            them when they are needed.
    """

    def __init__(self, model: keras.Model, x: Structure = None) -> None:
        self._model = model
        self._x = x

    @functools.cached_property
    def _taken(self) -> Given:
        """A pair of the arguments of a call and the flat list of outputs."""
        error = None
        for arguments in self._candidates():
            try:
                return arguments, _predicted(self._model, arguments)
            except Exception as raised:  # any code may raise
                error = raised
        raise Refusal(
            f"the code of its classes makes a copy of model "
            f"'{self._model.name}', which has to be compared with it. But the "
            "model accepts neither the given inputs nor generated ones: "
            f"{error} Pass a few rows of inputs as `x`."
        ) from error

    def _candidates(self) -> Iterator[Given]:
        if self._x is not None:
            yield (self._x,), {}
            return
        graph = keras_graph.graph_of(self._model)
        for size in _SIZES:
            if graph is not None:
                yield (_like(graph.input, size),), {}
                continue
            for dtype in ("float32", "int32"):
                yield _arguments(self._model.get_build_config(), size, dtype)

    def call_once(self, copy: keras.Model) -> None:
        """Calls a copy once on zeros, which makes everything of a first call.

        Args:
            copy: The copy of the model.
        """
        args, kwargs = tree.map_structure(np.zeros_like, self._taken[0])
        copy(*args, **kwargs, **_inference(copy))
        for _, layer in model_tree.walk(copy):
            if getattr(layer, "stateful", False):
                layer.reset_state()

    def difference(self, copy: keras.Model) -> float:
        """The largest difference of predictions, relative to the largest one.

        It is 0.0 if they are equal bit for bit, and infinite if their shapes or
        NaNs differ.
        """
        arguments, before = self._taken
        now = _predicted(copy, arguments)
        if [y.shape for y in now] != [y.shape for y in before]:
            return np.inf
        return max(map(_off, before, now), default=0.0)

    def is_random(self) -> bool:
        """Whether the model draws in predictions, too."""
        model, (arguments, before) = self._model, self._taken
        *_, moved = _called(model, arguments)
        again = _predicted(model, arguments, moved)
        return any(map(_off, before, again))


def _off(before: Array, now: Array) -> float:
    if np.array_equal(before, now, equal_nan=True):
        return 0.0
    if not np.array_equal(np.isfinite(before), np.isfinite(now)):
        return np.inf
    finite = np.isfinite(before)
    before, now = (np.where(finite, y, 0.0) for y in (before, now))
    return float(np.abs(now - before).max() / np.abs(before).max(initial=1e-30))


def _like(symbolic: Structure, size: int) -> Structure:
    """Makes arrays with the shapes and dtypes of symbolic tensors."""
    return tree.map_structure(
        lambda tensor: _array(tensor.shape, tensor.dtype, size), symbolic
    )


def _arguments(config: Config | None, size: int, dtype: str) -> Given:
    """Positional and keyword arguments of the shapes of a build config."""
    shapes = (config or {}).get("shapes_dict")
    if shapes is None:
        shape = (config or {}).get("input_shape")
        return (_of_shapes(shape, size, dtype),), {}
    return (), {
        name.removesuffix("_shape"): _of_shapes(shape, size, dtype)
        for name, shape in shapes.items()
    }


def _of_shapes(shapes: Structure, size: int, dtype: str) -> Structure:
    if isinstance(shapes, dict):
        return {k: _of_shapes(v, size, dtype) for k, v in shapes.items()}
    if shapes is None:
        raise Refusal("it was never built with the shapes of its inputs")
    if all(n is None or isinstance(n, int) for n in shapes):
        return _array((_ROWS, *shapes[1:]), dtype, size)
    return type(shapes)(_of_shapes(one, size, dtype) for one in shapes)


def _array(shape: Given, dtype: Given, size: int) -> Array:
    first, *others = shape
    full = [first or _ROWS, *(size if n is None else n for n in others)]
    numbers = np.random.default_rng(0).uniform(0.0, 2.0, full)
    name = keras.backend.standardize_dtype(dtype)
    # NumPy has no bfloat16.
    return numbers.astype("float32" if name == "bfloat16" else name)


def _inference(model: keras.Model) -> Config:
    return {"training": False} if keras_graph.takes_training(model) else {}


def _predicted(
    model: keras.Model, arguments: Given, state: Given = None
) -> list[Array]:
    outputs, _ = _called(model, arguments, state)
    return [
        ops.convert_to_numpy(ops.cast(y, "float32"))
        for y in tree.flatten(outputs)
    ]


def _called(model: keras.Model, arguments: Given, state: Given = None) -> Given:
    """Returns outputs and the state after the call, without changing state."""
    args, kwargs = tree.map_structure(ops.convert_to_tensor, arguments)
    if state is None:
        state = [one.value for one in model.non_trainable_variables]
    return model.stateless_call(
        [one.value for one in model.trainable_variables],
        state,
        *args,
        **kwargs,
        **_inference(model),
    )

"""The types of the annotations.

Tensors have no common type: they are objects of the backend, arrays or numbers,
and docstrings have their shapes and dtypes. Only this module uses `Any`, and
the others use the names defined here. tests/test_architecture.py checks this.
"""

from collections.abc import Callable
from typing import Any
from typing import TypeAlias

import keras
import numpy as np

# A tensor of any backend, a numpy array or a number.
Tensor: TypeAlias = Any
# A numpy array, or an object that can be converted to one.
ArrayLike: TypeAlias = Any
Array: TypeAlias = np.ndarray
# A nest of lists, tuples and dicts with tensors as its leaves.
Structure: TypeAlias = Any
# An argument that is not checked yet, or an object of a backend.
Given: TypeAlias = Any
# Sizes, of which one may be unknown or a scalar tensor.
Shape: TypeAlias = tuple[Any, ...]

# A rate as the user gives it.
Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
Seed: TypeAlias = int | None
# The module whose functions suit the values: `numpy` or `keras.ops`.
Namespace: TypeAlias = Any

Function: TypeAlias = Callable[..., Any]
Config: TypeAlias = dict[str, Any]
# Layers of a model with their paths.
Found: TypeAlias = list[tuple[str, keras.layers.Layer]]

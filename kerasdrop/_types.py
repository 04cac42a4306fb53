"""The words of the annotations.

A tensor has no type of its own: it is what the backend makes, an array or a
number; its shape and dtype stand in docstrings. So `Any` stands here alone, and
is used elsewhere by these names. tests/test_architecture.py checks it.
"""

from collections.abc import Callable
from typing import Any
from typing import TypeAlias

import keras
import numpy as np

# A tensor of any backend, a numpy array or a number.
Tensor: TypeAlias = Any
# Numpy's array, or what can be made one.
ArrayLike: TypeAlias = Any
Array: TypeAlias = np.ndarray
# A nest of lists, tuples and dicts with tensors as its leaves.
Structure: TypeAlias = Any
# An argument that nobody has checked yet, or an object of a backend's own.
Given: TypeAlias = Any
# Sizes, of which one may be unknown or a scalar tensor.
Shape: TypeAlias = tuple[Any, ...]

# What a user gives for a rate.
Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
Seed: TypeAlias = int | None
# The module whose functions suit the values: `numpy` or `keras.ops`.
Namespace: TypeAlias = Any

Function: TypeAlias = Callable[..., Any]
Config: TypeAlias = dict[str, Any]
# Layers of a model with their paths.
Found: TypeAlias = list[tuple[str, keras.layers.Layer]]

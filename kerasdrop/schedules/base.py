"""The base class of schedules, and the arithmetic that they share."""

import math

import keras
import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Abstract: a rate as a pure function of the step.

    A subclass defines `value(step)` and `get_config()`. The keys of the config
    are its arguments and the names of its attributes. The checks of its
    arguments guarantee values in [0, 1], so it is not evaluated to make sure.
    (Schedules of users are subclasses of Keras' class instead, and are
    evaluated.)

    Call arguments:
        step: Integers or floats, at least 0; a Python number or a tensor of
            any shape. The number of training calls before this one.
            Integers must be below 2**31.

    Returns: float32 tensor of the step's shape, with values in [0, 1].
    """

    def __call__(self, step: Tensor) -> Tensor:
        self._check_step(step)
        step = ops.convert_to_tensor(step)
        dtype = keras.backend.standardize_dtype(step.dtype)
        # Integers stay integers: float32 cannot count beyond 2**24.
        if keras.backend.is_float_dtype(dtype):
            step = ops.cast(step, "float32")
        return self.value(step)

    def _check_step(self, step: Tensor) -> None:
        if ops.is_tensor(step):
            return
        array = np.asarray(step)
        if array.dtype.kind in "iu" and array.size and array.max() >= 2**31:
            raise ValueError(
                f"{type(self).__name__}: steps are counted in 32 bits, so a "
                "step must be below 2**31. Pass a float for a later step. "
                f"Received: step={step!r}"
            )

    def value(self, step: Tensor) -> Tensor:
        """The rate at `step`, an integer or float32 tensor."""
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in self.get_config()
        )
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable("kerasdrop")
class Constant(Schedule):
    """The same rate at every step.

    Args:
        rate: Float in [0, 1].

    Example:

    >>> float(Constant(0.25)(1000))
    0.25
    """

    @blame_itself
    def __init__(self, rate: float) -> None:
        self.rate = _checks.rate(rate)

    def value(self, step: Tensor) -> Tensor:
        return _backend.full_like(step, self.rate, dtype="float32")

    def get_config(self) -> Config:
        return {"rate": self.rate}


@keras.saving.register_keras_serializable("kerasdrop")
class FromFunction(Schedule):
    """A function of the step that can be saved by its name.

    Args:
        function: Function of the step, written in `keras.ops` and decorated
            with `@keras.saving.register_keras_serializable()`, with values
            in [0, 1].

    Raises:
        ValueError: If the function is not registered (a lambda never is), or
            leaves [0, 1] at one of the steps where it is checked.

    Example:

    >>> @keras.saving.register_keras_serializable("my_project")
    ... def sawtooth(step):
    ...     return keras.ops.cast(step % 10, "float32") / 20
    >>> float(FromFunction(sawtooth)(5))
    0.25
    """

    @blame_itself
    def __init__(self, function: Function) -> None:
        if not hasattr(function, "__name__"):
            raise ValueError(
                "A function of the step must have a name, to be saved by it. "
                "Write it with `def`, or write a "
                "`keras.optimizers.schedules.LearningRateSchedule` with a "
                f"config. Received: {function!r}"
            )
        registered = keras.saving.get_registered_object(
            keras.saving.get_registered_name(function)
        )
        if registered is not function:
            raise ValueError(
                "A function of the step must be registered, so that a model "
                "with it can be saved and loaded: write it with `def` and "
                "decorate it with "
                '`@keras.saving.register_keras_serializable("my_project")`. '
                f"Received: {function!r}"
            )
        self.function = function
        _checks.schedule(self, "function")

    def value(self, step: Tensor) -> Tensor:
        return ops.cast(self.function(step), "float32")

    def get_config(self) -> Config:
        return {"function": keras.saving.serialize_keras_object(self.function)}

    @classmethod
    def from_config(cls, config: Config) -> Schedule:
        return cls(keras.saving.deserialize_keras_object(config["function"]))


def as_schedule(value: Given, name: str) -> Schedule:
    """Makes a schedule of a number, a schedule or a registered function.

    A serialized schedule is restored.
    """
    if isinstance(value, dict):
        value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, Schedule):
        return value
    if _checks.is_schedule(value):
        return _checks.schedule(value, name)
    if callable(value):
        return FromFunction(value)
    return Constant(_checks.rate(value, name))


def progress(step: Tensor, begin_step: float, num_steps: float) -> Tensor:
    """The fraction of a piece that is over: 0 before it, 1 from its end on."""
    done = steps_since(step, begin_step)
    # Times a constant, not divided by one: some compilers make the former of
    # the latter, and the results differ in the last bit.
    fraction = ops.cast(done, "float32") * _float32(1.0 / num_steps)
    fraction = ops.minimum(fraction, 1.0)
    at_end = done >= _like(done, num_steps)
    return ops.where(at_end, ops.ones_like(fraction), fraction)


def part_left(step: Tensor, begin_step: float, num_steps: float) -> Tensor:
    """The fraction of a piece that is left: 1 before it, 0 from its end on.

    It counts the steps that are left. One minus the fraction that is over would
    lose its digits near the end.
    """
    left = ops.maximum(
        _like(step, num_steps) - steps_since(step, begin_step), 0
    )
    fraction = ops.cast(left, "float32") * _float32(1.0 / num_steps)
    fraction = ops.minimum(fraction, 1.0)
    at_begin = left >= _like(left, num_steps)
    return ops.where(at_begin, ops.ones_like(fraction), fraction)


def steps_since(step: Tensor, begin_step: float) -> Tensor:
    """Steps since `begin_step`; 0 before it."""
    if not float(begin_step).is_integer():
        step = ops.cast(step, "float32")
    return ops.maximum(step - _like(step, begin_step), 0)


def mix(start: float, end: float, fraction: Tensor) -> Tensor:
    """`start` where the fraction is 0, `end` where it is 1, exactly.

    In between it is rounded in the same way everywhere. The product passes
    through a minimum that changes nothing; otherwise some compilers would add
    it without rounding it first.
    """
    change = ops.minimum(fraction * _float32(abs(end - start)), 1.0)
    if start <= end:
        value = ops.minimum(change + _float32(start), _float32(end))
    else:
        value = ops.maximum(_float32(start) - change, _float32(end))
    return ops.where(fraction >= 1.0, _float32(end), value)


def _float32(number: float) -> float:
    """A Python float that float32 holds exactly."""
    return float(np.float32(number))


def _like(step: Tensor, number: float) -> float:
    """`number` as a Python number that compares with the tensor `step`."""
    dtype = keras.backend.standardize_dtype(step.dtype)
    if keras.backend.is_float_dtype(dtype):
        return float(number)
    return math.ceil(number)

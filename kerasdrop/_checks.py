"""Argument checks: every message says what, expected, received, and the fix.

Everything here works on Python values, before any tensor exists.
"""

import contextlib
import fractions
import itertools
import math
import numbers

import keras
import numpy as np
from keras import ops

from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

NO_ROW_BEYOND = 2**31

# A schedule is checked at these steps and around every step that its own
# configuration names (boundaries, durations): there its pieces begin and end.
_CHECKED_STEPS = (0, 1, 2, 3, 5, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


def is_number(value: Given) -> bool:
    """Whether `value` is one real number (a `bool` is not)."""
    if isinstance(value, (bool, np.bool_)):
        return False
    if isinstance(value, np.ndarray):
        return value.shape == () and np.issubdtype(value.dtype, np.number)
    return isinstance(value, numbers.Real)


def plain(value: Given, name: str = "rate") -> Given:
    """A scalar tensor as a NumPy number; anything else as it is.

    Raises:
        ValueError: If the tensor has no value yet, in a traced function.
    """
    is_tensor = ops.is_tensor(value) or isinstance(value, keras.KerasTensor)
    if not is_tensor or len(value.shape) > 0:
        return value
    try:
        return ops.convert_to_numpy(value)[()]
    except Exception as error:  # each backend raises another class
        raise Refusal(
            f"argument `{name}` is a tensor without a value, in a "
            "function that is traced or symbolic. Set rates outside of it; "
            "for a rate that follows the step, give the layer a schedule. "
            f"Received: {name}={value!r}"
        ) from error


def rate(
    value: Given, name: str = "rate", takes_schedule: bool = True
) -> float:
    """Returns `value` as a float in [0, 1], or raises.

    Args:
        takes_schedule: Whether a schedule, which this refuses, would do as
            well: then the message names it.
    """
    value = plain(value, name)
    if not is_number(value):
        schedule = ", or a schedule (see `kerasdrop.schedules`)"
        raise Refusal(
            f"argument `{name}` must be one number in [0, 1]"
            f"{schedule if takes_schedule else ''}. Received: "
            f"{name}={value!r} (of type {type(value).__name__})"
        )
    number = float(value)
    if not 0.0 <= number <= 1.0:  # also refuses NaN
        raise Refusal(
            f"argument `{name}` is the probability of dropping a "
            "unit (not of keeping it) and must be in [0, 1]. Received: "
            f"{name}={value!r}"
        )
    return number


def rate_to_set(value: Given) -> float:
    """As `rate`, where a schedule is not possible."""
    if is_schedule(value):
        raise Refusal(
            f"argument `rate` must be a number in [0, 1]. A schedule "
            "belongs to a layer from the start: "
            f"`Dropout(rate={type(value).__name__}(...))`. Received: "
            f"rate={value!r}"
        )
    return rate(value, takes_schedule=False)


def inner_rate(value: Given) -> float:
    """As `rate`, for the initial value of a learned rate: above 0, below 1."""
    if not is_number(value) or not 0.0 < float(value) < 1.0:
        raise Refusal(
            f"argument `rate` must be one number in [0, 1] other "
            "than 0 and 1, at which nothing could be learned. Received: "
            f"rate={value!r}"
        )
    return float(value)


def is_schedule(value: Given) -> bool:
    return isinstance(value, keras.optimizers.schedules.LearningRateSchedule)


def schedule(value: Given, name: str = "rate") -> Given:
    """Checks that a schedule stays in [0, 1] and returns it.

    A compiled step cannot raise, so a schedule is evaluated here at the steps
    where its pieces begin and end.
    """
    steps = _steps_to_check(value)
    results = _values_at(value, steps)
    illegal = np.flatnonzero(~((results >= 0.0) & (results <= 1.0)))
    if illegal.size:
        first = illegal[0]
        raise Refusal(
            f"argument `{name}` is a schedule that must stay in "
            "[0, 1] at every step, since its value is the probability of "
            f"dropping a unit. Received: {type(value).__name__} with the "
            f"value {float(results[first])} at step {steps[first]}. Change "
            "its bounds."
        )
    return value


def _values_at(schedule: Given, steps: Array) -> Array:
    """The values of a schedule at an array of steps, an array.

    The schedule is called once if it takes an array. If it has a condition on
    the step, the backend maps it, which JAX compiles once and not for each
    step. If it can only run in Python, it is called step by step, which raises
    its own error if the schedule is wrong.
    """
    for evaluate in (schedule, lambda steps: ops.map(schedule, steps)):
        with contextlib.suppress(Exception):  # it may raise any class
            values = ops.convert_to_numpy(evaluate(steps))
            if values.shape == steps.shape:
                return values
    one_by_one = [schedule(np.asarray(step)) for step in steps]
    return np.array([ops.convert_to_numpy(value) for value in one_by_one])


def _steps_to_check(value: Given) -> Array:
    steps = set(_CHECKED_STEPS)
    try:
        config = value.get_config()
    except NotImplementedError:
        config = vars(value)
    for number in _numbers_in(config):
        if 1 <= number < 2**31 - 1:
            around = int(number)
            # A quarter and a half show what happens inside a piece.
            steps.update(
                (around - 1, around, around + 1, around // 2, around // 4)
            )
    return np.array(sorted(steps), "int32")


def _numbers_in(config: Given) -> list[float]:
    if is_number(config):
        number = float(config)
        return [number] if math.isfinite(number) else []
    if isinstance(config, dict):
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        return [number for item in config for number in _numbers_in(item)]
    return []


def seed(value: Given) -> int | None:
    """Returns `value` as an int or None, or raises."""
    if value is None:
        return None
    is_integer = isinstance(value, numbers.Integral)
    if not is_integer or isinstance(value, (bool, np.bool_)):
        raise Refusal(
            f"argument `seed` must be an integer, or None for a "
            f"seed of its own. Received: seed={value!r}"
        )
    return int(value)


def positive_integer(value: Given, name: str) -> int:
    is_integer = isinstance(value, numbers.Integral)
    if not is_integer or isinstance(value, (bool, np.bool_)) or value < 1:
        raise Refusal(
            f"argument `{name}` must be an integer of at least 1. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def memory_limit(value: Given) -> int:
    try:
        return positive_integer(value, "memory_limit")
    except Refusal as error:
        raise Refusal(
            "argument `memory_limit` must be a positive integer, a number of "
            "bytes: `2**30` is one GiB. Received: "
            f"memory_limit={value!r}"
        ) from error


def step(value: Given, name: str) -> int:
    """Returns `value` as an integer of at least 0, or raises."""
    is_integer = isinstance(value, numbers.Integral)
    if not is_integer or isinstance(value, (bool, np.bool_)) or value < 0:
        raise Refusal(
            f"argument `{name}` must be an integer of at least 0. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def row(value: Given, name: str) -> int:
    """Returns the number of a row as an integer, or raises."""
    if step(value, name) >= NO_ROW_BEYOND:
        raise Refusal(
            f"rows are numbered below 2**31. Received: {name}={value!r}"
        )
    return int(value)


def rows(value: Given) -> Array:
    """Returns the numbers of rows as an int32 array, or raises."""
    array = np.asarray(value)
    is_legal = array.ndim == 1 and np.issubdtype(array.dtype, np.integer)
    is_legal = is_legal and not np.ma.is_masked(value)
    if not is_legal or (array < 0).any() or (array >= NO_ROW_BEYOND).any():
        raise Refusal(
            f"argument `rows` must be integers from 0 to 2**31 - 1, "
            f"one for each row. Received: rows={value!r}"
        )
    return array.astype("int32")


def number(value: Given, name: str, minimum: float = -math.inf) -> float:
    """Returns `value` as a finite float of at least `minimum`, or raises."""
    finite = is_number(value) and math.isfinite(value)
    if not finite or value < minimum:
        expected = "a finite number"
        if minimum > -math.inf:
            expected += f" of at least {minimum:g}"
        raise Refusal(
            f"argument `{name}` must be {expected}. Received: {name}={value!r}"
        )
    return float(value)


def between_0_and_1(value: Given, name: str) -> float:
    if not is_number(value) or not 0.0 < float(value) < 1.0:
        raise Refusal(
            f"argument `{name}` must be a number between 0 and 1, "
            f"e.g. 0.9. Received: {name}={value!r}"
        )
    return float(value)


def exact_fraction(value: Given) -> fractions.Fraction:
    """The decimal number that a float was written as: .55 is 11/20."""
    return fractions.Fraction(repr(float(value)))


def positive_number(value: Given, name: str) -> float:
    if not is_number(value) or not 0.0 < float(value) < math.inf:
        raise Refusal(
            f"argument `{name}` must be a number above 0. Received: "
            f"{name}={value!r}"
        )
    return float(value)


def choice(value: Given, choices: tuple[str, ...], name: str) -> str:
    if not isinstance(value, str) or value not in choices:
        expected = " or ".join(f'"{choice}"' for choice in choices)
        raise Refusal(
            f"argument `{name}` must be {expected}. Received: {name}={value!r}"
        )
    return value


def verbosity(value: Given) -> int:
    """Returns a `verbose` of Keras as the number that it stands for."""
    if not isinstance(value, str) and value in (0, 1, 2):
        return int(value)
    if value != "auto":
        raise Refusal(
            f"argument `verbose` must be 'auto', 0, 1 or 2. Received: "
            f"verbose={value!r}"
        )
    return 1


def data_format(value: Given) -> str:
    """Returns a data format, that of the Keras configuration for None."""
    if value is None:
        return keras.config.image_data_format()
    formats = ("channels_last", "channels_first")
    return choice(value, formats, "data_format")


def sizes(value: Given, count: int, name: str) -> tuple[int, ...]:
    """Returns a tuple of `count` integers of at least 1; one is all of them."""
    listed: list[Given] = list(value) if np.iterable(value) else [value] * count
    legal = len(listed) == count and all(
        isinstance(size, numbers.Integral)
        and not isinstance(size, (bool, np.bool_))
        and size >= 1  # type: ignore[operator]
        for size in listed
    )
    if not legal:
        raise Refusal(
            f"argument `{name}` must be an integer of at least 1, or "
            f"a tuple of {count} of them. Received: {name}={value!r}"
        )
    return tuple(int(size) for size in listed)


def sequence(value: Given, name: str) -> list[Given]:
    """Returns `value` as a list, or raises."""
    if isinstance(value, (str, dict)) or not np.iterable(value):
        raise Refusal(
            f"argument `{name}` must be a list. Received: {name}={value!r}"
        )
    return list(value)


def increasing_numbers(value: Given, name: str) -> list[float]:
    """Returns a list of increasing numbers of at least 0, or raises.

    Whole ones become integers.
    """
    listed = sequence(value, name)
    legal = all(is_number(number) and 0 <= number < 2**31 for number in listed)
    if not legal or any(
        before >= after for before, after in itertools.pairwise(listed)
    ):
        raise Refusal(
            f"argument `{name}` must be a list of numbers of at "
            "least 0, each above the one before. Received: "
            f"{name}={value!r}"
        )
    return [
        int(number) if float(number).is_integer() else float(number)
        for number in listed
    ]


def boundaries(value: Given, name: str = "boundaries") -> list[int]:
    """Returns a list of increasing integers of at least 1, or raises."""
    listed = increasing_numbers(value, name)
    return [positive_integer(number, name) for number in listed]


def axis(value: Given, rank: int) -> int:
    """Checks that `value` is the number of an axis of an array."""
    is_integer = isinstance(value, numbers.Integral)
    if not is_integer or not -rank <= value < rank:
        raise Refusal(
            "argument `axis` must be the number of an axis, from 0 "
            f"to {rank - 1}. Received: axis={value!r}"
        )
    return int(value)


def flag(value: Given, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise Refusal(
            f"argument `{name}` must be True or False. Received: "
            f"{name}={value!r}"
        )
    return bool(value)


def noise_shape(value: Given) -> Shape | None:
    """Returns `value` as a tuple of positive integers and None, or None."""
    if value is None:
        return None
    expected = (
        "argument `noise_shape` must be a tuple of positive "
        "integers and None, one for each axis of the inputs (None: as the "
        "inputs, 1: one decision for the whole axis)."
    )
    if isinstance(value, str) or not np.iterable(value):
        raise Refusal(f"{expected} Received: noise_shape={value!r}")
    value = tuple(value)
    for axis, size in enumerate(value):
        if size is None:
            continue
        is_integer = isinstance(size, numbers.Integral)
        if not is_integer or isinstance(size, bool) or size < 1:
            raise Refusal(
                f"{expected} Received: noise_shape={value!r}, with {size!r} "
                f"at axis {axis}"
            )
    return tuple(None if size is None else int(size) for size in value)


def full_noise_shape(noise_shape: Shape, rank: int) -> Shape:
    """A noise shape with an entry for each axis, as Keras broadcasts it.

    A shorter one is that of the last axes. It may have no None, which Keras
    takes from the first axes instead.
    """
    missing = rank - len(noise_shape)
    if missing < 0 or (missing and None in noise_shape):
        raise ValueError(
            "`noise_shape` must have one entry for each axis of the inputs, or "
            "be of integers alone, for the last axes. Received: "
            f"noise_shape={noise_shape} for inputs of {rank} axes"
        )
    return (1,) * missing + tuple(noise_shape)


def noise_shape_fits(noise_shape: Shape, input_shape: Shape) -> None:
    """Checks a noise shape against the (partly known) shape of the inputs."""
    missing = len(input_shape) - len(noise_shape)
    fits = missing == 0 or (missing > 0 and None not in noise_shape)
    fits = fits and all(
        noise is None
        or noise == 1
        or not isinstance(size, int)
        or noise == size
        for noise, size in zip(noise_shape, input_shape[missing:])
    )
    if not fits:
        raise Refusal(
            f"`noise_shape` must have one entry for each axis of the "
            "inputs, each of them None, 1 or the size of that axis; or be of "
            "integers alone, for the last axes. Received: "
            f"noise_shape={noise_shape} for inputs of shape "
            f"{tuple(input_shape)}"
        )


def float_inputs(inputs: Tensor) -> None:
    """Checks that inputs are one tensor, of a floating-point dtype."""
    dtype = getattr(inputs, "dtype", None)
    if dtype is None:
        raise Refusal(
            f"inputs must be one floating-point tensor. For several "
            "tensors call the layer on each, e.g. "
            "`keras.tree.map_structure(layer, inputs)`; make numbers a tensor "
            "by `keras.ops.convert_to_tensor`. Received: inputs of type "
            f"{type(inputs).__name__}"
        )
    dtype = keras.backend.standardize_dtype(dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise Refusal(
            f"inputs must be of a floating-point dtype, since kept "
            f"units are scaled. Received: inputs of dtype {dtype}. Cast them "
            "first, e.g. `keras.ops.cast(inputs, 'float32')`."
        )


def integer_inputs(inputs: Tensor) -> None:
    """Checks that inputs are one tensor of integers."""
    dtype = getattr(inputs, "dtype", None)
    name = None if dtype is None else keras.backend.standardize_dtype(dtype)
    if name is None or not keras.backend.is_int_dtype(name):
        received = f"type {type(inputs).__name__}" if name is None else name
        raise Refusal(
            "inputs must be ids, one tensor of integers. Received: "
            f"{received}. Make the input of the model one of integers, "
            "`keras.Input(shape, dtype='int32')`, also as the first entry of "
            "a `Sequential`, which makes an input of floats otherwise; or "
            "cast them, by `keras.ops.cast(inputs, 'int32')`."
        )

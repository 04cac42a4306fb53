"""Refusals: the errors of inner functions, and sentences they share."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import ParamSpec
from typing import TypeVar

import keras

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Refusal(ValueError):
    """An illegal argument; the public function adds its own name."""


class TypeRefusal(TypeError):
    """An argument of a wrong type; otherwise like `Refusal`."""


def received_model(model: object) -> str:
    """The end of a refusal of an object that is not a model.

    It has the value and the type of the object. If a model is inside it, the
    text says how to reach it: in a PyTorch module around a model, such as
    `DistributedDataParallel`, or in the pair of a model and a report that a
    conversion returns.
    """
    inner = getattr(model, "module", None)
    fix = ""
    if isinstance(inner, keras.Model):
        fix = f"Give it the model inside of the {type(model).__name__}, "
        fix += "`.module`. "
    elif isinstance(model, tuple) and hasattr(model, "report"):
        fix = "Give it the first of the two that the conversion returned: "
        fix += "`model, report = ...`. "
    return f"{fix}Received: model={model!r} (of type {type(model).__name__})"


@contextlib.contextmanager
def blame(owner: str) -> Iterator[None]:
    """Adds the name of a public function to refusals in the block.

    Args:
        owner: String, the name of the public class or function.

    Raises:
        ValueError: For a `Refusal` in the block, with the owner's name before
            it.
        TypeError: For a `TypeRefusal`.
    """
    try:
        yield
    except (Refusal, TypeRefusal) as refusal:
        raise _named(refusal, owner) from refusal.__cause__


def blame_itself(
    method: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Makes a method add the name of its object to its refusals.

    The name is the result of the object's `_label()`, or its class's name. For
    `__init__`, arguments that it does not have are refused as well: Python
    would name the class that defines it, which may be a private one.
    """
    is_init = getattr(method, "__name__", "") == "__init__"
    signature = inspect.signature(method) if is_init else None

    @functools.wraps(method)
    def blamed(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        # A subclass with its own `__init__`, which calls this one, is left out.
        if signature and type(args[0]).__init__ is blamed:
            check_arguments(type(args[0]), signature, args[1:], kwargs)
        try:
            return method(*args, **kwargs)
        except (Refusal, TypeRefusal) as refusal:
            itself = args[0]
            if hasattr(itself, "_label"):
                owner = itself._label()
            else:
                owner = type(itself).__name__
            raise _named(refusal, owner) from refusal.__cause__

    return blamed


def check_arguments(
    cls: type,
    signature: inspect.Signature,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> None:
    """Raises if an `__init__` cannot take these arguments.

    Args:
        cls: The class that was called.
        signature: The signature of its `__init__`, with `self`.
        args: The positional arguments, without `self`.
        kwargs: The keyword arguments.

    Raises:
        TypeError: If an argument is missing or one is too many. The message
            says how to call the class, and what was received.
    """
    try:
        signature.bind(None, *args, **kwargs)
    except TypeError as error:
        names = ", ".join(
            str(one.replace(annotation=one.empty))
            for one in list(signature.parameters.values())[1:]
        )
        received = [repr(value) for value in args]
        received += [f"{name}={value!r}" for name, value in kwargs.items()]
        raise TypeError(
            f"{cls.__name__}: {error}. Call it as {cls.__name__}({names}). "
            f"Received: {cls.__name__}({', '.join(received)})"
        ) from None


def _named(
    refusal: Refusal | TypeRefusal, owner: str
) -> ValueError | TypeError:
    cls = TypeError if isinstance(refusal, TypeRefusal) else ValueError
    error = cls(f"{owner}: {refusal}")
    return error.with_traceback(refusal.__traceback__)


# The advice in refusals of models that cannot run samples side by side.
ONE_BY_ONE = (
    "Pass `vectorized=False`: it runs one sample at a time by plain calls of "
    "the model, which is slower, and exact for any model, also for one in "
    "which rows see each other."
)


def of_fixed_rows(noise_shape: Sequence[int | None]) -> str:
    """What is wrong with a `noise_shape` that is for one number of rows.

    The sentence begins with its verb; the caller names the layer or argument.
    """
    return (
        "fixes the number of rows, while a Monte Carlo pass runs each row once "
        "for each sample. Make the first entry None, for a mask for each row, "
        "or 1, for one mask for all rows: "
        f"noise_shape={(None, *noise_shape[1:])}. Or: {ONE_BY_ONE}"
    )


def side_by_side(model: keras.Model, why: str) -> ValueError:
    """Returns the error for a model whose samples cannot run side by side.

    Args:
        model: The model.
        why: A clause that names the place.

    Returns:
        A ValueError, to be raised.
    """
    return ValueError(
        f"The samples of model '{model.name}' cannot be run side by side, as "
        f"further rows of one batch: {why}. {ONE_BY_ONE}"
    )

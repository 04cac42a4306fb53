"""Refusals: what inner functions raise, who is to blame, what they share."""

import contextlib
import functools
from collections.abc import Callable
from collections.abc import Iterator
from typing import ParamSpec
from typing import TypeVar

import keras

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Refusal(ValueError):
    """What was received cannot be; the boundary says to whom it was given."""


class TypeRefusal(TypeError):
    """What was received is of no type that it could be of; as `Refusal`."""


def received_model(model: object) -> str:
    """How a refusal of what is no model ends: what it is, and of what type.

    A module of PyTorch around one, as `DistributedDataParallel`, is told by
    the model in it.
    """
    inner = getattr(model, "module", None)
    fix = ""
    if isinstance(inner, keras.Model):
        fix = f"Give it the model inside of the {type(model).__name__}, "
        fix += "`.module`. "
    return f"{fix}Received: model={model!r} (of type {type(model).__name__})"


@contextlib.contextmanager
def blame(owner: str) -> Iterator[None]:
    """Says in what is refused inside who refuses it.

    Args:
        owner: String, the name of the public class or function.

    Raises:
        ValueError: For a `Refusal` in the block, with the owner before it.
        TypeError: For a `TypeRefusal`.
    """
    try:
        yield
    except (Refusal, TypeRefusal) as refusal:
        raise _named(refusal, owner) from refusal.__cause__


def blame_itself(
    method: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Makes a method say in what it refuses whose method it is.

    That is what the object's `_label()` returns, or the name of its class.
    """

    @functools.wraps(method)
    def blamed(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
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


def _named(
    refusal: Refusal | TypeRefusal, owner: str
) -> ValueError | TypeError:
    cls = TypeError if isinstance(refusal, TypeRefusal) else ValueError
    error = cls(f"{owner}: {refusal}")
    return error.with_traceback(refusal.__traceback__)


# What every refusal of a model says that samples run side by side would get
# wrong, or could not run.
ONE_BY_ONE = (
    "Pass `vectorized=False`: it runs one sample at a time by plain calls of "
    "the model, which is slower, and exact for any model, also for one in "
    "which rows see each other."
)


def side_by_side(model: keras.Model, why: str) -> ValueError:
    """The error for a model of which samples cannot run side by side.

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

"""Refusals: what inner functions raise, who is to blame, what they share."""

import contextlib
from collections.abc import Iterator

import keras


class Refusal(ValueError):
    """What was received cannot be; the boundary says to whom it was given."""


@contextlib.contextmanager
def blame(owner: str) -> Iterator[None]:
    """Says in what is refused inside who refuses it.

    Args:
        owner: String, the name of the public class or function.

    Raises:
        ValueError: For a `Refusal` in the block, with the owner before it.
    """
    try:
        yield
    except Refusal as refusal:
        error = ValueError(f"{owner}: {refusal}")
        raise error.with_traceback(refusal.__traceback__) from None


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

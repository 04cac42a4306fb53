"""Errors about wrong arguments of layers, with the right names."""

import functools
import inspect

from kerasdrop import _backend
from kerasdrop._refusals import blame_itself
from kerasdrop._refusals import check_arguments
from kerasdrop._types import Function
from kerasdrop._types import Given

# Names that other packages have for the rate, or for its complement.
_OF_DROPPING = ("p", "prob", "drop_prob", "drop_rate", "dropout_rate")
_OF_KEEPING = ("keep_prob", "keep_rate")


_outside = _backend.uncompiled(
    "A layer has a state. Make it outside of the function that is compiled "
    "with fullgraph=True, and call it inside."
)


class CheckedArguments:
    """Abstract: names the class that was called, and other names of a rate.

    Python would name the class whose `__init__` is inherited, which may be a
    private one. `torch.compile` does not trace the creation of such a layer.
    """

    @_outside
    def __new__(cls, *args: Given, **kwargs: Given) -> Given:
        return super().__new__(cls, *args, **kwargs)

    def __init_subclass__(cls, **kwargs: Given) -> None:
        super().__init_subclass__(**kwargs)
        own, plain = vars(cls).get("__init__"), cls.__init__

        @functools.wraps(plain)
        @blame_itself
        def __init__(self: Given, *args: Given, **kwargs: Given) -> None:
            # A subclass that calls this was checked by its own `__init__`.
            if type(self) is cls:
                _check(cls, plain, args, kwargs)
            if own is None:  # the next one depends on the class of `self`
                super(cls, self).__init__(*args, **kwargs)
            else:
                own(self, *args, **kwargs)

        # Keras reads the names of the arguments off it.
        wrapper: Given = __init__
        wrapper.__signature__ = inspect.signature(plain)
        cls.__init__ = _outside(__init__)  # type: ignore[method-assign]


def _check(cls: type, init: Function, args: Given, kwargs: Given) -> None:
    """Raises a TypeError if `init` cannot take these arguments."""
    signature = inspect.signature(init)
    parameters = signature.parameters
    rate = next(
        name
        for name in ("rate", "dropout", "input_rate", None)
        if name is None or name in parameters
    )
    for name in kwargs:
        if name in parameters or rate is None:
            continue
        if name in _OF_DROPPING:
            raise TypeError(
                f"{cls.__name__}: the probability of dropping a unit is "
                f"called `{rate}`. (PyTorch's p is the same; the p of the "
                "paper of 2014 is the probability of keeping one, "
                f"`1 - {rate}`.) Received: {name}={kwargs[name]!r}"
            )
        if name in _OF_KEEPING:
            raise TypeError(
                f"{cls.__name__}: `{rate}` is the probability of dropping a "
                f"unit, `1 - {name}`. Received: {name}={kwargs[name]!r}"
            )
    check_arguments(cls, signature, args, kwargs)

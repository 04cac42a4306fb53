"""What a pass finds out about a model only when it runs it.

A layer may move the batch away from axis 0 without telling; a call may fail on
folded rows that does not fail on the rows themselves. Either becomes an error
that names the place, or another way of running the model.
"""

import contextlib
import re
from collections.abc import Iterator

import keras
from keras import tree

from kerasdrop import _backend
from kerasdrop import _refusals
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks import scopes
from kerasdrop.montecarlo.splitting import frontier


class Failures:
    """The error that an attempt ends with, past what Keras makes of it.

    Keras dresses up what is raised inside the call of a layer.

    Attributes:
        error: The error, or None.
        was_misled: Whether a layer was believed to keep the batch in place.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.was_misled = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps what is raised inside the block."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise


def tried_again(
    model: keras.Model,
    attempt: Function,
    before_the_next: Function | None = None,
) -> Given:
    """`attempt(failures)`; a second time if the first one was misled.

    Args:
        model: The model.
        attempt: Function of `Failures`.
        before_the_next: Another one, which has to come before a second time.
    """
    failures = Failures()
    try:
        return attempt(failures)
    except Exception:
        error = failures.error
        if error is None:
            raise
    if not (failures.was_misled and frontier.distrust(model)):
        raise error
    if before_the_next is not None:
        tried_again(model, before_the_next)
    return tried_again(model, attempt)


def check_rows(
    model: keras.Model,
    step: frontier.Step,
    outputs: list[Tensor],
    num_rows: int | None,
    failures: Failures,
) -> None:
    """Checks that the batch is where it was believed to be.

    Args:
        model: The model.
        step: The `frontier.Step` that was made.
        outputs: Its outputs.
        num_rows: The size that the batch has in it; None if not known.
        failures: `Failures`.
    """
    if num_rows is None:
        return
    for symbolic, output in zip(step.node.outputs, outputs):
        axis, shape = step.layouts[id(symbolic)].axis, _shape(output)
        is_there = axis is None or shape[axis : axis + 1] in (
            (num_rows,),
            (None,),
        )
        # Another axis of this size may be there by chance: that is looked at.
        is_twice = step.is_believed and any(
            size == num_rows and open_size is None
            for size, open_size in zip(shape[1:], symbolic.shape[1:])
        )
        if is_there and not is_twice:
            continue
        failures.was_misled = True
        with failures.kept():
            raise _refusals.side_by_side(
                model,
                f"the output of {step.words} for {num_rows} rows has the "
                f"shape {shape}, whose axis {axis} is not the batch",
            )


def _shape(output: Tensor) -> Shape:
    return tuple(getattr(output, "shape", ()))


def explain(
    model: keras.Model, step: Tensor, error: Given, on_one_sample: Given
) -> None:
    """Raises what to tell where a call failed on folded rows.

    Args:
        model: The model.
        step: The `frontier.Step`.
        error: What was raised.
        on_one_sample: Function that makes the call on the rows of one sample.

    Raises:
        ValueError: If that is well. Else it is no matter of rows.
    """
    try:
        with scopes.TrialScope():
            on_one_sample()
    except Exception:  # whatever it was
        return
    raise _side_by_side(model, step.words, error)


def may_explain(error: Given) -> bool:
    """Whether the number of rows can be what an error is about."""
    others = (OSError, MemoryError, _backend.ValuesAway)
    return not isinstance(error, others)


def _side_by_side(model: keras.Model, words: Given, error: Given) -> Given:
    explained = _refusals.side_by_side(
        model,
        f"{words} fails on the rows of several samples, and not on those of "
        f"the batch alone ({_first_line(error)})",
    )
    explained.__cause__ = error
    return explained


def _first_line(error: Given) -> Given:
    """What an error says, without what Keras puts around it."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    if lines and lines[0].startswith("Exception encountered when calling"):
        lines = lines[1:]
    return f"{type(error).__name__}: {lines[0].rstrip('.') if lines else ''}"


def called(
    model: keras.Model, inputs: Structure, fold: Given, num_samples: int
) -> Given:
    """The outputs of a model without a graph, all of it folded.

    Args:
        model: The model.
        inputs: Its inputs, tensors `(batch, ...)`.
        fold: Function that repeats the rows of a tensor.
        num_samples: How often it does.

    Raises:
        ValueError: If the model fails on folded rows alone, or if its outputs
            do not have them as their first axis, and as no other.
    """

    def plain() -> Given:
        with scopes.TrialScope():
            return model(inputs, training=False)

    folded = tree.map_structure(lambda x: x if x is None else fold(x), inputs)
    try:
        outputs = model(folded, training=False)
    except Exception as error:
        if not may_explain(error):
            raise
        try:
            plain()
        except Exception:  # so it is no matter of rows
            raise error from None
        raise _side_by_side(model, _place(model, error), error) from error
    num_rows = number_of_rows(inputs)
    if num_rows is not None:
        _check_outputs(model, outputs, num_rows * num_samples, plain)
    return outputs


def number_of_rows(inputs: Tensor) -> int | None:
    """The rows of a structure of tensors; None if not known."""
    sizes = [x.shape[0] for x in tree.flatten(inputs) if x is not None]
    return sizes[0] if sizes else None


def _check_outputs(
    model: keras.Model, outputs: Structure, num_rows: int, plain: Function
) -> None:
    shapes = [tuple(output.shape) for output in tree.flatten(outputs)]
    expected = shapes
    if any(num_rows in shape[1:] for shape in shapes):
        # By chance, or since rows meet rows.
        expected = [
            (num_rows, *output.shape[1:]) for output in tree.flatten(plain())
        ]
    for shape, other in zip(shapes, expected):
        if shape[:1] in ((num_rows,), (None,)) and shape == other:
            continue
        raise _refusals.side_by_side(
            model,
            f"it returns the shape {shape} for {num_rows} rows, so that rows "
            "see each other, or axis 0 is not the batch",
        )


def _place(model: keras.Model, error: Given) -> Given:
    """The innermost layer of a model that an error came through, in words."""
    layers = {
        id(layer): (path, layer) for path, layer in model_tree.walk(model)
    }
    place = "it"
    trace = error.__traceback__
    while trace is not None:
        owner = id(trace.tb_frame.f_locals.get("self"))
        if owner in layers:
            path, layer = layers[owner]
            place = f"layer '{path}' ({model_tree.class_name(layer)})"
        trace = trace.tb_next
    return place

"""Handles what shows only when a pass runs the model.

A layer may move the batch away from axis 0 without telling, or a call may fail
on folded rows although it works on the rows themselves. Each case leads to an
error that names the place, or to another way of running the model.
"""

import contextlib
import re
from collections.abc import Iterator

import keras
from keras import ops
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
    """Keeps the error that an attempt ends with, as it was raised.

    Keras changes the message of an error that a layer's call raises.

    Attributes:
        error: The error, or None.
        was_misled: Whether the assumption that a layer keeps the batch in place
            was wrong.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.was_misled = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the error that the block raises."""
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
    """Returns `attempt(failures)`; tries twice if an assumption was wrong.

    Args:
        model: The model.
        attempt: Function of `Failures`.
        before_the_next: Another function of `Failures`, which runs before a
            second attempt.
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
    """Checks that the batch is where it was assumed to be.

    Args:
        model: The model.
        step: The `frontier.Step` that ran.
        outputs: Its outputs.
        num_rows: The size of the batch in the outputs; None if unknown.
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
        # Another axis may have this size by chance, so that is checked.
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
    model: keras.Model,
    step: frontier.Step,
    error: Exception,
    on_one_sample: Function,
) -> None:
    """Raises an explanation if a call failed only because rows were folded.

    Args:
        model: The model.
        step: The `frontier.Step`.
        error: The error that was raised.
        on_one_sample: Function that makes the call on the rows of one sample.

    Raises:
        ValueError: If the call on one sample works. If it fails, too, folding
            is not the cause.
    """
    try:
        with scopes.TrialScope():
            on_one_sample()
    except Exception:  # the cause may be any error of the model
        return
    raise _side_by_side(model, step.words, error)


def may_explain(error: Exception) -> bool:
    """Whether the number of rows can be the cause of an error."""
    others = (OSError, MemoryError, _backend.ValuesAway)
    return not isinstance(error, others)


def _side_by_side(
    model: keras.Model, words: str, error: Exception
) -> ValueError:
    explained = _refusals.side_by_side(
        model,
        f"{words} fails on the rows of several samples, and not on those of "
        f"the batch alone ({_first_line(error)})",
    )
    explained.__cause__ = error
    return explained


def _first_line(error: Exception) -> str:
    """The message of an error, without the text that Keras adds."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    if lines and lines[0].startswith("Exception encountered when calling"):
        lines = lines[1:]
    return f"{type(error).__name__}: {lines[0].rstrip('.') if lines else ''}"


def called(
    model: keras.Model, inputs: Structure, fold: Given, num_samples: int
) -> Given:
    """The outputs of a model without a graph, all of which runs folded.

    Args:
        model: The model.
        inputs: Its inputs, tensors `(batch, ...)`.
        fold: Function that repeats the rows of a tensor.
        num_samples: How often it repeats them.

    Raises:
        ValueError: If the model fails on folded rows but not on plain ones, or
            if the folded rows are not the first axis of its outputs, and only
            that axis.
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
        except Exception:  # folding is not the cause
            raise error from None
        raise _side_by_side(model, _place(model, error), error) from error
    check_are_tensors(model, outputs)
    num_rows = number_of_rows(inputs)
    if num_rows is not None:
        _check_outputs(model, outputs, num_rows * num_samples, plain)
    return outputs


def check_are_tensors(model: keras.Model, outputs: Structure) -> None:
    """Raises unless a model without a graph returns tensors only."""
    for path, output in tree.flatten_with_path(outputs):
        if ops.is_tensor(output):
            continue
        name = " ".join(["output", *map(repr, path)])
        raise ValueError(
            f"Model '{model.name}' must return tensors only, each with a row "
            "for each row of the inputs; dicts, lists and tuples of them are "
            f"accepted. Leave out the others. Received: {name} of type "
            f"{type(output).__name__}"
        )


def number_of_rows(inputs: Structure) -> int | None:
    """The number of rows of a structure of tensors; None if unknown."""
    sizes = [x.shape[0] for x in tree.flatten(inputs) if x is not None]
    return sizes[0] if sizes else None


def _check_outputs(
    model: keras.Model, outputs: Structure, num_rows: int, plain: Function
) -> None:
    shapes = [tuple(output.shape) for output in tree.flatten(outputs)]
    expected = shapes
    if any(num_rows in shape[1:] for shape in shapes):
        # Either by chance, or because rows are combined with rows.
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


def _place(model: keras.Model, error: Exception) -> str:
    """Describes the innermost layer of a model that an error came through."""
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

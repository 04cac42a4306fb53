"""Draws the samples of a batch, in chunks of any size."""

import contextlib
import functools
from collections.abc import Iterator

import keras
import numpy as np
from keras import tree

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._adapters import asking
from kerasdrop._adapters import survey
from kerasdrop._backend import ops
from kerasdrop._structure import model_tree
from kerasdrop._structure import nested
from kerasdrop._structure import padding
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks import plans
from kerasdrop.masks import scopes
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.sampling import asked
from kerasdrop.montecarlo.splitting import misfits
from kerasdrop.montecarlo.splitting import replay


@contextlib.contextmanager
def sampler(
    model: keras.Model,
    key: Tensor,
    plan: str,
    inputs: Structure,
    rows: Tensor,
    vectorized: bool = True,
    in_parts: bool = False,
    keep_all: bool | None = None,
    choice: choices.Choice | None = None,
    rates: Tensor | None = None,
) -> Iterator[Given]:
    """Yields a function that draws samples while the block lasts.

    Args:
        model: A built model.
        key: int32 tensor `(2, 2, 1)`, on which all samples depend.
        plan: One of `plans.PLANS`.
        inputs: The model's inputs, tensors `(batch, ...)`.
        rows: int32 `(batch,)`, the position of each row in the data.
        vectorized: Whether the samples of a chunk run side by side, as rows of
            one batch. If not, each sample is a plain call of the model.
        in_parts: Whether several chunks draw the samples of one set.
        keep_all: As for `masks.Draw`.
        choice: The `choice.Choice` of what is drawn; None for all.
        rates: The vector of its rates, a tensor; None for the rates that the
            choice itself has.

    Yields:
        A function of the samples' numbers, int32 `(samples,)`. Its further
        arguments are optional: another vector of rates, whether the samples are
        plain predictions in which nothing draws, and int32 `(layers,)` that is
        added to the samples' numbers in each of `drawn_layers`. It returns the
        model's outputs, each `(batch, samples, ...)` and float32 or float64.
    """
    choice = choice or choices.whole(model)
    numbers = drawn_layers(model, choice)
    draws = _draws(numbers, key, plan, rows, vectorized, in_parts, keep_all)
    found = survey.of(model)

    def scope(
        samples: Tensor,
        others: Tensor | None,
        at_inference: bool,
        moved: Tensor | None,
    ) -> Given:
        """A scope with the draws of these samples, for one call."""
        of_samples = draws(samples, moved)
        if at_inference:
            asleep = scopes.InferenceScope(of_samples, numbers)
            return asked.entered(asleep, found)
        given = rates_of(choice, rates if others is None else others)
        return asked.checking(
            found,
            inputs,
            numbers,
            of_samples,
            keep_all,
            choice,
            given,
        )

    with asking.asking_the_scope(model, numbers, choice.silent()):
        if vectorized:
            folded = _folded(model, inputs, list(numbers), choice)
            yield functools.partial(_side_by_side, folded, scope)
        else:
            yield functools.partial(_one_by_one, model, inputs, rows, scope)


def _folded(
    model: keras.Model,
    inputs: Structure,
    layers: list[keras.layers.Layer],
    choice: choices.Choice,
) -> replay.FoldedModel:
    """The model on its inputs, ready to draw any number of samples."""
    found = survey.of(model)
    while True:
        holders = found.holders_of(layers)
        try:
            with asked.refusing(model):
                return replay.FoldedModel(model, inputs, holders)
        except scopes.DrawsInPrefix as error:
            # A layer draws at inference by itself, which only its call shows.
            if error.layer is None or error.layer in layers:
                raise ValueError(
                    f"Something in model '{model.name}' that is not a layer, "
                    "such as an activation, draws random numbers. Put it into "
                    "a custom layer."
                ) from None
            if not choice.is_whole:
                raise ValueError(
                    f"Layer '{error.layer.name}' "
                    f"({model_tree.class_name(error.layer)}) of model "
                    f"'{model.name}' {asked.NOT_SELECTED}"
                ) from None
            layers = [*layers, error.layer]


def drawn_layers(
    model: keras.Model, choice: choices.Choice
) -> dict[keras.layers.Layer, int]:
    """Returns a dict from each layer that draws in a pass to its number.

    All layers that can draw are numbered, so the masks of a layer do not depend
    on which other layers are chosen.
    """
    return {
        layer: number
        for number, layer in enumerate(survey.of(model).drawable)
        if choice.draws(layer)
    }


def rates_of(
    choice: choices.Choice, vector: Tensor | None = None
) -> scopes.Rates:
    """The rates that a `StochasticScope` gives its layers."""
    if vector is None:
        vector = choice.vector()
    return choice.rates_for_scope(ops.convert_to_tensor(vector))


def _side_by_side(
    folded: replay.FoldedModel,
    scope: Function,
    samples: Tensor,
    rates: Tensor | None = None,
    at_inference: bool = False,
    moved: Tensor | None = None,
) -> Given:
    num_samples = samples.shape[0]
    outputs = folded.samples(
        num_samples,
        functools.partial(scope, samples, rates, at_inference, moved),
    )
    return nested.map_structure(
        lambda output: precise(
            ops.reshape(output, (-1, num_samples, *ops.shape(output)[1:]))
        ),
        outputs,
    )


def _one_by_one(
    model: keras.Model,
    inputs: Structure,
    rows: Tensor,
    scope: Function,
    samples: Tensor,
    rates: Tensor | None = None,
    at_inference: bool = False,
    moved: Tensor | None = None,
) -> Given:
    structure = None

    def one(sample: Given) -> Given:
        nonlocal structure
        number = ops.reshape(sample, (1,))
        with scope(number, rates, at_inference, moved):
            structure = model(inputs, training=False)
        misfits.check_are_tensors(model, structure)
        _check_batch_axis(model, structure, rows)
        return [precise(output) for output in nested.flatten(structure)]

    if samples.shape[0] == 1:
        outputs = [output[None] for output in one(samples)]
    else:
        # A loop, which is not unrolled, so the model is compiled once.
        outputs = ops.map(one, samples)
    return nested.packed(
        structure, [ops.swapaxes(output, 0, 1) for output in outputs]
    )


def _check_batch_axis(
    model: keras.Model, outputs: Structure, rows: Tensor
) -> None:
    sizes = tuple(rows.shape)
    if all(tuple(one.shape[:1]) == sizes for one in nested.flatten(outputs)):
        return
    for path, output in tree.flatten_with_path(outputs):
        if tuple(output.shape[:1]) == sizes:
            continue
        name = " ".join(["output", *map(repr, path)])
        raise ValueError(
            f"The statistics of a row need outputs whose first axis is the "
            f"batch, here of {rows.shape[0]} rows. Let model '{model.name}' "
            "return such outputs: if all rows share an output, repeat it for "
            "each row, e.g. with `keras.ops.broadcast_to`. Received: "
            f"{name} of shape {tuple(output.shape)}"
        )


def precise(output: Tensor) -> Given:
    """The output in float32, or in float64 if it already is."""
    if keras.backend.standardize_dtype(output.dtype) != "float64":
        output = ops.cast(output, "float32")
    return output


def drawing() -> Given:
    """The `keep_all` of a pass that draws, a tensor in a compiled function."""
    return _backend.argument(np.False_) if _backend.COMPILES else None


@contextlib.contextmanager
def inference(
    model: keras.Model,
    key: Tensor,
    plan: str,
    rows: Tensor,
    samples: Tensor,
    vectorized: Given,
    choice: choices.Choice,
) -> Iterator[Given]:
    """Puts all layers that are known to draw into inference in the block.

    Unknown code that draws from Keras' generators draws the same numbers as in
    a pass of these samples.

    Args:
        model, key, plan, rows, vectorized, choice: As in `sampler`.
        samples: int32 `(samples,)`.

    Yields:
        A `scopes.InferenceScope`.
    """
    numbers = drawn_layers(model, choice)
    draws = _draws(numbers, key, plan, rows, vectorized)
    scope = scopes.InferenceScope(draws(samples), numbers, rates_of(choice))
    found = survey.of(model)
    scope.known = {id(layer) for _, layer in found.layers}
    with (
        asking.asking_the_scope(model, numbers, choice.silent()),
        asking.watching_calls(),
        asked.entered(scope, found),
    ):
        yield scope


def output_masks(
    model: keras.Model,
    key: Tensor,
    plan: str,
    inputs: Structure,
    rows: Tensor,
    vectorized: bool,
    choice: choices.Choice,
) -> list[Given]:
    """The padding mask of each flat output of a plain prediction.

    Args:
        model, key, plan, inputs, rows, vectorized, choice: As in `sampler`.

    Returns:
        A list of tensors `(batch, ...)`; None for an output without one.
    """
    one = plans.range_of(0, 1)
    with inference(model, key, plan, rows, one, vectorized, choice):
        outputs = model(inputs, training=False)
    return [padding.mask_of(output) for output in tree.flatten(outputs)]


def _draws(
    numbers: dict[keras.layers.Layer, int],
    key: Tensor,
    plan: str,
    rows: Tensor,
    vectorized: bool = True,
    in_parts: bool = False,
    keep_all: bool | None = None,
) -> Function:
    """Returns a function from samples to the draws that they use.

    Args:
        numbers: As `drawn_layers` returns it.
        key, plan, rows, vectorized, in_parts, keep_all: As in `sampler`.
    """
    of_layers = masks.derived_keys(key, list(numbers.values()))
    keys = dict(zip(map(id, numbers), of_layers))

    def draws(samples: Tensor, moved: Tensor | None = None) -> Function:
        index, of_rows = plans.index_and_rows(plan, samples, rows)
        draw = masks.Draw(
            None,
            index,
            of_rows,
            plans.set_size(plan),
            1 if in_parts else samples.shape[0],
            None if vectorized else of_rows[:1],
            keep_all,
        )
        shifts: dict[int, Tensor] = {}
        if moved is not None:
            shifts = {one: moved[place] for place, one in enumerate(keys)}
        return _draws_of_layers(key, keys, draw, shifts)

    return draws


def _draws_of_layers(
    key: Tensor,
    keys: dict[int, Tensor],
    draw: masks.Draw,
    shifts: dict[int, Tensor],
) -> Function:
    """Returns the `draw_of` of a `scopes.StochasticScope` for one pass.

    A layer draws anew in each of its calls, and at each step of a loop.

    Args:
        key, draw: Those that all layers share.
        keys: Dict from the id of a layer to its key.
        shifts: Dict from the id of a layer to what is added to its samples'
            numbers.
    """

    def draw_of(
        layer: keras.layers.Layer | None, number: int, steps: Shape
    ) -> masks.Draw:
        if layer is None:
            # This is a Keras generator in an unknown layer. It gets a number
            # below 0, which no layer has.
            of_call = masks.derived_key(key, np.int32(-1))
        else:
            of_call = keys[id(layer)]
        if number:
            of_call = masks.derived_key(of_call, np.int32(number))
        for step in steps:
            # A number below 0 is not the number of a call.
            of_call = masks.derived_key(of_call, -1 - step)
        index = draw.index
        if id(layer) in shifts:
            index = index + shifts[id(layer)]
        return draw._replace(key=of_call, index=index)

    return draw_of

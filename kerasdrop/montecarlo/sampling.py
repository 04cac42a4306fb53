"""Draws the samples of a batch, in chunks of any size."""

import contextlib

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import masks
from kerasdrop.montecarlo import adapters
from kerasdrop.montecarlo import folding
from kerasdrop.montecarlo import plans
from kerasdrop.montecarlo import scopes


@contextlib.contextmanager
def sampler(model, key, plan, inputs, rows):
    """Inside the block, a function that draws samples.

    Args:
        model: A built model.
        key: int32 tensor `(2, 2, 1)`, what all samples depend on.
        plan: One of `plans.PLANS`.
        inputs: The model's inputs, tensors `(batch, ...)`.
        rows: int32 `(batch,)`, each row's place in the data.

    Yields:
        A function of the samples' numbers, int32 `(samples,)`, that returns
        the model's outputs, each `(batch, samples, ...)` and float32 or
        float64.
    """
    numbers = {
        layer: number
        for number, layer in enumerate(adapters.drawable_layers(model))
        if not adapters.is_constant(layer)
    }
    of_layers = masks.derived_keys(key, list(numbers.values()))
    keys = dict(zip(map(id, numbers), of_layers))
    with adapters.asking_the_scope(model, numbers):
        holders = adapters.holders_of(model, numbers)
        folded = folding.FoldedModel(model, inputs, holders)

        def draw(samples):
            index, folded_rows = plans.index_and_rows(plan, samples, rows)
            num_samples = samples.shape[0]
            draw = masks.Draw(
                None, index, folded_rows, plans.set_size(plan), num_samples
            )
            with scopes.StochasticScope(_draws(keys, draw), numbers):
                outputs = folded.samples(num_samples)
            return tree.map_structure(
                lambda output: _unfolded(output, num_samples), outputs
            )

        yield draw


def _unfolded(output, num_samples):
    """`(batch * num_samples, ...)` to `(batch, num_samples, ...)`, float32+."""
    shape = (-1, num_samples, *ops.shape(output)[1:])
    output = ops.reshape(output, shape)
    if keras.backend.standardize_dtype(output.dtype) != "float64":
        output = ops.cast(output, "float32")
    return output


def _draws(keys, draw):
    """What each layer draws in one pass; a layer called again draws anew."""
    calls = {}

    def draw_of(layer):
        number = calls.get(id(layer), 0)
        calls[id(layer)] = number + 1
        key = keys[id(layer)]
        if number:
            key = masks.derived_key(key, np.int32(number))
        return draw._replace(key=key)

    return draw_of

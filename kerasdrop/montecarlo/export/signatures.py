"""The signature of an exported model, and inputs to test it with."""

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given

# The trial uses these numbers for sizes that the signature leaves open.
_TRIAL_SIZE = 3

SEED_OF_TRIAL = 2**31 - 19
RATE_OF_TRIAL = 0.3


def of(model: keras.Model, given: Given) -> Given:
    """A list of one structure of `keras.InputSpec`s, each with a name."""
    if given is None:
        graph = keras_graph.graph_of(model)
        if graph is None:
            raise Refusal(
                f"model '{model.name}' is not a graph of layers, so its inputs "
                "are not known. Pass `input_signature`, e.g. "
                "`[keras.InputSpec('float32', (None, 8))]`."
            )
        given = [graph.input]
    if not isinstance(given, (list, tuple)) or len(given) != 1:
        raise Refusal(
            "argument `input_signature` must be a list with one element, the "
            "structure of the model's inputs. Received: "
            f"input_signature={given!r}"
        )
    numbers = iter(range(len(tree.flatten(given))))

    def spec(leaf: Given) -> Given:
        number, shape = next(numbers), tuple(leaf.shape)
        if not isinstance(leaf, keras.InputSpec):
            shape = (None, *shape[1:])  # as in Keras
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        name = getattr(leaf, "name", None) or f"input_{number}"
        return keras.InputSpec(dtype, shape, name=name)

    return [tree.map_structure(spec, given[0])]


def extra_inputs(
    signature: Given, rows: Given, seed: Given, rate: Given
) -> list[keras.InputSpec]:
    size = tree.flatten(signature)[0].shape[0]
    extra = []
    if rows is not None:
        extra.append(keras.InputSpec("int32", (size,), name="rows"))
    if seed is not None:
        extra.append(keras.InputSpec("int32", (), name="seed"))
    if rate is not None:
        extra.append(keras.InputSpec("float32", (), name="rate"))
    return extra


def example(signature: Given, given: Given) -> Given:
    """Arrays in the structure of the model's inputs."""
    if given is not None:
        return tree.map_structure(
            lambda spec, x: np.asarray(ops.convert_to_numpy(x), spec.dtype),
            signature[0],
            given,
        )
    generator = np.random.default_rng(0)

    def numbers(spec: Given) -> Given:
        shape = [_TRIAL_SIZE if n is None else n for n in spec.shape]
        if "float" in spec.dtype:
            return generator.uniform(size=shape).astype(spec.dtype)
        return generator.integers(2, size=shape).astype(spec.dtype)

    return tree.map_structure(numbers, signature[0])


def extra_trial(example: Given, extra: Given) -> Given:
    size = len(tree.flatten(example)[0])
    places = np.random.default_rng(1).integers(2**31, size=size)
    values = {"rows": places, "seed": SEED_OF_TRIAL, "rate": RATE_OF_TRIAL}
    return [np.array(values[spec.name], spec.dtype) for spec in extra]

"""A model on PyTorch as a module of tensors that can be traced.

Keras' own ONNX export lacks bit operations, and its OpenVINO export names no
outputs.
"""

from typing import NamedTuple

import keras
from keras import ops
from keras import tree

from kerasdrop._types import Given

# The trace uses these numbers for sizes that the signature leaves open.
_SIZE = 2


class Traced(NamedTuple):
    """The arguments of a tracer.

    Attributes:
        module: A `torch.nn.Module` of flat tensors that returns a tuple.
        inputs: List of tensors to trace it with.
        shapes: List of the shapes of the inputs, None where a size is open.
        input_names, output_names: Lists of strings.
    """

    module: Given
    inputs: list[Given]
    shapes: list[Given]
    input_names: list[Given]
    output_names: list[Given]


def of(model: keras.Model, signature: Given) -> Given:
    """Returns the `Traced` of a model; arguments as for `Format.write`."""
    specs = tree.flatten(signature)
    shapes = [spec.shape for spec in specs]
    inputs = [
        ops.ones([_SIZE if n is None else n for n in spec.shape], spec.dtype)
        for spec in specs
    ]
    names = list(model(*tree.pack_sequence_as(signature, inputs)))

    def function(*flat: Given) -> Given:
        result = model(*tree.pack_sequence_as(signature, list(flat)))
        return tuple(result[name] for name in names)

    module = _module(function, model)
    return Traced(module, inputs, shapes, [one.name for one in specs], names)


def _module(function: Given, model: keras.Model) -> Given:
    """Returns a module that calls `function`, with the variables of `model`."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *args: Given) -> Given:
            with torch.no_grad():
                return function(*args)

    return Module().eval()

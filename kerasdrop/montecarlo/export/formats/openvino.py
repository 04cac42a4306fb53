"""OpenVINO's own format."""

import warnings
from typing import ClassVar

import keras

from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.montecarlo.export.formats import base
from kerasdrop.montecarlo.export.formats import traced


class OpenVINO(base.Format):
    """A file of OpenVINO, with one for the weights beside it."""

    name = "openvino"
    ending = ".xml"
    needed: ClassVar[Config] = {
        "tensorflow": {"openvino": "openvino"},
        "torch": {"openvino": "openvino"},
    }
    divides_on = ("torch",)
    known: ClassVar[Config] = {"tensorflow": ()}

    def write(
        self, model: keras.Model, path: str, signature: Given, **kwargs: Given
    ) -> None:
        if keras.backend.backend() == "torch":
            _write_traced(traced.of(model, signature), path, **kwargs)
        else:
            super().write(model, path, signature, **kwargs)

    def run(self, path: str, inputs: dict[str, Array]) -> dict[str, Array]:
        import openvino

        # By default OpenVINO may compute in bfloat16.
        compiled = openvino.Core().compile_model(
            path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        results = compiled(inputs)
        # A tensor may have several names, its own among them.
        return {
            name: results[output]
            for output in compiled.outputs
            for name in output.names
        }


def _write_traced(graph: Given, path: str, **kwargs: Given) -> None:
    """Writes a `Traced`; `keras.Model.export` would not name its outputs."""
    import openvino
    import torch

    with warnings.catch_warnings():
        # The warnings are about Python numbers, such as sizes of weights, that
        # the trace keeps.
        warnings.simplefilter("ignore")
        script = torch.jit.trace(graph.module, tuple(graph.inputs))
    model = openvino.convert_model(script, **kwargs)
    for ports, names in (
        (model.inputs, graph.input_names),
        (model.outputs, graph.output_names),
    ):
        for port, name in zip(ports, names, strict=True):
            port.get_node().set_friendly_name(name)
            port.tensor.set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)

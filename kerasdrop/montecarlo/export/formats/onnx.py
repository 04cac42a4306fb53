"""ONNX, as onnxruntime runs it."""

import warnings
from typing import ClassVar

import keras

from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.montecarlo.export.formats import base
from kerasdrop.montecarlo.export.formats import traced


class ONNX(base.Format):
    """A file of ONNX."""

    name = "onnx"
    ending = ".onnx"
    needed: ClassVar[Config] = {
        "tensorflow": {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
        "torch": {
            "onnx": "onnx",
            "onnxscript": "onnxscript",
            "onnxruntime": "onnxruntime",
        },
    }
    # onnxruntime refuses bit operations in files of the default of tf2onnx.
    options: Given = {"opset_version": 18}  # noqa: RUF012
    known: ClassVar[Config] = {"tensorflow": ("opset_version",)}

    def write(
        self, model: keras.Model, path: str, signature: Given, **kwargs: Given
    ) -> None:
        if keras.backend.backend() == "torch":
            _write_traced(traced.of(model, signature), path, **kwargs)
        else:
            super().write(model, path, signature, **kwargs)

    def run(self, path: str, inputs: dict[str, Array]) -> dict[str, Array]:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            path, providers=["CPUExecutionProvider"]
        )
        found = [output.name for output in session.get_outputs()]
        return dict(zip(found, session.run(None, inputs)))


def _write_traced(graph: Given, path: str, **kwargs: Given) -> None:
    """Writes a `Traced`; `keras.Model.export` uses PyTorch's older exporter."""
    import torch

    batch = torch.export.Dim("batch")
    others = torch.export.Dim.AUTO
    open_sizes = tuple(
        {
            axis: others if axis else batch
            for axis, size in enumerate(shape)
            if size is None
        }
        for shape in graph.shapes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how it does it
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs),
            dynamo=True,
            verbose=False,
            input_names=graph.input_names,
            dynamic_shapes=(open_sizes,),  # of *args
            **kwargs,
        )
    written = program.model.graph
    # The exporter names inner tensors by their operations, such as "mean".
    for node in written:
        for value in node.outputs:
            value.name = f"inside_{value.name}"
    for value, name in zip(written.outputs, graph.output_names, strict=True):
        value.name = name
    program.save(path)

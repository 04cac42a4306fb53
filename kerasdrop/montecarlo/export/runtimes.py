"""Runs an exported file by the software that it was written for.

Each format has a function of the path and of the inputs, arrays by name, that
returns the outputs, arrays by name.
"""

import importlib.util

from kerasdrop import _backend


def _run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    found = [output.name for output in session.get_outputs()]
    return dict(zip(found, session.run(None, inputs)))


def _run_openvino(path, inputs):
    import openvino

    # By default it may compute in bfloat16.
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


def _run_litert(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path).get_signature_runner("serving_default")
    return runner(**inputs)


_RUN = {
    "tf_saved_model": _backend.run_saved_model,
    "onnx": _run_onnx,
    "openvino": _run_openvino,
    "litert": _run_litert,
}

# What is imported, and the package that has it.
_NEEDED = {
    ("tf_saved_model", "tensorflow"): {},
    ("tf_saved_model", "jax"): {"tensorflow": "tensorflow"},
    ("onnx", "tensorflow"): {
        "tf2onnx": "tf2onnx",
        "onnxruntime": "onnxruntime",
    },
    ("onnx", "torch"): {
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "onnxruntime": "onnxruntime",
    },
    ("openvino", "tensorflow"): {"openvino": "openvino"},
    ("openvino", "torch"): {"openvino": "openvino"},
    ("litert", "tensorflow"): {"ai_edge_litert": "ai-edge-litert"},
}


def check_installed(format, backend, owner):
    """Raises if what writes or runs files of a format is not installed."""
    missing = [
        package
        for module, package in _NEEDED[format, backend].items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise ImportError(
            f"{owner}: to write a file of format '{format}' and to run it "
            "once, so that it is known to draw the same samples, these "
            f"packages are needed: pip install {' '.join(missing)}"
        )


def run(format, path, inputs):
    """The outputs of an exported file.

    Args:
        format: One of those that `check_installed` knows.
        path: String, the file or folder.
        inputs: Dict of numpy arrays.

    Returns:
        A dict of numpy arrays.
    """
    return _RUN[format](path, inputs)


def write_openvino(graph, path, input_names, output_names, **kwargs):
    """Writes a traced graph of PyTorch for OpenVINO.

    `keras.Model.export` would not name its outputs.
    """
    import openvino

    model = openvino.convert_model(graph, **kwargs)
    for ports, names in (
        (model.inputs, input_names),
        (model.outputs, output_names),
    ):
        for port, name in zip(ports, names, strict=True):
            port.get_node().set_friendly_name(name)
            port.tensor.set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)

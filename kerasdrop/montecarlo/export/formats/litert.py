"""LiteRT, once TensorFlow Lite."""

from typing import ClassVar

from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop.montecarlo.export.formats import base


class LiteRT(base.Format):
    """A file of LiteRT."""

    name = "litert"
    ending = ".tflite"
    needed: ClassVar[Config] = {
        "tensorflow": {"ai_edge_litert": "ai-edge-litert"}
    }
    divides_on = ("tensorflow",)

    def run(self, path: str, inputs: dict[str, Array]) -> dict[str, Array]:
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(path).get_signature_runner("serving_default")
        return runner(**inputs)

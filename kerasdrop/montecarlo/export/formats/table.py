"""The formats by the names that users write; a new format needs a line here."""

from kerasdrop.montecarlo.export.formats import litert
from kerasdrop.montecarlo.export.formats import onnx
from kerasdrop.montecarlo.export.formats import openvino
from kerasdrop.montecarlo.export.formats import saved_model

FORMATS = {
    format.name: format
    for format in (
        saved_model.SavedModel(),
        onnx.ONNX(),
        openvino.OpenVINO(),
        litert.LiteRT(),
    )
}

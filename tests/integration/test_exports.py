"""ONNX, OpenVINO and LiteRT files draw the samples that Keras draws.

Run here by their own software, independently of what `export` itself does.
"""

import keras
import numpy as np
import pytest

import kerasdrop

BACKEND = keras.backend.backend()

pytestmark = [
    pytest.mark.slow,
    # tf2onnx and its helper in Keras, the exporters of PyTorch.
    pytest.mark.filterwarnings("ignore"),
]


def run_onnx(path, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs)))


def run_openvino(path, inputs):
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(
        path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    results = compiled(inputs)
    return {
        name: results[output]
        for output in compiled.outputs
        for name in output.names
    }


def run_litert(path, inputs):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    runner = interpreter.Interpreter(path).get_signature_runner()
    return runner(**inputs)


FORMATS = {
    ("onnx", ".onnx"): (run_onnx, ("tensorflow", "torch"), "onnxruntime"),
    ("openvino", ".xml"): (run_openvino, ("tensorflow", "torch"), "openvino"),
    ("litert", ".tflite"): (run_litert, ("tensorflow",), "ai_edge_litert"),
}
HERE = [name for name, (_, where, _) in FORMATS.items() if BACKEND in where]


@pytest.mark.skipif(not HERE, reason="nothing of this is written from JAX")
@pytest.mark.parametrize("plan", ["stratified", "shared"])
@pytest.mark.parametrize(("format", "ending"), HERE)
def test_a_file_draws_the_samples_of_the_model(tmp_path, format, ending, plan):
    run, _, package = FORMATS[format, ending]
    pytest.importorskip(package)
    model = keras.Sequential(
        [
            keras.Input((6,), name="x"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    predictive = kerasdrop.MonteCarlo(
        model, 40, plan=plan, keep_samples=True, seed=0
    )
    path = str(tmp_path / f"model{ending}")
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    rows = np.array([3, 2**31 - 1, 0, 12345, 7], "int32")

    predictive.export(
        path, format=format, seed="input", rows="input", verbose=False
    )

    for seed in (1, 2**31 - 1):
        predictive.seed = seed
        expected = predictive.predict_on_batch(x, rows=rows)
        inputs = {"x": x, "rows": rows, "seed": np.array(seed, "int32")}
        found = run(path, inputs)
        for name, value in expected.items():
            np.testing.assert_allclose(
                found[name], value, rtol=1e-4, atol=1e-6, err_msg=name
            )


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="this wrong form is of this exporter"
)
def test_a_form_that_the_reader_does_not_know_is_noticed(tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    from kerasdrop.montecarlo.export.formats import litert

    monkeypatch.setattr(litert.LiteRT, "divides_on", ())
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dropout(0.5)])
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0)

    with pytest.raises(RuntimeError, match="could not be exported as 'litert'"):
        predictive.export(tmp_path / "m.tflite", format="litert")

    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    BACKEND != "torch", reason="this silent error is of this exporter"
)
def test_a_file_that_is_silently_wrong_is_noticed(tmp_path, monkeypatch):
    """A plain division is no shift of a negative word, and yet it runs."""
    pytest.importorskip("openvino")
    from kerasdrop.masks import int32
    from kerasdrop.montecarlo.export.formats import openvino

    def floor_divided(word, by):
        return keras.ops.floor_divide(word, 1 << by)

    monkeypatch.setattr(int32, "_shifted_by_division", floor_divided)
    assert "torch" in openvino.OpenVINO.divides_on
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dropout(0.5)])
    # Stratified, each unit of so simple a model has the same statistics.
    predictive = kerasdrop.MonteCarlo(model, 16, plan="independent", seed=0)

    with pytest.raises(RuntimeError, match="does not return what this model"):
        predictive.export(tmp_path / "m.xml", format="openvino")

    assert not list(tmp_path.iterdir())

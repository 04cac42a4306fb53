"""What is exported draws the same samples, or is refused.

Here as a SavedModel, and what holds for all formats; the other formats are
in tests/integration/test_exports.py.
"""

import os

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop.montecarlo.export.formats import base
from kerasdrop.montecarlo.export.formats import saved_model

BACKEND = keras.backend.backend()

writes_saved_models = pytest.mark.skipif(
    BACKEND == "torch",
    reason="Keras cannot export a SavedModel from PyTorch, of any model",
)
# Keras' own call of jax2tf.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `native_serialization` parameter:DeprecationWarning"
)


def classifier(**kwargs):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    return kerasdrop.MonteCarlo(model, **{"num_samples": 20, **kwargs})


def with_two_outputs(**kwargs):
    image = keras.Input((4,), name="image")
    age = keras.Input((1,), name="age")
    both = keras.layers.Concatenate()([image, age])
    hidden = keras.layers.Dense(8, activation="relu")(both)
    hidden = kerasdrop.layers.Dropout(0.25)(hidden)
    hidden = keras.layers.GaussianNoise(0.1)(hidden)
    outputs = {
        "name": keras.layers.Dense(3, activation="softmax")(hidden),
        "size": keras.layers.Dense(1)(hidden),
    }
    model = keras.Model({"image": image, "age": age}, outputs)
    kind = {"name": "probabilities", "size": "regression"}
    return kerasdrop.MonteCarlo(model, 20, kind=kind, **kwargs)


def numbers(*shape):
    return np.random.default_rng(2).normal(size=shape).astype("float32")


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=1e-4, atol=1e-6, err_msg=name
        )


def served(path, *args):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # which holds the variables
    return {name: value.numpy() for name, value in loaded.serve(*args).items()}


@writes_saved_models
def test_a_saved_model_draws_the_samples_of_the_model(tmp_path):
    predictive = classifier(seed=7, keep_samples=True)
    x = numbers(5, 6)
    path = tmp_path / "new" / "model"

    predictive.export(path, verbose=False)

    assert os.listdir(path.parent) == ["model"]
    assert_same(served(path, x), predictive.predict_on_batch(x))


@writes_saved_models
def test_seed_and_rows_may_be_inputs(tmp_path):
    predictive = with_two_outputs(plan="independent", quantiles=(0.1, 0.5))
    x = {"image": numbers(3, 4), "age": numbers(3, 1)}
    rows = np.array([5, 2**31 - 1, 0], "int32")

    predictive.export(tmp_path / "m", verbose=False, seed="input", rows="input")

    for seed in (7, 2**31 - 1):
        predictive.seed = seed
        expected = predictive.predict_on_batch(x, rows=rows)
        assert_same(
            served(tmp_path / "m", x, rows, np.int32(seed)),
            {
                f"{statistic}.{output}": value
                for statistic, values in expected.items()
                for output, value in values.items()
            },
        )


@writes_saved_models
@pytest.mark.slow
def test_rows_stop_where_they_converge(tmp_path):
    predictive = classifier(seed=1, num_samples=512, tolerance=0.01)
    x = numbers(12, 6)

    predictive.export(tmp_path / "m", verbose=False, seed="input")

    found = served(tmp_path / "m", x, np.int32(1))
    assert_same(found, predictive.predict_on_batch(x))
    assert min(found["num_drawn"]) < max(found["num_drawn"])


@pytest.fixture
def writes_a_stub(monkeypatch):
    """Keras' exporter writes nothing of use, as fast as it can."""

    def export(self, path, *args, **kwargs):
        os.mkdir(path)

    monkeypatch.setattr(keras.Model, "export", export)


@writes_saved_models
@pytest.mark.parametrize(
    ("seed", "is_refused"), [(7, False), (8, True)], ids=["same", "other"]
)
def test_a_file_that_draws_otherwise_is_refused(
    tmp_path, monkeypatch, writes_a_stub, seed, is_refused
):
    """Another seed stands for an exporter that gets the bits wrong."""
    predictive, other = classifier(seed=7), classifier(seed=seed)
    other.model.set_weights(predictive.model.get_weights())

    def run(self, path, inputs):
        return other.predict_on_batch(inputs.popitem()[1])

    monkeypatch.setattr(saved_model.SavedModel, "run", run)
    if not is_refused:
        predictive.export(tmp_path / "model", verbose=False)
        assert os.listdir(tmp_path) == ["model"]
        return
    with pytest.raises(RuntimeError, match="does not return what this model"):
        predictive.export(tmp_path / "model", verbose=False)
    assert os.listdir(tmp_path) == []


@writes_saved_models
def test_a_failed_export_leaves_everything_as_it_was(tmp_path, monkeypatch):
    predictive = classifier(seed=7)
    x = numbers(3, 6)
    path = tmp_path / "model"
    path.mkdir()
    (path / "an_older_one").touch()
    predicted = predictive.model.predict(x, verbose=0)
    statistics = predictive.predict_on_batch(x)
    plain = keras.ops.sqrt

    def failing(x):
        # In the middle of what the exporter traces.
        raise NotImplementedError("of no exporter")

    monkeypatch.setattr(keras.ops, "sqrt", failing)
    with pytest.raises(RuntimeError, match="of no exporter"):
        predictive.export(path, verbose=False)
    monkeypatch.setattr(keras.ops, "sqrt", plain)

    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(path) == ["an_older_one"]
    assert (predictive.model.predict(x, verbose=0) == predicted).all()
    again = predictive.predict_on_batch(x)
    assert all((again[name] == statistics[name]).all() for name in again)
    predictive.model.compile(loss="mse")
    predictive.model.fit(x, np.zeros((3, 3)), verbose=0)


@writes_saved_models
def test_rows_of_a_model_that_is_sure_tell_nothing(
    tmp_path, monkeypatch, writes_a_stub
):
    predictive = classifier(seed=7)
    # All units behind the dropout are multiplied by 0.
    kernel, bias = predictive.model.layers[-1].get_weights()
    predictive.model.layers[-1].set_weights([kernel * 0, bias])

    monkeypatch.setattr(saved_model.SavedModel, "run", lambda *args: {})
    with pytest.raises(RuntimeError, match="cannot be told right from wrong"):
        predictive.export(tmp_path / "model", verbose=False)

    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_here_says_where(tmp_path):
    format = {
        "torch": "tf_saved_model",
        "jax": "onnx",
        "tensorflow": "torch",
    }[BACKEND]
    match = {
        "torch": "KERAS_BACKEND=tensorflow",
        "jax": "KERAS_BACKEND=tensorflow",
        "tensorflow": "must be one of tf_saved_model, onnx, openvino, litert",
    }[BACKEND]

    with pytest.raises(ValueError, match=match):
        classifier().export(tmp_path / "m", format=format)

    assert os.listdir(tmp_path) == []


FORMAT = "openvino" if BACKEND == "torch" else "tf_saved_model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 3}, "argument `seed` of `export` must be 'input'"),
        ({"rows": True}, "argument `rows` of `export` must be 'input'"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        classifier().export(tmp_path / "m.xml", format=FORMAT, **arguments)


@writes_saved_models
def test_an_argument_that_the_exporter_would_ignore_is_refused(tmp_path):
    message = (
        "MonteCarlo: `export` got an unexpected keyword argument 'sed'.*"
        "'tf_saved_model'"
    )
    with pytest.raises(TypeError, match=message):
        classifier().export(tmp_path / "saved", verbose=False, sed="input")
    assert not (tmp_path / "saved").exists()


def test_layers_that_draw_by_keras_are_refused(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class ByKeras(keras.layers.Layer):
        rate = 0.5

        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator(0)

        def call(self, inputs, training=False):
            if not training:
                return inputs
            seed = self.seed_generator
            return keras.random.dropout(inputs, self.rate, seed=seed)

    kerasdrop.register_stochastic(ByKeras)
    model = keras.Sequential([keras.Input((6,)), ByKeras()])
    predictive = kerasdrop.MonteCarlo(model, 4)

    with pytest.raises(ValueError, match="draw by Keras' own generators"):
        predictive.export(tmp_path / "m.xml", format=FORMAT)


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    if BACKEND == "jax":
        format, path = "tf_saved_model", tmp_path / "m"
    else:
        format, path = "openvino", tmp_path / "m.xml"
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ImportError, match="pip install (tensorflow|openvino)"):
        classifier().export(path, format=format)


@writes_saved_models
class TestChoice:
    def test_a_selection_and_its_rate_are_written(self, tmp_path):
        predictive = with_two_outputs(
            seed=3, layers="dropout*", rate={"dropout*": 0.4}
        )
        predictive.export(tmp_path / "m", verbose=False)
        x = {"image": numbers(5, 4), "age": numbers(5, 1)}
        expected = predictive.predict_on_batch(x)
        assert_same(
            served(tmp_path / "m", x),
            {
                f"{statistic}.{output}": value
                for statistic, values in expected.items()
                for output, value in values.items()
            },
        )

    @pytest.mark.parametrize("given", [None, 0.2])
    def test_a_rate_may_be_an_input(self, tmp_path, given):
        predictive = classifier(seed=7, rate=given)
        predictive.export(tmp_path / "m", verbose=False, rate="input")
        x = numbers(5, 6)
        for rate in (0.1, 0.6):
            predictive.rate = rate
            assert_same(
                served(tmp_path / "m", x, np.float32(rate)),
                predictive.predict_on_batch(x),
            )

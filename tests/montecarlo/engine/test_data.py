"""Data of every form give the same predictions, and results of every form."""

import keras
import numpy as np
import pandas
import pytest
import scipy.sparse
from keras import layers
from keras import ops

import kerasdrop

BACKEND = keras.backend.backend()
SETTINGS = {"num_samples": 16, "seed": 1, "verbose": 0}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(8, activation="relu"),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def predictive(model):
    return kerasdrop.MonteCarlo(model, 16, seed=1)


X = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 2, 10)


@pytest.fixture(scope="module")
def expected(predictive):
    return predictive.predict(X, batch_size=4, verbose=0)["mean"]


def batches():
    return [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:])]


class Dataset(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return batches()[number]


def generator():
    yield from batches()


def tf_dataset():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def torch_loader():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(X), torch.from_numpy(Y)
    )
    return torch.utils.data.DataLoader(data, batch_size=4)


FORMS = [Dataset, generator, tf_dataset, torch_loader]


def float64_generator():
    for x, y in batches():
        yield x.astype("float64"), y


@pytest.mark.parametrize("form", [*FORMS, float64_generator])
def test_batches_of_every_form(predictive, expected, form):
    mean = predictive.predict(form(), verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


@pytest.mark.parametrize("form", [list, np.asarray, keras.ops.array])
def test_arrays_of_every_form(predictive, expected, form):
    x = form(X) if form is not list else X.astype("float64")
    mean = predictive.predict(x, batch_size=4, verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def frame(dtype):
    return pandas.DataFrame(X, columns=list("abc")).astype(dtype)


@pytest.mark.parametrize(
    "form",
    [
        lambda: frame("float64"),
        lambda: frame("Float32"),
        lambda: frame(object),
        lambda: frame({"a": "float32", "b": "Float64", "c": object}),
        lambda: scipy.sparse.csr_matrix(X),
        lambda: scipy.sparse.coo_array(X),
    ],
)
def test_tables_and_sparse_matrices(predictive, expected, form):
    mean = predictive.predict(form(), batch_size=4, verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_a_sparse_matrix_may_be_the_first_data(model, expected):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    mean = predictive.predict_on_batch(scipy.sparse.csr_matrix(X))["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_missing_numbers_of_a_frame_are_nan():
    table = frame("Float32")
    table.loc[1, "b"] = pandas.NA
    linear = keras.Sequential(
        [keras.Input((3,)), layers.Dense(2), kerasdrop.layers.Dropout(0.1)]
    )
    mean = kerasdrop.mc_predict(linear, table, **SETTINGS).mean
    assert np.isnan(mean[1]).all()
    assert np.isfinite(np.delete(mean, 1, axis=0)).all()


def test_a_frame_with_text_is_refused(predictive):
    table = frame("float32").assign(d="text")
    with pytest.raises(ValueError, match="numbers only.*Received: DataFrame"):
        predictive.predict(table, verbose=0)


class Times(keras.utils.PyDataset):
    """Seconds of this century, which are multiples of 128 in float32."""

    def __len__(self):
        return 1

    def __getitem__(self, number):
        return (1.7e9 + np.arange(1.0, 5.0)[:, None],)


@pytest.mark.skipif(BACKEND == "jax", reason="it has no float64 by default")
def test_batches_keep_their_dtype_as_in_predict():
    inputs = keras.Input((1,), dtype="float64")
    h = layers.Rescaling(1.0, -1.7e9, dtype="float64")(inputs)
    model = keras.Model(inputs, layers.Dropout(0.5, dtype="float64")(h))
    expected = model.predict(Times(), verbose=0)
    settings = {"rate": 1e-9, "kind": "regression", **SETTINGS}
    result = kerasdrop.mc_predict(model, Times(), **settings)
    np.testing.assert_allclose(result.mean, expected, rtol=1e-6)
    np.testing.assert_array_equal(expected[:, 0], [1.0, 2.0, 3.0, 4.0])


class Prepared(Dataset):
    """Has its batches only between the begin and the end of an epoch."""

    found = None

    def on_epoch_begin(self):
        self.found = batches()

    def on_epoch_end(self):
        self.found = None

    def __getitem__(self, number):
        return self.found[number]


def test_a_dataset_is_told_of_its_epoch(predictive, expected):
    data = Prepared()
    mean = predictive.predict(data, verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert data.found is None


def test_batches_without_rows_are_left_out(predictive, expected):
    some = [(X[:4], Y[:4]), (X[:0], Y[:0]), (X[4:8], Y[4:8]), (X[8:], Y[8:])]
    mean = predictive.predict(iter(some), verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    with pytest.raises(ValueError, match="at least one row"):
        predictive.predict(iter(some[1:2]), verbose=0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others take no strings")
def test_rows_that_are_strings():
    words = layers.TextVectorization(output_mode="multi_hot")
    words.adapt(np.array(["a b c", "b c", "c d"]))
    inputs = keras.Input((), dtype="string")
    h = layers.Dropout(0.5)(words(inputs))
    model = keras.Model(inputs, layers.Dense(2)(h))
    x = ops.convert_to_tensor(["a b", "c d", "d", "e"])
    expected = model.predict(x, verbose=0)
    settings = {"rate": 1e-9, "kind": "regression", **SETTINGS}
    for rows in (x, x[:1]):
        mean = kerasdrop.mc_predict(model, rows, **settings).mean
        np.testing.assert_allclose(mean, expected[: len(mean)], atol=1e-6)


def test_an_optional_input_may_be_left_out():
    x = keras.Input((3,), name="x")
    extra = keras.Input((3,), name="extra", optional=True)

    class AddIfThere(layers.Layer):
        def call(self, inputs, extra=None):
            return inputs if extra is None else inputs + extra

        def compute_output_shape(self, shape, *args):
            return shape

    h = kerasdrop.layers.Dropout(0.5)(AddIfThere()(x, extra))
    model = keras.Model({"x": x, "extra": extra}, layers.Dense(2)(h))
    without = kerasdrop.mc_predict(model, {"x": X, "extra": None}, **SETTINGS)
    zeros = kerasdrop.mc_predict(model, {"x": X, "extra": 0 * X}, **SETTINGS)
    np.testing.assert_allclose(without.mean, zeros.mean, atol=1e-6)
    ones = kerasdrop.mc_predict(model, {"x": X, "extra": 0 * X + 1}, **SETTINGS)
    assert np.abs(ones.mean - zeros.mean).max() > 0.01
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    inputs = {"x": X, "extra": None}  # flat, None comes first
    of_batch = predictive.predict_on_batch(inputs)
    np.testing.assert_allclose(of_batch["mean"], without.mean, atol=1e-6)
    called = ops.convert_to_numpy(predictive(inputs)["mean"])
    np.testing.assert_allclose(called, without.mean, atol=1e-6)


class Endless(keras.utils.PyDataset):
    """Batches without an end: `num_batches` is None."""

    num_batches = None

    def __getitem__(self, number):
        return batches()[number % 3]


def endless_generator():
    while True:
        yield from batches()


@pytest.mark.parametrize(
    "form", [Endless, endless_generator, lambda: tf_dataset().repeat()]
)
def test_steps_end_what_has_no_end(predictive, expected, form):
    mean = predictive.predict(form(), steps=4, verbose=0)["mean"]
    np.testing.assert_allclose(mean[:10], expected, atol=1e-6)
    assert len(mean) == 14


def test_steps_of_an_array_are_batches(predictive, expected):
    settings = {"batch_size": 4, "verbose": 0}
    mean = predictive.predict(X, steps=2, **settings)["mean"]
    np.testing.assert_allclose(mean, expected[:8], atol=1e-6)
    mean = predictive.predict(X, steps=9, **settings)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_no_batch_beyond_the_steps_is_taken(model):
    handed_out = []

    def counting():
        for batch in endless_generator():
            handed_out.append(batch)
            yield batch

    kerasdrop.mc_predict(model, counting(), steps=2, **SETTINGS)
    assert len(handed_out) == 2


@pytest.mark.parametrize("form", [Endless, lambda: tf_dataset().repeat()])
def test_no_end_and_no_steps_is_an_error(predictive, form):
    with pytest.raises(ValueError, match="no end.*`steps=...`"):
        predictive.predict(form(), verbose=0)


class StopAfterTwo(keras.callbacks.Callback):
    def on_predict_batch_end(self, batch, logs=None):
        self.model.stop_predicting = batch == 1


def test_a_callback_can_stop_predicting(predictive, expected):
    mean = predictive.predict(
        X, batch_size=4, verbose=0, callbacks=[StopAfterTwo()]
    )["mean"]
    np.testing.assert_allclose(mean, expected[:8], atol=1e-6)
    # The next prediction runs to its end.
    mean = predictive.predict(X, batch_size=4, verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_targets_of_the_batches(model, form):
    of_arrays = kerasdrop.mc_predict(model, X, y=Y, **SETTINGS)
    of_batches = kerasdrop.mc_predict(model, form(), y=True, **SETTINGS)
    np.testing.assert_allclose(
        of_batches.log_likelihood, of_arrays.log_likelihood, rtol=1e-5
    )


def test_targets_must_come_with_the_batches(model):
    with pytest.raises(ValueError, match="must contain its targets"):
        kerasdrop.mc_predict(model, iter([X]), y=True, **SETTINGS)
    with pytest.raises(ValueError, match="Pass the targets themselves"):
        kerasdrop.mc_predict(model, X, y=True, **SETTINGS)
    with pytest.raises(ValueError, match="need `x` as arrays"):
        kerasdrop.mc_predict(model, generator(), y=Y, **SETTINGS)


def test_batches_have_targets_for_the_same_outputs():
    x = keras.Input((3,))
    h = layers.Dropout(0.5)(x)
    two = keras.Model(x, {"a": layers.Dense(1)(h), "b": layers.Dense(1)(h)})
    y = np.ones((4, 1))
    for first, second in [
        ({"a": y}, {"b": y}),
        ({"a": y, "b": y}, {"b": y}),
        ({"b": y}, {"a": y, "b": y}),
    ]:
        with pytest.raises(ValueError, match="targets for the same outputs"):
            kerasdrop.mc_predict(
                two,
                iter([(X[:4], first), (X[4:8], second)]),
                y=True,
                noise_variance=1.0,
                kind="regression",
                **SETTINGS,
            )


def test_the_last_line_of_progress_is_printed_once(model, capsys):
    settings = {**SETTINGS, "verbose": 2, "kind": "probabilities"}
    kerasdrop.mc_predict(model, X, batch_size=4, **settings)
    assert capsys.readouterr().out.count("3/3") == 1


def test_an_iterator_that_was_used_up(predictive):
    used = generator()
    list(used)
    with pytest.raises(ValueError, match="at least one row.*used up"):
        predictive.predict(used, verbose=0)


def test_evaluate_judges_the_predictive_mean(model, expected):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(
        loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    logs = predictive.evaluate(X, Y, verbose=0, return_dict=True)
    loss = -np.log(expected[np.arange(10), Y]).mean()
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-4)
    accuracy = (expected.argmax(-1) == Y).mean()
    np.testing.assert_allclose(logs["accuracy"], accuracy, rtol=1e-6)


def test_evaluate_takes_the_targets_of_the_batches(model):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(loss="sparse_categorical_crossentropy")
    of_arrays = predictive.evaluate(X, Y, verbose=0)
    of_batches = predictive.evaluate(Dataset(), verbose=0)
    np.testing.assert_allclose(of_batches, of_arrays, rtol=1e-5)


def test_a_saved_predictive_model_evaluates_the_same(model, tmp_path):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(
        loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    expected = predictive.evaluate(X, Y, verbose=0)
    predictive.save(tmp_path / "predictive.keras")
    loaded = keras.saving.load_model(tmp_path / "predictive.keras")
    evaluated = loaded.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5, atol=1e-6)


def test_a_saved_predictive_model_predicts_the_same(
    predictive, expected, tmp_path
):
    predictive.save(tmp_path / "predictive.keras")
    loaded = keras.models.load_model(tmp_path / "predictive.keras")
    mean = loaded.predict(X, batch_size=4, verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_an_unregistered_class_cannot_be_saved(tmp_path):
    class Net(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.drop = kerasdrop.layers.Dropout(0.5)

        def call(self, inputs):
            return self.drop(inputs)

    model = Net()
    model(X)
    predictive = kerasdrop.MonteCarlo(model, kind="regression")
    with pytest.raises(ValueError, match="register_keras_serializable"):
        predictive.save(tmp_path / "predictive.keras")


def test_later_training_is_seen(model):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    before = predictive.predict(X, verbose=0)["mean"]
    weights = model.get_weights()
    model.set_weights([2 * w for w in weights])
    after = predictive.predict(X, verbose=0)["mean"]
    model.set_weights(weights)
    assert np.abs(after - before).max() > 0.01


def test_freezing_other_layers_changes_no_prediction():
    first = layers.Dense(3, bias_initializer="ones")
    second = layers.Dense(3)
    model = keras.Sequential(
        [keras.Input((3,)), first, second, kerasdrop.layers.Dropout(0.5)]
    )
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    second.trainable = False
    before = predictive.predict(X, verbose=0)["mean"]
    first.trainable, second.trainable = False, True
    after = predictive.predict(X, verbose=0)["mean"]
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_lora_weights_added_later_are_seen():
    dense = layers.Dense(2)
    model = keras.Sequential(
        [keras.Input((3,)), kerasdrop.layers.Dropout(0.5), dense]
    )
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.predict(X, verbose=0)
    dense.enable_lora(1)
    dense.lora_kernel_b.assign(np.ones((1, 2)))
    later = predictive.predict(X, verbose=0)["mean"]
    fresh = kerasdrop.MonteCarlo(model, 16, seed=1).predict(X, verbose=0)
    np.testing.assert_allclose(later, fresh["mean"], rtol=1e-6)


def test_prediction_inside_a_callback():
    class Ask(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.means = []

        def on_epoch_end(self, epoch, logs=None):
            result = kerasdrop.mc_predict(self.model, X, 16, seed=0, verbose=0)
            self.means.append(result.mean)

        def on_train_batch_end(self, batch, logs=None):
            result = kerasdrop.mc_predict(self.model, X, 16, seed=0, verbose=0)
            self.means.append(result.mean)

    model = keras.Sequential(
        [
            keras.Input((3,)),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    ask = Ask()
    model.fit(X, Y, batch_size=5, epochs=1, verbose=0, callbacks=[ask])
    assert len(ask.means) == 3
    np.testing.assert_array_equal(ask.means[1], ask.means[2])
    assert np.abs(ask.means[0] - ask.means[1]).max() > 0.0


def test_rows_of_a_result(model):
    result = kerasdrop.mc_predict(model, X, 16, seed=1, verbose=0)
    np.testing.assert_array_equal(result[2:5].mean, result.mean[2:5])


def test_a_result_as_a_dict(model):
    result = kerasdrop.mc_predict(model, X, 16, seed=1, verbose=0)
    assert result.to_dict().keys() == set(result)


def test_a_result_as_a_table(model):
    result = kerasdrop.mc_predict(model, X, 16, seed=1, verbose=0)
    table = result.to_dataframe()
    np.testing.assert_array_equal(table["mean[1]"], result.mean[:, 1])

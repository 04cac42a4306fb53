"""Data of every form give the same predictions, and results of every form."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop

BACKEND = keras.backend.backend()


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


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_every_form(predictive, expected, form):
    mean = predictive.predict(form(), verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


@pytest.mark.parametrize("form", [list, np.asarray, keras.ops.array])
def test_arrays_of_every_form(predictive, expected, form):
    x = form(X) if form is not list else X.astype("float64")
    mean = predictive.predict(x, batch_size=4, verbose=0)["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


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
            result = kerasdrop.mc_predict(self.model, X, 16, 0, verbose=0)
            self.means.append(result.mean)

        def on_train_batch_end(self, batch, logs=None):
            result = kerasdrop.mc_predict(self.model, X, 16, 0, verbose=0)
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
    pytest.importorskip("pandas")
    result = kerasdrop.mc_predict(model, X, 16, seed=1, verbose=0)
    table = result.to_dataframe()
    np.testing.assert_array_equal(table["mean[1]"], result.mean[:, 1])

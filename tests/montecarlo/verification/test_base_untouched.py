"""A model is, bit for bit, what it was before we used it."""

import threading

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support import untouched
from tests.support import zoo
from tests.support.zoo import graphs


@pytest.fixture
def model():
    x = keras.Input((graphs.FEATURES,))
    h = layers.Dense(8, activation="relu")(x)
    h = layers.BatchNormalization()(h)
    h = layers.Dropout(0.3, seed=1)(h)
    h = kerasdrop.layers.Dropout(0.4, seed=2)(layers.Dense(8)(h))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(h))
    model.compile("sgd", "categorical_crossentropy")
    return model


@pytest.fixture
def x(model):
    return zoo.inputs_of(model)


def state_of(model):
    """All that a user could see of a model."""
    return {
        "variables": [ops.convert_to_numpy(v) for v in model.variables],
        "config": model.get_config(),
        "trainable": [layer.trainable for layer in model._flatten_layers()],
        "torch mode": getattr(model, "training", None),
        "nodes": [len(layer._inbound_nodes) for layer in model.layers],
        "attributes": [
            sorted(set(vars(layer)) - untouched.KEPT)
            for layer in model._flatten_layers()
        ],
        "functions": (
            model.train_function,
            model.test_function,
            model.predict_function,
        ),
    }


def assert_same_state(before, after):
    for one, other in zip(before.pop("variables"), after.pop("variables")):
        np.testing.assert_array_equal(one, other)
    assert before == after


def test_a_prediction_leaves_the_model_as_it_was(model, x):
    before = state_of(model)
    kerasdrop.mc_predict(model, x, 20, verbose=0)
    assert_same_state(before, state_of(model))


def test_the_model_predicts_as_before(model, x):
    before = model.predict(x, verbose=0)
    kerasdrop.mc_predict(model, x, 20, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_training_goes_on_as_if_nothing_had_been_asked():
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    weights = []
    for ask in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((4,)),
                kerasdrop.layers.Dropout(0.5),
                layers.Dense(2),
            ]
        )
        model.compile("sgd", "mse")
        for _ in range(2):
            model.fit(x, x[:, :2], shuffle=False, verbose=0)
            if ask:
                kerasdrop.mc_predict(model, x, 16, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights):
        np.testing.assert_array_equal(one, other)


def test_the_saved_model_has_nothing_of_ours(model, x, tmp_path):
    names = []
    for name in ("before", "after"):
        model.save_weights(tmp_path / f"{name}.weights.h5")
        with h5py.File(tmp_path / f"{name}.weights.h5") as file:
            found = []
            file.visit(found.append)
        names.append(found)
        kerasdrop.mc_predict(model, x, 20, verbose=0)
    assert names[0] == names[1]


class Failing(keras.layers.Layer):
    """Raises what it is told to, in mid-prediction."""

    error = None

    def call(self, inputs):
        if self.error is not None:
            raise self.error
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_failed_call_leaves_the_model_as_it_was(error, x):
    inputs = keras.Input((graphs.FEATURES,))
    failing = Failing()
    h = failing(layers.Dropout(0.5, seed=3)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(h))
    vars(failing)["error"] = None
    before = state_of(model)
    vars(failing)["error"] = error()
    with pytest.raises(error):
        kerasdrop.mc_predict(model, x, 20, verbose=0)
    vars(failing)["error"] = None
    assert_same_state(before, state_of(model))


def test_an_interruption_between_batches_leaves_the_model_as_it_was(model, x):
    class Interrupt(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    before = state_of(model)
    predictive = kerasdrop.MonteCarlo(model, 20)
    with pytest.raises(KeyboardInterrupt):
        predictive.predict(x, callbacks=[Interrupt()], verbose=0)
    assert_same_state(before, state_of(model))
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_a_plain_call_in_another_thread_stays_deterministic(model, x):
    expected = ops.convert_to_numpy(model(x))
    plain, stop = [], threading.Event()

    def call_plain():
        while not stop.is_set():
            plain.append(ops.convert_to_numpy(model(x, training=False)))

    thread = threading.Thread(target=call_plain)
    thread.start()
    for seed in range(3):
        kerasdrop.MonteCarlo(model, 20, seed=seed).predict(x, verbose=0)
    stop.set()
    thread.join()
    assert plain
    for outputs in plain:
        np.testing.assert_array_equal(outputs, expected)


def test_stock_predict_in_another_thread_stays_deterministic(model, x):
    # On JAX, stock `predict` takes the values out of the variables meanwhile.
    x = np.repeat(x, 20, axis=0)
    expected = model.predict(x, batch_size=4, verbose=0)
    alone = kerasdrop.mc_predict(model, x, 20, seed=0, verbose=0).mean
    plain, failures, stop = [], [], threading.Event()

    def predict_plain():
        try:
            while not stop.is_set():
                plain.append(model.predict(x, batch_size=4, verbose=0))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=predict_plain)
    thread.start()
    try:
        together = [
            kerasdrop.mc_predict(model, x, 20, seed=0, verbose=0).mean
            for _ in range(10)
        ]
    finally:
        stop.set()
        thread.join()
    assert not failures
    assert plain
    for outputs in plain:
        np.testing.assert_array_equal(outputs, expected)
    for mean in together:
        np.testing.assert_array_equal(mean, alone)


def test_two_threads_get_what_each_gets_alone(model, x):
    alone = [
        kerasdrop.mc_predict(model, x, 20, seed=seed, verbose=0).mean
        for seed in (0, 1)
    ]
    together = [None, None]

    def predict(seed):
        result = kerasdrop.mc_predict(model, x, 20, seed=seed, verbose=0)
        together[seed] = result.mean

    threads = [threading.Thread(target=predict, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together):
        np.testing.assert_array_equal(one, other)


class Block(keras.layers.Layer):
    """Calls its dropout in training, which Keras hands on to what follows."""

    def __init__(self, dropout):
        super().__init__()
        self.dropout = dropout
        self.normalization = layers.BatchNormalization()

    def build(self, input_shape):
        self.normalization.build(input_shape)
        self.built = True

    def call(self, inputs):
        return self.normalization(self.dropout(inputs, training=True))

    def get_config(self):
        dropout = keras.saving.serialize_keras_object(self.dropout)
        return {**super().get_config(), "dropout": dropout}


@pytest.mark.parametrize("cls", [layers.Dropout, kerasdrop.layers.Dropout])
def test_a_dropout_called_in_training_moves_no_normalization(cls, x):
    inputs = keras.Input((graphs.FEATURES,))
    model = keras.Model(inputs, Block(cls(0.5))(inputs))
    before = state_of(model)
    draw = {"num_samples": 20, "kind": "regression", "seed": 0, "verbose": 0}
    whole = kerasdrop.mc_predict(model, x, **draw)
    assert_same_state(before, state_of(model))
    in_parts = kerasdrop.mc_predict(model, x, batch_size=2, **draw)
    np.testing.assert_allclose(whole.mean, in_parts.mean, atol=1e-6)
    assert (whole.std > 0.0).any()

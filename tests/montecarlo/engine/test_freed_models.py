"""Nothing is left of a model once its user has let go of it."""

import gc
import weakref

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import callbacks
from kerasdrop import schedules

SAMPLES = 17


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 5, 6)).astype("float32")
    return x, rng.integers(0, 3, size=8)


def layers_in_a_row(drop=keras.layers.Dropout):
    return keras.Sequential(
        [
            keras.Input((5, 6)),
            keras.layers.Conv1D(4, 3),
            drop(0.3),
            keras.layers.LSTM(4, dropout=0.2),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def graph_in_a_graph():
    inputs = keras.Input((5, 6))
    inner = keras.layers.Dropout(0.4)(keras.layers.Dense(6)(inputs))
    inner = keras.Model(inputs, inner)
    outer = keras.Input((5, 6))
    h = keras.layers.add([inner(outer), inner(keras.layers.ReLU()(outer))])
    h = keras.layers.Flatten()(h)
    return keras.Model(outer, keras.layers.Dense(3, "softmax")(h))


@keras.saving.register_keras_serializable("test_freed_models")
class WithoutGraph(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten()
        self.drop = keras.layers.Dropout(0.4)
        self.dense = keras.layers.Dense(3, activation="softmax")

    def call(self, inputs, training=False):
        return self.dense(self.drop(self.flatten(inputs), training=training))


def predict(model, x, y):
    kerasdrop.mc_predict(
        model, x, SAMPLES, kind="probabilities", seed=1, verbose=0
    )


def predict_again(model, x, y):
    """With another batch, and after a change."""
    monte_carlo = kerasdrop.MonteCarlo(model, SAMPLES, seed=1)
    monte_carlo.predict(x, verbose=0)
    kerasdrop.set_rates(model, 0.1)
    monte_carlo.predict(x[:3], verbose=0)


def predict_one_by_one(model, x, y):
    kerasdrop.mc_predict(model, x, SAMPLES, seed=1, vectorized=False, verbose=0)


def fail(model, x, y):
    def broken():
        yield x[:4]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        kerasdrop.mc_predict(model, broken(), SAMPLES, verbose=0)


def fit_rates(model, x, y):
    kerasdrop.fit_rates(
        model, x, y, rates=[0.1, 0.4], num_samples=SAMPLES, verbose=0
    )


def shares(model, x, y):
    kerasdrop.mc_sobol_indices(model, x, num_samples=SAMPLES, verbose=0)


def conversions(model, x, y):
    converted = kerasdrop.convert_dropout(model, x=x).model
    kerasdrop.strip_dropout(converted, x=x)
    kerasdrop.insert_dropout(kerasdrop.strip_dropout(model, x=x).model, 0.2)


def train(model, x, y):
    model.compile("sgd", "sparse_categorical_crossentropy")
    schedule = schedules.Linear(0.4, 0.1, num_steps=2)
    model.fit(
        x,
        y,
        epochs=2,
        verbose=0,
        callbacks=[callbacks.DropoutRateScheduler(schedule)],
    )


def ours():
    return layers_in_a_row(kerasdrop.layers.Dropout)


@pytest.mark.parametrize(
    ("use", "make"),
    [
        (predict, layers_in_a_row),
        (predict, graph_in_a_graph),
        (predict, WithoutGraph),
        (predict_again, ours),
        (predict_one_by_one, layers_in_a_row),
        (fail, graph_in_a_graph),
        (fit_rates, layers_in_a_row),
        (shares, graph_in_a_graph),
        (conversions, graph_in_a_graph),
        (train, ours),
    ],
)
def test_a_model_is_freed(use, make):
    x, y = data()
    model = make()
    model(x)
    use(model, x, y)
    alive = [weakref.ref(one) for one in model._flatten_layers()]
    del model
    keras.utils.clear_session(free_memory=False)
    gc.collect()
    assert [one().name for one in alive if one() is not None] == []

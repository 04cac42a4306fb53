"""`evaluate` judges what Keras judges: masks, kinds, outputs in a list."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(7, 3)).astype("float32")
NUMBER = GENERATOR.normal(size=(7, 1)).astype("float32")
CLASS = GENERATOR.integers(0, 3, 7)
TOKENS = np.array(
    [[1, 2, 3, 0], [4, 5, 0, 0], [1, 2, 3, 4], [3, 0, 0, 0], [2, 2, 0, 0]]
)
TAGS = GENERATOR.integers(0, 3, TOKENS.shape)
WEIGHT = GENERATOR.uniform(size=TOKENS.shape).astype("float32")
SETTINGS = {"verbose": 0, "return_dict": True}
NOT_DROPPED = 1e-9  # so that the predictive mean is what the model predicts


def evaluated(model, x, y, weight=None, **compiled):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0)
    predictive.compile(**compiled)
    ours = predictive.evaluate(
        x, y, batch_size=2, sample_weight=weight, **SETTINGS
    )
    model.compile(**compiled)
    of_keras = model.evaluate(
        x, y, batch_size=len(x), sample_weight=weight, **SETTINGS
    )
    return ours, of_keras


def tagger():
    inputs = keras.Input((4,), dtype="int32")
    h = layers.Embedding(6, 4, mask_zero=True)(inputs)
    h = kerasdrop.layers.Dropout(NOT_DROPPED)(h)
    tags = layers.Dense(3, activation="softmax")(h)
    return keras.Model(inputs, tags)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"]
)
def test_padding_is_not_judged(reduction, weight):
    keras.utils.set_random_seed(0)
    loss = keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
    ours, of_keras = evaluated(
        tagger(), TOKENS, TAGS, weight, loss=loss, metrics=["accuracy"]
    )
    assert ours == pytest.approx(of_keras, rel=1e-5)


def listed():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    h = kerasdrop.layers.Dropout(NOT_DROPPED)(inputs)
    heads = [layers.Dense(1, name=name)(h) for name in ("one", "other")]
    return keras.Model(inputs, heads)


@pytest.mark.parametrize(
    "compiled",
    [
        {"loss": ["mse", "mse"], "metrics": [["mae"], ["mae"]]},
        {"loss": {"one": "mse", "other": "mse"}, "metrics": {"one": ["mae"]}},
    ],
    ids=["by place", "by name"],
)
def test_outputs_in_a_list_have_their_names(compiled):
    ours, of_keras = evaluated(listed(), X, [NUMBER, 2 * NUMBER], **compiled)
    assert {"one_loss", "other_loss", "one_mae"} <= set(ours)
    assert ours == pytest.approx(of_keras, rel=1e-5)


def test_a_loss_for_an_output_in_a_list_without_targets():
    predictive = kerasdrop.MonteCarlo(listed(), 16, seed=0)
    predictive.compile(loss=["mse", None])
    found = predictive.evaluate(X, [NUMBER, None], verbose=0)
    assert np.isfinite(found)
    for loss in (["mse", "mse"], {"one": "mse", "other": "mse"}):
        predictive.compile(loss=loss)
        with pytest.raises(ValueError, match=r"\['one'\].*some for \['other'"):
            predictive.evaluate(X, [NUMBER, None], verbose=0)


LOGITS = {
    "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "metrics": keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
}


@pytest.mark.parametrize("what", LOGITS)
def test_probabilities_are_not_taken_for_logits(what):
    model = keras.Sequential(
        [keras.Input((3,)), kerasdrop.layers.Dropout(0.5), layers.Dense(3)]
    )
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0, kind="logits")
    given = {"loss": "sparse_categorical_crossentropy"}
    predictive.compile(**given)
    mean = predictive.predict(X, verbose=0)["mean"]
    expected = -np.log(mean[np.arange(len(X)), CLASS]).mean()
    found = predictive.evaluate(X, CLASS, verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)
    one = LOGITS[what]
    predictive.compile(**{**given, what: one if what == "loss" else [one]})
    with pytest.raises(ValueError, match="with `from_logits=False`. Received"):
        predictive.evaluate(X, CLASS, verbose=0)


class Counting(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seen = keras.metrics.Mean(name="seen")

    def call(self, inputs):
        return 2.0 * inputs


def test_metrics_of_layers_stay_as_they_are():
    counting = Counting()
    model = keras.Sequential(
        [
            keras.Input((3,)),
            counting,
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    counting.seen.update_state(5.0)
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0)
    predictive.compile(loss="mse", metrics=["mae"])
    found = predictive.evaluate(X, NUMBER, **SETTINGS)
    assert set(found) == {"loss", "mae"}
    assert float(ops.convert_to_numpy(counting.seen.result())) == 5.0

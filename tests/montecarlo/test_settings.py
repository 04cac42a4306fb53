"""The settings of a Monte Carlo run: one record, checked, read, saved."""

import keras
import numpy as np
import pytest

import kerasdrop

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
# As `MonteCarlo.get_config` wrote them before the settings were one record.
WRITTEN = {
    "name": "monte_carlo",
    "trainable": True,
    "dtype": {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": "float32"},
        "registered_name": None,
    },
    "num_samples": 20,
    "seed": 7,
    "plan": "independent",
    "kind": "regression",
    "keep_samples": False,
    "quantiles": [0.1, 0.5],
    "noise_variance": 2.0,
    "tolerance": None,
    "memory_limit": 2**28,
    "vectorized": True,
    "verify": False,
}
SETTINGS = (
    *("num_samples", "plan", "kind", "keep_samples", "quantiles"),
    *("noise_variance", "tolerance", "memory_limit", "vectorized"),
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4,)),
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )


def test_arguments_behind_the_number_of_samples_have_names(model):
    with pytest.raises(TypeError, match="positional"):
        kerasdrop.mc_predict(model, X, *(4, 0))
    with pytest.raises(TypeError, match="positional"):
        kerasdrop.MonteCarlo(model, *(4, 0))


def test_a_config_that_was_written_before_is_read(model):
    config = {**WRITTEN, "model": keras.saving.serialize_keras_object(model)}
    predictive = kerasdrop.MonteCarlo.from_config(config)
    predictive.model.set_weights(model.get_weights())

    assert predictive.quantiles == (0.1, 0.5)
    assert predictive.verify is False
    direct = kerasdrop.MonteCarlo(
        model,
        20,
        seed=7,
        plan="independent",
        kind="regression",
        quantiles=(0.1, 0.5),
        noise_variance=2.0,
    )
    expected = direct.predict(X, verbose=0)
    found = predictive.predict(X, verbose=0)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_the_config_makes_the_same_settings(model):
    config = {**WRITTEN, "model": model}
    predictive = kerasdrop.MonteCarlo(**config)
    found = predictive.get_config()

    assert {**found, "quantiles": list(found["quantiles"]), "model": None} == {
        **WRITTEN,
        "model": None,
        "layers": None,
        "rate": None,
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_would_have_no_effect_cannot_be_set(model, name):
    predictive = kerasdrop.MonteCarlo(model, 4, kind="regression")
    with pytest.raises(AttributeError, match=name):
        setattr(predictive, name, "another")

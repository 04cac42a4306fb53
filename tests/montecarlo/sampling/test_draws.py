"""Sample t of row i depends on the seed, t and i, and on nothing else."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop.masks import plans
from tests.support import reference
from tests.support import zoo
from tests.support.zoo import graphs

PLANS = plans.PLANS


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return graphs.skip_connections()


@pytest.fixture(scope="module")
def x(model):
    return zoo.inputs_of(model, 11)


def predict(model, x, **settings):
    settings = {"num_samples": 18, "seed": 5, "kind": "regression"} | settings
    return kerasdrop.mc_predict(model, x, verbose=0, **settings).mean


def assert_same(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_the_batch_size_does_not_count(model, x, plan):
    whole = predict(model, x, plan=plan, batch_size=32)
    assert_same(predict(model, x, plan=plan, batch_size=4), whole)


@pytest.mark.parametrize("plan", PLANS)
def test_a_part_of_the_data_is_drawn_as_in_the_whole(model, x, plan):
    predictive = kerasdrop.MonteCarlo(
        model, 18, seed=5, plan=plan, kind="regression"
    )
    part = predictive.predict(x[7:], verbose=0, first_row=7)["mean"]
    assert_same(part, predict(model, x, plan=plan)[7:])


def test_a_called_model_draws_as_in_predict(model, x):
    predictive = kerasdrop.MonteCarlo(model, 18, seed=5, kind="regression")
    called = keras.ops.convert_to_numpy(predictive(x)["mean"])
    assert_same(called, predict(model, x))


@pytest.mark.parametrize("plan", PLANS)
def test_more_samples_begin_with_the_same_ones(model, x, plan):
    settings = {"seed": 5, "plan": plan, "kind": "regression"}
    few, many = (
        kerasdrop.mc_predict(
            model, x, count, keep_samples=True, verbose=0, **settings
        ).samples
        for count in (18, 40)
    )
    assert_same(many[:, :18], few)


def test_the_mean_is_that_of_the_samples(model, x):
    result = kerasdrop.mc_predict(
        model, x, 40, seed=5, kind="regression", keep_samples=True, verbose=0
    )
    assert_same(result.samples.mean(axis=1), result.mean)
    assert_same(reference.variance(result.samples), result.variance)


def test_another_seed_draws_others(model, x):
    assert np.abs(predict(model, x, seed=6) - predict(model, x)).max() > 0.01


def test_a_fresh_seed_is_drawn_and_reported(model, x):
    first = kerasdrop.mc_predict(model, x, 16, verbose=0)
    second = kerasdrop.mc_predict(model, x, 16, verbose=0)
    repeated = kerasdrop.mc_predict(model, x, 16, seed=first.seed, verbose=0)
    assert first.seed != second.seed
    np.testing.assert_array_equal(repeated.mean, first.mean)


def test_the_seed_of_a_model_can_be_set(model, x):
    predictive = kerasdrop.MonteCarlo(model, 18, seed=9, kind="regression")
    predictive.predict(x, verbose=0)
    predictive.seed = 5
    assert_same(predictive.predict(x, verbose=0)["mean"], predict(model, x))


def test_equal_rows_of_a_shared_plan_are_equal(model, x):
    rows = np.repeat(x[:1], 5, axis=0)
    mean = predict(model, rows, plan="shared")
    assert_same(mean, np.repeat(mean[:1], 5, axis=0))


def test_equal_rows_of_other_plans_differ(model, x):
    mean = predict(model, np.repeat(x[:1], 5, axis=0), plan="independent")
    assert np.ptp(mean, axis=0).min() > 1e-3


def test_layers_with_the_same_seed_drop_different_units():
    x = keras.Input((64,))
    drop = [kerasdrop.layers.Dropout(0.5, seed=0) for _ in range(2)]
    model = keras.Model(x, layers.Subtract()([drop[0](x), drop[1](x)]))
    result = kerasdrop.mc_predict(
        model, np.ones((1, 64), "float32"), 16, seed=0, verbose=0
    )
    assert (result.variance > 0.0).any()


def test_a_layer_that_is_called_twice_draws_twice():
    x = keras.Input((64,))
    drop = kerasdrop.layers.Dropout(0.5)
    model = keras.Model(x, layers.Subtract()([drop(x), drop(x)]))
    result = kerasdrop.mc_predict(
        model, np.ones((1, 64), "float32"), 16, seed=0, verbose=0
    )
    assert (result.variance > 0.0).any()


def test_stock_dropout_draws_as_ours():
    stock = graphs.skip_connections()
    ours = kerasdrop.convert_dropout(stock).model
    x = zoo.inputs_of(stock)
    # The same masks; the constant rate is compiled to another rounding.
    np.testing.assert_allclose(
        predict(ours, x), predict(stock, x), rtol=1e-5, atol=1e-6
    )


def test_a_wrapped_model_draws_as_alone(model, x):
    outer_x = keras.Input((graphs.FEATURES,))
    outer = keras.Model(outer_x, model(outer_x))
    assert_same(predict(outer, x), predict(model, x))


def test_a_noise_shape_of_one_for_the_batch_is_one_mask_for_all_rows():
    drop = kerasdrop.layers.Dropout(0.5, noise_shape=(1, None))
    model = keras.Sequential([keras.Input((40,)), drop])
    samples = kerasdrop.mc_predict(
        model, np.ones((3, 40), "float32"), 16, keep_samples=True, verbose=0
    ).samples
    np.testing.assert_array_equal(samples, samples[:1].repeat(3, axis=0))
    assert (samples.std(axis=1) > 0.0).all()

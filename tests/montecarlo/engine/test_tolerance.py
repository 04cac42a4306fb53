"""Rows that stop where their mean is exact enough."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop._adapters import survey
from tests.support import reference
from tests.support.regressions import X
from tests.support.regressions import predict
from tests.support.regressions import regression

late = pytest.mark.filterwarnings("ignore:.*did not reach tolerance")


@pytest.fixture(scope="module")
def model():
    return regression()


@late
@pytest.mark.parametrize("plan", ["stratified", "independent"])
def test_a_row_stops_at_the_first_set_that_reaches_it(model, plan):
    tolerance = 0.01
    result = predict(model, plan=plan, tolerance=tolerance)
    samples = predict(model, plan=plan, keep_samples=True).samples
    assert len(np.unique(result.num_drawn)) > 2
    for row, drawn in enumerate(result.num_drawn):
        of_row = samples[row : row + 1].astype("float64")

        def can_stop(sets, margin, of_row=of_row):
            part = of_row[:, : 16 * sets]
            return reference.can_stop(part, tolerance * margin, 0.5, plan)

        # The float32 of the graph may differ where it is a near thing.
        before = range(1, drawn // 16)
        assert not any(can_stop(sets, 1 - 1e-4) for sets in before)
        if result.converged[row]:
            assert can_stop(drawn // 16, 1 + 1e-4)
            assert result.standard_error[row].max() <= tolerance
        else:
            assert drawn == 512
            assert not can_stop(32, 1 - 1e-4)
        # The statistics are those of what was drawn.
        drawn = of_row[:, :drawn]
        np.testing.assert_allclose(
            result.mean[row], drawn.mean(axis=1)[0], atol=1e-5
        )
        np.testing.assert_allclose(
            result.variance[row],
            reference.variance(drawn, plan)[0],
            rtol=1e-3,
            atol=1e-7,
        )
        np.testing.assert_allclose(
            result.standard_error[row],
            reference.standard_error(drawn, plan)[0],
            rtol=1e-3,
            atol=1e-6,
        )


@late
def test_a_row_does_not_depend_on_its_neighbours(model):
    together = predict(model, tolerance=0.01)
    apart = predict(model, tolerance=0.01, batch_size=5)
    np.testing.assert_array_equal(apart.num_drawn, together.num_drawn)
    np.testing.assert_allclose(apart.mean, together.mean, atol=1e-5)


def test_rows_that_do_not_get_there_are_reported(model):
    with pytest.warns(UserWarning, match=r"\d+ of 12 rows did not reach"):
        result = predict(model, num_samples=128, tolerance=1e-4)
    assert not result.converged.all()
    assert (result.num_drawn[~result.converged] == 128).all()


def test_a_tolerance_alone_is_enough(model):
    result = predict(model, num_samples=None, tolerance=0.1)
    assert result.num_samples == 1024
    assert result.num_drawn.min() == 128
    assert result.converged.all()


def test_when_all_rows_have_it_no_more_is_drawn(model, monkeypatch):
    calls = []
    monkeypatch.setattr(
        kerasdrop.montecarlo.engine.engine.Pass,
        "advance",
        counting(kerasdrop.montecarlo.engine.engine.Pass.advance, calls),
    )
    result = predict(model, num_samples=16 * 1000, tolerance=10.0)
    assert (result.num_drawn == 128).all()
    assert len(calls) == 1


def counting(function, calls):
    def counted(self):
        calls.append(1)
        return function(self)

    return counted


@late
def test_all_outputs_of_a_row_stop_together():
    x = keras.Input((3,))
    h = kerasdrop.layers.Dropout(0.5)(x)
    outputs = {"a": layers.Dense(1)(h), "b": layers.Dense(2)(h)}
    outputs["of_two_axes"] = layers.Reshape((1, 2))(outputs["b"])
    result = predict(keras.Model(x, outputs), X[:6], tolerance=0.01)
    assert result.num_drawn.shape == result.converged.shape == (6,)
    for errors in result.standard_error.values():
        assert (errors[result.converged] <= 0.01).all()


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), "small"])
def test_an_illegal_tolerance(model, tolerance):
    with pytest.raises(ValueError, match="`tolerance`"):
        predict(model, tolerance=tolerance)


@pytest.mark.parametrize("num_samples", [16, 50, 112, 200])
def test_a_tolerance_goes_by_whole_sets_and_no_fewer_than_eight(
    model, num_samples
):
    with pytest.raises(ValueError, match="a multiple of 16 and at least 128"):
        predict(model, num_samples=num_samples, tolerance=0.1)


@pytest.mark.parametrize("asked", [{"keep_samples": True}, {"quantiles": 0.5}])
def test_what_needs_as_many_samples_of_each_row(model, asked):
    with pytest.raises(ValueError, match="different numbers of samples"):
        predict(model, tolerance=0.1, **asked)


def one_unit(rate):
    drop = kerasdrop.layers.DropPath(rate)
    return keras.Sequential([keras.Input((1,)), drop])


@late
@pytest.mark.parametrize(
    ("plan", "most"),
    # A unit of rate p is unseen after T independent samples with probability
    # exp(-p T): of 20,000 rows 1 on average after 10 / p, and more than 6 with
    # probability 1e-4. By strata it is dropped in 4 of 5 sets: after 13 sets
    # it has been.
    [("stratified", 0), ("independent", 6)],
)
def test_a_unit_not_dropped_yet_does_not_pass_for_one_that_never_is(plan, most):
    x = np.ones((20_000, 1), "float32")
    result = predict(
        one_unit(0.05), x, 1024, plan=plan, tolerance=0.001, batch_size=20_000
    )
    assert result.converged.sum() <= most


@late
@pytest.mark.parametrize("plan", ["stratified", "independent"])
def test_a_unit_not_kept_yet_does_not_pass_for_one_that_never_is(plan):
    # 10 / .01 is in the 63rd set: by then .99 ** 1008 of 20,000 rows are 1 on
    # average that have kept it in none, and (1 - .16) ** 63 of them less.
    x = np.ones((20_000, 1), "float32")
    result = predict(
        one_unit(0.99), x, 1024, plan=plan, tolerance=0.001, batch_size=20_000
    )
    assert result.converged.sum() <= 6


@pytest.mark.parametrize("plan", ["stratified", "independent"])
def test_equal_samples_stop_when_a_drop_would_have_shown(plan):
    # The second output sees no dropout, so that all its samples are equal.
    x = keras.Input((1,))
    drop = kerasdrop.layers.Dropout(0.5)
    outputs = ops.concatenate([drop(x) * 1e-6, x], axis=-1)
    model = keras.Model(x, outputs)
    ones = np.ones((3, 1), "float32")

    def drawn():
        result = predict(model, ones, 1024, plan=plan, tolerance=0.01)
        assert result.converged.all()
        return set(result.num_drawn)

    assert drawn() == {128}
    # The rate is read in the compiled call: 10 / .03 is in the 21st set.
    drop.rate = 0.03
    assert drawn() == {16 * 21}
    drop.rate = 0.01
    assert drawn() == {16 * 63}


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="has no float64 unless told so"
)
def test_a_model_in_float64_takes_a_tolerance():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="float64"),
            kerasdrop.layers.Dropout(0.5, dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    result = predict(model, num_samples=None, tolerance=10.0)
    assert (result.num_drawn == 128).all()
    assert result.converged.all()


def smallest_chance(model):
    layers = survey.of(model).drawable
    return ops.convert_to_numpy(survey.smallest_chance(layers, {}))


def test_the_smallest_chance_is_that_of_what_drops():
    x = keras.Input((4, 3))
    h = keras.layers.LSTM(4, dropout=0.3, recurrent_dropout=0.07)(x)
    h = keras.layers.GaussianNoise(0.001)(h)
    h = kerasdrop.layers.Dropout(0.0)(h)
    h = keras.layers.Dropout(0.0)(h)
    h = keras.layers.Dropout(0.2)(h)
    model = keras.Model(x, kerasdrop.layers.Dropout(0.1)(h))

    def smallest():
        return float(ops.convert_to_numpy(smallest_chance(model)))

    assert smallest() == pytest.approx(0.07)
    model.layers[-1].rate = 0.05
    assert smallest() == pytest.approx(0.05)
    model.layers[-1].rate = 1.0
    assert smallest() == pytest.approx(0.07)
    model.layers[-1].rate = 0.97
    assert smallest() == pytest.approx(0.03)


def test_what_drops_nothing_has_no_smallest_chance():
    noise = keras.layers.GaussianNoise(0.1)
    model = keras.Sequential([keras.Input((3,)), noise])
    rate = ops.convert_to_numpy(smallest_chance(model))
    assert np.isinf(rate)
    result = predict(model, num_samples=None, tolerance=0.1)
    assert (result.num_drawn == 128).all()

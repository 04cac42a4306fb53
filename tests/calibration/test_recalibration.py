"""Variances and quantiles that are repaired, and calibrators that are saved."""

import json
import math

import numpy as np
import pytest
from keras import ops
from scipy import optimize
from sklearn.isotonic import IsotonicRegression

from kerasdrop import calibration
from kerasdrop.calibration import saved
from kerasdrop.predictive import Predictive

GENERATOR = np.random.default_rng(0)
ROWS = 99
MEAN, NEW = GENERATOR.normal(size=(2, ROWS))
VARIANCE, NEW_VARIANCE = GENERATOR.uniform(0.1, 2.0, (2, ROWS))
TRUTH = MEAN + 3.0 * np.sqrt(VARIANCE) * GENERATOR.gumbel(size=ROWS)
WEIGHT = GENERATOR.uniform(0.2, 3.0, ROWS)


def result_of(mean, variance):
    statistics = {
        "mean": mean[:, None],
        "variance": 0.5 * variance[:, None],  # of the samples alone
        "total_variance": variance[:, None],
    }
    return Predictive(statistics, 9, 0, "shared", "mean_and_variance")


def assert_close(values, expected, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=atol)


# One factor.


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_no_other_factor_is_likelier(weight):
    scaling = calibration.fit_variance_scale(TRUTH, MEAN, VARIANCE, weight)
    best = optimize.minimize_scalar(
        lambda log_scale: calibration.gaussian_negative_log_likelihood(
            TRUTH, MEAN, math.exp(log_scale) * VARIANCE, weight
        ),
        bracket=(-1.0, 1.0),
        tol=1e-10,
    )
    assert scaling.scale == pytest.approx(math.exp(best.x), rel=1e-6)


def test_the_factor_by_hand_and_what_it_does():
    scaling = calibration.fit_variance_scale([2.0, 4.0], [1.0, 1.0], [1.0, 3.0])
    assert scaling.scale == (1.0 + 3.0) / 2.0
    assert_close(scaling([0.0, 1.5]), [0.0, 3.0])
    found = scaling(ops.convert_to_tensor([0.5, 1.5]))
    assert ops.is_tensor(found)
    assert_close(ops.convert_to_numpy(found), [1.0, 3.0])


def test_scaling_takes_the_total_variance_of_a_result():
    ours = calibration.fit_variance_scale(TRUTH, result_of(MEAN, VARIANCE))
    expected = calibration.fit_variance_scale(TRUTH, MEAN, VARIANCE)
    assert ours.scale == pytest.approx(expected.scale)
    found = ours(result_of(NEW, NEW_VARIANCE))
    assert_close(found[:, 0], ours.scale * NEW_VARIANCE)
    plain = Predictive(
        {"mean": MEAN, "variance": VARIANCE}, 9, 0, "shared", "regression"
    )
    assert_close(ours(plain), ours.scale * VARIANCE)


def test_tensors_are_fitted():
    tensors = [
        ops.convert_to_tensor(each.astype("float32"))
        for each in (TRUTH, MEAN, VARIANCE)
    ]
    ours = calibration.fit_variance_scale(*tensors)
    expected = calibration.fit_variance_scale(TRUTH, MEAN, VARIANCE)
    assert ours.scale == pytest.approx(expected.scale, rel=1e-5)
    residuals = calibration.fit_quantiles(*tensors).residuals
    expected = calibration.fit_quantiles(TRUTH, MEAN, VARIANCE).residuals
    assert_close(residuals, expected, 1e-4)


def test_weights_are_tensors_beside_arrays():
    weight = np.arange(1.0, 61.0, dtype="float32")
    tensor = ops.convert_to_tensor(weight)
    generator = np.random.default_rng(5)
    p = generator.dirichlet(np.ones(3), size=60)
    labels = generator.integers(0, 3, 60)
    y, mean, variance = generator.normal(size=60), np.zeros(60), np.ones(60)
    for function, *given in (
        (calibration.brier_score, labels, p),
        (calibration.negative_log_likelihood, labels, p),
        (calibration.gaussian_crps, y, mean, variance),
    ):
        assert function(*given, sample_weight=tensor) == function(
            *given, sample_weight=weight
        )
    sure = p**3 / np.sum(p**3, axis=-1, keepdims=True)
    labels = p.argmax(axis=-1)
    labels[:15] = p[:15].argmin(axis=-1)
    assert (
        calibration.fit_temperature(labels, sure, tensor).temperature
        == calibration.fit_temperature(labels, sure, weight).temperature
    )


def test_a_factor_that_there_is_not():
    fit = calibration.fit_variance_scale
    with pytest.raises(ValueError, match="no best factor.*Received: 0"):
        fit(MEAN, MEAN, VARIANCE)
    with pytest.raises(ValueError, match="mean and a variance"):
        fit(TRUTH, MEAN)
    with pytest.raises(ValueError, match="variance is above 0"):
        fit(TRUTH, MEAN, -VARIANCE)
    with pytest.raises(ValueError, match="must be numbers"):
        fit(np.full(ROWS, math.nan), MEAN, VARIANCE)
    with pytest.raises(ValueError, match="a number each"):
        fit(TRUTH[:5], MEAN, VARIANCE)
    with pytest.raises(ValueError, match="`scale` must be a number above 0"):
        calibration.VarianceScaling(0.0)
    with pytest.raises(ValueError, match="variance is at least 0"):
        calibration.VarianceScaling(2.0)(-VARIANCE)


# Quantiles.


def test_quantiles_are_the_isotonic_regression_of_scikit_learn():
    z = (TRUTH - MEAN) / np.sqrt(VARIANCE)
    below = [(z <= each).sum() / (ROWS + 1) for each in z]
    isotonic = IsotonicRegression().fit(z, below)
    quantiles = np.linspace(0.01, 0.99, 37)
    ours = calibration.fit_quantiles(TRUTH, MEAN, VARIANCE)
    found = ours(NEW, NEW_VARIANCE, quantiles)
    assert found.shape == (ROWS, 37)
    back = (found - NEW[:, None]) / np.sqrt(NEW_VARIANCE)[:, None]
    levels = isotonic.predict(back.ravel().clip(z.min(), z.max()))
    assert_close(levels.reshape(found.shape), quantiles[None] + 0.0 * found)


def test_equal_residuals_are_one_step():
    # 3 of 7 rows have the residual 1: the levels from 3/8 to 5/8 are there.
    residuals = [0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 3.0]
    ours = calibration.QuantileRecalibration(residuals)
    quantiles = [2 / 8, 3 / 8, 0.5, 5 / 8, 0.6875, 6 / 8]
    found = ours([0.0], [1.0], quantiles)
    assert_close(found, [[0.5, 1.0, 1.0, 1.0, 1.5, 2.0]])


def test_a_further_target_is_below_with_the_probability_of_the_rank():
    generator = np.random.default_rng(1)
    times, rows = 8_000, 9
    y = generator.gumbel(size=(times, rows + 1)) ** 3
    below = np.mean(
        [
            one[-1]
            <= calibration.fit_quantiles(
                one[:-1], np.zeros(rows), np.ones(rows)
            )([0.0], [1.0], (0.1, 0.3, 0.9))[0]
            for one in y
        ],
        axis=0,
    )
    for part, level in zip(below, (0.1, 0.3, 0.9)):
        sigma = math.sqrt(level * (1.0 - level) / times)
        assert abs(part - level) < 5.0 * sigma


def test_quantiles_of_a_result_and_of_tensors():
    ours = calibration.fit_quantiles(TRUTH, result_of(MEAN, VARIANCE))
    expected = ours(NEW, NEW_VARIANCE)
    found = ours(result_of(NEW, NEW_VARIANCE))
    assert_close(found, expected[..., None])
    tensors = [
        ops.convert_to_tensor(each.astype("float32"))
        for each in (NEW, NEW_VARIANCE)
    ]
    found = ours(*tensors)
    assert ops.is_tensor(found)
    assert_close(ops.convert_to_numpy(found), expected, 1e-4)


def test_a_target_far_off_stays_finite():
    # Its level, by the normal, is 1 in float64.
    ours = calibration.fit_quantiles(
        [-100.0, 0.0, 100.0], np.zeros(3), np.ones(3)
    )
    assert_close(ours([0.0], [1.0], (0.25, 0.75)), [[-100.0, 100.0]])


def test_quantiles_that_there_are_not():
    ours = calibration.QuantileRecalibration(np.arange(9.0))
    ours(NEW, VARIANCE, (0.1, 0.9))
    with pytest.raises(ValueError, match="9 rows cannot tell.*0.05.*needs 19"):
        ours(NEW, VARIANCE)
    with pytest.raises(ValueError, match=r"needs 99.*from 0.1 to 0.9"):
        ours(NEW, VARIANCE, (0.99,))
    with pytest.raises(ValueError, match="variance is above 0"):
        ours(NEW, 0.0 * VARIANCE, (0.5,))
    with pytest.raises(ValueError, match="must be a number between"):
        ours(NEW, VARIANCE, (0.5, 90))
    with pytest.raises(ValueError, match="mean is.*a single number"):
        ours(0.0, 1.0, (0.5,))
    two = np.ones((ROWS, 2))
    with pytest.raises(
        ValueError, match="Fit each of several outputs by itself"
    ):
        calibration.fit_quantiles(two, two, two)
    with pytest.raises(ValueError, match="finite numbers.*nan"):
        calibration.QuantileRecalibration([0.0, math.nan])


# Files.

P = GENERATOR.dirichlet(np.ones(3), size=ROWS)
Y = GENERATOR.integers(0, 3, ROWS)
NAMES = np.where(Y == 0, "a", "b")
CALIBRATORS = {
    "temperature": (calibration.TemperatureScaling(1.7), (P,), {}),
    "variance": (calibration.VarianceScaling(1 / 3), (VARIANCE,), {}),
    "quantiles": (
        calibration.fit_quantiles(TRUTH, MEAN, VARIANCE),
        (NEW, NEW_VARIANCE),
        {},
    ),
    "intervals": (
        calibration.fit_conformal_intervals(
            TRUTH, MEAN, VARIANCE, groups=NAMES, sample_weight=WEIGHT
        ),
        (NEW, NEW_VARIANCE),
        {"groups": NAMES, "sample_weight": WEIGHT, "level": 0.8},
    ),
    "sets": (
        calibration.fit_conformal_sets(
            Y, P, "raps", groups=Y, penalty=0.1, free_classes=1, seed=5
        ),
        (P,),
        {"groups": Y, "level": 0.8},
    ),
}


@pytest.mark.parametrize("name", CALIBRATORS)
def test_what_is_loaded_is_what_was_saved(name, tmp_path):
    calibrator, arguments, kwargs = CALIBRATORS[name]
    path = tmp_path / "calibrator.json"
    calibrator.save(path)
    loaded = calibration.load(str(path))
    assert type(loaded) is type(calibrator)
    assert repr(loaded) == repr(calibrator)
    np.testing.assert_array_equal(
        loaded(*arguments, **kwargs), calibrator(*arguments, **kwargs)
    )


def test_every_calibrator_is_saved_here():
    ours = {type(each[0]).__name__ for each in CALIBRATORS.values()}
    assert ours == set(saved._CLASSES)


def written(path, **changes):
    content = {
        "format": "kerasdrop.calibration",
        "version": 1,
        "class": "VarianceScaling",
        "config": {"scale": 2.0},
        **changes,
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "reads version 1.*Update it.*version=2"),
        ({"format": "else"}, "with format 'kerasdrop.calibration'"),
        ({"class": "Predictive"}, "one of the classes .*'Predictive'"),
        ({"class": "Conformal"}, "one of the classes"),
        ({"config": [2.0]}, "must hold a `config`"),
        ({"config": {"factor": 2.0}}, "arguments of VarianceScaling.*factor"),
        ({"config": {"scale": math.inf}}, "Infinity, which is not a finite"),
        ({"config": {"scale": -1.0}}, "`scale` must be a number above 0"),
        ({"config": {"scale": "2"}}, "`scale` must be a number above 0"),
    ],
)
def test_a_file_that_is_not_of_ours(changes, message, tmp_path):
    path = written(tmp_path / "calibrator.json", **changes)
    with pytest.raises(ValueError, match=message):
        calibration.load(path)


@pytest.mark.parametrize("text", ["", "[1", '{"config": 1e999}', "\x80\x04"])
def test_a_file_that_is_something_else(text, tmp_path):
    path = tmp_path / "calibrator.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="^load: "):
        calibration.load(path)


def test_a_number_that_is_written_too_large(tmp_path):
    # JSON reads it as infinity, without a word.
    text = written(tmp_path / "a.json").read_text().replace("2.0", "1e999")
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="above 0.*inf"):
        calibration.load(path)

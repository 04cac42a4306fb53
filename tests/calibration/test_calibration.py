"""Calibration: against published values, scikit-learn and closed forms."""

import functools
import itertools
import math
import warnings

import numpy as np
import pytest
from keras import ops
from scipy import stats
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn_metrics

from kerasdrop import acquisition
from kerasdrop import calibration

GENERATOR = np.random.default_rng(0)
P = GENERATOR.dirichlet(np.ones(4), size=200)
# Right about half the time, so that there is something to calibrate.
Y = np.where(
    GENERATOR.random(200) < 0.5, P.argmax(-1), GENERATOR.integers(0, 4, 200)
)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 200)
YES = GENERATOR.uniform(0.01, 0.99, (200, 1))
HAPPENED = (GENERATOR.random((200, 1)) < YES).astype(int)
# Those of uncertainty-toolbox's tests: truth, prediction, variance.
TOOLBOX = ([1.5, 3.0, 2.0], [1.0, 2.0, 3.0], [0.01, 0.25, 1.0])
MEAN = GENERATOR.normal(size=200)
VARIANCE = GENERATOR.uniform(0.1, 2.0, 200)
TRUTH = MEAN + np.sqrt(VARIANCE) * GENERATOR.normal(size=200)
SAMPLES = GENERATOR.normal(size=(20, 9))


def assert_close(values, expected, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=atol)


# Proper scores.


def test_log_loss_of_scikit_learn():
    ours = calibration.negative_log_likelihood(Y, P)
    assert_close(ours, sklearn_metrics.log_loss(Y, P, labels=range(4)))
    ours = calibration.negative_log_likelihood(Y, P, WEIGHT)
    theirs = sklearn_metrics.log_loss(
        Y, P, labels=range(4), sample_weight=WEIGHT
    )
    assert_close(ours, theirs)


def test_brier_score_of_scikit_learn_is_that_of_one_of_two_classes():
    ours = calibration.brier_score(HAPPENED, YES, WEIGHT)
    theirs = sklearn_metrics.brier_score_loss(
        HAPPENED[:, 0], YES[:, 0], sample_weight=WEIGHT
    )
    assert_close(ours, 2.0 * theirs)


def test_brier_scores_of_torch_uncertainty():
    assert_close(calibration.brier_score([0], [[0.5, 0.5]]), 0.5)
    p = [[0.2, 0.6, 0.1, 0.05, 0.05], [0.05, 0.25, 0.1, 0.3, 0.3]]
    each = calibration.brier_score([3, 4], p, reduction=None)
    assert_close(each.sum(), 1.97)


def test_an_impossible_target_is_infinitely_unlikely():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result = calibration.negative_log_likelihood([0], [[0.0, 1.0]])
    assert result == math.inf


@pytest.mark.parametrize("as_given", [np.asarray, ops.convert_to_tensor])
def test_an_impossible_target_of_no_weight_is_not_counted(as_given):
    p = as_given(np.array([[0.5, 0.5], [0.0, 1.0]], "float32"))
    with np.errstate(divide="ignore"):
        result = calibration.negative_log_likelihood([0, 0], p, [2.0, 0.0])
    assert_close(float(result), math.log(2.0), atol=1e-6)


def test_one_hot_targets_are_as_integers():
    one_hot = np.eye(4)[Y]
    for function in (
        calibration.negative_log_likelihood,
        calibration.brier_score,
        calibration.expected_calibration_error,
    ):
        assert_close(function(one_hot, P), function(Y, P))
        assert_close(function(Y[:, None], P), function(Y, P))


def test_scores_of_uncertainty_toolbox():
    likelihood = calibration.gaussian_negative_log_likelihood(*TOOLBOX)
    assert_close(likelihood, 4.920361108686675)
    assert_close(calibration.gaussian_crps(*TOOLBOX), 0.59080610693)
    truth, mean, variance = TOOLBOX
    scores = [
        calibration.interval_score(
            truth, *calibration.gaussian_interval(mean, variance, level), level
        )
        for level in np.linspace(0.01, 0.99, 99)
    ]
    assert_close(np.mean(scores), 3.20755700861995)


def test_crps_of_the_standard_normal_at_its_mean():
    # (sqrt(2) - 1) / sqrt(pi)
    result = calibration.gaussian_crps([0.0], [0.0], [1.0])
    assert_close(result, (math.sqrt(2.0) - 1.0) / math.sqrt(math.pi))


def test_crps_of_samples_by_its_integral():
    truth = TRUTH[:20]
    each = calibration.sample_crps(truth, SAMPLES, reduction=None)
    for score, x, y in zip(each, SAMPLES, truth):
        # Between two neighbours both functions are constant.
        points = np.sort(np.append(x, y))
        below = (x[:, None] <= points[:-1]).mean(0)
        height = (below - (y <= points[:-1])) ** 2
        assert_close(score, np.sum(height * np.diff(points)))


def test_crps_of_one_sample_is_its_distance():
    result = calibration.sample_crps([1.0, 2.0], [[3.0], [1.5]])
    assert_close(result, (2.0 + 0.5) / 2)


def test_crps_of_many_samples_is_that_of_their_normal():
    # Midpoints of 2000 parts of equal probability.
    samples = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    assert_close(
        calibration.sample_crps([0.7], samples[:, None], axis=0),
        calibration.gaussian_crps([0.7], [0.0], [1.0]),
        atol=1e-3,
    )


# Intervals.


def test_the_normal_interval_of_95_percent():
    lower, upper = calibration.gaussian_interval([1.0], [4.0], 0.95)
    assert_close([lower[0], upper[0]], [1 - 3.919928, 1 + 3.919928], 1e-6)


@pytest.mark.parametrize("inside", [7, 9, 1])
def test_coverage_counts_what_lies_inside(inside):
    truth = np.where(np.arange(10) < inside, 0.5, 2.0)
    result = calibration.interval_coverage(truth, np.zeros(10), np.ones(10))
    assert_close(result, inside / 10)


def test_the_ends_of_an_interval_are_inside():
    ends = calibration.interval_coverage([0.0, 1.0], [0.0, 0.0], [1.0, 1.0])
    assert ends == 1.0


def test_intervals_of_uncertainty_toolbox():
    # Theirs has 100 levels with 0 and 1, where both sides are the same.
    curve = calibration.gaussian_reliability(*TOOLBOX, num_levels=98)
    distance = np.abs(curve.predicted - curve.observed)
    assert_close(np.sum(distance) / 100, 0.3733333333333335)
    rms = np.sqrt(np.sum(distance**2) / 100)
    assert_close(rms, 0.4165757476562379)
    assert set(curve.weight) == {3.0}


# Bins.


def test_adaptive_error_of_torch_uncertainty():
    p = np.array([0.3, 0.24, 0.25, 0.2, 0.8])[:, None]
    result = calibration.adaptive_calibration_error([0, 0, 0, 1, 1], p, 2)
    assert_close(result, 0.278)


@pytest.mark.parametrize(
    ("binning", "strategy"), [("width", "uniform"), ("rows", "quantile")]
)
def test_reliability_is_the_calibration_curve_of_scikit_learn(
    binning, strategy
):
    # That is of yes: the same as long as yes is the more probable.
    yes = 0.5 + YES / 2
    curve = calibration.reliability(HAPPENED, yes, 10, binning)
    observed, predicted = sklearn_calibration.calibration_curve(
        HAPPENED[:, 0], yes[:, 0], n_bins=10, strategy=strategy
    )
    filled = curve.weight > 0
    assert filled.sum() == len(observed)
    assert_close(curve.predicted[filled], predicted)
    assert_close(curve.observed[filled], observed)
    assert np.isnan(curve.observed[~filled]).all()


def test_the_calibration_error_by_hand():
    # Bins of a half: (.4, .6) is in the upper, being .6; (.5, .5) in the lower.
    p = [[0.4, 0.6], [0.5, 0.5], [0.1, 0.9], [0.0, 1.0]]
    y = [1, 1, 0, 1]
    # Lower: confidence .5, accuracy 0. Upper: 2.5 / 3 against 2 / 3.
    expected = 0.25 * 0.5 + 0.75 * (2.5 / 3 - 2 / 3)
    assert_close(calibration.expected_calibration_error(y, p, 2), expected)


def test_a_row_of_weight_2_is_two_rows():
    weight = np.arange(200) % 3
    twice = np.repeat(np.arange(200), weight)
    for function in (
        calibration.expected_calibration_error,
        calibration.brier_score,
        calibration.negative_log_likelihood,
    ):
        result = function(Y, P, sample_weight=weight)
        assert_close(result, function(Y[twice], P[twice]))


def test_probabilities_that_are_true_are_calibrated():
    rows = 100_000
    generator = np.random.default_rng(1)
    p = generator.uniform(0.0, 1.0, (rows, 1))
    y = generator.random((rows, 1)) < p
    curve = calibration.reliability(y, p, 10)
    filled = curve.weight > 0
    sigma = np.sqrt(0.25 / curve.weight[filled])
    distance = np.abs(curve.observed - curve.predicted)[filled]
    assert (distance < 5.0 * sigma).all()
    # Of other numbers there would be an error.
    assert calibration.expected_calibration_error(y, p**2, 10) > 0.05


# Selection.


def test_risk_over_coverage_by_hand():
    curve = calibration.risk_coverage([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])
    assert_close(curve.coverage, [0.25, 0.5, 0.75, 1.0])
    assert_close(curve.risk, [0.0, 1 / 2, 1 / 3, 1 / 2])


def test_equals_come_in_no_order():
    errors = np.array([0.0, 1.0, 3.0, 0.5, 7.0])
    uncertainty = np.array([0.1, 0.2, 0.2, 0.2, 0.3])
    curves = []
    for order in itertools.permutations([1, 2, 3]):
        ordered = errors[[0, *order, 4]]
        curves.append(np.cumsum(ordered) / np.arange(1, 6))
    expected = np.mean(curves, axis=0)
    curve = calibration.risk_coverage(errors, uncertainty)
    assert_close(curve.risk, expected)
    area = calibration.area_under_risk_coverage(errors, uncertainty)
    assert_close(area, expected.mean())


def test_an_uncertainty_that_knows_nothing_has_the_mean_error():
    wrong = P.argmax(-1) != Y
    area = calibration.area_under_risk_coverage(wrong, np.zeros(200))
    assert_close(area, wrong.mean())


# Temperature.


def test_the_temperature_that_made_it_is_found():
    # Labels of exactly these frequencies: the truth is p, what is said p ** 2.
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    said = p**2 / np.sum(p**2, axis=-1, keepdims=True)
    y = np.tile(np.arange(3), 2)
    scaling = calibration.fit_temperature(
        y, np.repeat(said, 3, axis=0), sample_weight=p.reshape(-1)
    )
    assert_close(scaling.temperature, 2.0, atol=1e-8)
    assert_close(scaling(said), p, atol=1e-8)


def test_no_other_temperature_is_likelier():
    best = calibration.fit_temperature(Y, P)
    score = calibration.negative_log_likelihood(Y, best(P))
    for factor in (0.9, 0.99, 1.01, 1.1):
        other = calibration.TemperatureScaling(best.temperature * factor)
        assert calibration.negative_log_likelihood(Y, other(P)) > score


def test_the_temperature_of_a_probability_of_yes():
    both = np.concatenate([1.0 - YES, YES], axis=-1)
    scaling = calibration.fit_temperature(HAPPENED, YES**2)
    of_both = calibration.fit_temperature(
        HAPPENED, np.concatenate([1.0 - YES**2, YES**2], axis=-1)
    )
    assert_close(scaling.temperature, of_both.temperature)
    assert scaling(YES).shape == YES.shape
    assert_close(scaling(YES), scaling(both)[:, 1:])


def test_a_class_of_probability_0_keeps_it():
    p = np.array([[0.7, 0.3, 0.0]])
    scaled = calibration.TemperatureScaling(0.5)(p)
    assert_close(scaled, [[0.49 / 0.58, 0.09 / 0.58, 0.0]])


@pytest.mark.parametrize(
    ("targets", "probabilities"),
    [
        ([1, 0], [[0.2, 0.8], [0.6, 0.4]]),  # all right
        ([0, 1], [[0.2, 0.8], [0.6, 0.4]]),  # all wrong
    ],
)
def test_a_temperature_that_there_is_not(targets, probabilities):
    with pytest.raises(ValueError, match="no temperature between.*Fit on more"):
        calibration.fit_temperature(targets, probabilities)


def test_an_impossible_target_has_no_temperature():
    with (
        pytest.raises(ValueError, match="a target has probability 0"),
        np.errstate(divide="ignore"),
    ):
        calibration.fit_temperature([0, 1], [[0.0, 1.0], [0.6, 0.4]])


# Tensors, and what is refused.

CALLS = [
    (calibration.negative_log_likelihood, (Y, P)),
    (calibration.brier_score, (HAPPENED, YES)),
    (calibration.expected_calibration_error, (Y, P, 10)),
    (calibration.adaptive_calibration_error, (Y, P, 10)),
    (calibration.gaussian_negative_log_likelihood, (TRUTH, MEAN, VARIANCE)),
    (calibration.gaussian_crps, (TRUTH, MEAN, VARIANCE)),
    (calibration.sample_crps, (TRUTH[:20], SAMPLES)),
    (calibration.interval_coverage, (TRUTH, MEAN - 1, MEAN + 1)),
    (calibration.interval_score, (TRUTH, MEAN - 1, MEAN + 1, 0.7)),
    # A hundred equal pairs.
    (calibration.area_under_risk_coverage, (TRUTH**2, np.arange(200) // 2)),
]


def tensor(value):
    if not isinstance(value, np.ndarray):
        return value
    dtype = "float32" if value.dtype.kind == "f" else "int32"
    return ops.convert_to_tensor(value.astype(dtype))


@pytest.mark.parametrize(("function", "arguments"), CALLS)
def test_tensors_give_tensors_of_the_same_values(function, arguments):
    expected = function(*arguments)
    assert isinstance(expected, np.float64)
    result = function(*map(tensor, arguments))
    assert ops.is_tensor(result)
    assert_close(float(ops.convert_to_numpy(result)), expected, atol=2e-5)


def test_curves_of_tensors():
    expected = calibration.reliability(Y, P, 10)
    curve = calibration.reliability(tensor(Y), tensor(P), 10)
    for ours, other in zip(curve, expected):
        assert_close(ops.convert_to_numpy(ours), other, atol=1e-5)
    arguments = (TRUTH, MEAN, VARIANCE)
    expected = calibration.gaussian_reliability(*arguments)
    curve = calibration.gaussian_reliability(*map(tensor, arguments))
    assert_close(ops.convert_to_numpy(curve.observed), expected.observed, 1e-5)


@pytest.mark.parametrize("wrong", [4, -1])
def test_in_a_tensor_what_is_no_class_is_nan(wrong):
    y = Y.copy()
    y[7] = wrong
    for function in (
        calibration.negative_log_likelihood,
        calibration.expected_calibration_error,
    ):
        result = function(tensor(y), tensor(P))
        assert np.isnan(float(ops.convert_to_numpy(result)))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_labels_of_any_dtype(dtype):
    labels = HAPPENED.astype(dtype)
    expected = calibration.brier_score(HAPPENED, YES)
    assert_close(calibration.brier_score(labels, YES), expected)
    result = calibration.brier_score(ops.convert_to_tensor(labels), tensor(YES))
    assert_close(float(ops.convert_to_numpy(result)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (Y + 1, "whole numbers from 0 to 3.*from 1 to 4"),
        (Y - 0.5, "whole numbers from 0 to 3"),
        (P, "or one-hot vectors"),
        (Y[:-1], r"a class number each, \(200,\).*\(199,\)"),
        (np.eye(3)[Y % 3], r"a class number each.*\(200, 3\)"),
    ],
)
def test_targets_that_are_no_classes(targets, message):
    with pytest.raises(ValueError, match=f"^brier_score: .*{message}"):
        calibration.brier_score(targets, P)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: calibration.interval_coverage(y, [0.0, 0.0], [1.0, 1.0]),
        lambda y: calibration.interval_score(y, [0.0, 0.0], [1.0, 1.0], 0.5),
        lambda y: calibration.gaussian_reliability(y, [0.0, 0.0], [1.0, 1.0]),
    ],
)
def test_a_target_that_is_missing_is_not_one_that_was_missed(function):
    with pytest.raises(ValueError, match="must be numbers.*Received: NaN"):
        function([0.5, math.nan])


def test_in_a_tensor_what_is_no_number_lies_nowhere():
    y, ends = (tensor(np.array(v)) for v in ([0.5, math.nan], [0.0, 1.0]))
    result = calibration.interval_coverage(y, 0.0 * y, y + 1, reduction=None)
    np.testing.assert_array_equal(ops.convert_to_numpy(result), [1, math.nan])
    observed = calibration.gaussian_reliability(y, ends, ends + 1.0).observed
    assert np.isnan(ops.convert_to_numpy(observed)).all()


def test_in_a_tensor_an_interval_that_ends_before_it_begins_has_no_score():
    lower, upper = tensor(np.array([0.0, 2.0])), tensor(np.ones(2))
    for function in (
        calibration.interval_coverage,
        functools.partial(calibration.interval_score, level=0.5),
    ):
        result = function(lower, lower, upper, reduction=None)
        is_nan = np.isnan(ops.convert_to_numpy(result))
        np.testing.assert_array_equal(is_nan, [False, True])


def test_in_a_tensor_what_has_no_probabilities_is_not_wrong():
    p = P.copy()
    p[3] = np.nan
    curve = calibration.reliability(tensor(Y), tensor(p), 5)
    for values in (curve.predicted, curve.observed):
        assert np.isnan(ops.convert_to_numpy(values)).all()


@pytest.mark.parametrize(
    "score",
    [
        lambda y: calibration.brier_score(y, np.full((4, 3), 1 / 3)),
        lambda y: calibration.sample_crps(y, np.ones((4, 2))),
        lambda y: calibration.fit_variance_scale(y, np.ones(4), np.ones(4)),
        lambda y: calibration.ood_detection(np.arange(4.0), y),
        lambda y: calibration.fit_conformal_intervals(
            np.arange(4.0), np.zeros(4), method="absolute", sample_weight=y
        ),
        lambda y: calibration.fit_conformal_intervals(
            np.arange(4.0), np.zeros(4), method="absolute", groups=y
        ),
        lambda y: acquisition.top_k(y, 1),
        lambda y: acquisition.batch_bald(
            np.ma.masked_array(np.full((4, 2, 2), 0.5), np.arange(16) == 3), 1
        ),
    ],
)
def test_masked_values_are_not_taken_for_numbers(score):
    masked = np.ma.masked_array([0, 1, 2, 0], [0, 0, 1, 0])
    with pytest.raises(ValueError, match=": .*1 masked values"):
        score(masked)


def test_labels_that_are_names():
    with pytest.raises(ValueError, match="whole numbers.*dtype <U3"):
        calibration.brier_score(["cat", "dog"], [[0.2, 0.8], [0.6, 0.4]])


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match="outputs of a softmax"):
        calibration.expected_calibration_error(Y, np.log(P))


@pytest.mark.parametrize(
    "score",
    [
        calibration.brier_score,
        calibration.negative_log_likelihood,
        calibration.expected_calibration_error,
    ],
)
def test_a_vector_of_probabilities_could_be_a_row_or_a_column(score):
    # Two rows of a probability of yes each, and one row of two classes.
    with pytest.raises(ValueError, match=r"`p\[:, None\]`.*shape \(2,\)"):
        score([0, 1], [0.2, 0.8])


def test_a_column_of_probabilities_is_that_of_yes():
    column = [[0.2], [0.7]]
    assert_close(calibration.brier_score([0, 1], column), 0.2**2 + 0.3**2)


def test_a_row_of_targets_is_no_column_of_predictions():
    # NumPy would broadcast (3,) against (3, 2) or (2, 3).
    with pytest.raises(ValueError, match=r"a number each, \(200, 2\)"):
        calibration.gaussian_crps(TRUTH, np.ones((200, 2)), np.ones((200, 2)))
    column = calibration.gaussian_crps(TRUTH, MEAN[:, None], VARIANCE[:, None])
    assert_close(column, calibration.gaussian_crps(TRUTH, MEAN, VARIANCE))


def test_settings_out_of_their_range():
    with pytest.raises(ValueError, match="variance is above 0.*variance of 0"):
        calibration.gaussian_crps(TRUTH, MEAN, 0.0 * VARIANCE)
    with pytest.raises(ValueError, match="must not be above the upper one"):
        calibration.interval_coverage(TRUTH, MEAN + 1, MEAN)
    with pytest.raises(ValueError, match="`level` must be a number between"):
        calibration.gaussian_interval(MEAN, VARIANCE, 95)
    with pytest.raises(ValueError, match="above the number of rows"):
        calibration.adaptive_calibration_error(Y[:5], P[:5], 6)
    with pytest.raises(ValueError, match="`num_bins` must be an integer"):
        calibration.expected_calibration_error(Y, P, 0)
    with pytest.raises(ValueError, match="`binning` must be"):
        calibration.reliability(Y, P, 10, "equal")
    with pytest.raises(ValueError, match="`reduction` must be 'mean' or None"):
        calibration.brier_score(Y, P, reduction="sum")
    with pytest.raises(ValueError, match="weight of a row in a mean"):
        calibration.brier_score(Y, P, WEIGHT, reduction=None)
    with pytest.raises(ValueError, match=r"for each row.*shape \(3,\)"):
        calibration.brier_score(Y, P, np.ones(3))
    with pytest.raises(ValueError, match="a weight above 0"):
        calibration.brier_score(Y, P, np.zeros(200))
    with pytest.raises(ValueError, match="at least 0. .* weight of -1"):
        calibration.expected_calibration_error(Y, P, 10, -np.ones(200))
    with pytest.raises(ValueError, match="a variance for each mean"):
        calibration.gaussian_interval(MEAN, np.ones((200, 2)))
    with pytest.raises(ValueError, match="at least one sample.*axis=1"):
        calibration.sample_crps(TRUTH, np.ones((200, 0)))
    with pytest.raises(ValueError, match="uncertainties numbers"):
        calibration.risk_coverage([0.0, 1.0], [np.nan, 1.0])
    with pytest.raises(ValueError, match="`temperature` must be a number"):
        calibration.TemperatureScaling(0.0)

"""Conformal intervals: against MAPIE, crepes, the law of their coverage."""

import fractions
import math

import crepes
import keras
import numpy as np
import pytest
from keras import ops
from mapie import regression as mapie

from kerasdrop import calibration
from kerasdrop.predictive import Predictive
from tests.support import estimators

GENERATOR = np.random.default_rng(0)
ROWS = 99
MEAN, NEW = GENERATOR.normal(size=(2, ROWS))
VARIANCE, NEW_VARIANCE = GENERATOR.uniform(0.1, 2.0, (2, ROWS))
TRUTH = MEAN + 1.7 * np.sqrt(VARIANCE) * GENERATOR.normal(size=ROWS)
LOWER, NEW_LOWER = MEAN - np.sqrt(VARIANCE), NEW - np.sqrt(NEW_VARIANCE)
UPPER, NEW_UPPER = MEAN + VARIANCE, NEW + NEW_VARIANCE
GROUPS = GENERATOR.integers(0, 3, ROWS)
NEW_GROUPS = GENERATOR.integers(0, 3, ROWS)
WEIGHT, NEW_WEIGHT = GENERATOR.uniform(0.2, 3.0, (2, ROWS))
LEVELS = (0.5, 0.8, 0.9, 0.95)

# What a method takes of the calibration rows, and of new ones.
GIVEN = {
    "absolute": ((MEAN,), (NEW,)),
    "scaled": ((MEAN, VARIANCE), (NEW, NEW_VARIANCE)),
    "quantiles": ((LOWER, UPPER), (NEW_LOWER, NEW_UPPER)),
}


def fitted(method, **kwargs):
    return calibration.fit_conformal_intervals(
        TRUTH, *GIVEN[method][0], method=method, **kwargs
    )


def assert_close(values, expected, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=atol)


# Other packages.


@pytest.mark.parametrize("level", LEVELS)
def test_the_distance_is_that_of_mapie(level):
    theirs = mapie.SplitConformalRegressor(
        estimators.Column(),
        confidence_level=level,
        conformity_score="absolute",
        prefit=True,
    )
    theirs.conformalize(MEAN[:, None], TRUTH)
    _, ends = theirs.predict_interval(NEW[:, None])
    lower, upper = fitted("absolute")(NEW, level=level)
    assert_close(np.stack([lower, upper], axis=1), ends[..., 0])


@pytest.mark.parametrize("level", LEVELS)
def test_quantiles_are_those_of_mapie(level):
    theirs = mapie.ConformalizedQuantileRegressor(
        [estimators.Column(number) for number in range(3)],
        confidence_level=level,
        prefit=True,
    )
    theirs.conformalize(np.stack([LOWER, UPPER, MEAN], axis=1), TRUTH)
    new = np.stack([NEW_LOWER, NEW_UPPER, NEW], axis=1)
    _, ends = theirs.predict_interval(new, symmetric_correction=True)
    lower, upper = fitted("quantiles")(NEW_LOWER, NEW_UPPER, level=level)
    assert_close(np.stack([lower, upper], axis=1), ends[..., 0])


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize("method", ["absolute", "scaled"])
def test_distances_are_those_of_crepes(method, by_group):
    sigmas = {"absolute": (None, None)}.get(
        method, (np.sqrt(VARIANCE), np.sqrt(NEW_VARIANCE))
    )
    bins = (GROUPS, NEW_GROUPS) if by_group else (None, None)
    theirs = crepes.ConformalRegressor()
    theirs.fit(TRUTH - MEAN, sigmas[0], bins[0])
    ours = fitted(method, groups=bins[0])
    # Not .8, where rounding in `int((1 - level) * 100)` costs crepes a rank.
    for level in (0.505, 0.834, 0.915):
        ends = theirs.predict_int(NEW, sigmas[1], bins[1], level)
        found = ours(*GIVEN[method][1], level=level, groups=bins[1])
        assert_close(np.stack(found, axis=1), ends)


# What is promised.


@pytest.mark.parametrize("method", GIVEN)
def test_the_coverage_is_that_of_the_rank(method):
    # Without ties the coverage, given the n calibration rows, is a Beta of
    # rank k and n + 1 - k, whatever the model: here it is far too sure.
    # One rank less or more would be off by .05, 9 of these sigma.
    rows, new_rows, times, level = 19, 200, 200, 0.83
    rank = math.ceil((rows + 1) * fractions.Fraction("0.83"))
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(times):
        mean = generator.normal(size=rows + new_rows)
        variance = generator.uniform(0.01, 0.1, rows + new_rows)
        y = mean + generator.standard_t(3, rows + new_rows)
        given = {
            "absolute": (mean,),
            "scaled": (mean, variance),
            "quantiles": (mean - variance, mean + variance),
        }[method]
        intervals = calibration.fit_conformal_intervals(
            y[:rows], *(each[:rows] for each in given), method=method
        )
        ends = intervals(*(each[rows:] for each in given), level=level)
        covered.append(calibration.interval_coverage(y[rows:], *ends))
    p = rank / (rows + 1)
    between = p * (1 - p) / (rows + 2)
    within = p * (1 - p) * (1 - 1 / (rows + 2)) / new_rows
    sigma = math.sqrt((between + within) / times)
    assert abs(np.mean(covered) - p) < 5.0 * sigma


def test_by_group_each_group_is_covered():
    # One is ten times as noisy: together it would be covered far less.
    generator = np.random.default_rng(2)
    rows = 4_000
    groups = np.where(generator.random(2 * rows) < 0.3, "noisy", "calm")
    y = np.where(groups == "noisy", 10.0, 1.0) * generator.normal(size=2 * rows)
    mean = np.zeros(2 * rows)
    ours = calibration.fit_conformal_intervals(
        y[:rows], mean[:rows], method="absolute", groups=groups[:rows]
    )
    ends = ours(mean[rows:], groups=groups[rows:])
    together = calibration.fit_conformal_intervals(
        y[:rows], mean[:rows], method="absolute"
    )(mean[rows:])
    for group in ("noisy", "calm"):
        at = groups[rows:] == group
        sigma = math.sqrt(0.09 * 2 / (0.3 * rows))
        covered = calibration.interval_coverage(
            y[rows:][at], ends[0][at], ends[1][at]
        )
        assert abs(covered - 0.9) < 5.0 * sigma
        covered = calibration.interval_coverage(
            y[rows:][at], together[0][at], together[1][at]
        )
        assert abs(covered - 0.9) > 5.0 * sigma


def test_by_weight_the_coverage_holds_where_inputs_change():
    # Targets are as noisy as x is far from 0; x moves from N(0, 1) to N(1, 1),
    # whose likelihood ratio is exp(x - 1/2).
    generator = np.random.default_rng(3)
    rows = 20_000
    x, new = generator.normal(size=rows), 1.0 + generator.normal(size=rows)
    y, truth = (np.exp(each) * generator.normal(size=rows) for each in (x, new))
    zeros = np.zeros(rows)
    plain = calibration.fit_conformal_intervals(y, zeros, method="absolute")
    weighted = calibration.fit_conformal_intervals(
        y, zeros, method="absolute", sample_weight=np.exp(x - 0.5)
    )
    ends = weighted(zeros, sample_weight=np.exp(new - 0.5))
    # The effective number of rows is n E[w]^2 / E[w^2] = n / e.
    sigma = math.sqrt(0.09 * (math.e + 1.0) / rows)
    covered = calibration.interval_coverage(truth, *ends)
    assert abs(covered - 0.9) < 5.0 * sigma
    covered = calibration.interval_coverage(truth, *plain(zeros))
    assert covered < 0.9 - 5.0 * sigma


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("method", GIVEN)
def test_weights_by_their_definition(method, level):
    ours = fitted(method, sample_weight=WEIGHT)
    lower, _ = ours(
        *GIVEN[method][1], level=level, sample_weight=40 * NEW_WEIGHT
    )
    scores = {
        "absolute": np.abs(TRUTH - MEAN),
        "scaled": np.abs(TRUTH - MEAN) / np.sqrt(VARIANCE),
        "quantiles": np.maximum(LOWER - TRUTH, TRUTH - UPPER),
    }[method]
    for row, weight in enumerate(40 * NEW_WEIGHT):
        # The least score with enough of the weight at and below it.
        enough = [
            score
            for score in [*scores, math.inf]
            if sum(WEIGHT[scores <= score]) + weight * (score == math.inf)
            >= level * (sum(WEIGHT) + weight)
        ]
        unit = np.sqrt(NEW_VARIANCE[row]) if method == "scaled" else 1.0
        start = NEW_LOWER[row] if method == "quantiles" else NEW[row]
        expected = start - min(enough) * unit
        if method == "quantiles":
            middle = 0.5 * (NEW_LOWER[row] + NEW_UPPER[row])
            expected = min(expected, middle)
        assert_close(lower[row], expected)
    assert np.isinf(lower).any() == (level > 0.6)


def test_equal_weights_are_none():
    for level in np.arange(1, 99) / 100:
        with_ones = fitted("absolute", sample_weight=np.full(ROWS, 0.3))(
            NEW, level=level, sample_weight=np.full(ROWS, 0.3)
        )
        assert_close(with_ones, fitted("absolute")(NEW, level=level), 0.0)


def test_the_rank_is_that_of_the_level_as_written():
    # 100 * .55 is 55.00000000000001 in floats: rank 56.
    ours = calibration.fit_conformal_intervals(
        np.arange(1.0, 100.0), np.zeros(99), method="absolute"
    )
    for percent in range(1, 100):
        _, upper = ours(np.zeros(1), level=percent / 100)
        assert upper[0] == pytest.approx(percent, abs=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.3])
def test_the_least_number_of_rows_for_a_level(level):
    exact = fractions.Fraction(str(level))
    needed = next(n for n in range(1, 1000) if math.ceil((n + 1) * exact) <= n)
    for rows in (needed, needed - 1):
        if rows == 0:
            continue
        ours = calibration.fit_conformal_intervals(
            np.arange(1.0, rows + 1), np.zeros(rows), method="absolute"
        )
        if rows == needed:
            ours(np.zeros(1), level=level)
        else:
            with pytest.raises(
                ValueError, match=f"{rows} rows cannot reach.* needs {needed}"
            ):
                ours(np.zeros(1), level=level)


# Forms of what is given.


@pytest.mark.parametrize("method", GIVEN)
def test_a_result_is_as_its_arrays(method):
    def result(mean, variance, lower, upper):
        statistics = {
            "mean": mean[:, None],
            "variance": 0.5 * variance[:, None],  # of the samples alone
            "total_variance": variance[:, None],
            "quantiles": np.stack([lower, mean, upper], axis=1)[..., None],
        }
        return Predictive(statistics, 9, 0, "shared", "regression")

    old = result(MEAN, VARIANCE, LOWER, UPPER)
    new = result(NEW, NEW_VARIANCE, NEW_LOWER, NEW_UPPER)
    ours = calibration.fit_conformal_intervals(TRUTH, old, method=method)
    for found, expected in zip(ours(new), fitted(method)(*GIVEN[method][1])):
        assert_close(found, expected[:, None])


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize("method", GIVEN)
def test_tensors_give_tensors_of_the_same_values(method, by_group):
    groups = (GROUPS, NEW_GROUPS) if by_group else (None, None)
    old, new = (
        [ops.convert_to_tensor(each.astype("float32")) for each in given]
        for given in GIVEN[method]
    )
    ours = calibration.fit_conformal_intervals(
        ops.convert_to_tensor(TRUTH.astype("float32")),
        *old,
        method=method,
        groups=groups[0],
    )
    found = ours(*new, groups=groups[1])
    expected = fitted(method, groups=groups[0])(
        *GIVEN[method][1], groups=groups[1]
    )
    for ours, other in zip(found, expected):
        assert ops.is_tensor(ours)
        assert_close(ops.convert_to_numpy(ours), other, 1e-5)


def test_tensors_and_weights():
    new = ops.convert_to_tensor(NEW.astype("float32"))
    variance = 0.0 * new + 1.0
    ours = fitted("scaled", sample_weight=WEIGHT)
    weight = np.where(np.arange(ROWS) == 3, 1e6, NEW_WEIGHT)
    lower, upper = map(
        ops.convert_to_numpy, ours(new, variance, sample_weight=weight)
    )
    assert (lower[3], upper[3]) == (-math.inf, math.inf)
    others = np.arange(ROWS) != 3
    expected, _ = ours(NEW, np.ones(ROWS), sample_weight=weight)
    assert_close(lower[others], expected[others], 1e-5)


def test_too_wide_quantiles_end_in_their_middle():
    ours = calibration.fit_conformal_intervals(
        np.zeros(9), -np.ones(9), 2 * np.ones(9), method="quantiles"
    )
    lower, upper = ours([0.0, -3.0], [0.5, 3.0])
    assert_close(lower, [0.25, -2.0])
    assert_close(upper, [0.25, 2.0])


@pytest.mark.parametrize("is_tensor", [False, True])
@pytest.mark.parametrize("method", ["absolute", "scaled", "quantiles"])
def test_rows_whose_score_is_the_threshold_are_covered(method, is_tensor):
    # Counts, and inputs that repeat: rounding would lose all equal scores.
    generator = np.random.default_rng(3)
    for _ in range(50):
        mean, spread = 10.0 * generator.normal(), generator.gamma(1.0)
        targets = generator.integers(0, 5, 60)
        first = np.full(60, mean)
        given = {
            "absolute": (first,),
            "scaled": (first, np.full(60, spread)),
            "quantiles": (first, np.full(60, mean + 0.3)),
        }[method]
        intervals = calibration.fit_conformal_intervals(
            targets, *given, method=method
        )
        below = intervals.scores <= np.sort(intervals.scores)[48]
        if is_tensor:
            given = [
                ops.convert_to_tensor(each.astype("float32")) for each in given
            ]
        lower, upper = map(ops.convert_to_numpy, intervals(*given, level=0.8))
        covered = (lower <= targets) & (targets <= upper)
        assert covered[below].all()
        assert np.allclose(lower, lower[0])
        assert np.allclose(upper, upper[0])


def test_no_rows_have_no_intervals():
    for kwargs in ({"groups": np.repeat([0, 1], 20)}, {}):
        intervals = calibration.fit_conformal_intervals(
            np.arange(40.0), np.zeros(40), method="absolute", **kwargs
        )
        lower, upper = intervals(
            np.zeros(0), **{name: np.zeros(0, int) for name in kwargs}
        )
        assert lower.shape == upper.shape == (0,)


def test_targets_that_are_no_numbers():
    with pytest.raises(ValueError, match="targets must be numbers.*<U1"):
        calibration.fit_conformal_intervals(
            ["a", "b"], [0.0, 1.0], method="absolute"
        )


def test_what_is_refused():
    fit = calibration.fit_conformal_intervals
    with pytest.raises(ValueError, match="`method` must be"):
        fit(TRUTH, MEAN, method="normalized")
    with pytest.raises(ValueError, match="mean and a variance.*type ndarray"):
        fit(TRUTH, MEAN)
    with pytest.raises(ValueError, match="lower and upper ends"):
        fit(TRUTH, MEAN, method="quantiles")
    with pytest.raises(ValueError, match="'absolute' takes a mean alone"):
        fit(TRUTH, MEAN, VARIANCE, method="absolute")
    with pytest.raises(ValueError, match="variance is above 0"):
        fit(TRUTH, MEAN, 0.0 * VARIANCE)
    with pytest.raises(ValueError, match="must not be above the upper"):
        fit(TRUTH, UPPER, LOWER, method="quantiles")
    with pytest.raises(ValueError, match="must be numbers.*NaN"):
        fit(np.where(GROUPS == 0, math.nan, TRUTH), MEAN, VARIANCE)
    with pytest.raises(ValueError, match="targets must be finite.*inf"):
        fit(np.where(GROUPS == 0, math.inf, TRUTH), MEAN, VARIANCE)
    with pytest.raises(ValueError, match="predictions must be finite.*nan"):
        fit(TRUTH, np.where(GROUPS == 0, math.nan, MEAN), VARIANCE)
    two = np.ones((ROWS, 2))
    with pytest.raises(
        ValueError, match=r"Fit each of several outputs by itself.*\(99, 2\)"
    ):
        fit(two, two, method="absolute")
    with pytest.raises(ValueError, match="a number each"):
        fit(TRUTH[:-1], MEAN, VARIANCE)
    with pytest.raises(ValueError, match="for each of 99 rows.*float64"):
        fit(TRUTH, MEAN, VARIANCE, groups=MEAN)
    with pytest.raises(ValueError, match="`sample_weight` must have a weight"):
        fit(TRUTH, MEAN, VARIANCE, sample_weight=WEIGHT[:-1])
    with pytest.raises(ValueError, match="at least 0.*weight of -"):
        fit(TRUTH, MEAN, VARIANCE, sample_weight=-WEIGHT)
    with pytest.raises(ValueError, match="weight above 0 of group 1.*0"):
        fit(
            TRUTH,
            MEAN,
            VARIANCE,
            groups=GROUPS,
            sample_weight=np.where(GROUPS == 1, 0.0, 1.0),
        )


def test_a_call_that_is_not_as_the_fit():
    ours = fitted("absolute")
    with pytest.raises(ValueError, match="number between"):
        ours(NEW, level=95)
    with pytest.raises(ValueError, match="fitted without `groups`"):
        ours(NEW, groups=NEW_GROUPS)
    with pytest.raises(ValueError, match="fitted without `sample_weight`"):
        ours(NEW, sample_weight=NEW_WEIGHT)
    with pytest.raises(ValueError, match="variance is above 0"):
        fitted("scaled")(NEW, 0.0 * NEW_VARIANCE)
    by_group = fitted("absolute", groups=GROUPS)
    with pytest.raises(ValueError, match="with `groups`.*a call without"):
        by_group(NEW)
    with pytest.raises(ValueError, match="group of the fit: .*Received: 7"):
        by_group(NEW, groups=np.full(ROWS, 7))
    with pytest.raises(ValueError, match="rows of group . cannot reach"):
        by_group(NEW, level=0.99, groups=NEW_GROUPS)


def test_a_result_that_lacks_what_is_needed():
    statistics = {"mean": MEAN, "variance": VARIANCE}
    result = Predictive(statistics, 9, 0, "shared", "regression")
    fit = calibration.fit_conformal_intervals
    with pytest.raises(ValueError, match="needs `quantiles`.*mean, variance"):
        fit(TRUTH, result, method="quantiles")
    with pytest.raises(ValueError, match="has all that is needed"):
        fit(TRUTH, result, VARIANCE)
    two = Predictive(
        {"mean": [MEAN, MEAN], "variance": [MEAN, MEAN]}, 9, 0, "shared", "?"
    )
    with pytest.raises(ValueError, match="one output at a time"):
        fit(TRUTH, two)
    classes = Predictive(
        {"mean": MEAN, "predictive_entropy": MEAN}, 9, 0, "shared", "binary"
    )
    with pytest.raises(ValueError, match="number.*'binary'.*of classes"):
        fit(TRUTH, classes)


def test_weights_of_rows_of_unknown_number_are_refused():
    intervals = fitted("absolute", sample_weight=WEIGHT)
    symbolic = keras.KerasTensor((None,))
    with pytest.raises(ValueError, match="need a known number of rows"):
        intervals(symbolic, sample_weight=WEIGHT)

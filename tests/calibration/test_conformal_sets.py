"""Conformal sets: against MAPIE, crepes, the papers' formulas, coverage."""

import math

import crepes
import numpy as np
import pytest
from keras import ops
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores.sets import aps
from mapie.conformity_scores.sets import raps

from kerasdrop import calibration
from kerasdrop.calibration import conformal_sets
from kerasdrop.predictive import Predictive
from tests.support import estimators

GENERATOR = np.random.default_rng(0)
ROWS, CLASSES = 99, 5
P, NEW = GENERATOR.dirichlet(np.full(CLASSES, 0.6), size=(2, ROWS))
Y = np.array([GENERATOR.choice(CLASSES, p=p) for p in 0.7 * P + 0.06])
GROUPS, NEW_GROUPS = GENERATOR.integers(0, 3, (2, ROWS))
WEIGHT = GENERATOR.uniform(0.2, 3.0, ROWS)
RAPS = {"penalty": 0.03, "free_classes": 2}
SETTINGS = {"lac": {}, "aps": {}, "raps": RAPS}
LEVELS = (0.5, 0.8, 0.9, 0.95)


def mapie_of(score, level):
    theirs = SplitConformalClassifier(
        estimators.Probabilities(CLASSES),
        confidence_level=level,
        conformity_score=score,
        prefit=True,
        random_state=0,
    )
    return theirs.conformalize(P, Y)


def column_of_mapie(seed=0):
    return np.random.RandomState(seed).uniform(size=ROWS).reshape(-1, 1)


@pytest.mark.parametrize("level", LEVELS)
def test_lac_is_that_of_mapie(level):
    _, theirs = mapie_of("lac", level).predict_set(NEW)
    ours = calibration.fit_conformal_sets(Y, P, method="lac")
    np.testing.assert_array_equal(ours(NEW, level=level), theirs[..., 0])


@pytest.mark.parametrize("by_group", [False, True])
def test_lac_is_that_of_crepes(by_group):
    bins = (GROUPS, NEW_GROUPS) if by_group else (None, None)
    theirs = crepes.ConformalClassifier()
    theirs.fit(1.0 - P[np.arange(ROWS), Y], bins[0])
    ours = calibration.fit_conformal_sets(Y, P, method="lac", groups=bins[0])
    for level in (0.505, 0.834, 0.915):
        sets = theirs.predict_set(
            1.0 - NEW, bins[1], confidence=level, smoothing=False
        )
        found = ours(NEW, level=level, groups=bins[1])
        np.testing.assert_array_equal(found, sets.astype(bool))


@pytest.mark.parametrize("level", LEVELS)
def test_aps_is_that_of_mapie(level, monkeypatch):
    # With MAPIE's random numbers, which are the same in fit and prediction.
    monkeypatch.setattr(
        conformal_sets, "draws", lambda *given: column_of_mapie()
    )
    _, theirs = mapie_of("aps", level).predict_set(
        NEW, conformity_score_params={"include_last_label": "randomized"}
    )
    ours = calibration.fit_conformal_sets(Y, P, method="aps")
    np.testing.assert_array_equal(ours(NEW, level=level), theirs[..., 0])


def test_the_scores_of_raps_are_those_of_mapie():
    score = raps.RAPSConformityScore()
    score.set_external_attributes(
        classes=np.arange(CLASSES), random_state=0, label_encoder=None
    )
    # Its own method would first fit both settings on a part of the rows.
    theirs = aps.APSConformityScore.get_conformity_scores(score, Y, P, y_enc=Y)
    theirs = score._regularize_conformity_score(
        [RAPS["free_classes"]], RAPS["penalty"], theirs, score.cutoff
    )
    ours = conformal_sets.scores_of(P, "raps", column_of_mapie(), **RAPS)
    np.testing.assert_allclose(
        ours[np.arange(ROWS), Y], theirs[:, 0, 0], rtol=0.0, atol=1e-12
    )


@pytest.mark.parametrize("method", SETTINGS)
def test_scores_by_their_definition(method):
    drawn = GENERATOR.uniform(size=(ROWS, 1))
    ours = conformal_sets.scores_of(P, method, drawn, **SETTINGS[method])
    for row, p in enumerate(P):
        for number, own in enumerate(p):
            if method == "lac":
                expected = 1.0 - own
            else:
                expected = p[p >= own].sum() - drawn[row, 0] * own
            if method == "raps":
                beyond = (p >= own).sum() - RAPS["free_classes"]
                expected += RAPS["penalty"] * max(beyond, 0)
            assert abs(ours[row, number] - expected) < 1e-12


def test_of_equal_probabilities_the_earlier_class_comes_first():
    scores = conformal_sets.scores_of([[0.25, 0.5, 0.25]], "aps", 0.0)
    np.testing.assert_allclose(scores, [[0.75, 0.5, 1.0]])


@pytest.mark.parametrize("method", SETTINGS)
def test_the_coverage_is_that_of_the_rank(method):
    # As of intervals: a mean of Beta(k, n + 1 - k), whatever the model.
    rows, new_rows, times, level = 19, 200, 200, 0.83
    p_of_rank = math.ceil(20 * 0.83) / 20
    generator = np.random.default_rng(1)
    covered = []
    for number in range(times):
        p = generator.dirichlet(np.ones(CLASSES), size=rows + new_rows)
        y = generator.integers(0, CLASSES, rows + new_rows)
        sets = calibration.fit_conformal_sets(
            y[:rows], p[:rows], method, seed=number, **SETTINGS[method]
        )
        is_in = sets(p[rows:], level=level)
        covered.append(is_in[np.arange(new_rows), y[rows:]].mean())
    between = p_of_rank * (1 - p_of_rank) / (rows + 2)
    within = p_of_rank * (1 - p_of_rank) / new_rows
    sigma = math.sqrt((between + within) / times)
    assert abs(np.mean(covered) - p_of_rank) < 5.0 * sigma


def test_randomised_sets_are_smaller():
    mean_sizes = []
    for randomized in (True, False):
        sets = calibration.fit_conformal_sets(Y, P, randomized=randomized)
        mean_sizes.append(sets(NEW, level=0.8).sum(axis=-1).mean())
    assert mean_sizes[0] < mean_sizes[1]


def test_a_seed_gives_the_same_sets():
    def sets(fit_seed, seed=None):
        fitted = calibration.fit_conformal_sets(Y, P, seed=fit_seed)
        return fitted(NEW, level=0.8, seed=seed)

    np.testing.assert_array_equal(sets(3), sets(3))
    np.testing.assert_array_equal(sets(3), sets(3, seed=3))
    assert (sets(3) != sets(3, seed=4)).any()


def test_the_draws_of_the_fit_are_not_those_of_a_call(monkeypatch):
    seen = []

    def noted(*given):
        seen.append(draws(*given))
        return seen[-1]

    draws = conformal_sets.draws
    monkeypatch.setattr(conformal_sets, "draws", noted)
    calibration.fit_conformal_sets(Y, P)(NEW)
    assert len(seen) == 2
    assert (seen[0] != seen[1]).all()


@pytest.mark.parametrize("method", SETTINGS)
def test_tensors_give_tensors_of_the_same_values(method):
    # Multiples of 1/64 are the same numbers in float32.
    generator = np.random.default_rng(4)
    p, new = (
        generator.multinomial(64, np.full(CLASSES, 0.2), ROWS) / 64
        for _ in range(2)
    )
    fitted = [
        calibration.fit_conformal_sets(
            as_given(Y),
            as_given(p.astype("float32")),
            method,
            randomized=False,
            groups=GROUPS,
            **SETTINGS[method],
        )
        for as_given in (np.asarray, ops.convert_to_tensor)
    ]
    expected = fitted[0](new, level=0.8, groups=NEW_GROUPS)
    found = fitted[1](
        ops.convert_to_tensor(new.astype("float32")),
        level=0.8,
        groups=NEW_GROUPS,
    )
    assert ops.is_tensor(found)
    if method == "raps":  # 0.03 is another number in float32
        assert (ops.convert_to_numpy(found) == expected).mean() > 0.9
    else:
        np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)


def test_weights_of_ones_are_none_and_one_weight_too_many_is_all():
    plain = calibration.fit_conformal_sets(Y, P)
    weighted = calibration.fit_conformal_sets(Y, P, sample_weight=np.ones(ROWS))
    ones = np.ones(ROWS)
    np.testing.assert_array_equal(weighted(NEW, sample_weight=ones), plain(NEW))
    ones[7] = 1e3
    found = weighted(NEW, sample_weight=ones)
    assert found[7].all()
    others = np.arange(ROWS) != 7
    np.testing.assert_array_equal(found[others], plain(NEW)[others])


def test_a_result_and_the_probability_of_yes():
    yes = P[:, :1]
    both = np.concatenate([1.0 - yes, yes], axis=-1)
    happened = (Y == 0).astype(int)
    statistics = {"mean": yes, "predictive_entropy": yes}
    result = Predictive(statistics, 9, 0, "shared", "binary")
    sets = [
        calibration.fit_conformal_sets(targets, given)(given)
        for targets, given in [
            (happened, both),
            (happened, yes),
            (happened[:, None], result),
            (np.eye(2)[happened], both),
        ]
    ]
    for each in sets[1:]:
        np.testing.assert_array_equal(each, sets[0])
    assert sets[0].shape == (ROWS, 2)
    assert sets[0].dtype == bool


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_last_class_has_one_score_in_each_dtype(classes):
    """A sum of all probabilities is 1 but for rounding, which is no score."""
    generator = np.random.default_rng(classes)
    p = generator.dirichlet(np.ones(classes), size=200)
    last = p.argmin(axis=-1)
    sets = calibration.fit_conformal_sets(
        last, p, method="aps", randomized=False
    )
    np.testing.assert_array_equal(sets.scores, 1.0)
    singles = p.astype("float32")
    for given in (p, singles, ops.convert_to_tensor(singles)):
        assert np.asarray(ops.convert_to_numpy(sets(given))).all()


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_rows_that_repeat_keep_their_class_in_tensors(method):
    generator = np.random.default_rng(4)
    options = {"penalty": 0.03, "free_classes": 1} if method == "raps" else {}
    for _ in range(30):
        p = np.tile(generator.dirichlet(np.ones(5)), (40, 1))
        targets = np.repeat(generator.integers(0, 5), 40)
        sets = calibration.fit_conformal_sets(
            targets, p, method=method, randomized=False, **options
        )
        tensor = ops.convert_to_tensor(p.astype("float32"))
        is_in = ops.convert_to_numpy(sets(tensor))
        assert is_in[:, targets[0]].all()
        assert sets(p)[:, targets[0]].all()


def test_what_is_refused():
    fit = calibration.fit_conformal_sets
    with pytest.raises(ValueError, match="`method` must be"):
        fit(Y, P, method="thr")
    with pytest.raises(ValueError, match="needs a `penalty` and"):
        fit(Y, P, method="raps")
    with pytest.raises(ValueError, match="belong to the method 'raps'"):
        fit(Y, P, penalty=0.1)
    with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
        fit(Y + 1, P)
    with pytest.raises(ValueError, match="outputs of a softmax"):
        fit(Y, np.log(P))
    with pytest.raises(ValueError, match=r"for rows.*\(3, 33, 5\)"):
        fit(Y.reshape(3, 33), P.reshape(3, 33, 5))
    with pytest.raises(ValueError, match="`seed` must be an integer of at le"):
        fit(Y, P, seed=-1)
    sets = fit(Y[:8], P[:8])
    with pytest.raises(ValueError, match="8 rows cannot reach.*needs 9"):
        sets(NEW)
    regression = Predictive({"mean": P}, 9, 0, "shared", "regression")
    with pytest.raises(ValueError, match="of classes.*'regression'"):
        fit(Y, regression)

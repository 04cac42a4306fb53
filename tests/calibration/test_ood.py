"""Two sets told apart: against scikit-learn, a direct DeLong, simulation."""

import math

import numpy as np
import pytest
from keras import ops
from matplotlib import figure
from scipy import stats
from sklearn import metrics as sklearn_metrics

from kerasdrop import calibration
from kerasdrop import plots
from kerasdrop.calibration import ood

GENERATOR = np.random.default_rng(0)
SETS = {
    "smooth": (
        GENERATOR.normal(size=70),
        1.0 + GENERATOR.normal(size=130),
    ),
    # Many equal values, within a set and between both.
    "ties": (
        GENERATOR.integers(0, 6, 70) / 5,
        GENERATOR.integers(2, 9, 130) / 5,
    ),
    "constant": (np.ones(7), np.ones(5)),
    "apart": (np.arange(5.0), np.arange(10.0, 13.0)),
    "the wrong way": (np.arange(10.0, 13.0), np.arange(5.0)),
}


def stacked(usual, shifted):
    is_shifted = np.repeat([0, 1], [len(usual), len(shifted)])
    return is_shifted, np.concatenate([usual, shifted])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("rate", [0.95, 0.8, 0.5])
def test_the_numbers_of_scikit_learn(name, rate):
    found = calibration.ood_detection(*SETS[name], true_positive_rate=rate)
    given = stacked(*SETS[name])
    assert found.auroc == pytest.approx(sklearn_metrics.roc_auc_score(*given))
    expected = sklearn_metrics.average_precision_score(*given)
    assert found.aupr == pytest.approx(expected)
    false, true, _ = sklearn_metrics.roc_curve(*given, drop_intermediate=False)
    assert found.fpr == pytest.approx(false[true >= rate - 1e-12].min())
    assert found.aupr_interval is found.fpr_interval is None


def test_the_rate_is_that_of_the_number_as_written():
    # 100 * .55 is 55.00000000000001 in floats.
    shifted = np.arange(100.0)[::-1]
    usual = np.arange(99.0)[::-1] + 0.5
    found = calibration.ood_detection(usual, shifted, true_positive_rate=0.55)
    assert found.fpr == 54 / 99


@pytest.mark.parametrize("name", ["smooth", "ties", "constant"])
def test_delong_by_its_definition(name):
    usual, shifted = SETS[name]
    wins = np.heaviside(shifted[:, None] - usual[None], 0.5)
    variance = wins.mean(axis=1).var(ddof=1) / len(shifted)
    variance += wins.mean(axis=0).var(ddof=1) / len(usual)
    half = stats.norm.ppf(0.95) * math.sqrt(variance)
    found = calibration.ood_detection(usual, shifted, level=0.9)
    np.testing.assert_allclose(
        found.auroc_interval,
        [wins.mean() - half, wins.mean() + half],
        rtol=0.0,
        atol=1e-12,
    )


def test_an_area_lies_between_0_and_1():
    usual, shifted = np.arange(9.0), np.array([7.5, 10.0, 11.0, 12.0])
    found = calibration.ood_detection(usual, shifted)
    assert found.auroc_interval[1] == 1.0
    assert calibration.ood_detection(*SETS["apart"]).auroc_interval == (1, 1)


@pytest.mark.parametrize("interval", ["delong", "bootstrap"])
def test_intervals_hold_the_true_area(interval):
    # Of normals one apart the area is Phi(1 / sqrt(2)).
    truth = stats.norm.cdf(1.0 / math.sqrt(2.0))
    generator = np.random.default_rng(1)
    times = 300
    covered = 0
    for number in range(times):
        found = calibration.ood_detection(
            generator.normal(size=60),
            1.0 + generator.normal(size=60),
            level=0.9,
            interval=interval,
            num_resamples=200,
            seed=number,
        )
        low, high = found.auroc_interval
        covered += low <= truth <= high
    # Both are asymptotic: 2 % are left to what 60 rows are short of.
    sigma = math.sqrt(0.09 / times)
    assert abs(covered / times - 0.9) < 5.0 * sigma + 0.02


def test_the_bootstrap_is_that_of_resampled_rows():
    usual, shifted = SETS["ties"]
    found = calibration.ood_detection(
        usual, shifted, interval="bootstrap", num_resamples=4000, level=0.8
    )
    generator = np.random.default_rng(2)
    drawn = []
    for _ in range(1000):
        given = stacked(
            generator.choice(usual, len(usual)),
            generator.choice(shifted, len(shifted)),
        )
        false, true, _ = sklearn_metrics.roc_curve(
            *given, drop_intermediate=False
        )
        drawn.append(
            [
                sklearn_metrics.auc(false, true),
                false[true >= 0.95 - 1e-12].min(),
            ]
        )
    ends = np.quantile(drawn, [0.1, 0.9], axis=0).T
    # Standard error of a quantile of .1: sqrt(.09 / 1000) / density.
    for ours, other, std in zip(
        (found.auroc_interval, found.fpr_interval), ends, np.std(drawn, axis=0)
    ):
        np.testing.assert_allclose(ours, other, rtol=0.0, atol=0.25 * std)
    low, high = found.aupr_interval
    assert low < found.aupr < high
    again = calibration.ood_detection(
        usual, shifted, interval="bootstrap", num_resamples=4000, level=0.8
    )
    assert again == found


def test_resamples_in_parts_are_resamples(monkeypatch):
    arguments = {"interval": "bootstrap", "num_resamples": 50}
    whole = calibration.ood_detection(*SETS["smooth"], **arguments)
    monkeypatch.setattr(ood, "_MOST_AT_ONCE", 7 * 200)
    parts = calibration.ood_detection(*SETS["smooth"], **arguments)
    np.testing.assert_allclose(parts[3:], whole[3:], atol=0.1)


def test_tensors_are_taken():
    usual, shifted = (each.astype("float32") for each in SETS["smooth"])
    found = calibration.ood_detection(
        *map(ops.convert_to_tensor, (usual, shifted))
    )
    assert found == calibration.ood_detection(usual, shifted)
    assert isinstance(found.auroc, float)


def test_what_is_refused():
    usual, shifted = SETS["smooth"]
    detect = calibration.ood_detection
    with pytest.raises(ValueError, match=r"`usual` must have.*\(0,\)"):
        detect([], shifted)
    with pytest.raises(ValueError, match=r"`shifted` must have.*\(130, 1\)"):
        detect(usual, shifted[:, None])
    with pytest.raises(ValueError, match=r"\(2,\) with NaN"):
        detect(usual, [1.0, math.nan])
    with pytest.raises(ValueError, match="needs two rows.*70 usual and 1"):
        detect(usual, [1.0])
    assert detect(usual, [1.0], interval=None).auroc_interval is None
    with pytest.raises(ValueError, match="`interval` must be"):
        detect(usual, shifted, interval="normal")
    with pytest.raises(ValueError, match="`true_positive_rate` must be"):
        detect(usual, shifted, true_positive_rate=95)
    with pytest.raises(ValueError, match="`num_resamples` must be"):
        detect(usual, shifted, interval="bootstrap", num_resamples=0)


def test_both_histograms():
    ax = figure.Figure().subplots()
    usual, shifted = SETS["smooth"]
    assert plots.ood_detection(usual, shifted, ax, bins=8) is ax
    low, high = min(usual.min(), shifted.min()), max(usual.max(), shifted.max())
    edges = np.linspace(low, high, 9)
    for patch, values, label in zip(
        ax.patches, (usual, shifted), ("usual", "shifted")
    ):
        heights = np.histogram(values, edges)[0] / len(values)
        assert patch.get_label() == label
        top = patch.get_xy()[:, 1].max()
        assert top == pytest.approx(heights.max())
    with pytest.raises(ValueError, match="`usual` must have"):
        plots.ood_detection([], shifted, ax)
    other = plots.ood_detection(*SETS["constant"], figure.Figure().subplots())
    assert len(other.patches) == 2

"""What is drawn is the data, on the axes that are given."""

import dataclasses
import sys
import types

import numpy as np
import pytest
from keras import ops
from matplotlib import figure

import kerasdrop
from kerasdrop import calibration
from kerasdrop import plots

RELIABILITY = calibration.Reliability(
    weight=np.array([2.0, 0.0, 8.0]),
    predicted=np.array([0.2, np.nan, 0.9]),
    observed=np.array([0.3, np.nan, 0.8]),
)


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def data_of(line):
    return np.stack(line.get_data())


def test_reliability_leaves_out_empty_bins(ax):
    assert plots.reliability(RELIABILITY, ax, label="model") is ax
    diagonal, line = ax.lines
    assert diagonal.get_slope() == 1.0
    np.testing.assert_allclose(data_of(line), [[0.2, 0.9], [0.3, 0.8]])
    assert line.get_label() == "model"
    areas = ax.collections[0].get_sizes()
    assert areas[1] == pytest.approx(4.0 * areas[0])


FIT = kerasdrop.RateFit(
    rates={"drop": 0.2},
    grid=(0.1, 0.2, 0.4, 0.8),
    scores=(-0.6, -0.5, -0.9, None),
    monte_carlo_errors=(None,) * 4,
    shortfalls=(0.1, 0.0, 0.4, None),
    shortfall_errors=(0.06, 0.0, 0.1, None),
    weight_scaling=-0.8,
    gain=0.3,
    gain_error=0.1,
    score="log_likelihood",
    direction="highest",
    num_rows=10,
    num_samples=48,
    seed=0,
)


def test_a_rate_curve_fills_what_cannot_be_told_from_the_best(ax):
    assert plots.rate_curve(FIT, ax, label="late") is ax
    curve, *_, scaling = ax.lines
    expected = [FIT.grid, [-0.6, -0.5, -0.9, np.nan]]
    np.testing.assert_allclose(data_of(curve), expected)
    bars, filled, empty = ax.collections
    segments = bars.get_segments()
    np.testing.assert_allclose(segments[0][:, 1], [-0.66, -0.54])
    np.testing.assert_allclose(segments[2][:, 1], [-1.0, -0.8])
    np.testing.assert_allclose(filled.get_offsets()[:, 0], [0.1, 0.2])
    np.testing.assert_allclose(empty.get_offsets()[0], [0.4, -0.9])
    assert set(scaling.get_ydata()) == {-0.8}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rate", "log_likelihood")
    with pytest.raises(ValueError, match="rate_curve: .*kerasdrop.fit_rates"):
        plots.rate_curve({"rate": 0.2}, ax)


def test_shares_of_the_variance_are_bars_side_by_side(ax):
    shares = kerasdrop.SobolIndices(
        names=("early", "late"),
        first_order=(0.1, 0.6),
        first_order_errors=(0.02, 0.03),
        total=(0.4, 0.9),
        total_errors=(0.01, 0.05),
        variance=2.0,
        num_rows=10,
        num_samples=32,
        seed=0,
    )

    assert plots.variance_shares(shares, ax) is ax

    alone, in_all = (bars.datavalues for bars in ax.containers[1::2])
    np.testing.assert_allclose(alone, shares.first_order)
    np.testing.assert_allclose(in_all, shares.total)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["early", "late"]
    with pytest.raises(ValueError, match="variance_shares: .*mc_sobol_indices"):
        plots.variance_shares({"total": 1.0}, ax)


def test_a_rate_curve_has_a_line_for_each_group(ax):
    group = kerasdrop.RateCurve(
        layers=("drop",),
        grid=FIT.grid,
        scores=(-0.7, -0.4, None, -1.0),
        monte_carlo_errors=(None,) * 4,
        shortfalls=(0.3, 0.0, None, 0.6),
        shortfall_errors=(0.1, 0.0, None, 0.1),
    )
    groups = {"a": group, "b": dataclasses.replace(group, layers=("other",))}
    plots.rate_curve(dataclasses.replace(FIT, groups=groups), ax)
    lines, labels = ax.get_legend_handles_labels()
    assert labels == ["a", "b", "one rate"]
    drawn = [line.lines[0].get_ydata() for line in lines]
    np.testing.assert_allclose(drawn[0], [-0.7, -0.4, np.nan, -1.0])
    np.testing.assert_allclose(drawn[2], [-0.6, -0.5, -0.9, np.nan])


def test_tensors_are_drawn_with_and_without_a_gradient(ax):
    p = ops.convert_to_tensor([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
    if hasattr(p, "requires_grad_"):  # of PyTorch
        p.requires_grad_()
    plots.reliability(calibration.reliability([1, 0, 0], p, 2), ax)
    plots.risk_coverage(calibration.risk_coverage(p[:, 0], p[:, 1]), ax)
    np.testing.assert_allclose(data_of(ax.lines[1]), [[0.8], [2 / 3]])
    np.testing.assert_allclose(ax.lines[2].get_ydata()[-1], 0.4, rtol=1e-6)


def test_risk_over_coverage(ax):
    curve = calibration.risk_coverage([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])
    assert plots.risk_coverage(curve, ax) is ax
    np.testing.assert_allclose(data_of(ax.lines[0]), np.stack(curve))


def test_intervals_are_drawn_in_the_order_of_x(ax):
    x, mean, variance = np.array([[2, 0, 1], [5, 3, 4], [4, 1, 9]], "float64")
    plots.predictive_intervals(x, mean[:, None], variance, (0.5,), ax)
    np.testing.assert_allclose(data_of(ax.lines[0]), [[0, 1, 2], [3, 4, 5]])
    (band,) = ax.collections
    low, high = band.get_datalim(ax.transData).intervaly
    # The quartiles of the normal are at .67449 standard deviations.
    assert low == pytest.approx(4 - 0.67449 * 3, abs=1e-4)
    assert high == pytest.approx(5 + 0.67449 * 2, abs=1e-4)


@pytest.mark.parametrize(
    "x", [[0, 1, 1, 2], [0, 1, 2, 4], [3, 3, 3, 3]], ids=["ties", "gaps", "one"]
)
def test_rows_of_a_table_are_points_with_error_bars(ax, x):
    x, mean, variance = np.array(x), np.arange(4.0), np.array([4.0, 1, 9, 1])
    plots.predictive_intervals(x, mean, variance, (0.5, 0.9), ax)
    (points,) = ax.lines
    assert points.get_linestyle() == "None"
    np.testing.assert_allclose(data_of(points), [x, mean])
    # The quantiles of the normal of 75 % and 95 %, in standard deviations.
    for bars, z in zip(ax.collections, (0.67449, 1.64485), strict=True):
        half = z * np.sqrt(variance)
        expected = np.stack([[x, x], [mean - half, mean + half]], axis=-1)
        np.testing.assert_allclose(
            np.stack(bars.get_segments()),
            expected.swapaxes(0, 1),
            atol=1e-4,
        )
    narrow, wide = (bars.get_linewidth()[0] for bars in ax.collections)
    assert narrow > wide
    assert [bars.get_label() for bars in ax.collections] == ["50%", "90%"]


def test_a_grid_of_float32_is_drawn_as_bands(ax):
    x = np.linspace(1958, 2000, 505, dtype="float32")
    plots.predictive_intervals(x, x, np.ones(505), ax=ax)
    assert ax.lines[0].get_linestyle() == "-"


@pytest.mark.parametrize("style", ["band", "points"])
def test_the_style_can_be_chosen(ax, style):
    x = [0.0, 1.0, 2.0] if style == "points" else [0.0, 1.0, 1.0]
    plots.predictive_intervals(x, x, np.ones(3), ax=ax, style=style)
    lines = {"band": "-", "points": "None"}
    assert ax.lines[0].get_linestyle() == lines[style]


def test_the_rates_of_each_layer(ax):
    logs = {"loss": [1.0, 0.5], "rate/a": [0.5, 0.4], "rate/b": [0.1, 0.1]}
    history = types.SimpleNamespace(history=logs)
    assert plots.rate_history(history, ax) is ax
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_allclose(data_of(ax.lines[0]), [[1, 2], [0.5, 0.4]])
    assert all(tick == round(tick) for tick in ax.get_xticks())
    other = plots.rate_history(logs, figure.Figure().subplots())
    assert len(other.lines) == 2
    mean = plots.rate_history({"rate": [0.5]}, figure.Figure().subplots())
    assert len(mean.lines) == 1


def test_layers_of_equal_rates_share_a_line(ax):
    logs = {f"rate/{name}": [0.5, 0.4] for name in "abdefg"}
    logs |= {"rate/c": [0.5, 0.3], "rate/h": [0.5, 0.3]}
    plots.rate_history(logs, ax)
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["a, b and 4 others", "c and h"]
    np.testing.assert_allclose(data_of(ax.lines[1]), [[1, 2], [0.5, 0.3]])


def test_many_levels_have_smaller_points(ax):
    levels = np.arange(1, 100) / 100.0
    curve = calibration.Reliability(np.full(99, 7.0), levels, levels)
    plots.reliability(curve, ax)
    assert ax.collections[0].get_sizes().max() < 15.0


def test_new_axes_when_none_are_given(monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "switch_backend", plt.switch_backend)
    plt.switch_backend("agg")
    ax = plots.reliability(RELIABILITY)
    assert len(ax.lines) == 2
    plt.close(ax.figure)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "kerasdrop\[plots\]"'):
        plots.reliability(RELIABILITY)


def test_what_cannot_be_drawn(ax):
    with pytest.raises(ValueError, match="no rates.*DropoutRateLogger.*loss"):
        plots.rate_history({"loss": [1.0]}, ax)
    with pytest.raises(ValueError, match="must be a `Reliability`"):
        plots.reliability(([1.0], [0.5], [0.5]), ax)
    with pytest.raises(ValueError, match="must be a `RiskCoverage`"):
        plots.risk_coverage(RELIABILITY, ax)
    with pytest.raises(ValueError, match="same number of rows"):
        plots.predictive_intervals([1, 2], [1.0], [1.0], ax=ax)
    with pytest.raises(ValueError, match=r"`mean` must have.*\(2, 2\)"):
        plots.predictive_intervals([1, 2], np.ones((2, 2)), [1.0, 1.0], ax=ax)
    with pytest.raises(ValueError, match="`x` must hold finite numbers.*nan"):
        plots.predictive_intervals([1, np.nan], [1.0, 1], [1.0, 1], ax=ax)
    with pytest.raises(ValueError, match='"points". Received: style=None'):
        plots.predictive_intervals([1, 2], [1, 2], [1, 1], ax=ax, style=None)


@pytest.mark.parametrize("levels", [0.9, (0.5, 1.0), np.zeros((2, 1)), ("a",)])
def test_intervals_in_the_place_of_levels(ax, levels):
    with pytest.raises(ValueError, match=r"^predictive_intervals: .*`levels`"):
        plots.predictive_intervals([1, 2], [1, 2], [1, 1], levels, ax)

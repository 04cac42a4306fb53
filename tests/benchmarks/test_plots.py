"""The plots of the benchmarks draw the results, and the docs show each."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from tests.support.scripts import BENCHMARKS
from tests.support.scripts import module_of

DOCS = BENCHMARKS.parent / "docs"
LINK = re.compile(r"!\[[^\]]+\]\((?:\.\./)?images/([^)]+)\)")

# The module that makes a script's tables, and the one that draws its plots.
SCRIPTS = {
    "co2": ("co2_tables", "co2_plots"),
    "gal_uci": ("gal_tables", "gal_plots"),
    "shift": ("shift", "shift_plots"),
    "srivastava_mnist": ("srivastava_mnist", "srivastava_plots"),
}


def committed(name):
    return json.loads((BENCHMARKS / "results" / f"{name}_jax.json").read_text())


def drawn(axes):
    """By label, the points of an errorbar, and the lower and upper ends."""
    found = {}
    for bar in axes.containers:
        points, _, (ends,) = bar.lines
        x, y = points.get_data(orig=False)
        found[bar.get_label()] = (x, y, np.array(ends.get_segments()))
    return found


def assert_equal(values, expected):
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9)


def test_each_image_of_the_docs_is_there_and_is_shown():
    shown = [
        name
        for path in DOCS.rglob("*.md")
        for name in LINK.findall(path.read_text())
    ]
    assert sorted(shown) == sorted(p.name for p in (DOCS / "images").iterdir())


@pytest.mark.parametrize("name", SCRIPTS)
def test_images_are_of_the_committed_results(name):
    tables, plots = map(module_of, SCRIPTS[name])
    report = committed(name)
    names = [f"{plot}.png" for plot in plots.figures(report)]
    assert sorted(LINK.findall(tables.tables(report))) == sorted(names)
    for file in names:
        with Image.open(DOCS / "images" / file) as image:
            results = image.text["Results"]
        assert results == module_of("plotting").fingerprint(report), (
            f"{file} was drawn from other results: benchmarks/{name}.py --show"
        )


def of_mnist(row, point, error, seed=0, updates=300, **more):
    return {
        "row": row,
        "point": point,
        "updates": updates,
        "seed": seed,
        "test error": error,
        **more,
    }


def test_without_results_there_are_no_plots():
    record = of_mnist("none", None, 7.7)
    plots = module_of("srivastava_plots")
    assert plots.figures({"records": [record]}) == {}
    assert module_of("gal_plots").figures({"parts": {}}) == {}
    assert module_of("shift_plots").figures({"records": []}) == {}
    assert module_of("co2_plots").figures({"parts": {}}) == {}


def test_figure_11_has_the_averages_and_weight_scaling():
    averages = {"mean": [3.0, 2.0, 1.5], "standard deviation": [0.5, 0.3, 0.1]}
    records = [
        of_mnist("maxnorm", None, error, updates=updates, averages=averages)
        for updates, error in ((30000, 1.4), (6000, 1.8))
    ]
    plots = module_of("srivastava_plots")
    (figure,) = plots.figures({"records": records}).values()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["6,000 updates, seed 0", "30,000 updates, seed 0"]
    for axes, scaled in zip(figure.axes, (1.8, 1.4)):
        average, line = axes.lines
        assert_equal(average.get_data(), [[1, 2, 3], averages["mean"]])
        assert_equal(line.get_ydata(), scaled)
        assert line.get_label() == "weight scaling"
        (band,) = axes.collections
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
        assert {(1, 2.5), (1, 3.5), (3, 1.4), (3, 1.6)} <= corners


def test_figure_9_has_what_there_is_of_both_sweeps():
    records = [
        of_mnist("keep-n", "p = 1.0", 3.0),
        of_mnist("keep-n", "p = 0.1", 9.0),
        of_mnist("keep-n", "p = 0.1", 7.0, seed=1),
        of_mnist("keep-pn", "p = 0.5", 2.0),
    ]
    plots = module_of("srivastava_plots")
    (figure,) = plots.figures({"records": records}).values()
    (axes,) = figure.axes
    found = drawn(axes)
    x, y, ends = found["n = 512"]
    assert_equal([x, y], [[0.1, 1.0], [8.0, 3.0]])
    # Of 9 and 7, the deviation is the root of 2; one seed has none.
    root = 2**0.5
    assert_equal(ends[:, :, 1], [[8.0 - root, 8.0 + root], [3.0, 3.0]])
    assert_equal(found["pn = 64, 64, 128"][:2], [[0.5], [2.0]])


def test_figure_10_has_networks_with_and_without_dropout():
    records = [
        of_mnist("sizes", f"{size} images, {kind}", error, images=size)
        for size, kind, error in (
            (100, "dropout", 30.0),
            (100, "none", 31.0),
            (1000, "none", 12.0),
            (1000, "dropout", 10.0),
        )
    ]
    plots = module_of("srivastava_plots")
    (figure,) = plots.figures({"records": records}).values()
    (axes,) = figure.axes
    found = drawn(axes)
    assert_equal(found["dropout"][:2], [[100, 1000], [30.0, 10.0]])
    assert_equal(found["no dropout"][:2], [[100, 1000], [31.0, 12.0]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "100",
        "1000",
    ]


def test_no_legend_is_cut_off_where_there_is_one_panel():
    averages = {"mean": [3.0, 2.0], "standard deviation": [0.5, 0.3]}
    records = [
        of_mnist("maxnorm", None, 1.8, averages=averages),
        of_mnist("keep-n", "p = 0.5", 3.0),
        of_mnist("keep-pn", "p = 0.5", 2.0),
        of_mnist("sizes", "100 images, dropout", 9.0, images=100),
        of_mnist("sizes", "100 images, none", 8.0, images=100),
    ]
    figures = module_of("srivastava_plots").figures({"records": records})
    assert len(figures) == 3
    for figure in figures.values():
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert 0.0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_ours_against_published_in_published_standard_errors(
    monkeypatch,
):
    plots = module_of("gal_plots")
    theirs = {"mc": 2.0, "mc_error": 0.5, "ll": -1.0, "ll_error": 0.1}
    monkeypatch.setitem(
        plots.published.RESULTS, "grid", {"boston": theirs, "yacht": theirs}
    )
    # A mean of 3 and of -1; standard errors of 1 / 2 ** .5 and 0.
    ours = {"mc": [2.0, 4.0], "ll": [-1.0, -1.0]}
    done = {"boston grid": {"grid": ours}, "yacht grid rate 0.1": {}}
    (figure,) = plots.figures({"parts": done}).values()
    rmse, ll = figure.axes
    x, y, ends = drawn(rmse)["here ± standard error"]
    assert_equal(x, 2.0)
    assert_equal(ends[0, :, 0], [2.0 - 2**0.5, 2.0 + 2**0.5])
    assert_equal(drawn(ll)["here ± standard error"][0], 0.0)
    assert [tick.get_text() for tick in rmse.get_yticklabels()] == [
        "boston, grid"
    ]
    assert_equal(rmse.get_yticks(), y)


def test_each_network_under_each_shift():
    plots = module_of("shift_plots")
    trainings = [
        ("no dropout", "weight scaling"),
        *(
            (training, way)
            for training in ("rate .5", "rate .7 to .3", "rate .3 to .7")
            for way in ("weight scaling", "Monte Carlo")
        ),
    ]
    records = []
    for number, (training, way) in enumerate(trainings):
        for shift in ("none", "noise of .5"):
            for seed in (0, 1):
                value = number + 10 * (shift != "none") + 2 * seed
                records.append(
                    {
                        "set": "digits",
                        "training": training,
                        "way": way,
                        "shift": shift,
                        "seed": seed,
                        "NLL": value + 1.0,
                        "ECE": value / 100,
                    }
                )
                if shift != "none":
                    records[-1]["AUROC of entropy"] = 0.5 + value / 100
    (figure,) = plots.figures({"records": records}).values()
    nll, ece, auroc = map(drawn, figure.axes)
    places = {
        "no dropout": 0,
        "rate .5, weight scaling": 1,
        "rate .5, Monte Carlo": 2,
        "rate .7 to .3, Monte Carlo": 4,
        "rate .3 to .7, Monte Carlo": 6,
    }
    assert set(nll) == set(ece) == set(auroc) == set(places)
    for label, number in places.items():
        # The seeds are 2 apart: their mean is 1 above, the deviation root 2.
        mean, deviation = np.array([number, number + 10]) + 1.0, 2**0.5
        assert_equal(nll[label][1], mean + 1.0)
        ends = np.stack([mean - deviation, mean + deviation], axis=1)
        assert_equal(nll[label][2][:, :, 1], ends + 1.0)
        assert_equal(ece[label][1], mean / 100)
        assert_equal(auroc[label][1], 0.5 + mean[1:] / 100)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "NLL, nats",
        "ECE",
        "AUROC of the entropy",
    ]
    labels = [tick.get_text() for tick in figure.axes[2].get_xticklabels()]
    assert labels == ["noise\nof .5"]


def test_without_matplotlib_the_message_says_what_to_install(
    monkeypatch,
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit, match=r'pip install "kerasdrop\[plots\]"'):
        module_of("shift_plots").figures(committed("shift"))

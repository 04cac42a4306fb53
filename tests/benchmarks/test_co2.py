"""The benchmark of Mauna Loa: its data, protocol and figures; a run."""

import json
import sys

import numpy as np
import pytest
from keras import ops

from tests.support.scripts import module_of


@pytest.fixture
def co2():
    return module_of("co2")


@pytest.fixture
def tables_of(co2):
    return module_of("co2_tables")


def write(folder, lines):
    (folder / "co2.csv").write_text("\n".join(["date,co2", *lines]) + "\n")


def record(co2, tables_of):
    """Three years of months, of which the last is not of the training."""
    years = tables_of.END - 2.0 + (np.arange(36) + 0.5) / 12.0
    noise = np.random.default_rng(0).normal(0.0, 0.1, len(years))
    return co2.split(years, 350.0 + np.sin(2.0 * np.pi * years) + noise)


def test_months_are_means_of_their_weeks_that_have_data(co2, tmp_path):
    write(
        tmp_path,
        ["19580329,316.0", "19580405,317", "19580412,319", "19580510,"],
    )
    years, ppm = co2.monthly(tmp_path)
    np.testing.assert_allclose(years, [1958 + 2.5 / 12, 1958 + 3.5 / 12])
    np.testing.assert_allclose(ppm, [316.0, 318.0])
    with pytest.raises(SystemExit, match="There is no .*statsmodels"):
        co2.monthly(tmp_path / "elsewhere")


def test_training_ends_before_the_year_that_is_compared(co2, tables_of):
    years = 1960.0 + (np.arange(12 * 40) + 0.5) / 12.0
    data = co2.split(years, np.arange(len(years)))
    assert len(data.years) == 200
    assert data.years[-1] < tables_of.END <= data.later_years[0]
    assert data.later_ppm[0] == data.ppm[-1] + 1
    assert len(data.later_ppm) == 12 * 8


def test_the_protocol_is_that_of_the_paper(co2):
    rates = [float(co2.Inverse()(step)) for step in (0, 10_000)]
    np.testing.assert_allclose(rates, [0.01, 0.01 * 2.0**-0.25], rtol=1e-5)

    model = co2.network("tanh", 0.2, 64)
    *hidden, last = model.get_weights()[::2]
    assert len(hidden) == 5
    for kernel in (*hidden, last):
        limit = np.sqrt(3.0 / len(kernel))
        assert 0.7 * limit < np.abs(kernel).max() <= limit
    squares = sum(np.square(kernel).sum() for kernel in (*hidden, last))
    # Half of the squares, so that the gradient is 1e-6 of the weights.
    np.testing.assert_allclose(
        sum(ops.convert_to_numpy(loss) for loss in model.losses),
        0.5e-6 * squares,
        rtol=1e-4,
    )


def test_figures_of_a_known_prediction(co2, tables_of):
    data = record(co2, tables_of)
    asked = co2.asked(data)
    truth = np.concatenate([data.ppm, data.later_ppm])
    off = np.where(np.arange(len(asked)) % 2, 0.5, -1.5)
    mean = np.zeros(len(asked))
    mean[: len(truth)] = truth
    sd = np.full(len(asked), 0.5)  # covers the half of them
    found = co2.figures(data, mean + off, sd)
    rms = np.sqrt((0.5**2 + 1.5**2) / 2.0)
    assert found["rmse"] == pytest.approx([rms, rms], abs=1e-3)
    assert found["covered"] == 0.5
    assert len(found["far"]) == len(tables_of.DISTANCES)
    assert len(found["curve"]) == len(tables_of.CURVE)
    last = data.years[-1] + 80.0
    assert asked[len(truth) + len(found["far"]) - 1] == pytest.approx(last)


def test_the_process_forgets_the_data_far_away(co2, tables_of):
    data = record(co2, tables_of)
    found = co2.of_process(data)
    assert found["noise_ppm"] == pytest.approx(0.1, rel=0.5)
    assert found["rmse"][0] < 0.15
    assert found["far"][-1] == pytest.approx(data.ppm.mean(), abs=1e-2)
    assert found["far_sd"][-1] > 5.0 * found["far_sd"][0]
    assert found["far_sd"][-1] == pytest.approx(found["far_sd"][-2], rel=1e-2)


def test_a_run(co2, tables_of, monkeypatch, tmp_path, capsys):
    months = np.arange(72)
    ppm = 350.0 + np.random.default_rng(0).normal(months / 8.0, 0.1)
    write(
        tmp_path,
        [
            f"{1988 + month // 12}{month % 12 + 1:02}15,{value:.2f}"
            for month, value in zip(months, ppm)
        ],
    )
    monkeypatch.setattr(co2, "NUM_LAYERS", 2)
    monkeypatch.setattr(co2, "NETWORKS", (("relu", 0.1), ("tanh", 0.1)))
    path = tmp_path / "co2.json"
    words = ["--quick", "--data", str(tmp_path), "--output", str(path)]
    monkeypatch.setattr(sys, "argv", ["co2.py", *words])
    co2.main()
    report = json.loads(path.read_text())
    names = ["data", "Gaussian process", "relu 0.1, seed 0", "tanh 0.1, seed 0"]
    assert list(report["parts"]) == names
    for name in names[2:]:
        assert all(sd > 0.0 for sd in report["parts"][name]["far_sd"])
    capsys.readouterr()
    co2.main()
    printed = capsys.readouterr().out
    assert "tanh 0.1, seed 0: done before" in printed
    assert printed.rstrip().endswith(tables_of.tables(report))

    plots = module_of("co2_plots")
    figure = plots.figures(report)["co2"]
    plain, _, relu, _ = figure.axes
    part = report["parts"]["relu 0.1, seed 0"]
    assert not plain.collections  # it has no band
    (band,) = relu.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    for sign in (-2.0, 2.0):
        end = part["curve"][-1] + sign * part["curve_sd"][-1]
        assert any(
            np.allclose(corner, (tables_of.CURVE[-1], end), atol=1e-6)
            for corner in corners
        )


def test_iterations_that_would_be_rounded_are_refused(
    co2, monkeypatch, tmp_path, capsys
):
    words = ["--data", str(tmp_path), "--iterations", "1500"]
    monkeypatch.setattr(sys, "argv", ["co2.py", *words])
    with pytest.raises(SystemExit):
        co2.main()
    assert "multiple of 1000" in capsys.readouterr().err

"""The benchmark of fitted rates: its figures, its tables, a run."""

import json
import sys

import numpy as np
import pytest

from tests.support.scripts import module_of


@pytest.fixture
def script():
    return module_of("fitted_rates")


@pytest.fixture
def tables_of():
    return module_of("fitted_rates_tables")


def test_figures_of_known_predictions(script):
    mean = np.array([[0.0], [0.0], [0.0], [0.0]])
    y = np.array([[0.5], [-1.9], [2.1], [0.0]])
    found = script.of_numbers(mean, np.ones((4, 1)), y)
    assert found["coverage"] == 0.75
    assert found["RMSE"] == pytest.approx(np.sqrt(np.square(y).mean()))
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4]])
    found = script.of_classes(probabilities, np.array([0, 1]))
    assert found["error"] == 0.5
    assert found["Brier"] == pytest.approx((2 * 0.04 + 2 * 0.36) / 2)


def test_rows_are_of_one_part_each(script):
    data = script.SETS["diabetes"]
    parts = script.split(data, None, 0)
    assert [len(part.x) for part in parts] == [266, 88, 88]
    train = parts[0]
    np.testing.assert_allclose(train.x.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(train.y.std(), 1.0, rtol=1e-5)
    everything = np.concatenate([part.x for part in parts])
    assert len(np.unique(everything.round(5), axis=0)) == 442


def part(nll, helps):
    plain = {"NLL": 1.0, "Brier": 0.2, "ECE": 0.1, "error": 0.05}
    fitted = {**plain, "NLL": nll, "rate": 0.2, "helps": helps}
    return {
        "seconds": 6.0,
        "weight scaling": plain,
        "inserted and fitted": fitted,
    }


def test_changes_are_paired_and_the_advice_is_followed(tables_of):
    parts = {
        "digits, rate 0, seed 0": part(0.7, True),
        "digits, rate 0, seed 1": part(1.1, False),
    }
    report = {
        "parts": parts,
        "versions": {"keras": "3", "torch": "2"},
        "machine": {"cores": 2},
        "backend": "torch",
        "date": "today",
    }
    lines = tables_of.tables(report).splitlines()
    fitted, advised = (
        next(line for line in lines if name in line)
        for name in ("inserted and fitted", "where it helps")
    )
    assert "| 0.900 | -0.100 ± 0.200 |" in fitted
    assert "| 0.850 | -0.150 ± 0.150 |" in advised
    assert tables_of.summary(report) == {
        "fits": 2,
        "better": 1,
        "told": 1,
        "told and better": 1,
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run(script, tables_of, monkeypatch, tmp_path, capsys):
    path = tmp_path / "fitted.json"
    words = ["--quick", "--seeds", "1", "--samples", "16", "--output", path]
    words += ["--sets", "diabetes"]
    monkeypatch.setattr(script, "RATES", (0.0, 0.2))
    monkeypatch.setattr(script, "PARTS", (1.0, 0.5))
    for more in ([], ["--by-layer"]):
        monkeypatch.setattr(sys, "argv", ["x", *map(str, words), *more])
        script.main()
    report = json.loads(path.read_text())
    assert list(report["parts"]) == [
        "diabetes, rate 0, seed 0",
        "diabetes, rate 0.2, seed 0",
        "diabetes, rate 0.2, seed 0, by layer",
    ]
    by_layer = report["parts"]["diabetes, rate 0.2, seed 0, by layer"]
    assert len(by_layer["fitted by layer"]["rates"]) == 2
    assert capsys.readouterr().out.rstrip().endswith(tables_of.tables(report))

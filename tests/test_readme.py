"""The code of the README and of a guide runs as it stands, from top to end."""

import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]


def code_blocks(text):
    """The Python blocks of a Markdown text, with the line each begins at."""
    return [
        (text.count("\n", 0, match.start(1)) + 1, match.group(1))
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
    ]


def run_blocks(blocks, name):
    """Runs blocks one after the other in one namespace; returns it."""
    namespace = {}
    for line, code in blocks:
        # Empty lines, so that a traceback tells the line of the text.
        source = "\n" * (line - 1) + code
        exec(compile(source, name, "exec"), namespace)
    return namespace


def run_text(name):
    return run_blocks(code_blocks((ROOT / name).read_text()), name)


def test_the_code_of_the_readme_runs():
    namespace = run_text("README.md")

    assert namespace["result"].mutual_information.shape == (1000,)


def test_the_code_of_the_guide_to_uncertainty_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the figures go
    monkeypatch.setenv("MPLBACKEND", "agg")

    namespace = run_text("docs/uncertainty.md")

    # What the text says of these data.
    assert namespace["scaling"].temperature > 1.0
    wrong, kept = namespace["wrong"], namespace["kept"]
    assert wrong[kept].mean() < wrong.mean()
    assert namespace["information"].shape == (1000,)
    figures = {path.name for path in tmp_path.iterdir()}
    assert figures == {"reliability.png", "risk_coverage.png"}


def test_the_code_of_the_guide_to_intervals_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the calibrator and the figure go
    monkeypatch.setenv("MPLBACKEND", "agg")

    namespace = run_text("docs/intervals.md")

    # What the text says of these data.
    y_test = namespace["y_test"]
    covered = {
        name: namespace["calibration"].interval_coverage(y_test, *ends)
        for name, ends in namespace["intervals"].items()
    }
    assert covered.pop("as predicted") < 0.7
    for value in covered.values():
        assert abs(value - 0.9) < 5 * (0.09 * (1 / 300 + 1 / 2000)) ** 0.5
    assert repr(namespace["again"]) == repr(namespace["conformal"])
    assert namespace["found"].auroc > 0.9
    assert (tmp_path / "ood.png").exists()


def test_the_code_of_the_guide_to_acquisition_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the samples go

    namespace = run_text("docs/acquisition.md")

    acquisition, samples = namespace["acquisition"], namespace["samples"]
    np.testing.assert_array_equal(namespace["on_disk"], samples)
    # One after the other, the rows of the highest information tell less.
    alone = acquisition.batch_bald(samples[namespace["alone"]], 10, verbose=0)
    together = namespace["together"]
    assert alone.information[-1] < together.information[-1]
    for name in ("cheap", "useful"):
        assert len(set(namespace[name])) == 10


def test_a_block_that_fails_would_be_noticed():
    blocks = code_blocks("```python\nright = 1\n```\n```python\n1 / 0\n```\n")

    with pytest.raises(ZeroDivisionError):
        run_blocks(blocks, "example")

"""The code of the README and of each page runs, from top to end."""

import importlib.util

import keras
import numpy as np
import pytest

from tests.support import snippets
from tests.support.scripts import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    if "_build" not in path.parts
    and "gallery" not in path.parts
    and snippets.blocks_of(path.read_text())
}
# What a page needs besides what each `make test` installs, and what it takes
# too long for.
NEEDS = {
    "docs/exports.md": ("onnx", "onnxruntime", "onnxscript", "tf2onnx"),
    "docs/tasks/text.md": ("keras_hub",),
}
SLOW = {*NEEDS, "docs/inserting.md"}
# Keras on JAX writes no ONNX: the page tells how to write it from there.
NOT_ON_JAX = {"docs/exports.md"}


def run_page(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the figures and models go
    monkeypatch.setenv("MPLBACKEND", "agg")
    return snippets.run(snippets.blocks_of(PAGES[name]), name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in PAGES
    ],
)
def test_a_page_runs_and_prints_what_it_shows(name, tmp_path, monkeypatch):
    for module in NEEDS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: see pyproject.toml")
    if name in NOT_ON_JAX and keras.backend.backend() == "jax":
        pytest.skip("its file format is written on the other backends")
    namespace, printed = run_page(name, tmp_path, monkeypatch)
    assert snippets.not_printed(printed, PAGES[name]) == []
    CHECKS.get(name, lambda *_: None)(namespace, tmp_path)


def check_uncertainty(namespace, folder):
    assert namespace["scaling"].temperature > 1.0
    wrong, kept = namespace["wrong"], namespace["kept"]
    assert wrong[kept].mean() < wrong.mean()
    assert namespace["information"].shape == (1000,)
    figures = {path.name for path in folder.iterdir()}
    assert figures == {"reliability.png", "risk_coverage.png"}


def check_intervals(namespace, folder):
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
    assert (folder / "ood.png").exists()


def check_acquisition(namespace, _):
    acquisition, samples = namespace["acquisition"], namespace["samples"]
    np.testing.assert_array_equal(namespace["on_disk"], samples)
    # One after the other, the rows of the highest information tell less.
    alone = acquisition.batch_bald(samples[namespace["alone"]], 10, verbose=0)
    together = namespace["together"]
    assert alone.information[-1] < together.information[-1]
    for name in ("cheap", "useful"):
        assert len(set(namespace[name])) == 10


# What a page says of its data, besides what it prints.
CHECKS = {
    "docs/acquisition.md": check_acquisition,
    "docs/intervals.md": check_intervals,
    "docs/uncertainty.md": check_uncertainty,
}


def test_the_readme_is_short_and_names_pages_that_are_there():
    text = PAGES["README.md"]
    assert len(text.splitlines()) <= 120
    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    assert targets
    for target in targets:
        if target.startswith("https://"):  # as RELEASING.md makes them
            continue
        assert (ROOT / target).exists(), target


def test_a_block_that_fails_would_be_noticed():
    text = "```python\nright = 1\n```\n```python\n1 / 0\n```\n"
    with pytest.raises(ZeroDivisionError):
        snippets.run(snippets.blocks_of(text), "example")


def test_output_that_was_not_printed_would_be_noticed():
    text = "```text\nfirst\nsecond\n```\n"
    assert snippets.not_printed("first\nsecond\n", text) == []
    assert snippets.not_printed("second\nfirst\n", text) == ["second"]


def test_a_block_that_is_not_run_says_why():
    marked = (
        "<!-- not run: it needs two machines -->\n\n```python\n1 / 0\n```\n"
    )
    assert snippets.blocks_of(marked) == []
    assert len(snippets.blocks_of(marked.replace(" not run", ""))) == 1

"""The script behind `make test` counts what ran, and cannot pass in silence."""

import subprocess
from importlib import metadata

import keras
import pytest

from tests import run_backends


def _report(folder, **counts):
    attributes = " ".join(f'{name}="{n}"' for name, n in counts.items())
    path = folder / "report.xml"
    path.write_text(f"<testsuites><testsuite {attributes}/></testsuites>")
    return path


def _totals(passed=3, failed=0, exit_status=0):
    return run_backends.Totals("jax", passed, failed, 1, 2.0, exit_status)


def test_totals_are_those_of_the_report(tmp_path):
    report = _report(tmp_path, tests=10, failures=2, errors=1, skipped=3)

    totals = run_backends.totals_of_report("jax", report, 7.0, 1)

    assert totals == run_backends.Totals("jax", 4, 3, 3, 7.0, 1)


def test_a_missing_report_counts_no_test(tmp_path):
    totals = run_backends.totals_of_report("jax", tmp_path / "none", 1.0, 2)

    assert totals == run_backends.Totals("jax", 0, 0, 0, 1.0, 2)


def test_a_run_is_good_if_tests_passed_and_none_failed():
    assert _totals().good


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        (_totals(failed=1, exit_status=1), "FAILED (exit status 1)"),
        (_totals(exit_status=139), "FAILED (exit status 139)"),
        (_totals(passed=0), "NO TEST RAN"),
        (_totals(passed=0, exit_status=5), "NO TEST RAN"),
    ],
    ids=["failed", "crashed", "all skipped", "none collected"],
)
def test_a_bad_run_says_why(totals, said):
    assert said in str(totals)
    assert not totals.good


def test_the_verdict_names_the_backend_that_failed():
    runs = [_totals(), run_backends.Totals("torch", 3, 1, 0, 2.0, 1)]

    assert run_backends.verdict(runs) == "FAILED: on torch"


def test_the_verdict_counts_the_tests_that_passed():
    assert run_backends.verdict([_totals()]) == "PASSED: 3 tests on jax"


def test_a_backend_that_runs_no_test_fails_the_whole(tmp_path, capfd):
    empty = tmp_path / "test_nothing.py"
    empty.write_text("")
    record = tmp_path / "record.txt"

    arguments = ["--backend=jax", f"--record={record}", "--noconftest"]
    status = run_backends.main([*arguments, str(empty)])

    assert status == 1
    assert "NO TEST RAN; FAILED on " in record.read_text()
    assert "NO TEST RAN" in capfd.readouterr().out


def test_a_record_keeps_what_the_other_backends_came_to(tmp_path):
    path = tmp_path / "record.txt"
    torch = run_backends.Totals("torch", 3, 1, 0, 2.0, 1)

    for run in (torch, _totals(passed=1), _totals(passed=5)):
        run_backends.record(path, run, ["-m", "slow or not slow"])

    lines = path.read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "jax: 5 passed",
        "torch: 3 passed",
    ]
    assert "; PASSED on 20" in lines[0]
    assert "FAILED (exit status 1); FAILED on 20" in lines[1]
    for line, backend in zip(lines, ("jax", "torch")):
        assert f"{backend} {metadata.version(backend)}" in line
        assert f"keras {keras.__version__}" in line
        assert line.endswith("; pytest -m 'slow or not slow'")


@pytest.mark.parametrize("status", [0, -6])
def test_flags_that_end_a_process_are_left_out(monkeypatch, status):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    ended = subprocess.CompletedProcess([], status)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert ("XLA_FLAGS" in run_backends.faster("jax")) == (status == 0)
    assert "XLA_FLAGS" not in run_backends.faster("torch")


def test_flags_of_the_environment_go_before(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    assert "XLA_FLAGS" not in run_backends.faster("jax")

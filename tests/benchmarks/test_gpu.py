"""What `make gpu` runs, tried without a GPU, and what it makes of results."""

import json
import os
import sys
import time

import pytest

from tests.support import processes
from tests.support.scripts import BENCHMARKS
from tests.support.scripts import module_of


@pytest.fixture
def gpu():
    return module_of("gpu")


def step_of(gpu, code):
    return gpu.Step("a_step", "torch", ("-c", code), 60.0, {})


# Eight processes that import Keras: half a minute of processor time.
@pytest.mark.timeout(900)
def test_a_dry_run_runs_each_step_and_keeps_nothing():
    before = sorted((BENCHMARKS / "results").rglob("*"))

    printed = processes.run_module(
        "benchmarks.gpu.gpu", "--dry-run", "--backends", "torch"
    )

    steps = ("known_answers", "passes", "montecarlo", "peak_memory")
    for name in (*steps, "training_step"):
        assert f"torch, {name} ...\n  done" in printed
    # On a CPU, at tiny sizes: there is a figure, not which.
    assert "known answers that are wrong at most 0 (is 0)" in printed
    for name in ("eager, 64 x 64, forward", "ConvNeXtTiny", "MLP"):
        (line,) = (
            line
            for line in printed.splitlines()
            if f"torch, {name}" in line and "backward" not in line
        )
        assert not line.startswith("not measured")
    assert sorted((BENCHMARKS / "results").rglob("*")) == before


def test_a_step_that_takes_too_long_ends_with_all_that_it_started(
    gpu, tmp_path
):
    file = tmp_path / "child"
    child = "import time; time.sleep(100)"
    code = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}])
pathlib.Path({str(file)!r}).write_text(str(child.pid))
print("begun", flush=True)
child.wait()
"""
    became = gpu.run(step_of(gpu, code), 5.0)

    assert became["state"] == "stopped after 5 s"
    assert became["last lines"] == ["begun"]
    for _ in range(100):  # until it has been buried
        if not is_alive(int(file.read_text())):
            return
        time.sleep(0.1)
    raise AssertionError("the child of the step still runs")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended, and that nobody has asked for.
    with open(f"/proc/{pid}/stat") as status:
        return status.read().rpartition(")")[2].split()[0] != "Z"


def test_a_step_that_fails_does_not_stop_the_next(
    gpu, monkeypatch, tmp_path, capsys
):
    chosen = [
        step_of(gpu, "raise SystemExit('no such driver')"),
        step_of(gpu, f"open({str(tmp_path / 'made')!r}, 'w')"),
    ]
    monkeypatch.setattr(gpu, "steps", lambda *_: chosen)
    monkeypatch.setattr(gpu, "gpus", lambda backends: {"torch": "A GPU"})
    options = gpu.parse_arguments(["--seconds=60"])

    gpu.measure(options, tmp_path)

    assert (tmp_path / "made").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    states = [step["state"] for step in summary["steps"]]
    assert states == ["failed", "done"]
    assert summary["gpus"] == {"torch": "A GPU"}
    assert "no such driver" in capsys.readouterr().out
    assert {bar["verdict"] for bar in summary["bars"]} == {"not measured"}


def test_what_the_time_is_over_for_is_not_begun(gpu, monkeypatch, tmp_path):
    chosen = [step_of(gpu, f"open({str(tmp_path / 'made')!r}, 'w')")]
    monkeypatch.setattr(gpu, "steps", lambda *_: chosen)
    monkeypatch.setattr(gpu, "gpus", lambda backends: {"torch": "A GPU"})

    made = gpu.measure(gpu.parse_arguments(["--seconds=0"]), tmp_path)

    assert made.summary["steps"][0]["state"] == "no time was left"
    assert not (tmp_path / "made").exists()


def test_without_a_gpu_it_says_what_to_do(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "gpus", lambda backends: {})

    with pytest.raises(SystemExit, match="sees a GPU.*make gpu PYTHON="):
        gpu.measure(gpu.parse_arguments([]), tmp_path / "results")

    assert not (tmp_path / "results").exists()


def test_all_steps_are_within_their_time(gpu, tmp_path):
    for step in gpu.steps(gpu.BACKENDS, tmp_path, False):
        assert step.seconds <= 80.0
    paper = gpu.paper_step(tmp_path, tmp_path, False)
    assert paper.seconds == 240.0
    assert "1000000" in paper.arguments


def written(folder, name, **report):
    (folder / f"{name}.json").write_text(json.dumps(report))


def pass_row(size, direction, passes, stock, seeded=0.5, mode="eager"):
    return {
        "mode": mode,
        "size": size,
        "direction": direction,
        "ours / pass": passes,
        "ours / stock": stock,
        "ours / seeded": seeded,
    }


def test_each_bar_is_held_or_missed_or_not_measured(tmp_path):
    bars = module_of("bars")
    large, small = [8192, 8192], [256, 256]
    rows = [
        pass_row(large, "forward", 1.2, 0.5),
        pass_row(large, "forward + backward", 1.21, 0.5),
        pass_row(small, "forward", 30.0, 0.9, seeded=1.01),
        # Fewer elements than count.
        pass_row([32, 64], "forward", 90.0, 3.0),
    ]
    written(tmp_path, "passes_torch", rows=rows)
    models = [
        {"model": "convnext 224", "ours / one": 1.11},
        {"model": "mlp bfloat16", "ours / products": 1.4},
    ]
    written(tmp_path, "montecarlo_torch", rows=models)
    (tmp_path / "known_answers_torch.xml").write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="0"/>'
        "</testsuites>"
    )

    found = [
        (bar.verdict, bar.value) for bar in bars.of_backend(tmp_path, "torch")
    ]

    assert found == [
        ("missed", 1),  # a wrong answer
        ("held", 1.2),  # eager
        ("missed", 1.21),
        ("not measured", None),  # compiled
        ("not measured", None),
        ("missed", 1.01),  # than the stock layer with a seed
        ("not measured", None),
        ("missed", 1.11),
        ("held", 0.714),
    ]
    unknown = bars.of_backend(tmp_path, "jax")
    assert {bar.verdict for bar in unknown} == {"not measured"}


def test_tests_that_did_not_run_are_no_right_answers(tmp_path):
    bars = module_of("bars")
    (tmp_path / "known_answers_jax.xml").write_text(
        '<testsuite tests="0" failures="0" errors="0"/>'
    )
    assert bars.wrong_answers(tmp_path, "jax") is None
    assert bars.wrong_answers(tmp_path, "torch") is None


def test_peak_memory_is_told_if_it_was_measured(tmp_path):
    bars = module_of("bars")
    assert bars.memory_of(tmp_path) is None
    peaks = {"none": 2**20, "ours": 3 * 2**20}
    written(tmp_path, "peak_memory_torch", **{"peak bytes": peaks})
    assert "none 1 MiB, ours 3 MiB" in bars.memory_of(tmp_path)
    peaks = dict.fromkeys(peaks)
    written(tmp_path, "peak_memory_torch", **{"peak bytes": peaks})
    assert bars.memory_of(tmp_path) is None


@pytest.mark.slow
def test_an_environment_has_what_its_python_has(tmp_path):
    environment = module_of("environment")
    # All that is needed is there, so that no wheel is.
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    python = environment.make(tmp_path / "environment", wheels)

    gpu = module_of("gpu")
    code = "import keras, pytest, sys; print(sys.prefix)"
    became = gpu.run(step_of(gpu, code), 100.0)
    assert became["state"] == "done"
    found = environment.subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == str(tmp_path / "environment")
    assert sys.prefix != found.stdout.strip()

"""The examples run, and the same seed gives the same numbers."""

import importlib.util
import pathlib
import runpy
import sys

import pytest

from tests.support import forks

ROOT = pathlib.Path(__file__).parents[1]


def run_example(name, *arguments):
    """Runs an example in a process of its own; returns what it printed."""
    path = str(ROOT / "examples" / name)
    result = forks.run(
        f"import runpy; runpy.run_path({path!r}, run_name='__main__')",
        arguments,
        {"MPLBACKEND": "agg"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def starts_a_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def table_of(output):
    """The numbers of the quickstart, without its progress bars."""
    return output[output.index("Test accuracy") : output.index("Figure")]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    arguments = ("--quick", "--seed=3", f"--output={folder}")
    return folder, run_example("quickstart.py", *arguments)


def test_the_quickstart_draws_its_figure(quickstart):
    folder, _ = quickstart
    assert starts_a_png(folder / "quickstart.png")


def test_the_quickstart_repeats_its_numbers(quickstart):
    folder, output = quickstart
    again = run_example(
        "quickstart.py", "--quick", "--seed=3", f"--output={folder}"
    )
    assert table_of(again) == table_of(output)


@pytest.mark.slow
def test_another_seed_gives_the_quickstart_other_numbers(quickstart):
    folder, output = quickstart
    other = run_example(
        "quickstart.py", "--quick", "--seed=4", f"--output={folder}"
    )
    assert table_of(other) != table_of(output)


def test_any_model_says_how_to_install_what_it_lacks(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    example = runpy.run_path(str(ROOT / "examples" / "mc_any_model.py"))
    assert set(example["builders"]()) == {"EfficientNet", "LSTM"}
    assert "pip install keras-hub" in capsys.readouterr().out


@pytest.mark.slow
def test_any_model_gives_each_an_uncertainty():
    pytest.importorskip("keras_hub")
    lines = run_example("mc_any_model.py", "--quick").splitlines()
    table = {words[0]: words[1:] for words in map(str.split, lines) if words}
    for name in ("transformer", "EfficientNet", "LSTM"):
        drawn, std, information = map(float, table[name])
        assert drawn >= 1
        assert std > 0.001  # the numbers have four digits
        assert 0.0 < information < 2.3026  # log(10)


def test_classic_and_inverted_dropout_train_one_model():
    lines = run_example("classic_inverted.py", "--quick").splitlines()
    losses = [float(line.split()[-2]) for line in lines[1:]]
    # Printed to 4 places; rounding in training is of another order.
    assert abs(losses[0] - losses[1]) <= 2e-3
    assert abs(losses[0] - losses[2]) > 1e-2


@pytest.mark.slow
def test_stochastic_depth_by_profile():
    lines = run_example("stochastic_depth.py", "--quick").splitlines()
    rows = {line.split()[0]: line.split()[1:4] for line in lines[1:]}
    # Of 8 blocks, the paper's rule leaves out (8 + 1) / 2 * .5 / 8 * 8 = 2.25.
    assert rows == {
        "none": ["0.000", "0.000", "8.00"],
        "uniform": ["0.281", "0.281", "5.75"],
        "linear": ["0.062", "0.500", "5.75"],
    }


@pytest.mark.slow
def test_concrete_dropout_learns_from_the_number_of_rows():
    lines = run_example("concrete_dropout.py", "--quick").splitlines()
    few, many = ([float(n) for n in line.split()] for line in lines[1:])
    assert (few[0], many[0]) == (10, 1000)
    # Of the second and third hidden layer. The first has one input.
    assert few[2] > 2 * many[2]
    assert few[3] > 2 * many[3]
    epistemic = 6
    assert few[epistemic] > many[epistemic]


@pytest.mark.slow
def test_drop_block_with_a_ramp():
    lines = run_example("drop_block.py", "--quick").splitlines()
    rows = {line.split()[0]: line.split()[1:4] for line in lines[1:]}
    assert rows["ramp"] == ["0.00", "0.10", "0.20"]


@pytest.mark.slow
def test_intervals_are_repaired(tmp_path):
    output = run_example("intervals.py", "--quick", f"--output={tmp_path}")
    lines = output.splitlines()[-7:-1]  # before the name of the figure
    covered = {line[:24].strip(): float(line[24:34]) for line in lines}
    assert covered.pop("as predicted") < 0.75
    assert len(covered) == 5
    for coverage in covered.values():
        assert abs(coverage - 0.9) < 5 * (0.09 * 2 / 110) ** 0.5
    assert starts_a_png(tmp_path / "intervals.png")


@pytest.mark.slow
def test_a_map_of_uncertainty_for_each_image(tmp_path):
    output = run_example("segmentation.py", "--quick", f"--output={tmp_path}")
    lines = [line.split() for line in output.splitlines()]
    for line in lines[1:3]:
        wrong, *areas, surest = map(float, line[-4:])
        assert 0.0 < wrong < 0.5
        assert 0.0 <= surest < 1.0  # it is hardly trained
        assert all(0.0 < area <= 1.0 for area in areas)
    assert starts_a_png(tmp_path / "segmentation.png")


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 10])
def test_labels_are_asked_for(copies):
    output = run_example("active_learning.py", "--quick", f"--copies={copies}")
    lines = [line.split() for line in output.splitlines()]
    assert lines[1][:2] == ["20", "30"]
    names = [" ".join(line[:-5]) for line in lines[2:]]
    assert names == ["random", "BALD", "power BALD", "BatchBALD"]
    assert lines[2][-3:] == ["+0.00", "±", "0.00"]
    for line in lines[2:]:
        assert all(0.0 < float(error) < 100.0 for error in line[-5:-3])


@pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is not None,
    reason="KerasHub is installed",
)
def test_the_bert_example_says_what_it_needs():
    with pytest.raises(AssertionError, match="pip install keras-hub"):
        run_example("bert_annealing.py", "--quick")

"""The benchmarks on MNIST run on data of its form, and go on when stopped."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.support import helpers
from tests.support.scripts import BENCHMARKS
from tests.support.scripts import module_of
from tests.support.scripts import run


@pytest.fixture
def srivastava():
    return module_of("srivastava_mnist")


def committed(name):
    """The results of a benchmark that the docs show: those of JAX."""
    return json.loads((BENCHMARKS / "results" / f"{name}_jax.json").read_text())


@pytest.fixture
def folder(tmp_path):
    """A small data set: one pattern for each class, with noise."""
    draw = np.random.default_rng(0)
    patterns = draw.integers(0, 256, (10, 28, 28))
    arrays = {}
    for part, size in (("train", 1200), ("test", 300)):
        labels = draw.integers(0, 10, size)
        images = patterns[labels] + draw.integers(-50, 50, (size, 28, 28))
        arrays[f"x_{part}"] = images.clip(0, 255).astype("uint8")
        arrays[f"y_{part}"] = labels.astype("uint8")
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path


def test_a_missing_file_is_named_with_its_origin(srivastava, tmp_path):
    with pytest.raises(SystemExit, match=r"no mnist\.npz in .*Download it"):
        srivastava.mnist_data.load(tmp_path)


def test_the_last_sixth_of_the_training_images_is_to_choose_by(
    srivastava, folder
):
    train, _ = srivastava.mnist_data.load(folder)
    to_learn, to_choose = srivastava.mnist_data.split(train)
    assert [len(part[0]) for part in (to_learn, to_choose)] == [1000, 200]
    np.testing.assert_array_equal(train[1][1000:], to_choose[1])


def test_learning_rates_are_those_of_the_lowest_validation_error(srivastava):
    errors = {}
    for record in committed("srivastava_mnist")["records"]:
        if record["row"].startswith("choice "):
            row = record["row"].removeprefix("choice ")
            rate = record["learning rate"]
            errors.setdefault(row, {})[rate] = record["validation error"]
    assert {"none", "logistic", "relu", "maxnorm"} < set(errors)
    for row, found in errors.items():
        network = (
            srivastava.scheduled_network(0.5)
            if row == "scheduled"
            else srivastava.ROWS[row].network
        )
        assert network.learning_rate == min(found, key=found.get), row


def test_a_network_is_that_of_the_paper(srivastava):
    model = srivastava.ROWS["maxnorm"].network.build(784, updates=10, seed=0)
    # 784 * 1024 + 1024 + 2 * (1024 ** 2 + 1024) + 1024 * 10 + 10
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 2913290
    rates = [layer.rate for layer in model.layers if hasattr(layer, "rate")]
    np.testing.assert_allclose(rates, [0.2, 0.5, 0.5, 0.5], rtol=1e-6)
    bounds = [
        layer.kernel_constraint and layer.kernel_constraint.max_value
        for layer in model.layers
        if hasattr(layer, "kernel")
    ]
    assert bounds == [2.0, 2.0, 2.0, None]


def test_each_pass_over_the_images_has_each_once(srivastava, monkeypatch):
    monkeypatch.setattr(srivastava, "CHUNK", 5)
    monkeypatch.setattr(srivastava, "BATCH_SIZE", 4)
    chosen = srivastava.order(8, seed=0, chunk=3)
    assert len(chosen) == 20
    for start in (0, 8):
        assert sorted(chosen[start : start + 8]) == list(range(8))
    assert (chosen != srivastava.order(8, seed=0, chunk=4)).any()


def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    srivastava, monkeypatch, tmp_path
):
    monkeypatch.setattr(srivastava, "CHUNK", 3)
    draw = np.random.default_rng(0)
    data = draw.random((500, 20), "float32"), draw.integers(0, 10, 500)
    network = srivastava.Network((16,), max_norm=2.0)
    whole, _ = srivastava.trained(network, data, 7, 1, tmp_path / "a.keras")

    save = srivastava._save

    def stop(model, path):
        save(model, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(srivastava, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        srivastava.trained(network, data, 7, 1, tmp_path / "b.keras")
    monkeypatch.setattr(srivastava, "_save", save)
    resumed, _ = srivastava.trained(network, data, 7, 1, tmp_path / "b.keras")

    assert int(resumed.optimizer.iterations) == 7
    for weight, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(weight, other, rtol=1e-5, atol=1e-6)


def test_a_run_that_is_over_leaves_a_checkpoint_to_go_on_from(
    srivastava, monkeypatch, tmp_path
):
    monkeypatch.setattr(srivastava, "CHUNK", 2)
    draw = np.random.default_rng(0)
    data = draw.random((400, 20), "float32"), draw.integers(0, 10, 400)
    network = srivastava.Network((16,), max_norm=2.0)
    arguments = (network, data, 5, 1)
    whole, _ = srivastava.trained(*arguments, tmp_path / "a.keras")

    checkpoint = tmp_path / "b.keras"
    for made in (2, 4):
        with pytest.raises(srivastava.Unfinished, match=f"{made} of 5"):
            srivastava.trained(*arguments, checkpoint, seconds=0.0)
    # The last chunk ends it, whatever the time.
    resumed, _ = srivastava.trained(*arguments, checkpoint, seconds=0.0)

    for weight, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(weight, other, rtol=1e-5, atol=1e-6)


# What `fit` of Keras makes of the same batches is the other side.
_IN_A_LOOP = """
import sys

import numpy as np

from benchmarks.papers.srivastava import compiled_loop
from benchmarks.papers.srivastava import srivastava_mnist as script

folder = __import__("pathlib").Path(sys.argv[1])
script.CHUNK, script.BATCH_SIZE, script.STEPS_PER_CALL = 3, 4, 1
draw = np.random.default_rng(0)
data = draw.random((20, 6), "float32"), draw.integers(0, 10, 20)
network = script.Network(
    (8,), noise=script.GaussianDropout, max_norm=0.5, learning_rate=0.1
)
LOOP = compiled_loop.CompiledLoop

def trained(name, *others):
    model, _ = script.trained(network, data, 7, 1, folder / name, *others)
    return model

def same(one, other, **how):
    for a, b in zip(one.variables, other.variables, strict=True):
        np.testing.assert_allclose(a, b, **how)

fitted, looped = trained("a.keras"), trained("b.keras", LOOP, None, 0.0)
same(fitted, looped, rtol=2e-5, atol=1e-6)
same(fitted.optimizer, looped.optimizer, rtol=2e-5, atol=1e-6)
norms = np.linalg.norm(looped.layers[1].kernel, axis=0)
assert (norms < 0.5001).all() and (norms > 0.4999).any(), norms
assert [one.step for one in looped.layers if hasattr(one, "step")] == [7, 7]

# With stops after each chunk, of which a file is all that is left.
for made in (3, 6):
    try:
        trained("c.keras", LOOP, 0.0, 0.0)
    except script.Unfinished as error:
        assert str(error).startswith(f"{made} of 7"), error
    else:
        raise AssertionError("it did not stop")
stopped = trained("c.keras", LOOP, 0.0, 0.0)
same(looped, stopped, rtol=0, atol=0)
same(looped.optimizer, stopped.optimizer, rtol=0, atol=0)
print("same")
"""


def test_a_compiled_loop_makes_the_same_weights_and_can_be_stopped(tmp_path):
    # It is for JAX, whatever backend the other tests are on.
    code = _IN_A_LOOP.replace("sys.argv[1]", repr(str(tmp_path)))
    assert helpers.run_python(code, backend="jax").endswith("same\n")


def test_averages_of_passes_that_differ_in_every_second_image(
    srivastava, monkeypatch
):
    # Of two passes, the first finds all classes, the second half of them, and
    # is the surer: an average of both, at any parts, errs where the second
    # does if the second is drawn at least once.
    right, wrong = np.array([0.6, 0.4]), np.array([0.0, 1.0])
    second = np.stack([right, wrong] * 5)
    first = np.tile(right, (10, 1))
    samples = np.stack([first, second], axis=1).astype("float32")
    monkeypatch.setattr(srivastava, "MOST_AVERAGED", 2)
    monkeypatch.setattr(
        srivastava.kerasdrop,
        "mc_predict",
        lambda *arguments, **options: SimpleNamespace(samples=samples),
    )
    labels = np.zeros(10, "int32")
    found = srivastava.averages(None, (None, labels), num_samples=2, seed=0)
    # 100 repeats of 0 or 50 percent: of one pass the second with probability
    # 1/2, of two at least once with 3/4; 5 deviations allowed.
    assert abs(found["mean"][0] - 25.0) < 5 * 50 * 0.5 / 10
    assert abs(found["mean"][1] - 37.5) < 5 * 50 * 0.4331 / 10
    for mean, deviation in zip(found["mean"], found["standard deviation"]):
        part = mean / 50
        expected = 50 * (part * (1 - part)) ** 0.5
        assert deviation == pytest.approx(expected, abs=1e-3)
    assert found["all passes"] == 50.0


def test_a_schedule_is_chosen_without_the_test_images(
    srivastava, monkeypatch, folder
):
    options = SimpleNamespace(
        data=folder,
        seeds=[0],
        updates=100,
        quick=False,
        compiled_loop=False,
        seconds=None,
        checkpoints=folder,
        output=folder / "results.json",
    )
    benchmark = srivastava.Benchmark(options, {"records": []})
    tested = []

    # The rate of the hidden layers stands for the trained network.
    def trained(network, data, *_):
        return network.hidden_rate, len(data[0])

    def scaled_error(rate, data):
        if data is benchmark.test:
            tested.append(rate)
        return abs(float(rate(50) if callable(rate) else rate) - 0.25)

    monkeypatch.setattr(srivastava, "trained", trained)
    monkeypatch.setattr(srivastava, "scaled_error", scaled_error)
    benchmark.run("scheduled")

    # Halfway, the rate that falls from .5 to 0 is .25.
    *candidates, chosen = benchmark.report["records"]
    assert [record["images"] for record in candidates] == [1000] * 5
    assert chosen["point"] == "chosen: falling .5 to 0"
    assert chosen["images"] == 1200
    assert len(tested) == 1
    assert "test error" in chosen


@pytest.mark.slow
def test_the_rows_run_once_and_are_kept(folder):
    output = folder / "results.json"
    arguments = (
        "srivastava_mnist",
        "--quick",
        f"--data={folder}",
        f"--output={output}",
        f"--checkpoints={folder / 'checkpoints'}",
        "--rows",
        "maxnorm",
        "gaussian",
    )
    printed = run(*arguments)
    assert "Figure 11" in printed
    report = json.loads(output.read_text())
    assert report["backend"] == keras.backend.backend()
    rows = [record["row"] for record in report["records"]]
    assert rows == ["maxnorm", "gaussian"]
    for record in report["records"]:
        assert 0.0 <= record["test error"] <= 100.0
        assert record["updates"] == 20

    run(*arguments)
    assert json.loads(output.read_text()) == report


@pytest.mark.slow
def test_the_shifts_run(folder):
    output = folder / "results.json"
    printed = run(
        "shift",
        "--quick",
        "--seeds=1",
        "--sets=mnist",
        f"--data={folder}",
        f"--output={output}",
    )
    assert "Monte Carlo less weight scaling" in printed
    records = json.loads(output.read_text())["records"]
    # Four trainings, of which three predict in two ways, of five shifts.
    assert len(records) == (1 + 3 * 2) * 5

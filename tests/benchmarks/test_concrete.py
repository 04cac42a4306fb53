"""The benchmark of concrete dropout: its objective and figures; a run."""

import json
import sys

import numpy as np
import pytest
from keras import ops
from scipy import stats

from tests.support.scripts import module_of


@pytest.fixture
def concrete():
    return module_of("concrete")


def test_the_loss_is_twice_the_negative_log_likelihood(concrete):
    y = np.array([[1.0], [-2.0]], "float32")
    outputs = np.array([[0.5, 0.3], [1.0, -1.2]], "float32")
    losses = ops.convert_to_numpy(
        concrete.negative_log_likelihood(
            ops.convert_to_tensor(y), ops.convert_to_tensor(outputs)
        )
    )
    log_likelihood = stats.norm.logpdf(
        y[:, 0], outputs[:, 0], np.exp(outputs[:, 1] / 2.0)
    )
    expected = -2.0 * log_likelihood - np.log(2.0 * np.pi)
    np.testing.assert_allclose(losses[:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("is_learned", [True, False])
def test_the_penalties_are_those_of_the_paper(
    concrete, monkeypatch, is_learned
):
    # With the paper's 1e-4 the weights could not be seen beside the entropy.
    monkeypatch.setattr(concrete, "LENGTH_SCALE", 1.0)
    rows, rate, units = 50, 0.1, 16
    model = concrete.network(units, rows, is_learned)
    squares = sum(
        np.square(kernel).sum()
        for kernel in model.get_weights()
        if kernel.ndim == 2
    )
    entropy = -rate * np.log(rate) - (1.0 - rate) * np.log(1.0 - rate)
    expected = squares / (rows * (1.0 - rate))
    if is_learned:
        expected -= 2.0 / rows * (1 + 4 * units) * entropy
    np.testing.assert_allclose(
        sum(ops.convert_to_numpy(loss) for loss in model.losses),
        expected,
        rtol=1e-4,
    )


def test_the_figures_are_those_of_the_notebook(concrete):
    means = np.array([[1.0, 3.0], [0.0, 4.0]])
    log_variances = np.log([[2.0, 8.0], [6.0, 6.0]])
    found = concrete.figures(
        np.stack([means, log_variances], axis=-1), np.array([[2.0], [5.0]])
    )
    expected = {
        "rmse": np.sqrt((0.0 + 9.0) / 2.0),
        "aleatoric": np.sqrt((4.0 + 6.0) / 2.0),  # geometric means
        "epistemic": np.sqrt((1.0 + 4.0) / 2.0),
    }
    assert found == pytest.approx(expected, abs=1e-4)


def test_an_epoch_has_every_row_once(concrete):
    x = np.arange(25)
    found = list(concrete.batches(x, -x, 3, np.random.default_rng(0)))
    assert [len(rows) for rows, _ in found] == [20, 5] * 3
    epochs = np.concatenate([rows for rows, _ in found]).reshape(3, 25)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(x, (3, 1)))
    assert (epochs[0] != epochs[1]).any()
    assert all((rows == -of_y).all() for rows, of_y in found)


def test_a_run(concrete, monkeypatch, tmp_path, capsys):
    path = tmp_path / "concrete.json"
    words = ["--quick", "--repeats", "1", "--trainings", "learned"]
    monkeypatch.setattr(
        sys, "argv", ["concrete.py", *words, "--output", str(path)]
    )
    concrete.main()
    parts = json.loads(path.read_text())["parts"]
    part = parts.pop("learned 50 0")
    assert not parts
    assert part["updates"] == 15  # a hundredth of 500 epochs of three batches
    assert len(part["rates"]) == 5
    # In its first 15 steps Adam moves a logit by at most 1.4 of its rate each:
    # by Jensen, (mean g)**2 <= 15 * greatest weight * mean of g**2.
    logits = np.log(part["rates"]) - np.log1p(-np.array(part["rates"]))
    moved = np.abs(logits - np.log(0.1 / 0.9))
    assert 0.0 < moved.max() < 0.001 * 15 * 1.4
    capsys.readouterr()
    concrete.main()
    printed = capsys.readouterr().out
    assert "learned 50 0: done before" in printed
    assert f"| 50 | 15 | 1 | {part['rmse']:.3f} |" in printed

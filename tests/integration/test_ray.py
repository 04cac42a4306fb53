"""A large array scored on the workers of Ray, one of which is killed."""

import re
import secrets

import keras
import numpy as np
import pytest

import kerasdrop
from tests.test_examples import run_example

pytestmark = [
    pytest.mark.slow,
    # Two workers start, each with a backend to import and a model to compile,
    # and one of them twice.
    pytest.mark.timeout(900),
]

STATISTICS = (
    "mean",
    "standard_error",
    "predictive_entropy",
    "mutual_information",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run in which a worker was killed, and what it printed."""
    pytest.importorskip(
        "ray", reason="Ray is not installed; `make test-full` installs it"
    )
    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        # Else Ray writes a token of its own into the home folder.
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        printed = run_example(
            "distributed_mc.py", "--quick", "--kill", f"--folder={folder}"
        )
    return folder, printed


@pytest.fixture(scope="module")
def scores(run):
    folder, _ = run
    with np.load(folder / "scores.npz") as columns:
        return dict(columns)


def test_the_workers_have_the_numbers_of_a_single_process(run, scores):
    folder, _ = run
    x = np.load(folder / "inputs.npy")
    single = kerasdrop.mc_predict(
        keras.saving.load_model(folder / "model.keras"),
        x,
        num_samples=16,
        seed=0,
        kind="probabilities",
        batch_size=64,
        verbose=0,
    )
    np.testing.assert_array_equal(scores["row"], np.arange(len(x)))
    for name in STATISTICS:
        # Other masks would be seen: the standard errors are about 1e-2.
        np.testing.assert_allclose(
            scores[name], single[name], rtol=1e-3, atol=2e-5, err_msg=name
        )


def test_the_rows_of_a_killed_worker_are_scored_by_another(run, scores):
    folder, printed = run
    killed = int((folder / "killed").read_text())
    row = len(scores["row"]) // 2
    assert scores["worker"][row] != killed
    assert f"Worker {killed} was killed at row {row}" in printed


def test_the_example_prints_how_far_it_is_from_a_single_process(run):
    _, printed = run
    table = printed[printed.index("Largest difference") :]
    differences = {
        name: float(re.search(rf"{name} +(\S+)", table)[1])
        for name in STATISTICS
    }
    assert max(differences.values()) < 2e-5, differences

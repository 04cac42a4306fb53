"""A killed and resumed training ends with the weights of a straight one."""

import functools
import shutil
import signal

import keras
import numpy as np
import pytest

import kerasdrop
from tests.support import forks
from tests.support import helpers
from tests.support import resuming


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder that a killed process left behind."""
    folder = tmp_path_factory.mktemp("killed")
    result = forks.run(
        f"from tests.support import resuming; resuming.main({str(folder)!r})"
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    return folder


@pytest.fixture
def folder(killed, tmp_path):
    """A copy, since whoever resumes goes on writing."""
    return shutil.copytree(killed, tmp_path / "copy")


@functools.cache
def straight_model():
    return resuming.fit(resuming.build(seed=0), resuming.our_callbacks())


def trained_state(model):
    """All that training has moved: weights, steps, keys, rates, moments."""
    variables = [
        variable for layer in model.layers for variable in layer.variables
    ]
    return [
        keras.ops.convert_to_numpy(variable)
        for variable in variables + model.optimizer.variables
    ]


def assert_same_training(model, other):
    expected = trained_state(other)
    found = trained_state(model)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_backup_and_restore_resumes_a_killed_training(folder):
    model = resuming.build(seed=99)
    resuming.fit(
        model,
        [
            *resuming.our_callbacks(folder),
            resuming.backup(folder, "epoch"),
        ],
    )
    assert_same_training(model, straight_model())


def test_a_loaded_checkpoint_resumes_a_killed_training(folder):
    path = resuming.checkpoint_path(folder, resuming.KILL_EPOCH)
    model = keras.saving.load_model(path)
    resuming.fit(
        model,
        resuming.our_callbacks(folder),
        initial_epoch=resuming.KILL_EPOCH,
    )
    assert_same_training(model, straight_model())


class Interruption(Exception):
    """Of a training whose process lives on."""


def interrupt():
    raise Interruption


def model_that_saw_the_first_batches_of_an_epoch_twice():
    model = resuming.build(seed=0)
    callbacks = resuming.our_callbacks()
    last = resuming.At(
        resuming.KILL_EPOCH, resuming.BATCHES_PER_BACKUP - 1, interrupt
    )
    with pytest.raises(Interruption):
        resuming.fit(model, [*callbacks, last])
    return resuming.fit(model, callbacks, initial_epoch=resuming.KILL_EPOCH)


def test_a_backup_in_mid_epoch_resumes_as_keras_does(folder):
    """Keras begins the epoch anew, with the weights of its middle."""
    model = resuming.build(seed=99)
    resuming.fit(
        model,
        [
            *resuming.our_callbacks(folder),
            resuming.backup(folder, resuming.BATCHES_PER_BACKUP),
        ],
    )
    assert_same_training(
        model, model_that_saw_the_first_batches_of_an_epoch_twice()
    )


def test_the_comparison_sees_a_lost_state_of_the_adaptive_rate(folder):
    (folder / "adaptive.json").unlink()
    path = resuming.checkpoint_path(folder, resuming.KILL_EPOCH)
    model = keras.saving.load_model(path)
    with pytest.warns(UserWarning, match="the same `state_path` in both"):
        resuming.fit(
            model,
            resuming.our_callbacks(folder),
            initial_epoch=resuming.KILL_EPOCH,
        )
    with pytest.raises(AssertionError):
        assert_same_training(model, straight_model())


def test_the_lines_of_the_guide_go_on_with_the_schedule(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    names = {"keras": keras, "kerasdrop": kerasdrop, "x": x, "y": x[:, :1]}
    before, after = helpers.code_of("saving.md", "after_{epoch}").split(
        "# Later"
    )
    exec(before, names)
    assert names["model"].get_layer("rising").step == 8 * 2
    exec("#" + after, names)
    layer = names["model"].get_layer("rising")
    assert (layer.step, layer.rate) == (8 * 2, 0.5)
    loaded = keras.saving.load_model("after_3.keras")
    assert loaded.get_layer("rising").step == 3 * 2

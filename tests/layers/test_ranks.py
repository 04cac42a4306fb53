"""Processes and replicas draw the masks that one process draws."""

import keras
import numpy as np
import pytest

from kerasdrop import layers
from tests.support import epochs
from tests.support import helpers
from tests.support import processes
from tests.support import ranks

BACKEND = keras.backend.backend()


def assert_masks_differ(one, other):
    """No more equal than masks that have nothing to do with each other."""
    helpers.assert_proportion(one == other, 0.5)


def one_process(rows=None):
    """The masks that one process draws for all rows."""
    whole = ranks.masks(layers.Dropout(0.5, seed=7), ranks.WORLD * ranks.ROWS)
    return whole if rows is None else whole[rows]


def order_of(epoch):
    """The order of the rows in an epoch: that of the data of each loop."""
    if BACKEND != "torch":
        return np.random.default_rng(epoch).permutation(epochs.ROWS)
    import torch

    generator = torch.Generator()
    generator.manual_seed(epoch)
    return torch.randperm(epochs.ROWS, generator=generator).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def alone(folder):
    """What a single process trains."""
    return epochs.result_of(epochs.alone(folder / "alone", order_of))


@pytest.fixture(scope="module")
def both(folder, alone):
    name = {
        "torch": "torch_ddp",
        "jax": "jax_processes",
        "tensorflow": "tensorflow_workers",
    }[BACKEND]
    return processes.run(name, folder)


@pytest.fixture(scope="module")
def replicas(folder, alone):
    """Of TensorFlow, which Keras trains in one process only."""
    (found,) = processes.run("tensorflow_replicas", folder, 1)
    return found


@pytest.fixture(scope="module")
def trained(request):
    """What each process has after the training of `epochs`."""
    if BACKEND == "tensorflow":
        return [request.getfixturevalue("replicas")]
    return request.getfixturevalue("both")


def of(backend):
    return pytest.mark.skipif(BACKEND != backend, reason=f"of {backend}")


@of("torch")
@pytest.mark.parametrize("name", ["unseeded", "seeded"])
def test_ranks_of_one_key_draw_masks_of_their_own(both, name):
    one, other = both
    np.testing.assert_array_equal(one[f"{name} keys"], other[f"{name} keys"])
    for layer in range(2):
        assert_masks_differ(
            one[f"{name} masks"][layer], other[f"{name} masks"][layer]
        )


@of("torch")
@pytest.mark.parametrize("name", ["unseeded", "seeded"])
def test_a_monte_carlo_prediction_is_the_same_on_all_ranks(both, name):
    one, other = both
    np.testing.assert_array_equal(
        one[f"{name} samples"], other[f"{name} samples"]
    )


@of("torch")
def test_ranks_together_draw_what_one_process_draws(both):
    blocks = np.concatenate([rank["a block of the batch"] for rank in both])
    np.testing.assert_array_equal(blocks, one_process())


@of("torch")
def test_rows_that_are_dealt_in_turn_keep_their_masks(both):
    drop = layers.Dropout(0.5, seed=7)
    ranks.masks(drop)  # the step before
    whole = ranks.masks(drop, ranks.WORLD * ranks.ROWS)
    for rank, found in enumerate(both):
        np.testing.assert_array_equal(
            found["dealt in turn"], whole[rank :: ranks.WORLD]
        )


@of("jax")
@pytest.mark.parametrize("name", ["a global array", "first_row", "rows"])
def test_parts_of_a_global_array_draw_what_one_process_draws(both, name):
    found = np.concatenate([process[name] for process in both])
    np.testing.assert_array_equal(found, one_process())


@of("jax")
def test_a_prediction_by_arrays_over_processes_is_refused_with_the_way(both):
    for process in both:
        one, other = process["refusals"]
        assert "set_distribution(None)" in one
        assert other.startswith("inspect: ")
    parts = np.concatenate([process["samples of a part"] for process in both])
    # By the same weights as the model that has no distribution.
    np.testing.assert_allclose(parts, both[0]["samples"], rtol=1e-5)


@of("tensorflow")
def test_workers_draw_masks_of_their_own(both):
    assert_masks_differ(both[0]["masks"], both[1]["masks"])


@of("tensorflow")
def test_workers_together_draw_what_one_process_draws(both):
    found = np.concatenate([worker["first_row"] for worker in both])
    np.testing.assert_array_equal(found, one_process())


@pytest.mark.parametrize("way", ["straight", "resumed"])
def test_several_processes_train_as_one_does(way, trained, alone):
    """From the start, and from what one process saved after two epochs."""
    for found in trained:
        epochs.assert_same(epochs.of_way(found, way), alone)


def test_one_process_goes_on_where_several_were(folder, trained, alone):
    model = epochs.resumed(folder / "together")
    epochs.alone(folder / "together", order_of, model)
    epochs.assert_same(epochs.result_of(model), alone)


@of("torch")
def test_other_row_numbers_would_be_seen(trained, alone):
    with pytest.raises(AssertionError, match="weights"):
        epochs.assert_same(epochs.of_way(trained[0], "unnumbered"), alone)


@of("torch")
def test_a_model_in_a_wrapper_is_refused_with_the_way(both):
    for rank in both:
        for refusal in rank["refusals"]:
            assert "Give it the model inside of the Distri" in refusal


@pytest.mark.skipif(BACKEND == "torch", reason="tested above")
def test_a_monte_carlo_prediction_is_the_same_on_all_processes(both):
    np.testing.assert_array_equal(both[0]["samples"], both[1]["samples"])


@of("tensorflow")
def test_a_scope_of_a_strategy_changes_no_prediction(replicas):
    """Made inside, where NumPy gets no value from a variable."""
    inside, outside = replicas["inside"], replicas["outside"]
    np.testing.assert_allclose(inside, outside, rtol=1e-5)


@of("tensorflow")
def test_replicas_that_keras_trains_never_repeat_a_mask(replicas):
    assert replicas["steps of masks"] == 4
    rows = replicas["zeros of masks"]
    assert rows.shape == (64, 64)
    assert len(np.unique(rows, axis=0)) == len(rows)


@of("torch")
@pytest.mark.parametrize("count", [256, 257, 1000, 2**16])
def test_many_ranks_have_row_numbers_of_their_own(count, monkeypatch):
    from kerasdrop import _backend
    from kerasdrop import masks

    x = np.ones((3, 1), "float32")
    seen = set()
    for rank in sorted({0, 1, 127, 128, 255, count - 1}):
        monkeypatch.setattr(_backend, "replica", lambda r=rank: (r, count))
        rows = masks.rows_of_batch(keras.ops.convert_to_tensor(x))
        rows = range(3) if rows is None else keras.ops.convert_to_numpy(rows)
        assert not seen & set(map(int, rows))
        seen |= set(map(int, rows))

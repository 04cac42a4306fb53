"""Acquisition functions of single rows: against formulas written out."""

import math

import numpy as np
import pytest
from keras import ops

from kerasdrop import acquisition
from kerasdrop import measures
from kerasdrop.acquisition import pools

GENERATOR = np.random.default_rng(0)
ROWS, SAMPLES, CLASSES = 11, 6, 3
POOL = GENERATOR.dirichlet(np.full(CLASSES, 0.5), (ROWS, SAMPLES))
TARGETS = GENERATOR.dirichlet(np.full(CLASSES, 0.5), (4, SAMPLES))
SCORES = {
    "bald": lambda p: _entropy(p.mean(1)) - _entropy(p).mean(1),
    "max_entropy": lambda p: _entropy(p.mean(1)),
    "mean_std": lambda p: p.std(axis=1, ddof=1).mean(axis=-1),
    "variation_ratio": lambda p: np.array(
        [1 - np.bincount(row.argmax(-1)).max() / SAMPLES for row in p]
    ),
}


def _entropy(p):
    return -np.sum(p * np.log(p), axis=-1)


class Slices:
    """An array that takes slices, like one on disk, and nothing else."""

    def __init__(self, array):
        self._array = array
        self.shape = array.shape
        self.most = 0  # rows that were asked for at a time

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        part = self._array[rows]
        self.most = max(self.most, len(part))
        return part


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pools, "_BLOCK", 8 * 3 * SAMPLES * CLASSES)


@pytest.mark.parametrize("name", SCORES)
def test_scores_by_their_formula(name, small_blocks, tmp_path):
    function, expected = getattr(acquisition, name), SCORES[name](POOL)
    on_disk = np.memmap(tmp_path / "pool", "float64", "w+", shape=POOL.shape)
    on_disk[:] = POOL
    sliced = Slices(POOL)
    for given in (POOL, POOL.tolist(), on_disk, sliced):
        np.testing.assert_allclose(function(given), expected, atol=1e-12)
    assert sliced.most == 3
    found = function(ops.convert_to_tensor(POOL.astype("float32")))
    assert ops.is_tensor(found)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)


def test_scores_of_each_pixel_and_of_yes():
    pixels = np.stack([POOL, POOL[::-1]], axis=2)
    found = acquisition.bald(pixels)
    expected = measures.mutual_information(pixels)
    np.testing.assert_allclose(found, expected)
    yes = POOL[..., :1]
    both = np.concatenate([1.0 - yes, yes], axis=-1)
    for name in SCORES:
        function = getattr(acquisition, name)
        np.testing.assert_allclose(function(yes), function(both), atol=1e-12)


def epig_of(pool, targets):
    """Written out: the divergence of the joint law from the product."""
    found = np.zeros(len(pool))
    for row, p in enumerate(pool):
        for q in targets:
            for a in range(p.shape[-1]):
                for b in range(q.shape[-1]):
                    joint = np.mean(p[:, a] * q[:, b])
                    product = p[:, a].mean() * q[:, b].mean()
                    found[row] += joint * math.log(joint / product)
    return found / len(targets)


def test_epig_by_its_formula():
    expected = epig_of(POOL, TARGETS)
    # The whole, a pair at a time, some pairs at a time.
    of_pair = 8 * 8 * CLASSES**2
    for limit in (2**28, of_pair, 5 * of_pair, 12 * of_pair):
        found = acquisition.epig(POOL, TARGETS, memory_limit=limit)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    found = acquisition.epig(Slices(POOL), ops.convert_to_tensor(TARGETS))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # A label tells at most what there is to know of the other.
    assert (found <= acquisition.bald(POOL) + 1e-12).all()


def test_epig_of_what_does_not_depend_on_each_other_is_0():
    # The pool depends on one half of the networks' bits, the targets on the
    # other.
    first = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    second = np.array([[0.7, 0.3], [0.1, 0.9], [0.7, 0.3], [0.1, 0.9]])
    found = acquisition.epig(first[None], second[None])
    assert 0.0 <= found[0] < 1e-15
    assert acquisition.bald(first[None]) > 0.2
    sure = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])[None]
    np.testing.assert_allclose(acquisition.epig(sure, sure), math.log(2.0))


def test_epig_of_yes_is_that_of_two_classes():
    yes = POOL[..., :1]
    both = np.concatenate([1.0 - yes, yes], axis=-1)
    np.testing.assert_allclose(
        acquisition.epig(yes, TARGETS), acquisition.epig(both, TARGETS)
    )


def test_what_is_refused():
    with pytest.raises(ValueError, match="outputs of a softmax"):
        acquisition.bald(np.log(POOL))
    with pytest.raises(ValueError, match=r"`samples\[..., None\]`"):
        acquisition.bald(POOL[..., 0])
    with pytest.raises(ValueError, match="needs at least two samples"):
        acquisition.mean_std(POOL[:, :1])
    with pytest.raises(ValueError, match="same networks.*6 and 5"):
        acquisition.epig(POOL, TARGETS[:, :5])
    with pytest.raises(ValueError, match=r"`target_samples` must have.*\(4, 6"):
        acquisition.epig(POOL, TARGETS[..., 0])
    with pytest.raises(ValueError, match="pair of rows needs about 576 bytes"):
        acquisition.epig(POOL, TARGETS, memory_limit=575)
    with pytest.raises(ValueError, match="outputs of a softmax"):
        acquisition.epig(POOL, 2.0 * TARGETS)

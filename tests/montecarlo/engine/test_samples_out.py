"""Samples that are written into an array on disk are those that are kept."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop.montecarlo.engine import engine
from tests.support import helpers

X = np.random.default_rng(0).normal(size=(11, 3)).astype("float32")
PLANS = ("stratified", "independent", "shared")


@pytest.fixture(scope="module")
def model():
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dropout(0.5),
            layers.Dense(4, activation="softmax"),
        ]
    )


def predict(model, x=X, **kwargs):
    arguments = {"num_samples": 20, "seed": 0, "kind": "probabilities"}
    return kerasdrop.mc_predict(
        model, x, batch_size=4, verbose=0, **{**arguments, **kwargs}
    )


class Slices:
    """What takes slices, and nothing else."""

    dtype = np.dtype("float64")

    def __init__(self, shape):
        self.shape = shape
        self.array = np.full(shape, -1.0)

    def __setitem__(self, key, value):
        assert all(isinstance(each, slice) for each in key)
        self.array[key] = value


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_written_is_what_is_kept(model, plan, tmp_path):
    kept = predict(model, plan=plan, keep_samples=True)
    out = np.memmap(tmp_path / "out", "float32", "w+", shape=(11, 20, 4))
    found = predict(model, plan=plan, samples_out=out)
    np.testing.assert_array_equal(out, kept.samples)
    assert set(found) == set(kept) - {"samples"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, kept[name])


def test_batches_of_unknown_number_and_anything_that_takes_slices(model):
    kept = predict(model, keep_samples=True)
    out = Slices((11, 20, 4))
    batches = (X[start : start + 4] for start in (0, 4, 8))
    found = predict(model, batches, samples_out=out)
    np.testing.assert_array_equal(out.array, kept.samples)
    assert "samples" not in found


def test_several_outputs():
    inputs = keras.Input((3,))
    dropped = layers.Dropout(0.5)(inputs)
    outputs = {"a": layers.Dense(1)(dropped), "b": layers.Dense(2)(dropped)}
    model = keras.Model(inputs, outputs)
    kept = predict(model, kind="regression", keep_samples=True).samples
    out = {
        name: np.empty((11, 20, size)) for name, size in (("a", 1), ("b", 2))
    }
    predict(model, kind="regression", samples_out=out)
    for name in outputs:
        np.testing.assert_array_equal(out[name], kept[name])
    with pytest.raises(ValueError, match="2 arrays in all. Received: 1"):
        predict(model, kind="regression", samples_out=out["a"])


def test_ctrl_c_leaves_what_was_done(model, monkeypatch):
    kept = predict(model, keep_samples=True).samples
    advance = engine.Pass.advance
    calls = []

    def interrupted(self):
        calls.append(self)
        if len(calls) > 2:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(engine.Pass, "advance", interrupted)
    out = np.zeros((11, 20, 4))
    with pytest.warns(UserWarning, match="the first 8 rows"):
        found = predict(model, samples_out=out, on_interrupt="return")
    assert len(found.mean) == 8
    np.testing.assert_array_equal(out[:8], kept[:8])
    assert (out[8:] == 0.0).all()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((11, 19, 4)), r"one axis of 20 samples.*\(11, 19, 4\)"),
        (np.empty((10, 20, 4)), r"11 rows. Received: shape \(10, 20, 4\)"),
        (np.empty((12, 20, 4)), r"11 rows. Received: shape \(12, 20, 4\)"),
        (np.empty((11, 20, 3)), r"4 rows of shape \(4,\).*\(11, 20, 3\)"),
        (np.empty((11, 20, 4), "int64"), "floating-point.*int64"),
        ("samples.dat", "that takes slices.*str of shape None"),
        (np.broadcast_to(0.0, (11, 20, 4)), "write access.*read-only"),
    ],
)
def test_arrays_that_do_not_fit(model, out, message):
    with pytest.raises(
        ValueError, match=f"^mc_predict: .*`samples_out`.*{message}"
    ):
        predict(model, samples_out=out)


def test_samples_are_in_one_place(model):
    out = np.empty((11, 20, 4))
    with pytest.raises(ValueError, match="Leave `keep_samples` out"):
        predict(model, samples_out=out, keep_samples=True)


def test_batches_that_are_more_than_the_room(model):
    out = np.zeros((6, 20, 4))
    batches = (X[start : start + 4] for start in (0, 4))
    with pytest.raises(ValueError, match=r"room for 8 rows.*\(6, 20, 4\)"):
        predict(model, batches, samples_out=out)


# Anonymous memory: what the system can give back by writing to the file is none
# of it. It is asked for often, since Linux keeps no peak of it.
_POOL = """
import threading, time, sys
import keras, numpy as np
import kerasdrop
from kerasdrop import acquisition

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return [int(l.split()[1]) for l in lines if l.startswith("RssAnon")][0]

rows, samples, classes = 1_000_000, 20, 10
model = keras.Sequential([
    keras.Input((8,)),
    keras.layers.Dropout(0.5),
    keras.layers.Dense(classes, activation="softmax"),
])
def predict(x, out):
    return kerasdrop.mc_predict(
        model, x, num_samples=samples, plan="shared", seed=0, verbose=0,
        kind="probabilities", batch_size=10_000, samples_out=out)

x = np.random.default_rng(0).normal(size=(rows, 8)).astype("float32")
predict(x[:10_000], np.empty((10_000, samples, classes), "float32"))
before, peak, done = anonymous(), [0], []
def watch():
    while not done:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.01)
thread = threading.Thread(target=watch)
thread.start()
out = np.memmap(sys.argv[1], "float32", "w+", shape=(rows, samples, classes))
result = predict(x, out)
scores = acquisition.bald(out)
chosen = acquisition.top_k(scores, 100)
done.append(True)
thread.join()
assert (scores >= 0).all() and len(chosen) == 100
assert abs(scores - result.mutual_information).max() < 1e-5
print((peak[0] - before) / 2**10)  # of kiB
"""


@pytest.mark.slow
def test_a_million_rows_take_less_than_a_gibibyte(tmp_path):
    code = _POOL.replace("sys.argv[1]", repr(str(tmp_path / "samples")))
    mebibytes = float(helpers.run_python(code))
    # The statistics alone, of 10 classes 4 times and of others, are 160 MB.
    assert 150.0 < mebibytes < 1024.0

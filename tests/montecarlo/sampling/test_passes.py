"""Predictions in several compiled calls, by rows, and interrupted ones."""

import weakref

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop.montecarlo.engine import chunks
from kerasdrop.montecarlo.engine import engine
from tests.support import reference
from tests.support.versions import keeps_tensors

X = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(16, activation="tanh"),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )


def predict(model, num_samples, **settings):
    settings = {"kind": "regression", "verbose": 0, "seed": 1, **settings}
    return kerasdrop.mc_predict(model, X, num_samples, **settings)


@pytest.mark.parametrize("num_samples", [257, 272, 512, 1000])
def test_several_calls_make_what_one_makes(model, num_samples, monkeypatch):
    several = predict(model, num_samples, keep_samples=True)
    assert several.samples.shape == (10, num_samples, 2)
    exact = several.samples.astype("float64")
    np.testing.assert_allclose(several.mean, exact.mean(1), atol=1e-5)
    std = reference.variance(exact) ** 0.5
    np.testing.assert_allclose(several.std, std, rtol=1e-4)
    monkeypatch.setattr(chunks, "_SAMPLES_PER_CALL", 10**6)
    one = predict(model, num_samples + 1, keep_samples=True)
    np.testing.assert_allclose(
        one.samples[:, :num_samples], several.samples, atol=1e-5
    )


def interrupting(monkeypatch, after):
    """Raises KeyboardInterrupt in compiled call number `after`."""
    advance = engine.Pass.advance
    calls = []

    def interrupted(self):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(1)
        advance(self)

    monkeypatch.setattr(engine.Pass, "advance", interrupted)


def test_ctrl_c_returns_the_batches_that_were_done(model, monkeypatch):
    whole = predict(model, 20)
    interrupting(monkeypatch, after=2)
    with pytest.warns(UserWarning, match="first 8 rows, each from 20 of 20"):
        part = predict(model, 20, batch_size=4, on_interrupt="return")
    assert part.num_samples == 20
    np.testing.assert_allclose(part.mean, whole.mean[:8], atol=1e-5)


def test_ctrl_c_returns_the_samples_that_were_drawn(model, monkeypatch):
    asked = {"quantiles": 0.5, "keep_samples": True}
    whole = predict(model, 1400, **asked)
    interrupting(monkeypatch, after=2)
    with pytest.warns(UserWarning, match="10 rows, each from .* of 1400"):
        part = predict(model, 1400, on_interrupt="return", **asked)
    # Of 10 rows 25 sets make a chunk: 1400 = 200 and three times 400, the 200
    # being 12 sets and the last 8 samples. A call has one of 400, and the
    # first has the 200 as well.
    assert part.num_samples == 8 + 12 * 16 + 2 * 400
    drawn = np.r_[0 : 12 * 16 + 2 * 400, 1392:1400]
    np.testing.assert_allclose(part.samples, whole.samples[:, drawn], atol=1e-5)
    np.testing.assert_allclose(part.mean, part.samples.mean(1), atol=1e-5)
    np.testing.assert_allclose(
        part.quantiles[:, 0], np.median(part.samples, axis=1), atol=1e-5
    )


@pytest.mark.parametrize("on_interrupt", ["raise", "return"])
def test_ctrl_c_before_anything_was_drawn(model, monkeypatch, on_interrupt):
    interrupting(monkeypatch, after=0)
    with pytest.raises(KeyboardInterrupt):
        predict(model, 20, on_interrupt=on_interrupt)


def test_ctrl_c_raises_by_default(model, monkeypatch):
    interrupting(monkeypatch, after=1)
    with pytest.raises(KeyboardInterrupt):
        predict(model, 20, batch_size=4)


def test_rows_are_a_part_of_the_input(model):
    whole = predict(model, 32)
    rows = np.array([7, 2, 4])
    part = kerasdrop.mc_predict(
        model, X[rows], 32, seed=1, kind="regression", rows=rows, verbose=0
    )
    np.testing.assert_allclose(part.mean, whole.mean[rows], atol=1e-5)


def test_one_batch(model):
    whole = predict(model, 32)
    predictive = kerasdrop.MonteCarlo(model, 32, seed=1, kind="regression")
    part = predictive.predict_on_batch(X[3:6], first_row=3)
    np.testing.assert_allclose(part["mean"], whole.mean[3:6], atol=1e-5)


@pytest.mark.parametrize("rows", [[0.5] * 10, [-1] * 10, [[1]] * 10])
def test_illegal_rows(model, rows):
    with pytest.raises(ValueError, match="`rows` must be integers from 0"):
        predict(model, 16, rows=rows)


def test_too_few_rows(model):
    with pytest.raises(ValueError, match="same number of rows"):
        predict(model, 16, rows=[1, 2])


def test_a_row_beyond_the_last_number(model):
    with pytest.raises(ValueError, match="numbered below 2\\*\\*31"):
        predict(model, 16, first_row=2**31 - 5)


def test_a_list_of_numbers_is_no_array(model):
    with pytest.raises(ValueError, match="numpy.array"):
        kerasdrop.mc_predict(model, [[1.0, 2.0, 3.0]], kind="regression")


def test_statistics_have_one_order(model):
    names = list(predict(model, 32))
    assert names == ["mean", "variance", "std", "standard_error"]


def test_progress_counts_calls(model, capsys):
    # Of 5 rows 816 samples make a chunk, and a call: 2500 are three and 52.
    predict(model, 2500, batch_size=5, verbose=1)
    assert "6/6" in capsys.readouterr().out  # 2 batches, 3 calls each


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="a graph's own matter elsewhere"
)
@keeps_tensors
def test_results_are_let_go_when_they_are_not_used_any_more():
    alive, prefix, rest = [], [], []

    # Not in an attribute, whose changes would have the model checked again.
    def counter(seen):
        class Counter(keras.layers.Layer):
            def call(self, inputs):
                outputs = inputs + 1.0
                seen.append(weakref.ref(outputs))
                alive.append(sum(ref() is not None for ref in seen))
                return outputs

        return Counter()

    model = keras.Sequential(
        [
            keras.Input((3,)),
            *(counter(prefix) for _ in range(5)),
            kerasdrop.layers.Dropout(0.5),
            *(counter(rest) for _ in range(5)),
        ]
    )

    predictor = kerasdrop.MonteCarlo(model, 4, kind="regression", seed=0)
    predictor.predict_on_batch(X)
    prefix.clear()  # of building it, and of the trials of a first call
    rest.clear()
    alive.clear()
    predictor.predict_on_batch(X)

    assert len(prefix) == len(rest) == 5
    assert max(alive) == 2  # what goes into a layer, and what comes out

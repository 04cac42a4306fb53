"""Stopping where the mean is exact enough; chunks that fit into memory."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop.montecarlo import chunks
from kerasdrop.montecarlo import memory

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
# Rows of all sizes have errors of all sizes.
X *= np.geomspace(0.01, 10.0, 12)[:, None].astype("float32")


def regression(units=16):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(units, activation="tanh"),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )


@pytest.fixture(scope="module")
def model():
    return regression()


def predict(model, x=X, num_samples=512, **settings):
    settings = {"kind": "regression", "verbose": 0, "seed": 1, **settings}
    return kerasdrop.mc_predict(model, x, num_samples, **settings)


class TestMemory:
    def test_the_estimate_counts_what_lives_at_a_time(self):
        # Of one sample: input and output of a dense layer of 100 and 50
        # units, in float32, and as much again for the work.
        x = keras.Input((100,))
        h = kerasdrop.layers.Dropout(0.5)(x)
        model = keras.Model(x, layers.Dense(50)(layers.Dense(70)(h)))
        found = memory.bytes_per_sample(model, np.ones((1, 100)))
        assert found == 2 * 4 * (100 + 100)

    def test_a_skip_connection_lives_until_it_is_used(self):
        x = keras.Input((100,))
        h = kerasdrop.layers.Dropout(0.5)(x)
        deep = layers.Dense(100)(layers.Dense(300)(h))
        model = keras.Model(x, layers.Add()([h, deep]))
        found = memory.bytes_per_sample(model, np.ones((1, 100)))
        assert found == 2 * 4 * (100 + 300 + 100)

    def test_what_is_run_once_does_not_count(self):
        x = keras.Input((10,))
        h = layers.Dense(10)(layers.Dense(10**4)(x))
        model = keras.Model(x, kerasdrop.layers.Dropout(0.5)(h))
        found = memory.bytes_per_sample(model, np.ones((1, 10)))
        assert found == 2 * 4 * (10 + 10)

    def test_an_open_axis_has_the_length_of_the_data(self):
        x = keras.Input((None, 4))
        model = keras.Model(x, kerasdrop.layers.Dropout(0.5)(x))
        found = memory.bytes_per_sample(model, np.ones((1, 25, 4)))
        assert found == 2 * 4 * (100 + 100)

    @pytest.mark.parametrize("rows", [1, 5])
    def test_a_limit_changes_nothing_but_the_chunks(self, model, rows):
        whole = predict(model, num_samples=50, keep_samples=True)
        limit = 16 * rows * memory.bytes_per_sample(model, X)
        part = predict(
            model, num_samples=50, keep_samples=True, memory_limit=limit
        )
        np.testing.assert_allclose(part.samples, whole.samples, atol=1e-5)
        for name in ("mean", "variance", "standard_error"):
            np.testing.assert_allclose(
                part[name], whole[name], rtol=1e-4, atol=1e-5
            )

    def test_so_many_rows_are_drawn_at_a_time(self, model):
        limit = 16 * 5 * memory.bytes_per_sample(model, X)
        sizes = []

        class Sizes(keras.callbacks.Callback):
            def on_predict_batch_end(self, batch, logs=None):
                sizes.append(len(logs["mean"]))

        for data in (X, [X[:7], X[7:]]):
            sizes.clear()
            predictive = kerasdrop.MonteCarlo(
                model, kind="regression", memory_limit=limit
            )
            data = iter(data) if isinstance(data, list) else data
            predictive.predict(data, callbacks=[Sizes()], verbose=0)
            assert max(sizes) <= 5
            assert sum(sizes) == 12

    def test_progress_has_no_end_that_batches_cut_in_two_would_pass(
        self, model, capsys
    ):
        class Data(keras.utils.PyDataset):
            num_batches = 2

            def __getitem__(self, index):
                return X[6 * index : 6 * index + 6]

        limit = 16 * 5 * memory.bytes_per_sample(model, X)
        predictive = kerasdrop.MonteCarlo(
            model, kind="regression", memory_limit=limit
        )
        predictive.predict(Data(), verbose=1)
        printed = capsys.readouterr().out
        assert "/Unknown" in printed
        assert "/2" not in printed

    def test_a_limit_below_one_set_of_a_row(self, model):
        with pytest.raises(ValueError, match=r"takes about [\d,]+ bytes"):
            predict(model, memory_limit=100)

    def test_a_model_that_does_not_tell(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.dropout = kerasdrop.layers.Dropout(0.5)

            def call(self, inputs, training=False):
                return self.dropout(inputs, training=training)

        model = Own()
        model(X)
        with pytest.raises(ValueError, match="no graph of layers"):
            predict(model, memory_limit=10**9)
        assert predict(model).mean.shape == X.shape

    @pytest.mark.parametrize("limit", [0, -5, 1.5, "1 GB"])
    def test_an_illegal_limit(self, model, limit):
        with pytest.raises(ValueError, match="`memory_limit`"):
            predict(model, memory_limit=limit)


@pytest.mark.parametrize("num_samples", [1, 5, 16, 50, 257, 1000, 4096])
@pytest.mark.parametrize("sets", [1, 3, 16, 64])
def test_chunks_cover_each_sample_once(num_samples, sets):
    cut = chunks.cut(num_samples, sets)
    numbers = [
        *range(cut.first_in_sets),
        *range(num_samples - cut.rest, num_samples),
        *range(cut.first_in_sets, cut.first_in_sets + cut.count * cut.size),
    ]
    assert sorted(numbers) == list(range(num_samples))
    assert cut.first_in_sets % 16 == cut.size % 16 == 0
    assert cut.samples_after(cut.num_calls) == num_samples

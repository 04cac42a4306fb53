"""Chunks that fit into memory, and the same numbers whatever fits."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine import batches
from kerasdrop.montecarlo.engine import chunks
from kerasdrop.montecarlo.engine import memory
from kerasdrop.montecarlo.engine import sizes
from kerasdrop.montecarlo.engine import sizing
from kerasdrop.montecarlo.engine.sizes import Sizes
from kerasdrop.montecarlo.verification import chosen_rows
from kerasdrop.montecarlo.verification import recording
from kerasdrop.montecarlo.verification import runs
from tests.support.regressions import X
from tests.support.regressions import predict
from tests.support.regressions import regression


@pytest.fixture(scope="module")
def model():
    return regression()


class TestMemory:
    def test_the_estimate_counts_what_lives_at_a_time(self):
        # Of one sample: input and output of a dense layer of 100 and 50
        # units, in float32, and as much again for the work.
        x = keras.Input((100,))
        h = kerasdrop.layers.Dropout(0.5)(x)
        model = keras.Model(x, layers.Dense(50)(layers.Dense(70)(h)))
        found = memory.bytes_per_sample(
            model, np.ones((1, 100)), choice.whole(model)
        )
        assert found == 2 * 4 * (100 + 100)

    def test_a_skip_connection_lives_until_it_is_used(self):
        x = keras.Input((100,))
        h = kerasdrop.layers.Dropout(0.5)(x)
        deep = layers.Dense(100)(layers.Dense(300)(h))
        model = keras.Model(x, layers.Add()([h, deep]))
        found = memory.bytes_per_sample(
            model, np.ones((1, 100)), choice.whole(model)
        )
        assert found == 2 * 4 * (100 + 300 + 100)

    def test_what_is_run_once_does_not_count(self):
        x = keras.Input((10,))
        h = layers.Dense(10)(layers.Dense(10**4)(x))
        model = keras.Model(x, kerasdrop.layers.Dropout(0.5)(h))
        found = memory.bytes_per_sample(
            model, np.ones((1, 10)), choice.whole(model)
        )
        assert found == 2 * 4 * (10 + 10)

    def test_an_open_axis_has_the_length_of_the_data(self):
        x = keras.Input((None, 4))
        model = keras.Model(x, kerasdrop.layers.Dropout(0.5)(x))
        found = memory.bytes_per_sample(
            model, np.ones((1, 25, 4)), choice.whole(model)
        )
        assert found == 2 * 4 * (100 + 100)

    def test_so_many_rows_are_drawn_at_a_time(self, model, monkeypatch):
        drawn_at_once(monkeypatch, Sizes(5, 16))
        sizes = []

        class Drawn(keras.callbacks.Callback):
            def on_predict_batch_end(self, batch, logs=None):
                sizes.append(len(logs["outputs"].mean))

        for data in (X, [X[:7], X[7:]]):
            sizes.clear()
            predictive = kerasdrop.MonteCarlo(model, kind="regression")
            data = iter(data) if isinstance(data, list) else data
            predictive.predict(data, callbacks=[Drawn()], verbose=0)
            assert max(sizes) <= 5
            assert sum(sizes) == 12

    def test_progress_has_no_end_that_batches_cut_in_two_would_pass(
        self, model, capsys, monkeypatch
    ):
        class Data(keras.utils.PyDataset):
            num_batches = 2

            def __getitem__(self, index):
                return X[6 * index : 6 * index + 6]

        drawn_at_once(monkeypatch, Sizes(5, 16))
        predictive = kerasdrop.MonteCarlo(model, kind="regression")
        predictive.predict(Data(), verbose=1)
        printed = capsys.readouterr().out
        assert "/Unknown" in printed
        assert "/2" not in printed

    def test_a_limit_below_one_sample_of_a_row(self, model):
        with pytest.raises(ValueError, match="one sample of one row") as error:
            predict(model, num_samples=50, memory_limit=100)
        # What it says is enough is enough.
        least = re.search(r"takes about ([\d,]+) bytes", str(error.value))
        least = int(least.group(1).replace(",", ""))
        assert least < 10_000
        found = predict(model, num_samples=50, memory_limit=least)
        whole = predict(model, num_samples=50)
        np.testing.assert_allclose(found.mean, whole.mean, atol=1e-5)

    def test_a_model_without_a_graph_takes_a_limit(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.dropout = kerasdrop.layers.Dropout(0.5)

            def call(self, inputs, training=False):
                return self.dropout(inputs, training=training)

        model = Own()
        model(X)
        whole = predict(model)
        found = predict(model, memory_limit=2000)
        np.testing.assert_allclose(found.mean, whole.mean, atol=1e-4)

    def test_the_self_check_takes_no_more_rows_than_there_is_room_for(
        self, monkeypatch
    ):
        checked = []
        plain = runs.Runs.of

        def of(self, rows, *args, **settings):
            checked.append(len(rows.places))
            return plain(self, rows, *args, **settings)

        monkeypatch.setattr(runs.Runs, "of", of)
        predict(regression(), num_samples=16)
        assert set(checked) == {chosen_rows.MOST_ROWS}
        drawn_at_once(monkeypatch, Sizes(1, 1))
        checked.clear()
        predict(regression(), num_samples=16)
        assert set(checked) == {1}

    @pytest.mark.parametrize(
        ("limit", "at_once", "rows"),
        [
            # A plain call of 3 rows fits, and takes no more than the pass.
            (4, 100, 3),
            (4, 4, 2),
            (4, 1, 1),
            # To see whether rows see each other it takes two.
            (1, 100, 2),
            (None, 100, 50),
        ],
    )
    def test_the_self_check_leaves_room_for_all_that_a_plain_call_makes(
        self, limit, at_once, rows
    ):
        deep = keras.Sequential([keras.Input((3,))])
        for _ in range(12):
            deep.add(kerasdrop.layers.Dropout(0.1))
            deep.add(layers.Dense(100))
        # Of a row 11 drops of 100 numbers, one of 3, and 12 layers.
        made = 4 * (23 * 100 + 3)
        assert memory.bytes_of_plain_call(deep, X) == made
        limit = limit and limit * made - 1
        found = sizing.Sizing(deep, 16, False, limit, None, None)
        batch = batches.RowsOf(X, None, None)
        assert found.rows_to_check(batch, at_once) == rows

    def test_what_is_recorded_of_a_tensor_holds_no_more_of_it(self):
        recorder = recording.Recorder({}, False)
        with recorder.recording(2):
            found = recorder.reduced(ops.ones((2, 2**20)))
        assert found.shape[1] <= 2**13
        if keras.backend.backend() == "torch":  # has views
            assert found.untyped_storage().nbytes() <= 4 * 2 * 2**13

    @pytest.mark.parametrize("limit", [0, -5, 1.5, "1 GB"])
    def test_an_illegal_limit(self, model, limit):
        with pytest.raises(ValueError, match="`memory_limit`"):
            predict(model, memory_limit=limit)


def drawn_at_once(monkeypatch, most):
    """Makes memory enough for so many `Sizes`, whatever they take."""

    def of(self, data, rows):
        return Sizes(min(rows, most.rows), min(self._num_samples, most.samples))

    monkeypatch.setattr(sizing.Sizing, "of", of)


class TestCuts:
    """The same numbers, however many samples and rows are drawn at once."""

    @pytest.mark.parametrize("at_once", [1, 2, 4, 8])
    @pytest.mark.parametrize("num_samples", [5, 16, 47])
    def test_parts_of_sets(self, model, monkeypatch, num_samples, at_once):
        settings = {
            "keep_samples": True,
            "quantiles": (0.2, 0.9),
            "noise_variance": 0.5,
            "y": X[:, :2],
        }
        whole = predict(model, X, num_samples, **settings)
        drawn_at_once(monkeypatch, Sizes(5, at_once))
        parts = predict(regression(), X, num_samples, **settings)
        np.testing.assert_allclose(parts.samples, whole.samples, atol=2e-5)
        assert set(parts) == set(whole)
        for name in whole:
            np.testing.assert_allclose(
                parts[name], whole[name], rtol=2e-4, atol=2e-5, err_msg=name
            )

    @pytest.mark.parametrize("plan", ["independent", "shared"])
    def test_other_plans(self, model, monkeypatch, plan):
        whole = predict(model, num_samples=21, plan=plan, keep_samples=True)
        drawn_at_once(monkeypatch, Sizes(12, 2))
        parts = predict(
            regression(), num_samples=21, plan=plan, keep_samples=True
        )
        np.testing.assert_allclose(parts.samples, whole.samples, atol=2e-5)
        for name in ("variance", "standard_error"):
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4)

    @pytest.mark.filterwarnings("ignore:.*did not reach tolerance")
    @pytest.mark.parametrize("plan", ["stratified", "independent"])
    def test_rows_are_looked_at_after_each_set(self, model, monkeypatch, plan):
        tolerance = {"stratified": 0.02, "independent": 0.05}[plan]
        settings = {"num_samples": 512, "plan": plan, "tolerance": tolerance}
        whole = predict(model, **settings)
        drawn_at_once(monkeypatch, Sizes(5, 4))
        parts = predict(regression(), **settings)
        assert len(np.unique(whole.num_drawn)) > 2
        np.testing.assert_array_equal(parts.num_drawn, whole.num_drawn)
        np.testing.assert_array_equal(parts.converged, whole.converged)
        np.testing.assert_allclose(parts.mean, whole.mean, atol=2e-5)

    def test_two_runs_are_the_same_to_the_bit(self, monkeypatch):
        drawn_at_once(monkeypatch, Sizes(5, 2))
        one, other = (predict(regression(), num_samples=21) for _ in range(2))
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])

    def test_an_interrupted_pass_has_what_was_drawn(self, model, monkeypatch):
        whole = predict(model, num_samples=516, keep_samples=True)
        drawn_at_once(monkeypatch, Sizes(12, 8))
        advance = kerasdrop.montecarlo.engine.engine.Pass.advance

        def interrupted(self):
            if self.num_done == 1:
                raise KeyboardInterrupt
            advance(self)

        monkeypatch.setattr(
            kerasdrop.montecarlo.engine.engine.Pass, "advance", interrupted
        )
        with pytest.warns(UserWarning, match="Interrupted"):
            part = predict(
                regression(),
                num_samples=516,
                keep_samples=True,
                on_interrupt="return",
            )
        # The last 516 % 8 of all, and from the first on.
        count = part.samples.shape[1] - 4
        expected = np.concatenate(
            [whole.samples[:, :count], whole.samples[:, 512:]], axis=1
        )
        assert 0 < count < 512
        np.testing.assert_allclose(part.samples, expected, atol=2e-5)
        np.testing.assert_allclose(part.mean, expected.mean(axis=1), atol=2e-5)


class TestSizes:
    """What is chosen, by a need that is a formula."""

    WANTED = Sizes(32, 64)

    def chosen(self, size, limit, begin=None, step=1, worth=1.0):
        asked = []

        def needed(some):
            asked.append(some)
            return size(some)

        found = sizes.most(
            needed, self.WANTED, begin or self.WANTED, limit, step, worth
        )
        return found, asked

    @pytest.mark.parametrize("begin", [Sizes(1, 1), Sizes(32, 64)])
    @pytest.mark.parametrize("limit", [5, 30, 200, 700, 3000, 9000, 10**6])
    def test_a_limit_is_kept_and_used(self, begin, limit):
        def size(some):
            return some.rows * (3.0 + some.samples)

        found, asked = self.chosen(size, limit, begin)
        assert size(found) <= limit
        # Twice as much would not have done, or was not wanted.
        assert found == self.WANTED or size(found) * 3.0 > limit
        if begin == Sizes(1, 1):  # nor is more taken in a trial
            assert all(size(some) <= limit for some in asked)

    def test_sets_are_cut_last(self):
        def chosen(limit):
            return self.chosen(lambda some: some.total, limit)[0]

        assert chosen(2048) == Sizes(32, 64)
        assert chosen(1200) == Sizes(32, 32)
        assert chosen(600) == Sizes(32, 16)
        assert chosen(500) == Sizes(16, 16)  # twice 16, not 29 and 3
        assert chosen(17) == Sizes(1, 16)
        assert chosen(15) == Sizes(1, 8)
        assert chosen(2) == chosen(1) == chosen(0.1) == Sizes(1, 1)

    def test_rows_divide_over_the_devices(self):
        found, _ = self.chosen(lambda some: some.total, 100, step=4)
        assert found == Sizes(4, 16)
        found, _ = self.chosen(lambda some: some.total, 30, step=4)
        assert found == Sizes(4, 4)

    def test_what_is_known_to_be_enough_is_not_measured(self):
        found = sizes.Found(1000)
        shapes = (1, (20, 3), (20,))
        found.add(
            shapes,
            Sizes(8, 16),
            Sizes(8, 16),
            {Sizes(8, 16): sizes.Need(200, 0)},
        )
        assert found.of(shapes, Sizes(8, 16)) == Sizes(8, 16)
        assert found.of((1, (10, 3), (10,)), Sizes(8, 16)) == Sizes(8, 16)
        assert found.of((1, (40, 3), (40,)), Sizes(8, 16)) == Sizes(8, 16)
        # Four times the memory may be 16 times as much.
        assert found.of((1, (80, 3), (80,)), Sizes(8, 16)) is None
        assert found.of(shapes, Sizes(40, 16)) == Sizes(40, 16)
        assert found.of(shapes, Sizes(41, 16)) is None
        assert found.of((1, (20, 3)), Sizes(8, 16)) is None


@pytest.mark.parametrize("num_samples", [1, 5, 16, 50, 257, 1000, 4096])
@pytest.mark.parametrize("at_once", [1, 2, 4, 8, 16, 48, 256, 1024])
def test_chunks_cover_each_sample_once(num_samples, at_once):
    cut = chunks.cut(num_samples, at_once)
    numbers = [
        *range(cut.first_in_sets),
        *range(num_samples - cut.rest, num_samples),
        *range(cut.first_in_sets, cut.first_in_sets + cut.count * cut.size),
    ]
    assert sorted(numbers) == list(range(num_samples))
    assert cut.first <= at_once
    assert cut.size <= max(at_once, 16)
    # Whole sets, or parts that a set has some of.
    assert cut.size % 16 == 0 or 16 % cut.size == 0
    assert cut.first_in_sets % min(cut.size, 16) == 0
    assert cut.samples_after(cut.num_calls) == num_samples

"""BatchBALD: against enumeration, on small pools; and drawn batches."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import acquisition
from kerasdrop.acquisition import batches
from tests.acquisition.test_scores import Slices

GENERATOR = np.random.default_rng(0)
POOL = GENERATOR.dirichlet(np.full(3, 0.3), (9, 5))


def information_of(rows, pool):
    """The mutual information of labels and network, by all configurations."""
    joint, num_samples, classes = 0.0, pool.shape[1], pool.shape[2]
    for labels in itertools.product(range(classes), repeat=len(rows)):
        likelihood = np.ones(num_samples)
        for row, label in zip(rows, labels):
            likelihood = likelihood * pool[row, :, label]
        p = likelihood.mean()
        if p > 0.0:
            joint -= p * math.log(p)
    of_rows = pool[list(rows)]
    surprise = np.where(of_rows > 0, -np.log(np.maximum(of_rows, 1e-300)), 0)
    return joint - np.sum(of_rows * surprise) / num_samples


def greedy(pool, batch_size):
    rows, found = [], []
    for _ in range(batch_size):
        left = [row for row in range(len(pool)) if row not in rows]
        each = [information_of([*rows, row], pool) for row in left]
        best = int(np.argmax(np.round(each, 12)))
        rows.append(left[best])
        found.append(each[best])
    return rows, found


@pytest.mark.parametrize("seed", range(6))
def test_the_batch_is_that_of_enumeration(seed):
    generator = np.random.default_rng(seed)
    pool = generator.dirichlet(np.full(3, 0.3), (9, 5))
    if seed == 5:  # some labels are impossible
        pool = np.round(pool)
        pool[..., 0] += 1.0 - pool.sum(-1)
        pool = np.clip(pool, 0.0, 1.0)
        pool /= pool.sum(-1, keepdims=True)
    rows, information = greedy(pool, 5)
    found = acquisition.batch_bald(pool, 5, verbose=0)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.information, information, atol=1e-10)
    assert found.num_exact == 5


def test_forms_of_samples_and_memory():
    expected = acquisition.batch_bald(POOL, 4, verbose=0)
    smallest = 4 * 8 * 27 * 5 + 8 * 8 * (27 + 5) * 3
    for given, limit in (
        (POOL.tolist(), 2**28),
        (Slices(POOL), 2**28),
        (POOL, smallest),
        (POOL, 3 * smallest),
    ):
        found = acquisition.batch_bald(given, 4, memory_limit=limit, verbose=0)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_allclose(found.information, expected.information)
    found = acquisition.batch_bald(ops.convert_to_tensor(POOL), 4, verbose=0)
    np.testing.assert_array_equal(found.rows, expected.rows)
    yes = POOL[..., :1]
    both = np.concatenate([1.0 - yes, yes], axis=-1)
    np.testing.assert_allclose(
        acquisition.batch_bald(yes, 4, verbose=0).information,
        acquisition.batch_bald(both, 4, verbose=0).information,
    )


def test_rows_that_are_alike_are_not_taken_twice():
    # Rows 0 to 2 are one question, row 3 another of less information.
    first = np.array([[0.95, 0.05]] * 4 + [[0.05, 0.95]] * 4)
    second = np.array([[0.9, 0.1], [0.1, 0.9]] * 4)
    pool = np.stack([first, first, first, second])
    top = acquisition.top_k(acquisition.bald(pool), 2)
    np.testing.assert_array_equal(top, [0, 1])
    np.testing.assert_array_equal(
        acquisition.batch_bald(pool, 2, verbose=0).rows, [0, 3]
    )


def test_drawn_configurations_estimate_the_information():
    generator = np.random.default_rng(7)
    pool = generator.dirichlet(np.full(6, 0.2), (8, 12))
    exact = acquisition.batch_bald(pool, 6, 10_000, verbose=0)
    assert exact.num_exact == 6
    drawn = acquisition.batch_bald(pool, 6, 2_000, seed=1, verbose=0)
    # 6 ** 4 = 1296 configurations are still all there; then 2000 are drawn.
    assert drawn.num_exact == 5
    np.testing.assert_array_equal(drawn.rows[:5], exact.rows[:5])
    np.testing.assert_allclose(
        drawn.information[:5], exact.information[:5], atol=1e-10
    )
    few = acquisition.batch_bald(pool, 8, 5, seed=2, verbose=0)
    assert few.num_exact == 1
    assert sorted(few.rows) == list(range(8))


@pytest.mark.parametrize("size", [2, 4])
def test_the_estimate_is_that_of_the_labels(size):
    # What a ninth row adds to the first, by all configurations and by draws.
    generator = np.random.default_rng(8)
    pool = generator.dirichlet(np.full(3, 0.3), (9, 7))
    labels = batches._Labels(pool, 1, 2**28, 3)
    labels._most = 20_000
    for row in range(size):
        labels._rows.append(row)
        labels._draw(pool[row])
    assert not labels.is_exact
    found = labels.information(pool[8:])[0]
    before = information_of(range(size), pool)
    expected = information_of([*range(size), 8], pool) - before
    # An information in one configuration is from 0 to log 3.
    assert abs(found - expected) < 5.0 * 0.5 * math.log(3.0) / 20_000**0.5


def test_a_seed_gives_the_same_batch():
    pool = np.random.default_rng(9).dirichlet(np.full(4, 0.3), (20, 8))

    def found(seed):
        return acquisition.batch_bald(pool, 6, 50, seed=seed, verbose=0)

    np.testing.assert_array_equal(found(3).rows, found(3).rows)
    np.testing.assert_array_equal(found(3).information, found(3).information)
    assert (found(3).information != found(4).information).any()


def test_the_memory_is_that_given():
    pool = np.random.default_rng(10).dirichlet(np.full(10, 0.2), (400, 10))
    limit = 20 * 2**20
    tracemalloc.start()
    acquisition.batch_bald(pool, 4, 1_000, memory_limit=limit, verbose=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < limit + 2 * pool.nbytes


def interrupted_after(monkeypatch, number):
    best = batches._Pool.best
    calls = []

    def interrupted(*given):
        calls.append(given)
        if len(calls) > number:
            raise KeyboardInterrupt
        return best(*given)

    monkeypatch.setattr(batches._Pool, "best", interrupted)


def test_ctrl_c_returns_the_batch_so_far(monkeypatch, capsys):
    expected = acquisition.batch_bald(POOL, 5)
    assert "5/5" in capsys.readouterr().out
    interrupted_after(monkeypatch, 3)
    with pytest.warns(RuntimeWarning, match="It returned 3 of 5 rows"):
        found = acquisition.batch_bald(POOL, 5, verbose=0)
    np.testing.assert_array_equal(found.rows, expected.rows[:3])
    np.testing.assert_array_equal(found.information, expected.information[:3])
    assert found.num_exact == 3


def test_ctrl_c_that_raises(monkeypatch):
    interrupted_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        acquisition.batch_bald(POOL, 5, on_interrupt="raise", verbose=0)
    interrupted_after(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        acquisition.batch_bald(POOL, 5, verbose=0)


def test_batches_that_are_refused():
    bald = acquisition.batch_bald
    with pytest.raises(ValueError, match="number of rows. Received: 10 of 9"):
        bald(POOL, 10)
    with pytest.raises(ValueError, match=r"joint samples.*\(9, 5\)"):
        bald(POOL[..., 0], 2)
    with pytest.raises(ValueError, match="outputs of a softmax"):
        bald(np.log(POOL), 2)
    with pytest.raises(ValueError, match="9 configurations of 5 samples take"):
        bald(POOL, 4, memory_limit=3_000, verbose=0)
    with pytest.raises(ValueError, match="`batch_size` must be an integer"):
        bald(POOL, 0)
    with pytest.raises(ValueError, match="`on_interrupt` must be"):
        bald(POOL, 2, on_interrupt="stop")


# Rows by their scores.


def test_the_highest_scores_come_first_and_of_equals_the_earlier():
    scores = [0.1, 0.5, 0.2, 0.5, 0.0]
    np.testing.assert_array_equal(acquisition.top_k(scores, 4), [1, 3, 2, 0])
    found = acquisition.top_k(ops.convert_to_tensor(scores), 2)
    np.testing.assert_array_equal(found, [1, 3])


def test_scores_of_one_output_have_an_axis_too_many():
    scores = np.array([0.1, 0.5, 0.2, 0.5])
    for choose in (acquisition.top_k, acquisition.stochastic_top_k):
        more = {} if choose is acquisition.top_k else {"seed": 3}
        np.testing.assert_array_equal(
            choose(scores[:, None], 2, **more), choose(scores, 2, **more)
        )


@pytest.mark.parametrize("method", ["power", "softmax", "soft_rank"])
def test_pairs_are_drawn_with_their_probability(method):
    scores, beta, times = np.array([0.2, 0.7, 0.4]), 1.5, 4000
    weight = {
        "power": scores**beta,
        "softmax": np.exp(beta * scores),
        "soft_rank": np.array([3.0, 1.0, 2.0]) ** -beta,
    }[method]
    found = [
        tuple(acquisition.stochastic_top_k(scores, 2, method, beta, seed))
        for seed in range(times)
    ]
    for first, second in itertools.permutations(range(3), 2):
        p = weight[first] / weight.sum()
        p *= weight[second] / (weight.sum() - weight[first])
        part = found.count((first, second)) / times
        assert abs(part - p) < 5.0 * math.sqrt(p * (1.0 - p) / times)


def test_a_high_beta_is_top_k_and_a_seed_repeats_itself():
    scores = GENERATOR.uniform(0.1, 1.0, 50)
    for method in ("softmax", "power"):
        found = acquisition.stochastic_top_k(scores, 10, method, 1e6, seed=0)
        np.testing.assert_array_equal(found, acquisition.top_k(scores, 10))
    draw = acquisition.stochastic_top_k
    np.testing.assert_array_equal(
        draw(scores, 10, seed=1), draw(scores, 10, seed=1)
    )
    assert (draw(scores, 10, seed=1) != draw(scores, 10, seed=2)).any()
    assert (draw(scores, 10) != draw(scores, 10)).any()


def test_draws_that_are_refused():
    draw = acquisition.stochastic_top_k
    with pytest.raises(ValueError, match="scores of at least 0.*-1"):
        draw([-1.0, 2.0], 1)
    with pytest.raises(ValueError, match="k=2 and 1 scores above 0"):
        draw([0.0, 2.0], 2)
    assert list(draw([0.0, 2.0], 1)) == [1]
    assert sorted(draw([0.0, 2.0], 2, "soft_rank")) == [0, 1]
    with pytest.raises(ValueError, match="`method` must be"):
        draw([1.0], 1, "gibbs")
    with pytest.raises(ValueError, match="`beta` must be a number above 0"):
        draw([1.0], 1, beta=0.0)
    with pytest.raises(ValueError, match="k=3 of 2 rows"):
        acquisition.top_k([1.0, 2.0], 3)
    with pytest.raises(ValueError, match="scores not finite"):
        acquisition.top_k([1.0, math.nan], 1)
    with pytest.raises(ValueError, match=r"scores of shape \(1, 2\)"):
        acquisition.top_k([[1.0, 2.0]], 1)


def prediction(plan="shared", seed=0, **statistics):
    return kerasdrop.Predictive(statistics, 5, seed, plan, "probabilities")


def test_a_prediction_stands_for_its_joint_samples():
    found = acquisition.batch_bald(prediction(samples=POOL), 3, verbose=0)
    expected = acquisition.batch_bald(POOL, 3, verbose=0)
    np.testing.assert_array_equal(found.rows, expected.rows)
    both = prediction(samples=POOL), prediction(samples=POOL[:4])
    np.testing.assert_array_equal(
        acquisition.epig(*both), acquisition.epig(POOL, POOL[:4])
    )


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (prediction("stratified", samples=POOL), "plan='stratified'"),
        (prediction("independent", samples=POOL), "plan='independent'"),
        (prediction(mean=POOL[:, 0]), "keep_samples=True.*with mean"),
    ],
)
def test_a_prediction_without_joint_samples_is_refused(result, message):
    with pytest.raises(ValueError, match=f"batch_bald: .*{message}"):
        acquisition.batch_bald(result, 3, verbose=0)
    with pytest.raises(ValueError, match=f"epig: .*target_samples.*{message}"):
        acquisition.epig(POOL, result)


def test_predictions_of_other_networks_are_refused():
    one, other = prediction(samples=POOL), prediction(seed=1, samples=POOL)
    with pytest.raises(ValueError, match=r"one seed.*seeds \[0, 1\]"):
        acquisition.epig(one, other)

"""`fit_rates` with groups: a known optimum, and points of `mc_predict`."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop import calibration
from kerasdrop.montecarlo.engine import batch_pass
from tests.support import untouched
from tests.support.rate_fits import GRID
from tests.support.rate_fits import X4
from tests.support.rate_fits import Y4
from tests.support.rate_fits import fit
from tests.support.rate_fits import two_layers

TWO = {"one": "early", "other": "late"}


def caller_of(text, seen):
    """The file that a warning with this text is said to come from."""
    (one,) = [one for one in seen if text in str(one.message)]
    return one.filename


def two_sums(width=16):
    """A linear network of two inputs, with dropout on each of them."""
    inputs = [keras.Input((width,), name=name) for name in "ab"]
    dropped = [layers.Dropout(0.1, name=f"drop_{x.name}")(x) for x in inputs]
    outputs = layers.Dense(1)(layers.Concatenate()(dropped))
    return keras.Model(inputs, outputs)


def normal_loss(y, result):
    return calibration.gaussian_negative_log_likelihood(
        y, result.mean, result.variance
    )


def fit_of_residuals(best, **settings):
    """The fit to residuals of just the size that two rates predict; exactly.

    A linear network has variances of rate / (1 - rate) times w^2 x^2, summed
    over both inputs. With such residuals the normal likelihood of each row is
    highest at these rates.

    Returns:
        A `RateFit`, and the loss at the best rates.
    """
    generator = np.random.default_rng(1)
    x = generator.normal(size=(2, 96, 16)).astype("float32")
    x[0, 32:64] = 0.0  # so that each rate shows in rows of its own
    x[1, :32] = 0.0
    model = two_sums()
    weights = generator.normal(size=(32, 1))
    model.layers[-1].set_weights([weights, np.zeros(1)])
    squares = np.square(x) @ np.square(weights.reshape(2, 16, 1))
    odds = np.array([rate / (1.0 - rate) for rate in best])
    variance = np.tensordot(odds, squares, 1)
    sides = np.where(np.arange(96) % 2, 1.0, -1.0)[:, None]
    y = np.concatenate(list(x), axis=1) @ weights + sides * np.sqrt(variance)
    found = fit(
        model,
        list(x),
        y,
        groups={"first": "drop_a", "second": ["drop_b"]},
        score=normal_loss,
        direction="lowest",
        kind="regression",
        num_samples=128,
        batch_size=96,
        **settings,
    )
    return found, 0.5 * (np.log(2.0 * np.pi * variance) + 1.0).mean()


@pytest.mark.parametrize("best", [(0.25, 0.5), (0.5, 0.125)])
@pytest.mark.filterwarnings("ignore:fit_rates. the score 'normal_loss' of weig")
def test_the_rates_whose_variances_are_those_of_the_residuals(best):
    found, exact = fit_of_residuals(best)

    assert found.rates == dict(zip(["drop_a", "drop_b"], best))
    assert found.has_converged
    assert [one.rate for one in found.groups.values()] == list(best)
    # One rate for all has variances that are wrong by half in most rows.
    assert found.equivalent == ()
    assert "No rate for all is as good" in str(found)
    # A variance of 128 samples is off by 12 %, its effect is of second order.
    np.testing.assert_allclose(found.best_score, exact, atol=0.03)


@pytest.mark.filterwarnings("ignore:fit_rates. the score 'normal_loss' of weig")
def test_too_few_sweeps_are_said():
    # Both rates have to move from any that is common to them.
    with pytest.warns(UserWarning, match="stopped after 1 sweeps") as seen:
        found, _ = fit_of_residuals((0.5, 0.125), max_sweeps=1)
    assert "rate_fits.py" in caller_of("stopped", seen)
    assert not found.has_converged
    assert "stopped in sweep 1, before it had converged" in str(found)


@functools.cache
def searched():
    """The log-likelihood of each row by pair of rates; a fit; its model."""
    model = two_layers()
    scores = {}
    for pair in itertools.product(GRID, GRID):
        result = kerasdrop.mc_predict(
            model,
            X4,
            y=Y4,
            rate=dict(zip(["early", "late"], pair)),
            num_samples=16,
            seed=3,
            verbose=0,
            verify=False,
        )
        scores[pair] = result.log_likelihood
    found = fit(model, X4, Y4, groups=TWO, num_samples=16)
    return scores, found, model


class TestTheSearch:
    """Each score is that of `mc_predict` at these rates and this seed."""

    def test_ends_where_no_group_alone_can_be_better(self):
        scores, found, _ = searched()
        best = tuple(found.rates.values())
        assert found.has_converged
        assert list(found.rates) == ["early", "late"]
        top = scores[best].mean()
        assert all(
            scores[pair].mean() <= top + 1e-6
            for pair in scores
            if pair[0] == best[0] or pair[1] == best[1]
        )
        # It begins at the best of these, and never gets worse.
        assert top >= max(scores[rate, rate].mean() for rate in GRID) - 1e-6

    def test_the_curves_are_those_of_mc_predict(self):
        scores, found, _ = searched()
        best = tuple(found.rates.values())
        first, second = best
        lines = {
            "one": [(rate, second) for rate in GRID],
            "other": [(first, rate) for rate in GRID],
        }
        for name, pairs in lines.items():
            self.check(scores, found.groups[name], best, pairs)
        self.check(scores, found, best, [(rate, rate) for rate in GRID])
        assert found.groups["one"].layers == ("early",)
        same = {"rtol": 2e-6}
        np.testing.assert_allclose(
            found.best_score, scores[best].mean(), **same
        )
        np.testing.assert_allclose(
            found.gain, found.best_score - found.weight_scaling, rtol=1e-4
        )

    def check(self, scores, curve, best, pairs):
        each = np.stack([scores[pair] for pair in pairs])
        worse = scores[best] - each
        close = {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(curve.scores, each.mean(axis=1), rtol=2e-6)
        np.testing.assert_allclose(
            curve.shortfalls, worse.mean(axis=1), **close
        )
        np.testing.assert_allclose(
            curve.shortfall_errors,
            worse.std(axis=1, ddof=1) / 20**0.5,
            **close,
        )

    def test_the_rates_are_an_argument_and_can_be_set(self):
        scores, found, model = searched()
        result = kerasdrop.mc_predict(
            model,
            X4,
            y=Y4,
            rate=found.rates,
            layers=list(found.rates),
            num_samples=16,
            seed=3,
            verbose=0,
        )
        best = tuple(found.rates.values())
        np.testing.assert_array_equal(result.log_likelihood, scores[best])

    def test_it_is_read_as_it_was_written(self):
        found = searched()[1]
        assert kerasdrop.RateFit.from_json(found.to_json()) == found

    def test_a_function_finds_the_same(self):
        _, found, model = searched()

        def mean(y, result):
            rows = np.arange(len(y))
            return np.log(result.mean[rows, y]).mean()

        settings = {"groups": TWO, "num_samples": 16}
        by_function = fit(
            model, X4, Y4, score=mean, direction="highest", **settings
        )
        assert by_function.rates == found.rates
        np.testing.assert_allclose(
            by_function.groups["one"].scores,
            found.groups["one"].scores,
            rtol=1e-5,
        )


def test_the_cost_is_said_before_it_runs(capsys):
    def stopped(y, result):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fit(
            two_layers(),
            X4,
            Y4,
            groups=TWO,
            score=stopped,
            direction="lowest",
            num_samples=16,
            max_sweeps=3,
            verbose=2,
        )
    said = capsys.readouterr().out
    assert "2 x 3 rates in each of at most 3 sweeps" in said
    assert "at most 7 times as long as the first pass" in said


@pytest.mark.parametrize("calls_done", [1, 4, 6])
def test_after_ctrl_c_the_fit_is_of_what_was_tried(monkeypatch, calls_done):
    model = two_layers()
    settings = {"groups": TWO, "num_samples": 16, "batch_size": 8}
    fit(model, X4, Y4, **settings)
    before = untouched.state_of(model)
    at_several = batch_pass.Pass.at_several
    calls = []

    def broken(self, several):
        calls.append(self)
        # Four calls are of the first pass: three batches, the first twice.
        if len(calls) == calls_done + 2:
            raise KeyboardInterrupt
        return at_several(self, several)

    monkeypatch.setattr(batch_pass.Pass, "at_several", broken)
    with pytest.warns(UserWarning, match="Interrupted") as seen:
        found = fit(model, X4, Y4, **settings)
    assert "rate_fits.py" in caller_of("Interrupted", seen)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        fit(model, X4, Y4, **settings, on_interrupt="raise")
    monkeypatch.undo()
    untouched.assert_same_state(
        before, untouched.state_of(model), "a broken fit_rates"
    )
    is_in_first = calls_done == 1
    assert found.is_complete is not is_in_first
    assert found.num_rows == (8 if is_in_first else 20)
    assert not found.has_converged
    first, second = found.rates.values()
    assert first == second  # none was moved
    known = [one is not None for one in found.groups["one"].scores]
    assert known == [rate == first for rate in GRID]
    rows = found.num_rows
    whole = fit(model, X4[:rows], Y4[:rows], num_samples=16)
    np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-6)
    assert kerasdrop.RateFit.from_json(found.to_json()) == found
    assert "before it had converged" in str(found)


class TestBatches:
    def batches(self, order):
        return [(X4[rows], Y4[rows]) for rows in order]

    class Data(keras.utils.PyDataset):
        def __init__(self, orders):
            super().__init__()
            self.orders = itertools.cycle(orders)

        @property
        def num_batches(self):
            return 2

        def __getitem__(self, number):
            if number == 0:
                self.order = next(self.orders)
            rows = self.order[10 * number : 10 * number + 10]
            return X4[rows], Y4[rows]

    def test_that_come_again_are_as_arrays(self):
        model = two_layers()
        settings = {"groups": TWO, "num_samples": 16, "batch_size": 10}
        found = fit(model, self.Data([np.arange(20)]), True, **settings)
        assert found == fit(model, X4, Y4, **settings)

    def test_that_come_once_are_refused(self):
        batches = ((X4, Y4) for _ in range(1))
        with pytest.raises(ValueError, match=r"yields it only once.*generator"):
            fit(two_layers(), batches, True, groups=TWO)

    def test_in_another_order_are_refused(self):
        data = self.Data([np.arange(20), np.arange(20)[::-1]])
        with pytest.raises(ValueError, match="Turn shuffling off"):
            fit(two_layers(), data, True, groups=TWO, num_samples=16)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, r"two or more groups.*groups=\{\}"),
        ({"all": ["early", "late"]}, "two or more groups"),
        (
            {"a": "early", "b": ["late", "early"]},
            "must not overlap.*'a' and 'b', which both have 'early'",
        ),
        ({"a": "early", "b": []}, "in group 'b', .*`layers` is empty"),
        ({"a": "early", "b": None}, "group 'b' .* must say.*None"),
        (
            {"a": "early", "b": "nowhere"},
            "in group 'b', no layer that can draw.*'nowhere'",
        ),
        ({"a": "early", 2: "late"}, r"names of your choice.*2 \(of type int\)"),
        ({"a": "early", "": "late"}, "names of your choice.*''"),
        ({"a": "early", "b": 5}, "in group 'b', .*5 .of type int"),
        ([["early"], ["late"]], r"`groups` must be.*\['early'\]"),
    ],
)
def test_bad_groups_are_refused(groups, message):
    with pytest.raises(
        (ValueError, TypeError), match=f"(?s)^fit_rates: .*{message}"
    ):
        fit(two_layers(), X4, Y4, groups=groups)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": TWO, "layers": "early"}, "Leave `layers` out.*'early'"),
        ({"max_sweeps": 2}, "for groups of layers.*max_sweeps=2"),
        ({"max_sweeps": 0, "groups": TWO}, "max_sweeps.*0"),
        ({"rates": {"one": GRID}, "groups": TWO}, "`rates` must be a"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(
        (ValueError, TypeError), match=f"(?s)^fit_rates: .*{message}"
    ):
        fit(two_layers(), X4, Y4, **settings)

"""`fit_rates`: scores in closed form, and those of `mc_predict`."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop import calibration
from kerasdrop.montecarlo.engine import batch_pass
from tests.support import rate_fits
from tests.support import untouched
from tests.support.rate_fits import GRID
from tests.support.rate_fits import X4
from tests.support.rate_fits import Y4
from tests.support.rate_fits import two_layers

TRACES = keras.backend.backend() != "torch"
# Of 16 stratified samples a unit is dropped at the rates of GRID in 2, 4, 8 and
# 12: of one unit the mixture is exact.
X = np.random.default_rng(0).uniform(0.5, 3.0, (96, 1)).astype("float32")
# Every third target is the other class, however sure the network is.
Y = (np.arange(96) % 3 == 0).astype("int32")
SLOPE = 2.0


def one_unit(dropout=None):
    """Two classes, whose logits are SLOPE x and 0."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            dropout or layers.Dropout(0.3, name="unit"),
            layers.Dense(2, activation="softmax", use_bias=False),
        ]
    )
    model.layers[-1].set_weights([np.array([[SLOPE, 0.0]])])
    return model


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def probability(rate):
    """Of the targets: the mean over both masks of the unit."""
    kept = sigmoid(SLOPE * X[:, 0].astype("float64") / (1.0 - rate))
    of_first = (1.0 - rate) * kept + rate * 0.5
    return np.where(Y == 0, of_first, 1.0 - of_first)


def fit(model, x=X, y=Y, **settings):
    return rate_fits.fit(model, x, y, **settings)


def error(differences):
    return differences.std(ddof=1) / len(differences) ** 0.5


class TestAgainstEnumeratedMasks:
    """One unit has two masks, so that all scores are known."""

    @pytest.mark.parametrize(
        ("score", "of_probability", "sign"),
        [
            ("log_likelihood", np.log, 1.0),
            ("brier", lambda p: 2.0 * (1.0 - p) ** 2, -1.0),
        ],
    )
    def test_the_curve_its_errors_and_the_best(
        self, score, of_probability, sign
    ):
        found = fit(one_unit(), score=score, num_samples=32)

        each = np.stack([of_probability(probability(rate)) for rate in GRID])
        best = np.argmax(sign * each.mean(axis=1))
        worse = sign * (each[best] - each)
        plain = of_probability(probability(0.0))
        assert found.rate == GRID[best]
        assert found.rates == {"unit": GRID[best]}
        close = {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(found.scores, each.mean(axis=1), **close)
        np.testing.assert_allclose(found.monte_carlo_errors, 0.0, atol=1e-6)
        np.testing.assert_allclose(
            found.shortfalls, worse.mean(axis=1), **close
        )
        np.testing.assert_allclose(
            found.shortfall_errors, [error(row) for row in worse], **close
        )
        gains = sign * (each[best] - plain)
        np.testing.assert_allclose(found.weight_scaling, plain.mean(), **close)
        np.testing.assert_allclose(found.gain, gains.mean(), **close)
        np.testing.assert_allclose(found.gain_error, error(gains), **close)
        assert found.helps == (gains.mean() > 2.0 * error(gains))
        told = worse.mean(axis=1) > 2.0 * np.array(found.shortfall_errors)
        assert found.equivalent == tuple(np.array(GRID)[~told])

    def test_a_function_has_errors_by_a_bootstrap(self):
        def mean_brier(y, result):
            return calibration.brier_score(y, result.mean)

        model = one_unit()
        by_name = fit(model, score="brier", num_samples=16)
        found = fit(model, score=mean_brier, direction="lowest", num_samples=16)

        assert (found.score, found.direction) == ("mean_brier", "lowest")
        np.testing.assert_allclose(found.scores, by_name.scores, rtol=1e-6)
        assert found.monte_carlo_errors == (None,) * len(GRID)
        # Of 100 resamples a standard deviation is off by 7 %, 5 sigma.
        np.testing.assert_allclose(
            found.shortfall_errors, by_name.shortfall_errors, rtol=0.36
        )
        np.testing.assert_allclose(
            found.gain_error, by_name.gain_error, rtol=0.36
        )

    def test_a_network_that_is_right_needs_no_dropout(self):
        found = fit(one_unit(), y=np.zeros(96, "int32"), num_samples=16)

        assert found.rate == GRID[0]
        assert found.is_at_end
        assert not found.helps
        assert found.gain < 0.0
        assert "Dropout does not help beyond its error" in str(found)
        assert "at an end of the grid" in str(found)

    def test_one_that_is_too_sure_is_helped(self):
        found = fit(one_unit(), num_samples=16)

        assert found.helps
        assert "Dropout helps" in str(found)

    def test_the_calibration_error_comes_with_a_warning(self):
        with pytest.warns(UserWarning, match="not a proper score"):
            found = fit(one_unit(), score="calibration_error", num_samples=16)

        for rate, score in zip(GRID, found.scores):
            p = probability(rate)
            both = np.stack([p, 1.0 - p], axis=-1)
            both[Y == 1] = both[Y == 1, ::-1]
            expected = calibration.expected_calibration_error(Y, both)
            np.testing.assert_allclose(score, expected, atol=1e-5)


def test_the_rate_whose_variance_is_that_of_the_residuals():
    # A linear network has variances of rate / (1 - rate) times w^2 x^2, and
    # here stratified samples have its exact mean. With residuals of that size
    # at a rate, its normal likelihood is highest there.
    x = np.random.default_rng(1).normal(size=(64, 16)).astype("float32")
    model = keras.Sequential(
        [keras.Input((16,)), layers.Dropout(0.1), layers.Dense(1)]
    )
    weights = np.random.default_rng(2).normal(size=(16, 1))
    model.layers[-1].set_weights([weights, np.zeros(1)])
    squares = np.square(x) @ np.square(weights)
    sides = np.where(np.arange(64) % 2, 1.0, -1.0)[:, None]

    def loss(y, result):
        return calibration.gaussian_negative_log_likelihood(
            y, result.mean, result.variance
        )

    for best in (0.25, 0.5):
        odds = best / (1.0 - best)
        y = x @ weights + sides * np.sqrt(odds * squares)
        with pytest.warns(UserWarning, match="variance is 0"):
            found = fit(
                model,
                x,
                y,
                score=loss,
                direction="lowest",
                kind="regression",
                num_samples=128,
                batch_size=64,
            )
        assert found.rate == best
        assert found.weight_scaling is None
        assert found.helps is None
        by_crps = fit(
            model,
            x,
            y,
            score="crps",
            kind="regression",
            num_samples=128,
            batch_size=64,
        )
        for rate, score in zip(GRID, by_crps.scores):
            variance = squares * rate / (1.0 - rate)
            exact = calibration.gaussian_crps(y, x @ weights, variance)
            # A variance of 128 samples is off by 12 %, of 64 rows by 1.6 %,
            # a standard deviation by half of it: 5 sigma.
            np.testing.assert_allclose(score, exact, rtol=0.04)
        distance = np.abs(y - x @ weights).mean()
        np.testing.assert_allclose(by_crps.weight_scaling, distance, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 8},
        {"layers": "late", "num_samples": 40},
        {"num_samples": 272},  # in two compiled calls
        {"vectorized": False, "num_samples": 16},
    ],
)
def test_the_curve_is_that_of_mc_predict(settings):
    model = two_layers()
    found = fit(model, X4, Y4, **settings)

    for rate, score in zip(GRID, found.scores):
        result = kerasdrop.mc_predict(
            model, X4, y=Y4, rate=rate, seed=3, verbose=0, **settings
        )
        np.testing.assert_allclose(
            score, result.log_likelihood.mean(), rtol=2e-6
        )
    # As it is, it is an argument.
    settings = {"seed": 3, "verbose": 0, "y": Y4, **settings}
    selected = {**settings, "layers": list(found.rates)}
    result = kerasdrop.mc_predict(model, X4, rate=found.rates, **selected)
    np.testing.assert_allclose(
        found.best_score, result.log_likelihood.mean(), rtol=2e-6
    )
    plain = model.predict(X4, verbose=0)[np.arange(20), Y4]
    np.testing.assert_allclose(
        found.weight_scaling, np.log(plain).mean(), rtol=1e-5
    )


def test_the_monte_carlo_error_is_the_spread_over_seeds():
    model = two_layers()
    fits = [
        fit(model, X4, Y4, seed=seed, rates=(0.3, 0.6), num_samples=16)
        for seed in range(24)
    ]
    spread = np.std([one.scores for one in fits], axis=0, ddof=1)
    stated = np.mean([one.monte_carlo_errors for one in fits], axis=0)
    # A spread of 24 is off by 15 %.
    np.testing.assert_allclose(stated, spread, rtol=0.75)


def test_at_a_rate_of_0_it_is_weight_scaling():
    found = fit(two_layers(), X4, Y4, rates=(0.0, 0.5), num_samples=16)
    np.testing.assert_allclose(found.scores[0], found.weight_scaling, rtol=1e-6)


def test_what_is_before_the_first_dropout_runs_once_for_all_rates():
    calls = []  # no attribute, a change of which would make another model

    class Counting(layers.Layer):
        def call(self, inputs):
            calls.append(inputs)
            return inputs + 0.0

    x = keras.Input((4,))
    h = layers.Dropout(0.2)(Counting()(x))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(h))
    fit(model, X4, Y4, num_samples=16, rates=(0.1, 0.2, 0.3, 0.4))
    calls.clear()
    fit(model, X4, Y4, num_samples=16, rates=(0.5, 0.6, 0.7, 0.8), seed=4)
    # For all rates and weight scaling; again with another seed.
    assert len(calls) == (0 if TRACES else 2)


class AlwaysOn(layers.Dropout):
    """The class of the book."""

    def call(self, inputs):
        return super().call(inputs, training=True)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: kerasdrop.layers.MCDropout(0.3),
        lambda: AlwaysOn(0.3),
        # Its factor at inference is that of its own rate.
        lambda: kerasdrop.layers.ClassicDropout(0.25),
    ],
    ids=["ours", "book", "classic"],
)
def test_weight_scaling_is_a_prediction_in_which_nothing_draws(layer):
    dropout = layer()
    found = fit(one_unit(dropout), num_samples=16)
    factor = 0.75 if "Classic" in type(dropout).__name__ else 1.0
    of_first = sigmoid(SLOPE * factor * X[:, 0])
    expected = np.log(np.where(Y == 0, of_first, 1.0 - of_first)).mean()
    np.testing.assert_allclose(found.weight_scaling, expected, rtol=1e-5)


def test_several_outputs_and_targets_from_batches():
    x = keras.Input((4,))
    h = layers.Dropout(0.2)(x)
    outputs = {"a": layers.Dense(1)(h), "b": layers.Dense(2)(h)}
    model = keras.Model(x, outputs)
    y = {"a": np.zeros((20, 1)), "b": np.ones((20, 2))}

    def score(y, result):
        return sum(
            np.square(y[name] - result.mean[name]).mean() for name in "ab"
        )

    settings = {"kind": "regression", "num_samples": 16}
    found = fit(model, X4, y, score=score, direction="lowest", **settings)
    batches = [(X4[:16], {k: v[:16] for k, v in y.items()})]
    batches += [(X4[16:], {k: v[16:] for k, v in y.items()})]
    again = fit(
        model,
        (batch for batch in batches),
        True,
        score=score,
        direction="lowest",
        **settings,
    )
    np.testing.assert_allclose(again.scores, found.scores, rtol=1e-5)
    with pytest.raises(ValueError, match=r"one output.*2 outputs"):
        fit(model, X4, y, score="crps", **settings)


def test_a_binary_output():
    model = keras.Sequential(
        [
            keras.Input((1,)),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid", use_bias=False),
        ]
    )
    model.layers[-1].set_weights([np.array([[-SLOPE]])])
    found = fit(model, score="brier", num_samples=16)
    expected = [2.0 * np.square(1.0 - probability(r)).mean() for r in GRID]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)


class TestTheModelIsAsItWas:
    @pytest.fixture
    def model(self):
        model = two_layers()
        model.compile("sgd", "sparse_categorical_crossentropy")
        kerasdrop.mc_predict(model, X4, 16, verbose=0, verify=False)
        return model

    def test_afterwards(self, model):
        before = untouched.state_of(model)
        fit(model, X4, Y4, num_samples=16, verify=True)
        after = untouched.state_of(model)
        untouched.assert_same_state(before, after, "fit_rates")

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
    def test_after_it_was_broken_off(self, model, monkeypatch, interrupt):
        whole = fit(model, X4, Y4, num_samples=16, batch_size=8)
        before = untouched.state_of(model)
        at_several = batch_pass.Pass.at_several
        calls = []

        def broken(self, several):
            calls.append(self)
            if len(calls) == 3:  # the first batch makes two
                raise interrupt
            return at_several(self, several)

        monkeypatch.setattr(batch_pass.Pass, "at_several", broken)
        settings = {"num_samples": 16, "batch_size": 8}
        if interrupt is MemoryError:
            with pytest.raises(MemoryError):
                fit(model, X4, Y4, **settings)
        else:
            with pytest.warns(UserWarning, match="first 8 rows"):
                found = fit(model, X4, Y4, **settings)
            assert (found.num_rows, found.is_complete) == (8, False)
            assert "interrupted" in str(found)
            first = fit(model, X4[:8], Y4[:8], **settings)
            np.testing.assert_allclose(found.scores, first.scores, rtol=1e-6)
            calls.clear()
            with pytest.raises(KeyboardInterrupt):
                fit(model, X4, Y4, **settings, on_interrupt="raise")
        monkeypatch.undo()
        after = untouched.state_of(model)
        untouched.assert_same_state(before, after, "a broken fit_rates")
        again = fit(model, X4, Y4, num_samples=16, batch_size=8)
        assert again == whole


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rates": 0.5}, r"`rates` must be a list.*rates=0.5"),
        ({"rates": [0.5]}, r"two or more numbers.*\[0.5\]"),
        ({"rates": [0.5, 0.2]}, r"above the one before.*\[0.5, 0.2\]"),
        ({"rates": [0.5, 1.5]}, r"in \[0, 1\].*1.5"),
        ({"y": None}, "Pass `y`.*y=None"),
        ({"y": Y4[:7]}, "same number of rows"),
        ({"x": X4[:1], "y": Y4[:1]}, "at least two.*Received: 1 row"),
        ({"score": "accuracy"}, "log_likelihood, crps, brier.*'accuracy'"),
        ({"score": len}, "say whether.*direction=None"),
        ({"score": len, "direction": "up"}, "`direction` must be.*'up'"),
        ({"direction": "lowest"}, "the highest value .*'lowest'"),
        ({"score": "crps"}, "outputs that are numbers.*'probabilities'"),
        ({"score": "brier", "kind": "regression"}, "are classes.*'regression'"),
        ({"kind": "regression"}, "Pass `noise_variance`"),
        ({"layers": "none"}, "no layer that can draw .*layers='none'"),
        ({"y": np.full(20, 7)}, "NaN in 20 of 20 rows, first in row 0"),
        ({"num_samples": 0}, "num_samples"),
        ({"on_interrupt": "go"}, "`on_interrupt` must be.*'go'"),
        ({"rates": []}, r"two or more numbers.*\[\]"),
        ({"rates": [0.1, float("nan")]}, r"in \[0, 1\].*nan"),
        ({"rates": [-0.1, 0.5]}, r"in \[0, 1\].*-0.1"),
        ({"y": True}, "y=True"),
        ({"x": X4[:0], "y": Y4[:0]}, "at least one row"),
        ({"x": iter([(X4, Y4)])}, "`y=True` uses the targets"),
        ({"x": iter([X4]), "y": True}, "contain its targets"),
        ({"layers": []}, "`layers` is empty"),
        ({"batch_size": 0}, "`batch_size`.*0"),
        ({"score": "calibration_error", "kind": "regression"}, "are classes"),
        ({"noise_variance": 1.0}, "noise_variance"),
        ({"kind": "binary"}, r"targets, 0 or 1 each.*shape \(20,\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:fit_rates. the calibration error")
def test_bad_input_is_refused(settings, message):
    arguments = {"x": X4, "y": Y4, "num_samples": 16, **settings}
    with pytest.raises(ValueError, match=f"(?s)^fit_rates: .*{message}"):
        fit(two_layers(), **arguments)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(20), r"one number.*shape \(20,\)"),
        ([0.5], r"one number.*shape \(1,\)"),
        (None, "one number.*type object"),
        ("good", "one number.*type <U4"),
        (True, "one number.*type bool"),
    ],
    ids=["rows", "list", "None", "string", "bool"],
)
def test_a_function_that_returns_no_number_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        fit(
            two_layers(),
            X4,
            Y4,
            score=lambda y, result: value,
            direction="lowest",
            num_samples=16,
        )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_score_that_is_finite_nowhere_is_refused(value):
    with pytest.raises(ValueError, match="finite at none of the rates"):
        fit(
            two_layers(),
            X4,
            Y4,
            score=lambda y, result: value,
            direction="lowest",
            num_samples=16,
        )


def test_a_score_that_is_nan_at_one_rate_is_not_known_there():
    values = iter([0.5, np.nan, 0.25, 0.75])

    def score(y, result):
        return next(values, 0.5)  # of weight scaling, of resampled rows

    found = fit(
        two_layers(),
        X4,
        Y4,
        score=score,
        direction="lowest",
        num_samples=16,
    )
    assert found.scores == (0.5, None, 0.25, 0.75)
    assert found.rate == GRID[2]
    assert GRID[1] not in found.equivalent


def test_targets_that_are_not_classes_are_refused():
    with pytest.raises(ValueError, match="whole numbers from 0 to 2.*7"):
        fit(two_layers(), X4, np.full(20, 7), score="brier", num_samples=16)


def test_a_model_without_dropout_is_refused():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation="softmax")]
    )
    with pytest.raises(ValueError, match="^fit_rates: no layer .*to draw"):
        fit(model, X4, Y4)


def test_a_grid_that_a_layer_has_no_draw_at_is_refused():
    model = one_unit(layers.GaussianDropout(0.2, name="noise"))
    for grouped in (None, "noise"):
        with pytest.raises(ValueError, match="'noise'.*must be below 1"):
            fit(model, rates=(0.5, 1.0), layers=grouped)

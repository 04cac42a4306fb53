"""`mc_sobol_indices` against closed forms, enumeration and scipy."""

import itertools

import keras
import numpy as np
import pytest
import scipy.stats
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop.montecarlo.engine import batch_pass
from tests.support import untouched

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")

# So many standard errors: of some hundred checks one in 3,000 fails.
MANY = 5.0


def shares_of(model, x=X, **settings):
    settings = {"seed": 0, "verbose": 0, "kind": "regression", **settings}
    return kerasdrop.mc_sobol_indices(model, x, **settings)


class Constant(keras.initializers.Initializer):
    def __init__(self, weights):
        self.weights = weights

    def __call__(self, shape, dtype=None, **kwargs):
        return ops.convert_to_tensor(self.weights)

    def get_config(self):
        return {"weights": self.weights.tolist()}


def fixed(weights):
    """A layer without a bias, whose kernel is `weights`."""
    weights = np.array(weights, "float32")
    return layers.Dense(
        weights.shape[1],
        use_bias=False,
        kernel_initializer=Constant(weights),
    )


def branches(join):
    """Two sums of dropped inputs, joined; the rates are .5 and .2."""
    inputs = keras.Input((4,))
    left = layers.Dropout(0.5, name="left")(inputs)
    right = layers.Dropout(0.2, name="right")(inputs)
    parts = [fixed(np.ones((4, 1)))(left), fixed(np.ones((4, 1)))(right)]
    return keras.Model(inputs, join(parts))


def variance_of(rate):
    """Of a sum of dropped inputs, `p / (1 - p) * sum(x**2)`, for each row."""
    return rate / (1.0 - rate) * (X.astype("float64") ** 2).sum(1)


def assert_close(found, errors, expected):
    # An error of 0 is that of a share that is exact but for rounding.
    tolerance = MANY * np.array(errors) + 1e-5
    assert np.all(np.abs(np.array(found) - expected) < tolerance), (
        found,
        errors,
        expected,
    )


def test_sums_have_the_shares_of_their_variances():
    found = shares_of(branches(layers.Add()))

    variances = np.array([variance_of(rate).sum() for rate in (0.5, 0.2)])
    expected = variances / variances.sum()
    assert found.names == ("left", "right")
    assert_close(found.first_order, found.first_order_errors, expected)
    assert_close(found.total, found.total_errors, expected)
    assert max(found.first_order_errors + found.total_errors) < 0.04


def test_a_product_has_shares_in_combination():
    found = shares_of(branches(layers.Multiply()), num_samples=256)

    mean = X.astype("float64").sum(1) ** 2
    left, right = variance_of(0.5), variance_of(0.2)
    alone = np.array([(left * mean).sum(), (right * mean).sum()])
    both = (left * right).sum()
    whole = alone.sum() + both
    assert_close(found.first_order, found.first_order_errors, alone / whole)
    assert_close(found.total, found.total_errors, (alone + both) / whole)
    assert found.variance == pytest.approx(whole / len(X), rel=0.1)


def test_masks_that_are_enumerated():
    weights = np.array([[1.0, -2.0], [0.5, 1.5]])
    inputs = keras.Input((2,))
    hidden = layers.Dropout(0.5, name="first")(inputs)
    hidden = layers.Activation("tanh")(fixed(weights)(hidden))
    hidden = layers.Dropout(0.25, name="second")(hidden)
    outputs = fixed([[1.0, 1.0], [1.0, -0.5]])(hidden)
    model = keras.Model(inputs, outputs)
    x = np.array([[1.0, 0.7]], "float32")

    found = shares_of(model, np.repeat(x, 200, 0), num_samples=64)

    values, chances = [], []
    masks = list(itertools.product([0, 1], repeat=2))
    for first in masks:
        hidden = np.tanh(x[0] * np.array(first) / 0.5 @ weights)
        chance = [0.75 ** sum(m) * 0.25 ** (2 - sum(m)) for m in masks]
        values.append(
            [
                (hidden * np.array(second) / 0.75)
                @ np.array([[1.0, 1.0], [1.0, -0.5]])
                for second in masks
            ]
        )
        chances.append(np.array(chance) / 4.0)
    values, chances = np.array(values), np.array(chances)[..., None]
    mean = (values * chances).sum((0, 1))
    whole = ((values - mean) ** 2 * chances).sum()
    alone = []
    for axis in (1, 0):
        weight = chances.sum(axis, keepdims=True)
        given = (values * chances).sum(axis, keepdims=True) / weight
        alone.append(((given - mean) ** 2 * weight).sum() / whole)
    assert_close(found.first_order, found.first_order_errors, alone)
    total = 1.0 - np.array(alone)[::-1]
    assert_close(found.total, found.total_errors, total)
    assert found.total_errors[0] < 0.02


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Ishigami(layers.Layer):
    def call(self, inputs):
        a, b, c = inputs
        return ops.sin(a) + 2.0 * ops.square(ops.sin(b)) + 0.1 * c**4 * a


def test_a_function_of_normal_numbers_has_the_shares_of_scipy():
    inputs = keras.Input((1,))
    noises = [
        layers.GaussianNoise(1.0, name=name)(inputs)
        for name in ("one", "two", "three")
    ]
    model = keras.Model(inputs, Ishigami()(noises))

    def function(x):
        return np.sin(x[0]) + 2.0 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * x[0]

    reference = scipy.stats.sobol_indices(
        func=function,
        n=2**16,
        dists=[scipy.stats.norm()] * 3,
        rng=np.random.default_rng(0),
    )
    found = shares_of(model, np.zeros((500, 1), "float32"), num_samples=64)

    # The fourth power has long tails, for which scipy has no error either.
    np.testing.assert_allclose(
        found.first_order, reference.first_order, atol=0.05
    )
    np.testing.assert_allclose(found.total, reference.total_order, atol=0.1)
    # The third acts in combination alone.
    assert found.total[2] > 0.3 > 3.0 * found.first_order[2]


def deep():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4))
    hidden = layers.LSTM(
        6, dropout=0.2, recurrent_dropout=0.3, return_sequences=True, name="rnn"
    )(inputs)
    hidden = layers.MultiHeadAttention(2, 3, dropout=0.2, name="attention")(
        hidden, hidden
    )
    hidden = kerasdrop.layers.DropoutRNN(
        layers.GRUCell(4), 0.2, name="thinned"
    )(hidden)
    return keras.Model(inputs, layers.Dense(2)(hidden))


SEQUENCES = np.random.default_rng(1).normal(size=(10, 5, 4)).astype("float32")


def test_all_layers_together_have_all_of_the_variance():
    model = deep()

    found = shares_of(model, SEQUENCES, groups={"all": lambda layer: True})

    np.testing.assert_allclose(found.first_order, [1.0], atol=1e-5)
    np.testing.assert_allclose(found.total, [1.0], atol=1e-5)


def test_samples_one_by_one_have_the_same_shares():
    model = branches(layers.Multiply())

    side_by_side = shares_of(model, num_samples=16)
    one_by_one = shares_of(model, num_samples=16, vectorized=False)

    for name in ("first_order", "total", "first_order_errors"):
        np.testing.assert_allclose(
            getattr(side_by_side, name),
            getattr(one_by_one, name),
            atol=1e-4,
            err_msg=name,
        )


def test_the_first_samples_are_those_of_mc_predict():
    model = branches(layers.Add())

    found = shares_of(model, num_samples=200)

    result = kerasdrop.mc_predict(
        model,
        X,
        400,
        plan="independent",
        kind="regression",
        keep_samples=True,
        seed=0,
        verbose=0,
    )
    # Sizes of chunks are multiples of 16: the second half begins beyond.
    first = result.samples[:, :200]
    spread = first.var(1, ddof=1).mean()
    # The variance of a variance, by the fourth moments of a sum of units.
    assert found.variance == pytest.approx(spread, rel=0.05)


def test_several_outputs_and_the_layers_that_are_left_out():
    inputs = keras.Input((4,))
    left = layers.Dropout(0.5, name="left")(inputs)
    right = layers.Dropout(0.5, name="right")(inputs)
    out = layers.Dropout(0.5, name="out")(inputs)
    model = keras.Model(
        inputs, {"a": left + 0.0, "b": [left + right, right * 2.0 + out]}
    )

    found = shares_of(model, layers=["left", "right"], rate=0.3)

    of_left = [name == "left" for name in found["a"].names]
    of_right = np.logical_not(of_left)
    np.testing.assert_allclose(found["a"].first_order, of_left, atol=1e-5)
    np.testing.assert_allclose(found["b"][1].total, of_right, atol=1e-5)
    middle = found["b"][0]
    assert_close(middle.total, middle.total_errors, [0.5, 0.5])
    expected = 0.3 / 0.7 * (X.astype("float64") ** 2).sum() / len(X)
    assert found["a"].variance == pytest.approx(expected, rel=0.1)


def test_classes_have_the_variance_of_their_probabilities():
    inputs = keras.Input((4,))
    outputs = layers.Dense(3)(layers.Dropout(0.5)(inputs))
    logits = keras.Model(inputs, outputs)
    probabilities = keras.Model(inputs, layers.Softmax()(outputs))

    one = shares_of(logits, kind="logits")
    other = shares_of(probabilities, kind="probabilities")

    assert one.variance == pytest.approx(other.variance, rel=1e-4)
    assert one.variance < 1.0 < shares_of(logits).variance


def test_a_share_of_what_does_not_vary_is_no_number():
    model = branches(layers.Add())

    found = shares_of(model, rate=0.0)

    assert found.variance == 0.0
    assert np.isnan(found.total).all()
    assert "do not vary" in str(found)


def assert_errors_are_the_spread(model):
    """Asserts that the errors are the standard deviations over seeds."""
    runs = [shares_of(model, seed=seed, verify=False) for seed in range(60)]

    for name in ("first_order", "total"):
        values = np.array([getattr(run, name) for run in runs])
        claimed = np.array([getattr(run, f"{name}_errors") for run in runs])
        ratio = values.std(0, ddof=1) / np.sqrt((claimed**2).mean(0))
        # 60 runs know a standard deviation to 9 %.
        assert np.all((ratio > 0.55) & (ratio < 1.45)), (name, ratio)


def test_the_error_is_the_spread_over_seeds():
    model = branches(layers.Multiply())

    assert_errors_are_the_spread(model)


def test_the_error_is_the_spread_where_rows_share_masks():
    inputs = keras.Input((4,))
    shared = {"noise_shape": (1, 4)}
    left = layers.Dropout(0.5, **shared, name="left")(inputs)
    right = layers.Dropout(0.2, **shared, name="right")(inputs)
    parts = [fixed(np.ones((4, 1)))(one) for one in (left, right)]
    model = keras.Model(inputs, layers.Add()(parts))

    assert_errors_are_the_spread(model)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_output_that_is_no_number(number):
    x = X.copy()
    x[41] = number
    message = "mc_sobol_indices: .*not finite.*in row 41"
    with pytest.raises(ValueError, match=message):
        shares_of(branches(layers.Add()), x)


class TestTheModelIsAsItWas:
    @pytest.fixture
    def model(self):
        model = branches(layers.Multiply())
        model.compile("sgd", "mse")
        model.predict(X, verbose=0)
        return model

    def test_after_it_was_done(self, model):
        before = untouched.state_of(model)

        shares_of(model, X[:10])

        after = untouched.state_of(model)
        untouched.assert_same_state(before, after, "mc_sobol_indices")

    def test_after_it_was_broken_off(self, model, monkeypatch):
        before = untouched.state_of(model)
        redrawn, calls = batch_pass.Pass.redrawn, []

        def broken(self, *args):
            calls.append(self)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return redrawn(self, *args)

        monkeypatch.setattr(batch_pass.Pass, "redrawn", broken)
        with pytest.warns(UserWarning, match="first 4 rows"):
            found = shares_of(model, X[:10], batch_size=4)
        assert (found.num_rows, found.is_complete) == (4, False)
        assert "interrupted" in str(found)
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            shares_of(model, X[:10], batch_size=4, on_interrupt="raise")
        monkeypatch.undo()
        after = untouched.state_of(model)
        untouched.assert_same_state(before, after, "what was broken off")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": {}}, "empty dict"),
        ({"groups": {"a": None}}, "group 'a' .* must say which layers"),
        ({"groups": {"a": "none"}}, "in group 'a'.*layers='none'"),
        ({"groups": {"a": "left", "b": "*"}}, "in the groups 'a' and 'b'"),
        ({"groups": {"a": "right"}, "layers": "left"}, "in group 'a'"),
        ({"num_samples": 1}, "at least two.*num_samples=1"),
        ({"num_samples": 0}, "num_samples"),
        ({"on_interrupt": "go"}, "`on_interrupt` must be.*'go'"),
        ({"rate": 1.5}, r"in \[0, 1\].*1.5"),
    ],
)
def test_bad_input_is_refused(settings, message):
    with pytest.raises(ValueError, match=f"(?s)^mc_sobol_indices: .*{message}"):
        shares_of(branches(layers.Add()), **settings)


@pytest.mark.parametrize("groups", ["left", {3: "left"}])
def test_groups_of_other_types_are_refused(groups):
    with pytest.raises(TypeError, match="^mc_sobol_indices: .*Received"):
        shares_of(branches(layers.Add()), groups=groups)


def test_half_of_a_recurrent_layer_is_refused():
    with pytest.raises(ValueError, match="together.*'rnn/recurrent_dropout'"):
        shares_of(deep(), SEQUENCES, groups={"a": "rnn/dropout"})


def test_it_says_what_it_will_cost(capsys):
    shares_of(branches(layers.Add()), X[:4], verbose=2, num_samples=16)

    assert "64 samples of each row" in capsys.readouterr().out

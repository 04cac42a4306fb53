"""`layers=` and `rate=`: what draws in one call, and how much."""

import threading

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop.montecarlo.verification import self_check
from tests.support import untouched

X = np.random.default_rng(0).uniform(0.5, 2.0, (3, 4, 6)).astype("float32")
NUM_SAMPLES = 16
TRACES = keras.backend.backend() != "torch"


class AlwaysOn(layers.Dropout):
    """The class of the book."""

    def call(self, inputs):
        return super().call(inputs, training=True)


class Block(layers.Layer):
    """Holds a layer that draws, under another name than all else."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, inputs, training=None):
        return self.inner(inputs, training=training)


def branches(rate):
    """One of each sort, by its name; each is called on the inputs."""
    return {
        "ours": kerasdrop.layers.Dropout(rate, name="ours"),
        "stock": layers.Dropout(rate, name="stock"),
        "always": kerasdrop.layers.MCDropout(rate, name="always"),
        "book": AlwaysOn(rate, name="book"),
        "block": Block(layers.Dropout(rate, name="inner"), name="block"),
        "alpha": layers.AlphaDropout(rate, name="alpha"),
        "gauss": layers.GaussianDropout(rate, name="gauss"),
        "noise": layers.GaussianNoise(rate, name="noise"),
        "spatial": layers.SpatialDropout1D(rate, name="spatial"),
        "path": kerasdrop.layers.DropPath(rate, name="path"),
    }


NAMES = tuple(branches(0.5))
SIZE = X.shape[-1]


def side_by_side(rate):
    """A model that hands out what each of `branches` makes."""
    x = keras.Input(X.shape[1:])
    outputs = [layer(x) for layer in branches(rate).values()]
    return keras.Model(x, layers.Concatenate()(outputs))


def mc(model, x=X, num_samples=NUM_SAMPLES, **kwargs):
    # The self-check takes long to compile, and has tests of its own below.
    settings = {"seed": 0, "kind": "regression", "verbose": 0, "verify": False}
    settings.update(kwargs)
    return kerasdrop.mc_predict(
        model, x, num_samples, keep_samples=True, **settings
    )


def parts(samples):
    """The samples of each branch."""
    return {
        name: samples[..., SIZE * i : SIZE * (i + 1)]
        for i, name in enumerate(NAMES)
    }


def predicted(model, x=X):
    return ops.convert_to_numpy(model(x))


@pytest.mark.parametrize(
    ("selector", "drawn"),
    [
        ("ours", {"ours"}),
        ("book", {"book"}),
        ("block/inner", {"block"}),
        ("block", {"block"}),
        ("inner", {"block"}),
        ("*a*", {"always", "alpha", "gauss", "spatial", "path"}),
        (lambda layer: "st" in layer.name, {"stock"}),
        (["ours", "noise"], {"ours", "noise"}),
    ],
)
def test_what_is_selected_draws_as_in_the_whole_and_all_else_nothing(
    selector, drawn
):
    verify = selector == ["ours", "noise"]
    model = side_by_side(0.5)
    whole = parts(mc(model).samples)
    some = parts(mc(model, layers=selector, verify=verify).samples)
    for name in NAMES:
        if name in drawn:
            np.testing.assert_array_equal(some[name], whole[name])
        else:
            expected = np.broadcast_to(X[:, None], some[name].shape)
            np.testing.assert_array_equal(some[name], expected)


def test_one_by_one_the_same_is_selected():
    model = side_by_side(0.5)
    settings = {"layers": ["book", "ours"], "rate": 0.3}
    np.testing.assert_array_equal(
        mc(model, vectorized=False, **settings).samples,
        mc(model, **settings).samples,
    )


def test_a_layer_object_selects_itself_and_what_it_holds():
    model = side_by_side(0.5)
    block = model.get_layer("block")
    np.testing.assert_array_equal(
        mc(model, layers=block).samples,
        mc(model, layers=["block/inner"]).samples,
    )


@pytest.mark.parametrize("rate", [0.3, 0.05])
def test_a_given_rate_draws_what_a_model_of_that_rate_draws(rate):
    # The constant rate of a stock layer may be folded into other constants.
    np.testing.assert_allclose(
        mc(side_by_side(0.5), rate=rate).samples,
        mc(side_by_side(rate)).samples,
        rtol=2e-6,
        atol=1e-6,
    )


def test_a_given_rate_is_that_of_set_rates_also_for_classic_layers():
    def model():
        return keras.Sequential(
            [
                keras.Input(X.shape[1:]),
                kerasdrop.layers.ClassicDropout(0.5, name="classic"),
                layers.Dense(2, kernel_initializer="ones"),
                kerasdrop.layers.DropBlock1D(0.5, 2, name="blocks"),
            ]
        )

    other = model()
    kerasdrop.set_rates(other, 0.2)
    targets = {"y": X[..., :2], "noise_variance": 1.0}
    given = mc(model(), rate=0.2, verify=True, **targets)
    own = mc(other, **targets)
    for name in ("mean", "variance", "log_likelihood"):
        np.testing.assert_array_equal(given[name], own[name])


def test_layers_without_a_key_in_a_dict_keep_their_rates():
    model = side_by_side(0.5)
    own = parts(mc(model).samples)
    other = parts(mc(side_by_side(0.2)).samples)
    given = parts(
        mc(model, rate={"ours": 0.2, "block": 0.2, "[ns]o*": 0.2}).samples
    )
    for name in NAMES:
        is_given = name in ("ours", "block", "noise")
        expected = other[name] if is_given else own[name]
        np.testing.assert_allclose(given[name], expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("rate", [0, 1e-9])
def test_at_no_rate_nothing_is_drawn(rate):
    model = side_by_side(0.5)
    result = mc(model, layers=[name for name in NAMES if name != "noise"])
    assert result.std.any()
    result = mc(model, rate={"*": rate})
    # Those that are always on draw nothing either.
    expected = np.concatenate([X] * len(NAMES), axis=-1)
    np.testing.assert_allclose(result.mean, expected, rtol=1e-4)
    if rate == 0:
        assert not result.std.any()


def test_at_rate_one_everything_is_dropped():
    result = mc(side_by_side(0.5), layers=["ours", "stock"], rate=1)
    drawn = parts(result.samples)
    assert not drawn["ours"].any()
    assert not drawn["stock"].any()


class TestLaws:
    def test_the_variance_is_that_of_the_given_rate(self):
        x = np.ones((1, 512), "float32")
        model = keras.Sequential([keras.Input((512,)), layers.Dropout(0.9)])
        for rate in (0.1, 0.5, 0.75):
            samples = mc(model, x, 64, rate=rate, plan="independent").samples
            share = np.mean(samples == 0.0)
            sigma = np.sqrt(rate * (1 - rate) / samples.size)
            assert abs(share - rate) < 5 * sigma
            assert abs(samples.max() - 1 / (1 - rate)) < 1e-6
            # Of a scaled Bernoulli variable, from its fourth moment.
            odds = rate / (1 - rate)
            fourth = odds * (1 - odds) ** 2
            sigma = np.sqrt(max(fourth, 1e-4) / samples.size)
            assert abs(samples.var() - odds) < 5 * sigma + 1e-6

    def test_all_masks_of_a_small_net_come_as_often_as_they_must(self):
        model = keras.Sequential(
            [
                keras.Input((3,)),
                layers.Dropout(0.5),
                layers.Dense(1, kernel_initializer="ones"),
            ]
        )
        model.layers[-1].kernel.assign([[1.0], [2.0], [4.0]])
        rate, count = 0.3, 2048
        x = np.ones((4, 3), "float32")
        samples = mc(model, x, count, rate=rate, plan="independent").samples
        masks = np.rint(samples * (1 - rate)).astype(int).ravel()
        for mask in range(8):
            kept = bin(mask).count("1")
            chance = (1 - rate) ** kept * rate ** (3 - kept)
            sigma = np.sqrt(chance * (1 - chance) / masks.size)
            assert abs(np.mean(masks == mask) - chance) < 5 * sigma

    def test_selections_divide_an_additive_net(self):
        x = keras.Input((4,))
        names = ("a", "b", "c")
        drops = [layers.Dropout(0.4, name=name)(x) for name in names]
        model = keras.Model(x, layers.Add()(drops))
        inputs = X[:, 0, :4]
        whole = mc(model, inputs).samples
        some = [mc(model, inputs, layers=name).samples for name in names]
        np.testing.assert_allclose(
            sum(some) - 2 * predicted(model, inputs)[:, None], whole, atol=1e-5
        )


class Counted(layers.Layer):
    """Counts the calls of Python: traces, where there are any."""

    calls = 0

    def call(self, inputs):
        type(self).calls += 1
        return inputs + 0.0


def test_another_rate_traces_nothing_and_checks_nothing(monkeypatch):
    checks = []
    on = self_check.Check.on
    monkeypatch.setattr(
        self_check.Check,
        "on",
        lambda *args, **kwargs: checks.append(1) or on(*args, **kwargs),
    )
    x = keras.Input(X.shape[1:])
    h = Counted()(layers.Dropout(0.0, name="zero")(x))
    h = kerasdrop.layers.ConcreteDropout(layers.Dense(3), name="learned")(h)
    h = layers.LSTM(2, dropout=0.2, name="lstm")(h)
    model = keras.Model(x, Counted()(layers.Dropout(0.5)(h)))
    found = []
    for rate in (0, 0.3, 0.99, 0.3):
        before = Counted.calls
        found.append(mc(model, rate=rate, verify=True).std.mean())
        if TRACES and len(found) > 1:
            assert Counted.calls == before
    (kept,) = vars(model)["__kerasdrop_predictive__"][1].values()
    assert len(checks) == 1
    assert found[0] == 0.0
    assert found[1] == found[3] > 0.0
    assert found[2] != found[1]
    mc(model, rate={"*": 0.4}, verify=True)
    assert len(checks) == 1
    (again,) = vars(model)["__kerasdrop_predictive__"][1].values()
    assert again is kept


class Failing(layers.Layer):
    def call(self, inputs):
        if self.error is not None:
            raise self.error
        return inputs

    error = None


@pytest.mark.parametrize("error", [None, KeyError("no"), KeyboardInterrupt()])
def test_the_model_is_as_it_was_after_success_and_failure(error):
    x = keras.Input(X.shape[1:])
    h = kerasdrop.layers.MCDropout(0.5, name="always")(x)
    h = Failing()(AlwaysOn(0.5, name="book")(h))
    model = keras.Model(x, layers.LSTM(2, dropout=0.3)(h))
    before = untouched.state_of(model)
    Failing.error = error
    try:
        mc(model, layers=["always", "lstm/*"], rate=0.2)
    except (KeyError, KeyboardInterrupt):
        assert error is not None
    else:
        assert error is None
    finally:
        Failing.error = None
    untouched.assert_same_state(before, untouched.state_of(model), str(error))
    assert model.get_layer("always").rate == 0.5


others, found = [], []


class Watching(layers.Layer):
    """Calls other layers in another thread while a pass runs."""

    def call(self, inputs):
        def run():
            ones = np.ones((2, 400), "float32")
            for other in others:
                seen.append(ops.convert_to_numpy(other(ones)))

        seen = []
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if others:
            found.append(seen)
        return inputs + 0.0


def test_other_threads_see_nothing_of_it():
    x = keras.Input((400,))
    given = layers.Dropout(0.5, name="given")
    silent = kerasdrop.layers.MCDropout(0.5, name="silent")
    watching = Watching()
    h = given(watching(silent(given(x))))
    model = keras.Model(x, h)
    found.clear()
    others[:] = [given, silent]
    mc(
        model,
        np.ones((2, 400), "float32"),
        layers="given",
        rate=0.1,
        verify=False,
    )
    others.clear()
    assert found
    for inference, drawn in found:
        assert (inference == 1.0).all()
        assert 0.3 < np.mean(drawn == 0.0) < 0.7


class TestRecurrent:
    @pytest.mark.parametrize("cls", [layers.LSTM, layers.GRU, layers.SimpleRNN])
    def test_each_rate_can_be_given_also_one_that_it_was_made_without(
        self, cls
    ):
        def model(**rates):
            keras.utils.set_random_seed(1)
            return keras.Sequential(
                [keras.Input(X.shape[1:]), cls(5, name="rnn", **rates)]
            )

        both = model(dropout=0.3, recurrent_dropout=0.3)
        expected = mc(both).samples
        for given in (model(dropout=0.2), model()):
            samples = mc(given, rate={"rnn": 0.3}, verify=True).samples
            np.testing.assert_allclose(samples, expected, atol=2e-6)
        for part in ("dropout", "recurrent_dropout"):
            expected = mc(model(**{part: 0.3})).samples
            samples = mc(model(), rate={f"rnn/{part}": 0.3}).samples
            np.testing.assert_allclose(samples, expected, atol=2e-6)
            # With a mask for each gate, as where both are drawn.
            none = {"dropout": 1e-9, "recurrent_dropout": 1e-9}
            one = model(**{**none, part: 0.3})
            expected = mc(one).samples
            samples = mc(both, layers=f"rnn/{part}").samples
            np.testing.assert_allclose(samples, expected, atol=2e-6)

    def test_the_cell_of_a_layer_of_ours_gets_no_rate_beside_it(self):
        def model(*rates):
            keras.utils.set_random_seed(1)
            cell = layers.LSTMCell(3)
            layer = kerasdrop.layers.DropoutRNN(cell, *rates, name="rnn")
            return keras.Sequential([keras.Input(X.shape[1:]), layer])

        np.testing.assert_allclose(
            mc(model(0.5, 0.1, 0.3), rate=0.2).samples,
            mc(model(0.2, 0.2, 0.2)).samples,
            atol=1e-6,
        )

    def test_of_rate_nothing_it_predicts(self):
        model = keras.Sequential(
            [keras.Input(X.shape[1:]), layers.LSTM(5, dropout=0.3)]
        )
        mean = mc(model, rate=1e-9).mean
        np.testing.assert_allclose(mean, predicted(model), atol=1e-6)


def test_learned_and_scheduled_rates_are_overridden():
    def model(rate, schedule):
        keras.utils.set_random_seed(2)
        wrapper = kerasdrop.layers.ConcreteDropout
        return keras.Sequential(
            [
                keras.Input(X.shape[1:]),
                wrapper(layers.Dense(4), rate, name="learned"),
                kerasdrop.layers.Dropout(schedule, name="scheduled"),
            ]
        )

    ramp = kerasdrop.schedules.Linear(0.0, 0.4, 10)
    given = model(0.1, ramp)
    np.testing.assert_allclose(
        mc(given, rate=0.35, verify=True).samples,
        mc(model(0.35, 0.35)).samples,
        rtol=1e-4,
        atol=1e-5,
    )
    none = np.broadcast_to(predicted(given)[:, None], (3, NUM_SAMPLES, 4, 4))
    np.testing.assert_allclose(mc(given, rate=0).samples, none, rtol=1e-6)
    all_dropped = mc(given, rate={"learned": 1}).samples
    assert not all_dropped.any()  # the bias is 0


class TestRegistered:
    class Noise(layers.Layer):
        sd = 0.5

        def call(self, inputs):
            return inputs

    class Fixed(Noise):
        pass

    kerasdrop.register_stochastic(
        Noise,
        lambda layer, draw, inputs, rate: kerasdrop.functional.gaussian_noise(
            inputs, draw, rate
        ),
        rate=lambda layer: layer.sd,
    )
    kerasdrop.register_stochastic(
        Fixed,
        lambda layer, draw, inputs: kerasdrop.functional.gaussian_noise(
            inputs, draw, layer.sd
        ),
        rate=lambda layer: layer.sd,
    )

    def test_a_function_with_a_rate_gets_it(self):
        model = keras.Sequential(
            [keras.Input(X.shape[1:]), self.Noise(name="noise")]
        )
        own, given = mc(model).samples, mc(model, rate=0.25).samples
        shift = np.broadcast_to(X[:, None], own.shape)
        np.testing.assert_allclose(own - shift, 2 * (given - shift), atol=1e-5)

    def test_one_without_is_refused_by_name(self):
        model = keras.Sequential(
            [keras.Input(X.shape[1:]), self.Fixed(name="fixed")]
        )
        with pytest.raises(ValueError, match="'fixed' cannot get a rate.*f\\("):
            mc(model, rate=0.25)


class Guarded(layers.Layer):
    """As in KerasHub: what was made with a rate of 0 is not called."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate_of_weights = rate
        self.drop = layers.Dropout(rate, name="drop")

    def call(self, inputs, training=None):
        if self.rate_of_weights:
            inputs = self.drop(inputs, training=training)
        return inputs + 0.0


def test_a_layer_that_no_prediction_calls_is_no_selection():
    x = keras.Input((4,))
    model = keras.Model(x, kerasdrop.layers.Dropout(0.3, name="called")(x))
    model.extra = kerasdrop.layers.Dropout(0.3, name="extra")
    ones = np.ones((2, 4), "float32")
    # Keras before 3.15 does not even count it among the layers of the model.
    words = "'extra'.*not called in a prediction|no layer.*layers='extra'"
    with pytest.raises(ValueError, match=f"(?s){words}"):
        kerasdrop.mc_predict(
            model, ones, layers="extra", kind="regression", verbose=0
        )
    result = kerasdrop.mc_predict(
        model, ones, layers="called", kind="regression", verbose=0
    )
    assert result.std.all()


class Forgetful(layers.Layer):
    """Has a dropout layer that it never calls, beside one that it does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.called = layers.Dropout(0.5, name="called")
        self.forgotten = layers.Dropout(0.5, name="forgotten")

    def call(self, inputs, training=None):
        return self.called(inputs, training=training)


def test_a_selection_of_what_is_never_called_is_refused():
    """All samples would be the same, and the deviation 0 without a word."""
    model = keras.Sequential([keras.Input(X.shape[1:]), Forgetful(name="f")])
    with pytest.raises(ValueError, match="'f/forgotten' .*not called"):
        mc(model, layers="f/forgotten")
    whole = mc(model).samples
    assert whole.std() > 0
    for chosen in ({"layers": "f/*"}, {"rate": 0.5}):
        np.testing.assert_array_equal(mc(model, **chosen).samples, whole)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"layers": "none"}, "no layer that can draw.*has:.*layers='none'"),
            ({"layers": []}, "`layers` is empty"),
            ({"layers": 3}, "`layers` must be None, a path"),
            ({"layers": layers.Dropout(0.1)}, "is no layer of"),
            ({"rate": 1.5}, r"in \[0, 1\].*rate=1.5"),
            ({"rate": float("nan")}, r"in \[0, 1\]"),
            ({"rate": True}, r"one number in \[0, 1\]. Received"),
            ({"rate": {}}, "empty dict"),
            (
                {"rate": {"none": 0.1}},
                "no layer that can draw.*key 'none' of `rate`",
            ),
            ({"rate": {"ours": -0.1}}, r"in \[0, 1\]"),
            ({"rate": {3: 0.1}}, "keys of argument `rate`"),
            ({"rate": {"ours": 0.1, "o*": 0.2}}, "both mean 'ours'"),
            (
                {"layers": "ours", "rate": {"stock": 0.1}},
                "`layers` leaves out.*'stock'",
            ),
            ({"rate": {"gauss": 1}}, "'gauss'.*below 1"),
        ],
    )
    def test_say_what_was_received_and_what_was_expected(
        self, arguments, message
    ):
        model = side_by_side(0.5)
        for call in (
            lambda: mc(model, **arguments),
            lambda: kerasdrop.MonteCarlo(model, **arguments),
            lambda: kerasdrop.inspect(model, **arguments),
        ):
            with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
                call()

    def test_a_selection_at_rate_zero_lists_what_there_is(self):
        x = keras.Input((3,))
        h = layers.Dropout(0.0, name="zero")(layers.Dropout(0.5)(x))
        with pytest.raises(ValueError, match="(?s)none of the sel.*'zero'"):
            mc(keras.Model(x, h), X[:, 0, :3], layers="zero")

    @pytest.mark.parametrize(
        "attention",
        [
            layers.MultiHeadAttention(1, 2, name="attention"),
            layers.GroupQueryAttention(2, 2, 1, name="attention"),
        ],
    )
    def test_attention_that_never_drops_is_refused_by_name(self, attention):
        x = keras.Input(X.shape[1:])
        h = layers.Dropout(0.1, name="drop")(attention(x, x))
        model = keras.Model(x, h)
        with pytest.raises(
            ValueError, match=r"'attention'.*`dropout=0`.*layers=\['drop'\]"
        ):
            mc(model, rate=0.2)
        assert mc(model, rate=0.2, layers=["drop"]).std.any()

    def test_what_its_owner_does_not_call_is_refused_by_name(self):
        x = keras.Input(X.shape[1:])
        model = keras.Model(x, Guarded(0.0, name="guarded")(x))
        with pytest.raises(ValueError, match="'guarded/drop'.*does not call"):
            mc(model, rate=0.2)

    @pytest.mark.filterwarnings("ignore:.*random numbers of their own")
    def test_what_draws_by_itself_and_cannot_be_left_out_is_named(self):
        def noise(inputs):
            return inputs + keras.random.normal(ops.shape(inputs), seed=gen)

        gen = keras.random.SeedGenerator(0)
        x = keras.Input(X.shape[1:])
        h = layers.Lambda(noise, name="vae")(x)
        model = keras.Model(x, layers.Dropout(0.5, name="drop")(h))
        with pytest.raises(ValueError, match="by itself.*register_stochastic"):
            mc(model, layers="drop")


def test_plain_attention_takes_a_rate_that_it_was_made_without():
    def model(rate):
        x = keras.Input(X.shape[1:])
        return keras.Model(x, layers.Attention(dropout=rate)([x, x]))

    np.testing.assert_array_equal(
        mc(model(0.0), rate=0.4).samples, mc(model(0.4)).samples
    )


class TestMonteCarlo:
    def test_its_rate_is_set_and_read_between_predictions(self):
        model = side_by_side(0.5)
        predictive = kerasdrop.MonteCarlo(
            model, NUM_SAMPLES, seed=0, kind="regression", layers="ours"
        )
        assert predictive.rate is None
        for rate in (0.3, {"ours": 0.1}, None):
            predictive.rate = rate
            assert predictive.rate == rate
            np.testing.assert_array_equal(
                predictive.predict(X, verbose=0)["variance"],
                mc(model, layers="ours", rate=rate).variance,
            )
        with pytest.raises(ValueError, match=r"MonteCarlo: .*in \[0, 1\]"):
            predictive.rate = 2
        assert predictive.rate is None
        called = predictive(X)["variance"]
        np.testing.assert_allclose(
            ops.convert_to_numpy(called),
            mc(model, layers="ours").variance,
            rtol=1e-5,
        )

    def test_it_is_saved_with_the_paths_of_what_was_selected(self, tmp_path):
        model = keras.Sequential(
            [
                keras.Input(X.shape[1:]),
                layers.Dropout(0.5, name="a"),
                layers.Dropout(0.5, name="b"),
            ]
        )
        predictive = kerasdrop.MonteCarlo(
            model,
            seed=0,
            kind="regression",
            layers=lambda layer: layer.name == "b",
            rate={"b": 0.2},
        )
        predictive.save(tmp_path / "mc.keras")
        loaded = keras.models.load_model(tmp_path / "mc.keras")
        assert loaded.get_config()["layers"] == ["b"]
        assert loaded.rate == {"b": 0.2}
        np.testing.assert_array_equal(
            loaded.predict(X, verbose=0)["mean"],
            predictive.predict(X, verbose=0)["mean"],
        )


def test_inspect_shows_what_would_be_drawn():
    found = kerasdrop.inspect(
        side_by_side(0.5), X, layers=["ours", "block"], rate={"ours": 0.2}
    )
    by_path = {one.path: one for one in found.layers}
    assert by_path["ours"].is_drawn
    assert by_path["ours"].rate == 0.2
    assert "given" in by_path["ours"].why
    assert by_path["block/inner"].rate == 0.5
    assert not by_path["book"].is_drawn
    assert "not selected" in by_path["book"].why
    assert found.verification is not None


def test_a_tolerance_goes_by_the_given_rate():
    model = keras.Sequential([keras.Input((2,)), layers.Dropout(0.0)])
    x = np.ones((2, 2), "float32")
    settings = {"num_samples": 512, "tolerance": 10.0, "kind": "regression"}
    result = kerasdrop.mc_predict(
        model, x, rate=0.5, seed=0, verbose=0, **settings
    )
    assert (result.num_drawn == 128).all()

"""The learned rate: its formulas, its gradient, and what it learns."""

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop.layers import ConcreteDropout
from kerasdrop.layers import Dropout
from tests.support import helpers
from tests.support import known_masks

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
INPUTS = RNG.uniform(1, 2, (5, 4)).astype("float32")


numpy = ops.convert_to_numpy


def model_of(*body, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *body])


def logit_of(rate):
    return np.log(rate) - np.log1p(-rate)


# Gal, Hron & Kendall 2017, in numpy and float64.


def noise(uniform, rate, temperature=0.1):
    log_odds = logit_of(rate) + np.log(uniform) - np.log1p(-uniform)
    z = 1.0 / (1.0 + np.exp(-log_odds / temperature))
    return (1.0 - z) / (1.0 - rate)


def uniform_of(words):
    return ((words >> 9) + 2**22 + 0.5) / 2**23


def penalty(kernel, rate, features, weight, dropout):
    negative_entropy = rate * np.log(rate) + (1 - rate) * np.log(1 - rate)
    kernel = kernel.astype("float64")
    return (
        weight * (kernel**2).sum() / (1 - rate)
        + dropout * features * negative_entropy
    )


def moments(rate):
    """Mean and variance of the noise, by the midpoint rule."""
    factors = noise((np.arange(100_000) + 0.5) / 100_000, rate)
    return factors.mean(), factors.var()


# What is drawn.


def test_z_is_above_a_half_with_the_probability_of_the_rate():
    layer = ConcreteDropout(
        stock.Dense(100, use_bias=False, kernel_initializer="identity"),
        0.3,
        seed=0,
    )
    factors = numpy(layer(np.ones((200, 100), "float32"), training=True))
    helpers.assert_proportion(factors < 0.5 / 0.7, 0.3)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_the_moments_of_the_noise(rate):
    layer = ConcreteDropout(
        stock.Dense(100, use_bias=False, kernel_initializer="identity"),
        rate,
        seed=0,
    )
    mean, variance = moments(rate)
    # What the docstring says of it.
    assert abs(mean - 1.0) <= 0.002
    assert 0.85 * rate / (1 - rate) <= variance <= rate / (1 - rate)
    factors = numpy(layer(np.ones((400, 100), "float32"), training=True))
    helpers.assert_mean(factors, mean, variance**0.5)
    squares = (factors - mean) ** 2
    helpers.assert_mean(squares, variance, squares.std())


@pytest.mark.parametrize("temperature", [0.1, 2.0 / 3.0])
def test_the_outputs_are_those_of_the_layer_on_what_is_left(temperature):
    inner = stock.Dense(3, activation="tanh", bias_initializer="ones")
    layer = ConcreteDropout(inner, 0.3, temperature=temperature, seed=1)
    drawn = numpy(layer(INPUTS, training=True))
    uniform = uniform_of(known_masks.words(1, 0, INPUTS.shape))
    left = (INPUTS * noise(uniform, 0.3, temperature)).astype("float32")
    np.testing.assert_allclose(drawn, numpy(inner(left)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(numpy(layer(INPUTS)), numpy(inner(INPUTS)))


@pytest.mark.parametrize("granularity", ["unit", "channel"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images(granularity, data_format):
    if (BACKEND, data_format) == ("tensorflow", "channels_first"):
        pytest.skip("TensorFlow has no such convolution on a CPU")
    last = data_format == "channels_last"
    inner = stock.Conv2D(3, 2, data_format=data_format)
    shape = (2, 4, 5, 6) if last else (2, 6, 4, 5)
    x = RNG.normal(size=shape).astype("float32")
    layer = ConcreteDropout(inner, 0.3, granularity=granularity, seed=1)
    drawn = layer(x, training=True)
    if granularity == "channel":
        shape = (2, 1, 1, 6) if last else (2, 6, 1, 1)
    left = x * noise(uniform_of(known_masks.words(1, 0, shape)), 0.3)
    expected = inner(left.astype("float32"))
    np.testing.assert_allclose(
        numpy(drawn), numpy(expected), rtol=1e-5, atol=1e-5
    )
    # 6 features: what is dropped at a place.
    np.testing.assert_allclose(
        numpy(layer.losses[0]),
        penalty(numpy(inner.kernel), 0.3, 6, 1e-6, 1e-5),
        rtol=1e-4,
        atol=1e-9,
    )


def test_the_length_of_a_sequence_may_be_unknown():
    layer = ConcreteDropout(stock.Conv1D(3, 2, padding="causal"), 0.3)
    assert layer(keras.Input((None, 4))).shape == (None, None, 3)


# What the loss gets.


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_the_penalty_is_that_of_the_paper(rate):
    inner = stock.Dense(3)
    model = model_of(ConcreteDropout(inner, rate, 0.2, 0.5))
    expected = penalty(numpy(inner.kernel), rate, 4, 0.2, 0.5)
    assert len(model.losses) == 1
    np.testing.assert_allclose(
        numpy(model.losses[0]), expected, rtol=1e-5, atol=1e-6
    )
    model.compile("sgd", "mse")
    targets = model.predict(INPUTS, verbose=0)
    loss = model.evaluate(INPUTS, targets, verbose=0)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_called_twice_has_one_penalty():
    layer = ConcreteDropout(stock.Dense(4))
    model = model_of(layer, layer)
    model(INPUTS, training=True)
    assert len(model.losses) == 1


def test_a_quantized_layer_has_no_penalty():
    """Its kernel is of integers, in units that differ by column."""
    model = model_of(ConcreteDropout(stock.Dense(4), 0.5, 1.0, 1.0))
    model.compile(loss="mse")
    model.layers[0].layer.quantize("int8")
    y = model.predict(INPUTS, verbose=0)
    assert model.evaluate(INPUTS, y, verbose=0) < 1e-6


def test_a_monte_carlo_pass_leaves_no_loss_behind():
    model = model_of(ConcreteDropout(stock.Dense(4), 0.5))
    kerasdrop.mc_predict(model, INPUTS, 4, seed=0, verbose=0)
    (loss,) = model.losses
    assert np.isfinite(numpy(loss))


def test_the_gradient_of_the_penalty():
    inner = stock.Dense(3)
    layer = ConcreteDropout(inner, 0.3, 0.2, 0.5)
    model = model_of(layer)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    squares = (numpy(inner.kernel).astype("float64") ** 2).sum()
    model.train_on_batch(np.zeros((5, 4)), np.zeros((5, 3)))
    # d/dlogit of 1 / (1 - r) is r / (1 - r), that of -H is r (1 - r) logit.
    gradient = 0.2 * squares * 0.3 / 0.7
    gradient += 0.5 * 4 * 0.3 * 0.7 * logit_of(0.3)
    np.testing.assert_allclose(
        numpy(layer.rate_logit),
        logit_of(0.3) - 0.1 * gradient,
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_gradient_through_the_noise():
    inner = stock.Dense(1, use_bias=False, kernel_initializer="ones")
    layer = ConcreteDropout(inner, 0.3, 0.0, 0.0, seed=7)
    model = model_of(layer)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(INPUTS, np.zeros((5, 1)))
    uniform = uniform_of(known_masks.words(7, 0, INPUTS.shape))

    def loss(logit):
        factors = noise(uniform, 1.0 / (1.0 + np.exp(-logit)))
        return ((INPUTS * factors).sum(axis=1) ** 2).mean()

    start, h = logit_of(0.3), 1e-5
    gradient = (loss(start + h) - loss(start - h)) / (2 * h)
    assert abs(gradient) > 0.1
    np.testing.assert_allclose(
        numpy(layer.rate_logit),
        start - 0.1 * gradient,
        rtol=1e-4,
        atol=1e-5,
    )


KERNEL = np.array([[0.5], [-0.5], [1.0], [0.25]])


def objective(rate, x, weight, dropout):
    """The expected loss of a linear layer on its own undisturbed outputs."""
    mean, variance = moments(rate)
    squares = ((x * KERNEL[:, 0]) ** 2).sum(axis=1).mean()
    bias = ((mean - 1.0) ** 2 * (x @ KERNEL)[:, 0] ** 2).mean()
    own = penalty(KERNEL, rate, 4, weight, dropout)
    return variance * squares + bias + own


def test_with_more_data_the_rate_falls_to_what_is_best():
    x = np.random.default_rng(1).normal(0, 0.1, (60 * 256, 4)).astype("float32")
    exact = x.astype("float64")
    learned = []
    for num_rows in (10, 1000):
        settings = {
            "weight_regularizer": 1e-4 / num_rows,
            "dropout_regularizer": 2.0 / num_rows,
        }
        inner = stock.Dense(1, use_bias=False)
        layer = ConcreteDropout(inner, 0.3, seed=0, **settings)
        model = model_of(layer)
        inner.set_weights([KERNEL])
        inner.trainable = False
        decay = keras.optimizers.schedules.PolynomialDecay(0.2, 60, 0.0)
        model.compile(keras.optimizers.Adam(decay), "mse")
        model.fit(x, x @ KERNEL, 256, shuffle=False, verbose=0)
        learned.append(layer.rate)
        rates = np.linspace(0.01, 0.9, 300)
        losses = [objective(r, exact, *settings.values()) for r in rates]
        best = rates[np.argmin(losses)]
        np.testing.assert_allclose(layer.rate, best, rtol=0.2, atol=0)
    assert learned[1] < learned[0] / 3


# The rate as it is read, and refused.


def test_the_rate_is_read_before_and_after_building():
    layer = ConcreteDropout(stock.Dense(4), 0.3, name="a")
    assert layer.rate == 0.3
    model = model_of(layer, Dropout(0.5, name="b"))
    assert kerasdrop.get_rates(model) == {"a": 0.3, "b": 0.5}
    layer.rate_logit.assign(logit_of(0.2))
    np.testing.assert_allclose(layer.rate, 0.2, rtol=1e-6)


def test_the_rate_cannot_be_set():
    layer = ConcreteDropout(stock.Dense(4), 0.3, name="a")
    other = Dropout(0.5, name="b")
    model = model_of(layer, other)
    message = r"'a' .* is learned and cannot be set.*`layers=\[.*Received: rate"
    with pytest.raises(ValueError, match=message):
        layer.rate = 0.5
    with pytest.raises(ValueError, match=message):
        kerasdrop.set_rates(model, 0.2)
    with pytest.raises(ValueError, match=message):
        kerasdrop.set_rates(model, {"b": 0.2, "a": 0.2})
    assert (layer.rate, other.rate) == (0.3, 0.5)
    kerasdrop.set_rates(model, 0.2, layers="b")
    assert other.rate == 0.2


def test_a_callback_cannot_set_it():
    model = model_of(ConcreteDropout(stock.Dense(4), name="a"))
    model.compile("sgd", "mse")
    anneal = kerasdrop.callbacks.DropoutRateScheduler(lambda epoch: 0.5)
    with pytest.raises(ValueError, match="is learned and cannot be set"):
        model.fit(INPUTS, INPUTS, callbacks=[anneal], verbose=0)


def test_a_callback_logs_it():
    layer = ConcreteDropout(stock.Dense(4), name="a")
    model = model_of(layer)
    model.compile("adam", "mse")
    log = kerasdrop.callbacks.DropoutRateLogger()
    history = model.fit(INPUTS, INPUTS, callbacks=[log], verbose=0)
    assert history.history["rate/a"] == [layer.rate]
    assert layer.rate != 0.1


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX holds the state apart")
def test_while_an_epoch_runs_reading_it_says_what_to_do():
    layer = ConcreteDropout(stock.Dense(4))
    model = model_of(layer)
    model.compile("sgd", "mse")
    read = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: layer.rate
    )
    with pytest.raises(RuntimeError, match="touch `self.model` first"):
        model.fit(INPUTS, INPUTS, batch_size=2, callbacks=[read], verbose=0)


@pytest.mark.parametrize(
    "rate", [0.0, 1.0, kerasdrop.schedules.Constant(0.5)], ids=str
)
def test_a_rate_to_begin_with_is_a_number_between_0_and_1(rate):
    with pytest.raises(ValueError, match="other than 0 and 1.*Received: rate="):
        ConcreteDropout(stock.Dense(4), rate)


@pytest.mark.parametrize(
    "inner",
    [
        stock.LSTM(4),
        stock.Embedding(4, 4),
        stock.DepthwiseConv2D(3),
        stock.EinsumDense("ab,bc->ac", output_shape=4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_other_layers_are_refused(inner):
    with pytest.raises(
        ValueError, match="must be a `Dense`, .*Received: layer"
    ):
        ConcreteDropout(inner)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_regularizer", -1e-6),
        ("dropout_regularizer", "l2"),
        ("temperature", 0.0),
        ("granularity", "row"),
    ],
)
def test_illegal_arguments_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: "):
        ConcreteDropout(stock.Dense(4), **{name: value})


# Models and files.


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_the_rate_is_learned_in_float32(policy):
    layer = ConcreteDropout(stock.Dense(4, dtype=policy), dtype=policy)
    model = model_of(layer, stock.Dense(1, dtype="float32"))
    # As Adam's epsilon is 0 in float16.
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(INPUTS, INPUTS[:, :1], verbose=0)
    assert layer.rate_logit.dtype == "float32"
    assert layer.rate != 0.1
    assert np.isfinite(layer.rate)


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_a_file_brings_back_the_learned_rate(file, tmp_path):
    def build():
        inner = stock.Dense(4, name="dense")
        return model_of(ConcreteDropout(inner, name="layer"))

    model = build()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(INPUTS, INPUTS, verbose=0)
    layer = model.get_layer("layer")
    assert layer.rate != 0.1
    if file == "model.keras":
        model.save(tmp_path / file)
        again = keras.models.load_model(tmp_path / file)
    else:
        model.save_weights(tmp_path / file)
        again = build()
        again.load_weights(tmp_path / file)
    loaded = again.get_layer("layer")
    assert (loaded.rate, loaded.step) == (layer.rate, 1)
    np.testing.assert_array_equal(
        numpy(loaded(INPUTS, training=True)),
        numpy(layer(INPUTS, training=True)),
    )


def test_conversion_leaves_it():
    layer = ConcreteDropout(stock.Dense(4), name="a")
    model = model_of(stock.Dropout(0.5, name="b"), layer)
    layer.rate_logit.assign(0.0)
    converted = kerasdrop.convert_dropout(model).model
    assert kerasdrop.get_rates(converted) == {"b": 0.5, "a": 0.5}


def test_a_monte_carlo_pass_sees_what_was_learned_since():
    inner = stock.Dense(4, use_bias=False, kernel_initializer="identity")
    layer = ConcreteDropout(inner, 0.5)
    predictive = kerasdrop.MonteCarlo(
        model_of(layer), 64, seed=0, kind="regression"
    )
    before = predictive.predict(INPUTS, verbose=0)["variance"]
    layer.rate_logit.assign(logit_of(0.01))
    after = predictive.predict(INPUTS, verbose=0)["variance"]
    assert after.mean() < 0.1 * before.mean()


def test_the_kind_of_the_outputs_is_read_off_the_layer_in_it():
    head = ConcreteDropout(stock.Dense(3, activation="softmax"), 0.5)
    result = kerasdrop.mc_predict(model_of(head), INPUTS, 4, seed=0, verbose=0)
    assert result.predictive_entropy.shape == (5,)


def test_a_layer_that_loses_the_padding_mask_still_does():
    assert ConcreteDropout(stock.Dense(4)).supports_masking
    assert not ConcreteDropout(stock.Conv1D(4, 2)).supports_masking

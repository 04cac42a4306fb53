"""Registered layers that draw by Keras' own generators."""

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop

X = np.ones((6, 50), "float32")


class KerasNoise(keras.layers.Layer):
    """Multiplies by 1 or 3 at random, in training; twice a call."""

    def __init__(self, rate=0.5, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, inputs, training=False):
        if not training:
            return inputs
        for _ in range(2):
            inputs = inputs * self._factors(inputs)
        return inputs

    def _factors(self, inputs):
        uniform = keras.random.uniform(
            ops.shape(inputs), seed=self.seed_generator
        )
        return ops.where(uniform < self.rate, 3.0, 1.0)


class WithoutGenerator(keras.layers.Layer):
    rate = 0.5

    def call(self, inputs, training=False):
        return inputs


class WithMovingAverage(KerasNoise):
    def build(self, input_shape):
        self.average = self.add_weight(trainable=False, name="average")


@pytest.fixture(autouse=True)
def registered():
    for cls in (KerasNoise, WithoutGenerator, WithMovingAverage):
        kerasdrop.register_stochastic(cls)


def sequential(*layers):
    return keras.Sequential([keras.Input((50,)), *layers])


def samples(model, num_samples=20, seed=0, **kwargs):
    result = kerasdrop.mc_predict(
        model, X, num_samples, seed=seed, keep_samples=True, verbose=0, **kwargs
    )
    return result.samples


def test_the_numbers_are_those_of_the_layer():
    drawn = samples(sequential(KerasNoise(0.25)))

    # Two factors of 1 or 3, drawn one by one: 1, 3, 9.
    for value, share in ((1.0, 9 / 16), (3.0, 6 / 16), (9.0, 1 / 16)):
        bound = 5 * (share * (1 - share) / drawn.size) ** 0.5
        assert abs(np.mean(drawn == value) - share) <= bound
    assert np.isin(drawn, (1.0, 3.0, 9.0)).all()


def test_samples_rows_and_calls_differ():
    layer = KerasNoise()
    drawn = samples(sequential(layer, keras.layers.Dense(50), layer), 40)

    masks = drawn.reshape(-1, drawn.shape[-1])
    assert len(np.unique(masks, axis=0)) == len(masks) == 240


def test_a_seed_repeats_the_numbers_and_another_does_not():
    model = sequential(KerasNoise())

    first, again, other = (samples(model, seed=seed) for seed in (0, 0, 1))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sets_of_samples_differ():
    drawn = samples(sequential(KerasNoise()), 48)

    assert not np.array_equal(drawn[:, :16], drawn[:, 16:32])
    assert not np.array_equal(drawn[:, :16], drawn[:, 32:])


def test_the_generator_stays_where_it_is():
    layer = KerasNoise()
    model = sequential(layer)
    before = ops.convert_to_numpy(layer.seed_generator.state.value).copy()

    samples(model)

    after = ops.convert_to_numpy(layer.seed_generator.state.value)
    assert np.array_equal(before, after)
    assert "next" not in vars(layer.seed_generator)
    assert "call" not in vars(layer)
    assert np.array_equal(ops.convert_to_numpy(model(X)), X)


def test_inspect_says_so():
    found = kerasdrop.inspect(sequential(KerasNoise(0.25))).layers[0]

    assert found.is_drawn
    assert found.why == "yes, by Keras: its draws depend on the batch"


def test_the_mean_and_its_error_are_right():
    model = sequential(KerasNoise(0.5))
    result = kerasdrop.mc_predict(model, X, 320, seed=0, verbose=0)

    # E = (1 + 3)^2 / 4 = 4, E of the square = (1 + 9)^2 / 4 = 25.
    error = ((25 - 16) / 320) ** 0.5
    assert abs(result.mean.mean() - 4.0) <= 5 * error / X.size**0.5
    # 20 sets make an error of that relative spread.
    ratio = (result.standard_error**2).mean() / error**2
    assert abs(ratio - 1.0) <= 5 * (2 / 19 / X.size) ** 0.5 + 0.01


def test_the_shared_plan_is_refused():
    model = sequential(KerasNoise())

    with pytest.raises(ValueError, match="no mask that all rows share"):
        samples(model, plan="shared")


def test_a_layer_without_a_generator_is_refused():
    with pytest.raises(ValueError, match=r"no attribute of it is\s+a `keras"):
        samples(sequential(WithoutGenerator()))


def test_a_layer_with_weights_that_training_moves_is_refused():
    with pytest.raises(ValueError, match=r"non-trainable weights.*average"):
        samples(sequential(WithMovingAverage()))


@pytest.mark.parametrize("name", ["function", "rate"])
def test_what_is_no_function_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be a function"):
        kerasdrop.register_stochastic(KerasNoise, **{name: 3})

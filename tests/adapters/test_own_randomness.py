"""Layers that draw at inference by themselves do so for each sample."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support.helpers import assert_mean
from tests.support.helpers import assert_proportion

BACKEND = keras.backend.backend()
X = np.ones((20, 30), "float32")


class Sampling(layers.Layer):
    """As in variational autoencoders."""

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs):
        noise = keras.random.normal(ops.shape(inputs), seed=self.seed_generator)
        return inputs + noise


class Unseeded(layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal(ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape


class Hidden(layers.Layer):
    """Its generator is no attribute of its own."""

    def __init__(self):
        super().__init__()
        self.parts = {"noise": [keras.random.SeedGenerator(3)]}

    def call(self, inputs):
        seed = self.parts["noise"][0]
        return keras.random.dropout(inputs, 0.5, seed=seed)


class Holder(layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner = Sampling(1)

    def call(self, inputs):
        return self.inner(inputs)


class FromBackend(layers.Layer):
    def call(self, inputs):
        if BACKEND == "torch":
            import torch

            return inputs + torch.randn_like(inputs)
        import tensorflow as tf

        return inputs + tf.random.normal(tf.shape(inputs))


def unseeded_dropout():
    return layers.Lambda(
        lambda t: keras.random.dropout(t, 0.5), output_shape=(30,)
    )


def stack(*first):
    return keras.Sequential([keras.Input((30,)), *first])


def mc(model, num_samples=32, seed=0, **kwargs):
    settings = {"kind": "regression", "verbose": 0, **kwargs}
    return kerasdrop.mc_predict(
        model, X, num_samples, seed=seed, keep_samples=True, **settings
    ).samples


def state_of(model):
    return [ops.convert_to_numpy(v.value) for v in model.variables]


SEEDED = {
    "a sampler": lambda: [Sampling(1)],
    "one without a seed": lambda: [Sampling()],
    "inside another layer": lambda: [Holder()],
    "inside a model": lambda: [stack(layers.Identity(), Sampling(1))],
}


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("beside", [[], [0.5]])
@pytest.mark.filterwarnings("ignore:.*random numbers of their own")
def test_each_sample_draws_from_the_seed(name, beside):
    model = stack(*SEEDED[name](), *map(layers.Dropout, beside))
    before = state_of(model)
    samples = mc(model)
    for now, then in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(mc(model), samples)
    assert not np.array_equal(mc(model, seed=1), samples)
    drawn = samples[samples != 0.0] / (2.0 if beside else 1.0) - 1.0
    assert_mean(drawn, 0.0, 1.0)
    assert_mean(drawn**2, 1.0, 2**0.5)
    # No two of them are alike: rows, samples and units differ.
    assert len(np.unique(drawn)) > 0.99 * drawn.size
    for variable in model.variables:
        assert "next" not in vars(variable)
    assert "call" not in vars(model.layers[0])


@pytest.mark.filterwarnings("ignore:.*random numbers of their own")
def test_generators_are_found_wherever_they_are():
    model = stack(Hidden())
    samples = mc(model, plan="independent")
    assert_proportion(samples == 0.0, 0.5)
    np.testing.assert_array_equal(mc(model, plan="independent"), samples)


@pytest.mark.parametrize("make", [unseeded_dropout, Unseeded])
@pytest.mark.filterwarnings("ignore:.*random numbers of their own")
def test_numbers_without_a_seed_are_ours_or_refused(make):
    model = stack(make())
    if BACKEND == "jax":
        with pytest.raises(ValueError, match="not seeded by Keras"):
            mc(model)
        return
    samples = mc(model)
    np.testing.assert_array_equal(mc(model), samples)
    assert not np.array_equal(mc(model, seed=1), samples)
    # A session starts anew: Keras before 3.13 leaves the generator that is
    # there where it is.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(5)
    expected = np.asarray(ops.convert_to_numpy(model(X)))
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(5)
    mc(model)
    # The global generators are where they were.
    np.testing.assert_array_equal(ops.convert_to_numpy(model(X)), expected)
    assert samples.std(axis=1).min() > 0.0


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no global generator")
def test_numbers_of_the_backend_are_ours_or_refused():
    model = stack(FromBackend(), layers.Dropout(0.5))
    if BACKEND == "tensorflow":
        words = r"\(FromBackend\).*(not seeded|something else in each call)"
        with pytest.raises(ValueError, match=words):
            mc(model)
        return
    samples = mc(model)
    np.testing.assert_array_equal(mc(model), samples)
    kept = samples[samples != 0.0] / 2.0 - 1.0
    assert_mean(kept, 0.0, 1.0)
    assert len(np.unique(kept)) > 0.99 * kept.size


def test_a_registered_layer_without_a_seed_is_reproduced():
    class Registered(layers.Layer):
        rate = 0.5

        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator()

        def call(self, inputs, training=False):
            if not training:
                return inputs
            return keras.random.dropout(inputs, 0.5, seed=self.seed_generator)

    kerasdrop.register_stochastic(Registered)
    model = stack(Registered())
    samples = mc(model)
    assert_proportion(samples == 0.0, 0.5)
    np.testing.assert_array_equal(mc(model), samples)


def test_what_draws_nothing_is_refused():
    model = stack(layers.Lambda(lambda t: 2.0 * t, output_shape=(30,)))
    with pytest.raises(ValueError, match="can draw, so all samples"):
        mc(model)


@pytest.mark.skipif(BACKEND != "torch", reason="wraps a module of PyTorch")
def test_dropout_of_pytorch_is_listed_as_not_drawn():
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.Dropout(0.5))
    wrapper = layers.TorchModuleWrapper(module, output_shape=(None, 30))
    model = stack(wrapper, layers.Dropout(0.5))
    found = kerasdrop.inspect(model).layers[0]
    assert not found.is_drawn
    assert found.class_name == "keras.layers.TorchModuleWrapper"
    with pytest.warns(UserWarning, match="TorchModuleWrapper"):
        kerasdrop.MonteCarlo(model, kind="regression")

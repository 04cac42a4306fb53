"""A mask is drawn once for each step, also where Keras recomputes."""

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop.layers import Dropout
from tests.support import probes
from tests.support import versions

BACKEND = keras.backend.backend()


@pytest.mark.parametrize("mode", ["full", "list_of_layers"])
def test_a_layer_in_a_remat_scope_counts_each_step_once(mode):
    with keras.RematScope(mode=mode, layer_names=["dropout"]):
        layer = Dropout(0.5, seed=0, name="dropout")
    model = probes.recorded_model(layer)
    probes.fit(model, steps=4)
    assert layer.step == 4


def test_a_layer_in_a_remat_scope_has_the_gradients_of_one_outside():
    kernels = []
    for mode in (None, "full"):
        with keras.RematScope(mode=mode):
            layer = Dropout(0.5, seed=0)
        dense = keras.layers.Dense(1, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((5,)), layer, dense])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 5)), np.zeros((8, 1)), epochs=2, verbose=0)
        kernels.append(model.get_weights()[0])
    np.testing.assert_allclose(*kernels, rtol=1e-6)


class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(5)
        self.dropout = Dropout(0.5, seed=0)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs, training=False):
        return self.dropout(self.dense(inputs), training=training)


@versions.needs_keras("3.13", "hands no `training` to a layer of such a scope")
@pytest.mark.skipif(
    BACKEND != "torch", reason="Keras runs such a scope on PyTorch alone"
)
def test_a_layer_inside_a_recomputed_block_raises_with_the_fix():
    with keras.RematScope(mode="full"):
        block = Block()
    model = keras.Sequential([keras.Input((5,)), block, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="`kerasdrop.remat`"):
        model.fit(np.ones((8, 5)), np.zeros((8, 1)), verbose=0)


def plain_remat(function):
    return keras.remat(function)


def of_the_backend(function):
    if BACKEND == "torch":
        from torch.utils.checkpoint import checkpoint

        return lambda x: checkpoint(function, x, use_reentrant=False)
    if BACKEND == "jax":
        import jax

        return jax.checkpoint(function)
    import tensorflow as tf

    return tf.recompute_grad(function)


def without(function):
    return function


class Body(keras.layers.Layer):
    """Two dense layers and a dropout that is called twice, in a wrapper."""

    def __init__(self, wrapper, noise=Dropout):
        super().__init__()
        self.first = keras.layers.Dense(6, activation="tanh")
        self.second = keras.layers.Dense(6, activation="tanh")
        self.drop = noise(0.5, seed=3)
        self.wrapper = wrapper

    def build(self, shape):
        self.first.build(shape)
        self.second.build((None, 6))

    def compute_output_shape(self, shape):
        return (shape[0], 6)

    def body(self, x, training):
        h = self.drop(self.first(x), training=training)
        return self.drop(self.second(h), training=training) ** 2

    def call(self, x, training=False):
        if self.wrapper in (plain_remat, of_the_backend):
            return self.wrapper(lambda x: self.body(x, training))(x)
        return self.wrapper(self.body)(x, training=training)


class Nested(Body):
    """A rematerialized function inside another."""

    def body(self, x, training):
        inner = super().body
        h = self.drop(x, training=training)
        h = self.wrapper(inner)(h, training=training)
        return self.drop(h, training=training)


def trained(wrapper, body=Body, noise=Dropout, steps=3, **compile_arguments):
    """The weights and the step after some training; the predictions."""
    keras.utils.set_random_seed(0)
    block = body(wrapper, noise)
    model = keras.Sequential([keras.Input((5,)), block, keras.layers.Dense(1)])
    # Small steps: at larger ones the weights of `Nested` explode, and what is
    # rounded with them.
    model.compile(keras.optimizers.SGD(0.01), "mse", **compile_arguments)
    x = np.random.default_rng(0).normal(size=(16 * steps, 5)).astype("float32")
    model.fit(x, x[:, :1], batch_size=16, shuffle=False, verbose=0)
    return model.get_weights(), block.drop.step, model.predict(x, verbose=0)


@pytest.mark.parametrize("body", [Body, Nested])
@pytest.mark.parametrize("noise", [Dropout, layers.GaussianDropout])
def test_the_gradients_are_those_without_rematerialisation(body, noise):
    plain, step, predicted = trained(without, body, noise)
    again, same, others = trained(kerasdrop.remat, body, noise)
    assert step == same == {Body: 6, Nested: 12}[body]
    for one, other in zip(plain, again):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(predicted, others, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="XLA is an option there")
def test_the_gradients_are_right_under_xla():
    plain, step, _ = trained(without, jit_compile=True)
    again, same, _ = trained(kerasdrop.remat, jit_compile=True)
    assert step == same == 6
    for one, other in zip(plain, again):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


def test_steps_per_execution():
    if BACKEND == "torch":
        pytest.skip("Keras has none on PyTorch")
    plain, step, _ = trained(without, steps=4, steps_per_execution=2)
    again, same, _ = trained(kerasdrop.remat, steps=4, steps_per_execution=2)
    assert step == same == 8
    for one, other in zip(plain, again):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("wrapper", [plain_remat, of_the_backend])
def test_a_plain_rematerialised_function_raises_with_the_fix(wrapper):
    with pytest.raises(RuntimeError, match="Wrap .* by `kerasdrop.remat`"):
        trained(wrapper)


def gradient_at_inference(wrapper):
    """The gradient of the inputs, and how many draws were counted."""
    keras.utils.set_random_seed(0)
    body = Body(wrapper, layers.MCDropout)
    body.build((4, 5))
    x = ops.convert_to_tensor(np.linspace(-1, 1, 20, dtype="float32"))
    x = ops.reshape(x, (4, 5))
    count = body.drop._state.draws.state
    if BACKEND == "torch":
        x.requires_grad_()
        ops.sum(body(x)).backward()
        return ops.convert_to_numpy(x.grad), int(count.value)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = body(x)
        gradient = tape.gradient(outputs, x)
        return ops.convert_to_numpy(gradient), int(count.value)
    import jax

    def total(x, state):
        outputs, state = body.stateless_call(
            [v.value for v in body.trainable_variables], state, x
        )
        return ops.sum(outputs), state

    state = [v.value for v in body.non_trainable_variables]
    gradient, state = jax.grad(total, has_aux=True)(x, state)
    places = [v is count for v in body.non_trainable_variables]
    return ops.convert_to_numpy(gradient), int(state[places.index(True)])


def test_what_draws_at_inference_has_the_gradients_of_its_mask():
    plain, two = gradient_at_inference(without)
    again, same = gradient_at_inference(kerasdrop.remat)
    assert two == same == 2
    np.testing.assert_allclose(plain, again, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrapper", [plain_remat, of_the_backend])
def test_what_draws_at_inference_raises_in_a_plain_one(wrapper):
    with pytest.raises(RuntimeError, match="Wrap .* by `kerasdrop.remat`"):
        gradient_at_inference(wrapper)


@pytest.mark.parametrize("wrapper", [plain_remat, of_the_backend])
def test_predictions_in_a_plain_one_are_left_alone(wrapper):
    body = Body(wrapper)
    x = np.ones((4, 5), "float32")
    body.build((4, 5))
    expected = body.body(x, training=False)
    found = body(keras.ops.convert_to_tensor(x), training=False)
    np.testing.assert_allclose(
        *map(keras.ops.convert_to_numpy, (found, expected)), rtol=1e-6
    )


def test_a_function_that_calls_other_layers_the_second_time_is_refused():
    if BACKEND == "jax":
        pytest.skip("JAX traces the function once")
    one, two = Dropout(0.5), Dropout(0.5)
    passes = []

    def fickle(x):
        passes.append(1)
        return (one if len(passes) == 1 else two)(x, training=True) ** 2

    class Fickle(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(5)

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            passes.clear()
            return kerasdrop.remat(fickle)(self.dense(x))

    model = keras.Sequential([keras.Input((5,)), Fickle()])
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="in the same order each time"):
        model.fit(np.ones((8, 5)), np.zeros((8, 5)), verbose=0)

"""The rate is live and the step is counted in loops that users write."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import Dropout
from tests.support import probes

BACKEND = keras.backend.backend()
RATES = [0.5, 0.0, 0.3, 1.0, 0.9]
INPUTS = ops.ones((probes.ROWS, probes.UNITS))


def zeroed_in(tensor):
    return float(np.mean(ops.convert_to_numpy(tensor) == 0))


def assert_zeroed(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=probes.TOLERANCE)


def test_the_rate_holds_in_stateless_call():
    layer = Dropout(0.5, seed=0)
    zeroed = []
    for rate in RATES:
        layer.rate = rate
        state = [variable.value for variable in layer.non_trainable_variables]
        outputs, _ = layer.stateless_call([], state, INPUTS, training=True)
        zeroed.append(zeroed_in(outputs))
    assert_zeroed(zeroed, RATES)


def test_stateless_call_returns_the_next_state_and_keeps_the_layer_as_is():
    layer = Dropout(0.5, seed=0)
    state = [variable.value for variable in layer.non_trainable_variables]
    first, state = layer.stateless_call([], state, INPUTS, training=True)
    second, state = layer.stateless_call([], state, INPUTS, training=True)
    different = bool(ops.any(first != second))
    assert (layer.step, different) == (0, True)


def test_stateless_call_draws_the_masks_of_an_ordinary_call():
    layer = Dropout(0.5, seed=0)
    state = [variable.value for variable in layer.non_trainable_variables]
    stateless, _ = layer.stateless_call([], state, INPUTS, training=True)
    ordinary = layer(INPUTS, training=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(stateless), ops.convert_to_numpy(ordinary)
    )


def test_the_state_is_non_trainable_and_no_weight():
    layer = Dropout(0.5)
    found = (
        len(layer.weights),
        len(layer.trainable_variables),
        sorted(v.name for v in layer.non_trainable_variables),
    )
    assert found == (0, 0, ["draws", "rate", "seed", "step"])


@pytest.mark.skipif(BACKEND != "jax", reason="a JAX loop")
def test_the_rate_holds_in_a_jitted_jax_loop():
    import jax

    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer, compiled=False)
    trainable = [v.value for v in model.trainable_variables]

    @jax.jit
    def step(trainable, state, inputs):
        def loss(trainable):
            outputs, new_state = model.stateless_call(
                trainable, state, inputs, training=True
            )
            return ops.mean(outputs**2), new_state

        return jax.grad(loss, has_aux=True)(trainable)

    for rate in RATES:
        layer.rate = rate
        state = [v.value for v in model.non_trainable_variables]
        _, state = step(trainable, state, probes.ones())
        for variable, value in zip(model.non_trainable_variables, state):
            variable.assign(value)
    assert_zeroed(model.recorder.take(), RATES)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a TensorFlow loop")
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_the_rate_holds_in_a_gradient_tape_loop(jit_compile):
    import tensorflow as tf

    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer, compiled=False)

    def step(inputs):
        with tf.GradientTape() as tape:
            loss = ops.mean(model(inputs, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    if jit_compile is not None:  # None: eager
        step = tf.function(step, jit_compile=jit_compile)
    for rate in RATES:
        layer.rate = rate
        step(probes.ones())
    assert_zeroed(model.recorder.take(), RATES)


@pytest.mark.skipif(BACKEND != "torch", reason="a PyTorch loop")
def test_the_rate_holds_in_a_torch_loop():
    import torch

    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer, compiled=False)
    trainable = [v.value for v in model.trainable_variables]
    optimizer = torch.optim.SGD(trainable, lr=0.1)
    inputs = torch.from_numpy(probes.ones())
    for rate in RATES:
        layer.rate = rate
        optimizer.zero_grad()
        torch.mean((model(inputs, training=True) - 1.0) ** 2).backward()
        optimizer.step()
    assert_zeroed(model.recorder.take(), RATES)


@keras.saving.register_keras_serializable("kerasdrop_tests")
class OwnTrainStep(keras.Model):
    """A subclassed model with a `train_step` of its own."""

    def __init__(self, layer):
        super().__init__()
        self.dropout = layer
        self.recorder = probes.ZeroedRecorder()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        dropped = self.dropout(inputs, training=training)
        return self.dense(self.recorder(dropped, training=training))

    def train_step(self, *args):
        if BACKEND == "jax":
            return super().train_step(*args)
        inputs, labels = args[0][:2]
        if BACKEND == "torch":
            self.zero_grad()
            loss = ops.mean((self(inputs, training=True) - labels) ** 2)
            loss.backward()
            gradients = [v.value.grad for v in self.trainable_variables]
            import torch

            with torch.no_grad():
                self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = ops.mean((self(inputs, training=True) - labels) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


def test_the_rate_holds_in_a_train_step_of_ones_own():
    layer = Dropout(0.5, seed=0)
    model = OwnTrainStep(layer)
    model.compile("sgd", "mse")
    zeroed = []
    for rate in RATES:
        layer.rate = rate
        zeroed.extend(probes.fit(model))
    assert_zeroed(zeroed, RATES)


def test_a_custom_loop_counts_the_steps():
    layer = Dropout(0.5)
    for _ in range(3):
        layer(probes.ones(), training=True)
    layer(probes.ones(), training=False)
    assert layer.step == 3


@pytest.mark.skipif(BACKEND != "torch", reason="of PyTorch")
def test_what_torch_differentiates_needs_the_state_as_an_argument():
    import torch

    model = keras.Sequential([keras.Input((9,)), Dropout(0.5, seed=3)])
    x = torch.ones(4, 9)
    with pytest.raises(RuntimeError, match="`torch.func`.*stateless_call"):
        torch.func.grad(lambda x: model(x, training=True).sum())(x)
    with pytest.raises(RuntimeError, match="`torch.func`.*stateless_call"):
        torch.func.vjp(lambda x: model(x, training=True), x)
    assert model.layers[0].step == 0
    state = [v.value for v in model.non_trainable_variables]

    def outputs(x):
        return model.stateless_call([], state, x, training=True)[0]

    gradient = torch.func.grad(lambda x: outputs(x).sum())(x)
    expected = model(x, training=True)
    assert torch.equal(gradient, expected)

"""Under torch.compile the layer is one graph, and its rate stays live."""

import keras
import numpy as np
import pytest

from kerasdrop import layers
from kerasdrop.layers import Dropout
from tests.support import versions

if keras.backend.backend() != "torch":
    pytest.skip("about torch.compile", allow_module_level=True)

import torch
from torch._dynamo.testing import CompileCounter

pytestmark = versions.looked_at_gradients

INPUTS = torch.ones(8, 1000)
RATES = [0.5, 0.0, 0.3, 1.0, 0.9]


@pytest.fixture
def compiled():
    """A compiled training call, its layer, and a counter of compilations."""
    torch._dynamo.reset()
    layer = Dropout(0.5, seed=0)
    counter = CompileCounter()  # runs the captured graphs as they are
    call = torch.compile(lambda x: layer(x, training=True), backend=counter)
    yield call, layer, counter
    torch._dynamo.reset()


def test_a_rate_set_between_compiled_calls_holds(compiled):
    call, layer, _ = compiled
    zeroed = []
    for rate in RATES:
        layer.rate = rate
        zeroed.append(float((call(INPUTS) == 0).float().mean()))
    np.testing.assert_allclose(zeroed, RATES, atol=0.028)  # 5 sigma


def test_changing_the_rate_does_not_compile_again(compiled):
    call, layer, counter = compiled
    for _ in range(2):  # the second call has a global of Keras' to get used to
        call(INPUTS)
    before = counter.frame_count
    for rate in RATES:
        layer.rate = rate
        call(INPUTS)
    assert counter.frame_count == before


def test_compiled_masks_are_those_of_an_eager_call(compiled):
    call, _, _ = compiled
    eager = Dropout(0.5, seed=0)
    for _ in range(3):
        np.testing.assert_array_equal(
            call(INPUTS).numpy(), eager(INPUTS, training=True).numpy()
        )


def test_the_steps_are_counted(compiled):
    call, layer, _ = compiled
    for _ in range(3):
        call(INPUTS)
    assert layer.step == 3


@versions.needs_one_graph
def test_the_layer_is_one_graph():
    torch._dynamo.reset()
    layer = Dropout(0.5, seed=0)
    found = torch._dynamo.explain(lambda x: layer(x, training=True))(INPUTS)
    assert found.graph_break_count == 0, found.break_reasons


OTHERS = {
    "AlphaDropout": lambda: layers.AlphaDropout(0.5, seed=0),
    "GaussianDropout": lambda: layers.GaussianDropout(0.5, seed=0),
    "DropBlock1D": lambda: layers.DropBlock1D(0.5, 3, "channels_last", 0),
    "StochasticDepth": lambda: layers.StochasticDepth(
        keras.layers.Activation("relu"), 0.5, seed=0
    ),
    "DropConnect": lambda: layers.DropConnect(
        keras.layers.Dense(3, kernel_initializer="ones"), 0.5, seed=0
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers_are_live_and_compiled_once_too(name):
    torch._dynamo.reset()
    inputs = torch.ones(4, 10, 3)
    layer, eager = OTHERS[name](), OTHERS[name]()
    counter = CompileCounter()
    layer.build(inputs.shape)
    call = torch.compile(lambda x: layer(x, training=True), backend=counter)
    frames = []
    for rate in (0.5, 0.5, 0.0, 0.3, 0.9):
        layer.rate = eager.rate = rate
        np.testing.assert_allclose(
            call(inputs).detach().numpy(),
            eager(inputs, training=True).detach().numpy(),
            rtol=1e-5,
            atol=1e-6,
        )
        frames.append(counter.frame_count)
    torch._dynamo.reset()
    assert frames[1:] == frames[1:2] * 4


def test_a_learned_rate_is_compiled_once_and_has_its_gradient():
    torch._dynamo.reset()
    inputs = torch.ones(4, 10, 3)
    layer, eager = (
        layers.ConcreteDropout(
            keras.layers.Dense(3, kernel_initializer="ones"), 0.5, seed=0
        )
        for _ in range(2)
    )
    counter = CompileCounter()
    layer.build(inputs.shape)
    eager.build(inputs.shape)
    call = torch.compile(lambda x: layer(x, training=True), backend=counter)
    frames = []
    for logit in (0.0, 0.0, -1.0, -2.0):
        gradients = []
        for one, run in ((layer, call), (eager, eager)):
            one.rate_logit.assign(logit)
            one.rate_logit.value.grad = None
            outputs = run(inputs) if run is call else run(inputs, training=True)
            outputs.sum().backward()
            gradients.append(float(one.rate_logit.value.grad))
        frames.append(counter.frame_count)
        np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-4)
        assert gradients[0] != 0.0
    torch._dynamo.reset()
    assert frames[1:] == frames[1:2] * 3


@pytest.mark.filterwarnings(
    # Of PyTorch's compiler, about PyTorch.
    "ignore:`torch.jit.script:DeprecationWarning"
)
@pytest.mark.slow  # compiles C++ for half a minute
def test_a_model_compiled_by_keras_trains():
    layer = Dropout(0.5, seed=0)
    model = keras.Sequential([keras.Input((10,)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=True)
    model.fit(np.ones((16, 10)), np.ones((16, 1)), batch_size=4, verbose=0)
    assert layer.step == 4

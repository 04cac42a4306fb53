"""Under torch.compile the layer is one graph, and its rate stays live."""

import keras
import numpy as np
import pytest

from kerasdrop.layers import Dropout

if keras.backend.backend() != "torch":
    pytest.skip("about torch.compile", allow_module_level=True)

import torch
from torch._dynamo.testing import CompileCounter

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


@pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15),
    reason="Keras before 3.15 breaks the graph in `convert_to_tensor`",
)
def test_the_layer_is_one_graph():
    torch._dynamo.reset()
    layer = Dropout(0.5, seed=0)
    found = torch._dynamo.explain(lambda x: layer(x, training=True))(INPUTS)
    assert found.graph_break_count == 0, found.break_reasons


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

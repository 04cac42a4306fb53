"""What `torch.compile` makes of all layers, at all sizes, in all places.

`fullgraph=True` refuses what it cannot compile; `dynamic=True` compiles once
for all sizes, and makes numbers of Python numbers in the graph.
"""

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import layers
from tests.layers import test_common as common
from tests.layers import test_rematerialization as rematerialized
from tests.support import versions

if keras.backend.backend() != "torch":
    pytest.skip("about torch.compile", allow_module_level=True)

import torch
from torch._dynamo.testing import CompileCounter

pytestmark = versions.looked_at_gradients

INPUTS = torch.linspace(-1.0, 1.0, 96).reshape(8, 12)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def assert_compiled_as_eager(make, *inputs):
    """One graph for batches of all sizes, that does what eager calls do."""
    inputs = [torch.as_tensor(each) for each in inputs]
    layer, eager = make(), make()
    for each in (layer, eager):
        each.build(*(x.shape for x in inputs))
    counter = CompileCounter()
    call = torch.compile(
        lambda *args: layer(*args, training=True),
        backend=counter,
        fullgraph=True,
        dynamic=True,
    )
    for times in (1, 3, 2):
        args = [x.repeat(times, *[1] * (x.ndim - 1)) for x in inputs]
        np.testing.assert_allclose(
            call(*args).detach().numpy(),
            eager(*args, training=True).detach().numpy(),
            rtol=1e-5,
            atol=1e-6,
        )
    # A global of Keras may change once, in the first call.
    assert counter.frame_count <= 2


# Of layers that are much alike, one; the others take a minute.
ALIKE = (
    "ClassicDropout",
    "MCDropout",
    "SpatialDropout1D",
    "SpatialDropout3D",
    "LockedDropout",
    "AlphaDropout",
    "DropPath",
    "DropBlock1D",
    "DropBlock3D",
)

# Attention is below, called with more than one tensor. The loop of Keras over
# the steps of a sequence is not one graph.
ELSEWHERE = (
    *("MultiHeadAttention", "GroupQueryAttention", "DropoutRNN"),
    *("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D"),
)


@versions.needs_one_graph
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE))
        for name in common.LAYERS
        if name not in ELSEWHERE
    ],
)
def test_every_layer_is_one_graph_for_all_sizes(name):
    make = common.CASES[name].make
    assert_compiled_as_eager(
        lambda: make(0.4, seed=3), common.inputs_of(name, rows=4)
    )


@versions.needs_one_graph
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: layers.MultiHeadAttention(
                2, 3, dropout=0.4, seed=3, kernel_initializer="ones"
            ),
            id="MultiHeadAttention",
        ),
        pytest.param(
            lambda: layers.GroupQueryAttention(
                4, 2, 1, dropout=0.4, seed=3, kernel_initializer="ones"
            ),
            id="GroupQueryAttention",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_attention_is_one_graph_for_all_sizes(make):
    x = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
    assert_compiled_as_eager(make, x, x)


@versions.needs_one_graph
def test_an_adapter_before_an_activation_is_one_graph():
    def make():
        inner = keras.layers.Dense(
            3, activation="relu", kernel_initializer="ones", lora_rank=2
        )
        return layers.LoRAInputDropout(inner, 0.4, seed=3)

    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    assert_compiled_as_eager(make, x)


@pytest.mark.parametrize("dynamic", [None, True])
def test_a_layer_may_be_made_inside_where_graphs_may_break(dynamic):
    made = []

    def call(x):
        made.append(layers.Dropout(0.5, seed=3))
        return made[-1](x, training=True)

    compiled = torch.compile(call, backend="eager", dynamic=dynamic)
    expected = layers.Dropout(0.5, seed=3)(INPUTS, training=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(INPUTS), expected)
    assert [layer.step for layer in made] == [1, 1]
    torch.testing.assert_close(
        made[0](INPUTS, training=True), made[1](INPUTS, training=True)
    )


def test_a_layer_made_inside_of_one_graph_is_refused():
    call = torch.compile(
        lambda x: layers.Dropout(0.5)(x, training=True),
        backend="eager",
        fullgraph=True,
    )
    with pytest.raises(RuntimeError, match="Make it outside of the function"):
        call(INPUTS)


def gradients(wrapper, body, **compile_arguments):
    """Those of two steps, by each weight; and how many steps were counted."""
    keras.utils.set_random_seed(0)
    block = body(wrapper)
    block.build((16, 5))
    x = torch.linspace(-1.0, 1.0, 80).reshape(16, 5)
    weights = [variable.value for variable in block.trainable_variables]
    call = torch.compile(
        lambda x: block(x, training=True).sum(), **compile_arguments
    )
    found = [torch.autograd.grad(call(x), weights) for _ in range(2)]
    return found, block.drop.step


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)]
)
def test_a_rematerialised_block_has_the_gradients_of_a_plain_one(backend):
    body = rematerialized.Nested
    plain = gradients(rematerialized.without, body, backend="eager")
    again = gradients(kerasdrop.remat, body, backend=backend)
    torch.testing.assert_close(again, plain)


@pytest.mark.parametrize(
    "fullgraph", [False, pytest.param(True, marks=versions.needs_one_graph)]
)
def test_plain_rematerialisation_is_refused(fullgraph):
    with pytest.raises(RuntimeError, match="kerasdrop.remat|side effect"):
        gradients(
            rematerialized.plain_remat,
            rematerialized.Body,
            backend="eager",
            fullgraph=fullgraph,
        )

"""Where the kernel is used: in models and layers, in nothing that is traced."""

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import _backend
from kerasdrop import functional
from kerasdrop import layers
from kerasdrop.masks import plans
from tests.layers import test_common
from tests.support import kernels
from tests.support import operations

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

import torch

from kerasdrop._backend import triton_launch

pytest.importorskip("triton", reason="`make test` installs Triton on Linux")

pytestmark = pytest.mark.usefixtures("interpreted")


linear = kernels.dropping(functional.dropout)


def traced_by_fx(call, x):
    return torch.fx.experimental.proxy_tensor.make_fx(call)(x)(x)


def traced_by_jit(call, x):
    return torch.jit.trace(call, x, check_trace=False)(x)


def faked(call, x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return tuple(call(mode.from_tensor(x)).shape)


TRACED = {
    "compile": lambda call, x: torch.compile(
        call, backend="eager", fullgraph=True
    )(x),
    "export": lambda call, x: torch.export.export(_Module(call), (x,)).module()(
        x
    ),
    "make_fx": traced_by_fx,
    "jit": traced_by_jit,
    "functionalize": lambda call, x: torch.func.functionalize(
        lambda x: torch.func.vjp(call, x)[0]
    )(x),
    "fake": faked,
}


class _Module(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("trace", TRACED.values(), ids=TRACED)
def test_what_is_traced_is_made_of_operations(trace):
    x = kernels.random(3, 4)
    expected = linear(x) if trace is not faked else (3, 4)

    with kernels.on_cpu() as made:
        found = trace(linear, x)

    assert not made
    torch.compiler.reset()
    if trace is faked:
        assert found == expected
    else:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("plan", plans.PLANS)
def test_samples_of_a_model(plan):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dropout(0.4),
            layers.AlphaDropout(0.2),
            layers.GaussianDropout(0.1),
            keras.layers.Dense(2),
        ]
    )
    x = kernels.random(3, 4).numpy()

    def call():
        return kerasdrop.mc_predict(
            model, x, num_samples=20, plan=plan, seed=0, verbose=0
        )

    found, expected = kernels.both(call)

    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.std, expected.std)


# Nothing to run on a GPU, as these are used.
UNLAUNCHED = ("permute", "contiguous", "reshape", "empty", "empty_like")


def test_a_call_is_few_operations(monkeypatch):
    # As on a GPU, nothing can be read there.
    for module in (_backend, _backend.torch):
        monkeypatch.setattr(module, "at_hand", lambda *values: None)
    layer = layers.Dropout(0.5, seed=0)
    x = kernels.random(32, 64).requires_grad_()

    with kernels.on_cpu():
        layer(x, training=True)
        # The kernel is one; what interprets it is many.
        monkeypatch.setattr(triton_launch, "run", _copied)
        names = operations.of(lambda: layer(x, training=True))

    launched = [name for name in names if name not in UNLAUNCHED]
    # The step, the rate, the words that are kept; the stock layer has eleven.
    assert 0 < len(launched) <= 9, launched


def _copied(recipe, layout, inputs, outputs):
    recipe.copies(outputs.device)
    return outputs


DRAWING = ("Dropout", "AlphaDropout", "GaussianDropout", "ClassicDropout")


@pytest.mark.parametrize("name", DRAWING)
def test_a_call_copies_nothing_to_the_device(name, monkeypatch):
    at_hand = _backend.at_hand

    def of_numbers(*values):
        is_there = any(isinstance(value, torch.Tensor) for value in values)
        return None if is_there else at_hand(*values)

    def copied(values):
        raise AssertionError(f"of {values}: the host waits for a copy")

    for module in (_backend, _backend.torch):
        monkeypatch.setattr(module, "at_hand", of_numbers)
    layer = getattr(layers, name)(0.5, seed=0)
    x = kernels.random(8, 4).requires_grad_()
    with kernels.on_cpu() as made:
        layer(x, training=True)
        made.clear()
        monkeypatch.setattr(torch, "from_numpy", copied)
        layer(x, training=True).sum().backward()

    assert made


FEW = ("Dropout", "GaussianDropout", "LSTM", "DropBlock2D", "DropConnect")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FEW else pytest.mark.slow)
        for name in test_common.CASES
        if name != "EmbeddingDropout"  # which asks for units by numbers
    ],
)
def test_training_of_each_layer(name):
    case = test_common.CASES[name]
    x = kernels.random(8, *case.shape).numpy()

    def call():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input(case.shape),
                keras.layers.Dense(case.shape[-1]),
                case.make(0.4, seed=3),
            ]
        )
        model.compile("sgd", "mse")
        y = np.zeros(model.output_shape[1:])
        y = np.broadcast_to(y, (8, *y.shape))
        losses = model.fit(x, y, batch_size=4, verbose=0).history["loss"]
        return losses, [torch.tensor(each) for each in model.get_weights()]

    found, expected = kernels.both(call)

    # Sums of recurrent layers follow the order in memory.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)

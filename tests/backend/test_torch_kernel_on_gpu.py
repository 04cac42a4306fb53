"""On a GPU, where there is one: the kernel as it is compiled and run."""

import functools
import itertools

import keras
import pytest

from kerasdrop import functional
from kerasdrop import layers
from kerasdrop import masks
from tests.support import kernels

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

import torch

pytest.importorskip("triton", reason="`make test` installs Triton on Linux")

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

DEVICE = "cuda"
SHAPES = {
    "matrix": ((32, 64), None),
    "tiles": ((4128, 1031), None),
    "wide": ((16, 100_003), None),
    "tall": ((160_000, 3), None),
    "path": ((64, 40, 5), (None, 1, 1)),
    "channels last": ((32, 15, 14, 24), (None, 1, 1, None)),
    "channels first": ((32, 24, 15, 14), (None, None, 1, 1)),
    "steps": ((64, 30, 20), (None, 1, None)),
}
FUNCTIONS = {
    "dropout": functional.dropout,
    "classic": functional.classic_dropout,
    "alpha": functional.alpha_dropout,
    "gaussian": functional.gaussian_dropout,
    "concrete": functional.concrete_dropout,
}
RATES = (0.0, 1e-9, 0.3, 0.999, 1.0, float("nan"))


def draws(num_rows):
    """A step for all rows, and samples in sets; of keys that are extreme."""
    key = kernels.tensor([-(2**31), 2**31 - 1, -1, 5]).reshape(2, 2, 1)
    number = torch.arange(num_rows, dtype=torch.int32, device=DEVICE)
    key, step = key.to(DEVICE), kernels.tensor(-(2**31) + 3).to(DEVICE)
    yield masks.Draw(key, step)
    yield masks.Draw(key, number % 16 + 160, number // 16 * 7, 16, 16)


@pytest.mark.parametrize(("shape", "noise"), SHAPES.values(), ids=SHAPES)
def test_shapes(shape, noise):
    x = kernels.random(*shape).to(DEVICE)
    rate = torch.tensor(0.3, device=DEVICE)
    for draw in draws(shape[0]):
        kernels.assert_same(
            functools.partial(functional.dropout, x, draw, rate, noise)
        )


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rates(dtype, name):
    x = kernels.random(32, 64, dtype=dtype).to(DEVICE)
    # Each kernel takes a second to compile.
    of_dtype = draws(32) if dtype == "float32" else [*draws(32)][1:]
    for draw, rate in itertools.product(of_dtype, RATES):
        rate = torch.tensor(rate, device=DEVICE)
        kernels.assert_same(functools.partial(FUNCTIONS[name], x, draw, rate))


def test_gradients():
    x = kernels.random(4096, 500).to(DEVICE).requires_grad_()
    weights = kernels.random(500, 4096).to(DEVICE).t()
    (draw, _) = draws(4096)
    rate = torch.tensor(0.3, device=DEVICE)

    for function in (functional.dropout, functional.alpha_dropout):
        call = functools.partial(function, x, draw, rate)
        kernels.assert_same(
            lambda call=call: torch.autograd.grad(call(), x, weights)
        )


@pytest.mark.parametrize(
    "name", ["Dropout", "ClassicDropout", "AlphaDropout", "GaussianDropout"]
)
def test_a_call_waits_for_nothing(name):
    layer = getattr(layers, name)(0.5, seed=0)
    x = kernels.random(64, 500).to(DEVICE).requires_grad_()
    layer(x, training=True)

    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(x, training=True).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")

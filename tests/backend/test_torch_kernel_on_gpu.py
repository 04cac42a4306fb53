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

pytest.importorskip("triton")

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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(("shape", "noise"), SHAPES.values(), ids=SHAPES)
def test_it_makes_what_operations_make(shape, noise, dtype):
    x = kernels.random(*shape, dtype=dtype).to(DEVICE)
    for draw, rate in itertools.product(draws(shape[0]), RATES):
        rate = torch.tensor(rate, device=DEVICE)
        for name, function in FUNCTIONS.items():
            noises = () if name in ("gaussian", "concrete") else (noise,)
            kernels.assert_same(
                functools.partial(function, x, draw, rate, *noises)
            )


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


def test_a_call_waits_for_nothing():
    layer = layers.Dropout(0.5, seed=0)
    x = kernels.random(64, 500).to(DEVICE).requires_grad_()
    layer(x, training=True)

    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(x, training=True).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")

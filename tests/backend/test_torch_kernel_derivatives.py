"""Derivatives of the kernel, of each order and kind; nothing is kept."""

import keras
import pytest

from kerasdrop import functional
from kerasdrop import masks
from tests.support import kernels

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

import torch

from kerasdrop._backend import triton_launch

pytest.importorskip("triton", reason="`make test` installs Triton on Linux")

pytestmark = pytest.mark.usefixtures("interpreted")


linear = kernels.dropping(functional.dropout)
affine = kernels.dropping(functional.alpha_dropout)


def cubed(function):
    return lambda x: (function(x) ** 3).sum()


def gradient(call, x):
    x = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(call(x), x, create_graph=True)
    return first, *torch.autograd.grad((first**2).sum(), x)


def by_dual(call, x):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x * 2.0)
        return torch.autograd.forward_ad.unpack_dual(call(dual)).tangent


def in_compiled_backward(call, x):
    from torch._dynamo import compiled_autograd

    x = x.clone().requires_grad_()
    loss = (call(x) ** 2).sum()
    with compiled_autograd._enable(
        lambda graph: torch.compile(graph, backend="eager")
    ):
        loss.backward()
    torch.compiler.reset()
    return x.grad


def of_no_memory(call, x):
    x = x.clone().requires_grad_()
    y = call(x)
    zeros = torch._efficientzerotensor(y.shape)
    return torch.autograd.grad(y, x, zeros)[0].clone()


WAYS = {
    "gradient, twice": lambda f, x: gradient(cubed(f), x),
    "dual": lambda f, x: by_dual(f, x),
    "grad": lambda f, x: torch.func.grad(cubed(f))(x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x * 2.0,)),
    "vjp": lambda f, x: torch.func.vjp(f, x)[1](x),
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, 2 * x])),
    "vmap, last axis": lambda f, x: torch.func.vmap(f, in_dims=2, out_dims=1)(
        torch.stack([x, 2 * x], 2)
    ),
    "vmap of grad": lambda f, x: torch.func.vmap(torch.func.grad(cubed(f)))(
        torch.stack([x, 2 * x, 3 * x])
    ),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "hessian": lambda f, x: torch.func.hessian(cubed(f))(x),
    "compiled backward": in_compiled_backward,
    "zeros of no memory": of_no_memory,
    "batched gradients": lambda f, x: torch.autograd.functional.jacobian(
        f, x, vectorize=True
    ),
    "batched tangents": lambda f, x: torch.autograd.functional.jacobian(
        f, x, vectorize=True, strategy="forward-mode"
    ),
}


# PyTorch's own, of its `torch.jit`.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("function", [linear, affine], ids=["linear", "affine"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_derivatives(way, function):
    x = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)

    found, expected = kernels.both(lambda: way(function, x))

    torch.testing.assert_close(found, expected)


def test_more_rows_than_the_kernel_counts(monkeypatch):
    x = kernels.random(5, 3, 4, 2)
    way = torch.func.vmap(torch.func.vmap(linear), in_dims=1)
    with kernels.on_cpu():
        linear(x[0, 0])  # so that the kernel has been tried
    run, numbers = triton_launch.run, []

    def counted(recipe, layout, *others):
        numbers.append(layout.num_rows)
        return run(recipe, layout, *others)

    monkeypatch.setattr(triton_launch, "_MOST", 8)
    monkeypatch.setattr(triton_launch, "run", counted)
    triton_launch.layout_of.cache_clear()

    found, expected = kernels.both(lambda: way(x))

    triton_launch.layout_of.cache_clear()
    assert torch.equal(found, expected)
    assert sum(numbers) == 5 * 3 * 4
    assert max(numbers) < 8


def test_nothing_is_kept_for_a_gradient():
    kept = []
    x = kernels.random(32, 64).requires_grad_()

    with (
        kernels.on_cpu(),
        torch.autograd.graph.saved_tensors_hooks(kept.append, kept.append),
    ):
        functional.dropout(x, kernels.draw(), kernels.rate()).sum()

    assert kept == []


def test_what_changes_before_the_gradient_does_not_change_it():
    rate, index, rows = (
        kernels.rate(),
        kernels.tensor(list(range(8))),
        kernels.tensor([7] * 8),
    )
    key = kernels.key().clone()
    x = torch.ones(8, 5, requires_grad=True)

    with kernels.on_cpu():
        y = functional.dropout(x, masks.Draw(key, index, rows), rate)
        for tensor in (rate, index, rows, key):
            tensor.fill_(1)
        y.sum().backward()

    assert 0 < int((y == 0).sum()) < 40
    assert torch.equal(x.grad, y.detach())


def test_a_rate_that_is_differentiated_has_its_gradient():
    def of_rate():
        rate = kernels.rate().requires_grad_()
        y = functional.dropout(kernels.random(3, 5), kernels.draw(), rate)
        return torch.autograd.grad((y**2).sum(), rate)

    expected = of_rate()
    with kernels.on_cpu() as made:
        found = of_rate()

    assert not made
    torch.testing.assert_close(found, expected)


# In `torch.func` a seed, a row or a rate may be mapped: then each entry has
# masks of its own, by operations.
def test_a_mapped_index_has_masks_of_its_own():
    x = kernels.random(3, 5)

    def call():
        return torch.func.vmap(
            lambda index: functional.dropout(
                x, masks.Draw(kernels.key(), index), kernels.rate()
            )
        )(kernels.tensor([1, 2, 3]))

    expected = call()
    with kernels.on_cpu():
        torch.testing.assert_close(call(), expected)

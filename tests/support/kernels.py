"""Runs the Triton kernel on a CPU by its interpreter, or compiles it only."""

import contextlib
import sys

import pytest

from kerasdrop import masks

KERNEL = "kerasdrop._backend.triton_kernel"


@contextlib.contextmanager
def interpreted(interpret=True):
    """Remakes the kernel for the block, with the interpreter or without it."""
    with pytest.MonkeyPatch.context() as patch:
        # Triton reads the setting when a function is decorated.
        patch.setenv("TRITON_INTERPRET", "1" if interpret else "0")
        patch.delitem(sys.modules, KERNEL, raising=False)
        try:
            yield
        finally:
            sys.modules.pop(KERNEL, None)


@contextlib.contextmanager
def on_cpu():
    """Makes the kernel take CPU tensors in the block.

    Yields:
        A list to which each run of the kernel adds its kind of output, a
        string.
    """
    from kerasdrop._backend import torch_kernel
    from kerasdrop._backend import triton_launch

    run, made = triton_launch.run, []

    def counted(recipe, *others):
        made.append(recipe.what)
        return run(recipe, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_kernel, "DEVICES", {"cuda", "cpu"})
        patch.setattr(triton_launch, "run", counted)
        yield made


@contextlib.contextmanager
def by_operations():
    """Makes the kernel take no tensors in the block."""
    from kerasdrop._backend import torch_kernel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_kernel, "DEVICES", set())
        yield


def tensor(values):
    """An int32 tensor."""
    import torch

    return torch.tensor(values, dtype=torch.int32)


def rate(value=0.3):
    import torch

    return torch.tensor(value)


def random(*shape, dtype="float32"):
    import torch

    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator)
    return values.to(getattr(torch, dtype))


def key():
    import torch

    return torch.from_numpy(masks.key_of_seed(3))


def draw(index=70, **others):
    return masks.Draw(key(), tensor(index), **others)


def dropping(function):
    """Makes a function of only the inputs from one of `functional`."""
    the_draw, the_rate = draw(), rate()
    return lambda inputs: function(inputs, the_draw, the_rate)


def both(call):
    """Returns the results of the kernel and of operations."""
    with by_operations():
        expected = call()
    with on_cpu() as made:
        found = call()
    assert made
    return found, expected


def assert_same(call):
    """Asserts that the kernel and operations give the same bits."""
    import torch

    found, expected = both(call)
    torch.testing.assert_close(
        found, expected, rtol=0.0, atol=0.0, equal_nan=True
    )

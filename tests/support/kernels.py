"""Triton's kernel on a CPU: by its interpreter, or compiled and not run."""

import contextlib
import sys

import pytest

from kerasdrop import masks

KERNEL = "kerasdrop._backend.triton_kernel"


@contextlib.contextmanager
def interpreted(interpret=True):
    """The kernel is made anew, to be interpreted or not, for the block."""
    with pytest.MonkeyPatch.context() as patch:
        # Triton looks at it where a function is decorated.
        patch.setenv("TRITON_INTERPRET", "1" if interpret else "0")
        patch.delitem(sys.modules, KERNEL, raising=False)
        try:
            yield
        finally:
            sys.modules.pop(KERNEL, None)


@contextlib.contextmanager
def on_cpu():
    """The kernel takes tensors of the CPU, in the block.

    Yields:
        A list, which gets what each run of the kernel made: a string.
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
    """The kernel takes no tensors, in the block."""
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
    """A function of `functional` as one of inputs alone."""
    the_draw, the_rate = draw(), rate()
    return lambda inputs: function(inputs, the_draw, the_rate)


def both(call):
    """What the kernel makes, and what operations make."""
    with by_operations():
        expected = call()
    with on_cpu() as made:
        found = call()
    assert made
    return found, expected


def assert_same(call):
    """Raises unless the kernel makes what operations make, bit for bit."""
    import torch

    found, expected = both(call)
    torch.testing.assert_close(
        found, expected, rtol=0.0, atol=0.0, equal_nan=True
    )

"""Triton's kernel on a CPU: by its interpreter, or compiled and not run."""

import contextlib
import sys

import pytest

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

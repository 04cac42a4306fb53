"""What the pretend device needs of PyTorch, which is private.

A device that Python makes, tensors of it without memory, and which operations
are made of others. See tests/support/pretend_device.py.
"""

import inspect

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("a contract of PyTorch", allow_module_level=True)

import torch
from torch.utils import backend_registration

from tests.support import helpers

_USED = """
import numpy as np
import torch
from tests.support import pretend_device

pretend_device.register()
there = torch.device(pretend_device.DEVICE)
x = torch.arange(6.0).reshape(2, 3).to(there)
assert x.device == there

# Values, views that share them, and numbers that a kernel gets.
y = x.t()[1:]
y += 10.0
np.testing.assert_array_equal(x.cpu().numpy(), [[0, 11, 12], [3, 14, 15]])
one = torch.tensor(3, dtype=torch.int32, device=there)
assert ((one & 1) * 2).dtype == torch.int32

# Gradients.
w = x.detach().clone().requires_grad_()
(w * w).sum().backward()
assert w.grad.device == there
np.testing.assert_array_equal(w.grad.cpu().numpy(), 2 * x.cpu().numpy())

# As on a GPU: single numbers may come from the CPU, tensors may not.
x * torch.tensor(2.0)
for refused in (
    lambda: x * torch.ones(3),
    lambda: torch.ones(3) * x,
    lambda: torch.stack([x[0, 0], torch.tensor(1.0)]),
    lambda: torch.cat([x, torch.ones(1, 3)]),
    lambda: x @ torch.ones(3, 1),
    lambda: torch.ones(2, 3).add_(x),
):
    try:
        refused()
    except RuntimeError as error:
        assert "same device" in str(error), error
    else:
        raise AssertionError("it was not refused")
try:
    x.numpy()
except TypeError:
    pass
else:
    raise AssertionError("NumPy has read it")

with pretend_device.watched() as transfers:
    x * 2.0
    assert transfers == []
    x.sum().item()
    x.to("cpu")
    x[x > 5.0]
    torch.ones(4).to(there)
sides = [one.to for one in transfers]
assert sides == ["host", "host", "host", "device"], transfers
print("used")
"""


def test_there_is_what_makes_the_device():
    setup = backend_registration._setup_privateuseone_for_python_backend
    assert next(iter(inspect.signature(setup).parameters)) == "rename"
    assert callable(torch._C._acc.create_empty_tensor)
    listed = torch._C._dispatch_get_registrations_for_dispatch_key
    assert "aten::stack" in listed("CompositeExplicitAutograd")


def test_a_tensor_there_is_one_as_on_a_gpu():
    assert helpers.run_python(_USED) == "used\n"

"""PyTorch tells whether a forward pass is a recomputation in a backward pass.

By `torch._C._current_graph_task_id`, which is private: there is no public way.
"""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("a contract of PyTorch", allow_module_level=True)

import torch
from torch.utils.checkpoint import checkpoint


def seen_in(use_reentrant):
    """Whether each forward pass was in a backward pass."""
    seen = []

    def forward(x):
        seen.append(torch._C._current_graph_task_id() != -1)
        return x**2

    inputs = torch.ones(3, requires_grad=True)
    checkpoint(forward, inputs, use_reentrant=use_reentrant).sum().backward()
    return seen


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_only_the_second_pass_is_in_a_backward_pass(use_reentrant):
    assert seen_in(use_reentrant) == [False, True]


def test_an_ordinary_pass_is_in_none():
    assert torch._C._current_graph_task_id() == -1


def test_so_it_is_after_a_backward_pass():
    torch.ones(3, requires_grad=True).sum().backward()
    assert torch._C._current_graph_task_id() == -1

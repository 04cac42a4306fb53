"""A kernel that is missing, fails or is wrong is not used; a line says so."""

import logging
import sys
import types

import keras
import numpy as np
import pytest

from kerasdrop import functional
from kerasdrop import layers
from kerasdrop import masks
from tests.support import kernels

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

import torch

from kerasdrop._backend import torch_kernel
from kerasdrop._backend import triton_launch
from kerasdrop._backend import triton_trial

pytest.importorskip("triton", reason="`make test` installs Triton on Linux")

pytestmark = pytest.mark.usefixtures("interpreted")


linear = kernels.dropping(functional.dropout)


@pytest.fixture
def untried(monkeypatch):
    """It is not known whether the kernel works."""
    monkeypatch.setattr(triton_trial, "_passed", {})


def messages(caplog, expected):
    """What is logged while the kernel does not work."""
    with kernels.on_cpu() as made, caplog.at_level(logging.DEBUG, "kerasdrop"):
        for _ in range(2):
            assert torch.equal(linear(kernels.random(3, 4)), expected)
    assert "scaled" not in made
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    return caplog.text


@pytest.mark.parametrize(
    ("platform", "package"),
    [("linux", "triton"), ("win32", "triton-windows")],
)
def test_without_triton_operations_are_used_and_a_line_says_so(
    platform, package, untried, monkeypatch, caplog
):
    expected = linear(kernels.random(3, 4))
    monkeypatch.setattr(triton_trial, "find_spec", lambda name: None)
    monkeypatch.setattr(
        triton_trial, "sys", types.SimpleNamespace(platform=platform)
    )

    assert f"`pip install {package}`" in messages(caplog, expected)


def test_an_empty_module_is_no_triton(untried, monkeypatch, caplog):
    expected = linear(kernels.random(3, 4))
    monkeypatch.setitem(sys.modules, "triton", types.ModuleType("triton"))

    assert "pip install triton" in messages(caplog, expected)


def test_a_lack_of_memory_says_nothing_about_the_kernel(
    untried, monkeypatch, caplog
):
    x = kernels.random(3, 4)
    expected, of_kernel = linear(x), triton_launch.kernels

    def full():
        raise torch.cuda.OutOfMemoryError

    with kernels.on_cpu() as made:
        monkeypatch.setattr(triton_launch, "kernels", full)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            linear(x)
        monkeypatch.setattr(triton_launch, "kernels", of_kernel)
        made.clear()
        assert torch.equal(linear(x), expected)

    assert made
    assert caplog.text == ""


def test_it_is_not_tried_where_reading_is_an_error(
    untried, monkeypatch, caplog
):
    x = kernels.random(3, 4)
    expected = linear(x)
    answers = {
        "is_available": True,
        "is_current_stream_capturing": False,
        "get_sync_debug_mode": 2,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)

    with kernels.on_cpu() as made:
        assert torch.equal(linear(x), expected)
        assert not made
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
        assert torch.equal(linear(x), expected)

    assert made
    assert caplog.text == ""


def test_a_kernel_that_fails_is_not_used(untried, monkeypatch, caplog):
    def failing():
        raise RuntimeError("Failed to find C compiler.\nSecond line")

    expected = linear(kernels.random(3, 4))
    monkeypatch.setattr(triton_launch, "kernels", failing)

    text = messages(caplog, expected)
    assert "Failed to find C compiler." in text
    assert "Second line" not in text


@pytest.mark.parametrize("set_size", [None, 16])
def test_a_kernel_that_is_wrong_is_not_used(
    set_size, untried, monkeypatch, caplog
):
    expected = linear(kernels.random(3, 4))
    other = torch_kernel._KNOWN[set_size].replace("d", "c", 1)
    monkeypatch.setitem(torch_kernel._KNOWN, set_size, other)

    assert "not those" in messages(caplog, expected)


def test_the_known_masks_are_those_of_operations():
    index = kernels.tensor(list(range(16)))
    for set_size, known in torch_kernel._KNOWN.items():
        key = index[:4].reshape(2, 2, 1)
        draw = masks.Draw(key, index, index * 0, set_size, 16)
        keep = masks.keep_mask(draw, kernels.rate(), torch.ones(16, 8)).numpy()
        assert np.packbits(keep).tobytes().hex() == known


def test_it_is_not_tried_where_nothing_can_be_read(untried, caplog):
    x = kernels.random(2, 3, 4)
    expected = linear(x[0])

    with kernels.on_cpu() as made:
        found = torch.func.vmap(linear)(x)
        assert not made
        assert torch.equal(linear(x[0]), expected)

    assert made
    assert torch.equal(found[0], expected)
    assert caplog.text == ""


def test_on_a_cpu_there_is_no_kernel(untried, caplog):
    layer = layers.Dropout(0.5, seed=0)

    layer(kernels.random(300, 300), training=True)

    assert triton_trial._passed == {}
    assert caplog.text == ""

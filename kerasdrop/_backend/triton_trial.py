"""Finds out at the first call on a device whether Triton works there."""

import logging
import sys
import threading
from importlib.util import find_spec

import torch

from kerasdrop._types import Function
from kerasdrop._types import Given

_lock = threading.Lock()
_passed: dict[Given, bool] = {}


def is_passed(device: Given, is_right: Function) -> bool:
    """Whether the kernel works on a device and gives the right results.

    If it does not, a warning is logged once in a process.

    Args:
        device: A device of PyTorch.
        is_right: Function of the device, which runs the kernel and compares
            the outputs with known ones.
    """
    known = _passed.get(device)
    if known is not None:
        return known
    if _cannot_try_now():
        return False
    with _lock:
        if device not in _passed:
            fault = _fault(device, is_right)
            if fault and all(_passed.values()):
                logging.getLogger("kerasdrop").warning(_MESSAGE, device, fault)
            _passed[device] = not fault
    return _passed[device]


def _cannot_try_now() -> bool:
    """Whether outputs cannot be read here, so that a later call must try."""
    return torch._C._functorch.peek_interpreter_stack() is not None or (
        torch.cuda.is_available()
        and (
            torch.cuda.is_current_stream_capturing()
            or torch.cuda.get_sync_debug_mode() == _READING_IS_AN_ERROR
        )
    )


_READING_IS_AN_ERROR = 2


_MESSAGE = (
    "On %s, PyTorch's eager dropout takes many passes over memory where one "
    "kernel of Triton would take one. Results are the same. %s"
)


def _is_installed() -> bool:
    try:
        return find_spec("triton") is not None
    except ValueError:  # an empty module was put there
        return False


def _fault(device: Given, is_right: Function) -> str:
    if not _is_installed():
        package = "triton-windows" if sys.platform == "win32" else "triton"
        return f"Triton is not installed: `pip install {package}`."
    try:
        with torch.no_grad():
            if is_right(device):
                return ""
    except torch.cuda.OutOfMemoryError:
        raise  # not the kernel's fault: the next call may try
    except Exception as error:  # from a compiler, a driver or Triton
        lines = str(error).splitlines() or [""]
        return (
            "The kernel does not run here; a C compiler is needed, too. "
            f"Received: {type(error).__name__}: {lines[0]}"
        )
    return (
        "The kernel's outputs are not those of PyTorch's operations here. "
        "Please report this with the versions of torch and triton."
    )

"""A PyTorch device in Python, which shows device errors without a GPU.

Its tensors have real values, in CPU memory, and real gradients, but report the
device `pretend:0`. As on a GPU, an operation refuses to combine them with a CPU
tensor, unless that is a single number, and NumPy cannot read them. `watched`
lists what the host reads, for which it would wait.

The device stays registered until the process ends, so use it in a separate
process, by `KERAS_TORCH_DEVICE=pretend:0` and `register()` before Keras is
imported. It uses private names of PyTorch, which
tests/contracts/test_pretend_device.py pins.
"""

import contextlib
import dataclasses
import functools
import pathlib
import sys

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "pretend"
DEVICE = f"{NAME}:0"

_ROOT = str(pathlib.Path(__file__).parents[2])

# The values by storage, which a shallow copy shares, with the storage itself,
# so that no other one gets its address.
_values = {}

# Operations that a PyTorch device need not know, since they consist of others.
# Some of them assume strides that a tensor of this device does not have.
_MADE_OF_OTHERS = (
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
)

# This one is an exception: it shares the storage, and PyTorch must not get back
# a tensor that Python already knows.
_SHALLOW = ("detach",)

# Operations that accept tensors of both sides.
_MOVE = ("aten::copy_", "aten::_copy_from", "aten::_to_copy")
_INDEX = ("aten::index", "aten::index_put", "aten::index_put_")
# Operations that refuse even a single number from the other side.
_STRICT = ("aten::cat", "aten::stack")

# Operations whose results the host waits for on a GPU.
_READS = (
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
)


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A transfer from one side to the other.

    Attributes:
        to: `"host"` or `"device"`.
        name: The name of the operation.
        numbers: How many numbers were moved.
        line: The innermost line of this project that asked for it.
    """

    to: str
    name: str
    numbers: int
    line: str


_watchers = []


@contextlib.contextmanager
def watched():
    """A context that yields the list of the transfers in it."""
    found = []
    _watchers.append(found)
    try:
        yield found
    finally:
        _watchers.remove(found)


def _note(to, name, numbers):
    if not _watchers:
        return
    transfer = Transfer(to, name, numbers, _innermost_line())
    for found in _watchers:
        found.append(transfer)


def _innermost_line():
    """The innermost line of this project in the stack, or ""."""
    frame = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ROOT) and file != __file__:
            return f"{file.removeprefix(_ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _is_here(value):
    return isinstance(value, torch.Tensor) and value.device.type == NAME


def _wrapped(values):
    tensor = torch._C._acc.create_empty_tensor(values.shape, values.dtype)
    storage = tensor.untyped_storage()
    _values[storage._cdata] = values, storage
    return tensor


def _unwrapped(tensor):
    return _values[tensor.untyped_storage()._cdata][0]


def _check_devices(op, tensors):
    name = op._schema.name
    if name in _MOVE or all(map(_is_here, tensors)):
        return
    foreign = [tensor for tensor in tensors if not _is_here(tensor)]
    if name in _INDEX and _is_here(tensors[0]):
        for tensor in foreign:
            _note("device", name, tensor.numel())
        return
    if name in _STRICT or any(tensor.dim() for tensor in foreign):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least "
            f"two devices, {DEVICE} and {foreign[0].device}! (in {op}: a "
            f"tensor of shape {tuple(foreign[0].shape)})"
        )


def _note_reads(op, args, result):
    name = op._schema.name
    if name in _READS:
        size = result.numel() if isinstance(result, torch.Tensor) else 1
        _note("host", name, size)
    elif name in _INDEX:
        masks = [one for one in args[1] if one is not None]
        if any(one.dtype in (torch.bool, torch.uint8) for one in masks):
            _note("host", name, result.numel())


def _boxed(op, args):
    """Converts numbers that stand for tensor parameters to tensors.

    PyTorch turns a tensor that wraps a number into the number, and accepts it
    back only in some operations.
    """
    tensors = [one for one in args if isinstance(one, torch.Tensor)]
    kinds = [str(parameter.type) for parameter in op._schema.arguments]
    boxed = []
    for value, kind in zip(args, kinds):
        if kind == "Tensor" and isinstance(value, (bool, int, float)):
            # It does not promote dtypes of its own kind.
            box = torch.tensor(value)
            like = next((one for one in tensors), box)
            if like.is_floating_point() >= box.is_floating_point():
                box = box.to(like.dtype)
            value = box
        boxed.append(value)
    return boxed


def _moved(op, args, kwargs):
    """A copy from one side to the other, or within one."""
    if op._schema.name == "aten::_to_copy":
        (source,) = args
        kwargs = dict(kwargs)
        device = kwargs.pop("device", None)
        values = _unwrapped(source) if _is_here(source) else source
        to_here = torch.device(device or DEVICE).type == NAME
        values = op(values, **kwargs, device="cpu")
        if to_here != _is_here(source):
            side = "device" if to_here else "host"
            _note(side, "aten::_to_copy", values.numel())
        return _wrapped(values) if to_here else values
    target, source = args[:2]
    if op._schema.name == "aten::_copy_from":
        target, source = source, target
    if _is_here(source) and not _is_here(target):
        _note("host", "aten::copy_", source.numel())
    if _is_here(target) and not _is_here(source):
        _note("device", "aten::copy_", source.numel())
    one, other = (
        _unwrapped(each) if _is_here(each) else each
        for each in (target, source)
    )
    one.copy_(other)
    return target


def _run(op, *args, **kwargs):
    """Runs an operation with an argument or result on the device."""
    if op._schema.name in _MOVE:
        return _moved(op, args, kwargs)
    leaves, structure = pytree.tree_flatten((args, kwargs))
    _check_devices(
        op, [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    )
    # An in-place operation returns its argument.
    went_in = {id(_unwrapped(leaf)): leaf for leaf in leaves if _is_here(leaf)}
    leaves = [_unwrapped(leaf) if _is_here(leaf) else leaf for leaf in leaves]
    args, kwargs = pytree.tree_unflatten(leaves, structure)
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("cpu")
    if op._schema.name in ("aten::view", "aten::_unsafe_view"):
        result = args[0].reshape(args[1])
    else:
        result = op(*_boxed(op, args), **kwargs)
    _note_reads(op, args, result)
    writes = any(
        one.alias_info is not None and one.alias_info.is_write
        for one in op._schema.arguments
    )
    if writes:
        _check_sizes(op, went_in.values())

    def back(value):
        if not isinstance(value, torch.Tensor):
            return value
        if writes and id(value) in went_in:
            return went_in[id(value)]
        return _wrapped(value)

    return pytree.tree_map(back, result)


def _check_sizes(op, tensors):
    for tensor in tensors:
        if tensor.shape != _unwrapped(tensor).shape:
            raise NotImplementedError(
                f"{DEVICE} has no operation that changes a shape in place: {op}"
            )


_libraries = []


def register():
    """Registers the device with PyTorch for the rest of the process."""
    if _libraries:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    everything = torch.library.Library("_", "IMPL")
    everything.fallback(_run, "PrivateUse1")
    aten = torch.library.Library("aten", "IMPL")
    names = set()
    for key in _MADE_OF_OTHERS:
        names |= set(torch._C._dispatch_get_registrations_for_dispatch_key(key))
    for name in sorted(names):
        space, _, name = name.partition("::")
        if space == "aten" and name not in _SHALLOW:
            packet, _, overload = name.partition(".")
            op = getattr(getattr(torch.ops.aten, packet), overload or "default")
            aten.impl(name, functools.partial(_run, op), "PrivateUse1")
    _libraries.extend((everything, aten))
    # It has no generator, so random numbers come from the CPU.
    torch.Generator = type("Generator", (torch.Generator,), {"__new__": _new})


def _new(cls, device="cpu"):
    return super(cls, cls).__new__(cls, device="cpu")

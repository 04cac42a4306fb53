"""Definitions for PyTorch.

`kerasdrop/_backend/__init__.py` documents the names.
"""

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager

import keras
import numpy as np
import torch
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from kerasdrop._backend.context import TURN
from kerasdrop._backend.context import is_exporting
from kerasdrop._backend.context import is_in_stateless_scope
from kerasdrop._backend.torch_kernel import has_kernel
from kerasdrop._backend.torch_kernel import in_one_pass
from kerasdrop._backend.torch_kernel import is_functionalized
from kerasdrop._backend.torch_kernel import is_observed
from kerasdrop._backend.torch_ops import Ops
from kerasdrop._backend.torch_states import States
from kerasdrop._types import Array
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor

__all__ = [
    "SEEDS_OWN",
    "at_hand",
    "bitwise_and",
    "bitwise_xor",
    "compiled",
    "counted",
    "entries",
    "full_like",
    "generators",
    "has_drawn",
    "has_kernel",
    "in_one_pass",
    "is_recomputing",
    "is_repeated",
    "is_same_trace",
    "is_state_lost",
    "lasting",
    "ops",
    "overflows",
    "quickly",
    "random_state",
    "recomputed",
    "register",
    "replica",
    "seeded",
    "selected",
    "table",
    "tensor_of",
    "trace",
    "uncompiled",
    "where",
    "worker",
]


ops = Ops()


def replica() -> tuple[Tensor, Tensor]:
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return 0, 1
    return group.get_rank(), group.get_world_size()


def worker() -> tuple[int, ...]:
    if torch.compiler.is_compiling():
        return ()
    found = torch.utils.data.get_worker_info()
    if found is None:
        return ()
    low, high = np.array([found.seed]).view("int32").tolist()
    return low, high


def register(
    layer: keras.layers.Layer, variables: dict[str, keras.Variable]
) -> bool:
    values = {name: each.value for name, each in variables.items()}
    found = {
        name: value
        for name, value in values.items()
        # It may also be a stand-in while Keras only infers shapes.
        if isinstance(value, torch.nn.Parameter)
    }
    layer.add_module("states", States(found))
    return len(found) == len(values)


def uncompiled(reason: str) -> Function:
    return lambda function: torch.compiler.disable(function, reason=reason)


def lasting() -> AbstractContextManager[Given]:
    return torch.inference_mode(False)


def table(name: str, function: Function, dtype: str = "int32") -> Function:
    @functools.lru_cache(maxsize=64)
    def stored(size: int, device: Given) -> Tensor:
        with lasting():
            return torch.from_numpy(function(size)).to(device)

    # `torch.compile` cannot trace numpy, and it would compute anything that it
    # can trace again for every element, so the table is an operation.
    @torch.library.custom_op(f"kerasdrop::{name}", mutates_args=())
    def operation(size: int, device: torch.device) -> torch.Tensor:
        return stored(size, device).clone()

    @operation.register_fake
    def _(size: int, device: Given) -> Tensor:
        return torch.empty(size, dtype=getattr(torch, dtype), device=device)

    def tensor(size: int, like: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # becomes a constant of the graph
            return torch.from_numpy(function(size)).to(like.device)
        if torch.compiler.is_compiling():
            return operation(size, like.device)
        if trace():  # `torch.func` wraps all tensors made in it
            return torch.from_numpy(function(size)).to(like.device)
        return stored(size, like.device)

    return tensor


def entries(table: Tensor, places: Tensor) -> Tensor:
    found = torch.index_select(table, 0, torch.flatten(places))
    return torch.reshape(found, places.shape)


def at_hand(*values: Given) -> tuple[Array, ...] | None:
    if (
        torch.compiler.is_compiling()
        # Private: these trace, fake or map operations. Pinned by
        # tests/masks/test_at_hand.py.
        or is_observed()
        or torch._C._functorch.get_interpreter_stack()
        or torch._C._get_tracing_state()
        or is_exporting()
    ):
        return None
    arrays = []
    for value in values:
        if not isinstance(value, torch.Tensor):
            arrays.append(np.asarray(value))
            continue
        if (
            # A subclass may stand for another tensor.
            type(value) not in (torch.Tensor, torch.nn.Parameter)
            or not value.is_cpu
            or value.requires_grad
            or value.dtype == torch.bfloat16  # which NumPy does not know
            or (
                value.is_floating_point()
                and forward_ad.unpack_dual(value).tangent is not None
            )
        ):
            return None
        arrays.append(value.numpy())
    return tuple(arrays)


def tensor_of(array: Array, like: Tensor) -> Tensor:
    # Keras takes ten times as long; but it knows other devices, and that of
    # tensors without values, while it only looks for shapes.
    if isinstance(like, torch.Tensor) and like.is_cpu:
        return torch.from_numpy(array)
    return keras.ops.convert_to_tensor(array)


def counted(variable: keras.Variable) -> Tensor:
    if torch.compiler.is_compiling():  # which does not know locks
        return _counted(variable)
    with TURN:
        return _counted(variable)


def _counted(variable: keras.Variable) -> Tensor:
    value = variable.value
    known = at_hand(value)
    if known is None or is_in_stateless_scope():
        before = value + 0
        variable.assign(before + 1)
        return before
    # NumPy writes into the variable: Keras takes several times as long.
    (count,) = known
    before = count.copy()
    count += 1
    return tensor_of(before, value)


def overflows() -> bool:
    return (
        torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not is_exporting()
    )


def bitwise_and(word: Tensor, other: Given) -> Tensor:
    # OpenVINO knows the operators in a graph, but not these methods.
    if isinstance(word, torch.Tensor) and not is_exporting():
        return word.bitwise_and_(other)
    word &= other
    return word


def bitwise_xor(word: Tensor, other: Given) -> Tensor:
    if isinstance(word, torch.Tensor) and not is_exporting():
        return word.bitwise_xor_(other)
    word ^= other
    return word


def recomputed(function: Function) -> Function:
    @functools.wraps(function)
    def run(*args: Given, **kwargs: Given) -> Given:
        # Readers of an exported graph do not know such a block, and
        # `torch.func` does not support it. Private; pinned by
        # tests/backend/test_recomputed.py.
        if not overflows() or torch._C._are_functorch_transforms_active():
            return function(*args, **kwargs)
        return checkpoint(
            function,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,
            **kwargs,
        )

    return run


def full_like(tensor: Tensor, value: float, dtype: str | None = None) -> Tensor:
    # Zeros are also made on the device on which Keras infers shapes.
    return keras.ops.zeros_like(tensor, dtype=dtype) + value


def where(condition: Tensor, one: Given, other: Given) -> Tensor:
    if torch.compiler.is_compiling() or is_exporting():
        return keras.ops.where(condition, one, other)
    one, other = (
        each if isinstance(each, float) else keras.ops.convert_to_tensor(each)
        for each in (one, other)
    )
    return torch.where(condition, one, other)


# Where clearing bits is worth the time that it takes to begin.
_MANY = 2**16
_selected_above = torch.ops.aten.threshold_backward.default
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _as_integers(values: Structure) -> Tensor:
    return values.view(_INTEGERS[values.element_size()])


def _all_ones(keep: Tensor, like: Tensor) -> Tensor:
    # True becomes 255 as uint8, which is -1 as int8.
    ones = keep.view(torch.uint8).neg().view(torch.int8)
    return ones.to(_INTEGERS[like.element_size()])


class _Selected(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, keep: Tensor) -> Tensor:
        bits = _as_integers(values) & _all_ones(keep, values)
        return bits.view(values.dtype)

    @staticmethod
    def setup_context(ctx: Given, inputs: Tensor, output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Given, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        # `torch.autograd.grad(is_grads_batched=True)` maps without asking for a
        # `vmap`. Private; pinned by tests/backend/test_selected.py.
        if torch._C._functorch.is_legacy_batchedtensor(gradient):
            return torch.where(keep, gradient, 0.0), None
        return _Selected.apply(gradient, keep), None

    @staticmethod
    def jvp(ctx: Given, tangent: Tensor, _: Given) -> Tensor:
        return _Selected.apply(tangent, *ctx.saved_tensors)


def selected(keep: Tensor, values: Tensor) -> Tensor:
    if (
        torch.compiler.is_compiling()
        or not values.is_cpu
        or torch.jit.is_tracing()
        or is_functionalized()
    ):
        return torch.where(keep, values, 0.0)
    # On a CPU `torch.where` branches for each element. The gradient of a
    # threshold selects as well, and does not.
    if values.numel() < _MANY:
        return _selected_above(values, keep.to(values.dtype), 0.0)
    # Derivatives in forward mode are made without gradients, too.
    if (
        torch.is_grad_enabled()
        or trace()
        or forward_ad.unpack_dual(values).tangent is not None
    ):
        return _Selected.apply(values, keep)
    _as_integers(values).bitwise_and_(_all_ones(keep, values))
    return values


def quickly(
    function: Function, model: keras.Model, traceable: bool = True
) -> Function:
    return compiled(function, model)


def compiled(
    function: Function,
    model: keras.Model,
    any_size: bool = True,
    traceable: bool = True,
) -> Function:
    _keep_freed_memory()

    def run(*args: Given) -> Given:
        with torch.no_grad():
            return function(*args)

    return run


@functools.cache
def _keep_freed_memory() -> None:
    """Lets the process keep up to 64 MiB that tensors have left.

    On a CPU, PyTorch takes the memory of each tensor from `malloc`. The one of
    glibc returns the memory of large tensors to the system as soon as they are
    gone, and the system clears each page again for the next tensors. For
    batches of 1,024 rows, this took half of the time of `mc_predict`. Once a
    process has freed a block of nearly 32 MiB, glibc keeps up to twice that
    size. The block is never written to, so it costs nothing. If the
    environment sets the thresholds of `malloc`, they stay as they are. Other
    allocators only make and free the block.
    """
    torch.empty(2**25 - 2**14, dtype=torch.uint8, device="cpu")


SEEDS_OWN = True


def random_state() -> Given:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return states


def _set_random_state(states: Structure) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])


def has_drawn(before: Given) -> bool:
    if all(map(torch.equal, before, random_state())):
        return False
    _set_random_state(before)
    return True


@contextlib.contextmanager
def seeded(seed: Function) -> Iterator[None]:
    before = random_state()
    number = int(seed())
    torch.default_generator.manual_seed(number)
    if len(before) > 1:
        torch.cuda.manual_seed(number)
    try:
        yield
    finally:
        _set_random_state(before)


def trace() -> Given:
    # Private: no public name tells what is mapped. Pinned by
    # tests/contracts/test_traces.py.
    if torch.compiler.is_compiling():
        return []
    return torch._C._functorch.get_interpreter_stack() or []


def is_repeated(since: Given) -> bool:
    # Loops are Python loops, so only a map runs code once for several steps.
    vmap = torch._C._functorch.TransformType.Vmap
    return any(level.key() == vmap for level in trace()[len(since) :])


def is_state_lost(variable: keras.Variable) -> bool:
    # Variables change in place, which `torch.func` does not differentiate.
    kinds = torch._C._functorch.TransformType
    differentiates = any(
        level.key() in (kinds.Grad, kinds.Jvp) for level in trace()
    )
    return differentiates and not is_in_stateless_scope()


def is_same_trace(since: Given) -> bool:
    return len(trace()) == len(since)


def generators() -> dict[str, tuple[Function, Function]]:
    found = {
        "torch.random": (
            lambda: torch.get_rng_state().numpy(),
            lambda state: torch.set_rng_state(torch.from_numpy(state)),
        )
    }
    if torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            found[f"torch.cuda.random, device {number}"] = (
                functools.partial(_cuda_state, number),
                functools.partial(_set_cuda_state, number),
            )
    return found


def _cuda_state(number: int) -> Array:
    return torch.cuda.get_rng_state(number).numpy()


def _set_cuda_state(number: int, state: Array) -> None:
    torch.cuda.set_rng_state(torch.from_numpy(state), number)


def is_recomputing() -> bool:
    if torch.compiler.is_compiling():
        return False  # not this but the traced graph runs
    # Private, but there is no public way to ask. Pinned by
    # tests/contracts/test_torch_recomputation.py.
    return torch._C._current_graph_task_id() != -1

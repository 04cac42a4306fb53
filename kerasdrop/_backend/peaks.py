"""The peak memory of a compiled function.

The tensors that a call makes are counted, including its results. Its arguments,
a model's variables, and the memory that a kernel needs for itself beyond a copy
of its inputs are not counted.
"""

import math
from typing import NamedTuple

import keras

from kerasdrop import _backend
from kerasdrop._backend import graph_peak
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor

# Whether a function must run to be measured, so that it should run on little
# data first. The other backends read the peak from compiled code.
BY_RUNNING = _backend.BACKEND == "torch"


class Peak(NamedTuple):
    """The peak memory of one call.

    Attributes:
        size: The most bytes in use at a time, on all devices together; None if
            the backend does not report it.
        results: The results, or stand-ins for them if the function did not run.
    """

    size: int | None
    results: Structure


def of(run: Given, *args: Given) -> Peak:
    """Returns the `Peak` of `run(*args)`, which changes no variable.

    Args:
        run: A function from `_backend.compiled`.
        *args: Tensors; or results of another `Peak`, unless `BY_RUNNING`.
    """
    raise NotImplementedError


def is_concrete(tensor: Tensor) -> bool:
    """Whether a tensor has values and is not being traced."""
    return not isinstance(tensor, keras.KerasTensor)


def size_of(structure: Structure) -> int:
    """The bytes of all tensors in a structure."""
    return sum(
        math.prod(leaf.shape) * item_size(leaf)
        for leaf in keras.tree.flatten(structure)
        if hasattr(leaf, "dtype")
    )


def item_size(tensor: Tensor) -> int:
    """The bytes of one element of a tensor, symbolic or not."""
    return _ITEM.get(keras.backend.standardize_dtype(tensor.dtype), 4)


# All others have 4 bytes: float32, int32 and uint32.
_ITEM = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float64", "int64", "uint64"), 8),
}

if _backend.BACKEND == "jax":
    import jax

    def is_concrete(tensor: Tensor) -> bool:
        return not isinstance(tensor, (jax.core.Tracer, keras.KerasTensor))

    def of(run: Given, *args: Given) -> Peak:
        if run.lowered is None:
            return Peak(None, run(*args))
        lowered = run.lowered(*args)
        compiled = lowered.compile()
        results = jax.tree.map(
            lambda info, sharding: jax.ShapeDtypeStruct(
                info.shape, info.dtype, sharding=sharding
            ),
            lowered.out_info,
            compiled.output_shardings,
        )
        found = compiled.memory_analysis()
        if found is None:
            return Peak(None, results)
        size = found.temp_size_in_bytes + found.output_size_in_bytes
        devices = {
            device
            for leaf in jax.tree.leaves(args)
            if hasattr(leaf, "sharding")  # a NumPy array has none
            for device in leaf.sharding.device_set
        }
        return Peak(size * max(1, len(devices)), results)

elif _backend.BACKEND == "torch":
    import gc
    import weakref

    import torch
    from torch.utils import _pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    _NUMBERS = 64  # bytes

    class _Counting(TorchDispatchMode):
        """Counts the storage of tensors that are created inside the block."""

        def __init__(self) -> None:
            super().__init__()
            self.peak = 0
            self._size = 0
            # A size and a weak reference, by storage.
            self._made: dict[int, tuple[int, Given]] = {}

        def __torch_dispatch__(
            self,
            function: Function,
            types: Given,
            args: Given = (),
            kwargs: Config | None = None,
        ) -> Structure:
            results = function(*args, **(kwargs or {}))
            given = None
            for tensor in _tensors(results):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key in self._made:  # perhaps with another size
                    self._forget(key)
                else:
                    if given is None:
                        given = _storages((args, kwargs))
                    if key in given:  # an argument, or written to
                        continue
                self._note(key, storage)
            copies = _size_of_copies(function, args)
            if self._size + copies > self.peak:
                self.peak = self._size + copies
            return results

        def _note(self, key: Given, storage: Given) -> None:
            size = storage.nbytes()
            # Whether a number becomes a tensor differs from run to run.
            if size < _NUMBERS:
                return
            self._size += size
            self._made[key] = (
                size,
                weakref.ref(storage, lambda _: self._forget(key)),
            )

        def _forget(self, key: Given) -> None:
            self._size -= self._made.pop(key)[0]

    def _tensors(structure: Structure) -> list[Tensor]:
        if isinstance(structure, torch.Tensor):
            return [structure]
        return [
            leaf
            for leaf in _pytree.tree_leaves(structure)
            if isinstance(leaf, torch.Tensor)
        ]

    def _storages(structure: Structure) -> set[int]:
        return {
            tensor.untyped_storage()._cdata for tensor in _tensors(structure)
        }

    def _size_of_copies(function: Given, args: Given) -> int:
        # On a CPU, convolutions reorder their inputs first.
        name = function.overloadpacket.__name__
        if "convolution" not in name or args[0].device.type != "cpu":
            return 0
        return args[0].nbytes

    def is_concrete(tensor: Tensor) -> bool:
        return isinstance(tensor, torch.Tensor) and not (
            torch.compiler.is_compiling() or tensor.device.type == "meta"
        )

    def of(run: Given, *args: Given) -> Peak:
        counting = _Counting()
        # Keras on PyTorch leaves tensors in reference cycles, which only the
        # garbage collector frees. It runs here, so that each first call
        # measures the same.
        gc.collect(1)
        # Assignments to variables do not leave the scope.
        with keras.StatelessScope(), counting:
            results = run(*args)
        return Peak(counting.peak, results)

elif _backend.BACKEND == "tensorflow":
    import tensorflow as tf

    def is_concrete(tensor: Tensor) -> bool:
        return tf.executing_eagerly() and hasattr(tensor, "numpy")

    def of(run: Given, *args: Given) -> Peak:
        traced = run.traced(*args)
        graph = graph_peak.GraphPeak(
            traced.graph.as_graph_def(add_shapes=True),
            _size_of_type,
            not tf.config.list_physical_devices("GPU"),
        )
        size = graph.size([tensor.op.name for tensor in traced.graph.outputs])
        return Peak(size, traced.structured_outputs)

    def _size_of_type(number: int) -> int:
        # Some types, such as resources, have no size.
        return tf.dtypes.as_dtype(number).size or 8

"""The only folder that depends on the backend. All else uses `keras.ops`.

Each name here fills one gap of `keras.ops`. This file has the definition that
suits most backends, and the file of a backend replaces it where necessary. A
backend is imported only if Keras runs on it, except for TensorFlow when a
SavedModel is run.
"""

import contextlib
import operator
from collections.abc import Iterator
from contextlib import AbstractContextManager

import keras

from kerasdrop._backend.context import BACKEND as BACKEND
from kerasdrop._backend.context import TURN
from kerasdrop._backend.context import ValuesAway as ValuesAway
from kerasdrop._backend.context import divides as divides
from kerasdrop._backend.context import exporting as exporting
from kerasdrop._backend.context import is_exporting as is_exporting
from kerasdrop._backend.context import is_in_trainer as is_in_trainer
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

# Whether `compiled` compiles.
COMPILES = BACKEND != "torch"

# Whether the value of a variable is an immutable tensor.
VALUES_ARE_FINAL = BACKEND == "jax"


# `keras.ops` for frequent calls. PyTorch replaces it by faster functions with
# the same bits.
ops: Given = keras.ops


def fused(function: Function) -> Function:
    """Compiles integer arithmetic to one kernel if the backend would not.

    Keras runs TensorFlow graphs without XLA on a CPU. There every integer
    operation of a mask is a separate pass over memory; compiled together they
    take about one pass. JAX and `torch.compile` fuse by themselves. The bits
    are the same in any case. An exported graph has no such kernel, because its
    runtime need not have a compiler.
    """
    return function


def recomputed(function: Function) -> Function:
    """A decorator for functions that a gradient computes again.

    Computing words is cheaper than reading them. By default `torch.compile`
    keeps the mask of the forward pass in memory, and writes it slowly.

    Args:
        function: Function of tensors without side effects.
    """
    return function


def table(name: str, function: Function, dtype: str = "int32") -> Function:
    """Makes a tensor from an array that depends only on a size.

    Args:
        name: Its contents, in one word.
        function: Function of the size that returns a numpy array `(size,)`.
        dtype: The dtype of the array.

    Returns:
        A function of the size and of a tensor on the target device.
    """

    def tensor(size: int, like: Tensor) -> Tensor:
        return keras.ops.convert_to_tensor(function(size))

    return tensor


def full_like(tensor: Tensor, value: float, dtype: str | None = None) -> Tensor:
    """A tensor with the shape of another one, filled with one number.

    On PyTorch, `keras.ops.full_like` sends the number to the device and reads
    it back, for which the host waits.
    """
    return keras.ops.full_like(tensor, value, dtype=dtype)


def where(condition: Tensor, one: Given, other: Given) -> Tensor:
    """`keras.ops.where` in which `one` or `other` may be a number.

    On PyTorch, Keras copies a number to the device, for which the host waits.

    Args:
        condition: A bool tensor.
        one, other: Tensors. One of them may be a float, which is rounded to the
            dtype of the other.
    """
    return keras.ops.where(condition, one, other)


def entries(table: Tensor, places: Tensor) -> Tensor:
    """The entries of a table at places that are known to be in it.

    `keras.ops.take` checks the places, in one or two passes over memory.

    Args:
        table: Tensor `(size,)`.
        places: int32 tensor, the places from 0 on.
    """
    return keras.ops.take(table, places)


def selected(keep: Tensor, values: Tensor) -> Tensor:
    """`values` where `keep`, else 0; it avoids 0 * inf, which is NaN.

    PyTorch may overwrite `values`.
    """
    return keras.ops.where(keep, values, keras.ops.zeros((), values.dtype))


def has_kernel(inputs: Tensor) -> bool:
    """Whether `in_one_pass` may have a kernel: on PyTorch, eager on a GPU.

    Compiled code makes its own kernels, and on a CPU there is none.
    """
    return False


def in_one_pass(
    what: str,
    inputs: Tensor,
    draw: Given,
    sizes: Shape,
    rate: Tensor = 0.0,
    half: int | None = None,
    scale: Tensor | None = None,
    fill: float = 0.0,
    shift: Tensor | None = None,
) -> Tensor | None:
    """Applies dropout in one kernel, with the bits of `masks`.

    Args:
        what: `"mask"`: which units survive, bool. `"uniform"`: numbers in
            (-1, 1). `"inverted"`: `inputs * keep / (1 - rate)`. `"scaled"`:
            `inputs * keep * scale`. `"affine"`: `(inputs if keep else fill) *
            scale + shift`.
        inputs: Float tensor for which there is a kernel.
        draw: A `masks.Draw` for the rows of the inputs or of the noise.
        sizes: The sizes of the noise. If the outputs have the inputs' shape,
            each one is 1 or the inputs' size on that axis.
        rate: float32 scalar tensor, or a number.
        half: The threshold (`masks.strata`) of a rate that is a number.
        scale: Scalar tensor of the inputs' dtype.
        fill: Number.
        shift: Scalar tensor of the inputs' dtype.

    Returns:
        A tensor of the inputs' shape, or of shape `sizes` for a mask and for
        uniform numbers; None if the kernel does not support the arguments.
    """
    return None


def at_hand(*values: Given) -> tuple[Array, ...] | None:
    """Arrays of these values if reading them is free; else None.

    It is free if PyTorch runs eagerly on a CPU. There each operation takes
    longer than the arithmetic of a small tensor, so NumPy computes scalars and
    words of a few rows. A tensor that could be differentiated, or be an
    argument of a traced function, is not read. The arrays may share the memory
    of the tensors, so do not keep them.

    Args:
        values: Tensors, arrays or numbers.
    """
    return None


def tensor_of(array: Array, like: Tensor) -> Tensor:
    """A tensor of an array that was made of what was `at_hand`.

    Args:
        array: Array that nobody writes to afterwards.
        like: A tensor on the device of the result.
    """
    return keras.ops.convert_to_tensor(array)


def fori_loop(
    count: int, function: Function, values: list[Tensor]
) -> list[Tensor]:
    """Calls `function(number, values)` `count` times in sequence, from 0 on.

    Args:
        count: Integer.
        function: Returns new values.
        values: List of tensors.

    Returns:
        The values of the last call.
    """
    return keras.ops.fori_loop(0, count, function, values)


def while_loop(
    condition: Function, function: Function, values: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """`keras.ops.while_loop`, with its rounds in sequence."""
    return keras.ops.while_loop(condition, function, values)


def compiled(
    function: Function,
    model: keras.Model,
    any_size: bool = True,
    traceable: bool = True,
) -> Function:
    """Compiles a function that runs `model` in inference.

    The arguments and results are structures of tensors. Unlike `model.predict`,
    the compiled function does not touch the variables: Keras on JAX takes them
    out of the model while it predicts, and donates them.

    Args:
        function: The function.
        model: A model with all variables that the function uses.
        any_size: Whether TensorFlow may trace it for unknown sizes. If not, all
            sizes of the arguments are known in a trace.
        traceable: Whether JAX may trace it. Keras runs some preprocessing
            layers with TensorFlow, which does not take tracers of JAX.
    """
    return function


def argument(array: Given) -> Given:
    """Converts an array to an argument of a function from `compiled`.

    JAX takes the array itself, in a tenth of the time that making a tensor
    takes.
    """
    return keras.ops.convert_to_tensor(array)


def quickly(
    function: Function, model: keras.Model, traceable: bool = True
) -> Function:
    """`compiled` for a function that runs only a few times.

    Running it takes longer, compiling it takes less time.
    """
    return function


def uncompiled(reason: str) -> Function:
    """A decorator for a function that `torch.compile` must not compile.

    Args:
        reason: The message of the error with `fullgraph=True`.
    """
    return lambda function: function


def lasting() -> AbstractContextManager[Given]:
    """A context for tensors that outlive the mode in which they are made.

    Tensors made in PyTorch's inference mode cannot be changed or used in
    training afterwards. On JAX, tensors made while a function is traced end
    with the trace.
    """
    return contextlib.nullcontext()


# Whether `compiled` runs a Python function once for many calls.
TRACES = BACKEND != "torch"


def models_of_other_threads() -> list[keras.Model]:
    """The models that other threads fit, evaluate or predict; only on JAX.

    On JAX, values written to their variables meanwhile may be lost.
    """
    return []


def patient(function: Function, seconds: float = 60.0) -> Given:
    """Calls `function`, which needs values that another thread may hold.

    On JAX, Keras' own `predict` holds them while it runs, so the call is
    repeated for up to this many seconds. Other backends call it once.
    """
    return function()


def replica() -> tuple[Tensor, Tensor]:
    """The index of the replica that runs here, and the number of replicas.

    Replicas are those of a `tf.distribute` strategy, or the processes of
    `torch.distributed`, each with its own rows. Elsewhere there is one. A JAX
    program with several processes works on global arrays, whose rows are
    numbered globally.

    Returns:
        The index, an integer or an int32 scalar tensor, and the number.
    """
    return 0, 1


def worker() -> tuple[int, ...]:
    """Integers that distinguish this process from others with the same state.

    There are none except in a process that a `DataLoader` of PyTorch started:
    it begins with a copy of all states, as do the other ones and those of
    other epochs, and what it counts is lost with it. PyTorch gives each a seed,
    which depends on `torch.manual_seed`.
    """
    return ()


def replicas(model: keras.Model) -> list[Function]:
    """The devices on which passes of a model can run at the same time.

    Returns:
        A list of functions that return a context. In the context, functions
        from `compiled` run on one of the devices. There is one device, unless a
        `tf.distribute` strategy made the model for several. A thread may enter
        the next context while another thread is in the first.
    """
    return [contextlib.nullcontext]


def for_one_replica(function: Function) -> Given:
    """Returns the result of a function outside the scope of any strategy.

    In the scope of a `tf.distribute` strategy, Keras divides losses by the
    number of replicas, because it would add their parts.
    """
    return function()


def read(variable: keras.Variable) -> Given:
    """The value of a `keras.Variable`, as a tensor."""
    return variable.value


def counted(variable: keras.Variable) -> Tensor:
    """Adds 1 to a variable; returns its value before, which stays as it is.

    Threads that run eagerly at the same time get different values.
    """
    with in_turn():
        # A copy: PyTorch's variable is about to change in place.
        before = variable.value + 0
        variable.assign(before + 1)
        return before


def in_turn() -> AbstractContextManager[Given]:
    """A context for one thread at a time, unless that could block them."""
    return TURN


def is_tracing() -> bool:
    """Whether Python runs once here for many calls of a compiled function.

    It does not in `torch.compile`, which notices if Python would act
    differently.
    """
    return False


def is_state_lost(variable: keras.Variable) -> bool:
    """Whether an assignment to a variable here is lost, or breaks it.

    On JAX this is so in a function that is compiled outside of
    `stateless_call`, and in the body of a compiled loop inside of it. On
    PyTorch it is so if `torch.func` differentiates outside of `stateless_call`.
    """
    return False


def whole_layout(num_axes: int) -> Config:
    """Keyword arguments for a `keras.Variable` that no `LayoutMap` shards.

    Args:
        num_axes: Integer, the axes of the variable.
    """
    return {}


def is_local(mesh: Given) -> bool:
    """Whether all devices of a `DeviceMesh` belong to this process.

    On JAX, a `keras.distribution.DeviceMesh` may contain devices of other
    processes.
    """
    return True


def register(
    layer: keras.layers.Layer, variables: dict[str, keras.Variable]
) -> bool:
    """Adds variables to the `state_dict` of PyTorch.

    Keras names variables by their paths, which contain numbers that depend on
    what was created before. In a module of PyTorch, the position of a layer
    identifies it instead.

    Args:
        layer: A layer that Keras does not build.
        variables: Dict from names to `keras.Variable`s that are not weights.

    Returns:
        Whether all variables have a value by now. If not, call it again.
    """
    return True


def checkpointed(variables: dict[str, keras.Variable]) -> Given:
    """An attribute by which `tf.train.Checkpoint` saves a layer's variables.

    Args:
        variables: Dict from names to `keras.Variable`s that are not weights.
    """


def after(inputs: Tensor) -> AbstractContextManager[Given]:
    """A context in which assignments to variables wait for `inputs`.

    TensorFlow immediately runs whatever does not depend on the data of a step,
    even if the data turn out to have ended.
    """
    return contextlib.nullcontext()


def values_of(
    variables: list[keras.Variable], model: keras.Model
) -> list[Tensor]:
    """The tensors that are the values of some variables.

    Raises:
        ValuesAway: On JAX, if the variables of `model` have no values now.
    """
    return [variable.value for variable in variables]


def has_rank(tensor: Tensor) -> bool:
    """Whether the rank of a tensor is known; it may not be on TensorFlow."""
    return True


def by_rows(function: Function, tensor: Tensor) -> Given:
    """Applies a function to a tensor of unknown rank, as `(rows, units)`.

    Args:
        function: Function of a tensor `(rows, units)` that returns such a
            tensor.
        tensor: A tensor whose first axis is the row.

    Returns:
        A tensor of the shape of `tensor`.
    """
    raise NotImplementedError


def is_recomputing() -> bool:
    """Whether this call is in a block that is recomputed for a gradient.

    On PyTorch: whether this is the second of the two computations.
    """
    return False


# Whether both passes of a checkpointed function share one trace.
CHECKPOINT_TRACES_ONCE = BACKEND == "jax"


def trial(function: Function, args: Given) -> None:
    """Traces a function and discards its results; only on JAX."""
    raise NotImplementedError


def trace() -> Given:
    """Stands for what this thread is tracing now, for `is_repeated`."""
    return None


def is_repeated(since: Given) -> bool:
    """Whether this code may not run exactly once each time `since` runs.

    This is so in the body of a compiled loop, which is traced once for all of
    its steps, in a vectorized map, and in a function that is compiled
    separately, whose trace is kept. Branches of a condition and rematerialized
    code do not count.

    Args:
        since: What `trace` returned earlier, further outside.
    """
    return False


def random_state() -> Given:
    """The state of the backend's own random numbers, for `has_drawn`."""
    return None


def has_drawn(before: Given) -> bool:
    """Whether the backend drew its own random numbers since `random_state()`.

    Keras' numbers do not count, except for unseeded dropout on PyTorch. On
    PyTorch the state is restored. JAX has no such numbers.
    """
    return False


# Whether `seeded` determines the backend's own random numbers.
SEEDS_OWN = False


@contextlib.contextmanager
def seeded(seed: Function) -> Iterator[None]:
    """Makes the backend's own random numbers depend on a seed in the block.

    Args:
        seed: Function that returns an int32 scalar tensor.
    """
    yield


def is_same_trace(since: Given) -> bool:
    """Whether tensors made here can be used where `since` was current.

    Args:
        since: What `trace` returned earlier.
    """
    return True


def generators() -> dict[str, tuple[Function, Function]]:
    """The global random generators of the backend itself.

    Returns:
        A dict from names to pairs: a function that returns the state as an
        array or None, and a function that sets it.
    """
    return {}


def overflows() -> bool:
    """Whether a sum of int32 that overflows is undefined, not wrapped.

    It wraps in every eager operation and in every kernel of XLA. But
    `torch.compile` writes C++, whose compiler may assume that no sum or product
    of int32 overflows, and optimizes accordingly.
    """
    return False


def bitwise_and(word: Tensor, other: Given) -> Tensor:
    """`word &= other`, which PyTorch does in place.

    PyTorch has methods for it, since `torch.func.functionalize` does not take
    the operators.

    Args:
        word: Integer tensor or array, which may be overwritten.
        other: The same, or an integer.
    """
    word &= other
    return word


def bitwise_xor(word: Tensor, other: Given) -> Tensor:
    """`word ^= other`, as `bitwise_and`."""
    word ^= other
    return word


# `keras.ops.right_shift` costs several times the operator in eager calls.
right_shift = operator.rshift

if BACKEND == "tensorflow":
    from kerasdrop._backend.tensorflow import *  # noqa: F403
elif BACKEND == "jax":
    from kerasdrop._backend.jax import *  # noqa: F403
elif BACKEND == "torch":
    from kerasdrop._backend.torch import *  # noqa: F403

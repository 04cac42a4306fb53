"""The one place that knows which backend runs. Everything else is `keras.ops`.

Each name here answers one question that `keras.ops` leaves open: as the most
backends answer it, and then as the one that runs does, in a file of its own. A
backend is imported only if Keras runs on it, but for TensorFlow where a
SavedModel is run.
"""

import contextlib
import operator
from collections.abc import Iterator
from contextlib import AbstractContextManager

import keras

from kerasdrop._backend.context import BACKEND as BACKEND
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

# Whether the value of a variable is a tensor that never changes.
VALUES_ARE_FINAL = BACKEND == "jax"


# `keras.ops`, for what is called often: PyTorch has others, of the same bits.
ops: Given = keras.ops


def fused(function: Function) -> Function:
    """Makes one kernel of integer arithmetic where the backend would not.

    Keras runs TensorFlow graphs without XLA on a CPU. There every integer
    operation of a mask is a pass over memory of its own; compiled together
    they are about one pass. JAX and `torch.compile` fuse by themselves.
    The bits are the same either way. In an exported graph there is no such
    kernel: what reads it need not have a compiler.
    """
    return function


def recomputed(function: Function) -> Function:
    """A decorator for what a gradient computes again rather than keeps.

    Words are cheaper to make than to read. Of its own accord `torch.compile`
    keeps the mask of the forward pass in memory, and writes it slowly.

    Args:
        function: Of tensors; it changes nothing but its result.
    """
    return function


def table(name: str, function: Function, dtype: str = "int32") -> Function:
    """Makes a tensor of an array that depends on a size alone.

    Args:
        name: What it holds, in one word.
        function: Of the size; returns a numpy array `(size,)`.
        dtype: Of the array.

    Returns:
        A function of the size and of a tensor on the device that is meant.
    """

    def tensor(size: int, like: Tensor) -> Tensor:
        return keras.ops.convert_to_tensor(function(size))

    return tensor


def full_like(tensor: Tensor, value: float, dtype: str | None = None) -> Tensor:
    """A tensor of the shape of another one, of one number.

    On PyTorch `keras.ops.full_like` sends the number to the device and has the
    host read it from there, for which it waits.
    """
    return keras.ops.full_like(tensor, value, dtype=dtype)


def where(condition: Tensor, one: Given, other: Given) -> Tensor:
    """`keras.ops.where`, of which `one` or `other` may be a number.

    On PyTorch Keras copies a number to the device, and the host waits for that.

    Args:
        condition: A bool tensor.
        one, other: Tensors; or one of them a float, which then is rounded to
            the dtype of the other.
    """
    return keras.ops.where(condition, one, other)


def entries(table: Tensor, places: Tensor) -> Tensor:
    """The entries of a table at places that are in it, from 0 on.

    `keras.ops.take` looks for others, in a pass over memory or two.

    Args:
        table: Tensor `(size,)`.
        places: int32 tensor.
    """
    return keras.ops.take(table, places)


def selected(keep: Tensor, values: Tensor) -> Tensor:
    """`values` where `keep`, else 0: not 0 * inf, which would be NaN.

    PyTorch may overwrite `values`.
    """
    return keras.ops.where(keep, values, keras.ops.zeros((), values.dtype))


def has_kernel(inputs: Tensor) -> bool:
    """Whether `in_one_pass` is worth asking: on PyTorch, eager on a GPU.

    Elsewhere what is compiled makes kernels of its own, or there is a CPU.
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
    """What `masks` and `functional` define, from one kernel, of the same bits.

    Args:
        what: `"mask"`: which units survive, bool. `"uniform"`: numbers in
            (-1, 1). `"inverted"`: `inputs * keep / (1 - rate)`. `"scaled"`:
            `inputs * keep * scale`. `"affine"`: `(inputs if keep else fill) *
            scale + shift`.
        inputs: Float tensor for which there is a kernel.
        draw: A `masks.Draw`, of the rows of the inputs or of the noise.
        sizes: Those of the noise: for outputs of the inputs' shape, 1 or the
            inputs' size on each axis.
        rate: float32 scalar tensor, or a number.
        half: Of a rate that is a number, its threshold (`masks.strata`).
        scale: Scalar tensor of the inputs' dtype.
        fill: Number.
        shift: Scalar tensor of the inputs' dtype.

    Returns:
        A tensor of the inputs' shape, for a mask and for uniform numbers of
        `sizes`; None if the kernel is not for these arguments.
    """
    return None


def at_hand(*values: Given) -> tuple[Array, ...] | None:
    """Arrays of these values, if it costs nothing to read them; else None.

    It does where PyTorch runs eagerly on a CPU. There each operation takes
    longer than the arithmetic of a small tensor, so what is a scalar, or is of
    a few rows, is computed by NumPy. Nothing is kept of a tensor that could
    change, be differentiated or be an argument of a traced function.

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


def fori_loop(count: Tensor, function: Function, values: Tensor) -> Tensor:
    """`function(number, values)`, `count` times, from 0 on, in turn.

    Args:
        count: Integer.
        function: Returns new values.
        values: List of tensors.

    Returns:
        The last values.
    """
    return keras.ops.fori_loop(0, count, function, values)


def while_loop(
    condition: Function, function: Function, values: Tensor
) -> Tensor:
    """`keras.ops.while_loop`, its rounds in turn."""
    return keras.ops.while_loop(condition, function, values)


def compiled(
    function: Function,
    model: keras.Model,
    any_size: bool = True,
    traceable: bool = True,
) -> Function:
    """`function`, which runs `model` in inference, as a compiled function.

    Its arguments and results are structures of tensors. Unlike
    `model.predict` it leaves the variables alone: Keras on JAX takes them out
    of the model while it predicts, and donates them.

    Args:
        function: The function.
        model: A model with all variables that it uses.
        any_size: Whether TensorFlow may trace it for sizes that it does not
            know. If not, all sizes of the arguments are known in a trace.
        traceable: Whether JAX may trace it. Keras runs some layers for
            preprocessing by TensorFlow, which takes no tracers of JAX.
    """
    return function


def argument(array: Given) -> Given:
    """An array as an argument of what `compiled` returns: a tensor.

    JAX takes the array itself, in a tenth of the time that it needs to make a
    tensor of it.
    """
    return keras.ops.convert_to_tensor(array)


def quickly(
    function: Function, model: keras.Model, traceable: bool = True
) -> Function:
    """`compiled`, for a function that is run a few times and never again.

    It takes longer to run and less to make.
    """
    return function


def uncompiled(reason: str) -> Function:
    """A decorator for a function that `torch.compile` does not look into.

    Args:
        reason: What it tells where it must compile all, `fullgraph=True`.
    """
    return lambda function: function


def lasting() -> AbstractContextManager[Given]:
    """A context for tensors that outlive the mode in which they are made.

    PyTorch's inference mode makes tensors that cannot be changed, nor used in
    training, once it is left. On JAX, what a compiled function makes ends with
    it.
    """
    return contextlib.nullcontext()


# Whether `compiled` runs a function of Python once for many calls.
TRACES = BACKEND != "torch"


def models_of_other_threads() -> list[keras.Model]:
    """The models whose `fit`, or the like, runs in other threads; on JAX.

    There what is written to their variables meanwhile may be lost.
    """
    return []


def patient(function: Function, seconds: float = 60.0) -> Given:
    """`function()`, which needs values that another thread may hold.

    On JAX Keras' own `predict` holds them for as long as it runs: there it is
    tried again and again, for so many seconds. Elsewhere it is called.
    """
    return function()


def replica() -> tuple[Tensor, Tensor]:
    """Which of how many replicas runs here, each with rows of its own.

    The replicas of a `tf.distribute` strategy, or the processes of
    `torch.distributed`. Elsewhere there is one. A JAX program of several
    processes works on global arrays, whose rows are numbered globally.

    Returns:
        The index, an integer or an int32 scalar tensor; and the number.
    """
    return 0, 1


def replicas(model: keras.Model) -> list[Function]:
    """Where a pass of a model can run, several of them at a time.

    Returns:
        A list of functions that return a context, in which what `compiled`
        returns runs on one of the devices. It is one device, unless a
        `tf.distribute` strategy made the model for several. A thread may
        enter the next context while another one is in the first.
    """
    return [contextlib.nullcontext]


def for_one_replica(function: Function) -> Given:
    """What a function returns where no strategy is in scope.

    In the scope of a `tf.distribute` strategy Keras divides losses by the
    number of replicas, whose parts it would add up.
    """
    return function()


def read(variable: keras.Variable) -> Given:
    """The value of a `keras.Variable`, as a tensor."""
    return variable.value


def counted(variable: keras.Variable) -> Tensor:
    """Adds 1 to a variable; returns its value before, which stays as it is."""
    # A copy: PyTorch's variable is about to change in place.
    before = variable.value + 0
    variable.assign(before + 1)
    return before


def is_tracing() -> bool:
    """Whether Python runs here once, for many calls of a compiled function.

    Not in `torch.compile`, which notices what Python would do otherwise.
    """
    return False


def is_state_lost(variable: keras.Variable) -> bool:
    """Whether what is assigned to a variable here is lost, or breaks it.

    On JAX: in a function that is compiled outside of `stateless_call`, or in
    the body of a compiled loop inside of it. On PyTorch: where `torch.func`
    differentiates outside of `stateless_call`.
    """
    return False


def whole_layout(num_axes: int) -> Config:
    """Keyword arguments for a `keras.Variable` that no `LayoutMap` divides.

    Args:
        num_axes: Integer, of the variable.
    """
    return {}


def is_local(mesh: Given) -> bool:
    """Whether all devices of a `keras.distribution.DeviceMesh` are here.

    On JAX those of other processes may be among them.
    """
    return True


def register(
    layer: keras.layers.Layer, variables: dict[str, keras.Variable]
) -> bool:
    """Makes variables known where PyTorch looks for them: in `state_dict`.

    Keras names them by their paths, in which there are numbers that depend on
    what was made before. Where a layer stands in a module of PyTorch, its own
    place in it tells it from others.

    Args:
        layer: A layer, which Keras does not build.
        variables: Dict of names and `keras.Variable`, which are no weights.

    Returns:
        Whether all have a value by now: it is to be called again if not.
    """
    return True


def checkpointed(variables: dict[str, keras.Variable]) -> Given:
    """What a layer keeps so that `tf.train.Checkpoint` saves variables of it.

    Args:
        variables: Dict of names and `keras.Variable`, which are no weights.
    """


def after(inputs: Tensor) -> AbstractContextManager[Given]:
    """A context in which what is written to variables waits for `inputs`.

    TensorFlow runs what does not depend on the data of a step at once, even
    where these turn out to have ended.
    """
    return contextlib.nullcontext()


def values_of(
    variables: list[keras.Variable], model: keras.Model
) -> list[Tensor]:
    """The tensors that some variables hold.

    Raises:
        ValuesAway: On JAX, if those of `model` have none just now.
    """
    return [variable.value for variable in variables]


def has_rank(tensor: Tensor) -> bool:
    """Whether the number of axes of a tensor is known; else on TensorFlow."""
    return True


def by_rows(function: Function, tensor: Tensor) -> Given:
    """`function` of a tensor whose rank is not known, made one of two axes.

    Args:
        function: Of a tensor `(rows, units)`; returns one of that shape.
        tensor: A tensor; its first axis is the row.

    Returns:
        A tensor of its shape.
    """
    raise NotImplementedError


def is_recomputing() -> bool:
    """Whether this call is in a block that is computed again for a gradient.

    On PyTorch: whether it is the second of the two computations.
    """
    return False


# Whether one trace of a checkpointed function serves both of its passes.
CHECKPOINT_TRACES_ONCE = BACKEND == "jax"


def trial(function: Function, args: Given) -> None:
    """Traces a function, whose results are not wanted; on JAX."""
    raise NotImplementedError


def trace() -> Given:
    """Stands for what this thread traces just now, for `is_repeated`."""
    return None


def is_repeated(since: Given) -> bool:
    """Whether this code may run otherwise than once, each time `since` runs.

    As it does in the body of a compiled loop, which is traced once for all of
    its steps, in a vectorized map, and in a function that is compiled on its
    own, whose trace is kept. Branches of a condition and what is rematerialised
    do not count.

    Args:
        since: What `trace` returned before, further outside.
    """
    return False


def random_state() -> Given:
    """What the backend's own random numbers depend on, for `has_drawn`."""
    return None


def has_drawn(before: Given) -> bool:
    """Whether the backend drew numbers of its own since `random_state()`.

    Keras' numbers are no such ones, but for unseeded dropout on PyTorch. On
    PyTorch the state is then what it was before. On JAX there are none.
    """
    return False


# Whether `seeded` decides the backend's own random numbers.
SEEDS_OWN = False


@contextlib.contextmanager
def seeded(seed: Function) -> Iterator[None]:
    """The backend's own random numbers are those of a seed, in the block.

    Args:
        seed: Function that returns an int32 scalar tensor.
    """
    yield


def is_same_trace(since: Given) -> bool:
    """Whether tensors made here are of use where `since` was current.

    Args:
        since: What `trace` returned before.
    """
    return True


def generators() -> dict[str, tuple[Function, Function]]:
    """The global random generators of the backend itself.

    Returns:
        A dict, by name, of pairs: a function that returns the state, as an
        array or None, and one that sets it.
    """
    return {}


def overflows() -> bool:
    """Whether a sum of int32 that overflows is undefined, not wrapped.

    It wraps in every operation that is called and in every kernel of XLA. But
    `torch.compile` writes C++, whose compiler may suppose that no sum or
    product of int32 overflows, and draws conclusions from that.
    """
    return False


# `keras.ops.right_shift` costs several times the operator in eager calls.
right_shift = operator.rshift

if BACKEND == "tensorflow":
    from kerasdrop._backend.tensorflow import *  # noqa: F403
elif BACKEND == "jax":
    from kerasdrop._backend.jax import *  # noqa: F403
elif BACKEND == "torch":
    from kerasdrop._backend.torch import *  # noqa: F403

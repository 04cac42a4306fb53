"""Definitions for TensorFlow.

`kerasdrop/_backend/__init__.py` documents the names.
"""

import concurrent.futures
import contextlib
import functools
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import keras
import tensorflow as tf

from kerasdrop._backend.context import TURN
from kerasdrop._backend.context import is_called_from
from kerasdrop._backend.context import is_exporting
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor

__all__ = [
    "after",
    "by_rows",
    "checkpointed",
    "compiled",
    "entries",
    "for_one_replica",
    "fori_loop",
    "fused",
    "generators",
    "has_drawn",
    "has_rank",
    "in_turn",
    "is_recomputing",
    "is_repeated",
    "is_same_trace",
    "is_tracing",
    "quickly",
    "random_state",
    "read",
    "replica",
    "replicas",
    "right_shift",
    "trace",
    "values_of",
    "while_loop",
]


right_shift = tf.bitwise.right_shift


def entries(table: Tensor, places: Tensor) -> Tensor:
    return tf.gather(table, places)


def has_rank(tensor: Tensor) -> bool:
    return getattr(tensor.shape, "rank", 0) is not None


def by_rows(function: Function, tensor: Tensor) -> Tensor:
    shape = tf.shape(tensor)
    rows = tf.reshape(tensor, [shape[0], tf.reduce_prod(shape[1:])])
    return tf.reshape(function(rows), shape)


def in_turn() -> AbstractContextManager[Given]:
    # The threads of a strategy's replicas wait for each other when they assign.
    if tf.distribute.has_strategy() or not tf.executing_eagerly():
        return contextlib.nullcontext()
    return TURN


def after(inputs: Tensor) -> AbstractContextManager[Given]:
    return tf.control_dependencies([inputs])


def is_recomputing() -> bool:
    # Pinned by tests/layers/test_rematerialization.py.
    return is_called_from("ops/custom_gradient.py", "recompute_grad")


def fused(function: Function) -> Function:
    @functools.cache
    def compiled(ranks: tuple[int, ...], by_xla: bool) -> Function:
        # There is one function for each combination of ranks. Otherwise
        # TensorFlow, to trace less often, would trace one for tensors of
        # unknown rank.
        return tf.function(
            function,
            jit_compile=by_xla,
            autograph=False,
            reduce_retracing=True,
        )

    seen = set()

    def run(*args: Tensor) -> Given:
        if is_exporting() or _quick.is_on or not _has_xla():
            return function(*args)
        shapes = tuple(tuple(getattr(arg, "shape", ())) for arg in args)
        if not tf.executing_eagerly():
            if None in shapes[0][1:]:  # sequences of any length
                return function(*args)
            # In such a scope the runtime compiles a size when it occurs for the
            # second time, and then runs the compiled code.
            if not _pass.is_on:
                with tf.xla.experimental.jit_scope():
                    return function(*args)
        elif shapes not in seen:  # XLA would compile for this call only
            seen.add(shapes)
            return compiled(tuple(map(len, shapes)), False)(*args)
        return compiled(tuple(map(len, shapes)), True)(*args)

    return run


class _Pass(threading.local):
    """Whether this thread traces a function for `compiled`.

    Its sizes occur again, and its memory is that of the compiled code.
    """

    is_on = False


_pass = _Pass()


class _Quick(threading.local):
    """Whether this thread runs code that is not worth compiling."""

    is_on = False


_quick = _Quick()


def quickly(
    function: Function, model: keras.Model, traceable: bool = True
) -> Function:
    def run(*args: Tensor) -> Given:
        outer, _quick.is_on = _quick.is_on, True
        try:
            return function(*args)
        finally:
            _quick.is_on = outer

    return run


def _has_xla() -> bool:
    # XLA does not run on Apple's GPUs.
    return not (
        platform.system() == "Darwin" and tf.config.list_physical_devices("GPU")
    )


# Otherwise TensorFlow runs up to ten independent rounds at a time, and holds
# the memory of all of them.
def fori_loop(
    count: int, function: Function, values: list[Tensor]
) -> list[Tensor]:
    _, *values = while_loop(
        lambda number, *values: number < count,
        lambda number, *values: (
            number + 1,
            *function(number, list(values)),
        ),
        (0, *values),
    )
    return values


def while_loop(
    condition: Function, function: Function, values: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    # The first round does not begin before its values exist, either.
    with tf.control_dependencies(list(values[1:])):
        first = tf.identity(values[0])
    return tf.while_loop(
        condition, function, (first, *values[1:]), parallel_iterations=1
    )


class _Place(threading.local):
    """The device on which this thread runs functions from `compiled`."""

    device: str | None = None


_place = _Place()
# Only one thread traces a pass at a time, since tracing replaces the `call` of
# layers.
_tracing = threading.RLock()


@contextlib.contextmanager
def _on(device: str) -> Iterator[None]:
    outer, _place.device = _place.device, device
    try:
        with tf.device(device):
            yield
    finally:
        _place.device = outer


def replicas(model: keras.Model) -> list[Function]:
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return [contextlib.nullcontext]
    devices = strategy.extended.worker_devices  # of this process
    if len(devices) == 1 or any("TPU" in device for device in devices):
        return [contextlib.nullcontext]
    places: list[Function] = [
        functools.partial(_on, device) for device in devices
    ]
    # Earlier measurements ran without an explicit device.
    if tf.zeros(()).device == devices[0]:
        places[0] = contextlib.nullcontext
    return places


def compiled(
    function: Function,
    model: keras.Model,
    any_size: bool = True,
    traceable: bool = True,
) -> Function:
    def trace_pass(*args: Tensor) -> Given:
        outer, _pass.is_on = _pass.is_on, True
        try:
            with _tracing, tf.device(_place.device):
                return function(*args)
        finally:
            _pass.is_on = outer

    @functools.cache
    def of_ranks(ranks: tuple[int, ...], device: str | None) -> Function:
        # As above: `y` may have an axis of size 1 or not. Also, a trace reads
        # the variables of a strategy on one of its devices.
        return tf.function(
            trace_pass,
            autograph=False,  # it would change every error
            reduce_retracing=any_size,
        )

    def of(args: tuple[Tensor, ...]) -> Given:
        leaves = tf.nest.flatten(args)
        ranks = (len(getattr(leaf, "shape", ())) for leaf in leaves)
        return of_ranks(tuple(ranks), _place.device)

    # The time in which `tf.function` finds what it traced grows with the number
    # of variables: a call like the one before does not ask it.
    last: tuple[Given, Function] | None = None

    def run(*args: Tensor) -> Given:
        nonlocal last
        form = _form(args) if _is_plainly_eager() else None
        if form is None:
            return of(args)(*args)
        now = form, _place.device
        found = last
        if found is None or found[0] != now:
            found = last = now, of(args).get_concrete_function(*args)
        return found[1](*args)

    def traced(*args: Tensor) -> Given:
        return of(args).get_concrete_function(*args)

    run.traced = traced  # type: ignore[attr-defined]
    return run


def _is_plainly_eager() -> bool:
    """Whether `tf.function` asks for nothing but arguments.

    Inside a strategy it asks for the device as well, inside another function
    for that, and it may be told to trace nothing.
    """
    return (
        tf.executing_eagerly()
        and not tf.config.functions_run_eagerly()
        and not tf.distribute.has_strategy()
    )


def _form(value: Given) -> Given:
    """By what `tf.function` tells arguments apart; None if it takes more."""
    if isinstance(value, tf.Tensor):
        return value.dtype, tuple(value.shape)
    if value is None:
        return type(None)
    if not isinstance(value, (dict, list, tuple)):
        return None
    names = tuple(value) if isinstance(value, dict) else ()
    parts = value.values() if isinstance(value, dict) else value
    forms = tuple(map(_form, parts))
    return None if None in forms else (type(value), names, forms)


def trace() -> Given:
    if tf.executing_eagerly():
        return None, ""
    return tf.compat.v1.get_default_graph(), tf.get_current_name_scope()


def random_state() -> Given:
    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    return graph, len(graph.get_operations())


def has_drawn(before: Given) -> bool:
    if before is None:
        return False
    graph, count = before
    return any(
        operation.op_def is not None
        and operation.op_def.is_stateful
        and any(part in operation.type for part in _RANDOM)
        for operation in graph.get_operations()[count:]
    )


_RANDOM = ("Random", "Normal", "Multinomial", "Uniform", "Binomial")


def is_repeated(since: Given) -> bool:
    outer, outer_scope = since
    graph, name_scope = trace()
    if graph is outer:
        # `tf.vectorized_map` has no graph of its own.
        added = name_scope.removeprefix(outer_scope).split("/")
        return any(name.startswith("loop_body") for name in added)
    while type(graph).__name__ == "CondBranchFuncGraph":
        graph = graph.outer_graph
        if graph is outer:
            return False
    return True


def is_same_trace(since: Given) -> bool:
    return trace()[0] is since[0]


def generators() -> dict[str, tuple[Function, Function]]:
    return {
        "tf.random": (_tf_seeds, _set_tf_seeds),
        "tf.random.get_global_generator()": (_tf_state, _set_tf_state),
    }


# Private: no public name tells what the next random operation will draw. Pinned
# by tests/contracts/test_global_generators.py.
def _tf_seeds() -> Given:
    made = getattr(_tf_context(), "_rng", None)  # set by `set_seed`
    return None if made is None else made.getstate()


def _set_tf_seeds(state: Given) -> None:
    _tf_context()._rng.setstate(state)


def _tf_context() -> Given:
    return sys.modules["tensorflow.python.eager.context"].context()


def _tf_generator() -> Given:
    # Its public name would create it.
    module = sys.modules[tf.random.Generator.__module__]
    return module.global_generator


def _tf_state() -> Given:
    made = _tf_generator()
    return None if made is None else made.state.numpy()


def _set_tf_state(state: Given) -> None:
    _tf_generator().reset(state)


def replica() -> tuple[Tensor, Tensor]:
    if not tf.distribute.has_strategy():
        return 0, 1
    context = tf.distribute.get_replica_context()
    if context is None:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def for_one_replica(function: Function) -> Given:
    if not tf.distribute.has_strategy():
        return function()
    # A scope belongs to the thread that entered it, which cannot leave it
    # temporarily.
    with concurrent.futures.ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(function).result()


def read(variable: keras.Variable) -> Tensor:
    # Keras returns the variable of TensorFlow. A `tf.function` takes every
    # variable of a strategy for the first one that it was called with.
    return tf.convert_to_tensor(variable.value)


def values_of(
    variables: list[keras.Variable], model: keras.Model
) -> list[Tensor]:
    # Inside the scope of a strategy NumPy cannot read a variable.
    return [read(variable) for variable in variables]


def is_tracing() -> bool:
    return not tf.executing_eagerly()


def checkpointed(variables: dict[str, keras.Variable]) -> Given:
    return tf.train.Checkpoint(**variables)

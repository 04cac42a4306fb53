"""The one file that knows which backend runs. Everything else is `keras.ops`.

Each name here answers one question that `keras.ops` leaves open. A backend is
imported only if Keras runs on it, but for TensorFlow where a SavedModel is run.
"""

import contextlib
import functools
import operator
import os
import platform
import sys
import threading
import time
import warnings

import keras

BACKEND = keras.backend.backend()

# Whether `compiled` compiles.
COMPILES = BACKEND != "torch"

# Whether the value of a variable is a tensor that never changes.
VALUES_ARE_FINAL = BACKEND == "jax"


class _Export(threading.local):
    """Whether this thread traces for another reader than Keras, and which."""

    is_on = False
    divides = False


_export = _Export()


@contextlib.contextmanager
def exporting(divides=False):
    """What is traced in this thread, in the block, is to be exported.

    Args:
        divides: Whether its reader needs integers shifted by division.
    """
    before = _export.is_on, _export.divides
    _export.is_on, _export.divides = True, divides
    try:
        yield
    finally:
        _export.is_on, _export.divides = before


def is_exporting():
    """Whether this thread traces what is to be exported."""
    return _export.is_on


def divides():
    """Whether integers are to be shifted by division: see `_bits`."""
    return _export.divides


def fused(function):
    """Makes one kernel of integer arithmetic where the backend would not.

    Keras runs TensorFlow graphs without XLA on a CPU. There every integer
    operation of a mask is a pass over memory of its own; compiled together
    they are about one pass. JAX and `torch.compile` fuse by themselves.
    The bits are the same either way. In an exported graph there is no such
    kernel: what reads it need not have a compiler.
    """
    return function


def table(name, function, dtype="int32"):
    """Makes a tensor of an array that depends on a size alone.

    Args:
        name: What it holds, in one word.
        function: Of the size; returns a numpy array `(size,)`.
        dtype: Of the array.

    Returns:
        A function of the size and of a tensor on the device that is meant.
    """

    def tensor(size, like):
        return keras.ops.convert_to_tensor(function(size))

    return tensor


def selected(keep, values):
    """`values` where `keep`, else 0: not 0 * inf, which would be NaN.

    PyTorch may overwrite `values`.
    """
    return keras.ops.where(keep, values, keras.ops.zeros((), values.dtype))


def fori_loop(count, function, values):
    """`function(number, values)`, `count` times, from 0 on, in turn.

    Args:
        count: Integer.
        function: Returns new values.
        values: List of tensors.

    Returns:
        The last values.
    """
    return keras.ops.fori_loop(0, count, function, values)


def while_loop(condition, function, values):
    """`keras.ops.while_loop`, its rounds in turn."""
    return keras.ops.while_loop(condition, function, values)


def compiled(function, model, any_size=True, traceable=True):
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


def quickly(function, model, traceable=True):
    """`compiled`, for a function that is run a few times and never again.

    It takes longer to run and less to make.
    """
    return function


def uncompiled(reason):
    """A decorator for a function that `torch.compile` does not look into.

    Args:
        reason: What it tells where it must compile all, `fullgraph=True`.
    """
    return lambda function: function


def lasting():
    """A context for tensors that outlive the mode in which they are made.

    PyTorch's inference mode makes tensors that cannot be changed, nor used in
    training, once it is left. On JAX, what a compiled function makes ends with
    it.
    """
    return contextlib.nullcontext()


# Whether `compiled` runs a function of Python once for many calls.
TRACES = BACKEND != "torch"


class ValuesAway(RuntimeError):
    """On JAX: a model's variables have no values while Keras runs an epoch."""


_TRAINER = os.path.join("keras", "src", "backend", BACKEND, "trainer.py")


def is_in_trainer():
    """Whether `fit` or `evaluate` of a model, or the like, calls this."""
    # Pinned by tests/contracts/test_trainers.py.
    return _is_called_from(_TRAINER)


def models_of_other_threads():
    """The models whose `fit`, or the like, runs in other threads; on JAX.

    There what is written to their variables meanwhile may be lost.
    """
    return []


def patient(function, seconds=60.0):
    """`function()`, which needs values that another thread may hold.

    On JAX Keras' own `predict` holds them for as long as it runs: there it is
    tried again and again, for so many seconds. Elsewhere it is called.
    """
    return function()


def replica():
    """Which of how many replicas runs here, each with rows of its own.

    The replicas of a `tf.distribute` strategy, or the processes of
    `torch.distributed`. Elsewhere there is one. A JAX program of several
    processes works on global arrays, whose rows are numbered globally.

    Returns:
        The index, an integer or an int32 scalar tensor; and the number.
    """
    return 0, 1


def read(variable):
    """The value of a `keras.Variable`, as a tensor."""
    return variable.value


def is_tracing():
    """Whether Python runs here once, for many calls of a compiled function.

    Not in `torch.compile`, which notices what Python would do otherwise.
    """
    return False


def is_state_lost(variable):
    """Whether what is assigned to a variable here is lost, or breaks it.

    On JAX: in a function that is compiled outside of `stateless_call`, or in
    the body of a compiled loop inside of it.
    """
    return False


def whole_layout(num_axes):
    """Keyword arguments for a `keras.Variable` that no `LayoutMap` divides.

    Args:
        num_axes: Integer, of the variable.
    """
    return {}


def is_local(mesh):
    """Whether all devices of a `keras.distribution.DeviceMesh` are here.

    On JAX those of other processes may be among them.
    """
    return True


def register(layer, variables):
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


def checkpointed(variables):
    """What a layer keeps so that `tf.train.Checkpoint` saves variables of it.

    Args:
        variables: Dict of names and `keras.Variable`, which are no weights.
    """


def after(inputs):
    """A context in which what is written to variables waits for `inputs`.

    TensorFlow runs what does not depend on the data of a step at once, even
    where these turn out to have ended.
    """
    return contextlib.nullcontext()


def values_of(variables, model):
    """The tensors that some variables hold.

    Raises:
        ValuesAway: On JAX, if those of `model` have none just now.
    """
    return [variable.value for variable in variables]


def has_rank(tensor):
    """Whether the number of axes of a tensor is known; else on TensorFlow."""
    return True


def by_rows(function, tensor):
    """`function` of a tensor whose rank is not known, made one of two axes.

    Args:
        function: Of a tensor `(rows, units)`; returns one of that shape.
        tensor: A tensor; its first axis is the row.

    Returns:
        A tensor of its shape.
    """
    raise NotImplementedError


def is_recomputing():
    """Whether this call is in a block that is computed again for a gradient.

    On PyTorch: whether it is the second of the two computations.
    """
    return False


def _is_called_from(file, name=""):
    """Whether a function of this file and of a name like that calls this."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.endswith(file) and name in code.co_qualname:
            return True
        frame = frame.f_back
    return False


# Whether one trace of a checkpointed function serves both of its passes.
CHECKPOINT_TRACES_ONCE = BACKEND == "jax"


def trial(function, args):
    """Traces a function, whose results are not wanted; on JAX."""
    raise NotImplementedError


def trace():
    """Stands for what this thread traces just now, for `is_repeated`."""
    return None


def is_repeated(since):
    """Whether this code may run otherwise than once, each time `since` runs.

    As it does in the body of a compiled loop, which is traced once for all of
    its steps, in a vectorized map, and in a function that is compiled on its
    own, whose trace is kept. Branches of a condition and what is rematerialised
    do not count.

    Args:
        since: What `trace` returned before, further outside.
    """
    return False


def random_state():
    """What the backend's own random numbers depend on, for `has_drawn`."""
    return None


def has_drawn(before):
    """Whether the backend drew numbers of its own since `random_state()`.

    Keras' numbers are no such ones, but for unseeded dropout on PyTorch. On
    PyTorch the state is then what it was before. On JAX there are none.
    """
    return False


# Whether `seeded` decides the backend's own random numbers.
SEEDS_OWN = False


@contextlib.contextmanager
def seeded(seed):
    """The backend's own random numbers are those of a seed, in the block.

    Args:
        seed: Function that returns an int32 scalar tensor.
    """
    yield


def is_same_trace(since):
    """Whether tensors made here are of use where `since` was current.

    Args:
        since: What `trace` returned before.
    """
    return True


def generators():
    """The global random generators of the backend itself.

    Returns:
        A dict, by name, of pairs: a function that returns the state, as an
        array or None, and one that sets it.
    """
    return {}


def run_saved_model(path, inputs):
    """The outputs of a SavedModel, which TensorFlow runs whatever wrote it.

    Args:
        path: String, the folder.
        inputs: Dict of numpy arrays.

    Returns:
        A dict of numpy arrays.
    """
    import tensorflow as tf

    # Held until the end: its variables go with it.
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    return {name: out.numpy() for name, out in signature(**tensors).items()}


def overflows():
    """Whether a sum of int32 that overflows is undefined, not wrapped.

    It wraps in every operation that is called and in every kernel of XLA. But
    `torch.compile` writes C++, whose compiler may suppose that no sum or
    product of int32 overflows, and draws conclusions from that.
    """
    return False


# `keras.ops.right_shift` costs several times the operator in eager calls.
right_shift = operator.rshift

if BACKEND == "tensorflow":
    import tensorflow as tf

    right_shift = tf.bitwise.right_shift

    def has_rank(tensor):
        return getattr(tensor.shape, "rank", 0) is not None

    def by_rows(function, tensor):
        shape = tf.shape(tensor)
        rows = tf.reshape(tensor, [shape[0], tf.reduce_prod(shape[1:])])
        return tf.reshape(function(rows), shape)

    def after(inputs):
        return tf.control_dependencies([inputs])

    def is_recomputing():
        # Pinned by tests/layers/test_rematerialization.py.
        return _is_called_from("ops/custom_gradient.py", "recompute_grad")

    def fused(function):
        @functools.cache
        def compiled(ranks, by_xla):
            # One for each combination of ranks: to trace less often,
            # TensorFlow would else make one for tensors of unknown rank.
            return tf.function(
                function,
                jit_compile=by_xla,
                autograph=False,
                reduce_retracing=True,
            )

        seen = set()

        def run(*args):
            if _export.is_on or _quick.is_on or not _has_xla():
                return function(*args)
            shapes = tuple(tuple(getattr(arg, "shape", ())) for arg in args)
            if not tf.executing_eagerly():
                if None in shapes[0][1:]:  # sequences of every length
                    return function(*args)
                # In such a scope the runtime compiles a size when it comes
                # for the second time, and then runs what it has compiled.
                if not _pass.is_on:
                    with tf.xla.experimental.jit_scope():
                        return function(*args)
            elif shapes not in seen:  # XLA would compile for it alone
                seen.add(shapes)
                return compiled(tuple(map(len, shapes)), False)(*args)
            return compiled(tuple(map(len, shapes)), True)(*args)

        return run

    class _Pass(threading.local):
        """Whether this thread traces what `compiled` compiles.

        Its sizes come again, and its memory is that of what is compiled.
        """

        is_on = False

    _pass = _Pass()

    class _Quick(threading.local):
        """Whether this thread runs what is not worth compiling."""

        is_on = False

    _quick = _Quick()

    def quickly(function, model, traceable=True):
        def run(*args):
            outer, _quick.is_on = _quick.is_on, True
            try:
                return function(*args)
            finally:
                _quick.is_on = outer

        return run

    def _has_xla():
        # XLA does not run on Apple's GPUs.
        return not (
            platform.system() == "Darwin"
            and tf.config.list_physical_devices("GPU")
        )

    # Else TensorFlow runs up to ten rounds at a time, as far as they do not
    # wait for each other, and holds the memory of all.
    def fori_loop(count, function, values):
        return while_loop(
            lambda number, *values: number < count,
            lambda number, *values: (
                number + 1,
                *function(number, list(values)),
            ),
            (0, *values),
        )[1:]

    def while_loop(condition, function, values):
        # Nor does the first round begin before its values are there.
        with tf.control_dependencies(list(values[1:])):
            first = tf.identity(values[0])
        return tf.while_loop(
            condition, function, (first, *values[1:]), parallel_iterations=1
        )

    def compiled(function, model, any_size=True, traceable=True):
        def trace_pass(*args):
            outer, _pass.is_on = _pass.is_on, True
            try:
                return function(*args)
            finally:
                _pass.is_on = outer

        @functools.cache
        def of_ranks(ranks):
            # As above: `y` may come with an axis of size 1 and without.
            return tf.function(
                trace_pass,
                autograph=False,  # or it would dress up every error
                reduce_retracing=any_size,
            )

        def of(args):
            leaves = tf.nest.flatten(args)
            ranks = (len(getattr(leaf, "shape", ())) for leaf in leaves)
            return of_ranks(tuple(ranks))

        def run(*args):
            return of(args)(*args)

        run.traced = lambda *args: of(args).get_concrete_function(*args)
        return run

    def trace():
        if tf.executing_eagerly():
            return None, ""
        return tf.compat.v1.get_default_graph(), tf.get_current_name_scope()

    def random_state():
        if tf.executing_eagerly():
            return None
        graph = tf.compat.v1.get_default_graph()
        return graph, len(graph.get_operations())

    def has_drawn(before):
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

    def is_repeated(since):
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

    def is_same_trace(since):
        return trace()[0] is since[0]

    def generators():
        return {
            "tf.random": (_tf_seeds, _set_tf_seeds),
            "tf.random.get_global_generator()": (_tf_state, _set_tf_state),
        }

    # Private, as is all that tells what the next random operation will draw.
    # Pinned by tests/contracts/test_global_generators.py.
    def _tf_seeds():
        made = getattr(_tf_context(), "_rng", None)  # of `set_seed`
        return None if made is None else made.getstate()

    def _set_tf_seeds(state):
        _tf_context()._rng.setstate(state)

    def _tf_context():
        return sys.modules["tensorflow.python.eager.context"].context()

    def _tf_generator():
        # Asked for by its public name, it would be made.
        module = sys.modules[tf.random.Generator.__module__]
        return module.global_generator

    def _tf_state():
        made = _tf_generator()
        return None if made is None else made.state.numpy()

    def _set_tf_state(state):
        _tf_generator().reset(state)

    def replica():
        if not tf.distribute.has_strategy():
            return 0, 1
        context = tf.distribute.get_replica_context()
        if context is None:
            return 0, 1
        return context.replica_id_in_sync_group, context.num_replicas_in_sync

    def read(variable):
        # Keras returns the variable of TensorFlow. Of a strategy's variables,
        # a `tf.function` takes each for the first that it was called with.
        return tf.convert_to_tensor(variable.value)

    def is_tracing():
        return not tf.executing_eagerly()

    def checkpointed(variables):
        return tf.train.Checkpoint(**variables)

elif BACKEND == "jax":
    import jax

    def is_recomputing():
        # Pinned by tests/layers/test_rematerialization.py.
        return _is_called_from("ad_checkpoint.py")

    def trial(function, args):
        jax.eval_shape(function, *args)

    from jax._src import core as jax_core

    def is_tracing():
        # Of a compiled function even constants are traced.
        return isinstance(jax.numpy.zeros(()), jax.core.Tracer)

    def is_state_lost(variable):
        # Pinned by tests/contracts/test_stateless_scope.py.
        scope = keras.StatelessScope(initialize_variables=False)
        with scope:
            is_inside_another = scope.original_scope is not None
        if not is_inside_another:
            return is_tracing()
        value = variable.value
        # Of a value that is no tracer it is not known where it came from.
        return isinstance(value, jax.core.Tracer) and is_repeated(value._trace)

    def lasting():
        return jax.ensure_compile_time_eval()

    def whole_layout(num_axes):
        distribution = keras.distribution.distribution()
        if distribution is None:
            return {}
        layout = keras.distribution.TensorLayout(
            [None] * num_axes, distribution.device_mesh
        )
        return {"layout": layout}

    def is_local(mesh):
        here = jax.process_index()
        devices = mesh.backend_mesh.devices.flat
        return all(device.process_index == here for device in devices)

    def models_of_other_threads():
        models, here = [], threading.get_ident()
        for thread, frame in sys._current_frames().items():
            called = ""
            while thread != here and frame is not None:
                if (
                    frame.f_code.co_filename.endswith(_TRAINER)
                    and called not in _LAST_HOOKS
                    and isinstance(frame.f_locals.get("self"), keras.Model)
                ):
                    models.append(frame.f_locals["self"])
                called = frame.f_code.co_name
                frame = frame.f_back
        return models

    # When these are called, the values are back for good.
    _LAST_HOOKS = ("on_train_end", "on_test_end", "on_predict_end")

    def patient(function, seconds=60.0):
        deadline = time.monotonic() + seconds
        while True:
            try:
                return function()
            except (RuntimeError, ValueError) as error:
                # Taken away, or donated since we looked.
                away = isinstance(error, ValuesAway) or "deleted" in str(error)
                alone = threading.active_count() == 1
                if not away or alone or time.monotonic() > deadline:
                    raise
            time.sleep(0.001)

    # What a function may be traced for, and still run once where it stands.
    _ONCE = ("checkpoint / remat", "cond")

    def trace():
        # Private, as is all that tells a loop from what is rematerialised.
        # Pinned by tests/contracts/test_traces.py.
        return jax_core.trace_ctx.trace

    def is_repeated(since):
        now = trace()
        while now is not since:
            frame = getattr(now, "frame", None)
            is_linearized = type(now).__name__ in ("JVPTrace", "LinearizeTrace")
            traced_for = "" if frame is None else frame.debug_info.traced_for
            if not (is_linearized or traced_for.startswith(_ONCE)):
                return True
            now = getattr(now, "parent_trace", None)
        return False

    def is_same_trace(since):
        return trace() is since

    def values_of(variables, model):
        try:
            return [variable.value for variable in variables]
        except TypeError:  # what Keras has there is None
            raise ValuesAway(
                f"The variables of model '{model.name}' have no values: "
                "Keras on JAX holds them elsewhere while an epoch runs. "
                "In a callback, touch `self.model` first, which brings "
                "them back."
            ) from None

    # Op by op, JAX would compile each operation for each shape.
    _QUICK = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }

    def quickly(function, model, traceable=True):
        return compiled(function, model, traceable=traceable, options=_QUICK)

    def compiled(function, model, any_size=True, traceable=True, options=None):
        variables = [*model.trainable_variables, *model.non_trainable_variables]

        def step(values, args):
            with keras.StatelessScope(state_mapping=zip(variables, values)):
                return function(*args)

        if traceable:
            step = jax.jit(step, compiler_options=options)

        def values():
            return values_of(variables, model)

        def run(*args):
            return patient(lambda: step(values(), args))

        run.lowered = None
        if traceable:
            run.lowered = lambda *args: patient(
                lambda: step.lower(values(), args)
            )
        return run

elif BACKEND == "torch":
    import torch

    def replica():
        group = torch.distributed
        if not (group.is_available() and group.is_initialized()):
            return 0, 1
        return group.get_rank(), group.get_world_size()

    def register(layer, variables):
        values = {name: each.value for name, each in variables.items()}
        found = {
            name: value
            for name, value in values.items()
            # Or a stand-in, while Keras only looks for shapes.
            if isinstance(value, torch.nn.Parameter)
        }
        layer.add_module("states", torch.nn.ParameterDict(found))
        return len(found) == len(values)

    def uncompiled(reason):
        return lambda function: torch.compiler.disable(function, reason=reason)

    def lasting():
        return torch.inference_mode(False)

    def table(name, function, dtype="int32"):
        @functools.lru_cache(maxsize=64)
        def stored(size, device):
            with lasting():
                return torch.from_numpy(function(size)).to(device)

        # `torch.compile` cannot trace numpy, and what it can trace it would
        # compute again for every element: so it gets an operation.
        @torch.library.custom_op(f"kerasdrop::{name}", mutates_args=())
        def operation(size: int, device: torch.device) -> torch.Tensor:
            return stored(size, device).clone()

        @operation.register_fake
        def _(size, device):
            return torch.empty(size, dtype=getattr(torch, dtype), device=device)

        def tensor(size, like):
            if torch.compiler.is_exporting():  # a constant of the graph
                return torch.from_numpy(function(size)).to(like.device)
            if torch.compiler.is_compiling():
                return operation(size, like.device)
            return stored(size, like.device)

        return tensor

    def overflows():
        return (
            torch.compiler.is_compiling()
            and not torch.compiler.is_exporting()
            and not _export.is_on
        )

    _MANY = 2**14
    _INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

    def _as_integers(values):
        return values.view(_INTEGERS[values.element_size()])

    def _all_ones(keep, like):
        # As uint8, True becomes 255, which is -1 as int8.
        ones = keep.view(torch.uint8).neg().view(torch.int8)
        return ones.to(_INTEGERS[like.element_size()])

    class _Selected(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(values, keep):
            bits = _as_integers(values) & _all_ones(keep, values)
            return bits.view(values.dtype)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[1])
            ctx.save_for_forward(inputs[1])

        @staticmethod
        def backward(ctx, gradient):
            return _Selected.apply(gradient, *ctx.saved_tensors), None

        @staticmethod
        def jvp(ctx, tangent, _):
            return _Selected.apply(tangent, *ctx.saved_tensors)

    def selected(keep, values):
        # On a CPU `torch.where` branches for each element, which takes five
        # times as long as to clear bits, but for a few it is the simplest.
        if (
            torch.compiler.is_compiling()
            or values.numel() < _MANY
            or values.device.type != "cpu"
            or torch.jit.is_tracing()
        ):
            return torch.where(keep, values, 0.0)
        if torch.is_grad_enabled():
            return _Selected.apply(values, keep)
        _as_integers(values).bitwise_and_(_all_ones(keep, values))
        return values

    def quickly(function, model, traceable=True):
        return compiled(function, model)

    def compiled(function, model, any_size=True, traceable=True):
        def run(*args):
            with torch.no_grad():
                return function(*args)

        return run

    def module(function, model):
        """A module that calls `function`, with the variables of `model`."""

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, *args):
                with torch.no_grad():
                    return function(*args)

        return Module().eval()

    def traced(module, inputs):
        """A graph of TorchScript, of a module called on such inputs."""
        with warnings.catch_warnings():
            # Of Python numbers, such as the sizes of weights, that it keeps.
            warnings.simplefilter("ignore")
            return torch.jit.trace(module, tuple(inputs))

    def write_onnx(
        module, inputs, shapes, path, input_names, output_names, **kwargs
    ):
        """Writes a module as ONNX; sizes that are None in `shapes` stay open.

        `keras.Model.export` uses PyTorch's older exporter.
        """
        batch = torch.export.Dim("batch")
        others = torch.export.Dim.AUTO
        open_sizes = tuple(
            {
                axis: others if axis else batch
                for axis, size in enumerate(shape)
                if size is None
            }
            for shape in shapes
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how it does it
            program = torch.onnx.export(
                module,
                tuple(inputs),
                dynamo=True,
                verbose=False,
                input_names=input_names,
                dynamic_shapes=(open_sizes,),  # of *args
                **kwargs,
            )
        graph = program.model.graph
        # It names what is inside by what it is, a mean "mean".
        for node in graph:
            for value in node.outputs:
                value.name = f"inside_{value.name}"
        for value, name in zip(graph.outputs, output_names, strict=True):
            value.name = name
        program.save(path)

    SEEDS_OWN = True

    def random_state():
        states = [torch.get_rng_state()]
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states.append(torch.cuda.get_rng_state())
        return states

    def _set_random_state(states):
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1])

    def has_drawn(before):
        if all(map(torch.equal, before, random_state())):
            return False
        _set_random_state(before)
        return True

    @contextlib.contextmanager
    def seeded(seed):
        before = random_state()
        seed = int(seed())
        torch.default_generator.manual_seed(seed)
        if len(before) > 1:
            torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            _set_random_state(before)

    def trace():
        # Private, as is all that tells what is mapped. Pinned by
        # tests/contracts/test_traces.py.
        if torch.compiler.is_compiling():
            return []
        return torch._C._functorch.get_interpreter_stack() or []

    def is_repeated(since):
        # Loops are loops of Python: it is a map alone that runs code once for
        # several steps.
        vmap = torch._C._functorch.TransformType.Vmap
        return any(level.key() == vmap for level in trace()[len(since) :])

    def is_same_trace(since):
        return len(trace()) == len(since)

    def generators():
        found = {
            "torch.random": (
                lambda: torch.get_rng_state().numpy(),
                lambda state: torch.set_rng_state(torch.from_numpy(state)),
            )
        }
        if torch.cuda.is_initialized():
            for number in range(torch.cuda.device_count()):
                found[f"torch.cuda.random, device {number}"] = (
                    lambda n=number: torch.cuda.get_rng_state(n).numpy(),
                    lambda state, n=number: torch.cuda.set_rng_state(
                        torch.from_numpy(state), n
                    ),
                )
        return found

    def is_recomputing():
        if torch.compiler.is_compiling():
            return False  # the traced graph is called, not this
        # Private, but there is no public way to ask. Pinned by
        # tests/contracts/test_torch_recomputation.py.
        return torch._C._current_graph_task_id() != -1

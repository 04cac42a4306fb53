"""Definitions for JAX.

`kerasdrop/_backend/__init__.py` documents the names.
"""

import os
import sys
import threading
import time
import types
from contextlib import AbstractContextManager

import jax
import keras
from jax._src import core as jax_core

from kerasdrop._backend.context import TRAINER
from kerasdrop._backend.context import ValuesAway
from kerasdrop._backend.context import is_called_from
from kerasdrop._backend.context import is_in_stateless_scope
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor

__all__ = [
    "argument",
    "compiled",
    "entries",
    "is_local",
    "is_recomputing",
    "is_repeated",
    "is_same_trace",
    "is_state_lost",
    "is_tracing",
    "lasting",
    "models_of_other_threads",
    "patient",
    "quickly",
    "trace",
    "trial",
    "values_of",
    "whole_layout",
]


def is_recomputing() -> bool:
    # Pinned by tests/layers/test_rematerialization.py.
    return is_called_from("ad_checkpoint.py")


def trial(function: Function, args: Given) -> None:
    jax.eval_shape(function, *args)


def is_tracing() -> bool:
    # In a compiled function even constants are traced.
    return isinstance(jax.numpy.zeros(()), jax.core.Tracer)


def is_state_lost(variable: keras.Variable) -> bool:
    # Pinned by tests/contracts/test_stateless_scope.py.
    if not is_in_stateless_scope():
        return is_tracing()
    value = variable.value
    if isinstance(value, jax.core.Tracer):
        return is_repeated(value._trace)
    # The origin of a value that is not a tracer is unknown. But assignments in
    # the loop of a recurrent layer are lost, and its steps share them.
    return (
        _traced_for(trace()).startswith("scan")
        and is_called_from(_RECURRENT_LOOP, "rnn")
        and not is_called_from(_CORE, "compute_output_spec")
    )


_RECURRENT_LOOP = os.path.join("keras", "src", "backend", "jax", "rnn.py")
_CORE = os.path.join("keras", "src", "backend", "jax", "core.py")


def _traced_for(trace: Given) -> str:
    frame = getattr(trace, "frame", None)
    return "" if frame is None else frame.debug_info.traced_for


def lasting() -> AbstractContextManager[Given]:
    return jax.ensure_compile_time_eval()


def whole_layout(num_axes: int) -> Config:
    distribution = keras.distribution.distribution()
    if distribution is None:
        return {}
    layout = keras.distribution.TensorLayout(
        [None] * num_axes, distribution.device_mesh
    )
    return {"layout": layout}


def is_local(mesh: Given) -> bool:
    here = jax.process_index()
    devices = mesh.backend_mesh.devices.flat
    return all(device.process_index == here for device in devices)


def models_of_other_threads() -> list[keras.Model]:
    models, here = [], threading.get_ident()
    for thread, innermost in sys._current_frames().items():
        frame: types.FrameType | None = innermost
        called = ""
        while thread != here and frame is not None:
            if (
                frame.f_code.co_filename.endswith(TRAINER)
                and called not in _LAST_HOOKS
                and isinstance(frame.f_locals.get("self"), keras.Model)
            ):
                models.append(frame.f_locals["self"])
            called = frame.f_code.co_name
            frame = frame.f_back
    return models


# When these are called, the values are back for good.
_LAST_HOOKS = ("on_train_end", "on_test_end", "on_predict_end")


def patient(function: Function, seconds: float = 60.0) -> Given:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return function()
        except (RuntimeError, ValueError) as error:
            # The values were taken away, or donated since they were read.
            away = isinstance(error, ValuesAway) or "deleted" in str(error)
            alone = threading.active_count() == 1
            if not away or alone or time.monotonic() > deadline:
                raise
        time.sleep(0.001)


# Purposes of a trace in which a function still runs once where it is called.
_ONCE = ("checkpoint / remat", "cond")


def trace() -> Given:
    # Private: no public name distinguishes a loop from rematerialization.
    # Pinned by tests/contracts/test_traces.py.
    return jax_core.trace_ctx.trace


def is_repeated(since: Given) -> bool:
    now = trace()
    while now is not since:
        is_linearized = type(now).__name__ in ("JVPTrace", "LinearizeTrace")
        if not (is_linearized or _traced_for(now).startswith(_ONCE)):
            return True
        now = getattr(now, "parent_trace", None)
    return False


def is_same_trace(since: Given) -> bool:
    return trace() is since


def values_of(
    variables: list[keras.Variable], model: keras.Model
) -> list[Tensor]:
    try:
        return [variable.value for variable in variables]
    except TypeError:  # Keras has None there
        raise ValuesAway(
            f"The variables of model '{model.name}' have no values: "
            "Keras on JAX holds them elsewhere while an epoch runs. "
            "In a callback, touch `self.model` first, which brings "
            "them back."
        ) from None


# Without this, JAX would compile each operation for each shape.
_QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def quickly(
    function: Function, model: keras.Model, traceable: bool = True
) -> Function:
    return compiled(function, model, traceable=traceable, options=_QUICK)


def entries(table: Tensor, places: Tensor) -> Tensor:
    return table.at[places].get(mode="promise_in_bounds")


def argument(array: Given) -> Given:
    return array


def compiled(
    function: Function,
    model: keras.Model,
    any_size: bool = True,
    traceable: bool = True,
    options: Config | None = None,
) -> Function:
    variables = [*model.trainable_variables, *model.non_trainable_variables]

    def by_values(values: list[Tensor], args: Given) -> Given:
        with keras.StatelessScope(state_mapping=zip(variables, values)):
            return function(*args)

    def op_by_op(values: list[Tensor], args: Given) -> Given:
        return by_values(values, jax.tree.map(jax.numpy.asarray, args))

    step: Given = op_by_op
    if traceable:
        step = jax.jit(by_values, compiler_options=options)

    def values() -> list[Tensor]:
        return values_of(variables, model)

    def run(*args: Given) -> Given:
        return patient(lambda: step(values(), args))

    def lowered(*args: Given) -> Given:
        return patient(lambda: step.lower(values(), args))

    run.lowered = lowered if traceable else None  # type: ignore[attr-defined]
    return run

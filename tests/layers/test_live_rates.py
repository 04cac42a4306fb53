"""A rate that is set takes effect at once, wherever the model runs."""

import functools

import keras
import numpy as np
import pytest

from kerasdrop.layers import Dropout
from kerasdrop.layers import MCDropout
from tests.support import probes

BACKEND = keras.backend.backend()
RATES = [0.5, 0.0, 0.3, 1.0, 0.9]

# torch.compile takes some 30 s and C++ for this model, and its graph breaks at
# the recorder: tests/layers/test_torch_compile.py has a smaller one.
JIT_MODES = ["auto", False] if BACKEND == "torch" else ["auto", True, False]


@functools.cache
def dropout_model(jit_compile):
    layer = Dropout(0.5, seed=0)
    return layer, probes.recorded_model(layer, jit_compile=jit_compile)


@functools.cache
def mc_model(jit_compile):
    layer = MCDropout(0.5, seed=0)
    return layer, probes.recorded_model(layer, jit_compile=jit_compile)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_a_rate_set_between_fits_holds_in_the_next(jit_compile):
    layer, model = dropout_model(jit_compile)
    zeroed = []
    for rate in RATES:
        layer.rate = rate
        zeroed.append(probes.fit(model, steps=2))
    expected = np.repeat(RATES, 2).reshape(-1, 2)
    np.testing.assert_allclose(zeroed, expected, atol=probes.TOLERANCE)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_a_rate_set_between_calls_holds_at_inference(method, jit_compile):
    layer, model = mc_model(jit_compile)
    data = [probes.ones()]
    if method == "evaluate":
        data.append(probes.targets())
    zeroed = []
    for rate in RATES:
        layer.rate = rate
        getattr(model, method)(*data, verbose=0)
        zeroed.append(model.recorder.take(probes.INFERENCE)[0])
    np.testing.assert_allclose(zeroed, RATES, atol=probes.TOLERANCE)


def test_a_rate_set_between_train_on_batch_calls_holds():
    layer, model = dropout_model("auto")
    model.recorder.take()
    for rate in RATES:
        layer.rate = rate
        model.train_on_batch(probes.ones(), probes.targets())
    zeroed = model.recorder.take()
    np.testing.assert_allclose(zeroed, RATES, atol=probes.TOLERANCE)


def test_a_rate_set_holds_in_eager_training():
    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer, run_eagerly=True)
    zeroed = []
    for rate in RATES:
        layer.rate = rate
        zeroed.extend(probes.fit(model))
    np.testing.assert_allclose(zeroed, RATES, atol=probes.TOLERANCE)


def test_a_rate_that_starts_at_zero_can_be_raised():
    layer = Dropout(0.0, seed=0)
    model = probes.recorded_model(layer)
    before = probes.fit(model)
    layer.rate = 0.5
    after = probes.fit(model)
    np.testing.assert_allclose(
        [before[0], after[0]], [0.0, 0.5], atol=probes.TOLERANCE
    )


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch runs eagerly here")
def test_changing_the_rate_does_not_retrace():
    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer)
    probes.fit(model)
    traces = model.recorder.traces
    for rate in RATES:
        layer.rate = rate
        probes.fit(model)
    assert model.recorder.traces == traces


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch runs eagerly here")
def test_changing_the_rate_does_not_retrace_predict():
    layer = MCDropout(0.5, seed=0)
    model = probes.recorded_model(layer)
    model.predict(probes.ones(), verbose=0)
    traces = model.recorder.traces
    for rate in RATES:
        layer.rate = rate
        model.predict(probes.ones(), verbose=0)
    assert model.recorder.traces == traces


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_a_rate_set_in_an_epoch_callback_holds_from_then_on(hook):
    layer, model = dropout_model("auto")
    layer.rate = 0.5
    set_rate = SetRates(layer, hook, [0.0, 0.9, 0.3])
    zeroed = probes.fit(model, steps=2, epochs=3, callbacks=[set_rate])
    expected = {
        "on_epoch_begin": [0.0, 0.0, 0.9, 0.9, 0.3, 0.3],
        "on_epoch_end": [0.5, 0.5, 0.0, 0.0, 0.9, 0.9],
    }[hook]
    np.testing.assert_allclose(zeroed, expected, atol=probes.TOLERANCE)


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
def test_a_rate_set_in_a_batch_callback_that_has_the_model_holds(hook):
    layer, model = dropout_model("auto")
    layer.rate = 0.5
    rates = [0.0, 0.9, 0.3, 1.0, 0.1, 0.6]
    set_rate = SetRates(layer, hook, rates, touch_model=True)
    zeroed = probes.fit(model, steps=3, epochs=2, callbacks=[set_rate])
    expected = rates if hook == "on_train_batch_begin" else [0.5, *rates[:-1]]
    np.testing.assert_allclose(zeroed, expected, atol=probes.TOLERANCE)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX raises instead: see below")
def test_a_rate_set_in_any_batch_callback_holds():
    layer, model = dropout_model("auto")
    rates = [0.0, 0.9, 0.3]
    set_rate = SetRates(layer, "on_train_batch_begin", rates)
    zeroed = probes.fit(model, steps=3, callbacks=[set_rate])
    np.testing.assert_allclose(zeroed, rates, atol=probes.TOLERANCE)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX holds the state apart")
@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
def test_setting_the_rate_where_jax_would_lose_it_names_the_fix(hook):
    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer)
    set_rate = SetRates(layer, hook, [0.0, 0.9, 0.3])
    with pytest.raises(RuntimeError, match="touch `self.model` first"):
        probes.fit(model, steps=3, callbacks=[set_rate])


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX holds the state apart")
def test_reading_the_rate_where_jax_has_purged_it_names_the_fix():
    layer = Dropout(0.5, seed=0)
    model = probes.recorded_model(layer)
    read = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: layer.rate
    )
    with pytest.raises(RuntimeError, match=r"model\.jax_state_sync\(\)"):
        probes.fit(model, steps=2, callbacks=[read])


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has jax_state_sync")
def test_the_other_fix_works_too():
    layer, model = dropout_model("auto")
    rates = [0.0, 0.9, 0.3]

    def set_rate(batch, logs):
        model.jax_state_sync()
        layer.rate = rates[batch]

    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)
    zeroed = probes.fit(model, steps=3, callbacks=[callback])
    np.testing.assert_allclose(zeroed, rates, atol=probes.TOLERANCE)


def test_a_direct_call_and_predict_agree_on_the_rate():
    layer, model = mc_model("auto")
    layer.rate = 0.5
    model.predict(probes.ones(), verbose=0)
    layer.rate = 0.1
    model.recorder.take(probes.INFERENCE)
    model.predict(probes.ones(), verbose=0)
    model(probes.ones())
    zeroed = model.recorder.take(probes.INFERENCE)
    np.testing.assert_allclose(zeroed, [0.1, 0.1], atol=probes.TOLERANCE)


def test_the_rate_reads_as_it_was_set():
    layer = Dropout(0.5)
    layer.rate = 0.3
    assert layer.rate == 0.3


def test_the_rate_reads_as_it_was_set_after_training():
    layer, model = dropout_model("auto")
    layer.rate = 0.3
    probes.fit(model)
    assert layer.rate == 0.3


def test_the_config_has_the_rate_of_the_moment():
    layer = Dropout(0.5)
    layer.rate = 0.3
    assert layer.get_config()["rate"] == 0.3


class SetRates(keras.callbacks.Callback):
    """Sets the next of `rates` at each call of `hook`."""

    def __init__(self, layer, hook, rates, touch_model=False):
        super().__init__()
        remaining = iter(rates)

        def set_rate(place, logs=None):
            if touch_model:
                _ = self.model  # its getter brings the state up to date
            layer.rate = next(remaining)

        setattr(self, hook, set_rate)

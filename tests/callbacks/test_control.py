"""DropoutRateControl: what any thread sets, the next batch drops."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import schedules
from kerasdrop.callbacks import DropoutRateControl
from kerasdrop.layers import Dropout
from tests.support import probes
from tests.support.modes import JIT_MODES

BACKEND = keras.backend.backend()
IN_TIME = 30  # seconds


def model_of(jit_compile="auto", **compile_arguments):
    layer = Dropout(0.5, seed=0, name="drop")
    return probes.recorded_model(
        layer, jit_compile=jit_compile, **compile_arguments
    )


class Elsewhere(keras.callbacks.Callback):
    """Calls functions in another thread, and waits for them.

    Args:
        calls: Dict from the name of a hook, and the number of the batch or
            epoch if it has one, to a function: `{("batch_begin", 2): f}`.
    """

    def __init__(self, calls):
        super().__init__()
        self.calls = calls
        self.async_safe = True

    def _call(self, *hook):
        if hook in self.calls:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(self.calls[hook]).result(IN_TIME)

    def on_train_batch_begin(self, batch, logs=None):
        self._call("batch_begin", batch)

    def on_test_batch_begin(self, batch, logs=None):
        self._call("test_begin", batch)

    def on_epoch_end(self, epoch, logs=None):
        self._call("epoch_end", epoch)

    def on_train_end(self, logs=None):
        self._call("train_end")


def zeroed_by(model, calls, steps=4, epochs=1, **arguments):
    """The control, and the zeroed fraction of each batch."""
    control = DropoutRateControl(model)
    calls = {
        hook: lambda call=call: call(control) for hook, call in calls.items()
    }
    # Before the control: it hears of what is set when a batch begins.
    callbacks = [Elsewhere(calls), control]
    return control, probes.fit(
        model, steps, epochs, callbacks=callbacks, **arguments
    )


def assert_zeroed(zeroed, rates):
    np.testing.assert_allclose(zeroed, rates, rtol=0, atol=probes.TOLERANCE)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_what_another_thread_sets_is_what_the_next_batch_drops(jit_compile):
    model = model_of(jit_compile)
    _, zeroed = zeroed_by(
        model,
        {
            ("batch_begin", 1): lambda control: control.set_rates(0.1),
            ("batch_begin", 3): lambda control: control.set_rates({"d*": 0.9}),
        },
        epochs=2,
    )
    assert_zeroed(zeroed, [0.5, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9])
    assert model.get_layer("drop").rate == 0.9


def test_a_rate_that_is_set_makes_no_new_trace():
    model = model_of()
    probes.fit(model, 1)
    before = model.recorder.traces
    zeroed_by(model, {("batch_begin", 1): lambda c: c.set_rates(0.1)})
    # Eager PyTorch runs Python at each of the 4 batches.
    traces = model.recorder.traces - before
    assert traces == (4 if BACKEND == "torch" else 0)


def test_the_last_of_several_rates_counts():
    def both(control):
        control.set_rates(0.2)
        control.set_rates(0.8)

    _, zeroed = zeroed_by(model_of(), {("batch_begin", 2): both})
    assert_zeroed(zeroed, [0.5, 0.5, 0.8, 0.8])


@pytest.mark.parametrize(
    "hook", [("batch_begin", 3), ("epoch_end", 0), ("train_end",)]
)
def test_what_is_set_last_is_not_lost(hook):
    model = model_of()
    control = DropoutRateControl(model)
    # Behind the control: it has had its turn in this hook.
    late = Elsewhere({hook: lambda: control.set_rates(0.25)})
    probes.fit(model, 4, callbacks=[control, late])
    assert model.get_layer("drop").rate == 0.25


def test_what_is_set_in_a_validation_waits_for_the_next_epoch():
    x, y = probes.ones(), probes.targets()
    model = model_of()
    _, zeroed = zeroed_by(
        model,
        {("test_begin", 0): lambda control: control.set_rates(0.1)},
        steps=2,
        epochs=2,
        validation_data=(x, y),
    )
    assert_zeroed(zeroed, [0.5, 0.5, 0.1, 0.1])


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no such execution")
def test_several_steps_in_one_execution():
    model = model_of(steps_per_execution=2)
    _, zeroed = zeroed_by(
        model, {("batch_begin", 2): lambda control: control.set_rates(0.1)}
    )
    assert_zeroed(zeroed, [0.5, 0.5, 0.1, 0.1])


def test_what_is_wrong_raises_where_it_is_said_and_the_training_goes_on():
    def wrong(control):
        with pytest.raises(ValueError, match="set_rates"):
            control.set_rates(1.5)
        with pytest.raises(ValueError, match="no dropout layer"):
            control.set_rates(0.1, layers="dorp")

    _, zeroed = zeroed_by(model_of(), {("batch_begin", 1): wrong})
    assert_zeroed(zeroed, [0.5] * 4)


def test_many_threads_set_layers_of_their_own():
    names = [f"drop_{number}" for number in range(4)]
    model = keras.Sequential(
        [
            keras.Input((6,)),
            *(Dropout(0.5, name=name) for name in names),
            keras.layers.Dense(6),
        ]
    )
    model.compile("sgd", "mse")
    control = DropoutRateControl(model)
    begin = threading.Barrier(len(names) + 1)

    def set_often(name):
        begin.wait(IN_TIME)
        for rate in np.linspace(0.0, 0.5, 200):
            control.set_rates(rate, layers=name)
        control.set_rates(names.index(name) / 8, layers=name)

    class Begin(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                begin.wait(IN_TIME)

    with ThreadPoolExecutor(len(names)) as pool:
        running = [pool.submit(set_often, name) for name in names]
        x = np.ones((40, 6), "float32")
        model.fit(
            x, x, batch_size=4, epochs=6, verbose=0,
            callbacks=[control, Begin()],
        )  # fmt: skip
        for each in running:
            each.result(IN_TIME)
    assert kerasdrop.get_rates(model) == {
        name: number / 8 for number, name in enumerate(names)
    }


def test_before_and_after_a_training_rates_are_set_at_once():
    model = model_of()
    control = DropoutRateControl(model)
    control.set_rates(0.1)
    assert kerasdrop.get_rates(model) == {"drop": 0.1}
    assert_zeroed(probes.fit(model, 1, callbacks=[control]), [0.1])
    control.set_rates(0.3)
    assert kerasdrop.get_rates(model) == {"drop": 0.3}
    assert_zeroed(probes.fit(model, 1, callbacks=[control]), [0.3])


def test_after_a_training_that_failed_the_same_thread_sets_at_once():
    model = model_of()
    control = DropoutRateControl(model)

    def fails():
        control.set_rates(0.2)
        raise OSError("of the test")

    with pytest.raises(OSError, match="of the test"):
        probes.fit(
            model,
            2,
            callbacks=[Elsewhere({("batch_begin", 1): fails}), control],
        )
    control.set_rates(0.7, layers="drop")
    assert kerasdrop.get_rates(model) == {"drop": 0.7}


def test_after_a_training_that_failed_in_a_thread_that_ended():
    model = model_of()
    control = DropoutRateControl(model)

    def fails():
        raise OSError

    callbacks = [Elsewhere({("batch_begin", 1): fails}), control]
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(probes.fit, model, 2, callbacks=callbacks)
        assert isinstance(training.exception(IN_TIME), OSError)
    control.set_rates(0.7)
    assert kerasdrop.get_rates(model) == {"drop": 0.7}


def test_callbacks_and_generators_of_fit_may_set_rates():
    model = model_of()
    control = DropoutRateControl(model)

    def batches():
        for rate in (0.1, 0.2, 0.7, 0.9):
            control.set_rates(rate)
            yield probes.ones(), probes.targets()

    class EndsWith(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            control.set_rates(0.35)

    model.fit(
        batches(),
        steps_per_epoch=4,
        shuffle=False,
        verbose=0,
        callbacks=[EndsWith(), control],
    )
    assert kerasdrop.get_rates(model) == {"drop": 0.35}
    # How far ahead a generator is read is up to Keras.
    zeroed = model.recorder.take()
    assert np.abs(zeroed[-1] - [0.7, 0.9]).min() < probes.TOLERANCE


def test_a_part_of_the_model_that_is_trained_is_controlled():
    encoder = keras.Sequential(
        [keras.Input((probes.UNITS,)), Dropout(0.5, name="drop")]
    )
    model = keras.Sequential([encoder, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    control = DropoutRateControl(encoder)
    callback = Elsewhere({("batch_begin", 1): lambda: control.set_rates(0.1)})
    model.fit(
        probes.ones(), probes.targets(), batch_size=4, verbose=0,
        callbacks=[callback, control],
    )  # fmt: skip
    assert encoder.get_layer("drop").rate == 0.1


def test_another_model_is_refused():
    control = DropoutRateControl(model_of())
    with pytest.raises(ValueError, match="nor contains it"):
        probes.fit(model_of(), 1, callbacks=[control])


def test_a_model_without_a_layer_of_ours_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
    with pytest.raises(
        ValueError, match="DropoutRateControl: the model has no"
    ):
        DropoutRateControl(model)


def test_a_schedule_is_refused_in_the_thread_that_sets():
    ramp = Dropout(schedules.Linear(0.5, 0.0, 10), name="ramp")
    model = probes.recorded_model(ramp)
    control = DropoutRateControl(model)
    with pytest.raises(ValueError, match="follows a Linear"):
        control.set_rates(0.1)


@pytest.mark.parametrize("hook", [("batch_begin", 1), ("epoch_end", 0)])
def test_on_jax_setting_it_directly_is_refused_with_the_way_that_works(hook):
    model = model_of()
    layer = model.get_layer("drop")

    def set_directly():
        if BACKEND != "jax":
            layer.rate = 0.1
            return
        with pytest.raises(RuntimeError, match="DropoutRateControl") as caught:
            layer.rate = 0.1
        assert "touch `self.model`" not in str(caught.value)

    probes.fit(model, 2, callbacks=[Elsewhere({hook: set_directly})])
    assert layer.rate == (0.5 if BACKEND == "jax" else 0.1)


def test_another_model_may_be_set_while_one_is_trained():
    other = Dropout(0.5)

    def set_other():
        other.rate = 0.1

    probes.fit(
        model_of(), 2, callbacks=[Elsewhere({("batch_begin", 1): set_other})]
    )
    assert other.rate == 0.1

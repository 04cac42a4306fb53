"""A scheduled rate follows the training calls exactly, on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from kerasdrop.layers import ScheduledDropout
from tests.support import probes

BACKEND = keras.backend.backend()
JIT_MODES = ["auto", False] if BACKEND == "torch" else ["auto", True, False]


def ramp():
    """0, .1, .2, ..., .9, .9, ..."""
    return keras.optimizers.schedules.PolynomialDecay(0.0, 9, 0.9)


def ramp_at(*steps):
    return np.minimum(np.array(steps) / 10, 0.9)


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Steps(keras.optimizers.schedules.LearningRateSchedule):
    """1 at even steps, 0 at odd ones: an error of one step shows fully."""

    def __call__(self, step):
        return 1.0 - ops.cast(step % 2, "float32")

    def get_config(self):
        return {}


def assert_zeroed(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=probes.TOLERANCE)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_each_training_step_has_the_rate_of_its_number(jit_compile):
    layer = ScheduledDropout(ramp(), seed=0)
    model = probes.recorded_model(layer, jit_compile=jit_compile)
    zeroed = probes.fit(model, steps=3, epochs=2)
    assert_zeroed(zeroed, ramp_at(0, 1, 2, 3, 4, 5))


def test_validation_and_prediction_do_not_count():
    layer = ScheduledDropout(ramp(), seed=0)
    model = probes.recorded_model(layer)
    validation = probes.ones(), probes.targets()
    zeroed = []
    for _ in range(2):
        zeroed.extend(probes.fit(model, 2, validation_data=validation))
        model.predict(probes.ones(), verbose=0)
    assert_zeroed(zeroed, ramp_at(0, 1, 2, 3))


def test_validation_is_without_dropout():
    layer = ScheduledDropout(Steps(), seed=0)
    model = probes.recorded_model(layer)
    validation = probes.ones(), probes.targets()
    model.fit(
        probes.ones(),
        probes.targets(),
        validation_data=validation,
        verbose=0,
    )
    assert model.recorder.take(probes.INFERENCE).tolist() == [0.0]


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch has it not")
def test_every_step_counts_under_steps_per_execution():
    layer = ScheduledDropout(Steps(), seed=0)
    model = probes.recorded_model(layer, steps_per_execution=3)
    zeroed = probes.fit(model, steps=6)
    assert zeroed.tolist() == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_gradient_accumulation_counts_every_micro_step():
    layer = ScheduledDropout(Steps(), seed=0)
    model = probes.recorded_model(layer, compiled=False)
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    model.compile(optimizer, "mse")
    zeroed = probes.fit(model, steps=4)
    assert zeroed.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_a_layer_that_is_called_twice_in_a_step_counts_two():
    layer = ScheduledDropout(Steps(), seed=0)
    model = probes.recorded_model(
        keras.Sequential([keras.Input((probes.UNITS,)), layer, layer])
    )
    probes.fit(model, steps=3)
    assert layer.step == 6


def test_two_calls_in_a_step_have_successive_rates():
    layer = ScheduledDropout(Steps())
    first = layer(probes.ones(), training=True)
    second = layer(probes.ones(), training=True)
    assert [float(ops.mean(first)), float(ops.mean(second))] == [0.0, 1.0]


def test_the_rate_reads_as_that_of_the_next_training_call():
    layer = ScheduledDropout(ramp())
    read = [layer.rate]
    for _ in range(3):
        layer(probes.ones(), training=True)
        read.append(layer.rate)
    np.testing.assert_allclose(read, ramp_at(0, 1, 2, 3), atol=1e-6)


def test_the_rate_can_be_read_after_training():
    layer = ScheduledDropout(ramp())
    probes.fit(probes.recorded_model(layer), steps=4)
    np.testing.assert_allclose(layer.rate, ramp_at(4), rtol=1e-6)


@pytest.mark.parametrize("layer_class", [Dropout, ClassicDropout])
def test_every_layer_takes_a_schedule(layer_class):
    layer = layer_class(Steps())
    outputs = layer(probes.ones(), training=True)
    assert float(ops.max(outputs)) == 0.0


def test_setting_a_scheduled_rate_raises_with_the_fix():
    layer = ScheduledDropout(ramp(), name="third")
    with pytest.raises(ValueError, match=r"build the layer with a number"):
        layer.rate = 0.3


def test_a_constant_is_no_rate_for_scheduled_dropout():
    with pytest.raises(ValueError, match=r"use `Dropout\(0.5\)`"):
        ScheduledDropout(0.5)


@pytest.mark.parametrize(
    "schedule",
    [
        keras.optimizers.schedules.PolynomialDecay(0.2, 4, 0.5, power=2.0),
        keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5),
        keras.optimizers.schedules.PiecewiseConstantDecay(
            [1, 2], [0.0, 1.0, 0.5]
        ),
        keras.optimizers.schedules.CosineDecay(0.5, 4),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_the_schedules_of_keras_run_compiled(schedule):
    layer = ScheduledDropout(schedule, seed=0)
    expected = [float(schedule(step)) for step in range(4)]
    zeroed = probes.fit(probes.recorded_model(layer), steps=4)
    assert_zeroed(zeroed, expected)


class GoneAstray(keras.optimizers.schedules.LearningRateSchedule):
    """Legal wherever one looks beforehand, 2 at step 7 and at step 27."""

    def __call__(self, step):
        step = ops.cast(step, "int32")
        astray = ops.logical_or(ops.equal(step, 7), ops.equal(step, 27))
        return ops.where(astray, 2.0, 0.5)


@pytest.mark.parametrize("layer_class", [Dropout, ClassicDropout])
def test_an_illegal_rate_in_a_compiled_step_gives_nan(layer_class):
    model = keras.Sequential([layer_class(GoneAstray()), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = np.ones((8, 4)), np.ones((8, 1))
    history = model.fit(*data, batch_size=8, epochs=8, verbose=0)
    finite = np.isfinite(history.history["loss"])
    assert finite.tolist() == [True] * 7 + [False]


def test_an_illegal_rate_raises_when_it_is_read():
    layer = Dropout(GoneAstray(), name="third")
    for _ in range(7):
        layer(probes.ones(), training=True)
    with pytest.raises(ValueError, match="schedule at step 7.*in \\[0, 1\\]"):
        _ = layer.rate


@keras.saving.register_keras_serializable("kerasdrop_tests")
def own_sawtooth(step):
    return ops.cast(step % 10, "float32") / 20


def test_a_registered_function_is_a_schedule():
    layer = Dropout(own_sawtooth)
    for _ in range(3):
        layer(np.ones((2, 2), "float32"), training=True)
    again = type(layer).from_config(layer.get_config())
    rates = layer.rate, float(again.schedule(5))
    assert rates == pytest.approx((0.15, 0.25))


def test_a_lambda_is_refused():
    with pytest.raises(ValueError, match="must be registered"):
        Dropout(lambda step: 0.5)

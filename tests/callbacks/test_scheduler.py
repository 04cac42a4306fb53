"""DropoutRateScheduler: what it sets is what the model drops."""

import functools

import keras
import numpy as np
import pytest

from kerasdrop import schedules
from kerasdrop.callbacks import DropoutRateScheduler
from kerasdrop.layers import Dropout
from tests.support import probes
from tests.support.modes import JIT_MODES

BACKEND = keras.backend.backend()


@functools.cache
def model_of(jit_compile="auto"):
    layer = Dropout(0.5, seed=0, name="drop")
    return probes.recorded_model(layer, jit_compile=jit_compile)


def zeroed_under(callback, steps=1, epochs=1, model=None, **arguments):
    """Zeroed fractions, `(epochs, steps)`, from a rate of 0.5 at first."""
    model = model or model_of()
    model.get_layer("drop").rate = 0.5
    zeroed = probes.fit(model, steps, epochs, callbacks=[callback], **arguments)
    return zeroed.reshape(-1, steps)


def assert_zeroed(zeroed, rates):
    np.testing.assert_allclose(zeroed, rates, rtol=0, atol=probes.TOLERANCE)


def test_a_list_of_callbacks_of_ones_own_works_as_with_keras():
    scheduler = DropoutRateScheduler(lambda epoch: 0.3)
    model = model_of()
    callbacks = keras.callbacks.CallbackList(
        [scheduler], add_history=True, model=model
    )
    zeroed = probes.fit(model, 1, 1, callbacks=callbacks)
    assert_zeroed(zeroed, [0.3])


EPOCH_SCHEDULES = {
    "a schedule": (schedules.Linear(0.1, 0.7, 2), [0.1, 0.4, 0.7]),
    "a schedule of Keras": (
        keras.optimizers.schedules.PolynomialDecay(0.1, 2, 0.7),
        [0.1, 0.4, 0.7],
    ),
    "of the epoch": (lambda epoch: epoch / 4, [0.0, 0.25, 0.5]),
    "of the epoch and the rate": (
        lambda epoch, rate: rate if epoch == 0 else 0.6 * rate,
        [0.5, 0.3, 0.18],
    ),
    "a tensor": (
        lambda epoch: keras.ops.convert_to_tensor(0.3) * epoch,
        [0.0, 0.3, 0.6],
    ),
    "a number of numpy": (lambda epoch: np.float32(0.25), [0.25] * 3),
    "with a constant bound": (
        functools.partial(lambda epoch, start: start - 0.1 * epoch, start=0.3),
        [0.3, 0.2, 0.1],
    ),
}


@pytest.mark.parametrize("name", EPOCH_SCHEDULES)
def test_each_epoch_drops_at_the_rate_of_the_schedule(name):
    schedule, rates = EPOCH_SCHEDULES[name]
    zeroed = zeroed_under(DropoutRateScheduler(schedule), epochs=3)
    assert_zeroed(zeroed[:, 0], rates)


BATCH_SCHEDULES = {
    "a schedule": (
        schedules.Linear(0.0, 0.6, 6),
        [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]],
    ),
    "of the step": (
        lambda step: 1.0 - step / 5,
        [[1.0, 0.8, 0.6], [0.4, 0.2, 0.0]],
    ),
    "of the step and the rate": (
        lambda step, rate: rate if step == 0 else rate - 0.1,
        [[0.5, 0.4, 0.3], [0.2, 0.1, 0.0]],
    ),
    "with plateaus": (
        schedules.Steps([2, 4], [0.9, 0.1, 0.5]),
        [[0.9, 0.9, 0.1], [0.1, 0.5, 0.5]],
    ),
}


@pytest.mark.parametrize("name", BATCH_SCHEDULES)
def test_each_batch_drops_at_the_rate_of_the_schedule(name):
    schedule, rates = BATCH_SCHEDULES[name]
    callback = DropoutRateScheduler(schedule, frequency="batch")
    assert_zeroed(zeroed_under(callback, steps=3, epochs=2), rates)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_each_batch_drops_at_its_rate_in_each_compilation(jit_compile):
    callback = DropoutRateScheduler(lambda step: 0.1 + 0.2 * step, "batch")
    zeroed = zeroed_under(
        callback, steps=2, epochs=2, model=model_of(jit_compile)
    )
    assert_zeroed(zeroed, [[0.1, 0.3], [0.5, 0.7]])


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_each_epoch_drops_at_its_rate_in_each_compilation(jit_compile):
    model = model_of(jit_compile)
    callback = DropoutRateScheduler(lambda epoch: 0.2 + 0.3 * epoch)
    zeroed = zeroed_under(callback, steps=2, epochs=2, model=model)
    assert_zeroed(zeroed, [[0.2, 0.2], [0.5, 0.5]])


def test_a_scheduled_training_does_not_retrace():
    model = model_of()
    zeroed_under(DropoutRateScheduler(lambda epoch: 0.5), steps=3)
    traces = model.recorder.traces
    zeroed_under(
        DropoutRateScheduler(lambda step: step / 12, "batch"),
        steps=3,
        epochs=4,
    )
    # Eager PyTorch runs Python at each of the 12 steps.
    assert model.recorder.traces - traces == (12 if BACKEND == "torch" else 0)


def test_a_batch_schedule_is_that_schedule_in_the_layer():
    schedule = schedules.Cosine(0.6, 0.1, 5)
    outside = zeroed_under(
        DropoutRateScheduler(schedule, "batch"),
        steps=3,
        epochs=2,
        model=probes.recorded_model(Dropout(0.5, seed=7, name="drop")),
    )
    inside = probes.recorded_model(Dropout(schedule, seed=7))
    np.testing.assert_array_equal(
        outside.ravel(), probes.fit(inside, steps=3, epochs=2)
    )


def test_training_that_begins_later_is_scheduled_from_there():
    steps = []
    callback = DropoutRateScheduler(
        lambda step: steps.append(step) or 0.5, "batch"
    )
    zeroed_under(callback, steps=2, epochs=4, initial_epoch=2)
    assert steps == [4, 5, 6, 7]


def unsized_batches():
    """Two batches, of which nobody knows beforehand that they are two."""

    def batches():
        yield probes.ones(), probes.targets()
        yield probes.ones(), probes.targets()

    if BACKEND == "tensorflow":
        import tensorflow as tf

        specs = [tf.TensorSpec(array.shape) for array in next(batches())]
        return tf.data.Dataset.from_generator(
            batches, output_signature=tuple(specs)
        )
    import torch

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self):
            return batches()

    return torch.utils.data.DataLoader(Batches(), batch_size=None)


unsized = pytest.mark.skipif(
    BACKEND == "jax", reason="JAX has no data sets of its own"
)


@unsized
@pytest.mark.filterwarnings("ignore:.*`shuffle=True` was passed")
# The end of the data is the end of an epoch here, as it should be.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_batches_are_counted_where_the_data_do_not_tell():
    steps = []
    callback = DropoutRateScheduler(
        lambda step: steps.append(step) or 0.5, "batch"
    )
    model_of().fit(unsized_batches(), epochs=3, verbose=0, callbacks=[callback])
    # TensorFlow asks for one more after the last: nothing follows it.
    assert steps == list(range(7 if BACKEND == "tensorflow" else 6))


@unsized
@pytest.mark.filterwarnings("ignore:.*`shuffle=True` was passed")
def test_a_later_start_of_uncounted_batches_is_refused():
    callback = DropoutRateScheduler(lambda step: 0.5, "batch")
    with pytest.raises(ValueError, match="Pass `steps_per_epoch` to `fit`"):
        model_of().fit(
            unsized_batches(),
            initial_epoch=1,
            epochs=3,
            verbose=0,
            callbacks=[callback],
        )


def two_layer_model():
    inputs = keras.Input((probes.UNITS,))
    outputs = Dropout(0.5, name="first")(inputs)
    outputs = Dropout(0.5, name="second")(outputs)
    outputs = keras.layers.Dense(1)(outputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def fit_one_step(model, callback, epochs=1):
    model.fit(
        probes.ones(),
        probes.targets(),
        epochs=epochs,
        verbose=0,
        callbacks=[callback],
    )


def test_only_selected_layers_are_set():
    model = two_layer_model()
    fit_one_step(model, DropoutRateScheduler(lambda e: 0.1, layers="second"))
    rates = [model.get_layer(name).rate for name in ("first", "second")]
    assert rates == [0.5, 0.1]


def test_each_layer_is_scheduled_from_its_own_rate():
    model = two_layer_model()
    model.get_layer("second").rate = 0.25
    fit_one_step(model, DropoutRateScheduler(lambda epoch, rate: rate / 2))
    rates = [model.get_layer(name).rate for name in ("first", "second")]
    assert rates == [0.25, 0.125]


def test_verbose_tells_the_rates(capsys):
    callback = DropoutRateScheduler(lambda epoch: 0.125, verbose=1)
    zeroed_under(callback, epochs=2)
    assert "rates of epoch 1: drop: 0.125" in capsys.readouterr().out


def test_nothing_is_told_without_verbose(capsys):
    zeroed_under(DropoutRateScheduler(lambda epoch: 0.125))
    assert capsys.readouterr().out == ""


def model_with(*layers, **compile_arguments):
    model = keras.Sequential(
        [keras.Input((probes.UNITS,)), *layers, keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse", **compile_arguments)
    return model


IMPOSSIBLE_MODELS = {
    "a stock layer": (
        lambda: [Dropout(0.5), keras.layers.Dropout(0.5)],
        r"^DropoutRateScheduler: .*kerasdrop.convert_dropout\(model\)",
    ),
    "stock layers alone": (
        lambda: [keras.layers.Dropout(0.5)],
        r"(?s)^DropoutRateScheduler: .*kerasdrop.convert_dropout\(model\)",
    ),
    "no dropout": (
        lambda: [],
        "^DropoutRateScheduler: the model has no layer of kerasdrop",
    ),
    "a scheduled layer": (
        lambda: [Dropout(schedules.Linear(0.5, 0, 10))],
        "build the layer with a number",
    ),
}


@pytest.mark.parametrize("frequency", ["epoch", "batch"])
@pytest.mark.parametrize("name", IMPOSSIBLE_MODELS)
def test_a_model_that_cannot_be_scheduled_is_refused(name, frequency):
    layers, sentence = IMPOSSIBLE_MODELS[name]
    callback = DropoutRateScheduler(lambda index: 0.5, frequency)
    with pytest.raises(ValueError, match=sentence):
        fit_one_step(model_with(*layers()), callback)


def test_verbose_auto_is_that_of_keras(capsys):
    callback = DropoutRateScheduler(lambda epoch: 0.5, verbose="auto")
    fit_one_step(model_of(), callback)
    assert "DropoutRateScheduler: rates of epoch 0" in capsys.readouterr().out


def test_an_unknown_verbose_is_refused():
    with pytest.raises(ValueError, match="Received: verbose='loud'"):
        DropoutRateScheduler(lambda epoch: 0.5, verbose="loud")


def test_a_selection_of_nothing_is_refused():
    callback = DropoutRateScheduler(lambda epoch: 0.5, layers="encoder/*")
    message = "^DropoutRateScheduler: no dropout layer of the model is selected"
    with pytest.raises(ValueError, match=message):
        fit_one_step(model_of(), callback)


@pytest.mark.parametrize(
    ("layers", "error"), [([], ValueError), (3, TypeError)]
)
def test_an_error_in_the_selection_names_the_callback(layers, error):
    callback = DropoutRateScheduler(lambda epoch: 0.5, layers=layers)
    with pytest.raises(error, match="^DropoutRateScheduler: argument `layers`"):
        fit_one_step(model_of(), callback)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on PyTorch")
def test_several_steps_per_execution_are_refused():
    model = model_with(Dropout(0.5), steps_per_execution=2)
    callback = DropoutRateScheduler(lambda step: 0.5, "batch")
    with pytest.raises(ValueError, match=r"`Dropout\(rate=schedule\)`"):
        fit_one_step(model, callback)


WRONG_ARGUMENTS = {
    "no schedule": (
        lambda: DropoutRateScheduler(0.5),
        "must be a schedule, or",
    ),
    "no argument": (
        lambda: DropoutRateScheduler(lambda: 0.5),
        "must be a schedule, or a function of",
    ),
    "three arguments": (
        lambda: DropoutRateScheduler(lambda epoch, rate, factor: 0.5),
        "with no other positional parameters",
    ),
    "a default, rate or constant": (
        lambda: DropoutRateScheduler(lambda epoch, start=0.5: start),
        "`functools.partial` and keywords",
    ),
    "any number of arguments": (
        lambda: DropoutRateScheduler(lambda *args: 0.5),
        "with no other positional parameters",
    ),
    "another frequency": (
        lambda: DropoutRateScheduler(lambda epoch: 0.5, "step"),
        '`frequency` must be "epoch" or "batch"',
    ),
    "a schedule out of range": (
        lambda: DropoutRateScheduler(
            keras.optimizers.schedules.PolynomialDecay(0.5, 10, 2.0)
        ),
        r"`schedule` is a schedule that must stay in \[0, 1\]",
    ),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_a_wrong_argument_is_refused(name):
    make, sentence = WRONG_ARGUMENTS[name]
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("value", [1.5, None, "0.5"])
def test_a_function_that_returns_no_rate_is_refused(value):
    callback = DropoutRateScheduler(lambda epoch: value)
    with pytest.raises(ValueError, match="schedule returned at epoch 0"):
        fit_one_step(model_of(), callback)

"""AdaptiveDropoutRate: when it moves rates, which way, and how far."""

import contextlib
import json
import os

import keras
import numpy as np
import pytest

from kerasdrop.callbacks import AdaptiveDropoutRate
from kerasdrop.callbacks import DropoutRateLogger
from kerasdrop.layers import Dropout
from tests.support import probes
from tests.support.modes import JIT_MODES


def model_of(layers=None, **compile_arguments):
    layers = [Dropout(0.5, name="a")] if layers is None else layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            *layers,
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    # Weights stay what they are, so that every loss is known.
    arguments = {"jit_compile": False, **compile_arguments}
    model.compile(keras.optimizers.SGD(0.0), "mse", **arguments)
    return model


def driven(callback, values, model=None, first_epoch=0):
    """Rates of layer "a" after epochs in which validation had the values."""
    model = model or model_of()
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values, first_epoch):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {callback.monitor: value})
        rates.append(model.get_layer("a").rate)
    return rates


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("seed", range(5))
def test_rates_move_in_the_epochs_in_which_keras_would_reduce(mode, seed):
    random = np.random.default_rng(seed)
    values = random.uniform(size=40).cumsum() * random.choice([-1, 1])
    values += random.normal(size=40) * 3
    arguments = {
        "patience": int(random.integers(1, 4)),
        "cooldown": int(random.integers(0, 3)),
        "min_delta": 0.5,
        "mode": mode,
    }
    model = model_of()
    theirs = keras.callbacks.ReduceLROnPlateau(factor=0.5, **arguments)
    theirs.set_model(model)
    theirs.on_train_begin()
    model.optimizer.learning_rate = 1.0
    learning_rates = []
    for epoch, value in enumerate(values):
        theirs.on_epoch_end(epoch, {"val_loss": value})
        learning_rates.append(float(model.optimizer.learning_rate))
    ours = driven(
        AdaptiveDropoutRate(factor=0.5, max_rate=1.0, **arguments), values
    )
    # Raising by .5 halves the part that is kept, .5 at first.
    np.testing.assert_allclose(
        1 - np.array(ours), 0.5 * np.array(learning_rates), rtol=1e-5
    )


def test_raising_shrinks_the_part_that_is_kept():
    rates = driven(AdaptiveDropoutRate(factor=0.8, patience=1), [1, 1, 1, 1])
    np.testing.assert_allclose(
        rates, [0.5, 1 - 0.5 * 0.8, 1 - 0.5 * 0.8**2, 1 - 0.5 * 0.8**3]
    )


def test_a_rate_of_zero_can_be_raised():
    model = model_of([Dropout(0.0, name="a")])
    rates = driven(AdaptiveDropoutRate(patience=1), [1, 1], model)
    np.testing.assert_allclose(rates, [0.0, 0.1])


def test_raising_ends_at_the_highest_rate():
    callback = AdaptiveDropoutRate(factor=0.5, patience=1, max_rate=0.7)
    assert driven(callback, [1, 1, 1]) == [0.5, 0.7, 0.7]


def test_a_rate_above_the_highest_is_left_alone():
    model = model_of([Dropout(0.8, name="a")])
    callback = AdaptiveDropoutRate(patience=1, max_rate=0.7)
    assert driven(callback, [1, 1, 1], model) == [0.8, 0.8, 0.8]


def rows(scale, count=64):
    """`x` of a scale, and targets that the model misses by that scale."""
    return np.full((count, 4), scale, "float32"), np.zeros((count, 1))


# The kernel is ones, so the prediction is 4 * scale and the loss its square.
def loss(scale):
    return (4.0 * scale) ** 2


def test_the_model_underfits_if_the_gap_is_small():
    callback = AdaptiveDropoutRate(
        factor=0.8, patience=1, train_data=rows(0.5), target_gap=0.5
    )
    rates = driven(callback, [loss(0.5) + 0.4] * 3)
    np.testing.assert_allclose(rates, [0.5, 0.4, 0.32])


def test_the_model_overfits_if_the_gap_is_large():
    callback = AdaptiveDropoutRate(
        factor=0.8, patience=1, train_data=rows(0.5), target_gap=0.5
    )
    rates = driven(callback, [loss(0.5) + 0.6] * 3)
    np.testing.assert_allclose(rates, [0.5, 0.6, 0.68])


def test_lowering_ends_at_the_lowest_rate():
    callback = AdaptiveDropoutRate(
        factor=0.5,
        patience=1,
        min_rate=0.2,
        train_data=rows(0.5),
        target_gap=0.5,
    )
    assert driven(callback, [loss(0.5)] * 4) == [0.5, 0.25, 0.2, 0.2]


def test_the_gap_of_a_maximised_metric_is_training_above_validation():
    model = model_of()
    model.compile("sgd", "mse", metrics=[keras.metrics.R2Score(name="r2")])
    x, y = rows(0.5)
    y = np.arange(64.0).reshape(-1, 1)  # any: R2 of a constant is below 0
    trained = model.evaluate(x, y, verbose=0, return_dict=True)["r2"]
    arguments = {
        "monitor": "val_r2",
        "mode": "max",
        "factor": 0.8,
        "patience": 1,
        "train_data": (x, y),
        "target_gap": 0.1,
    }
    raised = driven(
        AdaptiveDropoutRate(**arguments), [trained - 0.2] * 2, model
    )
    lowered = driven(AdaptiveDropoutRate(**arguments), [trained] * 2, model)
    np.testing.assert_allclose([raised[1], lowered[1]], [0.6, 0.48])


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_the_gap_is_not_that_of_the_loss_under_dropout(jit_compile):
    """Clean losses are equal; the training loss under dropout is larger.

    E[(2 keep * x).sum() ** 2] = 16 x**2 + 4 x**2 at rate .5: a gap against it
    would be -1, and far beyond -.5 the other way round.
    """
    model = model_of(jit_compile=jit_compile)
    x, y = rows(0.5, 640)
    callback = AdaptiveDropoutRate(
        factor=0.8, patience=1, train_data=(x[:64], y[:64]), target_gap=-0.5
    )
    history = model.fit(
        x,
        y,
        epochs=3,
        verbose=0,
        validation_data=(x, y),
        callbacks=[DropoutRateLogger(), callback],
    ).history
    biased = np.array(history["val_loss"]) - np.array(history["loss"])
    assert (biased < callback.target_gap).all()
    # Against the clean loss the gap is 0, above -.5: it overfits.
    np.testing.assert_allclose(history["rate/a"], [0.5, 0.5, 0.6], rtol=1e-6)
    np.testing.assert_allclose(model.get_layer("a").rate, 0.68)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_what_is_moved_is_what_the_model_drops(jit_compile):
    layer = Dropout(0.5, seed=0, name="a")
    model = probes.recorded_model(layer, compiled=False)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    zeroed = probes.fit(
        model,
        epochs=4,
        validation_data=(probes.ones(), probes.targets()),
        callbacks=[AdaptiveDropoutRate(factor=0.5, patience=1)],
    )
    np.testing.assert_allclose(
        zeroed, [0.5, 0.5, 0.75, 0.875], rtol=0, atol=probes.TOLERANCE
    )


def test_only_selected_layers_are_moved():
    model = model_of([Dropout(0.5, name="a"), Dropout(0.5, name="b")])
    callback = AdaptiveDropoutRate(patience=1, layers="b", factor=0.8)
    driven(callback, [1, 1], model)
    rates = [model.get_layer(name).rate for name in "ab"]
    np.testing.assert_allclose(rates, [0.5, 0.6])


def test_verbose_auto_is_that_of_keras(capsys):
    callback = AdaptiveDropoutRate(factor=0.8, patience=1, verbose="auto")
    driven(callback, [1, 1])
    assert "Epoch 2: AdaptiveDropoutRate" in capsys.readouterr().out


def test_an_unknown_verbose_is_refused():
    with pytest.raises(ValueError, match="Received: verbose='loud'"):
        AdaptiveDropoutRate(verbose="loud")


def test_verbose_tells_what_moves_and_why(capsys):
    callback = AdaptiveDropoutRate(
        factor=0.8,
        patience=1,
        verbose=1,
        train_data=rows(0.5),
        target_gap=0.5,
    )
    driven(callback, [loss(0.5) + 0.75] * 2)
    assert (
        "Epoch 2: AdaptiveDropoutRate: dropout rate 0.5 -> 0.6 (1 layer: a), "
        "since the gap is 0.75, accepted is 0.5.\n"
    ) in capsys.readouterr().out


def test_verbose_tells_of_all_layers_in_one_line(capsys):
    model = model_of(
        [Dropout(rate, name=name) for name, rate in zip("abc", [0.5, 0.5, 0])]
    )
    callback = AdaptiveDropoutRate(factor=0.8, patience=1, verbose=1)
    driven(callback, [1, 1], model)
    [line] = capsys.readouterr().out.split("\n")[1:-1]
    assert line == (
        "Epoch 2: AdaptiveDropoutRate: dropout rate 0.5 -> 0.6 "
        "(2 layers: a, b), 0 -> 0.2 (1 layer: c), since validation does not "
        "improve."
    )


VALUES = [5, 4, 4, 3, 3, 3, 3, 2, 2.5, 2.5, 2.5, 2.5]
ARGUMENTS = {"factor": 0.8, "patience": 2, "cooldown": 1}


@pytest.mark.parametrize("stop", range(1, len(VALUES)))
def test_training_goes_on_after_any_epoch_from_the_file(stop, tmp_path):
    path = tmp_path / "folder" / "state.json"
    straight = driven(AdaptiveDropoutRate(**ARGUMENTS), VALUES)
    # The first process got further than the weights that are resumed from.
    further = min(stop + 1, len(VALUES))
    driven(AdaptiveDropoutRate(**ARGUMENTS, state_path=path), VALUES[:further])
    resumed = driven(
        AdaptiveDropoutRate(**ARGUMENTS, state_path=path),
        VALUES[stop:],
        first_epoch=stop,
    )
    assert resumed == straight[stop:]


def test_the_same_callback_goes_on_without_a_file():
    straight = driven(AdaptiveDropoutRate(**ARGUMENTS), VALUES)
    callback = AdaptiveDropoutRate(**ARGUMENTS)
    model = model_of()
    parts = [
        *driven(callback, VALUES[:6], model),
        *driven(callback, VALUES[6:], model, first_epoch=6),
    ]
    assert parts == straight


def test_training_from_the_first_epoch_begins_anew(tmp_path):
    path = tmp_path / "state.json"
    straight = driven(AdaptiveDropoutRate(**ARGUMENTS), VALUES)
    driven(AdaptiveDropoutRate(**ARGUMENTS, state_path=path), VALUES[:7])
    again = AdaptiveDropoutRate(**ARGUMENTS, state_path=path)
    assert driven(again, VALUES) == straight


def test_the_file_has_an_entry_for_each_epoch(tmp_path):
    path = tmp_path / "state.json"
    driven(AdaptiveDropoutRate(**ARGUMENTS, state_path=path), VALUES)
    assert list(json.loads(path.read_text())) == [
        str(epoch) for epoch in range(len(VALUES))
    ]


def test_the_file_of_another_training_is_refused(tmp_path):
    path = tmp_path / "state.json"
    driven(AdaptiveDropoutRate(state_path=path), VALUES[:3])
    with pytest.raises(ValueError, match="has no entry for epoch 4"):
        driven(AdaptiveDropoutRate(state_path=path), [1], first_epoch=5)


def test_a_later_start_without_a_state_warns():
    with pytest.warns(UserWarning, match="pass the same `state_path` in both"):
        driven(AdaptiveDropoutRate(), [1, 1], first_epoch=5)


WRONG_ARGUMENTS = {
    "a training loss": ({"monitor": "loss"}, "are measured with dropout"),
    "factor 1": ({"factor": 1.0}, "`factor` must be below 1"),
    "factor 0": ({"factor": 0.0}, "`factor` must be a number above 0"),
    "no patience": ({"patience": 0}, "`patience` must be an integer of at l"),
    "a negative delta": (
        {"min_delta": -1e-3},
        "`min_delta` must be a finite number of at least 0",
    ),
    "a negative cooldown": ({"cooldown": -1}, "`cooldown` must be an integer"),
    "a rate above 1": ({"max_rate": 1.5}, "`max_rate` is the probability"),
    "bounds in disorder": (
        {"min_rate": 0.6, "max_rate": 0.5},
        "`min_rate` must not be above `max_rate`",
    ),
    "a gap without data": (
        {"target_gap": 0.1},
        "`train_data` and `target_gap` together",
    ),
    "data without a gap": (
        {"train_data": rows(1.0)},
        "`train_data` and `target_gap` together",
    ),
    "another mode": ({"mode": "best"}, '"auto" or "min" or "max"'),
    "an unknown metric": (
        {"monitor": "val_score"},
        '`mode` must be "min" or "max" for a metric whose name does not show',
    ),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_a_wrong_argument_is_refused(name):
    arguments, sentence = WRONG_ARGUMENTS[name]
    with pytest.raises(ValueError, match=sentence):
        AdaptiveDropoutRate(**arguments)


@pytest.mark.parametrize(
    ("monitor", "maximised"),
    [
        ("val_loss", False),
        ("val_mean_squared_error", False),
        ("val_binary_crossentropy", False),
        ("val_accuracy", True),
        ("val_sparse_categorical_accuracy", True),
        ("val_auc", True),
    ],
)
def test_common_metrics_need_no_mode(monitor, maximised):
    assert AdaptiveDropoutRate(monitor).plateau.maximised == maximised


def test_a_metric_that_is_not_in_the_logs_is_refused():
    model, x = model_of(), rows(1.0)
    with pytest.raises(ValueError, match="no metric 'val_error'"):
        model.fit(
            *x,
            validation_data=x,
            verbose=0,
            callbacks=[AdaptiveDropoutRate("val_error")],
        )


def test_training_without_validation_is_a_warning_and_moves_no_rate():
    model = model_of()
    with pytest.warns(UserWarning, match="pass `validation_data` to `fit`"):
        model.fit(
            *rows(1.0),
            epochs=3,
            verbose=0,
            callbacks=[AdaptiveDropoutRate(patience=1)],
        )
    assert model.get_layer("a").rate == 0.5


def test_epochs_without_validation_do_not_count():
    arguments = {"verbose": 0, "validation_data": rows(1.0)}
    rates = {}
    for freq, epochs in ((1, 3), (2, 6)):
        model = model_of()
        callbacks = [
            AdaptiveDropoutRate(factor=0.8, patience=1),
            DropoutRateLogger(),
        ]
        with contextlib.ExitStack() as stack:
            if freq == 2:
                said = pytest.warns(UserWarning, match="epoch 1 had no valid")
                stack.enter_context(said)
            history = model.fit(
                *rows(1.0),
                epochs=epochs,
                validation_freq=freq,
                callbacks=callbacks,
                **arguments,
            ).history
        rates[freq] = history["rate/a"][freq - 1 :: freq]
    # Validation never improves, so each epoch that counts raises the rate.
    assert rates[1] == rates[2]
    assert rates[1][0] == 0.5 < rates[1][1] < rates[1][2]


def test_processes_that_train_together_may_share_a_path(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    replace = os.replace

    def when_another_has_come_in_between(*files):
        monkeypatch.setattr(os, "replace", replace)
        driven(AdaptiveDropoutRate(**ARGUMENTS, state_path=path), VALUES[:1])
        replace(*files)

    monkeypatch.setattr(os, "replace", when_another_has_come_in_between)
    driven(AdaptiveDropoutRate(**ARGUMENTS, state_path=path), VALUES[:1])
    assert set(json.loads(path.read_text())) == {"0"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_stock_layer_is_refused_before_training():
    model = model_of([Dropout(0.5), keras.layers.Dropout(0.5)])
    message = "^AdaptiveDropoutRate: .*kerasdrop.convert_dropout"
    with pytest.raises(ValueError, match=message):
        model.fit(*rows(1.0), verbose=0, callbacks=[AdaptiveDropoutRate()])


def test_a_stock_layer_without_counterpart_keeps_its_rate_with_a_warning():
    own = type("Own", (keras.layers.GaussianDropout,), {})
    theirs = own(0.5, name="theirs")
    model = model_of([Dropout(0.5, name="a"), theirs])
    callback = AdaptiveDropoutRate(factor=0.8, patience=1)
    message = (
        "(?s)^AdaptiveDropoutRate: .*theirs.*"
        r"`AdaptiveDropoutRate\(..., layers=\['a'\]\)`"
    )
    with pytest.warns(UserWarning, match=message):
        moved = driven(callback, [1, 1], model)
    assert (moved, theirs.rate) == ([0.5, 0.6], 0.5)

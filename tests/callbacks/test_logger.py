"""DropoutRateLogger: whoever reads the logs of a training sees the rates."""

import csv

import keras
import numpy as np
import pytest

from kerasdrop import schedules
from kerasdrop.callbacks import DropoutRateLogger
from kerasdrop.callbacks import DropoutRateScheduler
from kerasdrop.layers import Dropout
from tests.support import probes

HALVED = DropoutRateScheduler(lambda epoch: 0.5 / 2**epoch)


def model_of(*layers):
    model = keras.Sequential(
        [keras.Input((probes.UNITS,)), *layers, keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    return model


def fit(model, *callbacks, steps=1, epochs=3, verbose=0):
    return model.fit(
        probes.ones(steps * probes.ROWS),
        probes.targets(steps * probes.ROWS),
        batch_size=probes.ROWS,
        epochs=epochs,
        verbose=verbose,
        callbacks=list(callbacks),
    )


def test_rates_are_in_the_history():
    history = fit(model_of(Dropout(0.9, name="a")), DropoutRateLogger(), HALVED)
    assert history.history["rate/a"] == [0.5, 0.25, 0.125]


def test_each_layer_has_the_name_of_its_path():
    block = keras.Sequential([Dropout(0.25, name="a")], name="block")
    model = model_of(block, Dropout(0.75, name="b"))
    history = fit(model, DropoutRateLogger(), epochs=1)
    rates = {k: v for k, v in history.history.items() if "rate" in k}
    assert rates == {"rate/block/a": [0.25], "rate/b": [0.75]}


def test_one_entry_for_all_layers_has_their_mean():
    model = model_of(Dropout(0.25, name="a"), Dropout(0.75, name="b"))
    history = fit(model, DropoutRateLogger(entries="mean"), epochs=2)
    rates = {k: v for k, v in history.history.items() if "rate" in k}
    assert rates == {"rate": [0.5, 0.5]}


def test_entries_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="DropoutRateLogger.*entries"):
        DropoutRateLogger(entries="none")


def test_a_scheduled_layer_is_logged_too():
    layer = Dropout(schedules.Linear(0.5, 0.0, 4), name="a")
    history = fit(model_of(layer), DropoutRateLogger(), steps=2)
    assert history.history["rate/a"] == [0.25, 0.0, 0.0]


def test_the_csv_file_has_a_column_of_rates(tmp_path):
    path = tmp_path / "log.csv"
    fit(
        model_of(Dropout(0.9, name="a")),
        DropoutRateLogger(),
        HALVED,
        keras.callbacks.CSVLogger(path),
    )
    with path.open() as file:
        rates = [float(row["rate/a"]) for row in csv.DictReader(file)]
    assert rates == [0.5, 0.25, 0.125]


def test_tensorboard_has_a_curve_of_rates(tmp_path):
    pytest.importorskip("tensorboard")
    tf = pytest.importorskip("tensorflow")

    fit(
        model_of(Dropout(0.9, name="a")),
        DropoutRateLogger(),
        HALVED,
        keras.callbacks.TensorBoard(tmp_path),
    )
    [file] = (tmp_path / "train").glob("*")
    rates = [
        float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag == "epoch_rate/a"
    ]
    assert rates == [0.5, 0.25, 0.125]


def test_the_progress_bar_shows_the_rates(capsys):
    model = model_of(Dropout(0.9, name="a"))
    fit(model, DropoutRateLogger(), HALVED, epochs=2, verbose=2)
    shown = capsys.readouterr().out
    assert "rate/a: 0.5000" in shown
    assert "rate/a: 0.2500" in shown


class BatchLogs(keras.callbacks.Callback):
    """Notes the rate in the logs of each batch."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(logs.get("rate/a"))


def test_batch_logs_have_the_rates_on_request():
    seen = BatchLogs()
    layer = Dropout(schedules.Linear(0.0, 0.5, 4), name="a")
    fit(model_of(layer), DropoutRateLogger("batch"), seen, steps=2, epochs=2)
    np.testing.assert_array_equal(seen.rates, [0.125, 0.25, 0.375, 0.5])


def test_batch_logs_have_no_rates_without_request():
    seen = BatchLogs()
    fit(model_of(Dropout(0.5, name="a")), DropoutRateLogger(), seen, epochs=1)
    assert seen.rates == [None]


@pytest.mark.parametrize(
    ("entries", "first", "second"),
    [
        (
            "layers",
            {"rate/a": 0.25},
            {"rate/a": 0.25, "rate/b": 0.75},
        ),
        ("mean", {"rate": 0.25}, {"rate": 0.5}),
    ],
)
def test_entries_are_of_the_layers_when_training_begins(entries, first, second):
    model = model_of(Dropout(0.25, name="a"))
    logger = DropoutRateLogger(entries=entries)
    logger.set_model(model)

    logger.on_train_begin()
    model.add(Dropout(0.75, name="b"))
    logs = {}
    logger.on_epoch_end(0, logs)
    assert logs == first

    logger.on_train_begin()
    logs = {}
    logger.on_epoch_end(0, logs)
    assert logs == second


def test_a_model_without_our_layers_is_refused():
    message = "^DropoutRateLogger: the model has no layer of kerasdrop"
    with pytest.raises(ValueError, match=message):
        fit(model_of(keras.layers.Dropout(0.5)), DropoutRateLogger())


def test_another_frequency_is_refused():
    with pytest.raises(ValueError, match='must be "epoch" or "batch"'):
        DropoutRateLogger("step")

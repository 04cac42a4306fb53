"""A layer comes back from its configuration as it was."""

import json

import keras
import pytest
from keras.optimizers import schedules

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from kerasdrop.layers import MCDropout
from kerasdrop.layers import ScheduledDropout

LAYERS = [
    Dropout(0.3, noise_shape=(None, 1), seed=4, name="a"),
    Dropout(0.3, stochastic_inference=True, dtype="mixed_float16"),
    ClassicDropout(0.3, seed=4),
    MCDropout(0.3),
    MCDropout(0.3, stochastic_inference=False),
    ScheduledDropout(schedules.PolynomialDecay(0.0, 10, 0.5), seed=1),
]

SCHEDULES = [
    schedules.PolynomialDecay(0.0, 10, 0.5, power=2.0),
    schedules.ExponentialDecay(0.5, 10, 0.9, staircase=True),
    schedules.PiecewiseConstantDecay([3, 6], [0.1, 0.5, 0.3]),
    schedules.InverseTimeDecay(0.5, 10, 0.9),
    schedules.CosineDecay(0.1, 10, warmup_target=0.5, warmup_steps=5),
    schedules.CosineDecayRestarts(0.5, 10, m_mul=0.9),
]


@keras.saving.register_keras_serializable("kerasdrop_tests")
class HalfOfTheTime(schedules.LearningRateSchedule):
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        return keras.ops.where(step % 2 == 0, self.rate, 0.0)

    def get_config(self):
        return {"rate": self.rate}


def name_of(item):
    return type(item).__name__


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_a_layer_has_the_config_that_made_it(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_a_config_survives_json(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(config))
    )
    assert (type(again), again.get_config()) == (
        type(layer),
        layer.get_config(),
    )


@pytest.mark.parametrize("schedule", [*SCHEDULES, HalfOfTheTime(0.5)])
def test_a_schedule_comes_back_from_the_config(schedule):
    layer = Dropout(schedule)
    again = Dropout.from_config(layer.get_config())
    assert (type(again.schedule), again.schedule.get_config()) == (
        type(schedule),
        schedule.get_config(),
    )


def test_the_config_is_that_of_the_stock_layer_and_one_more_argument():
    stock = keras.layers.Dropout(0.5, noise_shape=(None, 1), seed=4, name="a")
    ours = Dropout(0.5, noise_shape=(None, 1), seed=4, name="a")
    assert ours.get_config() == {
        **stock.get_config(),
        "stochastic_inference": False,
    }


def test_a_stock_config_makes_our_layer():
    stock = keras.layers.Dropout(0.5, noise_shape=(None, 1), seed=4, name="a")
    ours = Dropout.from_config(stock.get_config())
    assert (ours.rate, ours.noise_shape, ours.seed, ours.name) == (
        0.5,
        (None, 1),
        4,
        "a",
    )


def test_a_model_config_comes_back():
    model = keras.Sequential([keras.Input((4,)), *LAYERS[2:]])
    again = keras.models.model_from_json(model.to_json())
    assert again.get_config() == model.get_config()


def test_a_layer_set_to_be_stochastic_reads_so():
    assert MCDropout(0.5).stochastic_inference


def test_the_schedule_can_be_read():
    assert Dropout(SCHEDULES[0]).schedule is SCHEDULES[0]


def test_a_constant_rate_has_no_schedule():
    assert Dropout(0.5).schedule is None

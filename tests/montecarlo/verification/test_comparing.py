"""What two runs of a model may differ by."""

import math

import keras
import pytest
from keras import layers

from kerasdrop.montecarlo.verification import comparing

EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-7}


def chain(depth, dtype):
    return keras.Sequential(
        [
            keras.Input((2,)),
            *(layers.Activation("relu", dtype=dtype) for _ in range(depth)),
        ]
    )


@pytest.mark.parametrize(
    ("depth", "dtype", "expected"),
    [
        (3, "float32", 32 * EPS["float32"]),
        # Independent roundings add up with the root of their number.
        (500, "float32", 32 * EPS["float32"] * math.sqrt(500 / 20)),
        # Faults make a difference of .4 and more.
        (3, "bfloat16", 0.25),
        (500, "bfloat16", 0.25),
    ],
)
def test_a_deep_model_may_round_more(depth, dtype, expected):
    allowed = comparing.tolerance(chain(depth, dtype))

    # The model itself and its input are counted among its layers.
    assert allowed == pytest.approx(expected, rel=0.01)


def test_what_a_plain_call_differs_from_itself_is_allowed_four_times():
    floor = 50 * EPS["float32"]
    assert comparing.tolerance(chain(3, "float32"), floor) == 4 * floor


def test_a_plain_call_that_differs_by_more_than_rounding_is_no_floor():
    assert comparing.tolerance(chain(3, "float32"), 0.1) == (
        32 * EPS["float32"]
    )

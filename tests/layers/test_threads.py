"""Predictions from several threads do not disturb each other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from keras import ops

from kerasdrop import masks
from kerasdrop.layers import Dropout
from kerasdrop.masks.scopes import StochasticScope

INPUTS = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")


def test_calls_in_threads_are_those_of_one_thread():
    # Not `predict_on_batch`: on JAX Keras hands its state over to each call,
    # so with any layer that has a state, the stock one too, threads collide.
    model = keras.Sequential(
        [keras.Input((6,)), Dropout(0.5), keras.layers.Dense(2)]
    )
    expected = ops.convert_to_numpy(model(INPUTS))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(model, [INPUTS] * 16))
    for result in results:
        np.testing.assert_array_equal(ops.convert_to_numpy(result), expected)


def test_threads_that_draw_at_the_same_time_share_no_mask():
    layer = Dropout(0.5, seed=0, stochastic_inference=True)
    x = ops.ones((1, 64))

    def masks_of(training):
        outputs = [layer(x, training=training) for _ in range(20)]
        return [ops.convert_to_numpy(one).tobytes() for one in outputs]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(masks_of, [True, False] * 4))
    assert len({mask for some in found for mask in some}) == 8 * 20
    assert layer.step == 4 * 20


def test_a_stochastic_scope_holds_in_its_own_thread_only():
    layer = Dropout(1.0)
    draw = masks.Draw(masks.key_of_seed(0), 0)
    entered, done = threading.Event(), threading.Event()

    def stay_in_a_scope():
        with StochasticScope(lambda *_: draw, [layer]):
            entered.set()
            done.wait(60)

    other = threading.Thread(target=stay_in_a_scope)
    other.start()
    assert entered.wait(10)
    outputs = layer(INPUTS)
    done.set()
    other.join()
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs), INPUTS)

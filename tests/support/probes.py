"""A recorder, a small model and its data, for tests of layers."""

import keras
import numpy as np
from keras import ops

# Units seen by one training step. Five standard deviations of the zeroed
# fraction are at most 5 * sqrt(.25 / 8000) = 0.028.
ROWS, UNITS = 8, 1000
TOLERANCE = 0.028

TRAINING, INFERENCE = 0, 1
_LENGTH = 32


@keras.saving.register_keras_serializable("kerasdrop_tests")
class ZeroedRecorder(keras.layers.Layer):
    """Passes its inputs on, and counts in the graph how many are zero.

    Also counts how often Python runs its `call`: once for each trace of a
    compiled function.
    """

    def build(self, input_shape):
        self.history = self.add_weight(
            shape=(2, _LENGTH), initializer="zeros", trainable=False
        )
        self.counts = self.add_weight(
            shape=(2, 1), initializer="zeros", dtype="int32", trainable=False
        )
        self.traces = 0

    def call(self, inputs, training=False):
        self.traces += 1
        kind = TRAINING if training else INFERENCE
        zeroed = ops.mean(ops.cast(inputs == 0, "float32"))
        place = np.zeros((2, _LENGTH), "int32") - 1
        place[kind] = np.arange(_LENGTH)
        counts = ops.convert_to_tensor(self.counts)
        history = ops.convert_to_tensor(self.history)
        here = ops.equal(place, counts)
        self.history.assign(ops.where(here, zeroed, history))
        one = np.array([[kind == 0], [kind == 1]], "int32")
        self.counts.assign(ops.add(counts, one))
        return inputs

    def take(self, kind=TRAINING):
        """The fractions counted since the last call, one for each step."""
        counts = ops.convert_to_numpy(self.counts)
        history = ops.convert_to_numpy(self.history)[kind]
        self.counts.assign(np.zeros((2, 1), "int32"))
        return history[: counts[kind, 0]]


def ones(rows=ROWS):
    return np.ones((rows, UNITS), "float32")


def targets(rows=ROWS):
    return np.zeros((rows, 1), "float32")


def recorded_model(layer, compiled=True, **compile_arguments):
    """A model of `layer`, a recorder after it, and something to train."""
    inputs = keras.Input((UNITS,))
    recorder = ZeroedRecorder()
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(
        recorder(layer(inputs))
    )
    model = keras.Model(inputs, outputs)
    model.recorder = recorder
    if compiled:
        model.compile("sgd", "mse", **compile_arguments)
    return model


def fit(model, steps=1, epochs=1, **arguments):
    """Trains and returns the zeroed fraction of each training step."""
    rows = steps * ROWS
    model.fit(
        ones(rows),
        targets(rows),
        batch_size=ROWS,
        epochs=epochs,
        verbose=0,
        **arguments,
    )
    return model.recorder.take()

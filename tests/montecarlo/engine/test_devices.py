"""Many devices draw what one draws."""

import keras
import numpy as np
import pytest

from tests.support import helpers

BACKEND = keras.backend.backend()

_MODEL = """
import warnings
import keras
import numpy as np
import kerasdrop

def make(normalizes=False):
    keras.utils.set_random_seed(0)
    between = [keras.layers.BatchNormalization()] if normalizes else []
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            *between,
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )

def show(model):
    # 13 rows in batches of 6: neither divides.
    x = np.random.default_rng(0).normal(size=(13, 8)).astype("float32")
    result = kerasdrop.mc_predict(
        model, x, 20, seed=1, kind="regression", keep_samples=True,
        batch_size=6, verbose=0,
    )
    assert result.samples.shape == (13, 20, 3)
    print(" ".join(f"{value:.9g}" for value in result.samples.ravel()))
"""

_ONE = _MODEL + "show(make())\n"

_MESH = (
    """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
"""
    + _MODEL
    + """
import jax
assert len(jax.devices()) == 8
keras.distribution.set_distribution(keras.distribution.DataParallel())
seen = []
over = kerasdrop.montecarlo.engine.engine.Engine.over
def watched(self, batch):
    seen.append(len(batch.inputs.sharding.device_set))
    assert batch.inputs.shape == (8, 8)
    return over(self, batch)
kerasdrop.montecarlo.engine.engine.Engine.over = watched
show(make())
assert seen == [8] * 3
"""
)

# More kinds of passes: calls until rows converge, and plain calls; what is
# judged and not collected; data that stop in the middle of what two draw.
_SEVERAL = """
import kerasdrop.montecarlo.engine.batch_pass as batch_pass

places = []
call = batch_pass.Pass.call
def watched(self):
    call(self)
    made = self._state if self._result is None else self._result
    places.append(keras.tree.flatten(made)[0].device[-5:])
batch_pass.Pass.call = watched

class Stop(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.means = []

    def on_predict_batch_end(self, batch, logs=None):
        self.means.append(logs["outputs"].mean)
        self.model.stop_predicting = batch == 2

def show_several(model):
    x = np.random.default_rng(0).normal(size=(22, 8)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(x, x[:, :3], epochs=1, verbose=0)  # moves BatchNormalization
    model.set_weights([np.linspace(0, 1, w.size).reshape(w.shape)
                       for w in model.get_weights()])
    before = model.get_weights()
    for settings in (
        {"num_samples": 20, "keep_samples": True},
        {"num_samples": 256, "tolerance": 0.2},
        {"num_samples": 4, "vectorized": False, "batch_size": 11},
    ):
        found = kerasdrop.mc_predict(
            model, x, seed=1, kind="regression",
            **{"batch_size": 5, "verbose": 0, **settings},
        )
        values = [found[name].ravel() for name in sorted(found)]
        print("values", " ".join(map(str, np.concatenate(values))))
    predictive = kerasdrop.MonteCarlo(model, 20, seed=1)
    predictive.compile(loss="mse", metrics=["mae"])
    logs = predictive.evaluate(x, x[:, :3], batch_size=5, verbose=0)
    print("values", *logs)
    stop = Stop()
    predictive.predict(
        x, batch_size=5, verbose=0, callbacks=[stop], collect=False
    )
    assert list(map(len, stop.means)) == [5, 5, 5]
    print("values", " ".join(map(str, np.concatenate(stop.means).ravel())))
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)
    print("places", *sorted(set(places)))
"""

_SEVERAL_OF_ONE = _MODEL + _SEVERAL + "show_several(make(True))\n"

_MIRRORED = (
    """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
"""
    + _MODEL
    + _SEVERAL
    + """
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = make(True)
show_several(model)
"""
)

_EVALUATED_IN_A_SCOPE = (
    _MIRRORED
    + """
predictive = kerasdrop.MonteCarlo(model, 16, seed=0)
predictive.compile(loss="mse")
x = np.ones((6, *model.input_shape[1:]), "float32")
y = np.zeros((6, *model.output_shape[1:]), "float32")
settings = {"batch_size": 2, "verbose": 0}
with strategy.scope():
    found = predictive.evaluate(x, y, **settings)
mean = predictive.predict(x, **settings)["mean"]
print("loss", found, np.square(mean).mean())
"""
)


def lines_of(code, start):
    lines = helpers.run_python(code, BACKEND).splitlines()
    return [line for line in lines if line.startswith(start)]


def samples_of(code):
    lines = helpers.run_python(code, BACKEND).splitlines()
    return np.array(lines[-1].split(), "float64")


@pytest.mark.skipif(BACKEND != "jax", reason="several devices of JAX")
def test_devices_together_draw_what_one_draws():
    np.testing.assert_allclose(
        samples_of(_MESH), samples_of(_ONE), rtol=1e-5, atol=1e-6
    )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_replicas_draw_what_one_draws_to_the_bit():
    together = lines_of(_MIRRORED, ("values", "places"))
    alone = lines_of(_SEVERAL_OF_ONE, ("values", "places"))
    assert len(alone) == 6
    assert together[:-1] == alone[:-1]
    assert together[-1] == "places CPU:0 CPU:1"
    assert alone[-1] == "places CPU:0"


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_the_scope_of_a_strategy_divides_no_loss():
    (line,) = lines_of(_EVALUATED_IN_A_SCOPE, "loss")
    found, expected = map(float, line.split()[1:])
    assert found == pytest.approx(expected, rel=1e-5)

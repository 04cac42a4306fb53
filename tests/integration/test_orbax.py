"""Checkpoints of Orbax, written in the middle of a training."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from kerasdrop.schedules import Linear
from tests.support import resuming
from tests.support import versions

ocp = pytest.importorskip(
    "orbax.checkpoint", reason="needs the package orbax-checkpoint"
)

pytestmark = [
    # Of Orbax itself, and of what it says of shardings.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = inputs
    # No Sequential: of one that it loads, Keras 3.15 does not find the weights.
    for layer in (
        keras.layers.Dense(8),
        layers.Dropout(0.5, name="live"),
        layers.Dropout(Linear(0.0, 0.6, 24), seed=3, name="scheduled"),
        layers.ClassicDropout(Linear(0.0, 0.6, 24), name="classic"),
        keras.layers.Dense(1),
    ):
        x = layer(x)
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def fit(model, epochs, callbacks=(), initial_epoch=0):
    model.fit(
        *resuming.data(),
        batch_size=resuming.ROWS,
        shuffle=False,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=list(callbacks),
        verbose=0,
    )


def state(model):
    return {
        f"{layer.name} {name}": layer._state.read(name)
        for layer in model.layers
        if hasattr(layer, "step")
        for name in layer._state._state_variables()
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)


has_callback = versions.needs_keras("3.14", "has no `OrbaxCheckpoint`")


@has_callback
def test_a_training_goes_on_from_the_checkpoint_of_an_epoch(tmp_path):
    straight, stopped = network(), network()
    fit(straight, 4)
    folder = str(tmp_path / "run")
    fit(stopped, 2, [keras.callbacks.OrbaxCheckpoint(folder)])
    # In the session in which the layers had these names already.
    loaded = keras.saving.load_model(folder)
    assert loaded.get_layer("scheduled").step == 2 * resuming.STEPS
    assert_equal(state(loaded), state(stopped))
    fit(loaded, 4, initial_epoch=2)
    assert_equal(state(loaded), state(straight))
    for mine, theirs in zip(loaded.get_weights(), straight.get_weights()):
        np.testing.assert_array_equal(mine, theirs)


@has_callback
def test_the_middle_of_an_epoch_comes_back_into_a_model_made_anew(tmp_path):
    model = network()
    folder = str(tmp_path / "run")
    callback = keras.callbacks.OrbaxCheckpoint(folder, save_freq=4)
    kept = {}

    def keep(batch, logs):
        if batch == 3:
            model.jax_state_sync() if hasattr(model, "jax_state_sync") else 0
            kept.update(state(model))

    fit(model, 1, [callback, keras.callbacks.LambdaCallback(on_batch_end=keep)])
    assert kept["live step"] == 4
    keras.utils.clear_session(free_memory=False)
    other = network()
    other.load_weights(folder)
    assert_equal(state(other), kept)


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Orbax stores arrays of JAX"
)
def test_a_state_tree_goes_through_a_checkpointer(tmp_path):
    model = network()
    fit(model, 1)
    tree = model.get_state_tree()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "tree", tree)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "tree", tree)
    other = keras.models.clone_model(model)
    other.set_state_tree(
        {"non_trainable_variables": restored["non_trainable_variables"]}
    )
    assert_equal(state(other), state(model))
    x = ops.ones((4, 5))
    for name in ("live", "scheduled"):
        mine, theirs = (
            one.get_layer(name)(x, training=True) for one in (other, model)
        )
        np.testing.assert_array_equal(mine, theirs)

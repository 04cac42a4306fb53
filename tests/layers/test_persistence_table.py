"""What each way of saving keeps: the table in docs/saving.md."""

import copy
import pathlib
import pickle

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from kerasdrop.schedules import Linear
from tests.support import helpers

BACKEND = keras.backend.backend()
DOCS = pathlib.Path(__file__).parents[2] / "docs" / "saving.md"
X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
Y = X[:, :1]


def network():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(6),
            layers.Dropout(0.5, name="live"),
            layers.Dropout(Linear(0.1, 0.6, 8), name="scheduled"),
            layers.ClassicDropout(Linear(0.1, 0.6, 8), name="classic"),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model


def fit(model, callbacks=(), epochs=1):
    model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks)


def trained():
    model = network()
    fit(model)
    model.get_layer("live").rate = 0.3
    return model


def fresh():
    keras.utils.clear_session(free_memory=False)
    return network()


def loaded(name, load=None):
    def route(model, folder):
        path = folder / name
        if name.endswith(".weights.h5"):
            model.save_weights(path)
            other = fresh()
            other.load_weights(path)
            return other
        model.save(path)
        return keras.saving.load_model(path, compile=False)

    return route


def cloned(model, folder):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def weights_only(model, folder):
    other = fresh()
    other.set_weights(model.get_weights())
    return other


def state_tree(model, folder):
    tree = model.get_state_tree(value_format="numpy_array")
    other = fresh()
    other.set_state_tree(tree)
    return other


def state_dict(model, folder):
    state = {name: x.clone() for name, x in model.state_dict().items()}
    other = fresh()
    other.load_state_dict(state, strict=True)
    return other


def tensorflow_checkpoint(model, folder):
    import tensorflow as tf

    path = tf.train.Checkpoint(model=model).write(str(folder / "model"))
    other = fresh()
    tf.train.Checkpoint(model=other).read(path)
    return other


def backup(model, folder):
    callback = keras.callbacks.BackupAndRestore(
        folder, delete_checkpoint=False, double_checkpoint=False
    )
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0)
    other = fresh()
    callback = keras.callbacks.BackupAndRestore(folder)
    callback.set_model(other)
    callback.on_train_begin()
    return other


class Rising(keras.callbacks.Callback):
    """Makes the first epoch the best one, and keeps how the model was."""

    def on_epoch_end(self, epoch, logs):
        logs["watched"] = float(epoch)
        if epoch == 0:
            self.best = keras.saving.deserialize_keras_object(
                keras.saving.serialize_keras_object(self.model)
            )
            for mine, theirs in zip(
                self.best.variables, self.model.variables, strict=True
            ):
                mine.assign(ops.convert_to_numpy(theirs.value))


def best_weights(model, folder):
    rising = Rising()
    stop = keras.callbacks.EarlyStopping(
        "watched", mode="min", restore_best_weights=True
    )
    fit(model, [rising, stop], epochs=2)
    model.as_it_was = rising.best
    return model


def averaged(model, folder):
    state = [layer.step for layer in model.layers[1:4]]
    optimizer = keras.optimizers.SGD(use_ema=True)
    model.compile(optimizer, "mse")
    fit(model, [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)])
    for layer, step in zip(model.layers[1:4], state):
        assert layer.step == step + 2
    return model


ROUTES = {
    "`.keras`": loaded("model.keras"),
    "`.weights.h5`": loaded("model.weights.h5"),
    "`.h5`": loaded("model.h5"),
    "`clone_model`, `set_weights`": cloned,
    "`set_weights` of a new model": weights_only,
    "`get_state_tree`, Orbax": state_tree,
    "`pickle`": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "`copy.deepcopy`": lambda model, folder: copy.deepcopy(model),
    "`BackupAndRestore`": backup,
    "`EarlyStopping(restore_best_weights=True)`": best_weights,
    "`state_dict` (PyTorch)": state_dict,
    "`tf.train.Checkpoint`": tensorflow_checkpoint,
}
ONLY_ON = {
    "`state_dict` (PyTorch)": "torch",
    "`tf.train.Checkpoint`": "tensorflow",
}


def table():
    """The rows of the table: {route: its cells}."""
    rows = {}
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in ROUTES:
            rows[cells[0]] = cells[1:]
    return rows


def predictions(model):
    return ops.convert_to_numpy(model(X))


def next_mask(model):
    x = np.ones((8, 50), "float32")
    drop = model.get_layer("live")
    return ops.convert_to_numpy(drop(x, training=True)) == 0


def test_every_route_has_a_row():
    assert list(table()) == list(ROUTES)


@pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5 file:UserWarning"
)
@pytest.mark.parametrize("name", ROUTES)
def test_the_table_tells_what_is_kept(name, tmp_path):
    if ONLY_ON.get(name, BACKEND) != BACKEND:
        pytest.skip("of another backend")
    model = trained()
    other = ROUTES[name](model, tmp_path)
    model = getattr(other, "as_it_was", model)
    kept = {
        "rate": other.get_layer("live").rate == 0.3,
        "step": other.get_layer("scheduled").step
        == model.get_layer("scheduled").step,
        "predictions": np.allclose(
            predictions(other), predictions(model), rtol=1e-5
        ),
    }
    kept["masks"] = np.array_equal(next_mask(other), next_mask(model))
    found = ["yes" if kept[of] else "no" for of in kept]
    assert found == table()[name], dict(zip(kept, found))


def test_an_average_of_the_weights_leaves_the_state_alone(tmp_path):
    model = averaged(trained(), tmp_path)
    assert model.get_layer("live").rate == 0.3


def test_the_step_can_be_set():
    model = trained()
    other = weights_only(model, None)
    for layer in model.layers:
        if hasattr(layer, "step"):
            other.get_layer(layer.name).step = layer.step
    np.testing.assert_allclose(
        predictions(other), predictions(model), rtol=1e-5
    )


def loop_of(word):
    """The loop in the code of docs/saving.md that has this word in it."""
    code = helpers.code_of("saving.md", word)
    return code[code.index("for ") :]


def test_the_lines_of_the_docs_repair_a_copy_of_the_weights():
    model = trained()
    other = weights_only(model, None)
    exec(loop_of("old.step"), {"model": model, "other": other})
    np.testing.assert_allclose(
        predictions(other), predictions(model), rtol=1e-5
    )


def test_the_lines_of_the_docs_repair_the_best_weights():
    model = network()
    rising = Rising()
    stop = keras.callbacks.EarlyStopping(
        "watched", mode="min", patience=2, restore_best_weights=True
    )
    fit(model, [rising, stop], epochs=5)
    best = rising.best.get_layer("classic").step
    assert (model.get_layer("classic").step, best) == (6, 2)
    exec(
        loop_of("best_epoch"),
        {"other": model, "stop": stop, "steps_per_epoch": 2},
    )
    assert model.get_layer("classic").step == best
    np.testing.assert_allclose(
        predictions(model), predictions(rising.best), rtol=1e-5
    )


def test_a_step_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`step` must be an integer"):
        layers.Dropout(0.5).step = -1


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: layers.ClassicDropout(rate),
        lambda rate: layers.DropPath(rate, scaling="classic"),
        lambda rate: layers.StochasticDepth(keras.layers.Dense(6), rate),
    ],
)
def test_a_copy_by_configuration_predicts_the_same(make):
    model = keras.Sequential([keras.Input((6,)), make(Linear(0.1, 0.6, 8))])
    for _ in range(3):
        model(X, training=True)
    clone = cloned(model, None)
    np.testing.assert_allclose(
        predictions(clone), predictions(model), rtol=1e-6
    )


def test_a_clone_of_what_does_not_scale_starts_anew():
    clone = cloned(trained(), None)
    assert clone.get_layer("scheduled").step == 0

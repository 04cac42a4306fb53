"""What is saved and restored: stock checkpoints, rate, step, key, copies."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from kerasdrop.layers import MCDropout
from kerasdrop.layers import ScheduledDropout
from tests.support import helpers
from tests.support import probes

INPUTS = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
RAMP = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.5)


def network(dropout_class, rate=0.5, seed=None):
    """A nested model with three dropout layers."""
    block = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4, name="inner"),
            dropout_class(rate, seed=seed, name="c"),
        ],
        name="block",
    )
    return keras.Sequential(
        [
            keras.Input((6,)),
            dropout_class(rate, seed=seed, name="a"),
            keras.layers.Dense(5, activation="relu", name="first"),
            keras.layers.BatchNormalization(name="norm"),
            dropout_class(rate, seed=seed, name="b"),
            block,
            keras.layers.Dense(2, name="last"),
        ],
        name="network",
    )


def moved(model):
    """The model with weights that no initializer gives."""
    generator = np.random.default_rng(1)
    model.set_weights(
        [generator.uniform(0.5, 1.5, w.shape) for w in model.get_weights()]
    )
    return model


def predictions(model):
    return ops.convert_to_numpy(model(INPUTS))


def save_weights_h5(model, path):
    model.save_weights(path / "model.weights.h5")


def load_weights_h5(model, path):
    model.load_weights(path / "model.weights.h5")


def save_keras(model, path):
    model.save(path / "model.keras")


def load_weights_of_keras(model, path):
    model.load_weights(path / "model.keras")


def save_legacy_h5(model, path):
    model.save(path / "model.h5")


def load_legacy_h5(model, path):
    model.load_weights(path / "model.h5")


def load_legacy_h5_by_name(model, path):
    model.load_weights(path / "model.h5", by_name=True)


FORMATS = {
    "weights.h5": (save_weights_h5, load_weights_h5),
    "keras": (save_keras, load_weights_of_keras),
    "legacy h5": (save_legacy_h5, load_legacy_h5),
    "legacy h5 by name": (save_legacy_h5, load_legacy_h5_by_name),
}
ignore_legacy = pytest.mark.filterwarnings(
    # Keras' own advice on each save to .h5.
    "ignore:You are saving your model as an HDF5 file:UserWarning"
)


ignore_quantize = pytest.mark.filterwarnings(
    # Of the layers that have nothing to quantize: Keras' own, and Dropout.
    "ignore:.* does not have a `quantize` method implemented:UserWarning"
)


@ignore_legacy
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (keras.layers.Dropout, Dropout),
        (Dropout, keras.layers.Dropout),
        (keras.layers.Dropout, ClassicDropout),
        (MCDropout, Dropout),
    ],
)
def test_checkpoints_go_from_stock_to_ours_and_back(
    source, target, file_format, tmp_path
):
    save, load = FORMATS[file_format]
    saved = moved(network(source))
    save(saved, tmp_path)
    loaded = network(target)
    load(loaded, tmp_path)
    for got, expected in zip(loaded.get_weights(), saved.get_weights()):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [(keras.layers.Dropout, Dropout), (Dropout, keras.layers.Dropout)],
)
def test_set_weights_goes_from_stock_to_ours_and_back(source, target):
    saved, loaded = moved(network(source)), network(target)
    loaded.set_weights(saved.get_weights())
    np.testing.assert_array_equal(predictions(loaded), predictions(saved))


def test_the_weights_are_those_of_the_stock_model():
    ours, stock = network(Dropout), network(keras.layers.Dropout)
    assert [w.path for w in ours.weights] == [w.path for w in stock.weights]


def test_count_params_is_that_of_the_stock_model():
    ours, stock = network(Dropout), network(keras.layers.Dropout)
    assert ours.count_params() == stock.count_params()


def test_the_summary_is_that_of_the_stock_model():
    summaries = []
    for dropout_class in (Dropout, keras.layers.Dropout):
        lines = []
        network(dropout_class).summary(
            expand_nested=True, print_fn=lines.append
        )
        summaries.append("\n".join(lines))
    assert summaries[0] == summaries[1]


def trained(dropout_class=Dropout, rate=0.5, seed=None):
    """Called three times in training, the rate of layer "b" then set to .3."""
    model = moved(network(dropout_class, rate, seed))
    for _ in range(3):
        model(INPUTS, training=True)
    if rate is not RAMP:
        model.get_layer("b").rate = 0.3
    return model


def states(model):
    layer = model.get_layer("b")
    return layer.rate, layer.step


@pytest.mark.parametrize("file_format", ["weights.h5", "keras"])
def test_rate_and_step_come_back_from_our_checkpoint(file_format, tmp_path):
    save, load = FORMATS[file_format]
    save(trained(), tmp_path)
    loaded = network(Dropout)
    load(loaded, tmp_path)
    assert states(loaded) == (0.3, 3)


def test_a_loaded_model_has_the_rate_and_step_it_had(tmp_path):
    save_keras(trained(), tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert states(loaded) == (0.3, 3)


def test_a_loaded_model_predicts_the_same(tmp_path):
    model = trained(ClassicDropout)
    save_keras(model, tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


@ignore_legacy
def test_a_model_loaded_from_legacy_h5_predicts_the_same(tmp_path):
    model = trained(ClassicDropout)
    save_legacy_h5(model, tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.h5", compile=False)
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


def test_a_scheduled_rate_goes_on_where_it_was(tmp_path):
    save_keras(trained(ScheduledDropout, RAMP), tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rate, step = states(loaded)
    np.testing.assert_allclose([rate, step], [0.15, 3], rtol=1e-6)


def test_a_checkpoint_with_a_rate_loads_into_a_scheduled_layer(tmp_path):
    save_weights_h5(trained(), tmp_path)
    loaded = network(Dropout, RAMP)
    load_weights_h5(loaded, tmp_path)
    assert loaded.get_layer("b").step == 3


def test_a_checkpoint_of_a_schedule_leaves_a_constant_rate_alone(tmp_path):
    save_weights_h5(trained(Dropout, RAMP), tmp_path)
    loaded = network(Dropout, 0.2)
    load_weights_h5(loaded, tmp_path)
    assert states(loaded) == (0.2, 3)


def test_a_checkpoint_of_another_class_leaves_rate_and_step_alone(tmp_path):
    # Keras finds a layer in a checkpoint by the name of its class.
    save_weights_h5(trained(Dropout), tmp_path)
    loaded = network(MCDropout, 0.2)
    load_weights_h5(loaded, tmp_path)
    assert states(loaded) == (0.2, 0)


def test_rates_of_another_class_are_set_as_the_guide_says(tmp_path):
    old = trained(Dropout)
    save_weights_h5(old, tmp_path)
    new = network(MCDropout, 0.2)
    load_weights_h5(new, tmp_path)
    kerasdrop.set_rates(new, kerasdrop.get_rates(old))
    assert kerasdrop.get_rates(new) == {"a": 0.5, "b": 0.3, "block/c": 0.5}


LOAD = "import keras; print(keras.models.load_model({!r}).layers[0].rate)"


def test_a_keras_file_loads_after_the_import_of_kerasdrop(tmp_path):
    save_keras(trained(), tmp_path)
    load = LOAD.format(str(tmp_path / "model.keras"))
    assert helpers.run_python("import kerasdrop; " + load).strip() == "0.5"
    with pytest.raises(
        AssertionError, match="Could not locate class 'Dropout'"
    ):
        helpers.run_python(load)


def next_mask(model):
    layer = model.get_layer("b")
    outputs = layer(np.ones((8, 50), "float32"), training=True)
    return ops.convert_to_numpy(outputs) == 0


def test_an_unseeded_layer_continues_the_masks_of_its_checkpoint(tmp_path):
    model = trained()
    save_weights_h5(model, tmp_path)
    loaded = network(Dropout)
    load_weights_h5(loaded, tmp_path)
    np.testing.assert_array_equal(next_mask(loaded), next_mask(model))


def test_an_explicit_seed_outlives_a_checkpoint(tmp_path):
    save_weights_h5(trained(seed=1), tmp_path)
    loaded = network(Dropout, seed=2)
    load_weights_h5(loaded, tmp_path)
    fresh = network(Dropout, rate=0.3, seed=2)
    for _ in range(3):
        next_mask(fresh)
    np.testing.assert_array_equal(next_mask(loaded), next_mask(fresh))


def test_interrupted_training_equals_straight_training(tmp_path):
    straight = network(Dropout, rate=RAMP)
    initial = [variable.numpy() for variable in straight.variables]

    def started():
        model = network(Dropout, rate=RAMP)
        for variable, value in zip(model.variables, initial):
            variable.assign(value)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        return model

    def run(model, epochs, initial_epoch=0):
        model.fit(
            INPUTS,
            np.zeros((8, 2)),
            batch_size=4,
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=False,
            verbose=0,
        )

    straight = started()
    run(straight, 4)
    first_half = started()
    run(first_half, 2)
    save_keras(first_half, tmp_path)
    second_half = keras.models.load_model(tmp_path / "model.keras")
    run(second_half, 4, initial_epoch=2)
    np.testing.assert_array_equal(
        predictions(second_half), predictions(straight)
    )


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_layer_can_be_copied(copied):
    layer = Dropout(0.3, seed=4, name="a")
    assert copied(layer).get_config() == layer.get_config()


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deepcopy", "pickle"],
)
def test_a_copied_model_has_rate_and_step_of_the_original(copied):
    assert states(copied(trained())) == (0.3, 3)


def test_a_copy_draws_on_by_itself():
    model = trained()
    again = copy.deepcopy(model)
    next_mask(again)
    assert (states(model)[1], states(again)[1]) == (3, 4)


def test_a_copy_of_a_seeded_model_draws_the_next_mask_of_the_original():
    model = trained(seed=1)
    again = copy.deepcopy(model)
    np.testing.assert_array_equal(next_mask(again), next_mask(model))


def test_a_clone_has_the_rate_of_the_moment_and_starts_anew():
    assert states(keras.models.clone_model(trained())) == (0.3, 0)


def test_a_clone_of_a_seeded_model_draws_the_masks_of_a_new_one():
    clone = keras.models.clone_model(trained(seed=1))
    fresh = network(Dropout, rate=0.3, seed=1)
    np.testing.assert_array_equal(next_mask(clone), next_mask(fresh))


def test_a_clone_of_an_unseeded_model_draws_masks_of_its_own():
    model = network(Dropout)
    clone = keras.models.clone_model(model)
    assert (next_mask(model) != next_mask(clone)).any()


@ignore_quantize
def test_a_quantized_model_is_that_of_the_stock_layer():
    ours, stock = network(Dropout), moved(network(keras.layers.Dropout))
    ours.set_weights(stock.get_weights())
    ours.quantize("int8")
    stock.quantize("int8")
    np.testing.assert_array_equal(predictions(ours), predictions(stock))


@ignore_quantize
def test_a_quantized_model_keeps_its_live_rate():
    model = network(MCDropout)
    model.quantize("int8")
    layer = model.get_layer("b")
    layer.rate = 1.0
    outputs = layer(np.ones((8, 50), "float32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs), np.zeros((8, 50))
    )


def test_an_average_of_the_weights_does_not_touch_the_rate():
    layer = Dropout(0.5)
    model = probes.recorded_model(layer, compiled=False)
    optimizer = keras.optimizers.SGD(use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "mse")
    layer.rate = 0.3
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    probes.fit(model, epochs=2, callbacks=[swap])
    assert (layer.rate, layer.step) == (0.3, 2)


def test_toggling_trainable_keeps_the_state_out_of_training():
    model = trained()
    model.trainable = False
    model.trainable = True
    layer = model.get_layer("b")
    assert (layer.trainable_variables, len(layer.variables)) == ([], 4)


def test_the_rate_is_live_in_a_frozen_model():
    layer = MCDropout(0.5)
    model = probes.recorded_model(layer)
    model.trainable = False
    model.compile("sgd", "mse")
    layer.rate = 1.0
    model.predict(probes.ones(), verbose=0)
    assert model.recorder.take(probes.INFERENCE).tolist() == [1.0]


def test_the_compile_config_comes_back(tmp_path):
    model = network(Dropout)
    model.compile("sgd", "mse")
    config = model.get_compile_config()
    save_keras(model, tmp_path)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_compile_config() == config

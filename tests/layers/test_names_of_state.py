"""Each state has a name of its own, wherever states are found by names."""

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop.schedules import Linear
from tests.support import helpers

BACKEND = keras.backend.backend()
X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


class Block(keras.layers.Layer):
    """Whose dropout has the same name in each block."""

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.ClassicDropout(0.5, seed=seed, name="drop")

    def call(self, inputs, training=False):
        return self.drop(inputs, training=training)


def network():
    """With layers inside others, of the same name, and of no plain one."""
    inputs = keras.Input((6, 6))
    x = inputs
    for layer in (
        layers.Dropout(0.5),
        layers.ClassicDropout(Linear(0.0, 0.5, 10), name="of.1"),
        Block(),
        Block(),
    ):
        x = keras.layers.Dense(6)(layer(x))
    for _ in range(2):
        x = layers.MultiHeadAttention(2, 3, dropout=0.3)(x, x)
    cell = keras.layers.LSTMCell(4)
    x = layers.DropoutRNN(cell, 0.1, 0.2, 0.3)(x)
    x = layers.StochasticDepth(keras.layers.Dense(4), 0.5)(x)
    x = layers.ConcreteDropout(keras.layers.Dense(4))(x)
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    return model


def sequences(rows=4):
    random = np.random.default_rng(0)
    return random.normal(size=(rows, 6, 6)).astype("float32")


def trained():
    model = network()
    model.fit(sequences(), np.zeros((4, 4)), batch_size=2, verbose=0)
    model.layers[1].rate = 0.3
    return model


def states(model):
    return [
        ops.convert_to_numpy(variable.value)
        for variable in model.non_trainable_variables
        # Keras leaves that of a cell out of checkpoints.
        if "seed_generator" not in variable.path
    ]


def assert_same_states(model, other):
    for mine, theirs in zip(states(model), states(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_no_two_paths_are_alike():
    paths = [variable.path for variable in network().variables]
    assert len(set(paths)) == len(paths)


def test_a_path_begins_with_the_name_of_the_layer():
    layer = layers.Dropout(0.5, name="mine")
    paths = [variable.path.split("/")[0] for variable in layer.variables]
    assert paths == ["mine"] * 4


def test_inner_layers_have_the_name_of_the_outer_one_in_their_paths():
    layer = layers.DropoutRNN(keras.layers.LSTMCell(2), 0.5, name="outer")
    paths = [v.path for v in layer.input_dropout.variables]
    assert paths[0] == "outer/input_dropout/draw_state/rate"


@pytest.mark.parametrize("name", ["of.1", "a b", "ä", "_x"])
def test_what_keras_allows_in_a_name_a_layer_allows(name):
    layer = layers.Dropout(0.5, name=name)
    assert (layer.name, layer.rate) == (name, 0.5)


def test_no_path_has_a_name_that_is_meant_for_weights():
    parts = {part for v in network().variables for part in v.path.split("/")}
    assert not parts & {"key_1", "kernel_1"}
    layer = layers.Dropout(0.5)
    assert not any("key" in variable.path for variable in layer.variables)


def test_the_state_tree_brings_a_model_back():
    model = trained()
    tree = model.get_state_tree(value_format="numpy_array")
    assert "dropout" in tree["non_trainable_variables"]
    keras.utils.clear_session(free_memory=False)
    other = network()
    other.set_state_tree(tree)
    assert_same_states(other, model)


def paths_of_ours(model):
    paths = [variable.path for variable in model.non_trainable_variables]
    return [path for path in paths if "seed_generator" not in path]


def test_a_model_of_the_same_session_has_the_paths_and_takes_the_tree():
    model = network()
    other = keras.models.clone_model(model)
    model.layers[1].rate, model.layers[1].step = 0.3, 5
    assert paths_of_ours(other) == paths_of_ours(model)
    other.set_state_tree(model.get_state_tree(value_format="numpy_array"))
    assert_same_states(other, model)


def test_layers_of_one_name_have_the_paths_of_the_blocks_around_them():
    first, second = Block(), Block()
    for block in (first, second):
        block(X)
        path = f"{block.name}/drop/draw_state/step"
        assert path in [variable.path for variable in block.variables]


def test_monte_carlo_models_have_a_state_tree():
    model = keras.Sequential([keras.Input((6,)), layers.Dropout(0.5)])
    predictive = kerasdrop.MonteCarlo(model, seed=0)
    paths = [variable.path for variable in predictive.variables]
    assert len(set(paths)) == len(paths)
    names = sorted(path.split("/")[-1] for path in paths)
    assert names == ["draws", "rate", "rates", "seed", "seed", "step"]


@pytest.mark.skipif(BACKEND != "torch", reason="state_dict is of PyTorch")
class TestStateDict:
    def test_it_brings_a_model_back(self):
        model = trained()
        state = {name: x.clone() for name, x in model.state_dict().items()}
        keras.utils.clear_session(free_memory=False)
        other = network()
        other.load_state_dict(state, strict=True)
        assert_same_states(other, model)
        assert kerasdrop.get_rates(other) == kerasdrop.get_rates(model)

    def module(self, make):
        import torch

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = torch.nn.Linear(6, 6)
                self.first = make()
                self.second = make()

            def forward(self, x):
                return self.second(self.first(self.linear(x)))

        return Module()

    @pytest.mark.parametrize(
        "make",
        [
            lambda: layers.Dropout(0.5),
            lambda: layers.Dropout(0.5, name="same"),
            lambda: layers.ScheduledDropout(Linear(0.0, 0.5, 10)),
        ],
    )
    def test_it_brings_a_module_back_that_holds_layers(self, make):
        # The second is made in the same session: names count on there.
        module, other = self.module(make), self.module(make)
        for _ in range(3):
            module.second(X, training=True)
        state = module.state_dict()
        other.load_state_dict(state, strict=True)
        assert (other.first.step, other.second.step) == (0, 3)
        names = [name for name in state if name.startswith("second.")]
        assert len(names) == (4 if module.first.schedule is None else 3)
        for mine, theirs in ((module.first, other.first),):
            np.testing.assert_array_equal(
                ops.convert_to_numpy(theirs(X, training=True)),
                ops.convert_to_numpy(mine(X, training=True)),
            )

    def test_a_layer_that_keras_builds_for_its_shapes_has_all_states(self):
        class Holder(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.attention = layers.MultiHeadAttention(1, 2, dropout=0.5)

            def call(self, x):
                return self.attention(x, x)

        holder = Holder()
        holder(sequences())
        state = holder.attention._dropout_layer.state_dict()
        assert sorted(name.split(".")[-1] for name in state) == [
            "draws",
            "key",
            "rate",
            "step",
        ]

    def test_the_rate_is_read_after_loading(self):
        module = self.module(lambda: layers.Dropout(0.5))
        other = self.module(lambda: layers.Dropout(0.5))
        module.first.rate = 0.125
        other.load_state_dict(module.state_dict(), strict=True)
        assert (other.first.rate, other.second.rate) == (0.125, 0.5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
def test_a_checkpoint_of_tensorflow_brings_a_model_back(tmp_path):
    import tensorflow as tf

    model = trained()
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "model"))
    other = network()
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    assert_same_states(other, model)


_LAYOUT = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
import keras
import kerasdrop

mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"])
layout_map = keras.distribution.LayoutMap(mesh)
for pattern in ("key", ".*key.*", ".*seed.*", "drop.*", ".*step", ".*rate"):
    layout_map[pattern] = (None, "model")
layout_map[".*"] = ("model",)
distribution = keras.distribution.ModelParallel(layout_map=layout_map)
keras.distribution.set_distribution(distribution)
layer = kerasdrop.layers.Dropout(0.5)
for variable in layer.variables:
    assert variable.value.sharding.is_fully_replicated, variable.path
print(len(layer.variables))
"""


@pytest.mark.skipif(BACKEND != "jax", reason="layouts of JAX")
def test_a_layout_map_hits_nothing_of_a_layer():
    assert helpers.run_python(_LAYOUT).split()[-1] == "4"

"""What `inspect` lists as drawn is drawn, or refused by name."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop

X = np.ones((4, 6), "float32")
DROPOUTS = {
    "stock": lambda: layers.Dropout(0.5, name="drop"),
    "ours": lambda: kerasdrop.layers.Dropout(0.5, name="drop"),
}


class IfTraining(layers.Layer):
    """Written as the documentation of `keras.Model` has it."""

    def __init__(self, dropout, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)
        self.dropout = dropout

    def call(self, inputs, training=False):
        if training:
            inputs = self.dropout(inputs, training=training)
        return self.dense(inputs)


class Net(keras.Model):
    """A model without a graph of `parts` and what calls them."""

    def __init__(self, run, **parts):
        super().__init__(name="net")
        self.parts = parts
        self.run = run

    def call(self, inputs, training=False):
        return self.run(self.parts, inputs, training)


def built(run, **parts):
    model = Net(run, **parts)
    model(X, training=True)
    return model


def mc(model, **kwargs):
    return kerasdrop.mc_predict(
        model, X, 32, seed=0, kind="regression", verbose=0, **kwargs
    )


def if_training(parts, x, training):
    return parts["dropout"](x, training=True) if training else x


MODELS = {
    "a model without a graph": lambda dropout: built(
        if_training, dropout=dropout
    ),
    "a layer in a graph": lambda dropout: keras.Sequential(
        [keras.Input((6,)), layers.Dense(6), IfTraining(dropout, name="block")]
    ),
    "beside a layer that draws": lambda dropout: keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dropout(0.5),
            IfTraining(dropout, name="block"),
        ]
    ),
    "deep inside": lambda dropout: built(
        lambda parts, x, training: parts["block"](x, training=training),
        block=keras.Sequential([IfTraining(dropout, name="block")]),
    ),
}


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_a_layer_that_predictions_never_reach_is_refused(name, dropout):
    model = MODELS[name](DROPOUTS[dropout]())
    before = model.predict(X, verbose=0)
    generators = [ops.convert_to_numpy(v.value) for v in model.variables]

    with pytest.raises(
        ValueError, match=r"Layer '[^']*drop' \(.*Dropout\).* in training only"
    ):
        mc(model)

    np.testing.assert_array_equal(model.predict(X, verbose=0), before)
    for variable, value in zip(model.variables, generators, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(variable.value), value
        )
    for layer in [model, *model._flatten_layers()]:
        assert not {"call", "next", "inner_loop"} & set(vars(layer))


def test_its_rate_at_zero_is_a_way_out():
    model = MODELS["beside a layer that draws"](layers.Dropout(0.0))
    assert mc(model).std.max() > 0.0


def head_for_training(parts, x, training):
    if training:
        parts["head"](x, training=True)
    return parts["dropout"](x)


def unused(parts, x, training):
    return parts["dropout"](x)


@pytest.mark.parametrize("run", [head_for_training, unused])
def test_what_predictions_leave_out_may_hold_dropout(run):
    head = keras.Sequential([layers.Dense(2), layers.Dropout(0.5)])
    head.build((None, 6))
    spare = layers.Dropout(0.5)
    model = built(run, dropout=layers.Dropout(0.5), head=head, spare=spare)
    # Of four ones: 0 or 2 each.
    assert abs(mc(model).variance.mean() - 1.0) < 0.1


def test_dropout_that_its_owner_switches_off_is_drawn():
    """As docs/drawing.md says: the pass asks the layer, not its owner."""
    model = built(
        lambda parts, x, training: parts["dropout"](x, training=False),
        dropout=layers.Dropout(0.5),
    )
    assert abs(mc(model).variance.mean() - 1.0) < 0.1

"""Dropout that code makes: converted and stripped by building anew."""

import sys
import typing

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop.conversion.convert import convert_dropout
from kerasdrop.conversion.strip import strip_dropout
from kerasdrop.layers.base import StochasticLayer
from tests.conversion.test_conversion import fingerprint
from tests.support import blocks
from tests.support.blocks import RATE

GENERATOR = np.random.default_rng(0)
TOKENS = GENERATOR.integers(1, 20, (3, 6)).astype("int32")
VECTORS = GENERATOR.normal(size=(3, 4)).astype("float32")
STEPS = GENERATOR.normal(size=(3, 5, 4)).astype("float32")


def backbone():
    return blocks.called(blocks.Backbone(), TOKENS), TOKENS


def task():
    inner = blocks.Backbone(attention="Attention", name="inner")
    return blocks.called(blocks.Task(inner), TOKENS), TOKENS


def in_init():
    return blocks.called(blocks.InInit(), VECTORS), VECTORS


def in_build():
    return blocks.called(blocks.InBuild(), STEPS), STEPS


def in_call():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, blocks.InCall(name="late")(inputs))
    return blocks.called(model, VECTORS), VECTORS


def of_two_inputs():
    x = {"tokens": TOKENS, "weights": np.ones((3, 6), "float32")}
    return blocks.called(blocks.Positional(), x), x


def drop_path(rate, **kwargs):
    module = sys.modules[keras.applications.ConvNeXtTiny.__module__]
    return module.StochasticDepth(rate, **kwargs)


def residual():
    inputs = keras.Input((4,))
    branch = drop_path(RATE, name="path")(stock.Dense(4)(inputs))
    model = keras.Model(inputs, stock.Add()([inputs, branch]))
    return blocks.called(model, VECTORS), VECTORS


# By what makes a model: the layers that are ours afterwards.
FOUND = {
    backbone: ["Dropout", "Dropout", "MultiHeadAttention"],
    task: ["Dropout", "Dropout", "Dropout", "Dropout"],
    in_init: ["Dropout"],
    in_build: ["SpatialDropout1D"],
    in_call: ["Dropout"],
    of_two_inputs: ["Dropout"],
    residual: ["DropPath"],
}
MODELS = pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)


def predict(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def assert_same(new, old, x):
    np.testing.assert_allclose(predict(new, x), predict(old, x), 1e-5, 1e-6)
    for one, other in zip(new.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@MODELS
def test_dropout_that_code_makes_is_converted(make):
    model, x = make()
    before = fingerprint(model) if not isinstance(model, blocks.InInit) else 0
    new, report = convert_dropout(model)
    assert type(new) is type(model)
    assert_same(new, model, x)
    classes = [text.rpartition(".")[2] for text in report.converted.values()]
    assert sorted(classes) == FOUND[make]
    assert report.skipped == {}
    rates = kerasdrop.get_rates(new)
    assert list(rates.values()) == [RATE] * len(classes)
    if before:
        assert fingerprint(model) == before
    assert not {id(w) for w in new.weights} & {id(w) for w in model.weights}
    assert "__new__" not in vars(stock.Dropout)


@MODELS
def test_the_rates_are_live_in_training(make):
    model, x = make()
    new = convert_dropout(model).model
    kerasdrop.set_rates(new, 0.0)
    plain = ops.convert_to_numpy(new(x, training=True))
    np.testing.assert_allclose(plain, predict(model, x), 1e-5, 1e-6)
    kerasdrop.set_rates(new, 0.75)
    assert np.abs(ops.convert_to_numpy(new(x, training=True)) - plain).max() > 0


@MODELS
def test_dropout_that_code_makes_is_stripped(make):
    model, x = make()
    before = predict(model, x)
    for one in (model, convert_dropout(model).model):
        new, report = strip_dropout(one)
        assert type(new) is type(model)
        assert_same(new, model, x)
        assert report.skipped == {}
        assert report.stripped
        found = new._flatten_layers()
        assert not any(isinstance(one, StochasticLayer) for one in found)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(new(x, training=True)), predict(new, x)
        )
    np.testing.assert_array_equal(predict(model, x), before)


@MODELS
def test_weights_files_load_both_ways(make, tmp_path):
    model, x = make()
    new = convert_dropout(model).model
    model.save_weights(tmp_path / "stock.weights.h5")
    new.save_weights(tmp_path / "ours.weights.h5")
    expected = predict(model, x)
    for one, file in ((new, "stock"), (model, "ours")):
        one.set_weights([np.zeros_like(w) for w in one.get_weights()])
        one.load_weights(tmp_path / f"{file}.weights.h5")
        np.testing.assert_allclose(predict(one, x), expected, 1e-5, 1e-6)


def test_a_converted_block_draws_in_a_monte_carlo_pass():
    model, x = backbone()
    pooled = stock.GlobalAveragePooling1D()(model.output)
    model = keras.Model(model.input, pooled)
    ours, theirs = (
        kerasdrop.mc_predict(one, x, 16, seed=0, verbose=0).variance
        for one in (convert_dropout(model).model, model)
    )
    assert (theirs > 0).all()
    # The numbers of what draws are the same: so are its masks.
    np.testing.assert_allclose(ours, theirs, 1e-3, 1e-5)


def test_blocks_of_a_converted_model_stay_ours_in_further_copies():
    model, _ = backbone()
    outputs = stock.Dense(2, name="top")(model.output)
    model = convert_dropout(keras.Model(model.input, outputs)).model
    kerasdrop.set_rates(model, 0.5)
    new = kerasdrop.insert_dropout(model, where="head").model
    rates = kerasdrop.get_rates(new)
    assert rates["block/drop"] == rates["block/attention/dropout"] == 0.5


def test_a_file_is_converted_after_loading(tmp_path):
    model, x = backbone()
    new, report = convert_dropout(model)
    assert "Backbone makes dropout" in report.notes["files"]
    new.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="no layer of kerasdrop"):
        kerasdrop.get_rates(loaded)
    assert_same(convert_dropout(loaded).model, model, x)


def test_adapters_of_low_rank_are_given_again():
    model, x = backbone()
    block = model.get_layer("block")
    block.dense.enable_lora(2)
    for weight in block.dense.weights[-2:]:
        weight.assign(np.full(weight.shape, 0.1))
    new = convert_dropout(model).model
    assert_same(new, model, x)
    flags = [w.trainable for w in model.weights]
    assert [w.trainable for w in new.weights] == flags
    assert False in flags
    assert new.get_layer("block").dense.lora_rank == 2


class Lossy(blocks.InInit):
    """What it is told afterwards is in no configuration."""

    factor = 1.0

    def call(self, inputs, training=None):
        return self.factor * super().call(inputs, training)


def test_a_model_that_predicts_otherwise_when_built_anew_is_refused():
    model = blocks.called(Lossy(), VECTORS)
    assert convert_dropout(model).report.converted
    model.factor = 1.001
    with pytest.raises(ValueError, match="does not predict the same.*Lossy"):
        convert_dropout(model)
    with pytest.raises(ValueError, match="strip_dropout: .*does not predict"):
        strip_dropout(model)


class Forgetful(blocks.InBuild):
    def get_config(self):
        return {}


def test_a_rate_that_is_lost_is_refused():
    model = blocks.called(Forgetful(0.5), STEPS)
    with pytest.raises(ValueError, match="'drop' .*rate=0.5, but rate=0.25"):
        convert_dropout(model)


def test_a_dtype_that_is_lost_is_refused():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = blocks.called(blocks.InInit(), VECTORS)
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="dtype='bfloat16', but dtype='float"):
        convert_dropout(model)


class Grows(blocks.InInit):
    def __init__(self, layer=None):
        super().__init__()
        self.extra = layer or stock.Identity()

    def call(self, inputs, training=None):
        return super().call(self.extra(inputs), training)

    def get_config(self):
        return {}


def test_weights_that_are_lost_are_refused():
    model = blocks.called(Grows(stock.Dense(4)), VECTORS)
    with pytest.raises(ValueError, match="it has other weights"):
        convert_dropout(model)


class Words(keras.Model):
    """Takes only inputs that nobody makes up."""

    def __init__(self):
        super().__init__()
        self.drop = stock.Dropout(RATE)
        self.top = stock.Dense(1)

    def call(self, inputs, training=None):
        if inputs.shape[1] != 3 or len(inputs.shape) != 2:
            raise ValueError("three numbers, please")
        return self.top(self.drop(inputs, training=training))

    def get_build_config(self):
        return {"input_shape": (None, None)}


def test_inputs_that_cannot_be_made_up_are_asked_for():
    x = np.ones((2, 3), "float32")
    model = blocks.called(Words(), x)
    with pytest.raises(ValueError, match="(?s)three numbers.*rows of inputs"):
        convert_dropout(model)
    assert convert_dropout(model, x).report.converted
    assert strip_dropout(model, x=x).report.stripped


class AlwaysOn(blocks.InInit):
    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


def test_a_model_that_draws_in_predictions_is_no_model_without_dropout():
    model = blocks.called(AlwaysOn(), VECTORS)
    notes = convert_dropout(model).report.notes
    assert "draws in them" in notes["predictions"]
    with pytest.raises(ValueError, match="draws in predictions too"):
        strip_dropout(model)


class Fails(blocks.InInit):
    """Fails when it is built anew, in the middle of it."""

    fails = False

    def __init__(self):
        super().__init__()
        assert isinstance(self.drop, layers.Dropout) is Fails.fails
        if Fails.fails:
            raise KeyboardInterrupt


def test_nothing_is_left_behind_an_interruption(monkeypatch):
    model = blocks.called(Fails(), VECTORS)
    before = predict(model, VECTORS)
    monkeypatch.setattr(Fails, "fails", True)
    with pytest.raises(KeyboardInterrupt):
        convert_dropout(model)
    assert "__new__" not in vars(stock.Dropout)
    assert type(stock.Dropout(0.5)) is stock.Dropout
    np.testing.assert_array_equal(predict(model, VECTORS), before)


def test_attention_of_rate_0_stays_without():
    model = blocks.called(
        blocks.Backbone(rate=0.0, attention="Attention"), TOKENS
    )
    new, report = convert_dropout(model)
    assert "block/attention/dropout" not in kerasdrop.get_rates(new)
    assert "made with dropout=0" in next(iter(report.skipped.values()))


def test_a_path_of_another_scaling_is_left():
    inputs = keras.Input((4,))
    path = drop_path(RATE, name="path")
    path.scale_by_keep = False
    outputs = stock.Dropout(0.5)(path(inputs))
    report = convert_dropout(keras.Model(inputs, outputs)).report
    assert "scale_by_keep=False" in report.skipped["path"]


class Residual(keras.Model):
    """Its code makes a drop path whose class is private."""

    def __init__(self):
        super().__init__()
        self.drops = drop_path(RATE, name="path")
        self.top = stock.Dense(4)

    def call(self, inputs, training=None):
        return inputs + self.drops(self.top(inputs), training=training)


def test_a_path_that_code_makes_is_converted_and_stripped():
    model = blocks.called(Residual(), VECTORS)
    new, report = convert_dropout(model)
    assert report.converted["path"].endswith("-> kerasdrop.layers.DropPath")
    assert_same(new, model, VECTORS)
    for one in (model, new):
        plain = strip_dropout(one).model
        assert type(plain.drops) is stock.Identity
        assert_same(plain, model, VECTORS)


class Attributes(keras.Model):
    """Its code makes the same layers whatever was done to them later."""

    def __init__(self):
        super().__init__()
        self.normalize = stock.BatchNormalization()
        self.noise = stock.GaussianNoise(0.1)
        self.dense = stock.Dense(2)
        self.drop = layers.Dropout(RATE)
        self.stock_drop = stock.Dropout(RATE)

    def call(self, inputs, training=None):
        x = self.normalize(inputs, training=training)
        x = self.dense(self.noise(x, training=training))
        x = self.drop(x, training=training)
        return self.stock_drop(x, training=training)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_regularizer", keras.regularizers.L2(0.1)),
        ("kernel_constraint", keras.constraints.MaxNorm(1.0)),
    ],
    ids=["regularizer", "constraint"],
)
def test_an_argument_that_only_training_shows_is_not_lost(name, value):
    model = blocks.called(Attributes(), VECTORS)
    for function in (convert_dropout, strip_dropout):
        assert function(model).model.dense is not model.dense
    setattr(model.dense, name, value)
    for function in (convert_dropout, strip_dropout):
        with pytest.raises(ValueError, match=f"be copied: it has {name}="):
            function(model)


def test_a_number_that_is_read_at_each_call_is_carried():
    model = blocks.called(Attributes(), VECTORS)
    model.normalize.momentum = 0.5
    model.noise.stddev = 0.7
    copy = convert_dropout(model).model
    assert copy.normalize.momentum == 0.5
    assert copy.noise.stddev == 0.7
    assert strip_dropout(model).model.normalize.momentum == 0.5


class HandedOn(stock.Layer):
    """Its configuration has the layer itself, not what would make another."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer
        self.drop = stock.Dropout(RATE)

    def build(self, shape):
        if not self.layer.built:
            self.layer.build(shape)

    def call(self, inputs, training=None):
        return self.drop(self.layer(inputs), training=training)

    def get_config(self):
        return {**super().get_config(), "layer": self.layer}


class Shares(HandedOn):
    """What is shared is a variable."""

    weights_made: typing.ClassVar[list[keras.Variable]] = []

    def __init__(self, **kwargs):
        super().__init__(stock.Identity(), **kwargs)
        if not self.weights_made:
            self.weights_made.append(keras.Variable(2.0, name="one"))
        self.weight = self.weights_made[0]

    def call(self, inputs, training=None):
        return super().call(inputs * self.weight, training=training)

    def get_config(self):
        return stock.Layer.get_config(self)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: HandedOn(stock.Dense(4, name="own")), "holds layer .*/own' "),
        (Shares, "has variable 'one' "),
    ],
    ids=["layer", "variable"],
)
def test_a_copy_that_shares_a_layer_or_a_variable_is_refused(make, fault):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, stock.Dense(1)(make()(inputs)))
    before = fingerprint(model)
    for function in (convert_dropout, strip_dropout, kerasdrop.insert_dropout):
        with pytest.raises(ValueError, match=f"it {fault}"):
            function(model)
    assert fingerprint(model) == before


class Scales(stock.Layer):
    """Its configuration lacks the factor."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return stock.Layer.get_config(self)


@pytest.mark.parametrize(
    "function", [kerasdrop.insert_dropout, kerasdrop.fold_classic_scaling]
)
def test_insertion_and_folding_compare_blocks_too(function):
    def make(factor):
        inputs = keras.Input((4,))
        x = layers.ClassicDropout(RATE)(Scales(factor)(inputs))
        x = stock.Dense(3)(x)
        return keras.Model(inputs, stock.Dense(1)(x))

    assert function(make(1.0)).model
    for arguments in ({}, {"x": VECTORS}):
        with pytest.raises(
            ValueError, match=f"{function.__name__}: .*not predict the same"
        ):
            function(make(3.0), **arguments)

"""Dropout put into trained models: where it goes, and that all else stays."""

import re

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import insert_dropout
from kerasdrop import layers
from tests.support import untouched
from tests.support.inserted import RNG
from tests.support.inserted import assert_inserted
from tests.support.inserted import functional
from tests.support.inserted import inputs_of
from tests.support.inserted import predict
from tests.support.inserted import randomized


def vector_model():
    return randomized(
        keras.Sequential(
            [
                keras.Input((4,)),
                stock.Dense(8, activation="relu", name="hidden"),
                stock.Dense(3, name="logits"),
                stock.Softmax(),
            ],
            name="vectors",
        )
    )


def body(name="body"):
    x = keras.Input((8, 8, 3))
    h = stock.Conv2D(4, 3, name="conv")(x)
    h = stock.BatchNormalization(name="norm")(h)
    return functional(x, stock.ReLU(name="relu")(h), name)


# Heads.


def test_the_head_of_a_sequential_model_stays_sequential(tmp_path):
    behind, new, report = assert_inserted(vector_model(), tmp_path, 0.25)

    assert behind == ["hidden"]
    assert [layer.name for layer in new.layers] == [
        "hidden",
        "hidden_dropout",
        "logits",
        "softmax",
    ]
    assert type(new.layers[1]) is layers.Dropout
    assert new.layers[1].rate == 0.25
    assert report.loads_weights
    assert "before 'logits'" in str(report)


def test_samples_are_those_of_dropout_before_the_head():
    """By formula: the variance of sum(w * h * keep) / (1 - rate)."""
    model = randomized(keras.Sequential([keras.Input((50,)), stock.Dense(1)]))
    x = RNG.uniform(0.5, 1.0, (2, 50)).astype("float32")
    new, _ = insert_dropout(model, 0.3)

    result = kerasdrop.mc_predict(
        new, x, 4000, plan="independent", kind="regression", verbose=0
    )

    kernel = model.get_weights()[0][:, 0]
    variance = np.sum((kernel * x) ** 2, axis=1) * 0.3 / 0.7
    # A sum of 50 terms is all but normal.
    bound = 5 * variance * (2 / 4000) ** 0.5
    assert np.all(np.abs(result.variance[:, 0] - variance) < bound)


def test_a_model_without_dropout_is_told_to_insert_it():
    model = vector_model()
    with pytest.raises(ValueError, match="can draw") as error:
        kerasdrop.mc_predict(model, inputs_of(model), verbose=0)

    line = re.search(r"`(model, report = .*?)`", str(error.value))[1]
    names = {"model": model, "kerasdrop": kerasdrop}
    exec(line, names)

    assert kerasdrop.get_rates(names["model"]) == {"hidden_dropout": 0.2}


def test_a_model_without_a_top_has_it_behind_the_output(tmp_path):
    model = body()
    behind, new, report = assert_inserted(model, tmp_path, 0.1)

    assert behind == ["relu"]
    assert type(new.layers[-1]) is layers.SpatialDropout2D
    assert "before the output" in report.inserted["relu_dropout"]


def test_the_head_of_a_transfer_model_is_in_the_outer_graph(tmp_path):
    x = keras.Input((8, 8, 3))
    h = stock.GlobalAveragePooling2D(name="pool")(body()(x))
    model = functional(x, stock.Dense(2, name="top")(h))

    behind, _, report = assert_inserted(model, tmp_path, 0.1)

    assert behind == ["pool"]
    assert list(report.inserted) == ["pool_dropout"]


def test_a_head_inside_a_nested_model_is_found(tmp_path):
    x = keras.Input((4,))
    model = functional(x, stock.Rescaling(2.0)(vector_model()(x)))

    behind, new, report = assert_inserted(model, tmp_path, 0.1)

    assert behind == ["hidden"]
    assert list(report.inserted) == ["vectors/hidden_dropout"]
    assert type(new.get_layer("vectors")) is keras.Sequential


def test_each_output_has_its_own(tmp_path):
    x = keras.Input((4,))
    h = stock.Dense(5, activation="relu", name="shared")(x)
    g = stock.Dense(5, activation="relu", name="longer")(h)
    outputs = {
        "a": stock.Dense(2, name="a")(h),
        "b": stock.Dense(2, name="b")(g),
        "features": h,
    }
    model = functional(x, outputs)

    behind, new, _ = assert_inserted(model, tmp_path, 0.1)

    assert behind == ["shared", "longer", "shared"]
    assert set(new.output) == {"a", "b", "features"}


def test_a_shared_head_stays_shared(tmp_path):
    one, two = keras.Input((4,)), keras.Input((4,))
    deep, head = stock.Dense(5, name="deep"), stock.Dense(1, name="head")
    model = functional([one, two], [head(deep(one)), head(deep(two))])

    behind, new, _ = assert_inserted(model, tmp_path, 0.1)

    assert behind == ["deep", "deep"]
    assert len(new.weights) == len(model.weights)


def test_heads_side_by_side_that_are_merged_are_both_found(tmp_path):
    x = keras.Input((4,))
    deep = stock.Dense(1, name="deep")(stock.Dense(5, name="hidden")(x))
    wide = stock.Dense(1, name="wide")(x)
    model = functional(x, ops.sigmoid(deep + wide))

    behind, _, report = assert_inserted(model, tmp_path, 0.1)

    assert len(behind) == 2
    assert "before 'deep'" in str(report)
    assert "before 'wide'" in str(report)


def test_a_block_at_the_end_is_no_head(tmp_path):
    x = keras.Input((4,))
    h = stock.Dense(4, name="first")(x)
    model = functional(x, stock.Add(name="sum")([h, stock.Dense(4)(h)]))

    behind, _, _ = assert_inserted(model, tmp_path, 0.1)

    assert behind == ["sum"]


def test_probabilities_are_never_dropped():
    x = keras.Input((4,))
    h = stock.Dense(4, name="first")(x)
    model = functional(x, stock.Softmax()(h + stock.Dense(4)(h)))

    with pytest.raises(ValueError, match="(?s)makes probabilities.*first"):
        insert_dropout(model, 0.1)


def test_a_normalization_before_a_softmax_is_passed(tmp_path):
    x = keras.Input((4,))
    h = stock.Dense(4, name="hidden")(x)
    h = stock.BatchNormalization()(stock.Dense(3, name="last")(h))
    model = functional(x, stock.Softmax()(h))

    assert assert_inserted(model, tmp_path, 0.1)[0] == ["hidden"]


@pytest.mark.parametrize(
    "end",
    [
        "log_softmax",
        "hard_sigmoid",
        ops.softmax,
        ops.log_softmax,
        ops.log_sigmoid,
        ops.sparsemax,
        ops.sparse_sigmoid,
    ],
    ids=lambda end: getattr(end, "__name__", end),
)
def test_what_probabilities_are_made_of_is_passed(end):
    x = keras.Input((4,))
    h = stock.Dense(4, name="hidden")(x)
    h = stock.BatchNormalization()(stock.Dense(3, name="last")(h))
    made = stock.Activation(end)(h) if isinstance(end, str) else end(h)
    model = functional(x, made)

    assert "behind 'hidden'" in str(insert_dropout(model, 0.1).report)


@pytest.mark.parametrize("where", ["head", "embedded", "recurrent"])
def test_sequential_models_with_masks(where, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            stock.Embedding(7, 4, mask_zero=True, name="embedded"),
            stock.LSTM(3, return_sequences=True, name="recurrent"),
            stock.GlobalAveragePooling1D(name="pooled"),
            stock.Dense(2),
        ]
    )
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2]], "int32")

    new, _ = insert_dropout(model, 0.1, where)

    assert type(new) is keras.Sequential
    np.testing.assert_array_equal(
        predict(new, tokens)[0], predict(model, tokens)[0]
    )
    # The mean over the steps that are not masked.
    result = kerasdrop.mc_predict(new, tokens, 16, rate=1e-9, verbose=0)
    np.testing.assert_allclose(
        result.mean, predict(model, tokens)[0], atol=1e-5
    )


# What is inserted.


@pytest.mark.parametrize(
    ("shape", "last", "cls", "data_format"),
    [
        ((5, 4), stock.LSTM(3), layers.LockedDropout, None),
        ((6, 6, 2), stock.Conv2D(3, 2), layers.SpatialDropout2D, "last"),
        ((4, 4, 4, 2), stock.Conv3D(3, 2), layers.SpatialDropout3D, "last"),
        ((5, 4), stock.Dense(3), layers.LockedDropout, None),
    ],
    ids=["steps", "image", "volume", "tokens"],
)
def test_the_layer_fits_the_shape(shape, last, cls, data_format):
    model = keras.Sequential([keras.Input(shape), last])
    new, _ = insert_dropout(model, 0.1)

    assert type(new.layers[0]) is cls
    if data_format:
        assert new.layers[0].data_format == f"channels_{data_format}"


def test_the_channels_are_where_the_layer_before_has_them():
    # Built alone: TensorFlow has no such convolution on a CPU.
    model = keras.Sequential(
        [
            keras.Input((2, 6, 6)),
            stock.MaxPooling2D(1, data_format="channels_first"),
            stock.ReLU(),
            stock.UpSampling2D(data_format="channels_first"),
            stock.Dense(3),
        ]
    )
    new, _ = insert_dropout(model, 0.1)

    assert new.layers[3].data_format == "channels_first"


def test_steps_of_channels_first_fall_by_the_channel():
    model = keras.Sequential(
        [
            keras.Input((4, 5)),
            stock.MaxPooling1D(1, data_format="channels_first"),
            stock.Dense(3),
        ]
    )
    new, _ = insert_dropout(model, 0.1)

    assert type(new.layers[1]) is layers.SpatialDropout1D
    assert new.layers[1].data_format == "channels_first"


def test_heads_of_attention_are_no_image():
    x = keras.Input((6, 8))
    h = stock.EinsumDense("btf,fhd->bthd", (6, 2, 4), name="heads")(x)
    model = keras.Model(x, stock.EinsumDense("bthd,hdo->bto", (6, 3))(h))

    with pytest.raises(ValueError, match="(?s)'heads'.*Pass|Pass a layer"):
        insert_dropout(model, 0.1)
    new, _ = insert_dropout(model, 0.1, layer=layers.Dropout)
    assert type(new.get_layer("heads_dropout")) is layers.Dropout


def test_integers_are_refused():
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), stock.Embedding(9, 4)]
    )
    with pytest.raises(ValueError, match="takes integers"):
        insert_dropout(model, 0.1)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_nothing_is_cast(policy, tmp_path):
    model = randomized(
        keras.Sequential(
            [
                keras.Input((4,)),
                stock.Dense(8, dtype=policy, name="hidden"),
                stock.Dense(3, dtype="float32"),
            ]
        )
    )
    _, new, _ = assert_inserted(model, tmp_path, 0.1)

    assert new.layers[1].compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize(
    "layer",
    [
        layers.GaussianDropout,
        stock.Dropout,
        lambda made_by: layers.Dropout(0.4, name=f"mine_{made_by.name}"),
        lambda made_by: layers.AlphaDropout,
    ],
    ids=["ours", "stock", "function", "function of a class"],
)
def test_a_layer_is_what_is_asked_for(layer, tmp_path):
    _, new, _ = assert_inserted(vector_model(), tmp_path, 0.4, layer=layer)

    assert new.layers[1].rate == 0.4


class Untold(stock.Layer):
    def call(self, inputs):
        return inputs


class Changing(stock.Dropout):
    def call(self, inputs, training=False):
        return super().call(inputs, training=training) + 1.0


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (layers.ClassicDropout, "multiplies by `1 - rate` at inference"),
        (layers.MCDropout, "draws at inference"),
        (lambda _: layers.DropConnect(stock.Dense(8), 0.1), "wrapper"),
        (lambda _: Untold(), "not known to draw"),
        (lambda _: Changing(0.1), "changes its inputs"),
        (lambda _: 0.3, "must be a class of layers"),
        (layers.DropBlock2D, "cannot be made by"),
        (lambda _: layers.Dropout(0.1, name="logits"), "name that no other"),
    ],
    ids=str.split("classic mc wrapper untold changing number block name"),
)
def test_a_layer_that_would_not_do_is_refused(layer, why):
    with pytest.raises(ValueError, match=f"^insert_dropout: .*{why}"):
        insert_dropout(vector_model(), 0.1, layer=layer)


# Models.


@pytest.mark.parametrize(
    "layer", [3, "Dropout", layers.Dropout(0.1, name="one")]
)
def test_what_makes_no_layers_is_refused(layer):
    with pytest.raises(TypeError, match="insert_dropout: .*which makes one"):
        insert_dropout(vector_model(), 0.1, layer=layer)


@pytest.mark.parametrize("cls", [stock.Dense, layers.ConcreteDropout])
def test_a_class_that_takes_no_rate_is_refused(cls):
    # Keras before 3.15 makes a `Dense` with a part of a unit.
    words = "cannot be made by .*Pass a function|Dense.*not known to draw"
    with pytest.raises(ValueError, match=words):
        insert_dropout(vector_model(), 0.1, layer=cls)


def test_a_class_is_no_function_of_a_layer():
    with pytest.raises(TypeError, match=r"isinstance\(layer, Dense\)"):
        insert_dropout(vector_model(), 0.1, where=stock.Dense)
    with pytest.raises(TypeError, match=r"isinstance\(layer, Dropout\)"):
        kerasdrop.set_rates(
            insert_dropout(vector_model(), 0.1).model,
            0.2,
            layers=layers.Dropout,
        )


def test_dropout_that_is_there_stays_and_is_told(tmp_path):
    model = randomized(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dropout(0.5, name="ours"),
                stock.Dense(8),
                stock.Dropout(0.4, name="stock"),
                stock.Dense(8),
                stock.Dense(2),
            ]
        )
    )
    kerasdrop.set_rates(model, 0.3, layers="ours")

    _, new, report = assert_inserted(model, tmp_path, 0.1)

    assert set(report.kept) == {"ours", "stock"}
    assert "Dropout(0.3)" in report.kept["ours"]
    assert new.get_layer("ours").rate == 0.3


def test_all_that_draws_already_is_told_and_what_never_will_is_not():
    x = keras.Input((5, 4))
    h = stock.LSTM(4, dropout=0.2, return_sequences=True, name="steps")(x)
    h = stock.GRU(4, return_sequences=True, name="dry")(h)
    h = stock.GaussianNoise(0.1, name="noise")(h)
    h = stock.MultiHeadAttention(1, 4, name="attention")(h, h)
    h = layers.DropPath(0.0, name="annealed")(h)
    h = stock.Dense(4)(stock.Dropout(0.0, name="never")(h))

    report = insert_dropout(functional(x, stock.Dense(2)(h)), 0.1).report

    assert list(report.kept) == ["steps/lstm_cell", "noise", "annealed"]
    assert "draws as well" in report.kept["steps/lstm_cell"]
    assert "draws nothing at this rate" in report.kept["annealed"]


def test_a_state_that_another_layer_would_read_is_noticed(tmp_path):
    """Ours before the others of its class: the file's first one is it."""
    x = keras.Input((4,))
    h = layers.Dropout(0.5, name="ours")(stock.Dense(3, name="one")(x))
    g = stock.Dense(2, name="two")(stock.Dense(3, name="deep")(h))
    model = functional(x, [g, stock.Dense(2, name="head")(x)])

    new, report = insert_dropout(model, 0.1)

    names = [layer.name for layer in new.layers]
    first = next(name for name in names if "drop" in name or name == "ours")
    assert report.loads_weights == (first == "ours")


def test_a_head_with_dropout_gets_no_second_one():
    model = keras.Sequential(
        [keras.Input((4,)), stock.Dropout(0.5, name="there"), stock.Dense(2)]
    )
    with pytest.raises(ValueError, match="there is dropout .*'there'"):
        insert_dropout(model, 0.1)


def test_frozen_layers_stay_frozen(tmp_path):
    model = vector_model()
    model.layers[0].trainable = False

    _, new, _ = assert_inserted(model, tmp_path, 0.1)

    assert not new.layers[0].trainable


def test_what_stops_it_leaves_the_model_as_it_was():
    x = keras.Input((4,))
    h = stock.Dense(3, name="one")(x)
    model = functional(x, [stock.Dense(2)(h), stock.Dense(2)(h)])
    state = untouched.state_of(model)
    calls = []

    def stopping(made_by):
        calls.append(made_by.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return layers.Dropout

    with pytest.raises(KeyboardInterrupt):
        insert_dropout(model, 0.1, layer=stopping)

    assert calls == ["one", "one"]
    np.testing.assert_equal(untouched.state_of(model), state)


def test_compiled_predictions_are_equal_to_rounding():
    model = vector_model()
    x = inputs_of(model)
    new, _ = insert_dropout(model, 0.5, where="hidden")
    new.compile(jit_compile=keras.backend.backend() == "jax")

    np.testing.assert_allclose(
        new.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6
    )


def test_the_copy_trains_with_dropout_and_lets_the_original_be():
    model = vector_model()
    before = [w.copy() for w in model.get_weights()]
    new, _ = insert_dropout(model, 0.5)
    new.compile(optimizer="sgd", loss="mse")
    new.fit(np.ones((8, 4)), np.ones((8, 3)), epochs=2, verbose=0)

    assert new.get_layer("hidden_dropout").step == 2
    for one, other in zip(model.get_weights(), before):
        np.testing.assert_array_equal(one, other)
    assert np.abs(new.get_weights()[0] - before[0]).max() > 0


def test_the_copy_is_not_compiled():
    model = vector_model()
    model.compile(optimizer="sgd", loss="mse")
    assert not insert_dropout(model, 0.1).model.compiled


class OnlyBuilt(keras.Model):
    """As the models of KerasHub: a graph, made in `__init__`."""

    def __init__(self, units):
        x = keras.Input((4,))
        h = stock.Dense(units, name="hidden")(x)
        super().__init__(x, stock.Dense(2, name="top")(h))


def test_a_class_that_only_makes_a_graph_becomes_a_plain_model(tmp_path):
    model = randomized(OnlyBuilt(3))
    x = inputs_of(model)

    new, report = insert_dropout(model, 0.1)

    assert list(report.inserted) == ["hidden_dropout"]
    assert not report.loads_weights
    assert "OnlyBuilt" in report.why_not_loaded
    np.testing.assert_array_equal(predict(new, x)[0], predict(model, x)[0])


def test_a_layer_that_two_graphs_call_stays_one():
    class Backbone(keras.Model):
        def __init__(self):
            x = keras.Input((4,))
            super().__init__(x, stock.Dense(4, name="tied")(x))

    backbone = Backbone()
    x = keras.Input((4,))
    h = stock.ReLU(name="between")(backbone(x))
    model = functional(x, backbone.get_layer("tied")(h))
    given = inputs_of(model)

    new, report = insert_dropout(model, 0.1)

    assert list(report.inserted) == ["between_dropout"]
    assert len(new.weights) == 2
    for one, other in zip(predict(new, given), predict(model, given)):
        np.testing.assert_array_equal(one, other)


def test_a_stock_layer_of_rate_0_is_no_dropout(tmp_path):
    model = randomized(
        keras.Sequential(
            [
                keras.Input((4,)),
                stock.Dense(3),
                stock.Dropout(0.0, name="never"),
                stock.Dense(2),
            ]
        )
    )
    assert assert_inserted(model, tmp_path, 0.1)[0] == ["never"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.top = stock.Dense(2)

    def call(self, inputs):
        return self.top(inputs)


def test_a_model_without_a_graph_is_refused():
    model = Subclassed()
    model(np.ones((1, 4)))
    with pytest.raises(ValueError, match="into its `call`"):
        insert_dropout(model, 0.1)


def test_a_head_in_python_code_is_refused():
    x = keras.Input((4,))
    model = keras.Model(x, Subclassed()(stock.Dense(3, name="here")(x)))
    with pytest.raises(ValueError, match="(?s)written in Python code.*here"):
        insert_dropout(model, 0.1)


def test_a_monte_carlo_model_is_refused():
    model = kerasdrop.MonteCarlo(insert_dropout(vector_model(), 0.1).model)
    with pytest.raises(ValueError, match="MonteCarlo"):
        insert_dropout(model, 0.1)


@pytest.mark.parametrize("rate", [-0.1, 1.5, "much", float("nan")])
def test_a_rate_outside_of_0_and_1_is_refused(rate):
    with pytest.raises(ValueError, match="insert_dropout.*rate"):
        insert_dropout(vector_model(), rate)

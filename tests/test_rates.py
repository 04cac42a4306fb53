import re

import keras
import numpy as np
import pytest
from keras import layers as stock

from kerasdrop import layers
from kerasdrop import rates

X = np.linspace(-1.0, 1.0, 32, dtype="float32").reshape(8, 4)
Y = np.zeros((8, 1), "float32")


class Block(keras.layers.Layer):
    """A subclassed layer with sublayers of one name, one in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dropout(0.1, name="drop")
        self.rest = [layers.Dropout(0.2, name="drop")]

    def call(self, inputs, training=False):
        outputs = self.first(inputs, training=training)
        return self.rest[0](outputs, training=training)


def nested_model():
    encoder = keras.Sequential(
        [
            keras.Input((4,)),
            stock.Dense(4),
            layers.Dropout(0.3, name="drop"),
        ],
        name="encoder",
    )
    inputs = keras.Input((4,))
    hidden = encoder(inputs)
    hidden = layers.ClassicDropout(0.4, name="drop")(hidden)
    hidden = Block(name="block")(hidden)
    hidden = stock.TimeDistributed(
        layers.Dropout(0.5, name="inner"), name="steps"
    )(stock.Reshape((2, 2))(hidden))
    outputs = stock.Dense(1, name="head")(stock.Flatten()(hidden))
    return keras.Model(inputs, outputs, name="main")


NESTED_RATES = {
    "encoder/drop": 0.3,
    "drop": 0.4,
    "block/drop": 0.1,
    "block/drop#2": 0.2,
    "steps/inner": 0.5,
}


def scheduled():
    return layers.ScheduledDropout(
        keras.optimizers.schedules.PolynomialDecay(0.5, 10, 0.1), name="ramp"
    )


def sequential(*dropouts):
    return keras.Sequential([keras.Input((4,)), *dropouts, stock.Dense(1)])


def test_every_layer_has_a_path_of_its_own():
    assert rates.get_rates(nested_model()) == NESTED_RATES


def test_paths_are_found_in_an_unbuilt_subclassed_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block(name="block")

    expected = {"block/drop": 0.1, "block/drop#2": 0.2}
    assert rates.get_rates(Model()) == expected


def test_a_shared_layer_is_listed_once():
    shared = layers.Dropout(0.5, name="shared")
    encoder = keras.Sequential([keras.Input((4,)), shared], name="encoder")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(encoder(inputs)))
    assert rates.get_rates(model) == {"encoder/shared": 0.5}


def test_what_was_got_can_be_set():
    model = nested_model()
    before = rates.get_rates(model)
    rates.set_rates(model, 0.9)
    rates.set_rates(model, before)
    assert rates.get_rates(model) == before


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (None, set(NESTED_RATES)),
        ("encoder/drop", {"encoder/drop"}),
        # "drop" is a path of its own, and the name of three more.
        ("drop", {"drop"}),
        ("inner", {"steps/inner"}),
        ("block/*", {"block/drop", "block/drop#2"}),
        ("*/*", set(NESTED_RATES) - {"drop"}),
        ("inn?r", {"steps/inner"}),
        (["drop", "steps/*"], {"drop", "steps/inner"}),
        (lambda layer: layer.rate > 0.35, {"drop", "steps/inner"}),
    ],
)
def test_a_selector_selects(selector, selected):
    model = nested_model()
    rates.set_rates(model, 0.75, layers=selector)
    expected = {
        path: 0.75 if path in selected else rate
        for path, rate in NESTED_RATES.items()
    }
    assert rates.get_rates(model) == expected


@pytest.mark.parametrize(
    ("name", "selected"),
    [("drop", {"drop"}), ("block", {"block/drop", "block/drop#2"})],
)
def test_a_layer_selects_itself_or_what_it_contains(name, selected):
    model = nested_model()
    rates.set_rates(model, 0.75, layers=model.get_layer(name))
    changed = {
        path
        for path, rate in rates.get_rates(model).items()
        if rate != NESTED_RATES[path]
    }
    assert changed == selected


def test_a_dict_sets_each_its_own():
    model = nested_model()
    rates.set_rates(model, {"encoder/*": 0.6, "drop": 0.7})
    expected = {**NESTED_RATES, "encoder/drop": 0.6, "drop": 0.7}
    assert rates.get_rates(model) == expected


def test_setting_takes_effect_in_compiled_prediction():
    model = sequential(layers.MCDropout(0.0), layers.MCDropout(0.0))
    model.layers[-1].set_weights([np.ones((4, 1)), np.full(1, 7.0)])
    model.predict(X, verbose=0)
    rates.set_rates(model, 1.0)
    assert (model.predict(X, verbose=0) == 7.0).all()


def test_a_batch_callback_sets_rates_for_the_next_batch():
    seen = []

    class Ramp(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.set_rates(self.model, batch / 4)
            seen.append(rates.get_rates(self.model))

    model = sequential(layers.Dropout(0.9, name="drop"))
    model.compile("sgd", "mse")
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[Ramp()])
    assert seen == [{"drop": rate} for rate in (0.0, 0.25, 0.5, 0.75)]


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras on JAX alone does this"
)
def test_a_batch_callback_that_did_not_touch_the_model_is_told_to():
    model = sequential(layers.Dropout(0.9), layers.Dropout(0.8))
    model.compile("sgd", "mse")
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.set_rates(model, 0.1)
    )
    with pytest.raises(RuntimeError, match="touch `self.model` first"):
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[callback])


def test_a_model_without_our_layers_is_told_to_convert():
    model = sequential(stock.GaussianDropout(0.5, name="theirs"))
    message = (
        r"(?s)no layer of kerasdrop.*theirs \(keras.layers.GaussianDropout\)"
        r".*kerasdrop.convert_dropout\(model\)"
    )
    with pytest.raises(ValueError, match=message):
        rates.get_rates(model)
    with pytest.raises(ValueError, match=message):
        rates.set_rates(model, 0.5)


def test_a_stock_layer_that_can_be_converted_is_refused():
    model = sequential(layers.Dropout(0.25, name="ours"), stock.Dropout(0.5))
    with pytest.raises(ValueError, match="with `model, report = kerasdrop.con"):
        rates.set_rates(model, 0.75)
    assert rates.get_rates(model) == {"ours": 0.25}


def test_a_rate_that_one_layer_refuses_is_set_in_none():
    model = sequential(
        layers.Dropout(0.25, name="a"), layers.GaussianDropout(0.5, name="b")
    )
    with pytest.raises(ValueError, match="'b' .* must be below 1"):
        rates.set_rates(model, 1.0)
    assert rates.get_rates(model) == {"a": 0.25, "b": 0.5}


# What a subclass overrides would be lost.
WITHOUT_COUNTERPART = [
    type("Own", (parent,), {})
    for parent in (
        stock.Dropout,
        stock.SpatialDropout1D,
        stock.GaussianDropout,
        stock.AlphaDropout,
    )
]


@pytest.mark.parametrize("theirs", WITHOUT_COUNTERPART)
def test_a_stock_layer_without_counterpart_is_left_with_a_warning(theirs):
    model = sequential(
        layers.Dropout(0.25, name="ours"),
        stock.Reshape((2, 2)),
        theirs(0.5, name="theirs"),
        stock.Flatten(),
    )
    message = (
        "(?s)^set_rates: these layers keep their rates.*theirs .*"
        r"`set_rates\(..., layers=\['ours'\]\)`"
    )
    with pytest.warns(UserWarning, match=message):
        rates.set_rates(model, 0.75)
    stock_rate = model.get_layer("theirs").rate
    assert (rates.get_rates(model), stock_rate) == ({"ours": 0.75}, 0.5)


def test_the_warning_comes_before_anything_is_set():
    theirs = WITHOUT_COUNTERPART[0](0.5)
    model = sequential(layers.Dropout(0.25, name="ours"), theirs)
    with pytest.raises(UserWarning, match="keep their rates"):
        rates.set_rates(model, 0.75)  # here warnings are errors
    assert rates.get_rates(model) == {"ours": 0.25}


@pytest.mark.parametrize("selector", ["*", "theirs", ["ours", "theirs"]])
@pytest.mark.parametrize("theirs", WITHOUT_COUNTERPART)
def test_a_stock_layer_that_is_selected_is_refused(theirs, selector):
    model = sequential(
        layers.Dropout(0.25, name="ours"),
        stock.Reshape((2, 2)),
        theirs(0.5, name="theirs"),
        stock.Flatten(),
    )
    message = r"'theirs' is a .* To leave .*`set_rates\(..., layers=\['ours'\]"
    with pytest.raises(ValueError, match=message):
        rates.set_rates(model, 0.75, layers=selector)
    assert rates.get_rates(model) == {"ours": 0.25}


@pytest.mark.parametrize("theirs", [stock.Dropout, WITHOUT_COUNTERPART[0]])
def test_the_way_around_stock_layers_that_the_message_names_works(theirs):
    model = sequential(layers.Dropout(0.25, name="ours"), theirs(0.5))
    rates.set_rates(model, 0.75, layers=["ours"])
    assert rates.get_rates(model) == {"ours": 0.75}


def test_a_scheduled_layer_is_refused_and_nothing_is_set():
    model = sequential(layers.Dropout(0.25, name="ours"), scheduled())
    with pytest.raises(ValueError, match="follows a PolynomialDecay and canno"):
        rates.set_rates(model, 0.75)
    assert rates.get_rates(model) == {"ours": 0.25, "ramp": 0.5}


@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan, "0.5", [0.5], None])
def test_an_illegal_rate_is_refused_and_nothing_is_set(rate):
    model = sequential(layers.Dropout(0.25, name="a"))
    with pytest.raises(ValueError, match=r"must be .*in \[0, 1\]"):
        rates.set_rates(model, rate)
    with pytest.raises(ValueError, match=r"must be .*in \[0, 1\]"):
        rates.set_rates(model, {"a": rate})
    assert rates.get_rates(model) == {"a": 0.25}


def test_one_illegal_rate_in_a_dict_leaves_all_as_they_were():
    model = nested_model()
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        rates.set_rates(model, {"drop": 0.5, "encoder/*": 2.0})
    assert rates.get_rates(model) == NESTED_RATES


def test_a_schedule_is_refused_as_a_rate():
    model = sequential(layers.Dropout(0.25))
    with pytest.raises(ValueError, match="belongs to a layer from the start"):
        rates.set_rates(model, scheduled().schedule)


@pytest.mark.parametrize("selector", ["drip", "drop*x", ["drop", "drip"]])
def test_selecting_nothing_lists_what_there_is(selector):
    model = nested_model()
    with pytest.raises(ValueError, match=re.escape("encoder/drop (Dropout)")):
        rates.set_rates(model, 0.5, layers=selector)
    assert rates.get_rates(model) == NESTED_RATES


def test_a_key_that_selects_nothing_is_named_as_a_key():
    with pytest.raises(ValueError, match="Received: key 'drip' of `rate`"):
        rates.set_rates(nested_model(), {"drip": 0.5})


def test_an_empty_selection_is_refused():
    with pytest.raises(ValueError, match="leave it out to mean all layers"):
        rates.set_rates(nested_model(), 0.5, layers=[])


def test_an_empty_dict_of_rates_is_refused():
    with pytest.raises(ValueError, match="sets nothing; pass a number to set"):
        rates.set_rates(nested_model(), {})


def test_a_selector_of_another_type_is_refused():
    with pytest.raises(TypeError, match="a function of a layer, or a list"):
        rates.set_rates(nested_model(), 0.5, layers=3)


def test_two_keys_for_one_layer_are_refused():
    with pytest.raises(ValueError, match="both select layer 'drop'"):
        rates.set_rates(nested_model(), {"drop": 0.5, "*": 0.1})


def test_a_dict_with_layers_is_refused():
    with pytest.raises(ValueError, match="leave `layers` out"):
        rates.set_rates(nested_model(), {"drop": 0.5}, layers="drop")


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="must be a `keras.Model` or a layer"):
        rates.get_rates([nested_model()])


@pytest.mark.parametrize(
    "attention",
    [stock.MultiHeadAttention(2, 4), stock.GroupQueryAttention(4, 2, 1)],
    ids=lambda layer: layer.name,
)
def test_attention_of_keras_without_dropout_is_no_dropout_layer(attention):
    inputs = keras.Input((4, 8))
    hidden = layers.Dropout(0.5, name="drop")(attention(inputs, inputs))
    model = keras.Model(inputs, hidden)

    rates.set_rates(model, 0.25)

    assert rates.get_rates(model) == {"drop": 0.25}

"""What cannot be predicted is refused at once, with the way out."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop


def model_with(dropout):
    return keras.Sequential(
        [keras.Input((3,)), layers.Dense(4), dropout, layers.Dense(2)]
    )


@pytest.fixture
def model():
    return model_with(kerasdrop.layers.Dropout(0.5))


X = np.ones((2, 3), "float32")


@pytest.mark.parametrize("num_samples", [0, -1, 2.5, "ten", True])
def test_num_samples(model, num_samples):
    with pytest.raises(ValueError, match="`num_samples` must be an integer of"):
        kerasdrop.mc_predict(model, X, num_samples)


@pytest.mark.parametrize("batch_size", [0, None, 1.5])
def test_batch_size(model, batch_size):
    with pytest.raises(ValueError, match="`batch_size` must be an integer of"):
        kerasdrop.mc_predict(model, X, batch_size=batch_size)


@pytest.mark.parametrize("first_row", [-1, 1.5, None, True])
def test_first_row(model, first_row):
    predictive = kerasdrop.MonteCarlo(model, 4)
    with pytest.raises(ValueError, match="`first_row` must be an integer of"):
        predictive.predict(X, verbose=0, first_row=first_row)


@pytest.mark.parametrize(
    "given",
    [
        {"rows": np.arange(2), "first_row": 1},
        {"rows": np.ma.masked_array(np.arange(2), [0, 1])},
    ],
)
def test_rows_that_are_not_plain(model, given):
    predictive = kerasdrop.MonteCarlo(model, 16)
    with pytest.raises(ValueError, match="`rows`.*Received"):
        predictive.predict(X, verbose=0, **given)


@pytest.mark.parametrize("plan", ["antithetic", None, ["shared"]], ids=str)
def test_plan(model, plan):
    with pytest.raises(ValueError, match="`plan` must be one of independent"):
        kerasdrop.mc_predict(model, X, plan=plan)


@pytest.mark.parametrize("kind", ["classes", 1, {}, [[]]], ids=str)
def test_kind(model, kind):
    with pytest.raises(ValueError, match="`kind` must be one of probabilities"):
        kerasdrop.mc_predict(model, X, kind=kind)


def test_seed(model):
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        kerasdrop.mc_predict(model, X, seed=0.5)


def test_no_model():
    with pytest.raises(ValueError, match="`model` must be a Keras model"):
        kerasdrop.mc_predict(layers.Dropout(0.5), X)


def test_a_model_with_its_report_is_no_model():
    plain = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="`model, report = ...`.*Insertion"):
        kerasdrop.mc_predict(kerasdrop.insert_dropout(plain, 0.1), X)


@pytest.mark.parametrize(
    ("x", "received"),
    [
        (np.full((2, 3), "1"), "an array of dtype <U1"),
        (np.ones((2, 3), object), "an array of dtype object"),
        (np.ones((2, 3), "M8[s]"), "an array of dtype datetime64"),
        (lambda: iter([X]), "x=<function .* \\(of type function\\)"),
    ],
    ids=["strings", "objects", "times", "function"],
)
def test_other_data_than_numbers(model, x, received):
    if keras.backend.backend() == "tensorflow" and "U1" in received:
        pytest.skip("layers of TensorFlow take strings")
    with pytest.raises(ValueError, match=f"array of numbers.*{received}"):
        kerasdrop.mc_predict(model, x, verbose=0)


def test_masked_values_are_not_taken_for_numbers(model):
    masked = np.ma.masked_array(X, X > 0)
    with pytest.raises(ValueError, match=r"`x.filled\(numpy.nan\)`"):
        kerasdrop.mc_predict(model, masked, verbose=0)


def test_ragged_rows_are_not_padded(model):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("ragged tensors are TensorFlow's")
    import tensorflow as tf

    ragged = tf.ragged.constant([[1.0, 2.0, 3.0], [1.0]])
    with pytest.raises(ValueError, match=r"Pad them.*Received: RaggedTensor"):
        kerasdrop.mc_predict(model, ragged, verbose=0)


def test_missing_numbers_that_a_compiled_model_hides():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )
    missing = np.full((2, 3), np.nan, "float32")
    shows = np.isnan(model.predict(missing, verbose=0)).all()
    # What is checked first has none, and then one row alone has.
    data = np.ones((40, 3), "float32")
    data[37, 1] = np.nan
    for x, batch_size in ((missing, 32), (data, 16), (data, 64)):
        if shows:
            result = kerasdrop.mc_predict(
                model, x, verbose=0, batch_size=batch_size
            )
            is_nan = np.isnan(result.mean).all(axis=-1)
            np.testing.assert_array_equal(is_nan, np.isnan(x).any(axis=-1))
        else:  # TensorFlow, where stock `predict` makes 0 of them
            with pytest.raises(
                kerasdrop.VerificationError, match="NaN or infinite.*Fill in"
            ):
                kerasdrop.mc_predict(model, x, verbose=0, batch_size=batch_size)


def test_missing_numbers_that_a_model_fills_in():
    x = keras.Input((3,))
    h = layers.Dense(4, activation="relu")(ops.where(ops.isnan(x), 0.0, x))
    model = keras.Model(x, layers.Dense(2)(layers.Dropout(0.5)(h)))
    data = np.ones((40, 3), "float32")
    data[37, 1] = np.nan
    settings = {"num_samples": 16, "seed": 1, "verbose": 0, "batch_size": 16}
    filled = kerasdrop.mc_predict(model, np.nan_to_num(data), **settings)
    result = kerasdrop.mc_predict(model, data, **settings)
    np.testing.assert_allclose(result.mean, filled.mean, atol=1e-6)


def test_unbuilt_model():
    unbuilt = keras.Sequential([kerasdrop.layers.Dropout(0.5), layers.Dense(2)])
    with pytest.raises(ValueError, match="not built.*Call it on a batch first"):
        kerasdrop.mc_predict(unbuilt, X)


def test_nothing_stochastic():
    with pytest.raises(ValueError, match="(?s)no layer of .* can draw.*Dense"):
        kerasdrop.mc_predict(model_with(layers.Activation("relu")), X)


@pytest.mark.parametrize(
    "dropout", [kerasdrop.layers.Dropout(0.0), layers.Dropout(0.0)]
)
def test_all_rates_zero(dropout):
    with pytest.raises(ValueError, match="rate of each layer .* is 0"):
        kerasdrop.mc_predict(model_with(dropout), X)


@pytest.mark.parametrize("kind", ["number", "schedule", "stock"])
def test_a_rate_of_zero_is_told_a_way_that_works(kind):
    decay = keras.optimizers.schedules.PolynomialDecay(0.5, 1, 0.0)
    layer = {
        "number": kerasdrop.layers.Dropout(0.0),
        "schedule": kerasdrop.layers.Dropout(decay),
        "stock": layers.Dropout(0.0),
    }[kind]
    model = model_with(layer)
    model(X, training=True)
    with pytest.raises(ValueError, match=r"can draw is 0.*`rate=0\.1`"):
        kerasdrop.mc_predict(model, X, 4)
    result = kerasdrop.mc_predict(model, X, 48, rate=0.1, verbose=0)
    assert result.std.max() > 0.0


def test_a_rate_set_to_zero_later_is_noticed(model):
    predictive = kerasdrop.MonteCarlo(model)
    predictive.predict(X, verbose=0)
    kerasdrop.set_rates(model, 0.0)
    with pytest.raises(ValueError, match="rate of each layer .* is 0"):
        predictive.predict(X, verbose=0)


def test_a_stock_rate_set_later_is_used():
    model = model_with(layers.Dropout(0.5))
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0)
    model.layers[1].rate = 1.0
    assert (predictive.predict(X, verbose=0)["variance"] == 0.0).all()


def test_empty_data(model):
    with pytest.raises(ValueError, match="at least one row"):
        kerasdrop.mc_predict(model, X[:0])


# Keras warns where we then refuse.
@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")
def test_more_inputs_than_the_model_takes(model):
    with pytest.raises(ValueError, match="takes 1 input.*Received: 2 inputs"):
        kerasdrop.mc_predict(model, [X, X], 4)


@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")
def test_a_dict_without_one_of_the_inputs():
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    model = keras.Model(
        {"a": a, "b": b}, layers.Dropout(0.5)(layers.Add()([a, b]))
    )
    with pytest.raises(ValueError, match=r"2 input.*\(a, b\).*Received: 1 inp"):
        kerasdrop.mc_predict(model, {"a": X}, 4)


def test_evaluating_what_is_not_compiled(model):
    with pytest.raises(ValueError, match="Call `compile.*on it first"):
        kerasdrop.MonteCarlo(model).evaluate(X, X[:, :2])


@pytest.mark.parametrize("x", [X, iter([(X,)])], ids=["array", "batches"])
def test_evaluating_without_targets(model, x):
    predictive = kerasdrop.MonteCarlo(model)
    predictive.compile(loss="mse")
    with pytest.raises(ValueError, match="needs targets: pass `y`"):
        predictive.evaluate(x)


def test_arrays_of_different_lengths(model):
    with pytest.raises(ValueError, match="the same number of rows"):
        kerasdrop.mc_predict(model, {"a": X, "b": X[:1]})


def test_inside_another_model(model):
    with pytest.raises(NotImplementedError, match="inside another model"):
        kerasdrop.MonteCarlo(model)(keras.Input(X.shape[1:]))


def test_training(model):
    with pytest.raises(ValueError, match="Train the model that it was made of"):
        kerasdrop.MonteCarlo(model)(X, training=True)


def test_a_refused_fit_leaves_the_model_as_it_was(model):
    predictive = kerasdrop.MonteCarlo(model)
    predictive.compile(loss="mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match="Train the model that it was made of"):
        predictive.fit(X, X[:, :2], verbose=0)
    for one, other in zip(model.get_weights(), before):
        np.testing.assert_array_equal(one, other)


def test_a_result_is_read_only(model):
    result = kerasdrop.mc_predict(model, X, verbose=0)
    with pytest.raises(AttributeError, match="read-only"):
        result.mean = 0.0


def test_a_statistic_that_the_kind_has_not(model):
    result = kerasdrop.mc_predict(model, X, kind="regression", verbose=0)
    with pytest.raises(AttributeError, match="of kind 'regression' has mean, "):
        _ = result.mutual_information
    for name, given in [
        ("samples", "keep_samples=True"),
        ("quantiles", "quantiles=(0.05, 0.95)"),
        ("log_likelihood", "y="),
    ]:
        with pytest.raises(AttributeError, match=re.escape(given)):
            getattr(result, name)


@pytest.mark.parametrize(
    "function",
    [
        np.asarray,
        keras.ops.convert_to_tensor,
        kerasdrop.measures.predictive_entropy,
        lambda result: kerasdrop.acquisition.top_k(result, 2),
        lambda result: kerasdrop.calibration.brier_score(X[:, 0] > 0, result),
        lambda result: kerasdrop.calibration.ood_detection(result, result),
    ],
)
def test_a_result_is_no_array(model, function):
    result = kerasdrop.mc_predict(model, X, verbose=0)
    with pytest.raises(TypeError, match="Pass one of its statistics"):
        function(result)


def test_a_stateful_layer():
    model = keras.Sequential(
        [
            keras.Input((5, 3), batch_size=2),
            layers.LSTM(2, stateful=True, dropout=0.5),
        ]
    )
    with pytest.raises(ValueError, match="Make the model without `stateful="):
        kerasdrop.MonteCarlo(model)


class Own(keras.layers.Layer):
    """Noise of the user's own making."""

    def __init__(self):
        super().__init__()
        self.numbers = keras.random.SeedGenerator(0)

    def call(self, inputs, training=False):
        if not training:
            return inputs
        return inputs + keras.random.normal(inputs.shape, seed=self.numbers)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_an_unknown_stochastic_layer_is_named():
    model = keras.Sequential(
        [keras.Input((3,)), Own(), layers.Dropout(0.5), layers.Dense(2)]
    )
    with pytest.warns(UserWarning, match=r"'own' \(Own\).*register_stochastic"):
        kerasdrop.MonteCarlo(model)


def test_with_unknown_layers_alone_the_cure_is_to_register_them():
    model = keras.Sequential([keras.Input((3,)), Own(), layers.Dense(2)])
    with pytest.warns(UserWarning, match=r"'own' \(Own\).*register_stochastic"):
        predictive = kerasdrop.MonteCarlo(model, kind="regression")
    # Only a pass tells whether it draws at inference.
    with pytest.raises(ValueError, match="can draw.*register_stochastic"):
        predictive.predict(np.ones((2, 3), "float32"), verbose=0)


def test_augmentation_is_not_named():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.RandomFlip(),
            layers.Dropout(0.5),
            layers.Flatten(),
        ]
    )
    x = np.arange(96, dtype="float32").reshape(2, 4, 4, 3) + 1.0
    result = kerasdrop.mc_predict(model, x, 4, keep_samples=True, verbose=0)
    flat = x.reshape(2, 1, 48)
    assert np.isin(result.samples / flat, (0.0, 2.0)).all()


def test_a_registered_layer_draws():
    class Registered(Own):
        sd = 0.5

    def noise(layer, draw, inputs):
        return kerasdrop.functional.gaussian_noise(inputs, draw, layer.sd)

    kerasdrop.register_stochastic(Registered, noise, rate=lambda own: own.sd)
    model = keras.Sequential([keras.Input((3,)), Registered()])
    result = kerasdrop.mc_predict(model, X, 16, verbose=0)
    assert (result.variance > 0.0).all()


def test_what_is_registered_must_be_a_layer_class():
    with pytest.raises(ValueError, match="must be a subclass of"):
        kerasdrop.register_stochastic(Own(), lambda layer, draw, x: x)


@pytest.mark.parametrize("cls", [kerasdrop.layers.Dropout, layers.Dropout])
def test_a_noise_shape_with_a_number_of_rows(cls):
    model = model_with(cls(0.5, noise_shape=(2, None), name="drop"))
    expected = (
        r"mc_predict: layer 'drop' \(Dropout\) has noise_shape=\(2, None\).*"
        r"once for each sample.*noise_shape=\(None, None\)"
    )
    with pytest.raises(ValueError, match=expected):
        kerasdrop.mc_predict(model, X, verbose=0)
    with pytest.raises(ValueError, match="^inspect: layer 'drop'"):
        kerasdrop.inspect(model)


# One for each place where a message is made: on making the predictive model,
# on cutting the data, on tracing and on looking at what came out.
@pytest.mark.parametrize(
    "arguments",
    [
        {"plan": "antithetic"},
        {"num_samples": 0},
        {"seed": 0.5},
        {"rows": [0.5, 1.5]},
        {"y": X},
        {"kind": "probabilities"},
    ],
    ids=str,
)
def test_a_message_names_the_function_that_was_called(model, arguments):
    model.set_weights([0.0 * weight for weight in model.get_weights()])
    with pytest.raises(ValueError, match="^mc_predict: "):
        kerasdrop.mc_predict(model, X, **arguments, verbose=0)


def test_a_message_names_the_class_that_was_made(model):
    model.set_weights([0.0 * weight for weight in model.get_weights()])
    predictive = kerasdrop.MonteCarlo(model, kind="probabilities")
    with pytest.raises(ValueError, match="^MonteCarlo: "):
        predictive.predict(X, verbose=0)


def test_inputs_whose_first_axis_is_no_batch():
    x = keras.Input((4, 3))
    h = keras.ops.reshape(x, (-1, 3))
    h = kerasdrop.layers.Dropout(0.5, name="drop")(h)
    model = keras.Model(x, keras.ops.reshape(h, (-1, 4, 3)))
    expected = "first axis of what layer 'drop' .* is not the batch.*vectorized"
    with pytest.raises(ValueError, match=expected):
        kerasdrop.mc_predict(model, np.ones((2, 4, 3), "float32"), verbose=0)


@pytest.mark.parametrize("verbose", ["loud", "1", 3, None])
def test_an_illegal_verbose(verbose):
    model = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5)])
    with pytest.raises(ValueError, match="mc_predict: .* 'auto', 0, 1 or 2"):
        kerasdrop.mc_predict(model, X, 4, kind="regression", verbose=verbose)

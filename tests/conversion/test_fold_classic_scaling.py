import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops
from keras import tree

from kerasdrop import layers
from kerasdrop import schedules
from kerasdrop.conversion import fold_scaling
from kerasdrop.conversion.fold_scaling import fold_classic_scaling

RNG = np.random.default_rng(0)
CLASSIC = layers.ClassicDropout


def sequential(shape, *body, name="model"):
    model = keras.Sequential([keras.Input(shape), *body], name=name)
    for layer in model.layers:  # biases other than 0
        layer.set_weights(
            [RNG.normal(size=w.shape) for w in layer.get_weights()]
        )
    return model


def predict(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def inputs_of(model):
    return RNG.normal(size=(3, *model.inputs[0].shape[1:])).astype("float32")


def classic_names(model):
    return {
        layer.name
        for layer in model._flatten_layers()
        if isinstance(layer, CLASSIC)
    }


def assert_close(actual, expected):
    # A product is rounded in another order: a few float32 ulps of the
    # largest summand.
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * scale)


def test_the_kernel_is_multiplied_and_the_bias_is_not():
    dense = stock.Dense(3, name="dense")
    model = sequential((4,), CLASSIC(0.25, name="drop"), dense)
    kernel, bias = dense.get_weights()
    folded, report = fold_classic_scaling(model)
    new_kernel, new_bias = folded.get_layer("dense").get_weights()
    np.testing.assert_allclose(new_kernel, kernel * 0.75, rtol=1e-7)
    np.testing.assert_array_equal(new_bias, bias)
    assert report.folded == {"drop": "kernels of 'dense' times 0.75"}
    assert report.skipped == {}


KERNELS = [
    ((4,), [stock.Dense(3, activation="tanh")]),
    ((4, 2), [stock.EinsumDense("abc,cd->abd", (4, 3), bias_axes="d")]),
    ((6, 2), [stock.Conv1D(3, 2)]),
    ((6, 6, 2), [stock.Conv2D(3, 2, padding="same", activation="relu")]),
    ((4, 4, 4, 2), [stock.Conv3D(3, 2)]),
    ((6, 2), [stock.Conv1DTranspose(3, 2)]),
    ((6, 6, 2), [stock.Conv2DTranspose(3, 2)]),
    ((4, 4, 4, 2), [stock.Conv3DTranspose(3, 2)]),
    ((6, 2), [stock.DepthwiseConv1D(2)]),
    ((6, 6, 2), [stock.DepthwiseConv2D(2)]),
    ((6, 2), [stock.SeparableConv1D(3, 2)]),
    ((6, 6, 2), [stock.SeparableConv2D(3, 2)]),
    ((6, 2), [stock.Flatten(), stock.Dense(3)]),
    ((6, 2), [stock.Reshape((3, 4)), stock.Permute((2, 1)), stock.Dense(3)]),
    ((4,), [stock.RepeatVector(2), stock.Dense(3)]),
    (
        (6, 6, 2),
        [
            stock.ZeroPadding2D(1),
            stock.Cropping2D(1),
            stock.UpSampling2D(2, interpolation="bilinear"),
            stock.Conv2D(3, 2),
        ],
    ),
    ((6, 6, 2), [stock.MaxPooling2D(2, padding="same"), stock.Conv2D(3, 2)]),
    (
        (6, 6, 2),
        [
            stock.AveragePooling2D(2, padding="same"),
            stock.GlobalMaxPooling2D(),
            stock.Dense(3),
        ],
    ),
    ((6, 2), [stock.GlobalAveragePooling1D(), stock.Dense(3)]),
    ((4,), [layers.Dropout(0.5), stock.Dropout(0.5), stock.Dense(3)]),
]


@pytest.mark.parametrize(
    ("shape", "body"),
    KERNELS,
    ids=["-".join(type(layer).__name__ for layer in b) for _, b in KERNELS],
)
def test_predictions_are_the_same(shape, body):
    body = [type(layer).from_config(layer.get_config()) for layer in body]
    model = sequential(shape, CLASSIC(0.3), *body)
    x = inputs_of(model)
    folded = fold_classic_scaling(model).model
    assert_close(predict(folded, x), predict(model, x))
    assert classic_names(folded) == set()


def of_rank(name, *arguments):
    """Layers of 1, 2 and 3 dimensions, by the shape of their inputs."""
    shapes = ((6, 2), (6, 6, 2), (4, 4, 4, 2))
    return {
        (f"{name}{len(shape) - 1}D", shape): (
            getattr(stock, f"{name}{len(shape) - 1}D")(*arguments)
        )
        for shape in shapes
    }


# By a name and the shape of the inputs.
PASSING = {
    **of_rank("Cropping", 1),
    **of_rank("ZeroPadding", 1),
    **of_rank("UpSampling", 2),
    **of_rank("MaxPooling", 2),
    **of_rank("AveragePooling", 2),
    **of_rank("GlobalMaxPooling"),
    **of_rank("GlobalAveragePooling"),
    **of_rank("SpatialDropout", 0.4),
    ("Flatten", (6, 2)): stock.Flatten(),
    ("Reshape", (6, 2)): stock.Reshape((4, 3)),
    ("Permute", (6, 2)): stock.Permute((2, 1)),
    ("RepeatVector", (6,)): stock.RepeatVector(2),
    ("ReLU", (6, 2)): stock.ReLU(),
    ("ReLU, slope", (6, 2)): stock.ReLU(negative_slope=0.5),
    ("LeakyReLU", (6, 2)): stock.LeakyReLU(1.5),
    ("PReLU", (6, 2)): stock.PReLU(),
    ("relu", (6, 2)): stock.Activation("relu"),
    ("leaky_relu", (6, 2)): stock.Activation("leaky_relu"),
    ("linear", (6, 2)): stock.Activation("linear"),
    ("Dropout", (6, 2)): stock.Dropout(0.4),
    ("AlphaDropout", (6, 2)): stock.AlphaDropout(0.4),
    ("GaussianDropout", (6, 2)): stock.GaussianDropout(0.4),
    ("GaussianNoise", (6, 2)): stock.GaussianNoise(0.4),
    ("our Dropout", (6, 2)): layers.Dropout(0.4),
    ("our AlphaDropout", (6, 2)): layers.AlphaDropout(0.4),
    ("our GaussianDropout", (6, 2)): layers.GaussianDropout(0.4),
    ("ScheduledDropout", (6, 2)): layers.ScheduledDropout(
        schedules.Constant(0.4)
    ),
    ("LockedDropout", (6, 2)): layers.LockedDropout(0.4),
    ("our SpatialDropout1D", (6, 2)): layers.SpatialDropout1D(0.4),
    ("FeatureAlphaDropout", (6, 2)): layers.FeatureAlphaDropout(0.4),
    ("DropPath", (6, 2)): layers.DropPath(0.4),
    ("DropPath, classic", (6, 2)): layers.DropPath(0.4, "classic"),
    ("DropBlock1D", (6, 2)): layers.DropBlock1D(0.4, 3),
    ("DropBlock2D", (6, 6, 2)): layers.DropBlock2D(0.4, 3),
}


def branching(shape, between):
    """A model with a branch for each layer between a dropout and a kernel."""
    inputs = keras.Input(shape)
    outputs = []
    for name, layer in between.items():
        config = {**layer.get_config(), "name": f"behind_{name}"}
        hidden = type(layer).from_config(config)(
            CLASSIC(0.3, name=name)(inputs)
        )
        flat = stock.Flatten(name=f"flat_{name}")(hidden)
        outputs.append(stock.Dense(2, name=f"dense_{name}")(flat))
    model = keras.Model(inputs, outputs)
    model.set_weights(
        [RNG.normal(size=weight.shape) for weight in model.get_weights()]
    )
    return model


@pytest.mark.parametrize("shape", sorted({shape for _, shape in PASSING}))
def test_a_factor_passes(shape):
    between = {
        f"branch_{number}": layer
        for number, ((_, of), layer) in enumerate(PASSING.items())
        if of == shape
    }
    model = branching(shape, between)
    x = inputs_of(model)
    expected = tree.map_structure(ops.convert_to_numpy, model(x))
    folded, report = fold_classic_scaling(model)
    actual = tree.map_structure(ops.convert_to_numpy, folded(x))
    assert set(report.folded) == set(between)
    for one, other in zip(tree.flatten(actual), tree.flatten(expected)):
        assert_close(one, other)


NOT_PASSING = {
    "bound": (stock.ReLU(max_value=6.0), "max_value=6 is a bound"),
    "threshold": (stock.ReLU(threshold=0.5), "threshold=0.5"),
    "relu6": (stock.Activation("relu6"), "function 'relu6'"),
    "tanh": (stock.Activation("tanh"), "function 'tanh'"),
    "softmax": (stock.Softmax(), "through which no factor passes"),
    "elu": (stock.ELU(), "through which no factor passes"),
    "norm": (stock.BatchNormalization(), "through which no factor passes"),
    "rescaling": (stock.Rescaling(2.0, 1.0), "through which no factor passes"),
    "depth": (
        layers.StochasticDepth(stock.Activation("relu"), 0.4),
        "through which no factor passes",
    ),
    "alpha": (
        layers.AlphaDropout(0.4, stochastic_inference=True),
        "which draws, and then adds",
    ),
}


def test_no_factor_passes():
    between = {name: layer for name, (layer, _) in NOT_PASSING.items()}
    with pytest.raises(ValueError, match="can be folded exactly") as error:
        fold_classic_scaling(branching((6, 2), between))
    lines = {
        line.split(":")[0].strip(): line
        for line in str(error.value).splitlines()
    }
    for name, (_, reason) in NOT_PASSING.items():
        assert reason in lines[name]


def test_noise_that_is_drawn_at_inference_lets_no_factor_pass():
    inputs = keras.Input((4,))
    hidden = CLASSIC(0.5, name="drop")(inputs)
    hidden = stock.GaussianNoise(0.5, name="noise")(hidden, training=True)
    model = keras.Model(inputs, stock.Dense(1)(hidden))
    with pytest.raises(ValueError, match="drop: it feeds 'noise'.*draws"):
        fold_classic_scaling(model)


def test_a_mask_that_is_drawn_at_inference_lets_a_factor_pass():
    inputs = keras.Input((4,))
    hidden = stock.Dropout(0.5)(CLASSIC(0.5)(inputs), training=True)
    model = keras.Model(inputs, stock.Dense(1)(layers.MCDropout(0.5)(hidden)))
    assert fold_classic_scaling(model).report.skipped == {}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_bounds_of_the_rate_are_folded(rate):
    model = sequential(
        (6, 2), CLASSIC(rate), stock.MaxPooling1D(2), stock.Conv1D(3, 2)
    )
    x = inputs_of(model)
    folded = fold_classic_scaling(model).model
    np.testing.assert_array_equal(predict(folded, x), predict(model, x))


def test_two_factors_in_a_row_are_multiplied():
    model = sequential(
        (4,),
        CLASSIC(0.5, name="a"),
        stock.Identity(),
        CLASSIC(0.2, name="b"),
        stock.Dense(3, name="dense"),
    )
    kernel = model.get_layer("dense").get_weights()[0]
    folded, report = fold_classic_scaling(model)
    new_kernel = folded.get_layer("dense").get_weights()[0]
    np.testing.assert_allclose(new_kernel, kernel * 0.5 * 0.8, rtol=2e-7)
    assert set(report.folded) == {"a", "b"}


def test_several_kernels_get_the_factor():
    inputs = keras.Input((4,))
    hidden = CLASSIC(0.5)(inputs)
    outputs = stock.Concatenate()(
        [stock.Dense(2)(hidden), stock.Dense(3)(hidden)]
    )
    model = keras.Model(inputs, outputs)
    x = inputs_of(model)
    folded = fold_classic_scaling(model).model
    assert_close(predict(folded, x), predict(model, x))
    assert classic_names(folded) == set()


def test_the_factor_leaves_and_enters_nested_models():
    front = sequential((4,), stock.Dense(4), CLASSIC(0.5), name="front")
    back = sequential((4,), stock.Identity(), stock.Dense(2), name="back")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, back(front(inputs)))
    x = inputs_of(model)
    folded, report = fold_classic_scaling(model)
    assert list(report.folded) == [f"front/{front.layers[-1].name}"]
    assert_close(predict(folded, x), predict(model, x))


def test_a_scheduled_rate_is_folded_as_it_stands():
    ramp = keras.optimizers.schedules.PolynomialDecay(0.0, 4, 0.5)
    model = sequential((4,), CLASSIC(ramp), stock.Dense(3))
    x = inputs_of(model)
    model(x, training=True)
    model(x, training=True)  # the rate is 0.25 now
    folded = fold_classic_scaling(model).model
    assert_close(predict(folded, x), predict(model, x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_folded_to_its_rounding(policy):
    model = sequential(
        (4,),
        CLASSIC(0.3, dtype=policy),
        stock.Dense(3, dtype=policy),
    )
    x = inputs_of(model)
    folded = fold_classic_scaling(model).model
    expected = predict(model, x).astype("float32")
    unit = 2.0**-10 if policy == "mixed_float16" else 2.0**-7
    # Five roundings (input, factor, product, sum, kernel) of summands that
    # are at most 4 * 3 * 3 in size.
    np.testing.assert_allclose(
        predict(folded, x).astype("float32"), expected, rtol=0, atol=40 * unit
    )


def test_the_original_is_untouched():
    model = sequential((4,), CLASSIC(0.5), stock.Dense(3))
    model.compile("sgd", "mse")
    variables = [ops.convert_to_numpy(v).copy() for v in model.variables]
    config = model.get_config()
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    folded = fold_classic_scaling(model).model
    folded.set_weights([w + 1.0 for w in folded.get_weights()])
    for variable, before in zip(model.variables, variables):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), before)
    assert model.get_config() == config
    assert model.compiled
    assert nodes == [
        len(layer._inbound_nodes) for layer in model._flatten_layers()
    ]


def test_the_result_is_saved_and_loaded(tmp_path):
    model = sequential((4,), CLASSIC(0.5), stock.Dense(3))
    x = inputs_of(model)
    folded = fold_classic_scaling(model).model
    folded.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(predict(loaded, x), predict(model, x))


def good(inputs):
    """A layer that folds, so that the others are only listed."""
    return stock.Dense(4, name="last")(CLASSIC(0.5, name="good")(inputs))


def feeds_an_activation(inputs, drop):
    return stock.ELU(name="elu")(drop(inputs))


def feeds_a_sum(inputs, drop):
    return stock.Add(name="add")([drop(inputs), inputs])


def feeds_an_operation(inputs, drop):
    return drop(inputs) + 1.0


def feeds_a_recurrent_layer(inputs, drop):
    return stock.SimpleRNN(4, name="rnn")(stock.Reshape((2, 2))(drop(inputs)))


def feeds_a_kernel_and_a_sum(inputs, drop):
    hidden = drop(inputs)
    return stock.Add(name="add")([hidden, stock.Dense(4)(hidden)])


def feeds_a_shared_layer(inputs, drop):
    dense = stock.Dense(4, name="dense")
    return dense(dense(drop(inputs)))


def feeds_a_lora_layer(inputs, drop):
    return stock.Dense(4, lora_rank=1, name="dense")(drop(inputs))


def feeds_a_quantized_layer(inputs, drop):
    dense = stock.Dense(4, name="dense")
    outputs = dense(drop(inputs))
    dense.quantize("int8")
    return outputs


def feeds_a_subclass(inputs, drop):
    class Own(stock.Dense):
        pass

    return Own(4, name="own")(drop(inputs))


def is_called_twice(inputs, drop):
    return stock.Dense(4)(drop(stock.Dense(4)(drop(inputs))))


def is_inside_a_layer(inputs, drop):
    outputs = stock.TimeDistributed(drop, name="steps")(
        stock.Reshape((2, 2))(inputs)
    )
    return stock.Flatten()(outputs)


def is_called_in_training(inputs, drop):
    return stock.Dense(4)(drop(inputs, training=True))


NOT_FOLDABLE = [
    (feeds_an_activation, r"feeds 'elu' \(keras.layers.ELU\), through which"),
    (feeds_a_sum, r"feeds 'add' \(keras.layers.Add\)"),
    (feeds_an_operation, r"feeds '.*' \(Add\)"),
    (feeds_a_recurrent_layer, r"feeds 'rnn' \(keras.layers.SimpleRNN\)"),
    (feeds_a_kernel_and_a_sum, r"feeds 'add' \(keras.layers.Add\)"),
    (feeds_a_shared_layer, "is called more than once"),
    (feeds_a_lora_layer, "is LoRA-enabled"),
    (feeds_a_quantized_layer, "is quantized"),
    (feeds_a_subclass, r"feeds 'own' \(Own\)"),
    (is_called_twice, "is called 2 times"),
    (is_inside_a_layer, "is inside a layer"),
    (is_called_in_training, "draws at inference"),
]


@pytest.mark.parametrize(("connect", "reason"), NOT_FOLDABLE)
def test_what_is_not_exact_stays_and_is_listed(connect, reason):
    inputs = keras.Input((4,))
    hidden = connect(inputs, CLASSIC(0.5, name="bad"))
    model = keras.Model(inputs, good(hidden))
    folded, report = fold_classic_scaling(model)
    assert list(report.folded) == ["good"]
    (path,) = report.skipped
    assert path in ("bad", "steps/bad")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(report.skipped[path])
    assert classic_names(folded) == {"bad"}
    x = inputs_of(model)
    assert_close(predict(folded, x), predict(model, x))


def test_what_feeds_an_output_stays():
    inputs = keras.Input((4,))
    hidden = CLASSIC(0.5, name="drop")(inputs)
    model = keras.Model(inputs, [hidden, stock.Dense(1)(hidden)])
    with pytest.raises(ValueError, match="drop: it feeds an output of the mo"):
        fold_classic_scaling(model)


def test_what_draws_at_inference_stays():
    drop = CLASSIC(0.5, stochastic_inference=True, name="drop")
    model = sequential((4,), drop, stock.Dense(1))
    with pytest.raises(ValueError, match="drop: it draws at inference"):
        fold_classic_scaling(model)


def test_a_model_without_classic_dropout_is_refused():
    model = sequential((4,), layers.Dropout(0.5), stock.Dense(1))
    with pytest.raises(ValueError, match="use the model as it is"):
        fold_classic_scaling(model)


def test_a_subclassed_model_is_refused():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop = CLASSIC(0.5)

        def call(self, inputs):
            return self.drop(inputs)

    model = Model()
    model(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="Multiply the kernels by `1 - rate`"):
        fold_classic_scaling(model)


def test_a_folding_is_named_and_its_report_a_table():
    model = sequential(
        (4,), CLASSIC(0.5, name="drop"), stock.Dense(1, name="d")
    )
    result = fold_classic_scaling(model)
    assert isinstance(result, fold_scaling.Folding)
    assert str(result.report) == "folded  drop  kernels of 'd' times 0.5"

"""`evaluate` gives what Keras gives for all predictive means at once."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from tests.support import memory

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(10, 3)).astype("float32")
CLASS = GENERATOR.integers(0, 3, 10)
NUMBER = GENERATOR.normal(size=(10, 1)).astype("float32")
WEIGHT = GENERATOR.uniform(size=10).astype("float32")
SETTINGS = {"verbose": 0, "return_dict": True}


def outputs_of(inputs):
    h = layers.Dense(8, activation="relu")(inputs)
    h = kerasdrop.layers.Dropout(0.5)(h)
    chosen = layers.Dense(3, activation="softmax", name="class")(h)
    return chosen, layers.Dense(1, name="number")(h)


@pytest.fixture(scope="module")
def model():
    """Of two outputs, by name."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    chosen, number = outputs_of(inputs)
    return keras.Model(inputs, {"number": number, "class": chosen})


@pytest.fixture(scope="module")
def listed():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    return keras.Model(inputs, list(outputs_of(inputs)))


@pytest.fixture(scope="module")
def classifier(model):
    return keras.Model(model.input, model.output["class"])


def both(model, y, weight=None, **compiled):
    """Ours, batch by batch, and that of Keras for all means at once."""
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(**compiled)
    mean = predictive.predict(X, batch_size=4, verbose=0)["mean"]
    ours = predictive.evaluate(
        X, y, batch_size=4, sample_weight=weight, **SETTINGS
    )
    judge, of_mean = passing_on(mean)
    judge.compile(**compiled)
    of_keras = judge.evaluate(
        of_mean, y, batch_size=len(X), sample_weight=weight, **SETTINGS
    )
    return ours, of_keras


def passing_on(mean):
    """A model whose outputs are these, and the inputs that make them."""
    if isinstance(mean, dict):
        inputs = {
            name: keras.Input(array.shape[1:], name=f"of_{name}")
            for name, array in mean.items()
        }
        outputs = {
            name: layers.Identity(name=name)(one)
            for name, one in inputs.items()
        }
        return keras.Model([*inputs.values()], outputs), [*mean.values()]
    elif isinstance(mean, list):
        inputs = [keras.Input(array.shape[1:]) for array in mean]
        outputs = [layers.Identity()(one) for one in inputs]
    else:
        inputs = keras.Input(mean.shape[1:])
        outputs = layers.Identity()(inputs)
    return keras.Model(inputs, outputs), mean


def assert_equal(ours, of_keras):
    assert set(ours) == set(of_keras)
    for name, value in ours.items():
        np.testing.assert_allclose(
            value, of_keras[name], rtol=1e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"]
)
def test_the_loss_is_that_of_all_rows(classifier, reduction, weight):
    loss = keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
    assert_equal(*both(classifier, CLASS, weight, loss=loss))


def test_metrics_are_those_of_all_rows(classifier):
    one_hot = np.eye(3)[CLASS]
    assert_equal(
        *both(
            classifier,
            one_hot,
            WEIGHT,
            loss="categorical_crossentropy",
            metrics=["accuracy", keras.metrics.AUC(), keras.metrics.F1Score()],
            weighted_metrics=["mse", kerasdrop.metrics.BrierScore()],
        )
    )


LOSSES = {"class": "sparse_categorical_crossentropy", "number": "mse"}


def test_several_outputs_by_name(model):
    y = {"number": NUMBER, "class": CLASS}
    metrics = {"class": ["accuracy"], "number": ["mae", "mse"]}
    ours, of_keras = both(model, y, WEIGHT, loss=LOSSES, metrics=metrics)
    assert len(ours) > 3
    for name in set(ours) & set(of_keras):
        assert ours[name] == pytest.approx(of_keras[name], rel=1e-5)
    # What each output adds is there in a first evaluation and a second.
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(loss=LOSSES, loss_weights={"class": 1.0, "number": 0.5})
    for _ in range(2):
        logs = predictive.evaluate(X, y, batch_size=4, **SETTINGS)
        assert logs["loss"] == pytest.approx(
            logs["class_loss"] + 0.5 * logs["number_loss"], rel=1e-5
        )
        assert min(logs.values()) > 0.0


def test_several_outputs_in_a_list(listed):
    ours, of_keras = both(listed, [CLASS, NUMBER], loss=[*LOSSES.values()])
    assert ours["loss"] == pytest.approx(of_keras["loss"], rel=1e-5)


def test_a_sum_has_the_regularizers_once(classifier):
    inputs = keras.Input((3,))
    h = layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.3))(inputs)
    h = kerasdrop.layers.Dropout(0.5)(h)
    regularized = keras.Model(inputs, layers.Dense(1)(h))
    ours, of_keras = both(
        regularized, NUMBER, loss=keras.losses.MeanSquaredError("sum")
    )
    added = keras.ops.convert_to_numpy(keras.ops.sum(regularized.losses[0]))
    assert added > 0.01
    assert ours["loss"] == pytest.approx(of_keras["loss"] + added, rel=1e-5)


def test_a_loss_of_each_row_is_its_mean(classifier):
    losses = [
        keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
        for reduction in (None, "sum_over_batch_size")
    ]
    found = []
    for loss in losses:
        predictive = kerasdrop.MonteCarlo(classifier, 16, seed=1)
        predictive.compile(loss=loss)
        found.append(predictive.evaluate(X, CLASS, batch_size=4, **SETTINGS))
    assert_equal(*found)


# ---- Targets that come in the batches ----


def batches(y, weight):
    for start in (0, 4, 8):
        rows = slice(start, start + 4)
        part = keras.tree.map_structure(lambda array: array[rows], y)  # noqa: B023
        yield (
            (X[rows], part) if weight is None else (X[rows], part, weight[rows])
        )


class Dataset(keras.utils.PyDataset):
    def __init__(self, y, weight):
        super().__init__()
        self.batches = list(batches(y, weight))

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[number]


def tf_dataset(y, weight):
    tf = pytest.importorskip("tensorflow")
    data = (X, y) if weight is None else (X, y, weight)
    return tf.data.Dataset.from_tensor_slices(data).batch(4)


def torch_loader(y, weight):
    torch = pytest.importorskip("torch")
    data = (X, y) if weight is None else (X, y, weight)
    rows = [
        keras.tree.map_structure(lambda array: array[row], data)  # noqa: B023
        for row in range(len(X))
    ]
    return torch.utils.data.DataLoader(rows, batch_size=4)


FORMS = [batches, Dataset, tf_dataset, torch_loader]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("form", FORMS)
def test_batches_bring_targets_by_name_and_weights(model, form, weight):
    y = {"number": NUMBER, "class": CLASS}
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1, noise_variance=1.0)
    predictive.compile(loss=LOSSES, weighted_metrics={"number": ["mae"]})
    of_arrays = predictive.evaluate(
        X, y, batch_size=4, sample_weight=weight, **SETTINGS
    )
    for given in (None, True):
        found = predictive.evaluate(form(y, weight), given, **SETTINGS)
        assert_equal(found, of_arrays)
    # The likelihood of a row has no weight.
    expected = predictive.predict(X, y=y, verbose=0)["log_likelihood"]
    found = predictive.predict(form(y, weight), y=True, verbose=0)
    for name in y:
        np.testing.assert_allclose(
            found["log_likelihood"][name],
            expected[name],
            rtol=1e-4,
            atol=1e-5,
        )


def test_an_output_may_have_no_targets(model, listed):
    settings = {"num_samples": 16, "seed": 1, "verbose": 0}
    settings["noise_variance"] = 1.0
    y = {"number": NUMBER, "class": CLASS}
    expected = kerasdrop.mc_predict(model, X, y=y, **settings).log_likelihood
    for given in ({"class": CLASS}, {"class": CLASS, "number": None}):
        result = kerasdrop.mc_predict(model, X, y=given, **settings)
        assert set(result.log_likelihood) == {"class"}
        np.testing.assert_allclose(
            result.log_likelihood["class"], expected["class"], rtol=1e-5
        )
    result = kerasdrop.mc_predict(listed, X, y=[None, NUMBER], **settings)
    np.testing.assert_allclose(
        result.log_likelihood[1], expected["number"], rtol=1e-5
    )
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(loss={"class": LOSSES["class"]})
    whole = predictive.evaluate(X, y, **SETTINGS)
    part = predictive.evaluate(X, {"class": CLASS}, **SETTINGS)
    assert part["loss"] == pytest.approx(whole["loss"], rel=1e-6)


WRONG = {
    "a list for names": [CLASS, NUMBER],
    "an unknown name": {"class": CLASS, "numbers": NUMBER},
    "one too many": {"class": CLASS, "number": NUMBER, "other": NUMBER},
    "one array": CLASS,
    "a deeper one": {"class": [CLASS], "number": NUMBER},
}


@pytest.mark.parametrize("y", WRONG.values(), ids=WRONG.keys())
def test_targets_of_another_structure(model, y):
    predictive = kerasdrop.MonteCarlo(model, 16, noise_variance=1.0)
    predictive.compile(loss=LOSSES)
    message = "MonteCarlo: `y` must have the structure.*'number'.*Received: y="
    with pytest.raises(ValueError, match=message):
        predictive.predict(X, y=y, verbose=0)
    with pytest.raises(ValueError, match=message):
        predictive.evaluate(X, y, verbose=0)
    with pytest.raises(ValueError, match=message):
        predictive.evaluate(batches(y, None), verbose=0)


@pytest.mark.parametrize(
    "y", [{"class": CLASS, "number": NUMBER}, [CLASS], [CLASS, NUMBER, NUMBER]]
)
def test_targets_of_another_structure_than_a_list(listed, y):
    with pytest.raises(ValueError, match="`y` must have the structure"):
        kerasdrop.mc_predict(listed, X, 16, y=y, verbose=0)


def test_weights_of_another_structure(model):
    predictive = kerasdrop.MonteCarlo(model, 16)
    predictive.compile(loss=LOSSES)
    y = {"number": NUMBER, "class": CLASS}
    with pytest.raises(ValueError, match="`sample_weight` must have the str"):
        predictive.evaluate(X, y, sample_weight=[WEIGHT] * 2, verbose=0)
    with pytest.raises(ValueError, match="the same number of rows"):
        predictive.evaluate(X, y, sample_weight=WEIGHT[:9], verbose=0)


@pytest.mark.parametrize(
    "compiled",
    [
        {"loss": LOSSES},
        {"loss": {"class": LOSSES["class"]}, "metrics": {"number": ["mse"]}},
        {"loss": {"class": LOSSES["class"], "other": "mse"}},
        {"loss": "mse"},
    ],
)
def test_what_is_compiled_for_an_output_without_targets(model, compiled):
    predictive = kerasdrop.MonteCarlo(model, 16)
    predictive.compile(**compiled)
    with pytest.raises(ValueError, match=r"have targets: \['class'\]"):
        predictive.evaluate(X, {"class": CLASS}, verbose=0)


def test_targets_beside_batches_that_bring_them(classifier):
    predictive = kerasdrop.MonteCarlo(classifier, 16)
    predictive.compile(loss="sparse_categorical_crossentropy")
    for given in ({"y": CLASS}, {"sample_weight": WEIGHT}):
        with pytest.raises(ValueError, match="need `x` as arrays. Leave"):
            predictive.evaluate(batches(CLASS, None), verbose=0, **given)
    with pytest.raises(ValueError, match="Pass the targets themselves"):
        predictive.evaluate(X, True, verbose=0)


def test_losses_that_no_sum_over_batches_puts_together(model):
    predictive = kerasdrop.MonteCarlo(model, 16)
    y = {"number": NUMBER, "class": CLASS}
    loss = {**LOSSES, "number": keras.losses.MeanSquaredError("sum")}
    predictive.compile(loss=loss)
    with pytest.raises(ValueError, match="MonteCarlo: .* the same `reduction`"):
        predictive.evaluate(X, y, verbose=0)
    weighted = keras.losses.MeanSquaredError("mean_with_sample_weight")
    predictive.compile(loss={**LOSSES, "number": weighted})
    with pytest.raises(ValueError, match="MonteCarlo: .* the same `reduction`"):
        predictive.evaluate(X, y, sample_weight=WEIGHT, verbose=0)


@memory.only_on_linux
def test_no_prediction_is_held():
    rows, units = 2048, 4096
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dropout(0.5), layers.Dense(units)]
    )
    predictive = kerasdrop.MonteCarlo(
        model, 2, seed=0, plan="independent", verify=False
    )
    predictive.compile(loss="mse", metrics=[keras.metrics.R2Score()])
    x, y = np.ones((64, 2)), np.ones((64, units))
    watch = memory.Watch(4)
    data = ((x, y) for _ in range(rows // len(x)))
    predictive.evaluate(data, verbose=0, callbacks=[watch])
    # The statistics of three quarters of the rows would be 96 MiB.
    assert watch.growth < 32 * memory.MIB

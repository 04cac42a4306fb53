"""What follows from the samples for each kind of output, against numpy."""

import collections

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop._formulas import two_part
from kerasdrop.montecarlo import settings
from kerasdrop.montecarlo.statistics import summaries
from tests.support import reference

NUM_SAMPLES = 20


def drawn(kind, last, units=4):
    """A net, its input, and all its sampled outputs, by single samples."""
    keras.utils.set_random_seed(2)
    x = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(16, activation="tanh"),
            kerasdrop.layers.Dropout(0.5),
            # Were all hidden units zero, classes would tie without a bias.
            layers.Dense(
                units, activation=last, bias_initializer="random_normal"
            ),
        ]
    )
    settings = {"num_samples": NUM_SAMPLES, "seed": 4, "verbose": 0}
    result = kerasdrop.mc_predict(model, x, kind=kind, **settings)
    raw = kerasdrop.mc_predict(
        model, x, kind="regression", keep_samples=True, **settings
    )
    return result, raw.samples.astype("float64").swapaxes(0, 1)


def summary_of(kind):
    return summaries.Summary(kind, settings.Settings(4, "independent", kind))


def assert_close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-4)


def entropy(p):
    return -(p * np.log(p)).sum(axis=-1)


def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("kind", "last"), [("probabilities", "softmax"), ("logits", None)]
)
def test_classes(kind, last):
    result, samples = drawn(kind, last)
    p = softmax(samples) if kind == "logits" else samples
    assert_close(result.mean, p.mean(0))
    assert_close(result.std, reference.variance(p.swapaxes(0, 1)) ** 0.5)
    assert_close(result.predictive_entropy, entropy(p.mean(0)))
    assert_close(result.expected_entropy, entropy(p).mean(0))
    votes = (p.argmax(-1)[..., None] == np.arange(4)).sum(0)
    np.testing.assert_array_equal(result.votes, votes)
    assert_close(result.variation_ratio, 1 - votes.max(-1) / NUM_SAMPLES)


def test_binary():
    result, p = drawn("binary", "sigmoid")
    both = np.stack([p, 1 - p], axis=-1)
    assert_close(result.mean, p.mean(0))
    assert_close(result.predictive_entropy, entropy(both.mean(0)))
    assert_close(result.expected_entropy, entropy(both).mean(0))
    votes = (p > 0.5).sum(0)
    np.testing.assert_array_equal(result.votes, votes)
    lost = np.minimum(votes, NUM_SAMPLES - votes) / NUM_SAMPLES
    assert_close(result.variation_ratio, lost)


@pytest.mark.parametrize(
    ("kind", "last"),
    [("mean_and_variance", "softplus"), ("mean_and_log_variance", None)],
)
def test_the_law_of_total_variance(kind, last):
    result, samples = drawn(kind, last)
    mean, variance = samples[..., :2], samples[..., 2:]
    if kind == "mean_and_log_variance":
        variance = np.exp(variance)
    assert_close(result.mean, mean.mean(0))
    assert_close(result.aleatoric_variance, variance.mean(0))
    epistemic = reference.variance(mean.swapaxes(0, 1))
    assert_close(result.epistemic_variance, epistemic)
    assert_close(result.total_variance, variance.mean(0) + epistemic)


def test_a_two_part_output_of_odd_size_is_refused():
    with pytest.raises(ValueError, match="must have an even size.*with 3"):
        summary_of("mean_and_variance").init(np.ones((2, 4, 3)), (0, 0), 0, 16)


@pytest.mark.parametrize("kind", ["probabilities", "logits", *two_part.KINDS])
def test_a_single_number_for_each_row_has_no_classes_and_no_parts(kind):
    with pytest.raises(ValueError, match="Pass the `kind` .*Received.*batch,"):
        summary_of(kind).init(np.ones((2, 4)), (0, 0), 0, 16)


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (layers.Dense(2, activation="softmax"), "probabilities"),
        (layers.Softmax(), "probabilities"),
        (layers.Activation("softmax"), "probabilities"),
        (layers.Dense(1, activation="sigmoid"), "binary"),
        (layers.Dense(2), "regression"),
    ],
)
def test_the_kind_is_read_off_the_last_activation(last, kind):
    model = keras.Sequential(
        [keras.Input((3,)), kerasdrop.layers.Dropout(0.5), last]
    )
    outer_x = keras.Input((3,))
    nested = keras.Model(outer_x, model(outer_x))
    assert kerasdrop.MonteCarlo(model).kind == kind
    assert kerasdrop.MonteCarlo(nested).kind == kind


def test_the_kind_is_read_again_when_the_model_has_grown():
    model = keras.Sequential(
        [keras.Input((3,)), kerasdrop.layers.Dropout(0.5), layers.Dense(2)]
    )
    x = np.ones((2, 3), "float32")
    kerasdrop.mc_predict(model, x, 4, verbose=0)
    model.add(layers.Softmax())
    result = kerasdrop.mc_predict(model, x, 4, verbose=0)
    assert result.kind == "probabilities"


def test_what_was_read_is_said(capsys):
    model = keras.Sequential(
        [keras.Input((3,)), kerasdrop.layers.Dropout(0.5), layers.Dense(2)]
    )
    kerasdrop.mc_predict(model, np.ones((2, 3), "float32"), 4, verbose=2)
    assert "kind='regression', read off" in capsys.readouterr().out


def softmax_of(units=4):
    return layers.Dense(units, activation="softmax")


def average(h):
    return layers.Average()([softmax_of()(h), softmax_of()(h)])


def inner_with_two_outputs(h):
    x = keras.Input((8,))
    inner = keras.Model(x, [layers.Dense(2)(x), softmax_of()(x)])
    return inner(h)[1]


def inner_that_passes_on(h):
    x = keras.Input((4,))
    return keras.Model(x, layers.Reshape((2, 2, 1))(x))(
        layers.Dense(4, activation="sigmoid")(h)
    )


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (lambda h: ops.softmax(layers.Dense(4)(h)), "probabilities"),
        (lambda h: ops.sigmoid(layers.Dense(4)(h)), "binary"),
        (lambda h: ops.log_softmax(layers.Dense(4)(h)), "logits"),
        (layers.Dense(4, activation="log_softmax"), "logits"),
        (layers.Dense(4, activation=ops.softmax), "probabilities"),
        (layers.Dense(4, activation=layers.Softmax()), "probabilities"),
        (lambda h: ops.cast(softmax_of()(h), "float32"), "probabilities"),
        (lambda h: layers.Identity()(softmax_of()(h)), "probabilities"),
        (
            lambda h: layers.Activation("linear", dtype="float32")(
                softmax_of()(h)
            ),
            "probabilities",
        ),
        (lambda h: layers.Reshape((1, 4))(softmax_of()(h)), "probabilities"),
        (average, "probabilities"),
        (
            lambda h: ops.mean(
                ops.stack([softmax_of()(h), softmax_of()(h)], axis=0), axis=0
            ),
            "probabilities",
        ),
        (
            lambda h: layers.TimeDistributed(softmax_of())(
                layers.Reshape((2, 4))(h)
            ),
            "probabilities",
        ),
        (
            lambda h: layers.GlobalAveragePooling1D()(
                softmax_of()(layers.Reshape((2, 4))(h))
            ),
            "probabilities",
        ),
        (
            lambda h: layers.Permute((2, 1))(
                layers.Softmax(axis=1)(layers.Reshape((4, 2))(h))
            ),
            "probabilities",
        ),
        (inner_with_two_outputs, "probabilities"),
        (inner_that_passes_on, "binary"),
        # What is no probability any more:
        (
            lambda h: layers.Flatten()(
                softmax_of()(ops.reshape(h, (-1, 2, 4)))
            ),
            "regression",
        ),
        (
            lambda h: ops.mean(
                softmax_of()(ops.reshape(h, (-1, 4, 2))), axis=-1
            ),
            "regression",
        ),
        (
            lambda h: softmax_of(2)(ops.reshape(h, (-1, 2, 4)))[:, :, 0],
            "regression",
        ),
        (
            lambda h: softmax_of(3)(ops.reshape(h, (-1, 2, 4)))[:, 0],
            "probabilities",
        ),
        (lambda h: layers.Dropout(0.5)(softmax_of()(h)), "regression"),
        (lambda h: 2.0 * softmax_of()(h), "regression"),
        (
            lambda h: layers.LSTM(4, activation="sigmoid")(
                layers.Reshape((2, 4))(h)
            ),
            "regression",
        ),
        (
            lambda h: layers.Average()([softmax_of()(h), layers.Dense(4)(h)]),
            "regression",
        ),
        (
            # A weighted mean, not the layer of that name.
            lambda h: ops.average(
                softmax_of(3)(ops.reshape(h, (-1, 2, 4))), axis=1
            ),
            "regression",
        ),
    ],
)
def test_the_kind_is_read_through_what_keeps_probabilities(last, kind):
    x = keras.Input((8,))
    model = keras.Model(x, last(kerasdrop.layers.Dropout(0.5)(x)))
    assert kerasdrop.MonteCarlo(model).kind == kind


def test_classes_in_another_axis_than_the_last_are_refused():
    x = keras.Input((4, 3))
    h = kerasdrop.layers.Dropout(0.5)(x)
    model = keras.Model(x, layers.Softmax(axis=1)(h))
    with pytest.raises(ValueError, match="classes in axis 1 .*Permute"):
        kerasdrop.MonteCarlo(model)
    assert kerasdrop.MonteCarlo(model, kind="regression").kind == "regression"


def dense_model(last=None, name=None):
    return keras.Sequential(
        [
            keras.Input((3,)),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2, activation=last),
        ],
        name=name,
    )


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.losses.BinaryCrossentropy(from_logits=True),
        "categorical_crossentropy",
        keras.losses.sparse_categorical_crossentropy,
    ],
)
def test_logits_that_would_be_taken_for_a_regression_are_a_warning(loss):
    model = dense_model()
    model.compile(loss=loss)
    with pytest.warns(UserWarning, match="crossentropy.*Pass `kind='logits'`"):
        kerasdrop.mc_predict(model, np.ones((2, 3)), 4, verbose=0)
    # What is said, or is no logits, needs no warning.
    kerasdrop.mc_predict(model, np.ones((2, 3)), 4, kind="logits", verbose=0)
    model = dense_model("softmax")
    model.compile(loss=loss)
    kerasdrop.mc_predict(model, np.ones((2, 3)), 4, verbose=0)


def test_the_name_of_a_classifier_is_a_warning():
    with pytest.warns(UserWarning, match="called 'text_classifier'"):
        kerasdrop.MonteCarlo(dense_model(name="text_classifier"))


def test_a_regression_is_no_warning():
    model = dense_model()
    model.compile(loss="mse")
    assert kerasdrop.MonteCarlo(model).kind == "regression"


def structured(outputs):
    """A model with a regression, probabilities and a binary output."""
    x = keras.Input((3,))
    h = kerasdrop.layers.Dropout(0.5)(layers.Dense(16)(x))
    return keras.Model(
        x,
        outputs(
            layers.Dense(2)(h),
            softmax_of()(h),
            layers.Dense(1, activation="sigmoid")(h),
        ),
    )


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        (lambda r, p, b: [r, p, b], ["regression", "probabilities", "binary"]),
        (
            lambda r, p, b: {"a": {"p": p, "r": r}, "b": b},
            {"a": {"p": "probabilities", "r": "regression"}, "b": "binary"},
        ),
        (
            lambda r, p, b: {"a": [r, p], "b": b},
            {"a": ["regression", "probabilities"], "b": "binary"},
        ),
    ],
)
def test_outputs_of_several_kinds_are_each_of_its_own(outputs, kind):
    model, x = structured(outputs), np.ones((5, 3), "float32")
    read = kerasdrop.mc_predict(model, x, 16, seed=0, verbose=0)
    said = kerasdrop.mc_predict(model, x, 16, seed=0, kind=kind, verbose=0)
    assert read.kind == said.kind == kind
    for result in (read, said):
        means = keras.tree.flatten(result.mean)
        assert sorted(mean.shape for mean in means) == [(5, 1), (5, 2), (5, 4)]
        shapes = [e.shape for e in keras.tree.flatten(result.expected_entropy)]
        assert sorted(shapes) == [(5,), (5, 1)]
    part = keras.tree.flatten(result[:2].mean)
    assert [len(mean) for mean in part] == [2, 2, 2]


def test_a_statistic_of_some_outputs_in_a_list_has_their_places():
    model = structured(lambda r, p, b: [r, p, b])
    result = kerasdrop.mc_predict(model, np.ones((5, 3)), 16, verbose=0)
    assert set(result.predictive_entropy) == {1, 2}
    assert result.predictive_entropy[1].shape == (5,)
    assert len(result.to_dataframe()) == 5


def test_the_values_of_each_output_are_checked_by_its_own_kind():
    model = structured(lambda r, p, b: [r, p, b])
    kind = ["binary", "probabilities", "binary"]
    with pytest.raises(ValueError, match="Add a sigmoid"):
        kerasdrop.mc_predict(
            model, 9 * np.ones((5, 3)), 16, kind=kind, seed=0, verbose=0
        )
    kind = ["mean_and_variance", "logits", "binary"]
    with pytest.raises(ValueError, match="pass `kind='probabilities'`|Pass"):
        kerasdrop.mc_predict(model, np.ones((5, 3)), 16, kind=kind, verbose=0)


def test_a_structure_of_kinds_is_saved_and_loaded(tmp_path):
    model = structured(lambda r, p, b: {"a": [r, p], "b": b})
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0)
    predictive.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.kind == predictive.kind


def test_a_model_without_a_graph_needs_its_kind():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop = kerasdrop.layers.Dropout(0.5)

        def call(self, inputs):
            return self.drop(inputs)

    model = Net()
    model(np.ones((1, 3), "float32"))
    with pytest.raises(ValueError, match="has no graph.*Pass `kind`"):
        kerasdrop.MonteCarlo(model)


def two_heads():
    x = keras.Input((3,))
    h = kerasdrop.layers.Dropout(0.5)(layers.Dense(16)(x))
    label = layers.Dense(4, activation="softmax")(h)
    return keras.Model(x, {"label": label, "size": layers.Dense(1)(h)})


@pytest.mark.parametrize(
    "kind", [None, {"label": "probabilities", "size": "regression"}]
)
def test_outputs_with_names_are_each_of_a_kind(kind):
    x = np.ones((5, 3), "float32")
    result = kerasdrop.mc_predict(two_heads(), x, 16, kind=kind, verbose=0)
    assert set(result.mean) == {"label", "size"}
    assert set(result.predictive_entropy) == {"label"}
    assert result.predictive_entropy["label"].shape == (5,)


class Ordered(keras.Model):
    """Returns an `OrderedDict` in another order than that of the names."""

    def __init__(self):
        super().__init__()
        self.drop = layers.Dropout(0.5)
        self.first = layers.Dense(4, activation="softmax")
        self.second = layers.Dense(1)

    def call(self, inputs):
        h = self.drop(inputs)
        return collections.OrderedDict(z=self.first(h), a=self.second(h))


@pytest.mark.parametrize("has_graph", [True, False])
def test_outputs_in_an_order_of_their_own(has_graph):
    model, x = Ordered(), np.ones((5, 3), "float32")
    model(x)
    kind = {"a": "regression", "z": "probabilities"}
    if has_graph:
        inputs = keras.Input((3,))
        model, kind = keras.Model(inputs, model.call(inputs)), None
    y = {"z": np.arange(5) % 4, "a": np.zeros((5, 1))}
    settings = {"noise_variance": 1.0, "keep_samples": True, "verbose": 0}
    result = kerasdrop.mc_predict(model, x, 16, kind=kind, y=y, **settings)
    assert [result.mean[name].shape for name in "za"] == [(5, 4), (5, 1)]
    assert set(result.predictive_entropy) == {"z"}
    assert set(result.epistemic_variance) == {"a"}
    likely = result.mean["z"][np.arange(5), y["z"]]
    np.testing.assert_allclose(
        result.log_likelihood["z"], np.log(likely), rtol=1e-4
    )
    density = np.exp(-0.5 * result.samples["a"] ** 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(
        result.log_likelihood["a"],
        np.log(density.mean(axis=1))[:, 0],
        rtol=1e-4,
    )


def test_kinds_must_name_the_outputs():
    with pytest.raises(ValueError, match="name each output that has"):
        kerasdrop.mc_predict(
            two_heads(), np.ones((5, 3)), 16, kind={"label": "probabilities"}
        )


@pytest.mark.parametrize(
    ("kind", "last", "message"),
    [
        ("logits", "softmax", "the inputs of a softmax"),
        ("probabilities", None, "pass `kind='logits'`"),
        ("binary", None, "Add a sigmoid"),
        ("mean_and_variance", None, "mean_and_log_variance"),
    ],
)
def test_a_kind_that_the_outputs_cannot_be_is_refused(kind, last, message):
    with pytest.raises(ValueError, match=message):
        drawn(kind, last)

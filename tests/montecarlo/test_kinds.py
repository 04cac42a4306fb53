"""What follows from the samples for each kind of output, against numpy."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop.montecarlo import kinds
from kerasdrop.montecarlo import summaries

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
    request = summaries.Request(4, "independent", False, (), None, None)
    return summaries.Summary(kind, request)


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
    assert_close(result.std, p.std(0, ddof=1))
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
    assert_close(result.epistemic_variance, mean.var(0, ddof=1))
    total = variance.mean(0) + mean.var(0, ddof=1)
    assert_close(result.total_variance, total)


def test_a_two_part_output_of_odd_size_is_refused():
    with pytest.raises(ValueError, match="must have an even size.*with 3"):
        summary_of("mean_and_variance").start(np.ones((2, 4, 3)), (0, 0), 0, 16)


@pytest.mark.parametrize("kind", ["probabilities", "logits", *kinds.TWO_PART])
def test_a_single_number_for_each_row_has_no_classes_and_no_parts(kind):
    with pytest.raises(ValueError, match="Pass the `kind` .*Received.*batch,"):
        summary_of(kind).start(np.ones((2, 4)), (0, 0), 0, 16)


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


def test_outputs_of_several_kinds_are_refused():
    x = keras.Input((3,))
    h = kerasdrop.layers.Dropout(0.5)(x)
    outputs = [layers.Dense(2)(h), layers.Dense(2, activation="softmax")(h)]
    with pytest.raises(ValueError, match="of several kinds .*Pass the `kind`"):
        kerasdrop.MonteCarlo(keras.Model(x, outputs))


def test_a_model_without_a_graph_needs_its_kind():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop = kerasdrop.layers.Dropout(0.5)

        def call(self, inputs):
            return self.drop(inputs)

    model = Net()
    model(np.ones((1, 3), "float32"))
    with pytest.raises(ValueError, match="has no graph .*Pass `kind`"):
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


def test_kinds_must_name_the_outputs():
    with pytest.raises(ValueError, match="must name each output"):
        kerasdrop.mc_predict(
            two_heads(), np.ones((5, 3)), 16, kind={"label": "probabilities"}
        )


@pytest.mark.parametrize(
    ("kind", "last", "message"),
    [
        ("logits", "softmax", "what comes before a softmax"),
        ("probabilities", None, "pass `kind='logits'`"),
        ("binary", None, "Add a sigmoid"),
        ("mean_and_variance", None, "mean_and_log_variance"),
    ],
)
def test_a_kind_that_the_outputs_cannot_be_is_refused(kind, last, message):
    with pytest.raises(ValueError, match=message):
        drawn(kind, last)

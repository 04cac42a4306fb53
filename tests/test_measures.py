"""Measures without labels: against published values and closed forms."""

import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import measures

LN2 = np.log(2.0)
GENERATOR = np.random.default_rng(0)
SAMPLES = GENERATOR.dirichlet(np.ones(4), size=(6, 10))  # rows, samples
REGRESSION = GENERATOR.normal(size=(6, 10, 2))
OF_SAMPLES = (
    measures.predictive_entropy,
    measures.expected_entropy,
    measures.mutual_information,
    measures.votes,
    measures.variation_ratio,
    measures.probability_variation_ratio,
    measures.disagreement,
)
SURE_AND_OPPOSED = [[[1e-8, 1.0 - 1e-8], [1.0 - 1e-8, 1e-8]]]


def assert_close(values, expected, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=atol)


# The values of torch-uncertainty's and uncertainty-wizard's own tests.


def test_members_that_are_sure_and_opposed_share_ln_2():
    # Of 1e-8 each entropy is 2e-7.
    information = measures.mutual_information(SURE_AND_OPPOSED)
    assert_close(information, [LN2], atol=1e-6)


def test_members_that_agree_share_nothing():
    agreed = np.broadcast_to([0.2, 0.5, 0.3], (1, 7, 3))
    assert_close(measures.mutual_information(agreed), [0.0])


def test_entropies_are_in_nats():
    assert_close(measures.entropy([0.5, 0.5]), LN2)
    assert_close(measures.entropy([[1.0, 0.0], [0.25, 0.75]])[0], 0.0)
    assert_close(measures.predictive_entropy([[[0.5, 0.5]]]), [LN2])


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([[0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], 0.5),
        ([[0.2, 0.8], [0.3, 0.7], [0.4, 0.6]], 0.3),
    ],
)
def test_variation_ratio_of_probabilities(samples, expected):
    assert_close(measures.probability_variation_ratio([samples]), [expected])


VOTES_1_1_0 = [[[0.1, 0.9], [0.4, 0.6], [0.8, 0.2]]]


def test_votes_of_1_1_0():
    assert_close(measures.votes(VOTES_1_1_0), [[1.0, 2.0]])
    assert_close(measures.variation_ratio(VOTES_1_1_0), [1.0 / 3.0])
    assert_close(measures.disagreement(VOTES_1_1_0), [2.0 / 3.0])


def test_variance_has_one_less_in_its_denominator():
    # uncertainty-wizard has the population's: times 3 / 2.
    values = [[1.1, 0.2, 0.5]]
    expected = np.std(values) ** 2 * 1.5
    assert_close(measures.epistemic_variance(values), [expected])


def test_sharpness_of_uncertainty_toolbox():
    assert_close(measures.sharpness([0.01, 0.25, 1.0]), 0.648074069840786)


# What each is made of.


def test_the_predictive_entropy_splits_in_two():
    assert_close(
        measures.predictive_entropy(SAMPLES),
        measures.expected_entropy(SAMPLES)
        + measures.mutual_information(SAMPLES),
    )


def test_entropies_by_definition():
    expected = -(SAMPLES * np.log(SAMPLES)).sum(-1).mean(1)
    assert_close(measures.expected_entropy(SAMPLES), expected)
    mean = SAMPLES.mean(1)
    expected = -(mean * np.log(mean)).sum(-1)
    assert_close(measures.predictive_entropy(SAMPLES), expected)
    assert_close(measures.confidence(mean), mean.max(-1))


def test_disagreement_counts_pairs():
    votes = SAMPLES.argmax(-1)
    differ = votes[:, :, None] != votes[:, None, :]
    expected = differ.sum((1, 2)) / (10 * 9)
    assert_close(measures.disagreement(SAMPLES), expected)


def test_the_total_variance_is_that_of_the_mixture():
    variances = REGRESSION**2 + 0.1
    assert_close(
        measures.total_variance(REGRESSION, variances),
        REGRESSION.var(1, ddof=1) + variances.mean(1),
    )
    assert_close(measures.aleatoric_variance(variances), variances.mean(1))


def test_a_probability_of_yes_stands_for_no_and_yes():
    yes = SAMPLES[..., :1]
    both = np.concatenate([1.0 - yes, yes], axis=-1)
    for function in OF_SAMPLES:
        assert_close(function(yes), function(both))


def test_the_axis_of_the_samples():
    stacked = np.moveaxis(SAMPLES, 1, 0)
    for function in OF_SAMPLES:
        assert_close(function(stacked, axis=0), function(SAMPLES))
    assert_close(
        measures.epistemic_variance(np.moveaxis(REGRESSION, 1, 0), axis=0),
        measures.epistemic_variance(REGRESSION),
    )


def test_axes_between_samples_and_classes():
    maps = GENERATOR.dirichlet(np.ones(3), size=(2, 5, 4, 4))
    result = measures.mutual_information(maps)
    assert result.shape == (2, 4, 4)
    assert_close(
        result[1, 2, 3], measures.mutual_information(maps[1:, :, 2, 3])[0]
    )


@pytest.mark.parametrize("function", OF_SAMPLES)
def test_tensors_give_tensors_of_the_same_values(function):
    result = function(ops.convert_to_tensor(SAMPLES.astype("float32")))
    assert ops.is_tensor(result)
    expected = function(SAMPLES)
    assert isinstance(expected, np.ndarray)
    assert_close(ops.convert_to_numpy(result), expected, atol=1e-5)


def test_what_a_prediction_has_is_what_its_samples_give():
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(16, activation="relu"),
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    x = GENERATOR.normal(size=(5, 3)).astype("float32")
    result = kerasdrop.mc_predict(
        model, x, 20, seed=0, keep_samples=True, verbose=0
    )
    for name in (
        "predictive_entropy",
        "expected_entropy",
        "mutual_information",
        "votes",
        "variation_ratio",
    ):
        expected = getattr(measures, name)(result.samples)
        assert_close(result[name], expected, atol=2e-6)
    variance = measures.epistemic_variance(result.samples, plan="stratified")
    assert_close(result.variance, variance, atol=2e-6)


# What is refused.


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (SAMPLES * 2.0, "sum over the last axis is 1.*softmax.*a sum of 2"),
        (SAMPLES * np.nan, "are numbers.*NaN"),
        (SAMPLES[0], r"\(rows, samples, \.\.\., classes\).*\(10, 4\)"),
        ([[[-0.5, 1.5]]], "at least 0.*minimum of -0.5"),
        (np.ones((2, 0, 1)), "the samples must have a known size"),
    ],
)
def test_what_is_no_probability(samples, message):
    with pytest.raises(ValueError, match=f"mutual_information: .*{message}"):
        measures.mutual_information(samples)


@pytest.mark.parametrize("axis", [2, -1])
def test_the_last_axis_is_that_of_the_classes(axis):
    with pytest.raises(ValueError, match="the last is that of the classes"):
        measures.variation_ratio(SAMPLES, axis=axis)


@pytest.mark.parametrize("axis", [3, "1", None])
def test_an_axis_that_there_is_not(axis):
    with pytest.raises(ValueError, match="`axis` must be the number of an"):
        measures.epistemic_variance(REGRESSION, axis=axis)


def test_a_single_sample_neither_disagrees_nor_varies():
    with pytest.raises(ValueError, match="at least two samples"):
        measures.disagreement(SAMPLES[:, :1])
    with pytest.raises(ValueError, match="at least two samples"):
        measures.epistemic_variance(REGRESSION[:, :1])


def test_variances_of_another_shape_than_the_means():
    with pytest.raises(ValueError, match=r"a variance for each mean, \(6, 2\)"):
        measures.total_variance(REGRESSION, np.ones((6, 10)))


def test_a_variance_below_0():
    with pytest.raises(ValueError, match="at least 0.*predicts its logarithm"):
        measures.aleatoric_variance(-np.ones((2, 3)))
    with pytest.raises(ValueError, match="at least 0"):
        measures.sharpness([-1.0])


def test_in_a_tensor_a_variance_below_0_is_nan():
    variances = ops.convert_to_tensor([[-1.0, 4.0], [1.0, 2.0]])
    result = ops.convert_to_numpy(measures.aleatoric_variance(variances))
    np.testing.assert_allclose(result, [np.nan, 1.5], rtol=1e-6, atol=1e-6)
    assert np.isnan(float(measures.sharpness(variances)))


def test_no_variances_have_no_sharpness():
    with pytest.raises(ValueError, match="sharpness: at least one row must"):
        measures.sharpness([])


def test_masked_values_are_not_taken_for_numbers():
    masked = np.ma.masked_array(np.full((2, 2), 0.5), [[0, 0], [0, 1]])
    with pytest.raises(ValueError, match="^entropy: .*1 masked values"):
        measures.entropy(masked)


OF_SAMPLES = [
    measures.disagreement,
    measures.expected_entropy,
    measures.mutual_information,
    measures.predictive_entropy,
    measures.probability_variation_ratio,
    measures.variation_ratio,
    measures.votes,
]


@pytest.mark.parametrize("factor", [3.0, np.nan])
@pytest.mark.parametrize("function", OF_SAMPLES)
def test_in_a_tensor_only_the_row_that_is_none_becomes_nan(function, factor):
    samples = SAMPLES.astype("float32")
    samples[2, 1] *= factor
    result = function(ops.convert_to_tensor(samples))
    is_nan = np.isnan(ops.convert_to_numpy(result)).reshape(6, -1)
    assert is_nan[2].all()
    assert not np.delete(is_nan, 2, axis=0).any()

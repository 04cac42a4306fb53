"""Predictive distributions that are known exactly.

A network of few units has few masks: all of them, with their probabilities,
give the true mean, variance and entropies. The network is computed in numpy.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop.masks import plans

NUM_SAMPLES = 2048
RATES = (0.25, 0.5)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Enumerated:
    """Dropout(.25), Dense(4, tanh), Dropout(.5), Dense(3), all masks."""

    def __init__(self, kind, dropout):
        generator = np.random.default_rng(7)
        self.kernels = [
            generator.normal(size=(3, 4)).astype("float32"),
            generator.normal(size=(4, 3)).astype("float32"),
        ]
        self.x = generator.normal(size=(2, 3)).astype("float32")
        self.kind = kind
        last = "softmax" if kind == "probabilities" else None
        self.model = keras.Sequential(
            [
                keras.Input((3,)),
                dropout(RATES[0]),
                layers.Dense(4, activation="tanh", use_bias=False),
                dropout(RATES[1]),
                layers.Dense(3, activation=last, use_bias=False),
            ]
        )
        self.model.set_weights(self.kernels)

    def outcomes(self, scales):
        """All outputs `(masks, batch, 3)` and their probabilities."""
        outputs, probabilities = [], []
        for bits in itertools.product((0.0, 1.0), repeat=7):
            keep = np.array(bits[:3]), np.array(bits[3:])
            probability = 1.0
            for mask, rate in zip(keep, RATES):
                kept = mask.sum()
                probability *= (1 - rate) ** kept * rate ** (mask.size - kept)
            h = np.tanh(self.x * keep[0] * scales[0] @ self.kernels[0])
            y = h * keep[1] * scales[1] @ self.kernels[1]
            outputs.append(softmax(y) if self.kind == "probabilities" else y)
            probabilities.append(probability)
        return np.array(outputs), np.array(probabilities)


INVERTED = tuple(1 / (1 - rate) for rate in RATES)


def true_moments(outputs, probabilities):
    mean = np.einsum("m,m...->...", probabilities, outputs)
    deviations = outputs - mean
    variance = np.einsum("m,m...->...", probabilities, deviations**2)
    fourth = np.einsum("m,m...->...", probabilities, deviations**4)
    return mean, variance, fourth


@pytest.mark.parametrize("plan", plans.PLANS)
@pytest.mark.parametrize(
    ("dropout", "scales"),
    [
        (kerasdrop.layers.Dropout, INVERTED),
        (layers.Dropout, INVERTED),
        (kerasdrop.layers.ClassicDropout, (1.0, 1.0)),
    ],
)
def test_mean_and_variance_are_those_of_all_masks(plan, dropout, scales):
    net = Enumerated("regression", dropout)
    mean, variance, fourth = true_moments(*net.outcomes(scales))
    result = kerasdrop.mc_predict(
        net.model, net.x, NUM_SAMPLES, seed=1, plan=plan, verbose=0
    )
    # 5 sigma: the mean has variance / T, the unbiased variance has
    # (fourth - variance^2) / T to first order; stratified ones have less.
    off = np.abs(result.mean - mean) / np.sqrt(variance / NUM_SAMPLES)
    spread = np.sqrt((fourth - variance**2) / NUM_SAMPLES)
    off_variance = np.abs(result.variance - variance) / spread
    assert max(off.max(), off_variance.max()) < 5.0


def entropy(p):
    return -(p * np.log(p)).sum(axis=-1)


@pytest.mark.parametrize("plan", plans.PLANS)
def test_entropies_are_those_of_all_masks(plan):
    net = Enumerated("probabilities", kerasdrop.layers.Dropout)
    outputs, probabilities = net.outcomes(INVERTED)
    mean = np.einsum("m,m...->...", probabilities, outputs)
    expected, variance, _ = true_moments(entropy(outputs), probabilities)
    total = entropy(mean)
    result = kerasdrop.mc_predict(
        net.model, net.x, NUM_SAMPLES, seed=1, plan=plan, verbose=0
    )
    bound = 5.0 * np.sqrt(variance / NUM_SAMPLES)
    assert (np.abs(result.expected_entropy - expected) < bound).all()
    # By the delta method the entropy of the mean moves with the mean's error
    # times -(1 + log p); the sum of the absolute terms bounds it.
    _, p_variance, _ = true_moments(outputs, probabilities)
    slope = np.abs(1 + np.log(mean)) * np.sqrt(p_variance / NUM_SAMPLES)
    bound_total = 5.0 * slope.sum(axis=-1)
    assert (np.abs(result.predictive_entropy - total) < bound_total).all()
    np.testing.assert_allclose(
        result.mutual_information,
        result.predictive_entropy - result.expected_entropy,
        atol=1e-6,
    )


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_linear_net_has_the_known_mean_and_variance(rate):
    generator = np.random.default_rng(3)
    w = generator.normal(size=(20, 1)).astype("float32")
    x = generator.normal(size=(4, 20)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((20,)),
            kerasdrop.layers.Dropout(rate),
            layers.Dense(1, use_bias=False),
        ]
    )
    model.set_weights([w])
    mean, variance = x @ w, rate / (1 - rate) * x**2 @ w**2
    result = kerasdrop.mc_predict(
        model, x, NUM_SAMPLES, seed=2, plan="independent", verbose=0
    )
    off = np.abs(result.mean - mean) / np.sqrt(variance / NUM_SAMPLES)
    # A sum of bounded terms has a kurtosis below that of its widest term,
    # (1 - 3 r (1 - r)) / (r (1 - r)).
    kurtosis = (1 - 3 * rate * (1 - rate)) / (rate * (1 - rate))
    spread = variance * np.sqrt(max(kurtosis, 3.0) / NUM_SAMPLES)
    off_variance = np.abs(result.variance - variance) / spread
    assert max(off.max(), off_variance.max()) < 5.0


def test_the_standard_error_of_each_plan_is_honest():
    """Over many seeds the squared error is the squared standard error."""
    net = Enumerated("regression", kerasdrop.layers.Dropout)
    mean, _, _ = true_moments(*net.outcomes(INVERTED))
    for plan in ("independent", "stratified"):
        predictive = kerasdrop.MonteCarlo(net.model, 256, seed=0, plan=plan)
        # 200 copies of the rows are 200 independent repetitions.
        x = np.repeat(net.x, 200, axis=0)
        result = predictive.predict(x, batch_size=400, verbose=0)
        error = (result["mean"] - np.repeat(mean, 200, axis=0)) ** 2
        ratio = error.mean() / (result["standard_error"] ** 2).mean()
        # 1200 squares, chi-squared with one degree of freedom each, of which
        # the three outputs of a row may be dependent: 400 rows count.
        assert abs(ratio - 1.0) < 5.0 * np.sqrt(2.0 / 400), plan


def test_the_stratified_plan_has_less_error():
    net = Enumerated("regression", kerasdrop.layers.Dropout)
    mean, _, _ = true_moments(*net.outcomes(INVERTED))
    x = np.repeat(net.x, 200, axis=0)
    errors = {}
    for plan in ("independent", "stratified"):
        predictive = kerasdrop.MonteCarlo(net.model, 32, seed=0, plan=plan)
        result = predictive.predict(x, batch_size=400, verbose=0)
        squares = (result["mean"] - np.repeat(mean, 200, axis=0)) ** 2
        errors[plan] = squares.mean()
    assert errors["stratified"] < errors["independent"] / 2

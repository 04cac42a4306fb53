"""Exact moments of the samples of small networks under the stratified plan.

Two samples of a row are dependent if they are in the same set. The joint law of
a unit's decisions at two places of a set is found by enumerating all words that
a set can have, with the function that makes them. For a network of independent
units the laws multiply, as a Kronecker product.
"""

import functools

import numpy as np
from keras import ops

from kerasdrop.masks import strata as words_in_strata

SET_SIZE = 16
_BITS = 4


@functools.cache
def strata():
    """The stratum of each place of a set, `(permutations, places)`."""
    choice = np.arange(2**12, dtype="int32")[:, None]
    place = np.arange(SET_SIZE, dtype="int32")[None]
    words = words_in_strata._in_strata(
        ops.convert_to_tensor(choice), ops.convert_to_tensor(place), _BITS
    )
    words = ops.convert_to_numpy(words).astype("int64") + 2**31
    return words >> (32 - _BITS)


@functools.cache
def pair_laws(rate):
    """Joint laws of two decisions, `(places, places, 2, 2)`; 1 is kept.

    A word is uniform within its stratum, and at most one place of a set has the
    stratum that the rate cuts.
    """
    cut, part = divmod(rate * SET_SIZE, 1.0)
    kept = (strata() > cut) + (1.0 - part) * (strata() == cut)
    both = np.stack([1.0 - kept, kept], axis=-1)
    laws = np.einsum("sia,sjb->ijab", both, both) / len(both)
    for place in range(SET_SIZE):
        of_one = both[:, place].mean(axis=0)
        laws[place, place] = np.diag(of_one)
    return laws


def covariances(outputs, rates):
    """The covariances in a set, `(places, places)`, and the mean.

    Args:
        outputs: `(2,) * units`, the output for each mask; 1 is kept.
        rates: One rate for each unit.
    """
    outputs = np.asarray(outputs, "float64")
    marginal = outputs
    for rate in rates:
        marginal = np.tensordot([rate, 1 - rate], marginal, axes=(0, 0))
    centred = outputs - marginal
    result = np.empty((SET_SIZE, SET_SIZE))
    for i in range(SET_SIZE):
        for j in range(i, SET_SIZE):
            other = centred
            for rate in rates:
                # The first axis is removed, and comes back as the last.
                law = pair_laws(rate)[i, j]
                other = np.tensordot(other, law, axes=(0, 1))
            result[i, j] = result[j, i] = (centred * other).sum()
    return result


def expectations(covariance, num_samples):
    """Expectations of two sums of squared deviations: of samples and of sets.

    Args:
        covariance: As `covariances` returns it.
        num_samples: Integer.

    Returns:
        The expectations for the samples and for the means of whole sets.
    """
    sets, rest = divmod(num_samples, SET_SIZE)
    of_one = np.trace(covariance[:rest, :rest])
    of_one += sets * np.trace(covariance)
    of_total = sets * covariance.sum() + covariance[:rest, :rest].sum()
    squares = of_one - of_total / num_samples
    of_set_mean = covariance.mean()
    return squares, max(sets - 1, 0) * of_set_mean


def networks():
    """The names, outputs for each mask and rates of networks of few units."""
    generator = np.random.default_rng(5)

    def masks_of(units):
        return np.stack(
            np.meshgrid(*[[0.0, 1.0]] * units, indexing="ij"), axis=-1
        )

    for rate in (0.1, 0.3, 0.5):
        weights = generator.normal(size=10)
        yield f"linear {rate}", masks_of(10) @ weights, (rate,) * 10
    for name, function, rate in (
        ("tanh, two layers, .3", np.tanh, 0.3),
        ("relu, two layers, .5", lambda h: np.maximum(h, 0.0), 0.5),
    ):
        kept = masks_of(10) / (1 - rate)
        first, second = generator.normal(size=(2, 5, 5))
        hidden = function(kept[..., :5] @ first)
        outputs = function((hidden * kept[..., 5:]) @ second) @ np.ones(5)
        yield name, outputs, (rate,) * 10
    signs = 2.0 * masks_of(2) - 1.0
    yield "product of two signs, .5", signs.prod(axis=-1), (0.5, 0.5)
    yield "product of ten, .1", masks_of(10).prod(axis=-1), (0.1,) * 10
    yield "drop path .05", masks_of(1)[..., 0] / 0.95, (0.05,)

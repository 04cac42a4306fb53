"""Comparisons that the tests share; each asserts, and has a test that fails.

The tests of the helpers are in tests/test_helpers.py.
"""

import os
import subprocess
import sys

import numpy as np


def proportion_bound(probability, count):
    """Five standard deviations of a proportion in `count` independent draws.

    Exceeded by chance once in about two million comparisons.
    """
    return 5.0 * np.sqrt(probability * (1.0 - probability) / count)


def assert_proportion(observed, probability, count=None):
    """Asserts that a proportion is one of independent draws.

    Args:
        observed: Array of booleans, or the number of those that were True
            (then with `count`).
        probability: The probability of True.
        count: The number of draws, if `observed` is not an array.
    """
    if count is None:
        observed = np.asarray(observed)
        assert observed.dtype == bool, "expected an array of booleans"
        count = observed.size
    assert count > 0, "there are no draws to judge"
    proportion = np.sum(observed) / count
    bound = proportion_bound(probability, count)
    assert abs(proportion - probability) <= bound, (
        f"{proportion:.6f} of {count} draws are True, expected "
        f"{probability:.6f} within {bound:.6f} (5 sigma)"
    )


def assert_mean(samples, mean, standard_deviation):
    """Asserts that independent samples have this mean, within 5 sigma.

    Args:
        samples: Array of independent samples.
        mean: The mean of their distribution.
        standard_deviation: That of one sample, or an upper bound of it.
    """
    samples = np.asarray(samples, "float64")
    assert samples.size > 0, "there are no samples to judge"
    bound = 5.0 * standard_deviation / np.sqrt(samples.size)
    assert abs(samples.mean() - mean) <= bound, (
        f"the mean of {samples.size} samples is {samples.mean():.6g}, "
        f"expected {mean:.6g} within {bound:.6g} (5 sigma)"
    )


def run_python(code, backend=None):
    """Runs `code` in a fresh process; asserts success, returns its output.

    Args:
        code: Python source.
        backend: The Keras backend; this process's if None.
    """
    environment = dict(os.environ)
    environment["KERAS_BACKEND"] = backend or _this_backend()
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _this_backend():
    import keras

    return keras.backend.backend()

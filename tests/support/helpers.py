"""Assertions that the tests share; each has a test in which it fails.

The tests of the helpers are in tests/support/test_helpers.py.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np

from tests.support import forks


def proportion_bound(probability, count):
    """Five standard deviations of a proportion in `count` independent draws.

    Chance exceeds it once in about two million comparisons.
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
        standard_deviation: The standard deviation of one sample, or an upper
            bound.
    """
    samples = np.asarray(samples, "float64")
    assert samples.size > 0, "there are no samples to judge"
    bound = 5.0 * standard_deviation / np.sqrt(samples.size)
    assert abs(samples.mean() - mean) <= bound, (
        f"the mean of {samples.size} samples is {samples.mean():.6g}, "
        f"expected {mean:.6g} within {bound:.6g} (5 sigma)"
    )


def assert_same_moments(samples, others, rounding=0.0):
    """Asserts that two sets of samples have the same means and variances.

    They may differ by 5 sigma in each element. Sigma is estimated from the
    samples; for a variance, from their fourth moment.

    Args:
        samples, others: Arrays `(samples, ...)`, independent over the first
            axis, and of the same shape except for that axis.
        rounding: The rounding error of a number, relative to the largest
            number.
    """
    scale = max(np.abs(array).max(initial=0.0) for array in (samples, others))
    slack = {"mean": rounding * scale, "variance": rounding * scale**2}
    moments = []
    for array in (samples, others):
        array = np.asarray(array, "float64")
        assert len(array) > 1, "there are too few samples to judge"
        variance = array.var(axis=0, ddof=1)
        fourth = ((array - array.mean(axis=0)) ** 4).mean(axis=0)
        # This is exact; the factor matters if a number has only two values.
        square = variance**2 * (len(array) - 3) / (len(array) - 1)
        moments.append(
            {
                "mean": (array.mean(axis=0), variance / len(array)),
                "variance": (variance, (fourth - square) / len(array)),
            }
        )
    for name in ("mean", "variance"):
        (one, one_error), (other, other_error) = (m[name] for m in moments)
        sigma = np.sqrt(np.maximum(one_error + other_error, 0.0))
        excess = np.abs(one - other) - 5.0 * sigma - slack[name]
        worst = np.unravel_index(np.argmax(excess), excess.shape)
        assert excess[worst] <= 0.0, (
            f"the {name} of element {tuple(map(int, worst))} is "
            f"{one[worst]:.6g} in one set of samples and {other[worst]:.6g} in "
            f"the other, and sigma is {sigma[worst]:.3g} (allowed: 5 sigma)"
        )


def run_python(code, backend=None, environment=None, *, is_new=False):
    """Runs `code` in a new process, asserts success and returns its output.

    Args:
        code: Python source.
        backend: The Keras backend; this process's if None.
        environment: Dict of variables, besides those of this process. Variables
            that an import reads need `is_new`.
        is_new: Whether the process begins without any import. Otherwise it may
            begin with Keras imported, if the backend is that of this process.
    """
    here = _this_backend()
    backend = backend or here
    environment = {**(environment or {}), "KERAS_BACKEND": backend}
    if backend == here and not is_new:
        result = forks.run(code, environment=environment)
    else:
        variables = {**os.environ, **environment}
        if backend != here:
            # Flags for this backend may crash a process of another one.
            variables.pop("XLA_FLAGS", None)
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    return result.stdout


def code_of(page, word):
    """The code block in a page of `docs/` that contains this word."""
    folder = pathlib.Path(__file__).parents[2] / "docs"
    blocks = (folder / page).read_text().split("```")
    (code,) = (
        block.removeprefix("python\n")
        for block in blocks
        if block.startswith("python\n") and word in block
    )
    return code


def _this_backend():
    import keras

    return keras.backend.backend()

"""Each shared comparison can succeed, and can fail."""

import numpy as np
import pytest

from tests.support import helpers


def test_the_bound_is_five_sigma():
    # One sigma of a fair coin thrown 10,000 times is 0.005.
    assert helpers.proportion_bound(0.5, 10_000) == pytest.approx(0.025)


def test_a_proportion_inside_its_bound_passes():
    helpers.assert_proportion(5_240, 0.5, count=10_000)


@pytest.mark.parametrize("observed", [4_740, 5_260])
def test_a_proportion_outside_its_bound_fails(observed):
    with pytest.raises(AssertionError, match="5 sigma"):
        helpers.assert_proportion(observed, 0.5, count=10_000)


def test_a_probability_of_0_allows_no_exception():
    with pytest.raises(AssertionError, match="expected 0.000000 within"):
        helpers.assert_proportion(1, 0.0, count=1_000_000)


def test_a_proportion_counts_the_true_entries_of_an_array():
    helpers.assert_proportion(np.arange(10_000) % 4 == 0, 0.25)


def test_a_proportion_of_something_else_than_booleans_fails():
    with pytest.raises(AssertionError, match="booleans"):
        helpers.assert_proportion(np.ones(10), 1.0)


def test_a_proportion_of_nothing_fails():
    with pytest.raises(AssertionError, match="no draws"):
        helpers.assert_proportion(np.zeros(0, bool), 0.5)


def test_a_mean_inside_its_bound_passes():
    helpers.assert_mean(np.full(100, 1.04), mean=1.0, standard_deviation=0.1)


def test_a_mean_outside_its_bound_fails():
    with pytest.raises(AssertionError, match="5 sigma"):
        helpers.assert_mean(
            np.full(100, 1.06), mean=1.0, standard_deviation=0.1
        )


def test_a_mean_of_nothing_fails():
    with pytest.raises(AssertionError, match="no samples"):
        helpers.assert_mean([], mean=0.0, standard_deviation=1.0)


@pytest.fixture
def normal():
    return np.random.default_rng(0).normal(size=(2000, 3))


def test_samples_of_the_same_distribution_have_the_same_moments(normal):
    helpers.assert_same_moments(normal[:1500], normal[1500:])


def test_a_constant_has_the_moments_of_itself():
    helpers.assert_same_moments(np.ones((10, 2)), np.ones((20, 2)))


@pytest.mark.parametrize(
    ("name", "factor", "shift"), [("mean", 1.0, 0.25), ("variance", 1.3, 0.0)]
)
def test_one_element_with_another_moment_is_named(normal, name, factor, shift):
    # Sigma of a mean of 1000 is 0.03, of a variance 0.045: of a difference
    # 1.4 times that.
    others = normal[1000:] * [1.0, factor, 1.0] + [0.0, shift, 0.0]
    with pytest.raises(AssertionError, match=rf"the {name} of element \(1,\)"):
        helpers.assert_same_moments(normal[:1000], others)


def test_a_single_sample_has_no_moments():
    with pytest.raises(AssertionError, match="too few"):
        helpers.assert_same_moments(np.ones((1, 2)), np.ones((9, 2)))


def test_code_in_a_fresh_process_returns_its_output():
    assert helpers.run_python("print(6 * 7)") == "42\n"


def test_code_that_fails_in_a_fresh_process_fails_here():
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        helpers.run_python("1 / 0")

"""Each shared comparison can succeed, and can fail."""

import numpy as np
import pytest

from tests import helpers


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


def test_code_in_a_fresh_process_returns_its_output():
    assert helpers.run_python("print(6 * 7)") == "42\n"


def test_code_that_fails_in_a_fresh_process_fails_here():
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        helpers.run_python("1 / 0")

"""Who is to blame for what is refused is said once, at the boundary."""

import pytest

from kerasdrop import _refusals


def test_the_boundary_says_who_refuses():
    with pytest.raises(ValueError, match="^outer: too small$") as caught:
        with _refusals.blame("outer"):
            raise _refusals.Refusal("too small")
    assert type(caught.value) is ValueError
    assert caught.traceback[-1].frame.code.path.name == "test_refusals.py"


def test_the_innermost_boundary_says_it():
    with pytest.raises(ValueError, match="^inner: too small$"):
        with _refusals.blame("outer"), _refusals.blame("inner"):
            raise _refusals.Refusal("too small")


def test_other_errors_pass_as_they_are():
    with pytest.raises(ValueError, match="^too small$"):
        with _refusals.blame("outer"):
            raise ValueError("too small")

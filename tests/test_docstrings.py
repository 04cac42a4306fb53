"""Each public name has an example in its docstring, and it runs."""

import doctest
import inspect
import re

import pytest

import kerasdrop
from tests.support import public_names

OBJECTS = public_names.public_objects()
# A class that is public under two names has one docstring.
FIRST_NAMES = {id(value): name for name, value in reversed(OBJECTS.items())}


@pytest.mark.parametrize("name", sorted(FIRST_NAMES.values()))
def test_the_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it saves to
    monkeypatch.setenv("MPLBACKEND", "agg")

    test = public_names.example_of(name, OBJECTS[name])

    assert test is not None, f"{name} has no example. Add a section `Example:`."
    failures = public_names.failures_of(test)
    assert not failures, failures


# Sphinx takes the second line of such a list for a description.
LIST_OF_ARGUMENTS_THAT_GOES_ON = re.compile(
    r"^    (\w+, )+\w*,?$", re.MULTILINE
)


@pytest.mark.parametrize("name", sorted(FIRST_NAMES.values()))
def test_arguments_are_named_on_one_line(name):
    _, _, arguments = inspect.getdoc(OBJECTS[name]).partition("\nArgs:\n")
    assert not LIST_OF_ARGUMENTS_THAT_GOES_ON.search(arguments)


@pytest.mark.parametrize("module", ["kerasdrop", *public_names.NAMESPACES])
def test_help_begins_with_a_table_of_contents(module):
    module = public_names.NAMESPACES.get(module, kerasdrop)
    first, _, rest = module.__doc__.partition("\n\nContents:\n\n- `")
    assert "\n" not in first
    listed = [line.partition("`")[0] for line in rest.split("\n- `")]
    assert listed == list(module.__all__)


def test_an_example_that_fails_would_be_noticed():
    test = doctest.DocTestParser().get_doctest(
        ">>> 1 + 1\n3\n", {}, "example", None, 0
    )
    assert "Expected" in public_names.failures_of(test)


def test_a_missing_example_would_be_noticed():
    def without():
        """Does nothing."""

    assert public_names.example_of("kerasdrop.without", without) is None

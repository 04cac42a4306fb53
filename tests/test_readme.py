"""The code of the README runs as it stands, from its top to its end."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def code_blocks(text):
    """The Python blocks of a Markdown text, with the line each begins at."""
    return [
        (text.count("\n", 0, match.start(1)) + 1, match.group(1))
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
    ]


def run_blocks(blocks):
    """Runs blocks one after the other in one namespace; returns it."""
    namespace = {}
    for line, code in blocks:
        # Empty lines, so that a traceback tells the line of the README.
        source = "\n" * (line - 1) + code
        exec(compile(source, str(README), "exec"), namespace)
    return namespace


def test_the_code_of_the_readme_runs():
    namespace = run_blocks(code_blocks(README.read_text()))

    assert namespace["result"].mutual_information.shape == (1000,)


def test_a_block_that_fails_would_be_noticed():
    blocks = code_blocks("```python\nright = 1\n```\n```python\n1 / 0\n```\n")

    with pytest.raises(ZeroDivisionError):
        run_blocks(blocks)

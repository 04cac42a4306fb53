"""Finds and runs the code blocks of a Markdown text."""

import contextlib
import io
import re

_BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^>]+ -->\n\n)?"
    r"^```(?P<language>python|text)\n(?P<code>.*?)^```$",
    re.M | re.S,
)


def blocks_of(text, language="python"):
    """The blocks of a language, each with the number of the line before it.

    A block after a mark `<!-- not run: reason -->` is left out.
    """
    return [
        (text.count("\n", 0, match.start("code")), match["code"])
        for match in _BLOCK.finditer(text)
        if match["language"] == language and not match["mark"]
    ]


def run(blocks, name):
    """Runs blocks of Python one after the other in one namespace.

    Args:
        blocks: As `blocks_of` returns them.
        name: String for tracebacks.

    Returns:
        The namespace and the output.
    """
    namespace = {"__name__": "snippets"}
    printed = io.StringIO()
    for line, code in blocks:
        # The empty lines make a traceback show the line of the text.
        source = "\n" * line + code
        with contextlib.redirect_stdout(printed):
            exec(compile(source, name, "exec"), namespace)
    return namespace, printed.getvalue()


def not_printed(printed, text):
    """The lines of a text's output blocks that were not printed in order.

    A line with `...` stands for any lines.
    """
    lines = iter([line.rstrip() for line in printed.splitlines()])
    shown = "".join(code for _, code in blocks_of(text, "text")).splitlines()
    return [
        line
        for line in shown
        if line and line != "..." and line.rstrip() not in lines
    ]

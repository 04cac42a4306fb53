"""Docstrings are written in Markdown: links and code become those of RST."""

import re

_LINK = re.compile(r"\[([^\]]+)\]\(\s*(https?://(?:[^()]|\([^()]*\))*?)\s*\)")


def as_rst(lines):
    """The lines of a docstring, with the links of Markdown as those of RST.

    An address may be broken over lines, as may the text; the line that a link
    begins in gets all of it.
    """

    def link(match):
        text = " ".join(match.group(1).split()).replace("`", "")
        address = "".join(match.group(2).split())
        # Lines that follow stay where they are.
        return f"`{text} <{address}>`__"

    return _LINK.sub(link, "\n".join(lines)).split("\n")


def _process(app, what, name, obj, options, lines):
    lines[:] = as_rst(lines)


def setup(app):
    # Before Napoleon, which moves lines.
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True}

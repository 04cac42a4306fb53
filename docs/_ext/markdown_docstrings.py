"""Docstrings are written in Markdown: this makes RST of their links and code.

Names of the package in backticks become links to their pages, and so do pages
of docs/, given by their file.
"""

import re

_LINK = re.compile(r"\[([^\]]+)\]\(\s*(https?://(?:[^()]|\([^()]*\))*?)\s*\)")
_PAGE = re.compile(r"(`?)docs/([\w/]+)\.md\1")
_NAME = re.compile(r"(?<![`:\w])`([a-zA-Z_][\w.]*)`(?![`_])")


def as_rst(lines, pages=(), own_name=""):
    """The lines of a docstring, in RST.

    An address may be broken over lines, as may the text of its link; the line
    in which a link begins gets all of it.

    Args:
        lines: List of strings.
        pages: Dotted names that have a page of the reference.
        own_name: The dotted name that the docstring belongs to. Short names are
            looked up beside it, and it is not linked itself.
    """

    def link(match):
        text = " ".join(match.group(1).split()).replace("`", "")
        address = "".join(match.group(2).split())
        # Lines that follow stay where they are.
        return f"`{text} <{address}>`__"

    def name(match):
        found = _page_of(match.group(1), pages, own_name)
        return f":py:obj:`{match.group(1)} <{found}>`" if found else match[0]

    text = _LINK.sub(link, "\n".join(with_literal_blocks(lines)))
    text = _PAGE.sub(r":doc:`/\2`", text)
    return _NAME.sub(name, text).split("\n")


def _page_of(name, pages, own_name):
    """The public name that is meant, or None."""
    # A method, and its class, are beside what is beside the class.
    parents = own_name.split(".")
    namespaces = [".".join(parents[:count]) for count in (2, 1)]
    for candidate in (name, *(f"{each}.{name}" for each in namespaces)):
        is_own = f"{own_name}.".startswith(f"{candidate}.")
        if candidate in pages and not is_own:
            return candidate
    return None


def with_literal_blocks(lines):
    """Lines in which indented code is code in RST too.

    Code is what is indented by four spaces, behind a blank line and a paragraph
    that is not indented.
    """
    written, last, is_blank = [], " ", False
    for line in lines:
        is_code = line.startswith("    ") and is_blank
        if line and is_code and not last.startswith(" "):
            written += ["::", ""]
        written.append(line)
        is_blank = not line.strip()
        last = line if line.strip() else last
    return written


def _process(app, what, name, obj, options, lines):
    # Only here: tests use this module without the package.
    import reference

    lines[:] = as_rst(lines, reference.pages(), name)


def setup(app):
    # Before Napoleon, which moves lines.
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True}

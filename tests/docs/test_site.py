"""What the site is made of: each public name, each example, Markdown."""

import importlib.util
import subprocess
import sys

import pytest

from tests.support import public_names
from tests.support.scripts import ROOT

EXTENSIONS = ROOT / "docs" / "_ext"


def extension(name):
    """A module of docs/_ext; it needs no Sphinx to be imported."""
    spec = importlib.util.spec_from_file_location(
        f"docs_ext_{name}", EXTENSIONS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(EXTENSIONS))  # they import each other
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXTENSIONS))
    return module


def test_the_reference_has_each_public_name_once():
    groups = extension("reference").names_of_groups()
    pages = [name for names in groups.values() for name in names]
    objects = public_names.public_objects()

    assert len(set(pages)) == len(pages)
    found = [id(objects[name]) for name in pages]
    assert sorted(found) == sorted({id(each) for each in objects.values()})


def test_a_name_without_a_group_is_refused():
    def stranger():
        """From no part of the package that is known."""

    with pytest.raises(ValueError, match="belongs to no group"):
        extension("reference")._group_of("stranger", stranger)


def test_the_index_of_the_reference_lists_each_group():
    reference = extension("reference")
    index = (ROOT / "docs" / "reference" / "index.md").read_text()
    listed = index.partition(":maxdepth: 2")[2].split("```")[0].split()
    assert listed == [
        reference._file_of(title) for title, *_ in reference.GROUPS
    ]


@pytest.mark.parametrize(
    ("markdown", "rst"),
    [
        ("See [a, 2014](https://a.b/c).", "See `a, 2014 <https://a.b/c>`__."),
        ("[two\nlines](\nhttps://a.b/\nc)", "`two lines <https://a.b/c>`__"),
        ("[x](https://a/(1)2)", "`x <https://a/(1)2>`__"),
        ("`x[0](y)` stays", "`x[0](y)` stays"),
        ("See docs/a/b.md.", "See :doc:`/a/b`."),
        ("See `docs/a.md`.", "See :doc:`/a`."),
        # A public name in full, beside the own one, or in the package.
        ("`pkg.part.f`", ":py:obj:`pkg.part.f <pkg.part.f>`"),
        ("`f(x)` and `f`", "`f(x)` and :py:obj:`f <pkg.part.f>`"),
        ("`top`", ":py:obj:`top <pkg.top>`"),
        ("``f``, `g`, `part.Own`", "``f``, `g`, `part.Own`"),
        ("`Own` itself", "`Own` itself"),
        # Code, which in RST would be a quotation.
        ("as\n\n    a = 1\n\n    b = 2", "as\n\n::\n\n    a = 1\n\n    b = 2"),
        ("Args:\n    a: One.\n\n    b", "Args:\n    a: One.\n\n    b"),
    ],
)
def test_markdown_of_docstrings(markdown, rst):
    as_rst = extension("markdown_docstrings").as_rst
    names = {"pkg.part.f", "pkg.top", "pkg.part.Own"}
    lines = as_rst(markdown.split("\n"), names, "pkg.part.Own.method")
    assert "\n".join(lines) == rst


def test_the_page_of_an_example_is_readable():
    source = [
        ".. _sphx_glr_gallery_a.py:\n\nA title.\n\nText\n\n    run a.py\n\n"
        ".. GENERATED FROM\n\n    code\n\n1/2 \u2501\u2501 1s\nThe result\n"
    ]
    extension("gallery")._readable(None, "gallery/a", source)
    assert source[0] == (
        ".. _sphx_glr_gallery_a.py:\n\nA title\n========\n\nText\n\n::\n\n"
        "    run a.py\n\n.. GENERATED FROM\n\n    code\n\nThe result\n"
    )


def test_the_gallery_runs_each_example_or_says_why_not():
    gallery = extension("gallery")
    header = (ROOT / "examples" / "GALLERY_HEADER.rst").read_text()
    for name in gallery.NOT_RUN:
        assert (gallery.EXAMPLES / f"{name}.py").exists()
        assert f"{name}.py" in header
    for name in gallery.RUN:
        path = gallery.EXAMPLES / f"{name}.py"
        called_with = gallery.arguments({}, {"src_file": str(path)})
        assert called_with[0] == "--quick"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """All but the examples, which `make docs` runs."""
    pytest.importorskip("sphinx", reason="needs `pip install '.[docs]'`")
    pytest.importorskip("sphinx_gallery")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    command += ["-D", "plot_gallery=0", str(ROOT / "docs"), str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "reference/api/kerasdrop.mc_predict.html").exists()
    assert "mc_predict" in (tmp_path / "searchindex.js").read_text()

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
    spec.loader.exec_module(module)
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
    ],
)
def test_links_of_docstrings(markdown, rst):
    as_rst = extension("markdown_docstrings").as_rst
    assert "\n".join(as_rst(markdown.split("\n"))) == rst


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

"""The site: `make docs` builds it. Sphinx, and no network."""

import os
import pathlib
import sys

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gallery  # noqa: E402

import kerasdrop  # noqa: E402

project = "kerasdrop"
author = "The kerasdrop authors"
copyright = author
version = release = kerasdrop.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # Of docs/_ext: the reference of `__all__`, docstrings with Markdown in
    # them, and how examples/ are run.
    "reference",
    "markdown_docstrings",
    "gallery",
]
exclude_patterns = ["_build", "_ext", "images"]

# Markdown.
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

# `--quick` keeps its dashes.
smartquotes = False

# The reference.
default_role = "literal"
add_module_names = False
autodoc_typehints = "none"
# What a method overrides is documented where it is from: in Keras.
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    ("Returns (of a call)", "returns_style"),
]

sphinx_gallery_conf = gallery.CONF

# Pages. Nothing is fetched: no fonts, scripts or badges from elsewhere.
html_theme = "pydata_sphinx_theme"
html_title = f"kerasdrop {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

"""How the scripts in examples/ are run for the gallery."""

import pathlib
import re

from markdown_docstrings import with_literal_blocks

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# Shown as they are, and why they are not run.
NOT_RUN = {
    "bert_annealing": "it needs KerasHub",
    "distributed_mc": "it needs Ray, and starts workers",
    "mc_any_model": "it needs KerasHub, and compiles for minutes",
}
RUN = sorted(
    path.stem for path in EXAMPLES.glob("*.py") if path.stem not in NOT_RUN
)


CONF = {
    "examples_dirs": [str(EXAMPLES)],
    "gallery_dirs": ["gallery"],
    "filename_pattern": rf"/({'|'.join(RUN)})\.py$",
    # By name: what is a function cannot be kept between two builds.
    "reset_argv": "gallery.arguments",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
    "abort_on_example_error": True,
}


def arguments(gallery_conf, script_vars):
    """What an example is called with: `--quick`, and a folder for figures."""
    source = pathlib.Path(script_vars["src_file"]).read_text()
    folder = ROOT / "docs" / "_build" / "output"
    named = {"--quick": "--quick", "--output": f"--output={folder}"}
    return [said for name, said in named.items() if f'"{name}"' in source]


def _readable(app, docname, source):
    """The page of an example: its title, commands as code, no progress bars."""
    if not re.fullmatch(r"gallery/\w+", docname):
        return
    label = f".. _sphx_glr_{docname.replace('/', '_')}.py:\n\n"
    before, has_label, rest = source[0].partition(label)
    docstring, script, rest = rest.partition("\n.. GENERATED FROM")
    if has_label:
        source[0] = before + label + _titled(docstring) + script + rest
    source[0] = re.sub(
        "^.*\N{BOX DRAWINGS HEAVY HORIZONTAL}.*\n",
        "",
        source[0],
        flags=re.MULTILINE,
    )


def _titled(docstring):
    """A docstring whose first sentence is a heading, in RST."""
    title, *lines = docstring.split("\n")
    lines = with_literal_blocks(lines)
    return "\n".join([title.rstrip("."), "=" * len(title), *lines])


def setup(app):
    app.connect("source-read", _readable)
    return {"parallel_read_safe": False}

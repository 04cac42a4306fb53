"""How the scripts in examples/ are run for the gallery."""

import pathlib
import re

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


def _with_heading(app, docname, source):
    """The first sentence of an example is its title."""
    if not re.fullmatch(r"gallery/\w+", docname):
        return
    label = rf"(\.\. _sphx_glr_{docname.replace('/', '_')}\.py:\n\n)(.+)\n"
    source[0] = re.sub(
        label,
        lambda found: (
            f"{found[1]}{found[2].rstrip('.')}\n{'=' * len(found[2])}\n"
        ),
        source[0],
        count=1,
    )


def setup(app):
    app.connect("source-read", _with_heading)
    return {"parallel_read_safe": False}

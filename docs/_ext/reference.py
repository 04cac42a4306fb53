"""Pages of the reference: one for each public name, grouped for readers.

What is public is what `__all__` says, so a new name has a page by itself: in
the group of its namespace or, of a name of `kerasdrop` itself, of the part of
the package that it is from.
"""

import functools
import inspect
import pathlib
import re
import types

import kerasdrop

# Title, what the group is for, the namespaces, and where names of `kerasdrop`
# itself are from.
GROUPS = (
    (
        "Layers",
        "Dropout layers whose rate is a number, which can change at any time, "
        "or a schedule. See [Layers](../layers.md), and "
        "[Choosing](../choosing.md) for which layer and rate to use when.",
        ("layers",),
        ("kerasdrop.layers",),
    ),
    (
        "Rates",
        "Reads and sets the rates of a model, at any time. "
        "See [Changing the rate](../annealing.md).",
        (),
        ("kerasdrop.rates",),
    ),
    (
        "Schedules",
        "Rates as functions of the step, and rates over depth. "
        "See [Schedules](../schedules.md).",
        ("schedules",),
        (),
    ),
    (
        "Callbacks",
        "Callbacks that change and log rates while `fit` runs. "
        "See [Changing the rate](../annealing.md).",
        ("callbacks",),
        (),
    ),
    (
        "Uncertainty",
        "Monte Carlo dropout: the predictive distribution of a model. "
        "See [Reading the uncertainty](../uncertainty.md), [Which layers "
        "draw, and what is checked](../drawing.md), [Plans](../plans.md) and "
        "[Fitting the rate to data](../fitting.md).",
        (),
        (
            "kerasdrop.montecarlo",
            "kerasdrop.predictive",
            "kerasdrop.rate_fit",
            "kerasdrop.sobol_indices",
            "kerasdrop._adapters",
        ),
    ),
    (
        "Calibration",
        "Evaluates uncertainties with labels, and corrects them. "
        "See [Intervals that hold](../intervals.md) and "
        "[Reading the uncertainty](../uncertainty.md).",
        ("calibration",),
        (),
    ),
    (
        "Measures",
        "How uncertain predictions are, computed from samples without labels. "
        "See [Reading the uncertainty](../uncertainty.md).",
        ("measures",),
        (),
    ),
    (
        "Metrics",
        "Measures and calibration scores as `keras.metrics`, for "
        "`model.compile` and `evaluate`. "
        "See [Reading the uncertainty](../uncertainty.md).",
        ("metrics",),
        (),
    ),
    (
        "Plots",
        "Plots of uncertainties and rates. They need Matplotlib: "
        '`pip install "kerasdrop[plots]"`. [By task](../tasks/index.md) shows '
        "them in use.",
        ("plots",),
        (),
    ),
    (
        "Conversion",
        "Copies of a model: with live rates, with dropout inserted, without "
        "dropout, or with folded scaling. See [Inserting "
        "dropout](../inserting.md), [Rates inside blocks, backbones and tasks]("
        "../annealing.md#rates-inside-blocks-backbones-and-tasks), [Which "
        "models were tried](../models.md) and "
        "[Deployment](../tasks/deployment.md).",
        (),
        ("kerasdrop.conversion",),
    ),
    (
        "Acquisition",
        "Chooses which rows to label next. "
        "See [Acquisition](../acquisition.md).",
        ("acquisition",),
        (),
    ),
    (
        "For authors of layers",
        "The random words behind all masks, and the functions that apply them. "
        "See [Layers](../layers.md).",
        ("functional", "masks"),
        ("kerasdrop.masks",),
    ),
)


def names_of_groups():
    """Dict from each group's title to its public names, in order.

    Raises:
        ValueError: If a name of `kerasdrop` belongs to no group.
    """
    names = {title: [] for title, *_ in GROUPS}
    for name in kerasdrop.__all__:
        value = getattr(kerasdrop, name)
        if not isinstance(value, types.ModuleType):
            names[_group_of(name, value)].append(f"kerasdrop.{name}")
    seen = {id(_value_of(name)) for each in names.values() for name in each}
    for title, _, namespaces, _ in GROUPS:
        in_namespaces = [
            f"kerasdrop.{namespace}.{name}"
            for namespace in namespaces
            for name in getattr(kerasdrop, namespace).__all__
        ]
        # What has a shorter name has its page under that one.
        names[title][:0] = [
            name for name in in_namespaces if id(_value_of(name)) not in seen
        ]
    return names


@functools.cache
def pages():
    """The public names that have a page."""
    return frozenset(
        name for names in names_of_groups().values() for name in names
    )


def _group_of(name, value):
    module = value.__module__
    for title, _, _, modules in GROUPS:
        if any(f"{module}.".startswith(f"{each}.") for each in modules):
            return title
    raise ValueError(
        f"kerasdrop.{name} belongs to no group of the reference: add its "
        f"module, {module}, to one in docs/_ext/reference.py"
    )


def _value_of(name):
    value = kerasdrop
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def _summary(value):
    lines = (inspect.getdoc(value) or "").split("\n\n")[0].split("\n")
    return " ".join(lines).replace("|", r"\|")


def _group_page(title, text, names):
    rows = [
        f"| [`{name.removeprefix('kerasdrop.')}`](api/{name}.rst) "
        f"| {_summary(_value_of(name))} |"
        for name in names
    ]
    toctree = ["```{toctree}", ":hidden:", *(f"api/{n}" for n in names), "```"]
    table = ["| name | description |", "|---|---|", *rows]
    return "\n".join([f"# {title}", "", text, "", *table, "", *toctree, ""])


def _api_page(name, text):
    value = _value_of(name)
    directive = "autofunction"
    options = []
    if isinstance(value, type):
        directive = "autoclass"
        options = ["   :members:", "   :inherited-members:"]
    if isinstance(value, type) and issubclass(value, Exception):
        options = []
    short = name.rpartition(".")[2]
    lines = [short, "=" * len(short), "", f".. {directive}:: {name}", *options]
    guides = re.findall(r"\(\.\./([\w/]+)\.md\)", text)
    if guides:
        listed = ", ".join(f":doc:`/{guide}`" for guide in guides)
        lines += ["", f".. seealso:: {listed}"]
    return "\n".join([*lines, ""])


def _write(path, text):
    # What is as it was keeps its time, so that Sphinx need not read it again.
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _file_of(title):
    return title.lower().replace(" ", "_")


def write_pages(app):
    folder = pathlib.Path(app.srcdir) / "reference"
    groups = names_of_groups()
    written = set()
    for title, text, *_ in GROUPS:
        path = folder / f"{_file_of(title)}.md"
        _write(path, _group_page(title, text, groups[title]))
        for name in groups[title]:
            page = folder / "api" / f"{name}.rst"
            _write(page, _api_page(name, text))
            written.add(page)
    for page in (folder / "api").glob("*.rst"):
        if page not in written:
            page.unlink()


def _skips(app, what, name, obj, skip, options):
    """Leaves out what a class has from Keras or from a named tuple."""
    if type(obj).__name__ == "_tuplegetter":
        return True
    function = getattr(obj, "fget", None) or obj
    module = getattr(function, "__module__", None) or ""
    if not module.startswith("kerasdrop") and callable(function):
        return True
    return skip


def setup(app):
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-skip-member", _skips)
    return {"parallel_read_safe": True}

"""What the plots of the benchmarks share: axes, colours, files, links.

The first plot loads matplotlib, so only `--show` of a script needs it.
"""

import hashlib
import json

from benchmarks.support import markdown

IMAGES = markdown.ROOT / "docs" / "images"

# Of the palette of Okabe and Ito, which the colour-blind tell apart.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"


def panels(number, width, height, **options):
    """Axes side by side in a new figure, each so many inches large."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit(
            "--show draws plots, and needs matplotlib. Install it by `pip "
            'install "kerasdrop[plots]"`, or `pip install matplotlib`.'
        ) from error
    figure = Figure((number * width, height), layout="constrained")
    (grid,) = figure.subplots(1, number, squeeze=False, **options)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
    return grid


def logarithmic(axis, ticks):
    """Makes an axis logarithmic, with plain numbers at those ticks in view."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def legend_above(grid, columns=2):
    """One legend for all axes of a figure."""
    handles = {
        label: handle
        for axes in grid
        for handle, label in zip(*axes.get_legend_handles_labels())
    }
    grid[0].figure.legend(
        handles.values(),
        handles,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
    )


def link(name, text):
    """What shows a plot in the docs, with a text for who cannot see it."""
    return f"![{text}](../images/{name}.png)"


def fingerprint(report):
    """A short text that is another one for other results."""
    results = json.dumps(report, sort_keys=True)
    return hashlib.sha256(results.encode()).hexdigest()


def write(figures, report):
    """Writes figures, by name, each with the fingerprint of its results."""
    # matplotlib would add its version, and change files that are the same.
    metadata = {"Software": None, "Results": fingerprint(report)}
    for name, figure in figures.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=110, metadata=metadata)

"""The plots of `srivastava_mnist`, from its results."""

import numpy as np

from benchmarks.support import plotting

SIZE = (5.0, 3.4)  # of a panel, in inches
# Marked on the axes where they are in view.
PASSES = (1, 2, 5, 10, 20, 50, 100, 200)
PERCENT = (1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)


def figures(report):
    """The plots of what there is, by the names of their files."""
    drawn = {
        "srivastava_figure_11": _averages(report["records"]),
        "srivastava_figure_9": _keep(report["records"]),
        "srivastava_figure_10": _sizes(report["records"]),
    }
    return {name: figure for name, figure in drawn.items() if figure}


def _averages(records):
    """Panel by panel a network: the average over k passes, weight scaling."""
    records = [record for record in records if "averages" in record]
    if not records:
        return None
    records.sort(key=lambda record: (record["updates"], record["seed"]))
    grid = plotting.panels(len(records), *SIZE, sharey=True)
    for axes, record in zip(grid, records):
        found = record["averages"]
        mean, deviation = map(
            np.array, (found["mean"], found["standard deviation"])
        )
        passes = np.arange(1, len(mean) + 1)
        axes.fill_between(
            passes,
            mean - deviation,
            mean + deviation,
            color=plotting.BLUE,
            alpha=0.25,
            linewidth=0,
        )
        axes.plot(
            passes,
            mean,
            color=plotting.BLUE,
            label="average of k passes ± deviation",
        )
        axes.axhline(
            record["test error"],
            color=plotting.ORANGE,
            linestyle="--",
            label="weight scaling",
        )
        plotting.logarithmic(axes.xaxis, PASSES)
        axes.set_xlabel("k")
        axes.set_title(
            f"{record['updates']:,} updates, seed {record['seed']}",
            fontsize="medium",
        )
    return _labelled(grid)


def _keep(records):
    """Panel by panel a number of updates: the error against p."""
    kinds = {
        "keep-n": ("n = 512", plotting.BLUE, "o-"),
        "keep-pn": ("pn = 64, 64, 128", plotting.ORANGE, "s--"),
    }
    records = [record for record in records if record["row"] in kinds]
    if not records:
        return None
    grid = _curves(
        records,
        kinds,
        lambda record: record["row"],
        lambda record: float(record["point"].removeprefix("p = ")),
    )
    for axes in grid:
        axes.set(xlabel="probability p to keep a hidden unit", xlim=(0, 1.05))
    return _labelled(grid)


def _sizes(records):
    """Panel by panel a number of updates: the error against the images."""
    kinds = {
        "none": ("no dropout", plotting.GREY, "s--"),
        "dropout": ("dropout", plotting.BLUE, "o-"),
    }
    records = [record for record in records if record["row"] == "sizes"]
    if not records:
        return None
    grid = _curves(
        records,
        kinds,
        lambda record: record["point"].rpartition(", ")[2],
        lambda record: record["images"],
    )
    sizes = sorted({record["images"] for record in records})
    for axes in grid:
        plotting.logarithmic(axes.xaxis, sizes)
        axes.set_xlabel("training images")
    return _labelled(grid)


def _curves(records, kinds, kind, place):
    """Axes for each number of updates, with a curve of each kind.

    Args:
        kinds: By kind, the label, the colour and the style of its curve.
        kind, place: Functions of a record: its kind, where it is drawn.
    """
    numbers = sorted({record["updates"] for record in records})
    grid = plotting.panels(len(numbers), *SIZE, sharey=True)
    for axes, number in zip(grid, numbers):
        axes.set_title(f"{number:,} updates", fontsize="medium")
        for name, style in kinds.items():
            some = [
                record
                for record in records
                if (record["updates"], kind(record)) == (number, name)
            ]
            _curve(axes, some, place, *style)
    plotting.logarithmic(grid[0].yaxis, PERCENT)
    return grid


def _curve(axes, records, place, label, color, style):
    """The mean error by place, and its deviation where there are seeds."""
    if not records:
        return
    errors = {}
    for record in records:
        errors.setdefault(place(record), []).append(record["test error"])
    places = sorted(errors)
    axes.errorbar(
        places,
        [np.mean(errors[one]) for one in places],
        [
            np.std(errors[one], ddof=1) if len(errors[one]) > 1 else 0.0
            for one in places
        ],
        fmt=style,
        color=color,
        label=label,
        markersize=5,
    )


def _labelled(grid):
    """The figure of these panels, with what they have in common."""
    grid[0].set_ylabel("test error, percent")
    plotting.legend_above(grid)
    return grid[0].figure

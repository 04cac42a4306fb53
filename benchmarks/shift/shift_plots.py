"""The plots of benchmarks/shift/shift.py, from its results."""

import numpy as np

from benchmarks.support import plotting

# Training and way of prediction: colour, marker.
NETWORKS = {
    ("no dropout", "weight scaling"): (plotting.GREY, "s"),
    ("rate .5", "weight scaling"): (plotting.ORANGE, "D"),
    ("rate .7 to .3", "Monte Carlo"): (plotting.BLUE, "v"),
    ("rate .5", "Monte Carlo"): (plotting.BLUE, "o"),
    ("rate .3 to .7", "Monte Carlo"): (plotting.BLUE, "^"),
}
FIGURES = {
    "NLL": "NLL, nats",
    "ECE": "ECE",
    "AUROC of entropy": "AUROC of the entropy",
}


def figures(report):
    """One for each set of images, by the names of their files."""
    by_set = {}
    for row in report["records"]:
        by_set.setdefault(row["set"], []).append(row)
    return {f"shift_{name}": _drawn(rows) for name, rows in by_set.items()}


def _drawn(records):
    """Side by side the figures of a set of images."""
    grid = plotting.panels(len(FIGURES), 3.4, 2.9)
    for axes, (figure, text) in zip(grid, FIGURES.items()):
        _panel(axes, records, figure)
        axes.set_title(text, fontsize="medium")
    plotting.logarithmic(grid[0].yaxis, (0.01, 0.03, 0.1, 0.3, 1, 3, 10))
    grid[1].set_ylim(bottom=0.0)
    plotting.legend_above(grid, columns=3)
    return grid[0].figure


def _panel(axes, records, figure):
    """The mean of a figure over the seeds ± its deviation, by shift."""
    records = [row for row in records if figure in row]
    shifts = list(dict.fromkeys(row["shift"] for row in records))
    for number, (network, (color, marker)) in enumerate(NETWORKS.items()):
        training, way = network
        values = [
            [
                row[figure]
                for row in records
                if (row["training"], row["way"], row["shift"])
                == (training, way, shift)
            ]
            for shift in shifts
        ]
        axes.errorbar(
            np.arange(len(shifts)) + 0.15 * (number - 2),
            [np.mean(some) for some in values],
            [np.std(some, ddof=min(1, len(some) - 1)) for some in values],
            fmt=marker,
            color=color,
            label=training if training == "no dropout" else ", ".join(network),
            markersize=5,
        )
    axes.set_xticks(
        range(len(shifts)),
        [shift.replace(" ", "\n", 1) for shift in shifts],
    )

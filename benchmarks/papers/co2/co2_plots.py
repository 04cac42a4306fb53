"""The plot of `co2`, from its results: Figure 2 of the paper."""

import numpy as np

from benchmarks.papers.co2.co2_tables import CURVE
from benchmarks.papers.co2.co2_tables import DATA
from benchmarks.papers.co2.co2_tables import END
from benchmarks.papers.co2.co2_tables import PROCESS
from benchmarks.support import plotting


def figures(report):
    """By name, a figure of each model beside the record; none without them."""
    parts = report["parts"]
    needed = (DATA, PROCESS, "relu 0.1, seed 0", "tanh 0.1, seed 0")
    if not set(needed) <= set(parts):
        return {}
    data, process, relu, tanh = (parts[name] for name in needed)
    panels = {
        "ReLU, weight scaling": relu["plain"],
        PROCESS: process,
        "ReLU, Monte Carlo": relu,
        "tanh, Monte Carlo": tanh,
    }
    grid = plotting.panels(len(panels), 3.0, 3.2, sharey=True)
    for axes, (title, part) in zip(grid, panels.items()):
        axes.set_title(title)
        axes.plot(
            *(data["years"], data["ppm"]),
            color=plotting.ORANGE,
            linewidth=0.8,
            label="record",
        )
        mean = np.array(part["curve"])
        axes.plot(CURVE, mean, color=plotting.BLUE, label="prediction")
        if "curve_sd" in part:
            band = 2.0 * np.array(part["curve_sd"])
            axes.fill_between(
                *(CURVE, mean - band, mean + band),
                color=plotting.BLUE,
                alpha=0.25,
                linewidth=0.0,
                label="± 2 standard deviations",
            )
        axes.axvline(
            END,
            color=plotting.GREY,
            linestyle="--",
            linewidth=0.8,
            label="end of the training",
        )
    grid[0].set_ylabel("CO2, ppm")
    plotting.legend_above(grid, columns=4)
    return {"co2": grid[0].figure}

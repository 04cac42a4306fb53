"""The plot of benchmarks/papers/gal/gal_uci.py, from its results."""

import numpy as np

from benchmarks.papers.gal import gal_tables
from benchmarks.papers.gal import published
from benchmarks.support import plotting


def figures(report):
    """Ours against published, by the name of the file."""
    rows = list(_rows(report))
    if not rows:
        return {}
    height = 1.0 + 0.28 * len(rows)
    grid = plotting.panels(2, 4.2, height, sharex=True, sharey=True)
    # From above to below, with a gap between the protocols.
    places = [-place - 0.8 * part for place, (part, *_) in enumerate(rows)]
    kinds = (("mc", "RMSE", "lower"), ("ll", "log-likelihood", "higher"))
    for axes, (figure, text, better) in zip(grid, kinds):
        axes.axvspan(-1.0, 1.0, color="0.9", label="published ± standard error")
        axes.axvline(0.0, color=plotting.GREY, linewidth=1)
        apart, errors = np.transpose(
            [
                _apart(ours[figure], theirs[figure], theirs[f"{figure}_error"])
                for _, _, ours, theirs in rows
            ]
        )
        axes.errorbar(
            apart,
            places,
            xerr=errors,
            fmt="o",
            color=plotting.BLUE,
            markersize=5,
            label="here ± standard error",
        )
        axes.set_title(f"{text} ({better} is better)", fontsize="medium")
        axes.set_xlabel("apart, in published standard errors")
        axes.grid(visible=False)
    plotting.legend_above(grid)
    grid[0].set_yticks(places, [label for _, label, *_ in rows])
    return {"gal_uci": grid[0].figure}


def _rows(report):
    """Number of the protocol, label, our results and those published."""
    short = {"fixed400": "400 epochs", "fixed4000": "4000 epochs"}
    for number, protocol in enumerate(gal_tables.TITLES):
        for name in published.DATA_SETS:
            found = report["parts"].get(f"{name} {protocol}")
            if found:
                yield (
                    number,
                    f"{name}, {short.get(protocol, protocol)}",
                    found["grid"] if protocol == "grid" else found,
                    published.RESULTS[protocol][name],
                )


def _apart(values, published_mean, published_error):
    """Our distance and our standard error, in published standard errors."""
    mean, error = gal_tables.mean_and_error(values)
    return (mean - published_mean) / published_error, error / published_error

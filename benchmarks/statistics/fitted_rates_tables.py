"""The tables of benchmarks/statistics/fitted_rates.py."""

import re

import numpy as np

from benchmarks.support import markdown

# The name of a part: see `main` of the script.
_PART = re.compile(r"(?P<data>.+), rate (?P<rate>[\d.]+), seed (?P<seed>\d+)")
_BEFORE = "weight scaling"
# Ways in which a rate is fitted, with what is predicted if the advice of
# `helps` is followed: weight scaling where it says no.
_FITTED = ("fitted rate", "inserted and fitted")
_ADVISED = "the same, where it helps"
# Of classes and of numbers: what is lower for a better prediction, and what
# tells how calibrated it is.
_COLUMNS = {
    "classes": ("NLL", "Brier", "ECE", "error"),
    "numbers": ("NLL", "CRPS", "coverage", "RMSE"),
}


def collected(report):
    """By data set and rate of the training, by way, the figures of the seeds.

    Returns:
        A dict from (data, rate) to a dict from way to a dict from seed.
    """
    found = {}
    for name, part in report["parts"].items():
        match = _PART.match(name)
        network = found.setdefault((match["data"], float(match["rate"])), {})
        for way, figures in part.items():
            if isinstance(figures, dict):
                network.setdefault(way, {})[int(match["seed"])] = figures
    for network in found.values():
        for way in _FITTED:
            if way in network:
                network[_ADVISED] = {
                    seed: figures
                    if figures["helps"]
                    else network[_BEFORE][seed]
                    for seed, figures in network[way].items()
                }
    return found


def tables(report):
    """Both tables of a report, a string."""
    found = collected(report)
    parts = []
    for kind, columns in _COLUMNS.items():
        rows = [
            _row(data, rate, way, seeds, network[_BEFORE], columns)
            for (data, rate), network in found.items()
            for way, seeds in _in_order(network).items()
            if columns[1] in next(iter(seeds.values()))
        ]
        header = [
            *("data", "trained at", "prediction", "seeds", "rate"),
            columns[0],
            f"change of {columns[0]}",
            *columns[1:3],
            f"change of {columns[2]}",
            columns[3],
        ]
        if rows:
            title = f"### {kind.capitalize()}"
            parts += [title, markdown.markdown(header, rows)]
    seconds = sum(part["seconds"] for part in report["parts"].values())
    note = markdown.source(report).rstrip(").")
    return "\n\n".join([*parts, f"{note}, {seconds / 60.0:.0f} minutes.)"])


def _in_order(network):
    order = (_BEFORE, "training rate", *_FITTED, _ADVISED, "fitted by layer")
    return {way: network[way] for way in order if way in network}


def _row(data, rate, way, seeds, before, columns):
    figures = list(seeds.values())
    means = [
        f"{np.mean([one[name] for one in figures]):.3f}" for name in columns
    ]
    first, third = (
        _change(seeds, before, name) if way != _BEFORE else ""
        for name in (columns[0], columns[2])
    )
    return [
        data,
        f"{rate:g}" if rate else "no dropout",
        way,
        str(len(figures)),
        _rates(figures) if way != _ADVISED else "",
        means[0],
        first,
        means[1],
        means[2],
        third,
        means[3],
    ]


def _change(seeds, before, name):
    return markdown.change(
        [figures[name] for figures in seeds.values()],
        [before[seed][name] for seed in seeds],
        3,
    )


def _rates(figures):
    """The range of the rates that were fitted, of each layer."""
    found = [one.get("rates", one.get("rate")) for one in figures]
    if found[0] is None:
        return ""
    layers = np.array(found).reshape(len(found), -1).T
    return "; ".join(
        f"{of_layer.min():g} to {of_layer.max():g}" for of_layer in layers
    )


def summary(report):
    """How many fits there are, and in how many of them which is better."""
    fitted = [
        (figures, network[_BEFORE][seed])
        for network in collected(report).values()
        for way in _FITTED
        for seed, figures in network.get(way, {}).items()
    ]
    told = [pair for pair in fitted if pair[0]["helps"]]
    return {
        "fits": len(fitted),
        "better": sum(one["NLL"] < plain["NLL"] for one, plain in fitted),
        "told": len(told),
        "told and better": sum(
            one["NLL"] < plain["NLL"] for one, plain in told
        ),
    }

"""The tables of benchmarks/papers/co2/co2.py, from its results."""

import numpy as np

from benchmarks.support import markdown
from benchmarks.support import plotting

END = 1992  # the year before which the training ends
DISTANCES = (0, 10, 20, 40, 80)  # years after the training
CURVE = np.arange(1970.0, 2040.25, 0.25)
FEW = 10  # samples that the paper finds to be enough
DATA, PROCESS = "data", "Gaussian process"  # parts that are no network


def tables(report):
    """The tables of what there is and the place of the plot, a string."""
    groups = {}
    for name, part in report["parts"].items():
        if name == DATA:
            continue
        groups.setdefault(name.partition(", seed")[0], []).append(part)
    networks = {n: group for n, group in groups.items() if n != PROCESS}
    seeds = max(len(group) for group in networks.values())
    spread = f", mean ± standard deviation of {seeds} seeds"
    lines = [
        plotting.link("co2", "The record and what four models make of it"),
        f"### Errors, in ppm{spread if seeds > 1 else ''}",
        _errors(groups),
        "### Standard deviation in ppm, by years after the training",
        _deviations(groups),
        "### Predictions in ppm, forty years after the training",
        _far(groups),
    ]
    seconds = sum(part["seconds"] for part in report["parts"].values())
    note = markdown.source(report).rstrip(").")
    sizes = (
        f"{report['units']} units, {report['iterations']:,} iterations, "
        f"{report['samples']:,} samples"
    )
    return "\n\n".join(
        [*lines, f"{note}; {sizes}; {seconds / 60.0:.0f} minutes.)"]
    )


def _errors(groups):
    header = [
        "model",
        "1975 to 1991, weight scaling",
        "mean",
        "1992 to 2001, weight scaling",
        "mean",
        "months of 1992 to 2001 within 2 sd",
        f"deviation of {FEW} samples is off by",
    ]
    rows = []
    for name, parts in groups.items():
        row = [name]
        for period in (0, 1):
            plain = [p["plain"]["rmse"][period] for p in parts if "plain" in p]
            row += [
                markdown.spread(plain, 2) if plain else "",
                markdown.spread([p["rmse"][period] for p in parts], 2),
            ]
        row.append(f"{100.0 * np.mean([p['covered'] for p in parts]):.0f} %")
        few = [p["few"] for p in parts if "few" in p]
        row.append(f"{100.0 * np.mean(few):.0f} %" if few else "")
        rows.append(row)
    return markdown.markdown(header, rows)


def _deviations(groups):
    header = ["model", *(f"{years}" for years in DISTANCES), "80 over 10"]
    rows = []
    for name, parts in groups.items():
        sd = np.array([part["far_sd"] for part in parts])
        ratios = sd[:, DISTANCES.index(80)] / sd[:, DISTANCES.index(10)]
        rows.append(
            [
                name,
                *(markdown.spread(column, 2) for column in sd.T),
                markdown.spread(ratios, 2),
            ]
        )
    return markdown.markdown(header, rows)


def _far(groups):
    place = DISTANCES.index(40)
    rows = []
    for name, parts in groups.items():
        for part in parts:
            plain = part["plain"]["far"][place] if "plain" in part else None
            mean, sd = part["far"][place], part["far_sd"][place]
            rows.append(
                [
                    name,
                    f"{plain:.1f}" if plain is not None else "",
                    f"{mean:.1f}",
                    f"{mean - 2.0 * sd:.1f} to {mean + 2.0 * sd:.1f}",
                ]
            )
    header = ["model", "weight scaling", "mean", "mean ± 2 sd"]
    return markdown.markdown(header, rows)

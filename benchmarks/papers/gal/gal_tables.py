"""The tables of `gal_uci`, in Markdown, from its results."""

import numpy as np

from benchmarks.papers.gal import published
from benchmarks.support import markdown
from benchmarks.support import plotting

TITLES = {
    "fixed400": "Fixed hyperparameters, 400 epochs",
    "fixed4000": "Fixed hyperparameters, 4000 epochs",
    "grid": "Grid search",
}


def tables(report):
    """All tables of a report and the place of its plot, a string."""
    parts = [
        table for protocol in TITLES for table in _of_protocol(report, protocol)
    ]
    if parts:
        text = "RMSE and log-likelihood, here against published"
        parts.insert(0, plotting.link("gal_uci", text))
    return "\n\n".join([*parts, _footnote(report)])


def _of_protocol(report, protocol):
    found = {
        name: report["parts"][f"{name} {protocol}"]
        for name in published.DATA_SETS
        if f"{name} {protocol}" in report["parts"]
    }
    if not found:
        return
    yield f"### {TITLES[protocol]}"
    theirs = published.RESULTS[protocol]
    if protocol == "grid":
        free = {name: results["free"] for name, results in found.items()}
        found = {name: results["grid"] for name, results in found.items()}
        yield _against(found, theirs)
        yield _grid(found, free)
    else:
        yield _against(found, theirs)
    yield _three(found, theirs, protocol)


def _against(found, theirs):
    """Ours beside theirs, and how many of their standard errors apart."""
    rows = []
    for name, ours in found.items():
        row = [name]
        for figure in ("mc", "ll"):
            mean, _ = mean_and_error(ours[figure])
            value, error = theirs[name][figure], theirs[name][f"{figure}_error"]
            row += [
                _with_error(ours[figure]),
                _plus_minus(value, error),
                _signed((mean - value) / error),
            ]
        rows.append(row)
    heads = ("here", "published", "apart")
    return markdown.markdown(
        [
            "data",
            *(f"RMSE, {head}" for head in heads),
            *(f"LL, {head}" for head in heads),
        ],
        rows,
    )


def _three(found, theirs, protocol):
    """One pass, the scaled network and the mean of the passes."""
    rows = []
    for name, ours in found.items():
        scaled, mc = np.array(ours["scaled"]), np.array(ours["mc"])
        row = [
            name,
            *(_with_error(ours[one]) for one in ("one_pass", "scaled", "mc")),
            f"{(mc < scaled).sum()} of {len(mc)}",
            _change(mc.mean(), scaled.mean()),
        ]
        of = theirs[name]
        if protocol == "grid":
            row.append(_plus_minus(of["one_pass"], of["one_pass_error"]))
        else:
            splits = 5 if name == "protein" else 20
            wins = f"{of['wins']} of {splits}, " if "wins" in of else ""
            row.append(wins + _change(of["mc"], of["scaled"]))
        rows.append(row)
    last = "one pass, published" if protocol == "grid" else "published"
    return markdown.markdown(
        [
            "RMSE",
            "one pass",
            "weight scaling",
            "mean of the passes",
            "mean better, splits",
            "change by the mean",
            last,
        ],
        rows,
    )


def _grid(found, free):
    """What was chosen, and what a free tau adds."""
    rows = []
    for name, ours in found.items():
        taus = published.DATA_SETS[name].taus
        counts = [np.isclose(ours["tau"], tau).sum() for tau in taus]
        rates = [np.isclose(ours["rate"], r).sum() for r in published.RATES]
        rows.append(
            [
                name,
                ", ".join(f"{t:g}: {n}" for t, n in zip(taus, counts)),
                ", ".join(
                    f"{rate:g}: {count}"
                    for rate, count in zip(published.RATES, rates)
                    if count
                ),
                _number(0.5 * np.log(taus[-1] / (2.0 * np.pi))),
                _number(np.median(free[name]["tau"])),
                _with_error(free[name]["mc"]),
                _with_error(free[name]["ll"]),
            ]
        )
    return markdown.markdown(
        [
            "data",
            "splits by tau chosen",
            "splits by rate chosen",
            "ceiling of LL in the grid",
            "free tau, median",
            "RMSE, free tau",
            "LL, free tau",
        ],
        rows,
    )


def _footnote(report):
    seconds = {protocol: 0.0 for protocol in TITLES}
    for name, part in report["parts"].items():
        data, protocol, *_ = name.split()
        if f"{data} {protocol}" in report["parts"]:  # it is done
            seconds[protocol] += part["seconds"]
    versions = report["versions"]
    backend = report["backend"]
    dates = sorted({part["date"] for part in report["parts"].values()})
    machine = report["machine"]
    costs = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items() if s)
    return (
        f"Results of {' and '.join(dates)}; Keras {versions['keras']}, "
        f"{backend} {versions[backend]}, {machine['cores']} cores of "
        f"{machine['cpu']}; {report['samples']} passes. All data "
        f"sets of a table together: {costs}."
    )


def mean_and_error(values):
    # The error as the authors have it: with the number of splits, not one less.
    return np.mean(values), np.std(values) / len(values) ** 0.5


def _with_error(values):
    return _plus_minus(*mean_and_error(values))


def _change(new, old):
    return f"{_signed(100.0 * (new / old - 1.0))} %"


def _signed(value):
    return f"{round(float(value), 1) + 0.0:+.1f}"  # no -0.0


def _number(value):
    """Three decimals, or three digits of what is small."""
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _plus_minus(value, error):
    return f"{_number(value)} ± {error:.2g}"

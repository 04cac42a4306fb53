"""The tables of benchmarks/statistics/plans.py, for docs/plans.md."""

from benchmarks.support import reporting

GAINS = (16, 32, 48, 64)
COVERED = (32, 48, 50, 64, 100, 256)
CLAIMED = (32, 48, 50, 64, 100)
BIASED = (16, 32, 48, 50, 64, 100)

# Independent samples over stratified ones, squared error at 32 samples.
GAIN_BAR = 2.0
# From 32 samples on.
BIAS_BAR = 0.01  # of which the reference and chance have most
COVERAGE_BAR = 0.93
CLAIM_NETWORKS = (
    "linear, 12, rate .1",
    "tanh, 2 x 12, rate .3",
    "digits, 2 x 256, rate .5",
    "digits, LSTM 64, rates .2, .2",
)
CLAIM_BARS = {32: 2.4, 50: 1.8, 64: 1.6, 100: 1.3}


def show(report):
    """Prints the tables and the bars of a report."""
    print(
        f"{report['backend']}, {report['date']}, {report['versions']}, "
        f"{report['machine']}\n"
    )
    rows = _by_place(report)
    names = list(dict.fromkeys(row["network"] for row in report["rows"]))
    _table(
        "Squared error of independent samples over that of stratified ones",
        [*(f"mean, {count}" for count in GAINS), "variance, 48"],
        {
            name: [
                *(
                    _ratio(rows[name, count, "stratified"]["mean"])
                    for count in GAINS
                ),
                _ratio(rows[name, 48, "stratified"]["variance"]),
            ]
            for name in names
        },
    )
    for title, key, counts in (
        ("Covered by twice the standard error", "covered", COVERED),
        (
            "The same, probabilities below .05 or above .95",
            "covered, others",
            COVERED,
        ),
        ("Standard error over the true error", "claimed", CLAIMED),
        ("Bias of the variance", "bias", BIASED),
    ):
        for plan in ("stratified", "independent"):
            lines = {
                name: [
                    _number(rows[name, count, plan][key]) for count in counts
                ]
                for name in names
            }
            lines = {
                name: line for name, line in lines.items() if {*line} != {""}
            }
            _table(f"{title}, {plan} plan", map(str, counts), lines)
    _table(
        "With a tolerance",
        ["converged", "samples", "error / tolerance"],
        {
            f"{row['network']}, {row['plan']}": [
                _number(row.get("converged")),
                _number(row.get("drawn")),
                _number(row.get("error / tolerance")),
            ]
            for row in report["tolerances"]
        },
    )
    print(
        "A path dropped with probability .05, tolerance .001, converged of "
        f"20,000 rows: {report['rare unit, converged of 20,000']}\n"
    )
    reporting.show_bars(report["bars"])


def compare(reports):
    """Prints one table of what was found on each backend."""
    of_all = {report["backend"]: _by_place(report) for report in reports}
    tolerances = {
        (report["backend"], row["network"]): row.get("error / tolerance")
        for report in reports
        for row in report["tolerances"]
        if row["plan"] == "stratified"
    }
    names = dict.fromkeys(row["network"] for row in reports[0]["rows"])
    heads, lines = [], {name: [] for name in names}
    for title, cell in (
        ("gain, 32", lambda row, _: _ratio(row["mean"])),
        ("covered, 32", lambda row, _: _number(row["covered"])),
        ("claimed / true, 32", lambda row, _: _number(row["claimed"])),
        ("error / tolerance", lambda _, error: _number(error)),
    ):
        for backend, rows in of_all.items():
            heads.append(f"{title}, {backend}")
            for name, line in lines.items():
                row = rows[name, 32, "stratified"]
                line.append(cell(row, tolerances[backend, name]))
    _table("Stratified plan, on each backend", heads, lines)


def bars(report):
    """What was to hold, and whether it does."""
    for row in report["rows"]:
        count = row["num_samples"]
        if row["plan"] != "stratified" or count < 32:
            continue
        name = f"{row['network']}, {count} samples"
        if count == 32 and row["mean"]["ratio"]:
            value = row["mean"]["ratio"]
            is_trained = report["training"][row["network"]].get("epochs")
            if is_trained:
                yield _bar(
                    f"{name}: gain at least {GAIN_BAR}",
                    value,
                    value >= GAIN_BAR,
                )
        yield _bar(
            f"{name}: coverage above {COVERAGE_BAR}",
            row["covered"],
            row["covered"] > COVERAGE_BAR,
        )
        is_meant = row["network"] in CLAIM_NETWORKS and row["claimed"]
        if count in CLAIM_BARS and is_meant:
            yield _bar(
                f"{name}: claim at most {CLAIM_BARS[count]}",
                row["claimed"],
                row["claimed"] <= CLAIM_BARS[count],
            )
        yield _bar(
            f"{name}: bias at most {BIAS_BAR}",
            row["bias"],
            abs(row["bias"]) <= BIAS_BAR,
        )


def _bar(text, value, holds):
    return {"bar": text, "value": value, "holds": bool(holds)}


def _by_place(report):
    return {
        (row["network"], row["num_samples"], row["plan"]): row
        for row in report["rows"]
    }


def _ratio(found):
    if found["ratio"] is None:
        return "exact"
    return f"{found['ratio']:.2f} ± {found['standard error']:.2f}"


def _number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value > 100 else f"{value:.3f}"


def _table(title, heads, lines):
    if not lines:
        return
    heads = list(heads)
    print(f"{title}\n")
    print("| network | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()

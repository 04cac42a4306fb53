"""What is to hold on a GPU, and whether it does, by the results in a folder."""

import json
import math
from typing import NamedTuple
from xml.etree import ElementTree

HELD, MISSED, UNKNOWN = "held", "missed", "not measured"

LARGE = (8192, 8192)
FROM = 2**16  # elements, from which no stock layer is to be faster
DIRECTIONS = ("forward", "forward + backward")
MODES = {"torch": ("eager", "compile"), "jax": ("jit",)}


class Bar(NamedTuple):
    """What is to hold.

    Attributes:
        name: What is compared.
        limit: The most that it may be, or the least.
        value: What it is, None if it is not known.
        is_least: Whether `limit` is the least.
    """

    name: str
    limit: float
    value: float | None = None
    is_least: bool = False

    @property
    def verdict(self):
        if self.value is None:
            return UNKNOWN
        if self.is_least:
            return HELD if self.value >= self.limit else MISSED
        return HELD if self.value <= self.limit else MISSED

    def __str__(self):
        word = "at least" if self.is_least else "at most"
        value = "" if self.value is None else f" (is {self.value})"
        return f"{self.verdict}: {self.name} {word} {self.limit}{value}"


def report_of(folder, name, backend):
    """The results of a step; an empty dict if there are none."""
    file = folder / f"{name}_{backend}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def wrong_answers(folder, backend):
    """How many of the tests failed; None if they did not come to an end."""
    file = folder / f"known_answers_{backend}.xml"
    if not file.exists():
        return None
    counts = {"tests": 0, "failures": 0, "errors": 0}
    for suite in ElementTree.parse(file).getroot().iter("testsuite"):
        for name in counts:
            counts[name] += int(suite.get(name))
    # Where no test ran, none was right.
    wrong = counts["failures"] + counts["errors"]
    return wrong if counts["tests"] else None


def of_backend(folder, backend, large=LARGE):
    """All bars of a backend.

    Args:
        folder: Path, of what the steps wrote.
        backend: `"torch"` or `"jax"`.
        large: The size of tensors that is bound by memory; another in a try.
    """
    yield Bar(
        f"{backend}: known answers that are wrong",
        0,
        wrong_answers(folder, backend),
    )
    rows = report_of(folder, "passes", backend).get("rows", [])
    passes = {
        (row["mode"], row["direction"]): row["ours / pass"]
        for row in rows
        if tuple(row["size"]) == tuple(large)
    }
    for mode in MODES[backend]:
        for direction in DIRECTIONS:
            name = f"{backend}, {mode}, {large[0]} x {large[1]}, {direction}"
            value = passes.get((mode, direction))
            yield Bar(f"{name}: passes over memory", 1.2, value)
    rows = rows + report_of(folder, "masks", backend).get("rows", [])
    for mode in MODES[backend]:
        yield Bar(
            f"{backend}, {mode}, from 2**16 elements: the time of the stock "
            "layer",
            1.0,
            _worst(rows, mode),
        )
    rows = report_of(folder, "montecarlo", backend).get("rows", [])
    rows = {row["model"]: row for row in rows}
    yield Bar(
        f"{backend}, ConvNeXtTiny at 224 pixels, batch 32, 50 samples, late "
        "dropout: predictions",
        1.1,
        rows.get("convnext 224", {}).get("ours / one"),
    )
    slower = rows.get("mlp bfloat16", {}).get("ours / products")
    yield Bar(
        f"{backend}, MLP of 4096 rows, 3 x 4096, bfloat16, 50 samples: rate "
        "of the bare products",
        0.7,
        None if slower is None else round(1 / slower, 3),
        is_least=True,
    )


def _worst(rows, mode):
    """The largest ratio to a stock layer, of those with a seed and without."""
    ratios = [
        row[f"ours / {column}"]
        for row in rows
        if row["mode"] == mode and math.prod(row["size"]) >= FROM
        for column in ("stock", "seeded")
        if f"ours / {column}" in row
    ]
    return max(ratios, default=None)


def memory_of(folder):
    """A sentence on PyTorch's peak memory, or None."""
    peaks = report_of(folder, "peak_memory", "torch").get("peak bytes", {})
    if not peaks or None in peaks.values():
        return None
    mebibytes = ", ".join(
        f"{name} {value / 2**20:.0f} MiB" for name, value in peaks.items()
    )
    return f"peak memory of a training step on PyTorch: {mebibytes}"

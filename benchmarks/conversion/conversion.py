"""What `convert_dropout` and `strip_dropout` do to models of other packages.

    KERAS_BACKEND=torch nice python -m benchmarks.conversion.conversion
        [--models BertBackbone ResNet50] [--all]

The models are those of KerasHub in `hub_models`, built small with dropout, and
the architectures of `keras.applications`, the smallest of each family or
`--all`. Their weights are random and all have an effect, as in
`benchmarks/insertion`. KerasHub has to be installed. The columns are:

- dropout: how many layers drop, drop paths included;
- converted: how many are layers of kerasdrop afterwards, or why none is;
- equal: how far the new model's predictions are off, in parts of the largest
  output;
- files: whether each model reads the `.weights.h5` of the other; all arrays are
  compared;
- live: whether a training call gives the predictions at rates of 0, and other
  outputs at .5;
- stripped: whether `strip_dropout` of the new model predicts the same, up to
  rounding, in a training call too;
- `mc_predict`: whether samples of the new model vary in each row.

The script adds to `benchmarks/results/conversion_<backend>.json`; it skips
models that are there already. `--show` writes the results into
docs/models.md instead.
"""

import argparse
import os
import pathlib
import tempfile
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import ops

import kerasdrop
from benchmarks.insertion import hub_insertion
from benchmarks.insertion import hub_models
from benchmarks.insertion import insertion
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support import resumable

NAME = "conversion"
ROUNDING = 1e-4
HOLDS = "yes"
NONE = "has none"
# Why something is refused: a part of what the error says, and the reason.
REASONS = (
    (
        "fails the self-check",
        "What it predicts for a row depends on how many rows there are.",
    ),
    (
        "whose first axis",
        "It drops parts of rows, such as windows of images, as rows of a batch "
        "of their own; `vectorized=False` does not help where it is compiled.",
    ),
    (
        "the rate of each layer that can draw is 0",
        "Its class has no rate, and its dropout layers have one of 0.",
    ),
    (
        "made with dropout=0",
        "Its code makes attention with `dropout=0`, which never drops.",
    ),
)


class Sizes(NamedTuple):
    """What all parts of a report are made with."""

    samples: int


def built(name):
    """A model whose weights all count, and inputs."""
    if name in hub_models.MODELS:
        import keras_hub

        rate = hub_insertion.RATE
        return hub_insertion.built(name, keras_hub.models, rate)
    return insertion.calibrated(name)


def off(now, before):
    """How far outputs are off, by the largest."""
    pairs = zip(now, before, strict=True)
    return max(
        float(np.abs(a - b).max() / np.abs(b).max(initial=1e-30))
        for a, b in pairs
    )


def trained(model, x):
    """The outputs of a call in training, flat."""
    return [
        ops.convert_to_numpy(ops.cast(y, "float32"))
        for y in keras.tree.flatten(model(x, training=True))
    ]


def normalizes(model):
    """Whether a call in training takes the statistics of the batch."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in model._flatten_layers()
    )


def reads_the_file(model, new):
    """Whether a file of `model` is read by `new` as it is by the model.

    DINOV2 does not read the positions that it has written.
    """
    before = model.get_weights()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "old.weights.h5"
        model.save_weights(file)
        model.load_weights(file)
        expected = model.get_weights()
        model.set_weights(before)
        new.set_weights([np.zeros_like(w) for w in new.get_weights()])
        try:
            new.load_weights(file)
        except ValueError:
            return False
    reads = hub_insertion.equal(new.get_weights(), expected)
    new.set_weights(before)
    return reads


def is_live(new, x, before):
    """Whether rates of 0 and of .5 are what a call in training obeys."""
    rates = kerasdrop.get_rates(new)
    kerasdrop.set_rates(new, 0.0)
    plain = trained(new, x)
    kerasdrop.set_rates(new, 0.5)
    dropped = trained(new, x)
    kerasdrop.set_rates(new, rates)
    as_predicted = normalizes(new) or off(plain, before) < ROUNDING
    return as_predicted and off(dropped, plain) > ROUNDING


def stripped(new, x, before):
    """Whether nothing is dropped any more, and predictions are the same."""
    plain = kerasdrop.strip_dropout(new).model
    same = off(hub_insertion.predicted(plain, x), before) < ROUNDING
    if normalizes(plain):
        return same
    return same and off(trained(plain, x), before) < ROUNDING


def measured(name):
    """All figures of one model."""
    try:
        model, x = built(name)
    except ValueError as error:  # NASNet on PyTorch
        return {"refused": hub_insertion.in_short(error)}
    before = hub_insertion.predicted(model, x)
    try:
        new, report = kerasdrop.convert_dropout(model)
    except ValueError as error:
        keras.utils.clear_session()
        text = hub_insertion.in_short(error)
        is_none = "nothing that drops" in text
        return {"refused": NONE if is_none else text}
    figures = {
        "converted": len(report.converted),
        "paths": sum(
            text.partition(";")[0].endswith("DropPath")
            for text in report.converted.values()
        ),
        "skipped": report.skipped,
        "said": sorted(
            {
                text.partition("; ")[2]
                for text in report.converted.values()
                if ";" in text
            }
        ),
        "off": off(hub_insertion.predicted(new, x), before),
        "reads": reads_the_file(model, new),
        "is read": reads_the_file(new, model),
        "stripped": stripped(new, x, before),
        # The last: it moves statistics of batches.
        "live": is_live(new, x, before),
    }
    try:
        result = hub_insertion.drawn(new, x)
        varies = hub_insertion.varies(result)
        figures["mc"] = HOLDS if varies else "does not vary"
    except ValueError as error:
        figures["mc"] = hub_insertion.in_short(error)
    keras.utils.clear_session()
    return figures


def tables(reports):
    """A row for each model, from all backends; and the reasons by number."""
    names = dict.fromkeys(n for r in reports for n in r["parts"])
    header = [
        *("", "dropout", "drop paths", "converted", "equal", "files", "live"),
        *("stripped", "`mc_predict`", "on"),
    ]
    reasons = {}
    rows = []
    none = []
    for name in names:
        found = {
            report["backend"]: report["parts"][name]
            for report in reports
            if name in report["parts"]
        }
        first = next(iter(found.values()))
        if first.get("refused") == NONE:
            none.append(f"`{name}`")
            continue
        rows.append([f"`{name}`", *_cells(found, reasons), ", ".join(found)])
    parts = [markdown.markdown(header, rows), ""]
    parts += [f"{number}. {reason}" for reason, number in reasons.items()]
    parts += ["", f"Without dropout: {', '.join(none)}."]
    return "\n".join([*parts, "", *map(markdown.source, reports)])


def _cells(found, reasons):
    parts = list(found.values())
    first = parts[0]
    if "refused" in first:
        why = _noted(first["refused"], reasons)
        return ["", "", f"none {why}", "", "", "", "", ""]
    left = len(first["skipped"])
    converted = str(first["converted"])
    if left:
        listed = "; ".join(dict.fromkeys(first["skipped"].values()))
        converted += f", not {left} {_noted(listed, reasons)}"
    paths = str(first["paths"] or "")
    paths += "".join(f" {_noted(said, reasons)}" for said in first["said"])
    largest = max(part["off"] for part in parts)
    return [
        str(first["converted"] + left),
        paths,
        converted,
        "bit for bit" if largest == 0.0 else f"{largest:.0e}",
        _all(parts, "reads", "is read"),
        _all(parts, "live"),
        _all(parts, "stripped"),
        *dict.fromkeys(
            HOLDS if part["mc"] == HOLDS else _noted(part["mc"], reasons)
            for part in parts[:1]
        ),
    ]


def _all(parts, *names):
    return HOLDS if all(p[n] for p in parts for n in names) else "NO"


def _noted(text, reasons):
    """A reference to a reason, which gets the next number if it is new."""
    reason = next((said for key, said in REASONS if key in text), text)
    return f"({reasons.setdefault(reason, len(reasons) + 1)})"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    if arguments.show:
        shown = tables(reporting.of_all_backends(NAME))
        return markdown.write(__file__, shown)
    names = [*hub_models.MODELS, *insertion.FAMILIES]
    if arguments.all:
        families = insertion.FAMILIES.values()
        names += [name for family in families for name in family]
    sizes = Sizes(hub_insertion.SAMPLES)
    report = resumable.Report(reporting.path(NAME), sizes)
    for name in arguments.models or names:
        print(report.part(name, measured, name), flush=True)
    return None


if __name__ == "__main__":
    main()

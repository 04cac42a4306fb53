"""What `insert_dropout` does to the architectures of `keras.applications`.

    KERAS_BACKEND=torch nice python -m benchmarks.insertion.insertion
        [--models ResNet50 VGG16] [--all] [--rounds 5]

The script runs the smallest model of each family, or `--all`, at 64 pixels or
the smallest size that it accepts, with random weights. Random weights alone
prove nothing, because activations vanish and all predictions are equal. So
batch normalization first takes the statistics of the inputs (momentum 0, one
call in training), and layer scales become 1. If the predictions of a model do
not differ between inputs, the results say so. For each `where` they have:

- how many layers are inserted, or why none is;
- equal: whether the new model, called eagerly, predicts the same bits;
- file: whether it reads the `.weights.h5` of the old model, with all arrays
  compared;
- stripped: whether `strip_dropout` of it predicts the same bits;
- cost (head): the time of 48 samples of 8 images over that of one prediction of
  the old model. It is the median ratio of `--rounds` rounds, in which both take
  turns.

The script adds to `benchmarks/results/insertion_<backend>.json`; it skips
models that are there already. `--show` writes the results of all backends into
docs/models.md instead.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import applications
from keras import ops

import kerasdrop
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support import resumable

NAME = "insertion"
PLACES = ("head", "blocks", "stages")
SAMPLES, ROWS = 48, 8
# Of the probability of a class, from input to input.
LEAST_SPREAD = 1e-3
# The smallest of each family, and the others.
FAMILIES = {
    "ResNet50": ("ResNet101", "ResNet152"),
    "ResNet50V2": ("ResNet101V2", "ResNet152V2"),
    "VGG16": ("VGG19",),
    "MobileNet": (),
    "MobileNetV2": (),
    "MobileNetV3Small": ("MobileNetV3Large",),
    "EfficientNetB0": tuple(f"EfficientNetB{k}" for k in range(1, 8)),
    "EfficientNetV2B0": (
        *(f"EfficientNetV2B{k}" for k in range(1, 4)),
        *(f"EfficientNetV2{size}" for size in "SML"),
    ),
    "ConvNeXtTiny": tuple(
        f"ConvNeXt{size}" for size in ("Small", "Base", "Large", "XLarge")
    ),
    "DenseNet121": ("DenseNet169", "DenseNet201"),
    "Xception": (),
    "InceptionV3": (),
    "NASNetMobile": ("NASNetLarge",),
    "InceptionResNetV2": (),
}
SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}


class Sizes(NamedTuple):
    """What all parts of a report are made with."""

    samples: int
    rows: int


def calibrated(name):
    """An architecture whose predictions tell inputs apart, and inputs."""
    keras.utils.set_random_seed(0)
    size = SIZES.get(name, 64)
    model = getattr(applications, name)(
        weights=None, input_shape=(size, size, 3), classes=5
    )
    x = np.random.default_rng(0).uniform(0, 255, (ROWS, size, size, 3))
    x = x.astype("float32")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(ops.ones(layer.gamma.shape))
    model(x, training=True)
    return model, x


def predicted(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def weights_of(model, names):
    return {
        (layer.name, number): ops.convert_to_numpy(weight)
        for layer in model.layers
        if layer.name in names
        for number, weight in enumerate(layer.weights)
    }


def reads_the_file(model, new):
    """Whether each array of the old model's file comes where it was."""
    names = {layer.name for layer in model.layers}
    before = weights_of(model, names)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "old.weights.h5"
        model.save_weights(file)
        new.set_weights([np.zeros_like(w) for w in new.get_weights()])
        try:
            new.load_weights(file)
        except ValueError:
            return False
    after = weights_of(new, names)
    return before.keys() == after.keys() and all(
        np.array_equal(before[key], after[key]) for key in before
    )


def cost(model, new, x, rounds):
    """The price of the samples, in predictions of the old model."""
    sampled = kerasdrop.MonteCarlo(new, SAMPLES, kind="probabilities")
    calls = [
        lambda: model.predict_on_batch(x),
        lambda: sampled.predict_on_batch(x),
    ]
    ratios = []
    for number in range(rounds + 1):
        seconds = []
        for call in calls:
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        if number:  # the first one compiles
            ratios.append(seconds[1] / seconds[0])
    return round(statistics.median(ratios), 2)


def inserted(model, x, before, where, rounds):
    """The figures of one place in one model."""
    try:
        new, report = kerasdrop.insert_dropout(model, where=where)
    except ValueError as error:
        reason = str(error).partition(": ")[2].partition(". Its layers")[0]
        return {"refused": reason.partition("': ")[2]}
    stripped = kerasdrop.strip_dropout(new).model
    figures = {
        "count": len(report.inserted),
        "identities": len(report.identities),
        "first": next(iter(report.inserted)),
        "equal": bool(np.array_equal(predicted(new, x), before)),
        "stripped": bool(np.array_equal(predicted(stripped, x), before)),
        "said to load": report.loads_weights,
    }
    if where == "head":
        figures["cost"] = cost(model, new, x, rounds)
    return {**figures, "loads": reads_the_file(model, new)}


def measured(name, rounds):
    """All figures of one architecture."""
    try:
        model, x = calibrated(name)
    except ValueError as error:
        return {"refused": str(error)}
    before = predicted(model, x)
    spread = round(float(np.ptp(before, axis=0).max()), 4)
    stock = sum(
        isinstance(layer, keras.layers.Dropout) for layer in model.layers
    )
    figures = {
        where: inserted(model, x, before, where, rounds) for where in PLACES
    }
    keras.utils.clear_session()
    return {
        "layers": len(model.layers),
        "stock dropout": stock,
        "spread": spread,
        **figures,
    }


def tables(reports):
    """One table of the places, from all backends; one of the costs."""
    names = list(reports[0]["parts"])
    names += [n for r in reports for n in r["parts"] if n not in names]
    header = ["", "layers", "dropout", *PLACES, "holds on", "cost of the head"]
    rows = []
    for name in dict.fromkeys(names):
        found = {
            report["backend"]: report["parts"][name]
            for report in reports
            if name in report["parts"]
        }
        good = {b: part for b, part in found.items() if "refused" not in part}
        if not good:
            continue
        first = next(iter(good.values()))
        rows.append(
            [
                name,
                str(first["layers"]),
                str(first["stock dropout"]),
                *(_count(first[where]) for where in PLACES),
                ", ".join(b for b, part in good.items() if holds(part)),
                ", ".join(
                    f"{part['head']['cost']:.2f} ({b})"
                    for b, part in good.items()
                    if "cost" in part["head"]
                ),
            ]
        )
    lines = [markdown.markdown(header, rows)]
    lines += ["", *map(markdown.source, reports)]
    return "\n".join(lines)


def _count(figures):
    if "refused" in figures:
        is_there = "there is dropout" in figures["refused"]
        return "is there" if is_there else "none"
    count = str(figures["count"])
    if figures["identities"]:
        count += f" + {figures['identities']} identities"
    return count


def holds(part):
    """Whether all that is promised holds at all places of an architecture."""
    found = [part[where] for where in PLACES if "refused" not in part[where]]
    return part["spread"] > LEAST_SPREAD and all(
        one["equal"]
        and one["stripped"]
        and one["loads"]
        and one["said to load"]
        for one in found
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--rounds", type=command_line.count, default=5)
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    if arguments.show:
        shown = tables(reporting.of_all_backends(NAME))
        return markdown.write(__file__, shown)
    names = arguments.models or list(FAMILIES)
    if arguments.all:
        names += [name for family in FAMILIES.values() for name in family]
    report = resumable.Report(reporting.path(NAME), Sizes(SAMPLES, ROWS))
    for name in names:
        print(report.part(name, measured, name, arguments.rounds), flush=True)
    return None


if __name__ == "__main__":
    main()

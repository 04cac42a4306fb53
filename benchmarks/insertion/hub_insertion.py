"""What `insert_dropout` and the choice of layers do to models of KerasHub.

    KERAS_BACKEND=torch nice python -m benchmarks.insertion.hub_insertion
        [--models BertBackbone GPT2CausalLM]

The script runs all models of `hub_models`. Weights, biases and layer scales are
random, because at their initial values much of a model has no effect. Batch
normalization has the statistics of the inputs. For models built without
dropout, or at rate 0, the columns are:

- head, blocks: how many layers are inserted, or why none is; whether the new
  model, called eagerly, predicts the same bits; whether its `mc_predict` varies
  in each row, and whether `strip_dropout` restores the old model;
- file: whether it reads the `.weights.h5` of the old model, with all weights
  compared, or the report says that it does not.

For models built with dropout, they are:

- rate: whether all samples of `mc_predict(model, x, rate=0.1)` vary;
- layers: whether they vary if a single layer draws;
- limit: whether they equal `predict` at a rate of 1e-9, up to rounding.

The script adds to `benchmarks/results/hub_insertion_<backend>.json`; it skips
models that are there already. `--show` writes the results into
docs/models.md instead.
"""

import argparse
import os
import pathlib
import re
import tempfile
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import ops

import kerasdrop
from benchmarks.insertion import hub_models
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support import resumable

NAME = "hub_insertion"
PLACES = ("head", "blocks")
SAMPLES, ROWS = 16, 3
RATE, NO_RATE = 0.1, 1e-9
# By the largest output; what moves from input to input moves by far more.
ROUNDING = 1e-4
# Of the outputs, from input to input: below it a row proves nothing.
LEAST_SPREAD = 1e-4
HOLDS = "holds"
PROMISES = ("equal", "stripped", "varies")
# Why something is refused: a part of what the error says, and the reason.
REASONS = (
    (
        "inside which none can be put",
        "The blocks are layers, inside which none can be put; dropout that "
        "these layers were made with draws.",
    ),
    (
        "there is no sum or concatenation",
        "There are no blocks in the graph.",
    ),
    (
        "is one that every path goes through",
        "No block is one that every path to the outputs goes through.",
    ),
    (
        "two of its layers use the same variable",
        "Two of its layers share a variable, and copies of them would not.",
    ),
    (
        "there is dropout at each",
        "There is dropout at each place, with a rate that the class sets.",
    ),
    (
        "which units of",
        "Where the channels are behind its last `Reshape` is not known: say "
        "which layer by `layer=`.",
    ),
    (
        "shape mismatch",
        "Its outputs, similarities of all rows with all, have the batch in two "
        "axes: `mc_predict` has no statistics of them.",
    ),
    (
        "fails the self-check",
        "The self-check refuses it: what XLNet of KerasHub predicts for a row "
        "depends on how many rows there are.",
    ),
    (
        "is not called in a prediction",
        "Nothing calls the layer that was chosen, the last of them.",
    ),
    (
        "made with a rate of 0",
        "A layer whose block was made with a rate of 0 is never called.",
    ),
    (
        "whose first axis",
        "It drops parts of rows, such as windows of images, as rows of a batch "
        "of their own.",
    ),
)


class Sizes(NamedTuple):
    """What all parts of a report are made with."""

    samples: int
    rows: int


def inputs_of(model):
    """Noise, or tokens of which all rows but the first end early."""
    generator = np.random.default_rng(0)
    length = hub_models.LENGTH

    def made(symbolic):
        shape = [length if n is None else n for n in symbolic.shape[1:]]
        name = symbolic.name
        if "mask" in name:
            ends = np.where(np.arange(ROWS) == 0, length, length - 2)
            return (np.arange(length) < ends[:, None]).astype("int32")
        if "segment" in name:
            return np.zeros((ROWS, *shape), "int32")
        if "int" in keras.backend.standardize_dtype(symbolic.dtype):
            tokens = generator.integers(1, hub_models.VOCABULARY, shape)
            rows = generator.permuted(np.stack([tokens] * ROWS), axis=1)
            return rows.astype("int32")
        return generator.normal(size=(ROWS, *shape)).astype("float32")

    if len(model.inputs) == 1 and not isinstance(model.input, dict):
        return made(model.inputs[0])
    return {symbolic.name: made(symbolic) for symbolic in model.inputs}


def built(name, models, rate):
    """A model whose weights all count, and inputs."""
    keras.utils.set_random_seed(0)
    make = hub_models.MODELS[name]
    model = make(models) if name in hub_models.PLAIN else make(models, rate)
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        before = ops.convert_to_numpy(weight)
        if len(weight.shape) < 2 and not before.any():
            numbers = generator.normal(size=weight.shape) * 0.1
        elif len(weight.shape) < 2:
            numbers = generator.uniform(0.5, 1.5, weight.shape)
        else:
            numbers = generator.normal(size=weight.shape)
            numbers /= np.sqrt(np.prod(weight.shape[:-1]))
        weight.assign(numbers.astype("float32"))
    x = inputs_of(model)
    normalizations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if normalizations:
        for layer in normalizations:
            layer.momentum = 0.0
        model(x, training=True)
    return model, x


def predicted(model, x):
    """The outputs of one eager call, flat."""
    return [
        ops.convert_to_numpy(ops.cast(y, "float32"))
        for y in keras.tree.flatten(model(x, training=False))
    ]


def equal(one, other):
    return all(map(np.array_equal, one, other))


def drawn(model, x, **chosen):
    """Statistics of a Monte Carlo pass; the kind is one for any output.

    Where the samples of a row cannot be run side by side, one by one.
    """
    chosen |= {"num_samples": SAMPLES, "kind": "regression", "verbose": 0}
    try:
        return kerasdrop.mc_predict(model, x, seed=0, **chosen)
    except ValueError as error:
        if "vectorized=False" not in str(error):
            raise
    return kerasdrop.mc_predict(model, x, seed=0, vectorized=False, **chosen)


def varies(result):
    """Whether all is finite, and at least one output varies in each row."""
    deviations = keras.tree.flatten(result.std)
    return all(np.isfinite(one).all() for one in deviations) and any(
        bool((one.reshape(len(one), -1).max(axis=1) > 0).all())
        for one in deviations
    )


def in_short(error):
    """What an error says, without what it lists."""
    text = " ".join(str(error).partition(". Its layers")[0].split())
    return f"{type(error).__name__}: {text}"


def reads_the_file(model, new):
    """Whether the weights of the old model's file all come where they were."""
    before = {w.path: ops.convert_to_numpy(w) for w in model.weights}
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "old.weights.h5"
        model.save_weights(file)
        new.set_weights([np.zeros_like(w) for w in new.get_weights()])
        try:
            new.load_weights(file)
        except ValueError:
            return False
    return [w.shape for w in new.weights] == [
        w.shape for w in model.weights
    ] and equal(new.get_weights(), list(before.values()))


def inserted(model, x, before, where):
    """The figures of one place in one model."""
    try:
        new, report = kerasdrop.insert_dropout(model, where=where)
    except ValueError as error:
        return {"refused": in_short(error)}
    stripped = kerasdrop.strip_dropout(new).model
    figures = {
        "count": len(report.inserted),
        "identities": len(report.identities),
        "places": list(report.inserted.values())[:4],
        "equal": equal(predicted(new, x), before),
        "stripped": equal(predicted(stripped, x), before),
        "said to load": report.loads_weights,
        "why not": report.why_not_loaded,
    }
    try:
        figures["varies"] = varies(drawn(new, x))
    except ValueError as error:
        figures["not drawn"] = in_short(error)
    return {**figures, "loads": reads_the_file(model, new)}


def own_dropout(name, models):
    """What comes of the dropout that a model is built with."""
    model, x = built(name, models, RATE)
    found = [one for one in kerasdrop.inspect(model).layers if one.is_drawn]
    if not found:
        return {}
    before = predicted(model, x)
    figures = {"layers": len(found), "one layer": found[-1].path}
    asked = {
        "rate": {"rate": RATE},
        "layer": {"layers": found[-1].path},
        "limit": {"rate": NO_RATE},
    }
    for what, chosen in asked.items():
        try:
            result = drawn(model, x, **chosen)
        except ValueError as error:
            figures[what] = in_short(error)
            continue
        if what != "limit":
            figures[what] = HOLDS if varies(result) else "does not vary"
            continue
        off = max(
            float(np.abs(mean - y).max() / np.abs(y).max())
            for mean, y in zip(keras.tree.flatten(result.mean), before)
        )
        figures[what] = HOLDS if off < ROUNDING else f"off by {off:.2g}"
    return figures


def measured(name):
    """All figures of one model."""
    import keras_hub

    model, x = built(name, keras_hub.models, 0.0)
    before = predicted(model, x)
    spread = max(float(np.ptp(y, axis=0).max()) for y in before)
    figures = {where: inserted(model, x, before, where) for where in PLACES}
    if name not in hub_models.PLAIN:
        figures["own"] = own_dropout(name, keras_hub.models)
    keras.utils.clear_session()
    return {"spread": round(spread, 4), **figures}


def tables(reports):
    """One table for each backend, and a list of why something is refused."""
    reasons = {}
    parts = []
    for report in reports:
        rows = [
            [
                _name_cell(name, part["spread"]),
                *(_cell(part[where], reasons) for where in PLACES),
                *_own_cells(part.get("own"), reasons),
            ]
            for name, part in report["parts"].items()
        ]
        header = ["", *PLACES, "layers that draw", "`rate=`, `layers=`, limit"]
        parts += [markdown.markdown(header, rows), ""]
    parts += [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*parts, "", *map(markdown.source, reports)])


def _name_cell(name, spread):
    alike = "" if spread > LEAST_SPREAD else ", whose predictions are alike"
    return f"`{name}`{alike}"


def _cell(figures, reasons):
    if "refused" in figures:
        return _noted(figures["refused"], reasons)
    missing = [what for what in PROMISES if figures.get(what) is not True]
    if figures["said to load"] and not figures["loads"]:
        missing.append("loads")
    if "not drawn" in figures:
        return _noted(figures["not drawn"], reasons)
    if missing:
        return f"NOT {', '.join(missing)}"
    return str(figures["count"])


def _own_cells(figures, reasons):
    if not figures:
        return ["none", ""]
    found = dict.fromkeys(
        HOLDS if figures[what] == HOLDS else _noted(figures[what], reasons)
        for what in ("rate", "layer", "limit")
    )
    return [str(figures["layers"]), ", ".join(found)]


def _noted(text, reasons):
    """A reference to a reason, which gets the next number if it is new."""
    reason = next((said for key, said in REASONS if key in text), text)
    copied = re.search(r"Layer '\S+' \((\w+)\) cannot be copied", text)
    if copied:
        reason = (
            f"`{copied[1]}` cannot be copied: its `get_config` does not tell "
            "all arguments of its `__init__`."
        )
    return f"refused ({reasons.setdefault(reason, len(reasons) + 1)})"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    if arguments.show:
        shown = tables(reporting.of_all_backends(NAME))
        return markdown.write(__file__, shown)
    report = resumable.Report(reporting.path(NAME), Sizes(SAMPLES, ROWS))
    for name in arguments.models or hub_models.MODELS:
        print(report.part(name, measured, name), flush=True)
    return None


if __name__ == "__main__":
    main()

"""Checks that a written file returns the same results as the model."""

import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks import plans
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.export import signatures

# The allowed difference of a file: rounding, and this fraction of the
# difference that another seed makes. One wrong bit in a thousand makes more.
_ROUNDING = 1e-5
_PART_OF_ANOTHER_SEED = 0.02


def statistics(
    engine: Given,
    key: Tensor,
    inputs: Structure,
    rows: Tensor,
    rate: Tensor | None,
    samples_at_once: Given = plans.SET_SIZE,
) -> Given:
    """A flat dict of statistics, `mean.name` for one of several outputs.

    Args:
        engine: The `Engine`.
        key: The key of all samples.
        inputs: The model's inputs.
        rows: The position of each row, or None.
        rate: Scalar tensor that replaces the given rates; or None.
        samples_at_once: Integer.
    """
    if rows is None:
        size = ops.shape(tree.flatten(inputs)[0])[0]
        rows = ops.arange(size, dtype="int32")
    # These are constants, since a variable would be part of the file.
    rates = ops.convert_to_tensor(engine.choice.vector())
    if rate is not None:
        rates = ops.zeros_like(rates) + rate
    engine = engine.with_key(lambda: key, lambda: rates)
    packed = engine.whole(RowsOf(inputs, rows), samples_at_once)
    return {
        ".".join([name, *map(str, path)]): value
        for name, structure in packed.items()
        for path, value in tree.flatten_with_path(structure)
    }


def check(
    predictive: Given,
    engine: Given,
    trial: Given,
    extra: Given,
    found: Given,
    owner: Given,
) -> None:
    """Raises if outputs are not those of this model on these inputs."""
    inputs, *others = tree.map_structure(ops.convert_to_tensor, trial)
    given = dict(zip([spec.name for spec in extra], others))
    seed = signatures.SEED_OF_TRIAL if "seed" in given else predictive.seed
    compiled = _backend.compiled(
        lambda *args: statistics(engine, *args), predictive
    )
    expected, of_another_seed = (
        {
            name: np.asarray(ops.convert_to_numpy(value), "float64")
            for name, value in compiled(
                ops.convert_to_tensor(masks.key_of_seed(number)),
                inputs,
                given.get("rows"),
                given.get("rate"),
            ).items()
        }
        for number in (seed, seed + 1)
    )
    if not _differences(expected, expected, of_another_seed):
        raise RuntimeError(
            f"{owner}: the export cannot be told right from wrong: on the "
            "inputs of the check, the samples of another seed have the same "
            "statistics. Nothing was written. As `example`, pass inputs of a "
            "few rows on which the model is uncertain."
        )
    differences = _differences(expected, of_another_seed, found)
    if differences:
        raise RuntimeError(
            f"{owner}: the exporter wrote a file that runs, but does not "
            "return what this model returns for the same seed, so it was "
            "deleted. Try another format (docs/exports.md), or pass inputs "
            "like yours as `example`. Received: largest differences by "
            "statistic, as fractions of the difference that another seed "
            f"makes: {differences}"
        )


def _differences(
    expected: Given, of_another_seed: Given, found: Given
) -> Given:
    """Dict of statistics that differ too much, relative to another seed."""
    differences: Given = {}
    for name, value in expected.items():
        if name not in found or np.shape(found[name]) != value.shape:
            differences[name] = f"shape {np.shape(found.get(name, ()))}"
            continue
        off = _distance(value, np.asarray(found[name], "float64"))
        scale = _distance(value, of_another_seed[name])
        size = np.max(np.abs(value), initial=0.0, where=np.isfinite(value))
        allowed = _ROUNDING * size + _PART_OF_ANOTHER_SEED * scale
        # A rounding error may change a vote.
        if name.split(".")[0] in ("votes", "variation_ratio"):
            allowed += 1.0 if name.startswith("votes") else np.inf
        if not off <= allowed:
            differences[name] = round(float(off / scale), 3) if scale else off
    return differences


def _distance(one: Given, other: Given) -> Given:
    """The largest difference; infinite where only one is finite."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(one - other))
    return np.max(np.where(np.isnan(off), np.inf, off), initial=0.0)

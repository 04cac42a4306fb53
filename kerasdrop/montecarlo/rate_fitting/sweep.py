"""Computes the statistics of all rows at several rates, batch by batch."""

import functools
import warnings
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._refusals import Refusal
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.rate_fitting.scores import Score
from kerasdrop.montecarlo.statistics.joining import Joined

# The samples of one compiled call, of all its rates together. Ctrl-C works
# between two calls.
_SAMPLES_PER_CALL = 1024

# One in this many batches is also drawn with another seed.
_EVERY = 8

_STACKLEVEL = 5  # from a warning below to the caller of `fit_rates`


class Swept(NamedTuple):
    """The predictions of a sweep.

    Attributes:
        at_rates: List of a dict of statistics for each rate.
        plain: Dict of statistics of weight scaling.
        again: List of a dict for each rate, for some rows with another seed.
        rows_again: Integers, which rows these are.
        targets: Arrays, in the structure in which they were given.
        is_complete: Whether these are all rows.
    """

    at_rates: list[Config]
    plain: Config
    again: list[Config]
    rows_again: Array
    targets: Structure
    is_complete: bool


def over(
    predictive: keras.Model,
    engine: Given,
    data: Batches,
    vectors: Array,
    most: int,
    score: Score,
    with_seed: Function,
    verbose: int,
    on_interrupt: str,
) -> Swept:
    """Runs all rates on each batch, so that shared layers run once.

    Args:
        predictive: The `MonteCarlo` that predicts.
        engine: Its `Engine`.
        data: `Batches`.
        vectors: Array `(rates, places)`.
        most: Integer, the largest number of rates in any sweep.
        score: The `Score`, which determines the statistics that are needed.
        with_seed: Function of a bool, which sets the usual seed or another.
        verbose: Integer.
        on_interrupt: `"raise"` or `"return"`.
    """
    at_rates = [Joined(data.num_rows) for _ in vectors]
    again = [Joined(None) for _ in vectors]
    plain, all_targets = Joined(data.num_rows), []
    rows_again, num_rows = np.arange(0), 0
    bar = keras.utils.Progbar(data.num_batches, verbose=verbose)
    is_complete = False
    at = functools.partial(_at, engine, vectors=vectors, most=most)
    try:
        for number, (batch, valid, _) in enumerate(data):
            targets = _targets(batch.targets, valid)
            if not score.needs_likelihood:
                batch = batch._replace(targets=None)
            keep = functools.partial(_kept, score.statistics, valid)
            at_batch = functools.partial(at, batch, keep=keep)
            if number == 0:
                _warn_of_padding(predictive, batch, score)
            found, of_plain = _of_batch(
                predictive, engine, batch, valid, at_batch
            )
            other: list[Config] = []
            if number % _EVERY == 0:
                with_seed(True)
                try:
                    other, _ = at_batch()
                finally:
                    with_seed(False)
            # From here on nothing takes time, so each batch is complete.
            for joined, part in zip(at_rates, found):
                joined.update(part)
            for joined, part in zip(again, other):
                joined.update(part)
            plain.update(of_plain)
            rows = np.arange(num_rows, num_rows + valid)
            if other:
                rows_again = np.concatenate([rows_again, rows])
            all_targets.append(targets)
            num_rows += valid
            bar.update(number + 1)
        is_complete = True
    except KeyboardInterrupt:
        if on_interrupt == "raise" or not num_rows:
            raise
        warnings.warn(
            f"Interrupted. The fit uses the first {num_rows} rows.",
            stacklevel=_STACKLEVEL,
        )
    finally:
        engine.after_predict()
    return Swept(
        _results(at_rates, num_rows),
        _results([plain], num_rows)[0],
        _results(again, len(rows_again)),
        rows_again,
        tree.map_structure(lambda *each: np.concatenate(each), *all_targets),
        is_complete,
    )


def _warn_of_padding(
    predictive: keras.Model, batch: RowsOf, score: Score
) -> None:
    """Warns if a named score treats padded steps like other steps."""
    makes_masks = any(
        isinstance(layer, keras.layers.Masking)
        or getattr(layer, "mask_zero", False)
        for _, layer in model_tree.walk(predictive.model)
    )
    if score.statistics is None or not makes_masks:
        return
    masks = predictive._engine.output_masks(batch)
    if any(one is not None for one in masks):
        warnings.warn(
            f"fit_rates: the model masks padding, but the score '{score.name}' "
            "is a mean over all steps, including padding. To leave padding "
            "out, pass a function of (y, result) as `score`, and its "
            "`direction`.",
            stacklevel=_STACKLEVEL + 1,
        )


def _targets(y: Structure, valid: int) -> Structure:
    """The targets of a batch as arrays, without padding."""
    if any(one is None for one in tree.flatten(y)):
        raise Refusal(
            "rates are scored by the targets of all outputs. To fit them to "
            "one output, make a model of it: `keras.Model(model.inputs, "
            "model.outputs[0])`. Received: y with None for an output"
        )
    return tree.map_structure(lambda one: ops.convert_to_numpy(one)[:valid], y)


def _of_batch(
    predictive: keras.Model,
    engine: Given,
    batch: RowsOf,
    valid: int,
    at_batch: Function,
) -> tuple[list[Config], Config]:
    """As `_at`, with the self-check."""
    if not predictive.verify:
        return at_batch()
    finish = engine.verified(engine.over(batch), batch, valid)
    found = at_batch()
    finish()
    return found


def _at(
    engine: Given, batch: RowsOf, vectors: Array, most: int, keep: Function
) -> tuple[list[Config], Config]:
    """The statistics of a batch at all rates, and of weight scaling."""
    one = engine.over(batch)
    size = max(1, _SAMPLES_PER_CALL // one.num_samples_in_all)
    size = -(-most // -(-most // size))
    found: list[Config] = []
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        # All have one size, so that the function is compiled once.
        missing = 0 if not _backend.COMPILES else size - len(part)
        filled = np.concatenate([part, np.repeat(part[-1:], missing, 0)])
        of_part, plain = one.at_several(filled)
        found += of_part[: len(part)]
    return list(map(keep, found)), keep(plain)


def _kept(
    names: tuple[str, ...] | None, valid: int, statistics: Config
) -> Config:
    """The statistics that are needed, without padding."""
    return {
        name: tree.map_structure(lambda array: array[:valid], value)
        for name, value in statistics.items()
        if names is None or name in names
    }


def _results(joined: list[Joined], num_rows: int) -> list[Config]:
    return [
        {
            name: tree.map_structure(lambda array: array[:num_rows], value)
            for name, value in one.result().items()
        }
        for one in joined
    ]

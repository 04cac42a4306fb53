"""Makes the self-check before and after the first pass over new inputs.

The compiled pass itself, with its chunks and summaries, is compared with a
plain call while nothing is dropped.
"""

import warnings

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._adapters import survey
from kerasdrop._structure.kept_with_model import KeptWithModel
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.verification import chosen_rows
from kerasdrop.montecarlo.verification import comparing
from kerasdrop.montecarlo.verification import runs
from kerasdrop.montecarlo.verification import self_check

# The pass is compiled for speed, so it rounds in another way than a plain call.
# It may differ by this many times as much, but by no more than the second
# number.
_OF_PASS = 16
_MOST_OF_PASS = 0.25


class Verifier:
    """Makes the self-check of a model once for each signature of inputs.

    Args:
        model, plan, vectorized, owner: As for `self_check.Check`.
    """

    def __init__(
        self, model: keras.Model, plan: str, vectorized: bool, owner: str
    ) -> None:
        self._model = model
        self._settings = plan, vectorized, owner
        self._seen: set[Given] = set()  # shapes and dtypes of inputs

    def forget(self) -> None:
        """Forgets all checks, for a model that has changed."""
        self._seen.clear()

    def check(
        self,
        batch: Tensor,
        num_rows: int,
        most_rows: Given,
        kept: Given,
        summaries_of: Given,
        choice: choices.Choice,
    ) -> Given:
        """Makes the check unless it was already made for such inputs.

        Args:
            batch: A `RowsOf`.
            num_rows: Integer, how many of its rows are not padding.
            most_rows: Integer, the number of rows that memory has room for.
            kept: Function of the numbers of some rows that returns the
                statistics of a pass over them in which nothing is dropped.
            summaries_of: Function of the outputs that returns the `Summary` of
                each output.
            choice: As for `self_check.Check`.

        Returns:
            Function to call after the pass; None if no check was necessary.

        Raises:
            VerificationError: If the model fails.
        """
        signature: Given = tuple(
            None if leaf is None else (tuple(leaf.shape[1:]), str(leaf.dtype))
            for leaf in tree.flatten(batch.inputs)
        )
        # One row cannot show whether rows see each other.
        signature = (min(num_rows, 2), *signature, *_missing(batch, num_rows))
        if signature in self._seen:
            return None
        rows = runs.Rows(
            tree.map_structure(runs.array_of, batch.inputs),
            runs.array_of(batch.rows),
        )
        check = _check_of(self._model, self._settings, choice)
        most_rows = max(1, min(most_rows, chosen_rows.MOST_ROWS))
        result = check.on(rows, num_rows, most_rows)
        if result.outputs is not None:
            places = _looked_at(result.chosen, len(rows.places))
            statistics = kept(result.chosen[places])
            _check_kept(check, result, places, statistics, summaries_of)

        def finish() -> None:
            check.check_unmoved(result.before.moved())
            _warn_of_no_effect(check, result)
            self._seen.add(signature)

        return finish


def _missing(batch: Given, num_rows: int) -> Given:
    """Returns where numbers are missing, as bytes for each input.

    A compiled function may turn NaN into a number, so that a check of other
    rows says nothing about those with NaN.
    """
    if not _backend.COMPILES:
        return ()
    leaves = [runs.array_of(leaf) for leaf in tree.flatten(batch.inputs)]
    found = [
        chosen_rows.missing(leaf)[:num_rows].any(axis=0).tobytes()
        for leaf in leaves
        if leaf is not None
    ]
    return found if any(map(any, found)) else ()


# The compiled functions of a check serve any number of samples and all kinds of
# outputs.
_kept = KeptWithModel("checks", most=8)


def _check_of(
    model: keras.Model, settings: Given, choice: choices.Choice
) -> Given:
    """Returns the `self_check.Check` of an earlier prediction, or a new one."""
    plan, vectorized, owner = settings
    return _kept.of(
        model,
        (*settings, choice.key),
        lambda: self_check.Check(model, model, plan, vectorized, owner, choice),
        state=survey.of(model).fingerprint,
    )


def _looked_at(chosen: Given, size: int) -> Given:
    """Returns which of the chosen rows the check of a whole pass uses.

    A compiled pass runs all rows anyway. Otherwise each row costs time, so two
    different rows are enough. But if all rows of a batch were chosen, the model
    may take only batches of that size.
    """
    if _backend.COMPILES or len(chosen) == size:
        return np.arange(len(chosen))
    _, places = np.unique(chosen, return_index=True)
    return np.unique(places[[0, -1]])


def _check_kept(
    check: Given,
    result: Given,
    places: Given,
    statistics: Given,
    summaries_of: Given,
) -> None:
    """Raises if a pass that keeps everything does not return plain outputs.

    Args:
        check: A `self_check.Check`.
        result: The `self_check.Result`.
        places: Integers, which of the chosen rows the pass ran on.
        statistics, summaries_of: The statistics of the pass; `summaries_of` as
            for `Verifier.check`.
    """
    few = tree.map_structure(lambda array: array[places], result.outputs)
    plain = tree.flatten(few)
    means = tree.flatten(statistics["mean"])
    variances = tree.flatten(statistics["variance"])
    of_outputs = summaries_of(few)
    allowed = min(_OF_PASS * result.verification.allowed, _MOST_OF_PASS)
    for output, summary, mean, variance in zip(
        plain, of_outputs, means, variances
    ):
        feature = summary.features(ops.convert_to_tensor(output[:, None]))[0]
        expected = ops.convert_to_numpy(feature)[:, 0]
        found = ops.convert_to_numpy(mean)
        # A softmax or an exponential magnifies the rounding of large numbers.
        finite = np.abs(output[np.isfinite(output)].astype("float64"))
        magnified = allowed * max(1.0, np.max(finite, initial=0.0))
        size = comparing.distance(expected, found, magnified)
        spread = ops.convert_to_numpy(variance)
        spread = np.sqrt(np.max(spread, initial=0.0, where=spread > 0.0))
        if size > allowed or spread > magnified:
            check.fail_pass(result, size, spread, allowed)


def _warn_of_no_effect(check: Given, result: Given) -> None:
    """Warns about layers whose draws changed nothing."""
    paths = result.verification.without_effect
    if paths:
        warnings.warn(
            f"{check.owner}: what is drawn for {', '.join(map(repr, paths))} "
            f"of model '{check.model.name}' has no effect on the checked "
            "rows. Its inputs or a weight behind it may be 0 there.",
            stacklevel=5,
        )

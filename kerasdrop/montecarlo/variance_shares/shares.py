"""`mc_sobol_indices`: where the predictive variance comes from."""

import warnings

import keras
import numpy as np
from keras import tree

from kerasdrop import _checks
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import groups as named
from kerasdrop._structure import model_tree
from kerasdrop._structure import selection
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop._types import Structure
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo import prediction
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.sampling import passes
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.montecarlo.variance_shares.sums import Sums
from kerasdrop.sobol_indices import SobolIndices

_OWNER = "mc_sobol_indices"

_NUM_SAMPLES = 32

_STACKLEVEL = 3  # from a warning below to the caller of `mc_sobol_indices`


def mc_sobol_indices(
    model: keras.Model,
    x: Given,
    *,
    groups: Given = None,
    layers: Given = None,
    rate: Given = None,
    num_samples: int = _NUM_SAMPLES,
    kind: Given = None,
    seed: Seed = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
    memory_limit: int | None = None,
    vectorized: bool = True,
    verify: bool = True,
    on_interrupt: str = "return",
) -> Structure:
    """The share of the predictive variance due to each dropout layer.

    The prediction is a function `f` of independent masks. Samples come in pairs
    `a`, `b` that share no mask. For each group `g`, a third sample `c` has the
    masks of the group from `b` and all others from `a`. With the mean `E` over
    samples, the variance, the first-order share and the total share are

        V   = E[(f(a) - f(b))**2] / 2
        S_g = E[(f(a) - f(c)) * (f(a) + f(c) - 2 * f(b))] / (2 * V)
        T_g = E[(f(a) - f(c))**2] / (2 * V)

    These are the estimators of Saltelli et al. (2010) and Jansen (1999),
    written with differences only, so that no mean must be known. `V` is the
    variance of the predicted quantity over masks: of probabilities in a
    classification, and of means in a regression. It is summed over the rows and
    over the elements of an output, including those of padded steps.

    The function needs `num_samples * (groups + 2)` samples of each row. The
    layers before the first dropout layer run once for up to 1024 of these.

    Args:
        model: A built model with layers that can draw. It is the same
            afterwards.
        x: Inputs, as in `mc_predict`; an iterable of batches must be finite.
        groups: Dict that maps names of your choice to layers, each given as
            for `layers` of `mc_predict`. Layers in no group draw too, and
            contribute to the variance. None makes each layer a group.
        layers, rate: Which layers draw, and at which rates, as in
            `mc_predict`.
        num_samples: Integer, pairs of samples per row, at least 2. Errors are
            averaged over rows: 32 pairs are enough for some hundred rows.
        kind: The kind of the outputs, as in `mc_predict`.
        seed: Integer; None draws a fresh one, which the result contains.
        batch_size: Integer, rows at a time.
        verbose: `"auto"` or 1 for a progress bar over batches; 2 for a line,
            0 for nothing.
        memory_limit, vectorized, verify: As in `kerasdrop.MonteCarlo`.
        on_interrupt: What Ctrl-C does: `"return"` returns the shares of the
            batches that were finished, with a warning; `"raise"` raises the
            interrupt.

    Returns:
        A `SobolIndices`; with several outputs, one for each output, in the
        structure of the outputs. `print` shows a table.

    Raises:
        ValueError: In the same cases as `mc_predict`; if groups overlap; if a
            group contains no layer that draws; or if an output is not finite.
        TypeError: If `groups` is not a dict.

    Example:

    >>> shares = mc_sobol_indices(model, x, seed=0, verbose=0)
    >>> shares.names, round(shares.first_order[0], 2)
    (('dropout',), 1.0)

    References: [Saltelli et al., 2010](
    https://doi.org/10.1016/j.cpc.2009.09.018); [Jansen, 1999](
    https://doi.org/10.1016/S0010-4655(98)00154-4).
    """
    with model_tree.surveyed(model), blame(_OWNER):
        _checks.choice(on_interrupt, ("raise", "return"), "on_interrupt")
        verbose = _checks.verbosity(verbose)
        verify = _checks.flag(verify, "verify")
        seed = _checks.seed(seed)
        num_samples = _checks.positive_integer(num_samples, "num_samples")
        if num_samples < 2:
            raise Refusal(
                "one pair of samples has no spread: pass at least two. "
                f"Received: num_samples={num_samples}"
            )
        preconditions.check_model(model)
        chosen = choice.of(model, layers, rate)
        settings = Settings.checked(
            model,
            _OWNER,
            num_samples=num_samples,
            plan="independent",
            kind=kind,
            keep_samples=False,
            quantiles=None,
            noise_variance=None,
            tolerance=None,
            memory_limit=memory_limit,
            vectorized=vectorized,
        )
        preconditions.check_draws(survey.of(model), settings, chosen)
        of_groups = _groups(model, chosen, groups)
        if verbose:
            count = len(of_groups)
            print(
                f"{_OWNER}: {count} groups, {num_samples} pairs of samples: "
                f"{num_samples * (count + 2)} samples of each row; "
                f"kind={settings.kind!r}."
            )
        predictive, lock = prediction.compiled_for(model, settings, chosen)
        with lock:
            predictive.verify = verify
            predictive.seed = seed
            data = predictive._batches(
                x, batch_size, first_row=0, chosen=chosen
            )
            skeleton, sums, is_complete = _summed(
                predictive,
                data,
                _members(model, chosen, list(of_groups.values())),
                num_samples,
                verbose,
                on_interrupt,
            )
            results = [
                _indices(
                    tuple(of_groups),
                    one,
                    num_samples,
                    predictive.seed,
                    is_complete,
                )
                for one in sums
            ]
            return tree.pack_sequence_as(skeleton, results)


def _groups(
    model: keras.Model, chosen: choice.Choice, groups: Given
) -> dict[str, set[int]]:
    """The ids of the layers of each group, by its name."""
    drawn = {
        number: chosen.places[number]
        for number in sorted(chosen.selected)
        if chosen.draws(chosen.places[number].layer)
    }
    if groups is None:
        found: dict[str, set[int]] = {}
        for place in drawn.values():
            path = place.path
            if place.part is not None:
                path = path.removesuffix(f"/{place.part}")
            found.setdefault(path, set()).add(id(place.layer))
        return found
    named.check(groups)
    if not groups:
        raise Refusal(
            "argument `groups` is an empty dict; leave it out to make each "
            "layer a group. Received: groups={}"
        )
    numbers = named.numbers(
        groups,
        lambda selector: _of_group(model, drawn, selector),
        [place.path for place in chosen.places],
    )
    return {
        name: {id(drawn[number].layer) for number in of_group}
        for name, of_group in numbers.items()
    }


def _of_group(
    model: keras.Model, drawn: dict[int, choice.Place], selector: Given
) -> frozenset[int]:
    """The numbers of the places of one group."""
    candidates = [(place.path, place.layer) for place in drawn.values()]
    found = selection.selected(model, candidates, selector, "layer that draws")
    paths = {path for path, _ in found}
    ids = {id(layer) for _, layer in found}
    for path, layer in candidates:
        if id(layer) in ids and path not in paths:
            raise Refusal(
                "the masks of a recurrent layer are redrawn together, and not "
                "those of its inputs or its states alone. Put both into a "
                f"group. Received: {selector!r}, without '{path}'"
            )
    return frozenset(
        number for number, place in drawn.items() if place.path in paths
    )


def _members(
    model: keras.Model, chosen: choice.Choice, groups: list[set[int]]
) -> Array:
    """Which of the layers that draw are in a group, `(groups, layers)`."""
    layers = passes.drawn_layers(model, chosen)
    return np.array(
        [[id(layer) in group for layer in layers] for group in groups], "int32"
    )


def _summed(
    predictive: keras.Model,
    data: Batches,
    members: Array,
    num_samples: int,
    verbose: int,
    on_interrupt: str,
) -> tuple[Given, list[Sums], bool]:
    """Returns the outputs' structure, `Sums`, and whether all rows ran."""
    engine = predictive._engine
    sums: list[Sums] = []
    skeleton = None
    bar = keras.utils.Progbar(data.num_batches, verbose=verbose)
    is_complete = False
    try:
        for number, (batch, valid, _) in enumerate(data):
            one = engine.over(batch)
            finish = None
            if predictive.verify:
                finish = engine.verified(one, batch, valid)
            skeleton, of_outputs = one.redrawn(members, num_samples)
            if finish is not None:
                finish()
            first_row = sums[0].num_rows if sums else 0
            for variances, *_ in of_outputs:
                _check_finite(variances[:valid], first_row)
            # From here on nothing takes time, so each batch is complete.
            sums = sums or [Sums() for _ in of_outputs]
            for of_output, (variance, first, total) in zip(sums, of_outputs):
                of_output.update(
                    variance[:valid], first[:, :valid], total[:, :valid]
                )
            bar.update(number + 1)
        is_complete = True
    except KeyboardInterrupt:
        if on_interrupt == "raise" or not sums:
            raise
        warnings.warn(
            f"Interrupted. The shares are of the first {sums[0].num_rows} "
            "rows.",
            stacklevel=_STACKLEVEL,
        )
    finally:
        engine.after_predict()
    if not sums:
        raise Refusal("there are no rows to predict. Received: x without rows")
    return skeleton, sums, is_complete


def _check_finite(variances: Array, first_row: int) -> None:
    """Raises if a row has no variance, since then all shares would be NaN."""
    is_finite = np.isfinite(variances).all(-1)
    if not is_finite.all():
        row = first_row + int(np.argmin(is_finite))
        raise Refusal(
            "outputs that are not finite, or too large for float32, have no "
            "variance. Leave out the rows that make them (is there a NaN in "
            "`x`?). Received: such outputs in "
            f"{np.sum(~is_finite)} of {len(is_finite)} rows of a batch, first "
            f"in row {row}"
        )


def _indices(
    names: tuple[str, ...],
    sums: Sums,
    num_samples: int,
    seed: int,
    is_complete: bool,
) -> SobolIndices:
    shares, errors = sums.result()
    return SobolIndices(
        names,
        tuple(shares[0].tolist()),
        tuple(errors[0].tolist()),
        tuple(shares[1].tolist()),
        tuple(errors[1].tolist()),
        sums.variance,
        sums.num_rows,
        num_samples,
        seed,
        is_complete,
    )

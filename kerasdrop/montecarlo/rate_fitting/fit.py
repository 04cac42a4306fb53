"""`fit_rates`: the inference rates that score best on validation data."""

import functools
import itertools
import warnings
from collections.abc import Iterator

import keras

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo import prediction
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.rate_fitting import groups as groups_
from kerasdrop.montecarlo.rate_fitting import passes
from kerasdrop.montecarlo.rate_fitting import scores
from kerasdrop.montecarlo.rate_fitting import search
from kerasdrop.montecarlo.sampling import passes as passes_
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.rate_fit import RateCurve
from kerasdrop.rate_fit import RateFit

_OWNER = "fit_rates"

# The most sweeps through groups of layers. Most searches need two.
_SWEEPS = 4

# The grid is dense where dropout is usual, and reaches both ends.
_GRID = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


def fit_rates(
    model: keras.Model,
    x: Given,
    y: Given,
    *,
    layers: Given = None,
    groups: Given = None,
    rates: Given = None,
    kind: Given = None,
    score: Given = "log_likelihood",
    direction: str | None = None,
    num_samples: int | None = None,
    seed: Seed = None,
    batch_size: int = 32,
    verbose: int | str = "auto",
    noise_variance: float | None = None,
    memory_limit: int | None = None,
    vectorized: bool = True,
    verify: bool = True,
    on_interrupt: str = "return",
    max_sweeps: int | None = None,
) -> RateFit:
    """The inference rate, or rates, that score best on validation data.

    The rate with which a model was trained need not be the rate at which its
    samples describe the uncertainty best, and a model that was trained without
    dropout has no rate at all. This function tries the rates of a grid,
    without any training. All rates use the masks of one seed (common random
    numbers), so that the differences between them are far more precise than
    the scores.

    There is no search between the points of the grid, because the score of a
    finite number of samples is not a smooth function of the rate. Look at
    `equivalent`, the rates that these data cannot distinguish from the best.
    Use rows on which the model was not trained, and evaluate the result on yet
    other rows.

    The layers before the first dropout layer run once for all rates. If
    dropout comes late in the model, the fit takes less time than two calls of
    `mc_predict`; if the first layer draws, it takes as long as one call for
    each rate. One batch in eight is sampled twice, to estimate the Monte Carlo
    error. More than 256 samples are drawn in several calls, and these layers
    run again in each.

    Args:
        model: A built Keras model with layers that can draw. It is the same
            afterwards.
        x: Inputs, as in `mc_predict`.
        y: Targets, as in `mc_predict`; True takes the targets that come with
            the batches of an iterable.
        layers: The layers that draw and get the rate, as in `mc_predict`; all
            others draw nothing. None for all layers that can draw.
        groups: Dict that maps two or more names of your choice to layers, each
            given as for `layers`; all other layers draw nothing. Each group
            gets its own rate. Starting from the best common rate, the groups
            are optimized one after another, in repeated sweeps, until no
            single group is better at another rate. Each sweep tries all rates
            for each group. None for one common rate.
        rates: The grid: two or more increasing numbers in [0, 1]. None for 12
            rates from 0.01 to 0.9.
        kind: The kind of the outputs, as in `mc_predict`.
        score: One of the following, with the best value in brackets:
            `"log_likelihood"` of the mixture of the samples (highest);
            `"crps"` for numeric targets, of a normal distribution with the
            predictive mean and total variance (lowest); `"brier"` for classes
            (lowest); `"calibration_error"` for classes (lowest), which is not
            a proper score, as a warning says; or a function of `(y, result)`,
            where `result` is a `Predictive`, that returns one number. The
            function is called about a thousand times, on bootstrapped rows,
            to estimate its errors.
        direction: `"highest"` or `"lowest"`: which value of a function as
            `score` is best.
        num_samples: Integer, samples per row; None for 48. Scores get worse
            with fewer samples, especially at high rates: choose the number
            that you will use for predictions.
        seed: Integer; None draws a fresh one, which the result contains.
        batch_size: Integer, rows at a time.
        verbose: `"auto"` or 1 for a progress bar over batches; 2 for a line,
            0 for nothing.
        noise_variance, memory_limit, vectorized, verify: As in
            `kerasdrop.MonteCarlo`. A log-likelihood of kind `"regression"`
            needs the noise variance. The statistics of all rates of a batch
            come on top of the memory limit.
        on_interrupt: What Ctrl-C does: `"return"` returns the fit of the
            batches or groups that were finished, with a warning; `"raise"`
            raises the interrupt.
        max_sweeps: Integer, the maximum number of sweeps through the groups;
            None for 4. If the search has not converged by then, the result
            and a warning say so. It needs `groups`.

    Returns:
        A `RateFit` with the best rates, the curve of each group with its
        errors, and whether dropout helps. `print` it for a summary.

    Raises:
        ValueError: In the same cases as `mc_predict`; if the score does not
            fit the outputs, is NaN, or is not finite at any rate.
        TypeError: If a function as `score` does not return a number.

    Example:

    >>> fit = fit_rates(model, x, y, rates=[0.1, 0.3, 0.5], seed=0, verbose=0)
    >>> fit.rate in fit.equivalent, list(fit.rates)
    (True, ['dropout'])
    >>> result = mc_predict(model, x, rate=fit.rates, verbose=0)

    Reference: [Loquercio, Segu & Scaramuzza, 2020](
    https://arxiv.org/abs/1907.06890), who choose one rate after training.
    """
    with model_tree.surveyed(model), blame(_OWNER):
        _checks.choice(on_interrupt, ("raise", "return"), "on_interrupt")
        verbose = _checks.verbosity(verbose)
        verify = _checks.flag(verify, "verify")
        seed = _checks.seed(seed)
        wanted = scores.check(score, direction)
        grid = _grid(rates)
        preconditions.check_model(model)
        found = groups_.of(model, layers, groups, grid)
        max_sweeps = _max_sweeps(max_sweeps, found)
        settings = Settings.checked(
            model,
            _OWNER,
            num_samples=num_samples,
            plan="stratified",
            kind=kind,
            keep_samples=False,
            quantiles=None,
            noise_variance=noise_variance,
            tolerance=None,
            memory_limit=memory_limit,
            vectorized=vectorized,
        )
        _check_data(x, y, found)
        if verbose:
            _announce(found, grid, settings, max_sweeps)
        middle = found.at(found.common(grid[len(grid) // 2]))
        predictive, lock = prediction.compiled_for(model, settings, middle)
        _warn_of_shared_masks(model, middle)
        with lock:
            predictive.verify = verify
            predictive.seed = seed
            made = passes.Passes(
                predictive, found, wanted, len(grid), verbose, on_interrupt
            )
            where = search.found(
                found,
                grid,
                made.judge,
                functools.partial(made.evaluate, middle, x, y, batch_size),
                max_sweeps,
                on_interrupt,
                print if verbose else lambda _: None,
            )
        return _fitted(made, grid, where)


def _grid(rates: Given) -> list[float]:
    if rates is None:
        return list(_GRID)
    grid = [
        _checks.rate_to_set(rate) for rate in _checks.sequence(rates, "rates")
    ]
    if len(grid) < 2 or any(a >= b for a, b in itertools.pairwise(grid)):
        raise Refusal(
            "argument `rates` must be two or more numbers in [0, 1], each "
            "above the one before; None stands for 12 of them. Received: "
            f"rates={rates!r}"
        )
    return grid


def _max_sweeps(given: int | None, groups: groups_.Groups) -> int:
    if given is None:
        return _SWEEPS
    if groups.names is None:
        raise Refusal(
            "argument `max_sweeps` is for groups of layers, but there are "
            "none. Leave it out, or pass `groups`. Received: "
            f"max_sweeps={given!r}"
        )
    return _checks.positive_integer(given, "max_sweeps")


def _check_data(x: Given, y: Given, groups: groups_.Groups) -> None:
    if y is None:
        raise Refusal(
            "rates are scored with the targets of validation data. Pass `y`, "
            "or `y=True` if the batches of `x` contain them. Received: y=None"
        )
    if groups.names is not None and isinstance(x, Iterator):
        raise Refusal(
            "groups are searched in several passes over the data, but `x` "
            "yields it only once. Pass arrays, or batches that can be iterated "
            "again, e.g. a `tf.data.Dataset` or a `DataLoader`. "
            f"Received: x of type {type(x).__name__}"
        )


def _announce(
    groups: groups_.Groups,
    grid: list[float],
    settings: Settings,
    max_sweeps: int,
) -> None:
    print(
        f"fit_rates: {len(grid)} rates, with {settings.num_samples} "
        f"samples of each row; kind={settings.kind!r}. What comes "
        "before the first dropout runs once for all rates."
    )
    if groups.names is None:
        return
    count, others = len(groups.names), len(grid) - 1
    print(
        f"One rate for all {count} groups is fitted first, then one group "
        f"after another: {count} x {others} rates in each of at most "
        f"{max_sweeps} sweeps. All of it takes at most "
        f"{1 + count * max_sweeps} times as long as the first pass."
    )


def _warn_of_shared_masks(model: keras.Model, chosen: choice.Choice) -> None:
    """Warns if rows are not independent, although the errors assume it."""
    names = [
        f"'{layer.name}'"
        for layer in passes_.drawn_layers(model, chosen)
        if (getattr(layer, "noise_shape", None) or (None,))[0] == 1
    ]
    if names:
        warnings.warn(
            "fit_rates: by their `noise_shape`, all rows share the masks of "
            f"{', '.join(names)}. The errors assume independent rows, so they "
            "are too small: compare fits with several seeds.",
            stacklevel=3,
        )


def _fitted(
    made: passes.Passes, grid: list[float], where: search.Found
) -> RateFit:
    groups, judge, best = made.groups, made.judge, where.best
    settings = made.predictive._settings
    curves = {
        name: RateCurve(
            groups.paths(group),
            tuple(grid),
            **judge.columns(groups.line(best, group, grid), best).fields(),
        )
        for group, name in enumerate(groups.names or ())
    }
    common = [groups.common(rate) for rate in grid]
    return RateFit(
        groups.at(best).rates,
        tuple(grid),
        **judge.columns(common, best).fields(),
        **judge.gain(best).fields(),
        score=made.wanted.name,
        direction=made.wanted.direction,
        num_rows=judge.num_rows,
        num_samples=settings.num_samples,
        seed=made.seed,
        is_complete=made.is_complete,
        groups=curves,
        num_sweeps=where.num_sweeps,
        has_converged=where.has_converged,
    )

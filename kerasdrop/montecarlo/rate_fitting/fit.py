"""`fit_rates`: the inference rates that score best on validation data."""

import functools
import itertools
from collections.abc import Iterator

import keras

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop.montecarlo import prediction
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.rate_fitting import groups as groups_
from kerasdrop.montecarlo.rate_fitting import passes
from kerasdrop.montecarlo.rate_fitting import scores
from kerasdrop.montecarlo.rate_fitting import search
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.rate_fit import RateCurve
from kerasdrop.rate_fit import RateFit

_OWNER = "fit_rates"

# The most sweeps through groups of layers. Most searches need two.
_SWEEPS = 4

# Dense where dropout is used, and to both ends.
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

    The rate that a model was trained with need not be the one at which its
    samples tell the uncertainty best, and a model that was trained without
    dropout has none. Rates of a grid are tried, without training: all rates
    have the masks of one seed, so that they are compared far more exactly than
    each of them is known.

    A grid, and no search between its points: the score of a finite number of
    samples is no smooth function of the rate. Look at `equivalent`, the rates
    that these data cannot tell from the best. Score on rows that the model was
    not trained on, and test on others.

    The layers before the first dropout run once for all rates: where the
    dropout is late, all of it takes less than two calls of `mc_predict`;
    where the first layer draws, as long as one for each rate. One batch in
    eight is drawn twice, for the Monte Carlo error. More than 256 samples are
    drawn in several calls, for each of which those layers run again.

    Args:
        model: A built Keras model with layers that can draw. It is the same
            afterwards.
        x: Inputs, as for `mc_predict`.
        y: Targets, as for `mc_predict`; True takes those that come with the
            batches of an iterable.
        layers: What is drawn, and gets the rate, as in `mc_predict`; all else
            draws nothing. None for all that can draw.
        groups: Dict from two or more names of yours to layers, each given as
            `layers`; all else draws nothing. Each group gets a rate: they
            are searched one after another, from the best rate for all, again
            and again until no group is better at another rate. That takes
            the time of some sweeps through all groups, of all rates each.
            None for one rate.
        rates: The grid: two or more increasing numbers in [0, 1]. None for 12
            from .01 to .9.
        kind: What the outputs are, as in `mc_predict`.
        score: `"log_likelihood"` of the mixture of the samples (highest);
            `"crps"` of numbers, of a normal with the predictive mean and
            (total) variance, or `"brier"` of classes (lowest);
            `"calibration_error"` of classes (lowest, and no proper score: a
            warning says so); or a function of (y, result), with a
            `Predictive`, that returns one number. It is called some thousand
            times, with rows drawn anew, for its errors.
        direction: `"highest"` or `"lowest"`, which is best of a function.
        num_samples: Integer, samples per row; None for 48. Few samples score
            worse than many, the more so the higher the rate: choose the number
            that predictions will have.
        seed: Integer; None draws a fresh one. The result tells which.
        batch_size: Integer, rows at a time.
        verbose: `"auto"` or 1 for a progress bar over batches; 2 for a line,
            0 for nothing.
        noise_variance, memory_limit, vectorized, verify: As in
            `kerasdrop.MonteCarlo`. A log-likelihood of kind `"regression"`
            needs the noise variance. The statistics of all rates of a batch
            come on top of the memory limit.
        on_interrupt: What Ctrl-C does: `"return"` the fit of the batches that
            were done, or of the groups, with a warning, or `"raise"`.
        max_sweeps: Integer, the most sweeps through the groups; None for 4.
            Where they end before the search has converged, the result and a
            warning say so. Leave it out without groups.

    Returns:
        A `RateFit`: the best rates, the curve of each group with its errors,
        whether dropout helps. `print` says it in sentences.

    Raises:
        ValueError: As `mc_predict`; if the score does not fit the outputs, is
            NaN, or is finite at no rate.
        TypeError: If a function as `score` returns no number.

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
            "argument `max_sweeps` is for groups of layers, of which there "
            "are none. Leave it out, or pass `groups`. Received: "
            f"max_sweeps={given!r}"
        )
    return _checks.positive_integer(given, "max_sweeps")


def _check_data(x: Given, y: Given, groups: groups_.Groups) -> None:
    if y is None:
        raise Refusal(
            "rates are scored by the targets of validation data. Pass "
            "`y`, or `y=True` if the batches of `x` bring them. Received: "
            "y=None"
        )
    if groups.names is not None and isinstance(x, Iterator):
        raise Refusal(
            "groups are searched in several passes over the data, and `x` "
            "hands it out once. Pass arrays, or batches that can be taken "
            "again, as of a `tf.data.Dataset` or a `DataLoader`. "
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

"""`fit_rates`: the inference rates that score best on validation data."""

import functools
import itertools
import warnings

import keras
import numpy as np
from keras import tree

from kerasdrop import _checks
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop._types import Structure
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo import prediction
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.rate_fitting import comparison
from kerasdrop.montecarlo.rate_fitting import scores
from kerasdrop.montecarlo.rate_fitting import sweep
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.predictive import Predictive
from kerasdrop.rate_fit import RateFit

_OWNER = "fit_rates"

# Dense where dropout is used, and to both ends.
_GRID = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


def fit_rates(
    model: keras.Model,
    x: Given,
    y: Given,
    *,
    layers: Given = None,
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
) -> RateFit:
    """The inference rate that scores best on validation data.

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
    dropout is late, all of it takes little longer than one `mc_predict`;
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
            were done, with a warning, or `"raise"`.

    Returns:
        A `RateFit`: the best rates, the curve with its errors, whether
        dropout helps. `print` says it in sentences.

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
        chosen = [choice.of(model, layers, rate) for rate in grid]
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
        if y is None:
            raise Refusal(
                "rates are scored by the targets of validation data. Pass "
                "`y`, or `y=True` if the batches of `x` bring them. Received: "
                "y=None"
            )
        if verbose:
            print(
                f"fit_rates: {len(grid)} rates, with {settings.num_samples} "
                f"samples of each row; kind={settings.kind!r}. What comes "
                "before the first dropout runs once for all rates."
            )
        predictive, lock = prediction.compiled_for(
            model, settings, chosen[len(chosen) // 2]
        )
        with lock:
            predictive.verify = verify
            predictive.seed = seed
            seed = predictive.seed
            data = _batches(predictive, chosen, wanted, x, y, batch_size)
            vectors = np.stack([one.vector() for one in chosen])
            swept = sweep.over(
                predictive,
                predictive._engine,
                data,
                vectors,
                wanted,
                functools.partial(_set_seed, predictive, seed),
                verbose,
                on_interrupt,
            )
        targets = _targets(y, data, swept)
        return _fitted(wanted, grid, chosen, settings, seed, targets, swept)


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


def _set_seed(predictive: keras.Model, seed: int, is_other: bool) -> None:
    # Any other seed has other masks.
    predictive.seed = seed ^ 1 if is_other else seed


def _batches(
    predictive: keras.Model,
    chosen: list[choice.Choice],
    wanted: scores.Score,
    x: Given,
    y: Given,
    batch_size: int,
) -> Batches:
    """The data in batches; the targets go to the engine if it needs them."""
    middle = chosen[len(chosen) // 2]
    found = survey.of(predictive.model)
    preconditions.check_draws(found, predictive._settings, middle)
    predictive._asked = choice.Asked(middle.paths, middle.rates)
    predictive._choose(middle)

    def most_rows(rows: RowsOf, wanted_rows: int) -> int | None:
        if not wanted.needs_likelihood:
            rows = rows._replace(targets=None)
        return predictive._engine.most_rows(rows, wanted_rows)

    return Batches(
        x,
        _checks.positive_integer(batch_size, "batch_size"),
        most_rows,
        0,
        y=y,
        fills=predictive.vectorized,
    )


def _targets(y: Given, data: Batches, swept: sweep.Swept) -> Structure:
    """The targets of the rows that were scored, as a score takes them."""
    if len(swept.targets) == 1:
        return swept.targets[0]
    if y is True:
        y = data.joined_targets()[0]
    return tree.pack_sequence_as(y, swept.targets)


def _fitted(
    wanted: scores.Score,
    grid: list[float],
    chosen: list[choice.Choice],
    settings: Settings,
    seed: int,
    targets: Structure,
    swept: sweep.Swept,
) -> RateFit:
    num_rows = len(tree.flatten(targets)[0])
    if num_rows < 2:
        raise Refusal(
            "scores are compared over rows: pass two at least, and better "
            f"some hundred. Received: {num_rows} row"
        )

    def result(statistics: Config) -> Predictive:
        return Predictive(
            statistics,
            settings.num_samples,
            seed,
            settings.plan,
            settings.kind,
        )

    if wanted.of_rows:
        compared = comparison.of_rows(wanted, targets, swept, result)
    else:
        compared = comparison.of_whole(
            wanted,
            targets,
            swept,
            result,
            seed,
            lambda: _scored_plain(wanted, targets, result(swept.plain)),
        )
    best = int(np.argmin(np.nan_to_num(compared.shortfalls, nan=np.inf)))
    return RateFit(
        chosen[best].rates,
        tuple(grid),
        **compared.fields(),
        score=wanted.name,
        direction=wanted.direction,
        num_rows=num_rows,
        num_samples=settings.num_samples,
        seed=seed,
        is_complete=swept.is_complete,
    )


def _scored_plain(
    wanted: scores.Score, targets: Structure, plain: Predictive
) -> Predictive | None:
    """The result of weight scaling, if a function can score it."""
    try:
        wanted.whole(targets, plain)
    except Exception as error:  # whatever a user's function raises
        warnings.warn(
            f"fit_rates: the score '{wanted.name}' of weight scaling, whose "
            f"variance is 0, is not known: {error}",
            stacklevel=6,
        )
        return None
    return plain

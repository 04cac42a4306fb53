"""`mc_predict`: an uncertainty in one call."""

import threading

import keras

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import model_tree
from kerasdrop._structure.kept_with_model import KeptWithModel
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop._types import Structure
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine.receivers import Collected
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.model import MonteCarlo
from kerasdrop.montecarlo.samples_out import SamplesOut
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.predictive import Predictive

_OWNER = "mc_predict"  # the name that messages begin with


def mc_predict(
    model: keras.Model,
    x: Given,
    num_samples: int | None = None,
    *,
    seed: Seed = None,
    plan: str = "stratified",
    kind: Given = None,
    keep_samples: bool = False,
    batch_size: int = 32,
    verbose: int | str = "auto",
    quantiles: Given = None,
    noise_variance: float | None = None,
    tolerance: float | None = None,
    memory_limit: int | None = None,
    y: Given = None,
    first_row: int = 0,
    rows: Given = None,
    on_interrupt: str = "raise",
    steps: int | None = None,
    vectorized: bool = True,
    samples_out: Structure = None,
    verify: bool = True,
    layers: Given = None,
    rate: float | dict[str, float] | None = None,
) -> Predictive:
    """The predictive distribution of `model` for the rows of `x`.

    Draws `num_samples` thinned networks for each row and summarizes their
    outputs. The model needs no change, and is the same afterwards. Later calls
    with the same settings reuse what the first call compiled.

    Args:
        model: A built Keras model with layers that can draw.
        x: An array, or a structure of arrays as the model takes it (None for
            an optional input; pandas frames and sparse matrices of scipy are
            accepted); or an iterable of batches (`tf.data.Dataset`, PyTorch
            `DataLoader`, `keras.utils.PyDataset`, generator), whose targets
            are ignored unless `y=True`.
        num_samples: Integer, samples per row; with a `tolerance`, the maximum.
            None for 48, and with a `tolerance` for 1024.
        seed: Integer; None draws a fresh one, which the result contains.
        plan: `"stratified"`, `"independent"` or `"shared"`, as in
            `kerasdrop.MonteCarlo`.
        kind: The kind of the outputs, as in `kerasdrop.MonteCarlo`. If it is
            read off the last activation and `verbose` is not 0, a line
            reports it.
        keep_samples: Boolean; whether the result has the `samples`.
        batch_size: Integer, rows at a time.
        verbose: `"auto"` or 1 for a progress bar over batches and, if there
            are many, samples; 2 for a line; 0 for nothing.
        quantiles, noise_variance, tolerance, memory_limit, vectorized, verify:
            As in `kerasdrop.MonteCarlo`.
        layers: The layers that draw in this call, as in
            `kerasdrop.MonteCarlo`: a path, name or pattern, a layer, a
            function of a layer, or a list of these; None for all that can
            draw.
        rate: The rate of these layers in this call, a number or a dict from
            paths, names or patterns to numbers, as in `kerasdrop.MonteCarlo`;
            None for the layers' own rates. Another number needs no new
            compilation, for stock layers either.
        y, first_row, rows, steps: As in `kerasdrop.MonteCarlo.predict`.
        on_interrupt: What Ctrl-C does: `"raise"` raises the interrupt;
            `"return"` returns the rows of the finished batches or, before the
            first batch is finished, its statistics from the samples so far. A
            warning says which.
        samples_out: Array `(rows, num_samples, ...)` of a floating-point dtype
            that supports slice assignment, such as a `numpy.memmap` or an h5py
            dataset; or a structure of such arrays, as the outputs. The samples
            are written there batch by batch, and the result does not contain
            them, so that they may exceed the memory. Leave out `keep_samples`.

    Returns:
        A `Predictive`: a read-only mapping whose items are also attributes:
        `mean`, `variance`, `std`, `standard_error`, and the statistics for
        the kind, as listed in `kerasdrop.MonteCarlo`.

    Raises:
        ValueError: In the same cases as `kerasdrop.MonteCarlo`, and if `x` has
            no rows.

    Example:

    >>> result = mc_predict(model, x, seed=0, verbose=0)
    >>> result.mean.shape, result.mutual_information.shape
    ((64, 3), (64,))
    >>> least_certain = np.argsort(-result.predictive_entropy)[:5]

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142).
    """
    with model_tree.surveyed(model):
        with blame(_OWNER):
            _checks.choice(on_interrupt, ("raise", "return"), "on_interrupt")
            verbose = _checks.verbosity(verbose)
            verify = _checks.flag(verify, "verify")
            preconditions.check_model(model)
            chosen = choice.of(model, layers, rate)
            settings = Settings.checked(
                model,
                _OWNER,
                num_samples=num_samples,
                plan=plan,
                # The kind is read in each call, because the last layer may have
                # changed.
                kind=kind,
                keep_samples=_are_needed(keep_samples, samples_out),
                quantiles=quantiles,
                noise_variance=noise_variance,
                tolerance=tolerance,
                memory_limit=memory_limit,
                vectorized=vectorized,
            )
        predictive, lock = compiled_for(model, settings, chosen)
        if kind is None and verbose:
            print(
                f"mc_predict: kind={settings.kind!r}, read off the last "
                f"layer of '{model.name}'. Pass `kind` if it is something else."
            )
        with lock, blame(_OWNER):
            predictive.seed = seed
            predictive.verify = verify
            data = predictive._batches(
                x, batch_size, first_row, rows, y, steps, chosen=chosen
            )
            receiver = Collected(data.num_rows)
            if samples_out is not None:
                written = SamplesOut(
                    samples_out, data.num_rows, predictive.num_samples
                )
                receiver = Collected(data.num_rows, written.taken)
            statistics, num_drawn = predictive._predict(
                data, receiver, verbose, on_interrupt=on_interrupt
            )
            return Predictive(
                statistics,
                num_drawn,
                predictive.seed,
                settings.plan,
                settings.kind,
            )


class _MonteCarlo(MonteCarlo):
    """The model that `mc_predict` runs; its messages begin with that name."""

    _owner = _OWNER


# What earlier calls compiled.
_kept = KeptWithModel("predictive", most=4)


def compiled_for(
    model: keras.Model, settings: Settings, chosen: choice.Choice
) -> tuple[keras.Model, Given]:
    """Returns a `MonteCarlo` of `model` and its lock, old or new."""

    def make() -> tuple[keras.Model, Given]:
        predictive = _MonteCarlo(
            model,
            # Each call sets a seed. Drawing one here would change Python's
            # `random`.
            seed=0,
            **settings.get_config(),
            layers=chosen.paths,
            rate=chosen.rates or None,
        )
        return predictive, threading.RLock()

    # Given rates are left out, since each call sets them.
    return _kept.of(model, repr((settings, chosen.key, chosen.paths)), make)


def _are_needed(keep_samples: bool, samples_out: Given) -> bool:
    if samples_out is None:
        return keep_samples
    if keep_samples is not False:
        raise Refusal(
            "samples are written into `samples_out`, or the result "
            "has them. Leave `keep_samples` out. Received: both, keep_samples="
            f"{keep_samples!r}"
        )
    return True

"""`inspect`: what a Monte Carlo pass would draw, before it runs."""

import dataclasses
import math

import keras
from keras import ops
from keras import tree

from kerasdrop._adapters import registry
from kerasdrop._adapters import survey
from kerasdrop._refusals import blame
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine import batches
from kerasdrop.montecarlo.inspection import listing
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.settings import Settings
from kerasdrop.montecarlo.splitting import batch_axis
from kerasdrop.montecarlo.splitting import replay
from kerasdrop.montecarlo.verification import runs
from kerasdrop.montecarlo.verification import self_check

# Rows of the data among which those for the self-check are chosen.
_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Part:
    """The deterministic part of a model, which runs once for all samples.

    Attributes:
        ends_at: Tuple of the names of the layers at which it ends: the first
            layer that draws on each path.
        share_of_layers: Float in [0, 1], the fraction of the calls in the
            model's graph.
        share_of_multiply_adds: Float in [0, 1], the fraction of the
            multiply-adds of all kernels (dense, convolutional, recurrent,
            attention projections). In a block without its own graph, each
            kernel counts once for each position that the block returns.
        leaves_batch_at: Tuple of the names of the layers behind which axis 0
            is no longer the batch. None of these may come before a layer that
            draws.
    """

    ends_at: tuple[Given, ...]
    share_of_layers: float
    share_of_multiply_adds: float
    leaves_batch_at: tuple[Given, ...]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The result of `inspect`. `str()` or `print()` shows it as a table.

    Attributes:
        model: The name of the model.
        layers: Tuple of one entry for each layer that is or could be random,
            in the order of the model, with the attributes `path`,
            `class_name`, `rate`, `is_drawn` and `why`.
        prefix: A `Part`, the part of the model that runs once for all samples.
            None for a subclassed model, which runs completely for each sample,
            and if there is a `refusal`.
        refusal: The reason why the samples of a row cannot run side by side,
            with a way out, as in the error of `mc_predict`; None if they can.
        verification: A `Verification`, the result of the self-check; None
            without inputs.

    Example:

    >>> inspection = kerasdrop.inspect(model)
    >>> layer = inspection.layers[0]
    >>> layer.path, layer.rate, layer.is_drawn
    ('dropout', 0.5, True)
    """

    model: str
    layers: tuple[Given, ...]
    prefix: Given
    refusal: Given
    verification: Given
    _table: str = dataclasses.field(repr=False)

    def __str__(self) -> str:
        text = self._without_verification()
        if self.verification is None:
            return text
        return f"{text}\n{self.verification}"

    def _without_verification(self) -> str:
        lines = [f"Model '{self.model}'", self._table]
        prefix = self.prefix
        if prefix is None:
            no_graph = (
                "It has no graph of layers: all of it is run for each sample."
            )
            lines.append(self.refusal or no_graph)
            return "\n".join(lines)
        ends = ", ".join(prefix.ends_at) or "nowhere: nothing is drawn"
        lines += [
            f"Run once for all samples: {prefix.share_of_layers:.0%} of the "
            f"layers, {prefix.share_of_multiply_adds:.0%} of the "
            "multiply-adds.",
            f"Run for each sample: from {ends}.",
        ]
        if prefix.leaves_batch_at:
            lines.append(
                "Axis 0 is no longer the batch behind: "
                f"{', '.join(prefix.leaves_batch_at)}."
            )
        return "\n".join(lines)

    __repr__ = __str__


def inspect(
    model: keras.Model,
    x: Given = None,
    *,
    layers: Given = None,
    rate: Given = None,
) -> Inspection:
    """Lists the layers that Monte Carlo prediction would draw in `model`.

    Nothing in the model changes.

    Args:
        model: A built Keras model.
        x: Inputs as for `mc_predict`, or None. On a few of their rows, the
            self-check of `mc_predict`'s first call runs.
        layers, rate: The layers that would draw, and their rates, as in
            `kerasdrop.MonteCarlo`.

    Returns:
        An `Inspection`. `print` shows a table with a line for each layer that
        is or could be random: its path, class and rate, and whether and how it
        would draw, or why not. Below, it says which part of the model would run
        once for all samples, and what the self-check found.

    Raises:
        ValueError: If `model` is not a built Keras model; if `layers` selects
            nothing; or if a layer cannot get the rate.
        VerificationError: If the model fails the self-check.

    Example:

    >>> print(kerasdrop.inspect(model))
    Model 'classifier'
    layer    class    rate  drawn
    dropout  Dropout  0.5   yes
    Run once for all samples: 33% of the layers, 57% of the multiply-adds.
    Run for each sample: from dropout.
    """
    with model_tree.surveyed(model):
        with blame("inspect"):
            preconditions.check_model(model)
            chosen = choice.of(model, layers, rate)
            found = survey.of(model)
            preconditions.check_noise_shapes(
                filter(chosen.of_layer, found.drawable)
            )
        prefix, refusal = _prefix(found, chosen)
        can_verify = x is not None and refusal is None
        return Inspection(
            model.name,
            tuple(listing.random_layers(found, chosen)),
            prefix,
            refusal,
            _verification(model, x, chosen) if can_verify else None,
            listing.table(found, chosen),
        )


def _verification(model: keras.Model, x: Given, chosen: choice.Choice) -> Given:
    with blame("inspect"):
        data = batches.Batches(x, _ROWS, lambda data, rows: None, 0)
        batch, num_rows, _ = next(iter(data))
    inputs, rows = (
        tree.map_structure(
            lambda leaf: None if leaf is None else ops.convert_to_numpy(leaf),
            part,
        )
        for part in (batch.inputs, batch.rows)
    )
    settings = Settings()
    check = self_check.Check(
        model, model, settings.plan, settings.vectorized, "inspect", chosen
    )
    return check.on(runs.Rows(inputs, rows), num_rows).verification


class _Observer:
    """Counts the calls of a graph as they are made."""

    def __init__(self) -> None:
        self.calls = {True: 0, False: 0}  # by whether for each sample
        self.multiply_adds = {True: 0, False: 0}
        self.ends_at: list[Given] = []
        self.leaves_batch_at: list[Given] = []
        self._left = False

    def __call__(
        self,
        operation: keras.Operation,
        inputs: list[Tensor],
        outputs: list[Tensor],
        is_folded: bool,
        begins: bool,
    ) -> None:
        self.calls[is_folded] += 1
        self.multiply_adds[is_folded] += _multiply_adds(
            operation, inputs, outputs
        )
        if begins:
            self.ends_at.append(operation.name)
        leaves = any(
            output.shape[:1] not in ((), (batch_axis.SIZES[0],))
            for output in outputs
        )
        if leaves and not self._left:
            self._left = True
            self.leaves_batch_at.append(operation.name)
        elif not leaves:
            self._left = False


def _prefix(
    found: survey.Survey, chosen: choice.Choice
) -> tuple[Part | None, str | None]:
    """Returns the `Part` that runs once, or None, and a refusal, or None."""
    if keras_graph.graph_of(found.model) is None:
        return None, None
    drawn = (layer for layer in found.drawable if chosen.rate_of(layer) > 0.0)
    holders = found.holders_of(drawn)
    observer = _Observer()
    try:
        replay.observe_shapes(found.model, holders, observer, as_tried=True)
    except ValueError as refusal:
        return None, str(refusal)
    part = Part(
        tuple(dict.fromkeys(observer.ends_at)),
        _share(observer.calls),
        _share(observer.multiply_adds),
        tuple(dict.fromkeys(observer.leaves_batch_at)),
    )
    return part, None


def _share(counts: dict[bool, int]) -> float:
    return counts[False] / (sum(counts.values()) or 1)


def _multiply_adds(
    operation: keras.Operation, inputs: list[Tensor], outputs: list[Tensor]
) -> int:
    """Multiply-adds of the kernels in one call, per row."""
    kernels = sum(
        math.prod(weight.shape)
        for weight in getattr(operation, "weights", ())
        if "kernel" in weight.name
    )
    if not kernels:
        return 0
    sizes = [size or 1 for size in outputs[0].shape[1:]]
    if getattr(operation, "data_format", None) == "channels_first":
        positions = math.prod(sizes[1:])
    else:
        positions = math.prod(sizes[:-1])
    is_recurrent = registry.loop_of(operation) == registry.RECURRENT
    if is_recurrent and not operation.return_sequences:
        positions *= inputs[0].shape[1]  # a step for each
    return kernels * positions

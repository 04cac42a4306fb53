"""A batch of rows that is jointly the most informative."""

import warnings
from typing import NamedTuple

import keras
import numpy as np

from kerasdrop import _checks
from kerasdrop import measures
from kerasdrop._formulas import categorical
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.acquisition import pools

# Values that differ by no more than this, in nats, differ only by rounding.
_ROUNDED = 1e-12


class Batch(NamedTuple):
    """Rows that were chosen together.

    Attributes:
        rows: int `(batch size,)`, row numbers in the order of the choice.
        information: `(batch size,)`, in nats: the mutual information between
            the network and the labels of the rows chosen so far.
        num_exact: How many of the rows were chosen by exact joint entropies;
            for later rows the entropies are estimates.

    Example:

    >>> samples = [[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]]]
    >>> batch = batch_bald(samples, batch_size=1, verbose=0)
    >>> batch.rows, batch.num_exact
    (array([0]), 1)
    """

    rows: Array
    information: Array
    num_exact: int


@blame("batch_bald")
def batch_bald(
    samples: Given,
    batch_size: int,
    num_configurations: int = 10_000,
    memory_limit: int = 2**28,
    seed: int = 0,
    verbose: int | str = "auto",
    on_interrupt: str = "return",
) -> Batch:
    """BatchBALD: rows whose labels together tell most about the network.

    The search is greedy: each next row adds most to the information of the rows
    before it. The batch has at least 1 - 1/e of the information of the best
    batch. A row adds the entropy of its label given the labels of the rows
    before, minus the mean entropy of its samples. There are `classes ** n`
    configurations of n labels. Up to `num_configurations`, all of them are
    enumerated; beyond that, as many are drawn from the joint distribution.

    Rows whose `bald` is too low to be the best are skipped. This does not
    change the batch, because a row never adds more than its `bald`.

    Args:
        samples: A `Predictive` of `mc_predict(plan="shared",
            keep_samples=True)`; or joint probabilities `(rows, samples,
            classes)`, see `kerasdrop.acquisition`. T samples contain at most
            `log(T)` nats in all: in a batch that comes close to this, the later
            rows are hardly better than random ones.
        batch_size: Integer, not above the number of rows.
        num_configurations: Integer, the maximum number of configurations of
            labels.
        memory_limit: Integer, approximate size of the working memory in bytes,
            in addition to the samples.
        seed: Integer of at least 0, for the drawn configurations.
        verbose: `"auto"` or 1 for a progress bar over the batch, 2 for a line,
            0 for nothing.
        on_interrupt: What Ctrl-C does: `"return"` the rows chosen so far with
            a warning, or `"raise"`. Before the first row it always raises.

    Returns:
        A `Batch`.

    Raises:
        ValueError: If the samples are not joint probabilities, if they have
            fewer rows than the batch, or if the memory is too small for one
            row.

    Example:

    >>> result = mc_predict(
    ...     model, x, plan="shared", keep_samples=True, verbose=0
    ... )
    >>> batch = batch_bald(result, batch_size=3, verbose=0)
    >>> to_label = x[batch.rows]

    Reference: [Kirsch, van Amersfoort & Gal, 2019](
    https://arxiv.org/abs/1906.08158), section 3.
    """
    samples = pools.joint(samples)
    _checks.positive_integer(batch_size, "batch_size")
    if batch_size > samples.shape[0]:
        raise Refusal(
            f"argument `batch_size` must not be above the number of "
            f"rows. Received: {batch_size} of {samples.shape[0]} rows"
        )
    _checks.positive_integer(num_configurations, "num_configurations")
    _checks.memory_limit(memory_limit)
    seed = _checks.step(seed, "seed")
    _checks.choice(on_interrupt, ("raise", "return"), "on_interrupt")
    verbose = _checks.verbosity(verbose)
    labels = _Labels(samples, num_configurations, memory_limit, seed)
    pool = _Pool(samples)
    bar = keras.utils.Progbar(batch_size, verbose=verbose, unit_name="row")
    chosen: list[tuple[int, float, bool]] = []
    try:
        while len(chosen) < batch_size:
            if chosen:
                labels.add(chosen[-1][0])
            chosen.append((*pool.best(labels), labels.is_exact))
            bar.update(len(chosen))
    except KeyboardInterrupt:
        if on_interrupt == "raise" or not chosen:
            raise
        warnings.warn(
            f"batch_bald: interrupted. It returned {len(chosen)} of "
            f"{batch_size} rows.",
            RuntimeWarning,
            stacklevel=3,
        )
    rows, gains, is_exact = map(np.array, zip(*chosen))
    return Batch(rows, np.cumsum(gains), int(is_exact.sum()))


class _Labels:
    """Configurations of the labels of the rows chosen so far.

    Attributes:
        is_exact: Whether all configurations are here, or some were drawn.
        weight: `(configurations,)`, their probabilities; the sum is 1.
        networks: `(configurations, samples)`, the probability of each network
            given the configuration.
        at_once: How many rows can be looked at together.
    """

    def __init__(
        self,
        samples: ArrayLike,
        most: int,
        memory_limit: int,
        seed: Seed,
    ) -> None:
        self._samples = samples
        self._most = most
        self._limit = memory_limit
        self._generator = np.random.default_rng(seed)
        self._rows: list[int] = []
        # (configurations, samples) if drawn
        self._log_likelihood: Given = None
        self.is_exact = True
        self.weight = np.ones(1)
        self.networks = np.full((1, samples.shape[1]), 1.0 / samples.shape[1])
        self._check_memory()

    def _check_memory(self) -> None:
        """Sets `at_once` by the memory that the configurations leave."""
        configurations, num_samples = self.networks.shape
        classes = max(2, self._samples.shape[2])
        # The first size is that of the networks and intermediate results, the
        # second that of the distributions of the next label and the steps to
        # their entropies.
        fixed = 4 * 8 * configurations * num_samples
        of_row = 8 * 8 * (configurations + num_samples) * classes
        if fixed + of_row > self._limit:
            raise Refusal(
                f"{configurations:,} configurations of "
                f"{num_samples} samples take about {fixed + of_row:,} bytes. "
                "Pass a `memory_limit` of at least as much, or a smaller "
                f"`num_configurations`. Received: memory_limit={self._limit}"
            )
        self.at_once = (self._limit - fixed) // of_row

    def add(self, row: int) -> None:
        """Adds the labels of one more row."""
        p = pools.rows_of(self._samples, [row])[0]
        self._rows.append(row)
        if self.is_exact and len(self.weight) * p.shape[1] <= self._most:
            self._enumerate(p)
        else:
            self._draw(p)
        self._check_memory()

    def _enumerate(self, p: Tensor) -> None:
        """Combines each configuration with each label that is possible."""
        joint = self.networks[:, None] * p.T[None]  # (., classes, samples)
        of_label = joint.sum(axis=-1)
        weight = self.weight[:, None] * of_label
        is_possible = weight > 0.0
        self.weight = weight[is_possible]
        self.networks = joint[is_possible] / of_label[is_possible][:, None]

    def _draw(self, p: Tensor) -> None:
        """Draws a label in each configuration; at first for all rows so far."""
        if self.is_exact:
            self.is_exact = False
            num_samples = self._samples.shape[1]
            # The network that draws the labels; each is used equally often.
            self._of = np.arange(self._most) % num_samples
            self._log_likelihood = np.zeros((self._most, num_samples))
            self.weight = np.full(self._most, 1.0 / self._most)
            before = pools.rows_of(self._samples, self._rows[:-1])
            for each in before:
                self._draw_label(each)
        self._draw_label(p)
        largest = self._log_likelihood.max(axis=-1, keepdims=True)
        likelihood = np.exp(self._log_likelihood - largest)
        self.networks = likelihood / likelihood.sum(axis=-1, keepdims=True)

    def _draw_label(self, p: Tensor) -> None:
        edges = np.cumsum(p, axis=-1)[self._of]  # (configurations, classes)
        drawn = self._generator.random((len(self._of), 1)) * edges[:, -1:]
        label = np.sum(drawn >= edges, axis=-1)
        is_some = p > 0.0
        logarithms = np.where(
            is_some, np.log(np.where(is_some, p, 1.0)), -np.inf
        )
        self._log_likelihood += logarithms.T[label]

    def information(self, p: Tensor) -> Array:
        """The information of a further label about the network, given these.

        It is the entropy of the label in a configuration minus the mean entropy
        that its networks leave, so it is at least 0 in each configuration.

        Args:
            p: Probabilities `(rows, samples, classes)`.

        Returns:
            `(rows,)`.
        """
        rows, num_samples, classes = p.shape
        flat = np.moveaxis(p, 1, 0).reshape(num_samples, rows * classes)
        given = (self.networks @ flat).reshape(-1, rows, classes)
        # `categorical.entropy` is accurate to the last digit, but takes three
        # times as long, and rows are compared to 12 digits.
        logarithms = np.log(np.where(given > 0.0, given, 1.0))
        logarithms *= given
        of_network = self.weight @ self.networks
        return -self.weight @ logarithms.sum(axis=-1) - (
            categorical.entropy(p) @ of_network
        )


class _Pool:
    """The rows that are left, and the most that each can add."""

    def __init__(self, samples: ArrayLike) -> None:
        self._samples = samples
        self._most = pools.by_rows(measures.mutual_information, samples)
        self._is_left = np.ones(samples.shape[0], bool)

    def best(self, labels: _Labels) -> tuple[int, float]:
        """The row that adds most, the earliest of equals, and what it adds."""
        rows = np.flatnonzero(self._is_left)
        rows = rows[np.argsort(-self._most[rows], kind="stable")]
        seen, gains = [], []
        best = -np.inf
        size = 1
        while len(rows) and self._most[rows[0]] >= best - _ROUNDED:
            some, rows = rows[:size], rows[size:]
            p = pools.rows_of(self._samples, some)
            gain = labels.information(p)
            seen.extend(some)
            gains.extend(gain)
            best = max(best, gain.max())
            if labels.is_exact:
                # The more labels are known, the less a row can add.
                self._most[some] = np.minimum(self._most[some], gain)
            # Few rows are cheap to begin with, and often suffice.
            size = min(labels.at_once, 2 * size)
        seen, gains = np.array(seen), np.array(gains)
        row = seen[gains >= best - _ROUNDED].min()
        self._is_left[row] = False
        return int(row), float(gains[seen == row][0])

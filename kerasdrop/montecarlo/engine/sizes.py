"""Finds how many rows and samples fit into memory at a time."""

import math
from typing import NamedTuple

from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop.masks.plans import SET_SIZE

DEFAULT_LIMIT = 2**28

# A measured size may differ this much from a share of another one.
_ROOM = 0.95


class Sizes(NamedTuple):
    """How much is drawn at a time.

    Attributes:
        rows: Integer.
        samples: Integer, the samples of each row: all, some sets, or a half, a
            quarter, an eighth or a sixteenth of a set.
    """

    rows: int
    samples: int

    @property
    def total(self) -> int:
        return self.rows * self.samples


class Need(NamedTuple):
    """The memory that some `Sizes` need.

    Attributes:
        size: Bytes in use at a time.
        results: The bytes of it that are results.
    """

    size: int
    results: int


class Found:
    """The sizes that were found, by the shapes of rows.

    Args:
        limit: The memory limit in bytes; None for a default.
    """

    def __init__(self, limit: Given) -> None:
        self.limit = DEFAULT_LIMIT if limit is None else limit
        self._sizes: dict[
            Given, Given
        ] = {}  # by the shapes and the wanted number of rows
        self._enough: list[Given] = []  # `_Enough`: all that was wanted fitted

    def of(self, shapes: tuple[int, Shape], wanted: Sizes) -> Given:
        """The `Sizes` to draw at a time if they are known; else None.

        Args:
            shapes: Tuple of the number that rows must be a multiple of, and of
                the shapes of one row.
            wanted: `Sizes`, the upper limit.
        """
        key = (shapes, wanted.rows)
        if key not in self._sizes and any(
            one.suffices(shapes, wanted, self.limit) for one in self._enough
        ):
            self._sizes[key] = wanted
        return self._sizes.get(key)

    def add(
        self, shapes: Given, wanted: Given, found: Given, needs: Given
    ) -> None:
        """Stores `Sizes` and the `Need` of all that were measured."""
        self._sizes[shapes, wanted.rows] = found
        # The batches that follow have this many rows.
        self._sizes.setdefault((shapes, found.rows), found)
        if found == wanted:
            share = max(need.size / one.total for one, need in needs.items())
            self._enough.append(_Enough(shapes, wanted, share * wanted.total))


class _Enough(NamedTuple):
    """Sizes that fitted for rows of some shapes.

    Attributes:
        shapes: As for `Found.of`.
        sizes: `Sizes`.
        size: The most bytes that they needed.
    """

    shapes: tuple[Given, ...]
    sizes: Sizes
    size: float

    def suffices(self, shapes: Given, sizes: Sizes, limit: int) -> bool:
        """Whether other sizes are known to fit, too."""
        (step, *shapes), (own_step, *own) = shapes, self.shapes
        if step != own_step or list(map(len, shapes)) != list(map(len, own)):
            return False
        growth = max(
            math.prod(max(1.0, new / max(1, old)) for new, old in zip(*pair))
            for pair in zip(shapes, own)
        )
        of_sizes = max(1.0, sizes.total / self.sizes.total)
        # The memory of a layer grows at most with the square of a sequence's
        # length.
        return self.size * growth**2 * of_sizes <= limit


def most(
    size: Function,
    wanted: Sizes,
    begin: Sizes,
    limit: int,
    step: int,
    worth: float,
) -> Sizes:
    """Returns the largest `Sizes` up to those wanted that keep a limit.

    N times the rows or samples need at most N times the memory. Larger sizes
    than the measured ones are therefore known to keep the limit, too.

    Args:
        size: Function of `Sizes` that returns bytes.
        wanted: `Sizes`.
        begin: `Sizes` to measure first, at most those wanted.
        limit: The memory limit in bytes.
        step: Integer; the number of rows is a multiple of it.
        worth: The factor that must be possible for another measurement.

    Returns:
        `Sizes`, at least one sample of `step` rows, whatever these need.
    """
    least = Sizes(step, 1)
    sizes, too_large = begin, wanted.total + 1
    while True:
        share = limit / max(1, size(sizes))
        allowed = share * sizes.total
        if share >= 1.0:
            if allowed >= wanted.total:
                return wanted
            larger = cut(wanted, _ROOM * allowed, step)
            least_worth = max(worth * sizes.total, sizes.total + 1)
            if not least_worth <= larger.total < too_large:
                return sizes
            sizes = larger
        elif sizes == least:
            return least
        else:
            too_large = min(too_large, sizes.total)
            allowed = min(_ROOM * allowed, sizes.total - 1)
            sizes = cut(wanted, allowed, step)


def cut(wanted: Sizes, total: float, step: int) -> Sizes:
    """Cuts `Sizes` to a total number of samples of all rows; sets last.

    Args:
        wanted: `Sizes`.
        total: The number of samples of all rows.
        step: Integer; the number of rows is a multiple of it.
    """
    total = max(step, int(total))
    of_set = min(wanted.samples, SET_SIZE)
    if wanted.rows * of_set <= total:
        samples = min(wanted.samples, total // wanted.rows)
        if of_set < samples < wanted.samples:
            samples -= samples % SET_SIZE
        return Sizes(wanted.rows, samples)
    rows = total // of_set // step * step
    if rows:
        # The same number of batches, but of equal size, since the last one is
        # padded.
        rows = -(-wanted.rows // -(-wanted.rows // rows))
        return Sizes(-(-rows // step) * step, of_set)
    return Sizes(step, 2 ** int(math.log2(total // step)))

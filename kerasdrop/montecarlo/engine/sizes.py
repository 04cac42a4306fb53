"""How many rows and samples are drawn at a time, so that memory suffices."""

import math
from typing import NamedTuple

from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop.masks.plans import SET_SIZE

DEFAULT_LIMIT = 2**28

# What is measured differs a little from what is taken for its share of it.
_ROOM = 0.95


class Sizes(NamedTuple):
    """What is drawn at a time.

    Attributes:
        rows: Integer.
        samples: Integer, of each row: all, some sets, or a half, a quarter,
            an eighth or a sixteenth of one.
    """

    rows: int
    samples: int

    @property
    def total(self) -> int:
        return self.rows * self.samples


class Need(NamedTuple):
    """What some `Sizes` take.

    Attributes:
        size: In bytes, at a time.
        results: In bytes, what of it are the results.
    """

    size: int
    results: int


class Found:
    """What was found for rows of some shapes.

    Args:
        limit: In bytes; None for a default.
    """

    def __init__(self, limit: Given) -> None:
        self.limit = DEFAULT_LIMIT if limit is None else limit
        self._sizes: dict[
            Given, Given
        ] = {}  # by what the data are and how many rows are wanted
        self._enough: list[
            Given
        ] = []  # `_Enough`, where all that was wanted could be had

    def of(self, shapes: tuple[int, Shape], wanted: Sizes) -> Given:
        """The `Sizes` to draw at a time, if they are known; or None.

        Args:
            shapes: Tuple of what rows must be a multiple of, and of the shapes
                of a row, without the batch.
            wanted: `Sizes`, the most that may be.
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
        """Remembers `Sizes` and the `Need` of each that was measured."""
        self._sizes[shapes, wanted.rows] = found
        # Batches of so many rows are what is drawn next.
        self._sizes.setdefault((shapes, found.rows), found)
        if found == wanted:
            share = max(need.size / one.total for one, need in needs.items())
            self._enough.append(_Enough(shapes, wanted, share * wanted.total))


class _Enough(NamedTuple):
    """Sizes that could be had for rows of some shapes.

    Attributes:
        shapes: As `Found.of` takes them.
        sizes: `Sizes`.
        size: In bytes, what they took at the most.
    """

    shapes: tuple[Given, ...]
    sizes: Sizes
    size: float

    def suffices(self, shapes: Given, sizes: Given, limit: Given) -> Given:
        """Whether others can be had as well, as far as can be told."""
        (step, *shapes), (own_step, *own) = shapes, self.shapes
        if step != own_step or list(map(len, shapes)) != list(map(len, own)):
            return False
        growth = max(
            math.prod(max(1.0, new / max(1, old)) for new, old in zip(*pair))
            for pair in zip(shapes, own)
        )
        of_sizes = max(1.0, sizes.total / self.sizes.total)
        # No layer takes more than the square of the length of a sequence.
        return self.size * growth**2 * of_sizes <= limit


def most(
    size: Function,
    wanted: Sizes,
    begin: Sizes,
    limit: int,
    step: int,
    worth: float,
) -> Given:
    """The largest `Sizes` up to those wanted that keep a limit.

    So many times the rows or samples take at most so many times the memory.
    Hence more than what was measured is known to keep the limit, too.

    Args:
        size: Function of `Sizes` that returns bytes.
        wanted: `Sizes`.
        begin: `Sizes` to measure first, up to those wanted.
        limit: In bytes.
        step: Integer; rows come in multiples of it.
        worth: How many times as much must be hoped for to measure again.

    Returns:
        `Sizes`, at the least one sample of `step` rows, whatever these need.
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


def cut(wanted: Sizes, total: int, step: int) -> Sizes:
    """`Sizes` wanted, cut to so many samples of all rows; sets are cut last.

    Args:
        wanted: `Sizes`.
        total: Number.
        step: Integer; rows come in multiples of it.
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
        # As many batches, but alike: the last is filled up.
        rows = -(-wanted.rows // -(-wanted.rows // rows))
        return Sizes(-(-rows // step) * step, of_set)
    return Sizes(step, 2 ** int(math.log2(total // step)))

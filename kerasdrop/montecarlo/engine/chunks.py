"""Cuts the samples of a batch into chunks, and these into calls."""

from typing import NamedTuple

from kerasdrop.masks.plans import SET_SIZE

# Matrix products with this many rows are as fast, per row, as larger ones.
_ROWS_THAT_PAY = 4096

# Convolutions with more bytes in use than this are slower: they do not fit into
# the cache.
_BYTES_THAT_PAY = 2**27

# Samples in one compiled call. Progress is shown and Ctrl-C works between two
# calls, but each call runs the deterministic layers again.
_SAMPLES_PER_CALL = 256


class Chunks(NamedTuple):
    """How the samples of a batch are cut into chunks, and these into calls.

    The first chunk has the samples that do not fill a whole chunk: some sets
    from sample 0 on, and the last samples, which fill neither a set nor a part
    of one. Whole chunks follow.

    Attributes:
        num_samples: Integer, the samples of each row.
        size: Integer, the samples in a whole chunk: some sets, or a half, a
            quarter, an eighth or a sixteenth of a set.
        first: Integer, the samples in the first chunk.
        count: Integer, the whole chunks after the first.
        per_call: Integer, the chunks in a compiled call.
    """

    num_samples: int
    size: int
    first: int
    count: int  # type: ignore[assignment]
    per_call: int

    @property
    def rest(self) -> int:
        """The last samples, which fill neither a set nor a part of one."""
        return self.num_samples % min(self.size, SET_SIZE)

    @property
    def first_in_sets(self) -> int:
        """The samples of the first chunk from sample 0 on, without the rest."""
        return self.first - self.rest

    @property
    def in_first_call(self) -> int:
        """How many whole chunks the first compiled call draws."""
        # All later calls have equally many chunks, and so share one function.
        if self.count <= self.per_call:
            return self.count
        return self.count % self.per_call or self.per_call

    @property
    def num_calls(self) -> int:
        return 1 + (self.count - self.in_first_call) // self.per_call

    def chunks_after(self, num_calls: int) -> int:
        """How many whole chunks this many calls draw."""
        return self.in_first_call + (num_calls - 1) * self.per_call

    def in_sets_after(self, num_calls: int) -> int:
        """How many samples from number 0 on this many calls draw."""
        return self.first_in_sets + self.chunks_after(num_calls) * self.size

    def samples_after(self, num_calls: int) -> int:
        """How many samples this many calls draw in all."""
        if num_calls == 0:
            return 0
        return self.rest + self.in_sets_after(num_calls)


def cut(num_samples: int, at_once: int) -> Chunks:
    """Cuts the samples of a row into `Chunks`.

    Args:
        num_samples: Integer, the samples of each row.
        at_once: Integer, the samples to draw at a time: `num_samples`, a
            multiple of the set size, or 1, 2, 4 or 8.
    """
    size = at_once
    if at_once >= min(num_samples, SET_SIZE):
        size = SET_SIZE * -(-min(at_once, num_samples) // SET_SIZE)
    first = num_samples % size or min(size, num_samples)
    count = (num_samples - first) // size
    return Chunks(
        num_samples, size, first, count, max(1, _SAMPLES_PER_CALL // size)
    )


def that_pay(rows: int, bytes_per_sample: int | None) -> int:
    """How many samples of this many rows to draw at once for speed.

    Args:
        rows: Integer.
        bytes_per_sample: The bytes of one sample of one row; None if unknown.

    Returns:
        A multiple of the set size.
    """
    if bytes_per_sample is None:
        return SET_SIZE
    samples = min(
        _BYTES_THAT_PAY // (bytes_per_sample * rows), _ROWS_THAT_PAY // rows
    )
    return SET_SIZE * max(1, samples // SET_SIZE)

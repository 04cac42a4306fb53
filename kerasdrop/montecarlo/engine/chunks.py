"""How many samples and rows are drawn at a time."""

from typing import NamedTuple

from kerasdrop._types import Given
from kerasdrop.masks.plans import SET_SIZE

# Matrix products of so many rows are as fast, row for row, as larger ones.
_ROWS_THAT_PAY = 4096

# Convolutions are slower with more than this in use: it leaves the cache.
_BYTES_THAT_PAY = 2**27

# Samples in one compiled call. Between two calls there is progress to show and
# Ctrl-C to hear; each runs the deterministic layers anew.
_SAMPLES_PER_CALL = 256


class Chunks(NamedTuple):
    """How the samples of a batch are cut into chunks, and these into calls.

    The first chunk has what does not fill a whole one: some sets from sample 0
    on, and the last samples, which fill neither a set nor a part of one. Whole
    chunks follow.

    Attributes:
        num_samples: Integer, of each row.
        size: Integer, samples in a whole chunk: some sets, or a half, a
            quarter, an eighth or a sixteenth of one.
        first: Integer, samples in the first chunk.
        count: Integer, the whole chunks behind the first.
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
        """Those of the first chunk but the rest, from sample 0 on."""
        return self.first - self.rest

    @property
    def in_first_call(self) -> Given:
        """How many chunks the first compiled call has behind its first."""
        # All other calls have as many as each other, and one function.
        if self.count <= self.per_call:
            return self.count
        return self.count % self.per_call or self.per_call

    @property
    def num_calls(self) -> Given:
        return 1 + (self.count - self.in_first_call) // self.per_call

    def chunks_after(self, num_calls: Given) -> Given:
        """Whole chunks behind the first that so many calls make."""
        return self.in_first_call + (num_calls - 1) * self.per_call

    def in_sets_after(self, num_calls: Given) -> Given:
        """Samples from number 0 on that so many calls make."""
        return self.first_in_sets + self.chunks_after(num_calls) * self.size

    def samples_after(self, num_calls: Given) -> Given:
        """All samples that so many calls make."""
        if num_calls == 0:
            return 0
        return self.rest + self.in_sets_after(num_calls)


def cut(num_samples: int, at_once: int) -> Chunks:
    """`Chunks` of up to so many samples.

    Args:
        num_samples: Integer, of each row.
        at_once: Integer: all of them, a multiple of the set size, or 1, 2, 4
            or 8.
    """
    size = at_once
    if at_once >= min(num_samples, SET_SIZE):
        size = SET_SIZE * -(-min(at_once, num_samples) // SET_SIZE)
    first = num_samples % size or min(size, num_samples)
    count = (num_samples - first) // size
    return Chunks(
        num_samples, size, first, count, max(1, _SAMPLES_PER_CALL // size)
    )


def that_pay(rows: int, bytes_per_sample: int) -> int:
    """How many samples of so many rows to draw at once, for speed alone.

    Args:
        rows: Integer.
        bytes_per_sample: Of one sample of one row, or None if unknown.

    Returns:
        A multiple of the set size.
    """
    if bytes_per_sample is None:
        return SET_SIZE
    samples = min(
        _BYTES_THAT_PAY // (bytes_per_sample * rows), _ROWS_THAT_PAY // rows
    )
    return SET_SIZE * max(1, samples // SET_SIZE)

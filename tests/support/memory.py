"""The memory of this process, as Linux reports it."""

import pathlib

import keras
import pytest

MIB = 2**20

only_on_linux = pytest.mark.skipif(
    not pathlib.Path("/proc/self/status").exists(), reason="not Linux"
)


def anonymous():
    """Bytes in use, without pages that the system can write back to a file."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


class Watch(keras.callbacks.Callback):
    """Records the memory in use after some of the batches.

    Args:
        every: Integer, the number of batches between two records.
    """

    def __init__(self, every):
        super().__init__()
        self.every = every
        self.seen = []

    def on_predict_batch_end(self, batch, logs=None):
        if batch % self.every == self.every - 1:
            self.seen.append(anonymous())

    on_test_batch_end = on_predict_batch_end

    @property
    def growth(self):
        """The growth since a quarter of the batches was done."""
        quarter = len(self.seen) // 4
        return max(self.seen[quarter:]) - self.seen[quarter]

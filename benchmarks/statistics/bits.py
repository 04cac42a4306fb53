r"""Writes the words behind many successive masks to standard output.

They are for statistical test suites, e.g.

    python -m benchmarks.statistics.bits --words 2000000000 \
        --shape 4096x1024 | dieharder -a -g 200
    python -m benchmarks.statistics.bits --words 2147483648 \
        --shape 32x32 | RNG_test stdin32 -tlmax 8GB

Words are raw, 32 bits, little-endian, mask after mask, row after row. `--vary`
chooses how successive masks differ:

- draw: the index, as in the successive training steps of one layer;
- seed: the seed, 0, 1, 2, ..., each at its first step;
- layer: the derived key, as in the layers of one Monte Carlo sample.

The backend is the one of `KERAS_BACKEND`; the words do not depend on it.
"""

import argparse
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import ops

from kerasdrop import masks

# Words computed at a time: enough that a call's overhead does not count.
_CHUNK = 2**22


def _shape(text):
    return tuple(int(size) for size in text.split("x"))


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--words", type=int, required=True, metavar="N")
    parser.add_argument(
        "--shape", type=_shape, default=(4096, 1024), metavar="ROWSxUNITS"
    )
    parser.add_argument(
        "--vary", choices=("draw", "seed", "layer"), default="draw"
    )
    parser.add_argument("--start", type=int, default=0, help="first mask")
    parser.add_argument("--seed", type=int, default=0, help="of the root key")
    return parser.parse_args(argv)


def compiled(function):
    """`function` as one compiled kernel of the current backend."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    import torch

    return torch.compile(function)


def words_of_masks(vary, shape, seed):
    """A function of mask numbers `(n,)` that returns their words in order."""
    root = masks.key_of_seed(seed)

    def by_draw(number):
        return masks.words(masks.Draw(root, number), shape)

    def by_seed(key):
        return masks.words(masks.Draw(key, 0), shape)

    def by_layer(number):
        key = masks.derived_key(root, number)
        return masks.words(masks.Draw(key, 0), shape)

    one = {"draw": by_draw, "seed": by_seed, "layer": by_layer}[vary]
    many = compiled(lambda elements: ops.vectorized_map(one, elements))

    def run(numbers):
        if vary == "seed":
            numbers = masks.key_of_seed(numbers.astype("int64"))
        return many(ops.convert_to_tensor(numbers))

    return run


def main():
    options = arguments()
    run = words_of_masks(options.vary, options.shape, options.seed)
    at_a_time = max(1, _CHUNK // int(np.prod(options.shape)))
    number = options.start
    left = options.words
    while left > 0:
        numbers = np.arange(number, number + at_a_time).astype("int32")
        chunk = ops.convert_to_numpy(run(numbers)).astype("<i4", copy=False)
        try:
            sys.stdout.buffer.write(memoryview(chunk.reshape(-1)[:left]))
        except BrokenPipeError:  # the battery has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        number += at_a_time
        left -= chunk.size
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

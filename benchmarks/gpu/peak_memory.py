"""The peak memory of a training step on a GPU, with and without dropout.

    KERAS_BACKEND=torch python -m benchmarks.gpu.peak_memory --output FILE

PyTorch alone tells it: `torch.cuda.max_memory_allocated`. Without a GPU the
steps run, and there is no figure.
"""

import argparse
import gc
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
from keras import layers

from benchmarks.speed import training_step
from benchmarks.support import reporting

NAME = "peak_memory"
DEPTH = 6


def model_of(variant, width):
    dropout = training_step.layers_of(variant)
    stack = [keras.Input((width,))]
    for _ in range(DEPTH):
        stack.append(layers.Dense(width, activation="relu"))
        stack.append(dropout("Dropout"))
    model = keras.Sequential([*stack, layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
    return model


def peak(variant, width, rows):
    """Bytes at the peak of a step, less those before; None without a GPU."""
    gc.collect()
    keras.utils.clear_session()
    model = model_of(variant, width)
    x, y = np.ones((rows, width), "float32"), np.zeros(rows, "int32")
    model.train_on_batch(x, y)  # makes what is made once
    if not torch.cuda.is_available():
        model.train_on_batch(x, y)
        return None
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    model.train_on_batch(x, y)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a try")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    width, rows = (16, 8) if options.tiny else (2048, 65536)
    peaks = {
        variant: peak(variant, width, rows)
        for variant in training_step.VARIANTS
    }
    sizes = {"width": width, "rows": rows, "depth": DEPTH}
    report = {**reporting.taken(), **sizes, "peak bytes": peaks}
    print(peaks)
    reporting.keep(NAME, report, options.output)


if __name__ == "__main__":
    main()

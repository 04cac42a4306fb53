"""Dropout in passes over memory: `benchmarks.speed.masks` at a GPU's sizes.

    KERAS_BACKEND=torch python -m benchmarks.gpu.passes --output FILE

The file is written after each row, so that a time limit leaves what there was.
"""

import argparse
import json
import pathlib

from benchmarks.speed import masks
from benchmarks.support import command_line
from benchmarks.support import reporting

NAME = "passes"
# The first is bound by memory; from the second on no stock layer is to win.
SIZES = ((8192, 8192), (256, 256))
TINY = ((64, 64), (32, 32))
_BYTES = 2 * 4  # of an element: read and written


def rate(row):
    """GB/s of the pass of a row, that is of `x * 2`; forward only."""
    elements = row["size"][0] * row["size"][1]
    seconds = row["milliseconds"]["pass"] * 1e-3
    if row["direction"] != "forward" or seconds == 0.0:
        return None
    return round(elements * _BYTES / seconds / 1e9, 1)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=command_line.count, default=20)
    parser.add_argument("--modes", nargs="+", choices=masks.MODES)
    parser.add_argument("--tiny", action="store_true", help="a try")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    return parser.parse_args()


def main():
    options = parse_arguments()
    rows = []
    for size in TINY if options.tiny else SIZES:
        for mode in options.modes or masks.MODES:
            for backward in (False, True):
                row = masks.measured(mode, size, backward, options.rounds)
                row["GB/s"] = rate(row)
                rows.append(row)
                print(json.dumps(row), flush=True)
                report = {**reporting.taken(), "rows": rows}
                reporting.keep(NAME, report, options.output)


if __name__ == "__main__":
    main()

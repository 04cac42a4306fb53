"""Tables of results in Markdown."""

import numpy as np


def markdown(header, rows):
    """The lines of a table: strings, all rows as long as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values, digits):
    """The mean of values, and their standard deviation if there are more."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def change(after, before, digits):
    """The mean of paired differences, and its standard error if there is."""
    differences = np.asarray(after) - np.asarray(before)
    mean = f"{differences.mean():+.{digits}f}"
    if len(differences) == 1:
        return mean
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return f"{mean} ± {error:.{digits}f}"

"""The result of `mc_sobol_indices`."""

import dataclasses

__all__ = ["SobolIndices"]


@dataclasses.dataclass(frozen=True)
class SobolIndices:
    """Shares of the predictive variance, for each group of dropout layers.

    A first-order share is the part of the variance that the masks of a group
    explain on their own. A total share is the part that would disappear if
    these masks were fixed; it includes interactions with other groups. If the
    effects of the groups simply add, both are equal and sum to 1. The variance
    is the variance over masks, summed over all elements of an output and over
    the rows.

    Attributes:
        names: Tuple of strings, the names of the groups.
        first_order: Tuple of floats, the first-order share of each group.
            As an estimate, it may be slightly below 0. NaN if nothing
            varies.
        first_order_errors: Tuple of floats, the standard errors due to the
            finite number of samples.
        total: Tuple of floats, at least 0, the total share of each group.
        total_errors: Tuple of floats, their standard errors.
        variance: Float, the variance of the outputs of a row, summed over
            their elements and averaged over the rows.
        num_rows: Integer, the number of rows.
        num_samples: Integer, the number of pairs of samples per row.
        seed: Integer, the seed of the samples.
        is_complete: Boolean, whether all rows were used; False after Ctrl-C.

    Example:

    >>> shares = kerasdrop.mc_sobol_indices(model, x, seed=0, verbose=0)
    >>> shares.names, round(shares.total[0], 2)  # one layer draws
    (('dropout',), 1.0)
    """

    names: tuple[str, ...]
    first_order: tuple[float, ...]
    first_order_errors: tuple[float, ...]
    total: tuple[float, ...]
    total_errors: tuple[float, ...]
    variance: float
    num_rows: int
    num_samples: int
    seed: int
    is_complete: bool = True

    def __str__(self) -> str:
        rows = f"{self.num_rows} rows"
        if not self.is_complete:
            rows = f"the first {rows}, where it was interrupted"
        if not self.variance:
            return f"The outputs of {rows} do not vary: nothing has a share."
        width = max(map(len, ("group", *self.names)))
        lines = [
            f"Shares of the predictive variance, {self.variance:.3g} on the "
            f"mean of {rows}:",
            f"{'group':{width}}  first-order      total",
        ]
        columns = zip(
            self.names,
            self.first_order,
            self.first_order_errors,
            self.total,
            self.total_errors,
        )
        lines += [
            f"{name:{width}}  {first:.3f} ± {first_error:.3f}  "
            f"{total:.3f} ± {total_error:.3f}"
            for name, first, first_error, total, total_error in columns
        ]
        return "\n".join(lines)

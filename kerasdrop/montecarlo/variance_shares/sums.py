"""Sums over rows and samples, and the shares that follow from them."""

import numpy as np

from kerasdrop._types import Array


class Sums:
    """Streams halves of products of differences into shares, in float64.

    Let `v` be the halves whose mean is the variance, and `f` those of a share.
    The share is the sum of `f` divided by the sum of `v`. To first order, the
    variance of this quotient is that of `f - share * v`. Samples are
    independent. Rows are independent, too, if each has its own masks, and then
    all rows estimate that variance. If rows share masks, for example by a
    `noise_shape`, only the sums over rows do, one for each sample. The error is
    the larger of the two.

    Attributes:
        num_rows: Integer, the number of rows.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._variance = 0.0
        self._variance_of_mean = 0.0
        # Sums for the first-order and the total shares, `(2, groups)`.
        self._shares: Array = np.zeros(())
        self._covariance_of_mean: Array = np.zeros(())
        self._variances_of_mean: Array = np.zeros(())
        # Sums over rows: `(samples,)` and `(2, groups, samples)`.
        self._whole_by_sample: Array = np.zeros(())
        self._parts_by_sample: Array = np.zeros(())

    def update(self, variance: Array, first: Array, total: Array) -> None:
        """Adds rows.

        Args:
            variance: `(rows, samples)`.
            first, total: `(groups, rows, samples)`.
        """
        whole = variance.astype("float64")
        parts = np.stack([first, total]).astype("float64")
        of_rows = whole - whole.mean(-1, keepdims=True)
        of_parts = parts - parts.mean(-1, keepdims=True)
        count = whole.shape[-1]
        per_mean = count * (count - 1)
        self.num_rows += len(whole)
        self._variance += whole.mean(-1).sum()
        self._shares = self._shares + parts.mean(-1).sum(-1)
        self._variance_of_mean += (of_rows**2).sum() / per_mean
        self._covariance_of_mean = (
            self._covariance_of_mean
            + (of_parts * of_rows).sum((-2, -1)) / per_mean
        )
        self._variances_of_mean = (
            self._variances_of_mean + (of_parts**2).sum((-2, -1)) / per_mean
        )
        self._whole_by_sample = self._whole_by_sample + whole.sum(0)
        self._parts_by_sample = self._parts_by_sample + parts.sum(-2)

    @property
    def variance(self) -> float:
        """The mean variance of a row."""
        return float(self._variance / self.num_rows)

    def result(self) -> tuple[Array, Array]:
        """The shares and their standard errors, each `(2, groups)`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = self._shares / self._variance
            squared = (
                self._variances_of_mean
                - 2.0 * shares * self._covariance_of_mean
                + shares**2 * self._variance_of_mean
            )
            rest = (
                self._parts_by_sample
                - shares[..., None] * self._whole_by_sample
            )
            by_sample = rest.var(-1, ddof=1) / rest.shape[-1]
            # Rounding must not make it negative.
            errors = np.sqrt(np.maximum(squared, by_sample)) / self._variance
        return shares, errors

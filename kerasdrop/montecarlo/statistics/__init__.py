"""The sums that are kept of samples, and the statistics from them."""

"""Outputs with the means and the variances in their last axis."""

from kerasdrop._formulas import arrays

KINDS = ("mean_and_variance", "mean_and_log_variance")


def parts(output, kind, owner):
    """Means, first half of the last axis, and variances, the second.

    Args:
        output: `(batch, ..., 2 * size)`, of a kind in `KINDS`.
        kind: That kind.
        owner: Who is to blame in a message.

    Returns:
        A list of two, `(batch, ..., size)` each.
    """
    xp, mean, variance = _halves(output, kind, owner)
    if kind == "mean_and_log_variance":
        variance = xp.exp(variance)
    return [mean, variance]


def parts_in_logs(output, kind, owner):
    """As `parts`, with the logarithms of the variances."""
    xp, mean, log_variance = _halves(output, kind, owner)
    if kind == "mean_and_variance":
        log_variance = xp.log(log_variance)
    return [mean, log_variance]


def _halves(output, kind, owner):
    size = output.shape[-1]
    if size is None or size % 2:
        raise ValueError(
            f"{owner}: an output of kind '{kind}' has the means in the first "
            "half of its last axis and the variances, or their logarithms, in "
            "the second half, in the same order; so that axis must have an "
            f"even size. Received: an output with {size} there"
        )
    xp, output = arrays.floats(output)
    return xp, output[..., : size // 2], output[..., size // 2 :]

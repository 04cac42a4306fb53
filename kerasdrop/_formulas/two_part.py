"""Outputs with the means and the variances in their last axis."""

from kerasdrop import _refusals
from kerasdrop._formulas import arrays
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor

# Whether the second half has the logarithms of the variances, by kind.
_HOLDS_LOGS = {"mean_and_variance": False, "mean_and_log_variance": True}
KINDS = tuple(_HOLDS_LOGS)


def holds_logs(kind: str) -> bool:
    """Whether outputs of a kind in `KINDS` hold logarithms of variances."""
    return _HOLDS_LOGS[kind]


def parts(output: Tensor, kind: str) -> list[Tensor]:
    """Means, first half of the last axis, and variances, the second.

    Args:
        output: `(batch, ..., 2 * size)`, of a kind in `KINDS`.
        kind: That kind.

    Returns:
        A list of two, `(batch, ..., size)` each.
    """
    xp, mean, variance = _halves(output, kind)
    return [mean, xp.exp(variance) if holds_logs(kind) else variance]


def parts_in_logs(output: Tensor, kind: str) -> list[Tensor]:
    """As `parts`, with the logarithms of the variances."""
    xp, mean, variance = _halves(output, kind)
    return [mean, variance if holds_logs(kind) else xp.log(variance)]


def _halves(output: Tensor, kind: str) -> tuple[Namespace, Tensor, Tensor]:
    size = output.shape[-1]
    if size is None or size % 2:
        raise _refusals.Refusal(
            f"an output of kind '{kind}' has the means in the first "
            "half of its last axis and the variances, or their logarithms, in "
            "the second half, in the same order; so that axis must have an "
            f"even size. Received: an output with {size} there"
        )
    xp, output = arrays.floats(output)
    return xp, output[..., : size // 2], output[..., size // 2 :]

"""The rows with the highest scores, exactly or at random."""

import numpy as np

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Seed
from kerasdrop.acquisition import pools

METHODS = ("power", "softmax", "soft_rank")


@blame("top_k")
def top_k(scores: ArrayLike, k: int) -> Array:
    """The k rows with the highest scores.

    Args:
        scores: `(rows,)` or `(rows, 1)`, e.g. from `bald`, or the
            `mutual_information` of a prediction.
        k: Integer, not above the number of rows.

    Returns:
        NumPy array `(k,)` of row numbers, the highest score first. If scores
        are equal, the earlier row comes first.

    Raises:
        ValueError: If `scores` are not a number for each row, or fewer than k.

    Example:

    >>> top_k([0.1, 0.7, 0.4, 0.0], k=2)
    array([1, 2])
    """
    scores = _checked(scores, k)
    return np.argsort(-scores, kind="stable")[:k]


@blame("stochastic_top_k")
def stochastic_top_k(
    scores: ArrayLike,
    k: int,
    method: str = "power",
    beta: float = 1.0,
    seed: Seed = None,
) -> Array:
    """Draws k rows at random by their scores, without replacement.

    It costs no more than `top_k`, and its rows are less alike. Its authors find
    such a batch as good as one of `batch_bald`.

    Args:
        scores: `(rows,)` or `(rows, 1)`, e.g. from `bald`, or the
            `mutual_information` of a prediction.
        k: Integer, not above the number of rows.
        method: The quantity to which the probability of a remaining row is
            proportional:

            - `"power"`: `score ** beta`; scores must be at least 0. A row of
              score 0 is never drawn.
            - `"softmax"`: `exp(beta * score)`.
            - `"soft_rank"`: `rank ** -beta`, where the highest score has rank
              1. If scores are equal, the earlier row has the lower rank.
        beta: Float above 0. The higher it is, the closer the result is to
            `top_k`.
        seed: Integer of at least 0, or None for a fresh one.

    Returns:
        NumPy array `(k,)` of row numbers, in the order of the draws.

    Raises:
        ValueError: If `scores` are not a number for each row, or fewer than k
            can be drawn; if a score is below 0 for `"power"`.

    Example:

    >>> rows = stochastic_top_k([0.1, 0.7, 0.4, 0.0], k=2, seed=0)
    >>> 3 in rows  # a row of score 0 is never drawn
    False

    Reference: [Kirsch et al., 2023](https://arxiv.org/abs/2106.12059), table 1.
    """
    scores = _checked(scores, k)
    _checks.choice(method, METHODS, "method")
    _checks.positive_number(beta, "beta")
    if seed is not None:
        seed = _checks.step(seed, "seed")
    if method == "power":
        scores = _logarithms(scores, k)
    if method == "soft_rank":
        rank = np.empty(len(scores))
        rank[np.argsort(-scores, kind="stable")] = 1 + np.arange(len(scores))
        scores = -np.log(rank)
    # The largest of these are a draw without replacement (Gumbel, top k).
    noise = np.random.default_rng(seed).gumbel(size=len(scores))
    return np.argsort(-(beta * scores + noise), kind="stable")[:k]


def _checked(scores: ArrayLike, k: int) -> Array:
    scores = np.asarray(pools.of_array(scores), "float64")
    if scores.ndim == 2 and scores.shape[1] == 1:  # of one output of `binary`
        scores = scores[:, 0]
    if scores.ndim != 1 or not np.isfinite(scores).all():
        kind = "not finite" if scores.ndim == 1 else f"of shape {scores.shape}"
        raise Refusal(
            f"argument `scores` must have a finite number for each "
            "row, `(rows,)` or `(rows, 1)`. Sum or average over further "
            f"axes. Received: scores {kind}"
        )
    _checks.positive_integer(k, "k")
    if k > len(scores):
        raise Refusal(
            f"argument `k` must not be above the number of rows. "
            f"Received: k={k} of {len(scores)} rows"
        )
    return scores


def _logarithms(scores: ArrayLike, k: int) -> Array:
    if scores.min() < 0.0:
        raise Refusal(
            f"the method 'power' needs scores of at least 0. Use "
            f"'softmax' or 'soft_rank'. Received: {scores.min():.6g}"
        )
    if (scores > 0.0).sum() < k:
        raise Refusal(
            f"the method 'power' never draws a row of score 0. Use "
            f"'soft_rank', or a smaller k. Received: k={k} and "
            f"{(scores > 0.0).sum()} scores above 0"
        )
    is_some = scores > 0.0
    logarithms = np.log(np.where(is_some, scores, 1.0))
    return np.where(is_some, logarithms, -np.inf)

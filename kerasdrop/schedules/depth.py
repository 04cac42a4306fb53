"""Profiles: one rate for each layer of a stack, by its depth.

Each function returns a list of floats, from the first layer to the last. Pass
each of them to a layer as its rate, or to a schedule as its final rate. The
following is ScheduledDropPath, with rates that grow over depth and training:

    rates = linear_depth_rates(12, 0.2)
    layers = [DropPath(Linear(0.0, rate, num_steps)) for rate in rates]
"""

import math

import numpy as np

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Given


@blame("linear_depth_rates")
def linear_depth_rates(
    num_layers: int, final_rate: float, initial_rate: float | None = None
) -> list[float]:
    """Rates on a straight line over depth.

    Args:
        num_layers: Integer of at least 1.
        final_rate: Float in [0, 1], the rate of the last layer.
        initial_rate: Float in [0, 1], the rate of the first layer. None stands
            for the rule of stochastic depth: layer `l` of `L` (counted from 1)
            has the rate `final_rate * l / L`. Most vision transformers use 0.0.

    Returns: List of `num_layers` floats. (For one layer: `final_rate`.)

    Example:

    >>> linear_depth_rates(4, 0.5)
    [0.125, 0.25, 0.375, 0.5]

    Reference: [Huang et al., 2016](https://arxiv.org/abs/1603.09382).
    """
    num_layers = _checks.positive_integer(num_layers, "num_layers")
    final_rate = _checks.rate(final_rate, "final_rate")
    if initial_rate is None:
        initial_rate = final_rate / num_layers
    initial_rate = _checks.rate(initial_rate, "initial_rate")
    # Reversed, so that a single layer has the final rate.
    return np.linspace(final_rate, initial_rate, num_layers)[::-1].tolist()


@blame("exponential_depth_rates")
def exponential_depth_rates(num_layers: int, final_rate: float) -> list[float]:
    """Rates that grow faster and faster over depth, from 0.

    Layer `l` of `L` (counted from 0) has the rate
    `final_rate * (2 ** (l / (L - 1)) - 1)`. This is the profile of LayerSkip's
    layer dropout. If the training begins from scratch, LayerSkip also
    increases the rates over time: give each layer a schedule.

    Args:
        num_layers: Integer of at least 1.
        final_rate: Float in [0, 1], the rate of the last layer.

    Returns: List of `num_layers` floats. (For one layer: `final_rate`.)

    Example:

    >>> [round(rate, 4) for rate in exponential_depth_rates(3, 0.2)]
    [0.0, 0.0828, 0.2]

    Reference: [Elhoushi et al., 2024](https://arxiv.org/abs/2404.16710),
    section 4.1.1: `D(l) = exp(l * ln 2 / (L - 1)) - 1`, and the rate is
    `S(t) * D(l) * p_max`; `schedules.Accelerating` is its `S_exp`.
    """
    num_layers = _checks.positive_integer(num_layers, "num_layers")
    final_rate = _checks.rate(final_rate, "final_rate")
    if num_layers == 1:
        return [final_rate]
    depths = np.arange(num_layers) / (num_layers - 1)
    return (final_rate * (2.0**depths - 1.0)).tolist()


@blame("step_depth_rates")
def step_depth_rates(
    num_layers: int, mean_rate: float, part: float, where: str = "front"
) -> list[float]:
    """Dropout in a part of the layers only, with a given mean rate.

    Args:
        num_layers: Integer of at least 1.
        mean_rate: Float in [0, 1], the mean over all layers.
        part: Float in (0, 1]: the fraction of layers that drop, rounded up to
            whole layers.
        where: `"front"` or `"back"`: whether the first or the last layers drop.

    Returns: List of `num_layers` floats with the mean `mean_rate`.

    Raises:
        ValueError: If an argument is out of its range, or if these layers would
            need a rate above 1.

    Example:

    >>> step_depth_rates(4, 0.1, part=0.5)
    [0.2, 0.2, 0.0, 0.0]

    Reference: [Dropout Universality, 2026](https://arxiv.org/abs/2605.21648).
    """
    num_layers = _checks.positive_integer(num_layers, "num_layers")
    part = _checks.positive_number(part, "part")
    part = _checks.rate(part, "part")
    where = _checks.choice(where, ("front", "back"), "where")
    num_dropping = math.ceil(part * num_layers)
    rates = [1.0] * num_dropping + [0.0] * (num_layers - num_dropping)
    rates = rates_with_mean(rates, mean_rate)
    return rates if where == "front" else rates[::-1]


@blame("rates_with_mean")
def rates_with_mean(rates: Given, mean_rate: float) -> list[float]:
    """Scales a profile to a mean rate, so that profiles compare fairly.

    Args:
        rates: Floats of at least 0, not all 0: the shape of the profile.
        mean_rate: Float in [0, 1].

    Returns: List of floats, proportional to `rates`, with that mean.

    Raises:
        ValueError: If an argument is out of its range, or if the profile
            would go above 1.

    Example:

    >>> rates_with_mean([3.0, 2.0, 1.0], 0.25)
    [0.375, 0.25, 0.125]
    """
    mean_rate = _checks.rate(mean_rate, "mean_rate")
    form = np.asarray(rates, "float64")
    if form.ndim != 1 or not (form >= 0.0).all() or not form.sum() > 0.0:
        raise Refusal(
            f"`rates` must be a list of numbers of at least 0, not "
            f"all of them 0. Received: rates={rates!r}"
        )
    scaled = form * (mean_rate * len(form) / form.sum())
    if scaled.max() > 1.0:
        raise Refusal(
            f"at a mean rate of {mean_rate} the highest rate would "
            f"be {scaled.max():.3g}, above 1. Use a flatter profile or a "
            f"lower mean. Received: rates={rates!r}"
        )
    return scaled.tolist()

"""A `RateFit` as JSON, checked when it is read."""

import dataclasses
import json
import math
from collections.abc import Iterable

from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.rate_fit.curve import RateCurve

_FORMAT = "kerasdrop.rate_fit"
_VERSION = 2
# Attributes that version 1 did not have, which get their defaults.
_SINCE_2 = ("groups", "num_sweeps", "has_converged")
_COLUMNS = ("scores", "monte_carlo_errors", "shortfalls", "shortfall_errors")


def enveloped(config: Config) -> Config:
    """The written form: the attributes with format and version."""
    return {"format": _FORMAT, "version": _VERSION, "config": config}


def fields(text: str, names: list[str]) -> Config:
    """Returns the attributes in a text, by name, after checks.

    Args:
        text: String.
        names: The names of all attributes of a `RateFit`.

    Raises:
        Refusal: If the text is not from `to_json`, or contradicts itself.
    """
    found = {name: _frozen(it) for name, it in _given(text, names).items()}
    groups = found.get("groups", {})
    if not isinstance(groups, dict):
        raise Refusal(
            "`groups` must be a dict of curves, by name. Received: "
            f"groups={groups!r:.80}"
        )
    if not isinstance(found["rates"], dict):
        raise Refusal(
            "the text must hold a dict of rates. Received: "
            f"rates={found['rates']!r:.80}"
        )
    _check_curve(found, "")
    if not groups:
        _check_best(found, "")
    _check_numbers(found, ("weight_scaling", "gain", "gain_error"))
    _check_rates(found["rates"].values(), found["rates"])
    curves = {name: _curve(name, groups[name]) for name in groups}
    return {**found, "groups": curves} if curves else found


def _given(text: str, names: list[str]) -> Config:
    try:
        content = json.loads(text)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"the text must be JSON that `to_json` wrote. Received: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise Refusal(
            f"the text must be of `to_json`, with format '{_FORMAT}'. "
            f"Received: {text[:60]!r}"
        )
    version = content.get("version")
    if version not in (1, _VERSION):
        raise Refusal(
            f"this kerasdrop reads fitted rates up to version {_VERSION}. "
            f"Update it, or fit anew. Received: version={version!r}"
        )
    if version == 1:
        names = [name for name in names if name not in _SINCE_2]
    return _exactly(content.get("config"), names, "a RateFit")


def _exactly(config: Given, names: list[str], what: str) -> Config:
    if not isinstance(config, dict) or sorted(config) != sorted(names):
        raise Refusal(
            f"the text must hold the attributes of {what}, "
            f"{', '.join(names)}. Received: {config!r:.80}"
        )
    return config


def _curve(name: str, config: Given) -> RateCurve:
    names = [field.name for field in dataclasses.fields(RateCurve)]
    where = f" of group '{name}'"
    found = _exactly(config, names, f"a RateCurve{where}")
    found = {name: _frozen(value) for name, value in found.items()}
    _check_curve(found, where)
    _check_best(found, where)
    return RateCurve(**found)


def _check_curve(found: Config, where: str) -> None:
    """Raises if the columns of a curve do not fit its grid."""
    columns = [found[name] for name in _COLUMNS]
    grid = found["grid"]
    if not all(isinstance(one, tuple) for one in (grid, *columns)):
        raise Refusal(
            f"the text must hold lists of numbers{where}. Received: "
            f"grid={grid!r:.80}, scores={found['scores']!r:.80}"
        )
    _check_rates(grid, grid)
    fits = all(len(column) == len(grid) for column in columns)
    numbers = [one for column in columns for one in column]
    if not fits or not all(map(_is_finite_or_none, numbers)):
        raise Refusal(
            f"the text must hold finite numbers{where}, one of each column "
            "for each rate of the grid. Received: columns of "
            f"{[len(column) for column in columns]} numbers for {len(grid)} "
            "rates, or others than numbers"
        )


def _check_best(found: Config, where: str) -> None:
    if 0.0 not in found["shortfalls"]:
        raise Refusal(
            f"one of the rates{where} must be the best, with a shortfall of "
            f"0. Received: shortfalls={found['shortfalls']}"
        )


def _check_rates(rates: Iterable[Given], received: Given) -> None:
    for rate in rates:
        if rate is None or not _is_finite_or_none(rate):
            raise Refusal(
                f"each rate must be a number. Received: {received!r:.80}"
            )


def _check_numbers(found: Config, names: tuple[str, ...]) -> None:
    for name in names:
        if not _is_finite_or_none(found[name]):
            raise Refusal(
                "the text must hold finite numbers, or null. Received: "
                f"{name}={found[name]!r:.80}"
            )


def _frozen(value: Given) -> Given:
    return tuple(value) if isinstance(value, list) else value


def _is_finite_or_none(value: Given) -> bool:
    if value is None:
        return True
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)

"""`RateFit`: what was fitted, as JSON, and in a model."""

import dataclasses
import json

import keras
import pytest
from keras import layers

import kerasdrop

FIT = kerasdrop.RateFit(
    rates={"drop": 0.25},
    grid=(0.125, 0.25, 0.5),
    scores=(-1.0, -0.5, None),
    monte_carlo_errors=(0.01, 0.02, None),
    shortfalls=(0.5, 0.0, None),
    shortfall_errors=(0.26, 0.0, None),
    weight_scaling=-0.75,
    gain=0.25,
    gain_error=0.1,
    score="log_likelihood",
    direction="highest",
    num_rows=10,
    num_samples=48,
    seed=2**62,
)


GROUPED = dataclasses.replace(
    FIT,
    rates={"a": 0.5, "b": 0.125},
    scores=(-1.0, -0.5, None),
    shortfalls=(0.6, 0.1, None),
    shortfall_errors=(0.1, 0.06, None),
    groups={
        "a": kerasdrop.RateCurve(
            layers=("a",),
            grid=FIT.grid,
            scores=(None, -0.7, -0.4),
            monte_carlo_errors=(None, 0.1, 0.05),
            shortfalls=(None, 0.3, 0.0),
            shortfall_errors=(None, 0.1, 0.0),
        ),
        "b": kerasdrop.RateCurve(
            layers=("b",),
            grid=FIT.grid,
            scores=(-0.4, -0.5, -0.9),
            monte_carlo_errors=(0.05, 0.1, 0.1),
            shortfalls=(0.0, 0.1, 0.5),
            shortfall_errors=(0.0, 0.05, 0.1),
        ),
    },
    num_sweeps=2,
)


CURVE = dataclasses.asdict(GROUPED.groups["a"])


def model_of(dropout):
    return keras.Sequential([keras.Input((2,)), dropout, layers.Dense(1)])


def test_what_follows_from_the_numbers():
    assert (FIT.rate, FIT.best_score) == (0.25, -0.5)
    assert FIT.equivalent == (0.125, 0.25)
    assert not FIT.is_at_end
    assert FIT.helps is True
    few = dataclasses.replace(FIT, gain_error=0.13)
    assert few.helps is False
    assert dataclasses.replace(FIT, gain=None).helps is None


def test_it_is_read_as_it_was_written():
    text = FIT.to_json()
    assert kerasdrop.RateFit.from_json(text) == FIT
    assert json.loads(text)["version"] == 2


def test_with_groups_too():
    assert kerasdrop.RateFit.from_json(GROUPED.to_json()) == GROUPED
    assert GROUPED.rates == {"a": 0.5, "b": 0.125}
    assert (GROUPED.best_score, GROUPED.is_at_end) == (-0.4, True)
    assert GROUPED.groups["b"].equivalent == (0.125, 0.25)
    assert GROUPED.equivalent == (0.25,)
    with pytest.raises(ValueError, match=r"RateFit.rate: .*a at 0.5, b at 0.1"):
        GROUPED.rate  # noqa: B018
    said = str(GROUPED)
    assert "a: 0.5 (not told from it: none; it is at an end of the" in said
    assert "cannot be told from them: 0.25" in said


def test_a_file_of_version_1_is_read():
    content = json.loads(FIT.to_json())
    content["version"] = 1
    for name in ("groups", "num_sweeps", "has_converged"):
        del content["config"][name]
    assert kerasdrop.RateFit.from_json(json.dumps(content)) == FIT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "up to version 2.*version=3"),
        ({"version": 1}, "attributes of a RateFit"),
        ({"format": "other"}, "format 'kerasdrop.rate_fit'"),
        ({"config": {}}, "attributes of a RateFit"),
        ({"config": {"gain": float("nan")}}, "finite numbers"),
        ({"config": {"scores": [1.0]}}, r"columns of \[1, 3, 3, 3\]"),
        ({"config": {"grid": [0.1, "a", 0.3]}}, "each rate must be"),
        ({"config": {"rates": [0.25]}}, "a dict of rates"),
        ({"config": {"scores": 1.0}}, "lists of numbers"),
        ({"config": {"grid": [None, 0.25, 0.5]}}, "each rate must be"),
        ({"config": {"shortfalls": [1.0, 1.0, 1.0]}}, "shortfall of 0"),
        ({"config": {"groups": [1]}}, r"a dict of curves.*groups=\(1,\)"),
        ({"config": {"groups": {"a": {}}}}, "a RateCurve of group 'a'"),
        ({"config": {"groups": {"a": CURVE | {"scores": []}}}}, "of group 'a'"),
    ],
)
def test_another_text_is_refused(changes, message):
    content = json.loads(FIT.to_json())
    config = changes.pop("config", content["config"])
    content.update(changes)
    content["config"] = {**content["config"], **config} if config else config
    with pytest.raises(ValueError, match=f"(?s)RateFit.from_json: .*{message}"):
        kerasdrop.RateFit.from_json(json.dumps(content))
    with pytest.raises(ValueError, match="JSON that `to_json` wrote"):
        kerasdrop.RateFit.from_json("{")


def test_its_rates_are_set_in_a_model():
    model = model_of(kerasdrop.layers.Dropout(0.5, name="drop"))
    FIT.apply(model)
    assert kerasdrop.get_rates(model) == {"drop": 0.25}


def test_they_are_refused_by_a_stock_layer():
    model = model_of(layers.Dropout(0.5, name="drop"))
    with pytest.raises(ValueError, match="convert_dropout"):
        FIT.apply(model)

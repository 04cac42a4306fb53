"""The script that times a whole call runs, and judges by its bars."""

import json

from tests.support.scripts import module_of
from tests.support.scripts import run


def test_a_try_of_the_script(tmp_path):
    path = tmp_path / "call_cost.json"
    options = ("--cases", "few rows", "many rows", "--output", path)
    run("call_cost", "--quick", *options)
    report = json.loads(path.read_text())
    assert [row["case"] for row in report["rows"]] == ["few rows", "many rows"]
    assert all(row["ratio"] > 0.0 for row in report["rows"])
    assert len(report["bars"]) == 2
    assert "few rows, time" in module_of("call_cost").tables([report])


def test_a_time_is_to_be_short_and_a_rate_high():
    script = module_of("call_cost")

    def holds(name, ratio):
        measure = script.CASES[name].measure
        row = {
            "case": name,
            "measure": measure,
            "beside": "one",
            "ratio": ratio,
        }
        (bar,) = script.bars([row])
        return bar["holds"]

    assert holds("few rows", 0.1)
    assert not holds("few rows", 100.0)
    assert holds("many rows", 100.0)
    assert not holds("many rows", 0.1)


def test_a_wide_network_is_beside_a_prediction_and_its_products():
    ours, others = module_of("call_cost").functions_of(
        module_of("call_cost").CASES["wide MLP"], rows=2
    )
    for function in (ours, *others):
        function()
    assert len(others) == 2

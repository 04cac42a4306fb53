"""The tables in docs/benchmarks/ are those of the committed results."""

import json

import pytest

from tests.support.scripts import BENCHMARKS
from tests.support.scripts import file_of
from tests.support.scripts import module_of


def of_one(name):
    """The results of a benchmark that runs on one backend."""
    (file,) = (BENCHMARKS / "results").glob(f"{name}_*.json")
    return json.loads(file.read_text())


def of_all(name):
    """Those of one that runs on each."""
    files = sorted((BENCHMARKS / "results").glob(f"{name}_*.json"))
    return [json.loads(file.read_text()) for file in files]


# The module that makes a script's tables, and what it makes them of.
TABLES = {
    "call_cost": ("call_cost", of_all),
    "co2": ("co2_tables", of_one),
    "concrete": ("concrete", of_one),
    "conversion": ("conversion", of_all),
    "fitted_rates": ("fitted_rates_tables", of_one),
    "fitting": ("fitting", of_all),
    "gal_uci": ("gal_tables", of_one),
    "hub_insertion": ("hub_insertion", of_all),
    "insertion": ("insertion", of_all),
    "masks": ("masks", of_all),
    "memory": ("memory", of_all),
    "montecarlo": ("montecarlo", of_all),
    "rows": ("rows", of_all),
    "shift": ("shift", of_one),
    "srivastava_mnist": ("srivastava_mnist", of_one),
    "training_step": ("training_step", of_all),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_docs_show_the_results(name):
    module, results = TABLES[name]
    shown = module_of("markdown").shown(file_of(name))

    assert shown == module_of(module).tables(results(name))

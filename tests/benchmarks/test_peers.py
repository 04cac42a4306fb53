"""The benchmarks beside others run, and what they compare with is right."""

import json

import keras
import numpy as np
import pytest

from tests.support.scripts import BENCHMARKS
from tests.support.scripts import file_of
from tests.support.scripts import module_of
from tests.support.scripts import run

BACKEND = keras.backend.backend()
on_torch = pytest.mark.skipif(
    BACKEND != "torch", reason="the peers run on PyTorch"
)


@on_torch
def test_peers_that_are_not_installed_are_left_out(tmp_path):
    contenders = module_of("contenders")
    path = tmp_path / "peers.json"
    run("peers", "--quick", "--parts", "times", "--output", path)
    times = json.loads(path.read_text())["times"]
    assert times["not installed"] == contenders.left_out()
    networks = set(module_of("peers").NETWORKS)
    assert {row["network"] for row in times["rows"]} == networks
    for row in times["rows"]:
        assert row["over kerasdrop"]["kerasdrop"] == 1.0
        assert {"Keras loop", "torch loop"} <= set(row["seconds"])
    for package in contenders.left_out():
        assert package in module_of("peers").tables({"times": times})


@on_torch
@pytest.mark.parametrize(
    ("fact", "contender", "expected"),
    [
        ("statistics_moved", "kerasdrop", "no"),
        ("statistics_moved", "Keras loop", "0."),
        ("statistics_moved", "torch loop", ""),
        ("is_left_alone", "kerasdrop", "yes"),
        ("is_left_alone", "torch loop", "no: outputs, weights or statistics"),
        ("is_reproducible", "kerasdrop", "yes"),
        ("is_free_of_the_batch", "kerasdrop", "yes"),
        ("is_free_of_the_batch", "torch loop", "no"),
    ],
)
def test_facts_are_found(fact, contender, expected):
    kind = module_of("contenders").CONTENDERS[contender]
    twin = module_of("twins").convnet()
    found = getattr(module_of("peer_facts"), fact)(kind, twin)
    assert found.startswith(expected)
    assert fact != "statistics_moved" or (found == "no") == (expected == "no")


@on_torch
def test_what_is_drawn_is_told_from_the_dropout_beside_it():
    facts = module_of("peer_facts")
    kinds = module_of("contenders").CONTENDERS
    kinds = {name: kinds[name] for name in ("kerasdrop", "torch loop")}

    def found(kind):
        make = facts.KINDS[kind]
        return facts.row("", "", kinds, facts.drawn, make)["found"]

    gaussian = found("`GaussianDropout`")
    # Keras before 3.15 warns once, of how it indexes.
    gaussian["kerasdrop"] = gaussian["kerasdrop"].partition(", warns: Using")[0]
    assert gaussian == {"kerasdrop": "yes", "torch loop": None}
    own = found("by a function, in a layer of one's own")
    assert own["torch loop"] == "yes"
    assert own["kerasdrop"].startswith("no, warns: ")


@on_torch
def test_the_docs_show_the_results():
    path = BENCHMARKS / "results" / "peers_torch.json"
    tables = module_of("peers").tables(json.loads(path.read_text()))
    assert tables in module_of("markdown").shown(file_of("peers"))


@on_torch
def test_the_exact_mean_is_that_of_many_samples():
    peers = module_of("peers")
    twins = module_of("twins")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    twin = twins.mlp(x, units=2, outputs=3, rate=0.3)
    exact = peers.enumerated(twin, 0.3)
    assert np.abs(exact - twin.outputs("model")).max() > 1e-3
    # Probabilities have a standard deviation of 0.5 at most: 6 of them, and
    # the mean of half a million samples.
    drawn = peers.reference(twin, 500_000)
    np.testing.assert_allclose(exact, drawn, rtol=0, atol=3 / 500_000**0.5)


@on_torch
def test_twins_that_differ_are_refused():
    twin = module_of("twins").mlp(np.ones((2, 4), "float32"), units=3)
    twin.module[0].bias.data += 1.0
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        twin.checked()


@pytest.mark.slow
def test_a_training_step_is_timed_with_each_kind_of_dropout(tmp_path):
    path = tmp_path / "step.json"
    mode = {"jax": "compiled", "tensorflow": "graph", "torch": "eager"}[BACKEND]
    options = ("--networks", "MLP", "--modes", mode, "--output", path)
    run("training_step", "--quick", *options)
    (row,) = json.loads(path.read_text())[mode]["rows"]
    assert row["network"] == "MLP"
    assert set(row["milliseconds"]) == {"none", "Keras", "ours"}


def test_the_networks_have_the_dropout_that_they_are_said_to():
    step = module_of("training_step")
    for make in step.NETWORKS.values():
        stock, _ = make(step.layers_of("Keras"))
        ours, _ = make(step.layers_of("ours"))
        none, _ = make(step.layers_of("none"))

        def names(model):
            return [type(one).__name__ for one in model.layers]

        assert names(stock) == names(ours)
        assert any("Dropout" in name for name in names(ours))
        assert not any("Dropout" in name for name in names(none))
        assert any(
            type(one).__module__.startswith("kerasdrop") for one in ours.layers
        )

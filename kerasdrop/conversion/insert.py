"""Puts dropout into a model that was built without it."""

from typing import NamedTuple

import keras

from kerasdrop import _checks
from kerasdrop._adapters import adapters
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import branches
from kerasdrop.conversion import comparing
from kerasdrop.conversion import copying
from kerasdrop.conversion import fitting
from kerasdrop.conversion import grafting
from kerasdrop.conversion import graphs
from kerasdrop.conversion import named
from kerasdrop.conversion import places
from kerasdrop.conversion import stages
from kerasdrop.conversion import trying
from kerasdrop.conversion import weight_files
from kerasdrop.conversion.places import Place
from kerasdrop.conversion.reports import InsertionReport
from kerasdrop.layers.base import StochasticLayer

_NAME = "insert_dropout"


class Insertion(NamedTuple):
    """A new model with dropout, and the report of where it was put.

    Attributes:
        model: The new `keras.Model`.
        report: An `InsertionReport`; printed, it is a table.

    Example:

    >>> plain = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)]
    ... )
    >>> insertion = kerasdrop.insert_dropout(plain, 0.1)
    >>> insertion.report.loads_weights
    True
    """

    model: keras.Model
    report: InsertionReport


def insert_dropout(
    model: keras.Model,
    rate: float | None = None,
    where: Given = "head",
    layer: Given = None,
    x: Structure = None,
) -> Insertion:
    """A copy of a trained model with dropout in it, for Monte Carlo passes.

    Predictions stay the same, bit for bit in eager mode, because dropout
    passes its inputs on unchanged until something draws. `mc_predict` then
    shows how much the predictions depend on single units. A model that was
    trained without dropout did not learn to work without some of its units:
    start with a small rate, and evaluate the uncertainty on labelled rows.

    The new model has its own layers and a copy of all weights. The old layers
    keep their names and paths, shared layers stay shared, and `model` stays
    as it is. Existing dropout is kept and draws as well; the report lists it.
    `strip_dropout` removes all dropout again. The new model is not compiled.

    Args:
        model: A built functional or sequential model. A subclass that only
            builds a graph in its `__init__`, as in KerasHub, is copied as a
            plain `keras.Model`, without the other methods of its class.
        rate: Float in [0, 1], the probability of dropping a unit. None stands
            for 0.2 with `"head"`, and for 0.02 with `"blocks"` and
            `"stages"`, where whole channels are dropped in many places.
        where: Which places:

            - `"head"`: before the last layer with a kernel on which an output
              depends. Any number of samples then costs about one prediction.
              In a model without a top (features), it is after the output.
              Each output has its own dropout layer.
            - `"blocks"`: on the branches of residual blocks, before each sum
              that lies on every path through the graph; before concatenations,
              on the new features. Nested models are included.
            - `"stages"`: at the end of each stage, where the size of images or
              sequences decreases next, after an activation, a sum or a
              concatenation. Nested models are included.

            - A path, a name or a pattern, a layer, a function of a layer, or
              a list of these, as for `layers` of `set_rates`: after the outputs
              of these layers, at each of their calls. Layers that are not in
              a graph, but inside a layer or a subclassed model, cannot be
              named.

            No layer is added where a dropout layer already exists.
        layer: The dropout layer to insert. None chooses it by the tensor:
            `Dropout` for vectors, `LockedDropout` for sequences, and
            `SpatialDropout2D` or `3D` for images and volumes. Otherwise a
            class, which is called with `rate`, `name` and `dtype`; or a
            function of the preceding layer that returns a class or a new
            layer.
        x: Inputs of a few rows, as in `convert_dropout`. They are needed only
            if there are layers of classes from outside Keras, whose copies
            are compared, and these accept none of the generated inputs.

    Returns:
        An `Insertion`, a named tuple of

        - `model`: the new model;
        - `report`: an `InsertionReport`, which tells what was inserted, which
          dropout existed before, and whether the new model can load the
          `.weights.h5` file of the old one. Printed, it is a table.

    Raises:
        ValueError: If no place is found (the message lists the layers of the
            model); if nothing can be dropped there (integers); if `layer`
            would change predictions or does not draw; if the rate is not in
            [0, 1]; or if the model is not built, has no graph, or has a layer
            that cannot be rebuilt from its configuration or has other
            predictions after that.
        TypeError: If `model` is not a `keras.Model`, or `where` is none of
            the above.

    Example:

    >>> trained = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         keras.layers.Dense(8, activation="relu", name="hidden"),
    ...         keras.layers.Dense(2, activation="softmax", name="top"),
    ...     ]
    ... )
    >>> model, report = kerasdrop.insert_dropout(trained, 0.1)
    >>> list(report.inserted)
    ['hidden_dropout']
    >>> x = np.ones((3, 4), "float32")
    >>> kerasdrop.mc_predict(model, x, verbose=0).mutual_information.shape
    (3,)
    """
    copying.check_copyable(
        model,
        _NAME,
        "Put `kerasdrop.layers.Dropout(rate)` into its `call`; it has no "
        "weights, so checkpoints load as they are.",
        lambda given: keras_graph.graph_of(given) is not None,
    )
    with blame(_NAME):
        rate = _rate_of(rate, where)
        found = _places(model, where)
        planned, inserted = _plan(model, found, rate, layer)
        trial = trying.Trial(model, x)
        new_model, pairs = copying.copy_model(
            model, lambda *_: None, planned, trial=trial
        )
        comparing.predictions(trial, new_model, pairs)
    report = InsertionReport(
        inserted={p: text for p, text, place in inserted if text},
        identities={
            path: f"behind '{_behind(place)}', which keeps the layers in order"
            for path, text, place in inserted
            if not text
        },
        kept=_kept(model),
        why_not_loaded=weight_files.why_not_loaded(pairs),
    )
    return Insertion(new_model, report)


_FINDERS = {
    "head": places.head,
    "blocks": branches.blocks,
    "stages": stages.stages,
}
_RATES = {"head": 0.2, "blocks": 0.02, "stages": 0.02}


def _rate_of(rate: Given, where: Given) -> float:
    if rate is not None:
        return _checks.rate_to_set(rate)
    if isinstance(where, str) and where in _RATES:
        return _RATES[where]
    raise Refusal(
        "argument `rate` is missing; only "
        f"{', '.join(map(repr, _RATES))} have a rate of their own. Received: "
        f"rate=None, where={where!r}"
    )


def _places(model: keras.Model, where: Given) -> list[Place]:
    """Returns the places that `where` names, or raises."""
    try:
        if isinstance(where, str) and where in _FINDERS:
            found = _FINDERS[where](model)
        else:
            found = named.behind(model, where)
        free = [place for place in found if not places.is_dropped(place)]
        if not any(not place.is_identity for place in free):
            raise Refusal(_all_dropped(found))
        return free
    except Refusal as refusal:
        listed = [
            entry
            for graph in graphs.graphs_in(model)
            for entry in graph.layers()
        ]
        raise Refusal(
            f"where={where!r} finds no place in model '{model.name}': "
            f"{refusal}. Its layers:\n{model_tree.listing(listed)}"
        ) from None


def _all_dropped(found: list[Place]) -> str:
    behind = [f"'{_behind(one)}'" for one in found if not one.is_identity]
    return (
        f"there is dropout at each of them, at {', '.join(behind[:5])}. "
        "`mc_predict` draws it without any change; `convert_dropout` gives it "
        "a rate that `set_rates` sets"
    )


def _plan(
    model: keras.Model, found: list[Place], rate: float, layer: Given
) -> Given:
    """Makes the new layers for the places.

    Returns:
        The `grafts` of `copying.copy_model`, and a list of (path of a new
        layer, its text in the report or None for an identity, its place).
    """
    planned = _to_be_opened(model)
    names: dict[int, set[str]] = {}
    inserted = []
    made = set()
    for place in found:
        for owner in place.graph.owners:
            planned.setdefault(id(owner), [])
        owner = place.graph.owner
        taken = names.setdefault(id(owner), _names_in(place))
        ending = "identity" if place.is_identity else "dropout"
        name = _unused(f"{_behind(place)}_{ending}", taken)
        new = fitting.layer_at(place, rate, layer, name)
        if id(new) in made or (new.name in taken):
            raise Refusal(
                "argument `layer` must return a new layer at each call, with a "
                f"name that no other layer has. Received: {new!r} for the "
                f"place behind '{_behind(place)}'"
            )
        made.add(id(new))
        taken.add(new.name)
        planned[id(owner)].append(
            grafting.Graft(new, place.tensor, place.users)
        )
        text = None if place.is_identity else _describe(new, place)
        inserted.append((place.graph.path_of(new), text, place))
    return planned, inserted


def _to_be_opened(
    model: keras.Model,
) -> dict[int, list[grafting.Graft]]:
    """The models that are copied layer by layer in any case.

    These are the whole model, and models with a layer that another graph calls,
    too, like the embeddings of a backbone in the head of a language model.
    """
    opened: dict[int, list[grafting.Graft]] = {id(model): []}
    callers: dict[int, list[graphs.OpenGraph]] = {}
    for graph in graphs.graphs_in(model):
        for operation in {node.operation for node in graph.nodes}:
            callers.setdefault(id(operation), []).append(graph)
    for found in callers.values():
        for graph in found if len(found) > 1 else ():
            for owner in graph.owners:
                opened.setdefault(id(owner), [])
    return opened


def _names_in(place: Place) -> set[str]:
    graph = place.graph
    called = {node.operation.name for node in graph.nodes}
    return called | {layer.name for layer in graph.graph.layers}


def _unused(name: str, taken: set[str]) -> str:
    number = 0
    unused = name
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    return unused


def _behind(place: Place) -> str:
    return place.graph.operation_behind(place.tensor).name


def _describe(layer: keras.layers.Layer, place: Place) -> str:
    """Like "kerasdrop.layers.Dropout(0.2) behind 'pool', before 'logits'"."""
    name = model_tree.class_name(layer)
    if isinstance(layer, StochasticLayer):
        name = f"kerasdrop.layers.{type(layer).__name__}"
    rate = getattr(layer, "rate", None)
    if rate is not None:
        name += f"({rate:g})"
    users = [
        f"'{node.operation.name}'" if node is not None else "the output"
        for node in place.users
    ]
    listed = ", ".join(users[:3]) + (", …" if len(users) > 3 else "")
    return f"{name} behind '{_behind(place)}', before {listed}"


def _kept(model: keras.Model) -> dict[str, str]:
    """Dict of the layers that already draw, from path to class and rate.

    A Keras layer at rate 0 never draws. A layer of this package at rate 0 may
    get another rate.
    """
    kept = {}
    paths = {id(layer): path for path, layer in model_tree.walk(model)}
    for layer in survey.of(model).drawable:
        draws = adapters.rate_of(layer) > 0.0
        if not draws and not isinstance(layer, StochasticLayer):
            continue
        name = model_tree.class_name(layer)
        if hasattr(layer, "rate"):
            name += f"({layer.rate:g})"
        what = "draws as well" if draws else "draws nothing at this rate"
        kept[paths[id(layer)]] = f"{name} was there, and {what}"
    return kept

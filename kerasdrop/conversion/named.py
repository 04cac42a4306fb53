"""Places behind the layers that a user names."""

import keras

from kerasdrop._refusals import TypeRefusal
from kerasdrop._structure import selection
from kerasdrop._types import Found
from kerasdrop._types import Given
from kerasdrop.conversion import graphs
from kerasdrop.conversion.places import Place


def behind(model: keras.Model, where: Given) -> list[Place]:
    """Behind the outputs of the layers that are selected, at each call.

    Args:
        model: The model.
        where: As `layers` of `set_rates`. A layer stands for itself alone,
            also if it is a model.

    Raises:
        Refusal: If no layer is selected.
        TypeRefusal: If `where` is nothing that selects.
    """
    found = {
        path: (graph, layer)
        for graph in graphs.graphs_in(model)
        for path, layer in graph.layers()
        if not (graph.path and isinstance(layer, keras.layers.InputLayer))
    }
    candidates = [(path, layer) for path, (_, layer) in found.items()]
    is_list = isinstance(where, (list, tuple))
    selectors = [
        path
        for each in (where if is_list else [where])
        for path in _selectors(each, candidates)
    ]
    selected = selection.selected(model, candidates, selectors, "layer")
    places = []
    for graph, layer in (found[path] for path, _ in selected):
        made = [x for node in graph.nodes for x in node.outputs]
        for x in graphs.distinct([*graph.graph.inputs, *made]):
            users = graph.users(x)
            if users and graph.operation_behind(x) is layer:
                places.append(Place(graph, x, users))
    return places


def _selectors(each: Given, candidates: Found) -> list[Given]:
    """What selects the same; a layer by its paths, without what is in it."""
    if isinstance(each, keras.layers.Layer):
        paths = [path for path, layer in candidates if layer is each]
        return paths or [each]
    if isinstance(each, str) or callable(each):
        return [each]
    raise TypeRefusal(
        'argument `where` must be "head", "blocks", "stages", a path, a name, '
        "a pattern, a layer, a function of a layer, or a list of these. "
        f"Received: where={each!r} (of type {type(each).__name__})"
    )

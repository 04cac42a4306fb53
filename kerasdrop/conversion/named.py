"""Places after the layers that a user names."""

import keras

from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
from kerasdrop._structure import selection
from kerasdrop._types import Found
from kerasdrop._types import Given
from kerasdrop.conversion import graphs
from kerasdrop.conversion.places import Place


def behind(model: keras.Model, where: Given) -> list[Place]:
    """The places after the outputs of selected layers, at each call.

    Args:
        model: The model.
        where: As `layers` of `set_rates`, but a model stands only for itself.

    Raises:
        Refusal: If no layer is selected.
        TypeRefusal: If `where` has a wrong type.
    """
    found = {
        path: (graph, layer)
        for graph in graphs.graphs_in(model)
        for path, layer in graph.layers()
        if not (graph.path and isinstance(layer, keras.layers.InputLayer))
    }
    candidates = [(path, layer) for path, (_, layer) in found.items()]
    listed = where if isinstance(where, (list, tuple)) else [where]
    if not listed:
        raise Refusal("the list is empty")
    chosen = {
        path for each in listed for path in _paths(model, candidates, each)
    }
    places = []
    for graph, layer in (found[path] for path in found if path in chosen):
        made = [x for node in graph.nodes for x in node.outputs]
        for x in graphs.distinct([*graph.graph.inputs, *made]):
            users = graph.users(x)
            if users and graph.operation_behind(x) is layer:
                places.append(Place(graph, x, users))
    return places


def _paths(model: keras.Model, candidates: Found, selector: Given) -> list[str]:
    """The paths of the candidates that a single selector names."""
    is_layer = isinstance(selector, keras.layers.Layer)
    if not (is_layer or isinstance(selector, str) or callable(selector)):
        raise TypeRefusal(
            'argument `where` must be "head", "blocks", "stages", a path, a '
            "name, a pattern, a layer, a function of a layer, or a list of "
            f"these. Received: where={selector!r} (of type "
            f"{type(selector).__name__})"
        )
    if is_layer:
        # The layer itself, not the layers inside it.
        paths = [path for path, layer in candidates if layer is selector]
        if paths:
            return paths
        raise Refusal(
            f"'{selector.name}' is not called in the graph of the model or of "
            "an inner model"
        )
    try:
        found = selection.selected(model, candidates, selector)
    except Refusal:
        raise Refusal(
            f"{selector!r} names no layer that is called in the graph of the "
            "model or of an inner model"
        ) from None
    return [path for path, _ in found]

"""Decides which calls of a graph run once, and which for each sample.

The calls before any layer that draws run once: they are the prefix. Where a
result of the prefix meets a drawn result, it is folded: each row is repeated
once for each sample. Folding needs an axis that is the batch. A result that
contains the batch in another way (several entries for each row after a
`reshape`) is computed again from folded tensors, as far back as necessary.
"""

import dataclasses
import weakref

import keras
from keras import tree

from kerasdrop import _refusals
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.montecarlo.splitting import batch_axis
from kerasdrop.montecarlo.splitting.batch_axis import ROWS


@dataclasses.dataclass
class Step:
    """How one call of a graph is handled.

    Attributes:
        node: The call.
        reference: A weak reference to it: see `_parts`.
        words: The operation's name in messages.
        layouts: Dict from the id of a tensor in the same graph to its `Layout`.
        is_once: Whether the call is made in the prefix.
        is_repeated: Whether it is made for each sample.
        minds_context: Whether it must be told that this is not training.
        is_believed: Whether the layer did not tell its output shape, so that
            the place of the batch is an assumption.
        begins: Whether it draws and none of its inputs was drawn.
        inside: None, or the `Part` of an inner graph that draws. A call that
            enters such a graph with plain tensors belongs to both the prefix
            and the rest.
        mask_axes: If `inside` is set, the axis to repeat along for each mask of
            the inputs.
        done_once: Ids of the tensors that the prefix no longer needs after this
            step.
        done_repeated: Ids of the tensors that the rest no longer needs after
            this step.
    """

    reference: Given
    words: str
    layouts: dict[Given, Given]
    is_once: bool = False
    is_repeated: bool = False
    minds_context: bool = False
    is_believed: bool = False
    begins: bool = False
    inside: Given = None
    mask_axes: tuple[Given, ...] = ()
    done_once: tuple[Given, ...] = ()
    done_repeated: tuple[Given, ...] = ()

    @property
    def node(self) -> Given:
        return self.reference()

    @property
    def is_split(self) -> bool:
        """Whether a graph is entered in the prefix and left in the rest."""
        return self.inside is not None and not self.is_repeated


@dataclasses.dataclass
class Part:
    """How the calls of one graph are handled.

    Attributes:
        graph: The graph.
        reference: A weak reference to it: see `_parts`.
        layouts: Its `batch_axis.Layouts`.
        steps: List of `Step`.
        drawn: Ids of the tensors that depend on a draw.
    """

    reference: Given
    layouts: Given
    steps: list[Given]
    drawn: set[Given]

    @property
    def graph(self) -> Given:
        return self.reference()


# The parts found so far for each graph, by what they depend on. They may refer
# to the graph and to its calls weakly only: a key whose value refers to it is
# never freed, and neither would be its model.
_layouts: Given = weakref.WeakKeyDictionary()
_parts: Given = weakref.WeakKeyDictionary()
# Graphs with a layer that moved the batch although it was assumed not to.
_distrusted: Given = weakref.WeakSet()


def of(model: keras.Model, shapes: list[Shape], stochastic: set[int]) -> Part:
    """Returns the `Part` of a model's graph, which is found once and kept.

    Args:
        model: A model with a graph.
        shapes: The shapes of its flat inputs without the axis of the batch;
            None for an input that is None.
        stochastic: Ids of all layers that draw or contain a layer that does.

    Raises:
        ValueError: If shapes and arguments show that samples cannot run side by
            side.
    """
    graph = keras_graph.graph_of(model)
    trusts = graph not in _distrusted
    key = tuple(shapes), trusts, frozenset(stochastic)
    parts = _parts.setdefault(graph, {})
    if key in parts:
        return parts[key]
    layouts = _layouts.setdefault(graph, {})
    try:
        if key[:2] not in layouts:
            layouts[key[:2]] = batch_axis.layouts(model, shapes, trusts)
        finder = _Finder(model, stochastic)
        parts[key] = finder.part(graph, layouts[key[:2]], False)
    except ValueError:
        # The assumption about a layer's output shape may have been wrong.
        if not distrust(model):
            raise
        return of(model, shapes, stochastic)
    return parts[key]


def distrust(model: keras.Model) -> bool:
    """Makes later calls try each layer that does not tell its output shape.

    Returns:
        Whether such layers were assumed to keep the batch in place before.
    """
    graph = keras_graph.graph_of(model)
    before = graph not in _distrusted
    _distrusted.add(graph)
    return before


class _Finder:
    def __init__(self, model: keras.Model, stochastic: set[int]) -> None:
        self._model = model
        self._stochastic = stochastic

    def part(
        self, graph: keras.Model, layouts: batch_axis.Layouts, is_drawn: bool
    ) -> Part:
        """The `Part` of a call of `graph` with inputs that may be drawn."""
        nodes = [
            node
            for node in keras_graph.nodes_of(graph)
            if id(node) in layouts.names
        ]
        forced: set[Given] = set()
        while True:
            drawn = set(map(id, graph.inputs)) if is_drawn else set()
            steps = [
                self._step(node, layouts, drawn, id(node) in forced)
                for node in nodes
            ]
            part = Part(weakref.ref(graph), layouts, steps, drawn)
            more = _repeat_unfoldable(part)
            if not more - forced:
                break
            forced |= more
        _skip_unused_calls(part)
        _set_last_uses(part)
        return part

    def _step(
        self,
        node: Given,
        layouts: batch_axis.Layouts,
        drawn: set[int],
        is_forced: bool,
    ) -> Step:
        around = {
            id(tensor): layouts.of[id(tensor)]
            for tensor in (*node.input_tensors, *node.outputs)
        }
        step = Step(weakref.ref(node), layouts.names[id(node)], around)
        step.minds_context = keras_graph.minds_context(node.operation)
        step.is_believed = id(node) in layouts.believed
        any_drawn = any(id(tensor) in drawn for tensor in node.input_tensors)
        draws = id(node.operation) in self._stochastic
        if draws and id(node) in layouts.inside:
            inside = layouts.inside[id(node)]
            graph = keras_graph.graph_of(node.operation)
            step.is_repeated = any_drawn or is_forced
            step.inside = self.part(graph, inside, step.is_repeated)
            step.mask_axes = _mask_axes(node, around)
            of_outputs = [
                id(tensor) in step.inside.drawn for tensor in graph.outputs
            ]
        else:
            step.is_repeated = draws or any_drawn
            step.begins = draws and not any_drawn
            of_outputs = [step.is_repeated] * len(node.outputs)
            if draws:
                self._check_draw(step)
        step.is_once = not step.is_repeated
        for tensor, is_drawn in zip(node.outputs, of_outputs):
            if is_drawn:
                drawn.add(id(tensor))
        return step

    def _check_draw(self, step: Step) -> None:
        operation, inputs = step.node.operation, step.node.input_tensors
        # A user's layer itself knows what it does to its inputs before it
        # draws.
        is_known = isinstance(operation, StochasticLayer) or type(
            operation
        ).__module__.startswith("keras.src.layers.")
        if not is_known or not inputs:
            return
        layout = step.layouts[id(inputs[0])]
        if layout != ROWS:
            raise _refusals.side_by_side(
                self._model,
                f"the first axis of what {step.words} gets is not the batch, "
                "while each row gets masks of its own, so that it must be "
                "known which row is which. Keep the batch as the first axis "
                "where units are dropped (reshape behind the layer, not "
                "before it)",
            )


def _mask_axes(
    node: Given, layouts: dict[int, batch_axis.Layout]
) -> tuple[int | None, ...]:
    """The batch axis, or None, of each mask of a call's inputs."""
    inputs, mask = keras_graph.inputs_and_mask(node, layouts)
    given = inputs if mask is None else mask
    return tuple(
        one.axis if isinstance(one, batch_axis.Layout) else None
        for one in tree.flatten(given)
    )


def _repeat_unfoldable(part: Part) -> set[Given]:
    """Marks the steps that must run again on folded tensors.

    Returns:
        Ids of the nodes that cannot run twice because they draw.
    """
    made_by = {id(t): step for step in part.steps for t in step.node.outputs}
    forced = set()
    # In reverse order, since a step marks steps before it.
    for step in reversed(part.steps):
        if not (step.is_repeated or step.is_split):
            continue
        for tensor in step.node.input_tensors:
            layout = step.layouts[id(tensor)]
            if id(tensor) in part.drawn or layout.spread is None:
                continue
            if step.is_split:
                forced.add(id(step.node))
            elif id(tensor) in made_by:
                maker = made_by[id(tensor)]
                if maker.is_split:
                    forced.add(id(maker.node))
                else:
                    maker.is_repeated = True
    return forced


def _skip_unused_calls(part: Part) -> None:
    """Skips plain calls whose results the repeated steps compute again."""
    needed = {id(tensor) for tensor in part.graph.outputs} - part.drawn
    for step in reversed(part.steps):
        if step.is_once and not step.is_split:
            step.is_once = any(id(t) in needed for t in step.node.outputs)
        for tensor in step.node.input_tensors:
            is_folded = step.is_repeated and (
                step.layouts[id(tensor)].spread is None
            )
            if step.is_once or is_folded:
                needed.add(id(tensor))


def _set_last_uses(part: Part) -> None:
    """Sets which results each step is the last to use, to free their memory."""
    repeated = [step for step in part.steps if step.is_repeated]
    kept = {id(tensor) for tensor in part.graph.outputs}
    in_rest = {
        id(tensor)
        for step in repeated
        for tensor in step.node.input_tensors
        if step.layouts[id(tensor)].spread is None
    }
    once = [step for step in part.steps if step.is_once]
    _last_uses(once, "done_once", kept | in_rest)
    _last_uses(part.steps, "done_repeated", kept)


def _last_uses(steps: list[Step], name: str, kept: set[int]) -> None:
    seen = set(kept)
    for step in reversed(steps):
        tensors = (*step.node.input_tensors, *step.node.outputs)
        last = {id(tensor) for tensor in tensors} - seen
        setattr(step, name, tuple(last))
        seen |= last

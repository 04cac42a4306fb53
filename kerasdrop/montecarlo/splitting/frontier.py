"""Which calls of a graph are made once, and which once for each sample.

Made once are the calls before any layer that draws: the prefix. Where a result
of it meets one that was drawn, it is folded, each row repeated once for each
sample. That can be done as long as an axis of it is the batch. A result that
has the batch in it in another way (several places for each row, after a
`reshape`) is made anew from folded tensors, as far back as need be.
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
    """What is done about one call of a graph.

    Attributes:
        node: The call.
        words: Its operation, as a message names it.
        layouts: Dict of the `Layout` of each tensor around it, by id.
        is_once: Whether the call is made in the prefix.
        is_repeated: Whether it is made for each sample.
        minds_context: Whether it has to be told that this is no training.
        is_believed: Whether the layer did not tell where the batch is.
        begins: Whether it draws, and nothing that it gets was drawn.
        inside: The `Part` of a graph that draws, which is entered; or None.
            The call of a graph that is entered with plain tensors belongs to
            the prefix as well as to the rest.
        mask_axes: Then, for each mask that goes in, the axis to repeat along.
        done_once: Ids of what the prefix does not need any more behind it.
        done_repeated: Ids of what the rest does not need any more behind it.
    """

    node: Given
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
    def is_split(self) -> bool:
        """Whether a graph is entered in the prefix, and left in the rest."""
        return self.inside is not None and not self.is_repeated


@dataclasses.dataclass
class Part:
    """What is done about the calls of one graph.

    Attributes:
        graph: The graph.
        layouts: Its `batch_axis.Layouts`.
        steps: List of `Step`.
        drawn: Ids of the tensors that depend on what was drawn.
    """

    graph: Given
    layouts: Given
    steps: list[Given]
    drawn: set[Given]


# Found once for each graph, by what it depends on.
_layouts: Given = weakref.WeakKeyDictionary()
_parts: Given = weakref.WeakKeyDictionary()
# Graphs with a layer that does not keep the batch where it was believed to be.
_distrusted: Given = weakref.WeakSet()


def of(model: keras.Model, shapes: list[Shape], stochastic: set[int]) -> Part:
    """The `Part` of a model's graph, from the second time on as it was found.

    Args:
        model: A model with a graph.
        shapes: The shapes of its flat inputs without the axis of the batch;
            None for an input that is None.
        stochastic: Ids of all layers that draw, or hold a layer that does.

    Raises:
        ValueError: If samples cannot be run side by side, as far as shapes
            and arguments tell.
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
        # Perhaps since a layer was believed what is not so.
        if not distrust(model):
            raise
        return of(model, shapes, stochastic)
    return parts[key]


def distrust(model: keras.Model) -> bool:
    """From now on tries each layer that does not tell its output shape.

    Returns:
        Whether they were believed before.
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
        """The `Part` of a call of `graph`, whose inputs were drawn or not."""
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
            part = Part(graph, layouts, steps, drawn)
            more = _repeat_what_cannot_be_folded(part)
            if not more - forced:
                break
            forced |= more
        _leave_out_what_nobody_needs(part)
        _let_go(part)
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
        step = Step(node, layouts.names[id(node)], around)
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
        # What a user's layer makes of its inputs before it draws, it knows.
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
    """For each mask of a call's inputs, the axis that is the batch, or None."""
    inputs, mask = keras_graph.inputs_and_mask(node, layouts)
    given = inputs if mask is None else mask
    return tuple(
        one.axis if isinstance(one, batch_axis.Layout) else None
        for one in tree.flatten(given)
    )


def _repeat_what_cannot_be_folded(part: Part) -> set[Given]:
    """Marks the steps that are to be made anew from folded tensors.

    Returns:
        Ids of nodes that cannot be made twice, since they draw.
    """
    made_by = {id(t): step for step in part.steps for t in step.node.outputs}
    forced = set()
    # From the last to the first: who is marked comes before who marks.
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


def _leave_out_what_nobody_needs(part: Part) -> None:
    """Plain results that only what is made anew was made of."""
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


def _let_go(part: Part) -> None:
    """Says for each step which results are not used behind it: memory."""
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

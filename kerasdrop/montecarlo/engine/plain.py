"""The statistics of plain predictions, as a pass has them of samples."""

from keras import ops
from keras import tree

from kerasdrop._adapters import asking
from kerasdrop._types import Given
from kerasdrop.masks.plans import SET_SIZE
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.engine.drawing import Drawing
from kerasdrop.montecarlo.engine.drawing import State
from kerasdrop.montecarlo.sampling import passes


def statistics(drawing: Drawing, batch: RowsOf) -> Given:
    """The statistics of weight scaling: what can draw is in inference.

    Args:
        drawing: A `Drawing`.
        batch: A `RowsOf`.
    """
    found = choices.whole(drawing.model)
    silent = [place.layer for place in found.places]
    with asking.asking_the_scope(drawing.model, {}, silent):
        outputs = drawing.model(batch.inputs, training=False)
    # Two equal samples: of a single one there is no variance.
    outputs = tree.map_structure(
        lambda output: ops.repeat(
            ops.expand_dims(passes.precise(output), 1), 2, axis=1
        ),
        outputs,
    )
    states = [
        summary.init(output, (0, 0), 2, SET_SIZE)
        for summary, output in zip(
            drawing.summaries_of(outputs, batch), tree.flatten(outputs)
        )
    ]
    skeleton = tree.map_structure(lambda _: ops.zeros(()), outputs)
    none = ops.zeros_like(batch.rows, dtype="bool")
    return drawing.finish(batch, State(skeleton, states, none))

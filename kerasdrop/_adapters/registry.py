"""The only table of facts about classes of layers.

There is a record for each class of Keras that matters. Classes without a public
name, or of an optional package, have their dotted names as keys. Layers of this
package carry the same facts as class attributes, and are read in the same way.
"""

import dataclasses
import sys
import weakref
from collections.abc import Iterable
from collections.abc import Iterator

import keras

from kerasdrop import layers
from kerasdrop._adapters import drawing
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper
from kerasdrop.layers.thinned_cells import RATES

# What a layer with a loop does at the steps of a sequence: it carries a state
# from step to step, or does the same at each.
RECURRENT, MAP = "recurrent", "map"
SAME_AXIS, LAST_AXIS = "same", "last"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known about a class of layers.

    Attributes:
        adapter: The `drawing.Adapter` by which its layers draw in a pass; None
            if they do not draw, or need no adapter.
        counterpart: The class of this package that can replace it; or None.
        says: How a report describes the change of training that the counterpart
            causes; "" if units are dropped as before.
        extends: The class of Keras that a class of this package extends by
            dropout inside its computation; or None.
        inner_rates: Tuple of the names, in the layer's configuration, of the
            rates at which it drops inside its own computation.
        drops_by_layer: Whether it uses a dropout layer of its own for that.
        is_by_unit: Whether each unit is dropped, or perturbed, separately.
        is_rescaled: Whether kept units are divided by the share of kept units,
            relative to the output at inference.
        is_identity: Whether it is the identity at inference.
        is_multiplicative: Whether f(c * x) = c * f(x) also holds while it
            draws.
        passes_factor: Function of a layer that returns "" if f(c * x) = c *
            f(x) for every c >= 0 at inference, or else the reason why not; None
            for a class for which it never holds. An identity needs no function.
        kernel: Name of the weight in which the outputs are linear, apart from a
            bias; or None.
        is_layer_inside: Whether its outputs at inference are those of its inner
            layer, the attribute `layer`.
        has_kernel_of_rows: Whether it makes a kernel of its inner layer for
            each row.
        wraps_code: Whether it runs code of users that it was made with.
        loop: `RECURRENT`, `MAP` or None.
        class_axis: Where a layer that moves or averages elements leaves an axis
            of classes: `SAME_AXIS`, `LAST_AXIS` if it was the last, or None for
            a layer that computes new numbers.
    """

    adapter: drawing.Adapter | None = None
    counterpart: type | None = None
    says: str = ""
    extends: type | None = None
    inner_rates: tuple[Given, ...] = ()
    drops_by_layer: bool = False
    is_by_unit: bool = False
    is_rescaled: bool = False
    is_identity: bool = False
    is_multiplicative: bool = False
    passes_factor: Function | None = None
    kernel: str | None = None
    is_layer_inside: bool = False
    has_kernel_of_rows: bool = False
    wraps_code: bool = False
    loop: str | None = None
    class_axis: str | None = None


def _always(layer: keras.layers.Layer) -> str:
    return ""


def _relu(layer: keras.layers.Layer) -> str:
    if layer.max_value is not None:
        return f"whose max_value={layer.max_value:g} is a bound on what comes"
    if layer.threshold:
        return f"whose threshold={layer.threshold:g} what comes is held against"
    return ""


def _activation(layer: keras.layers.Layer) -> str:
    scaling = (
        keras.activations.linear,
        keras.activations.relu,
        keras.activations.leaky_relu,
    )
    if layer.activation in scaling:
        return ""
    name = getattr(layer.activation, "__name__", repr(layer.activation))
    return f"whose function '{name}' is not known to scale with its inputs"


def _of_ranks(name: str) -> list[type]:
    """The classes of Keras with this name for 1, 2 and 3 dimensions."""
    found = (
        getattr(keras.layers, f"{name}{rank}D", None) for rank in (1, 2, 3)
    )
    return [cls for cls in found if cls is not None]


def _dropout(
    adapter: drawing.Adapter, counterpart: type | None, **facts: Given
) -> Facts:
    return Facts(adapter, counterpart, is_identity=True, **facts)


_BY_UNIT: Config = {"is_by_unit": True, "is_multiplicative": True}
_SPATIAL: Config = {
    "adapter": drawing.SPATIAL_DROPOUT,
    "is_rescaled": True,
    "is_multiplicative": True,
}
_CELL = Facts(drawing.CELL, inner_rates=RATES)


def _around_cell(counterpart: type) -> Facts:
    return Facts(counterpart=counterpart, inner_rates=RATES, loop=RECURRENT)


_ATTENTION = Facts(drawing.ATTENTION, inner_rates=RATES[:1])
_KERNEL = Facts(kernel="kernel")
_PASSES = Facts(passes_factor=_always)
_MOVES = Facts(passes_factor=_always, class_axis=LAST_AXIS)

_TABLE = {
    keras.layers.Dropout: _dropout(
        drawing.DROPOUT, layers.Dropout, is_rescaled=True, **_BY_UNIT
    ),
    keras.layers.SpatialDropout1D: _dropout(
        counterpart=layers.SpatialDropout1D, **_SPATIAL
    ),
    keras.layers.SpatialDropout2D: _dropout(
        counterpart=layers.SpatialDropout2D, **_SPATIAL
    ),
    keras.layers.SpatialDropout3D: _dropout(
        counterpart=layers.SpatialDropout3D, **_SPATIAL
    ),
    keras.layers.AlphaDropout: _dropout(
        drawing.ALPHA_DROPOUT, layers.AlphaDropout, is_by_unit=True
    ),
    keras.layers.GaussianDropout: _dropout(
        drawing.GAUSSIAN_DROPOUT, layers.GaussianDropout, **_BY_UNIT
    ),
    keras.layers.GaussianNoise: _dropout(
        drawing.GAUSSIAN_NOISE, None, is_by_unit=True
    ),
    keras.layers.Attention: _ATTENTION,
    keras.layers.AdditiveAttention: _ATTENTION,
    keras.layers.MultiHeadAttention: Facts(
        counterpart=layers.MultiHeadAttention,
        inner_rates=RATES[:1],
        drops_by_layer=True,
    ),
    keras.layers.GroupQueryAttention: Facts(
        counterpart=layers.GroupQueryAttention,
        inner_rates=RATES[:1],
        drops_by_layer=True,
    ),
    keras.layers.LSTMCell: _CELL,
    keras.layers.GRUCell: _CELL,
    keras.layers.SimpleRNNCell: _CELL,
    model_tree.CONV_LSTM_CELL: _CELL,
    keras.layers.LSTM: _around_cell(layers.LSTM),
    keras.layers.GRU: _around_cell(layers.GRU),
    keras.layers.SimpleRNN: _around_cell(layers.SimpleRNN),
    keras.layers.ConvLSTM1D: _around_cell(layers.ConvLSTM1D),
    keras.layers.ConvLSTM2D: _around_cell(layers.ConvLSTM2D),
    keras.layers.ConvLSTM3D: _around_cell(layers.ConvLSTM3D),
    keras.layers.RNN: Facts(counterpart=layers.RNN, loop=RECURRENT),
    keras.layers.Bidirectional: Facts(loop=RECURRENT),
    keras.layers.TimeDistributed: Facts(loop=MAP, is_layer_inside=True),
    keras.layers.Dense: _KERNEL,
    keras.layers.EinsumDense: _KERNEL,
    **dict.fromkeys(
        (
            *_of_ranks("Conv"),
            *(getattr(keras.layers, f"Conv{n}DTranspose") for n in (1, 2, 3)),
            *_of_ranks("DepthwiseConv"),
        ),
        _KERNEL,
    ),
    **dict.fromkeys(
        _of_ranks("SeparableConv"), Facts(kernel="depthwise_kernel")
    ),
    **dict.fromkeys(
        (
            keras.layers.Lambda,
            keras.layers.TorchModuleWrapper,
            keras.layers.JaxLayer,
            keras.layers.TFSMLayer,
        ),
        Facts(wraps_code=True),
    ),
    keras.layers.Identity: Facts(
        is_identity=True, is_multiplicative=True, class_axis=SAME_AXIS
    ),
    keras.layers.ActivityRegularization: Facts(class_axis=SAME_AXIS),
    keras.layers.Average: Facts(class_axis=SAME_AXIS),
    keras.layers.Flatten: _MOVES,
    keras.layers.Reshape: _MOVES,
    keras.layers.Permute: _PASSES,
    keras.layers.RepeatVector: _MOVES,
    **dict.fromkeys(
        _of_ranks("Cropping"),
        Facts(passes_factor=_always, class_axis=SAME_AXIS),
    ),
    **dict.fromkeys(
        (*_of_ranks("AveragePooling"), *_of_ranks("GlobalAveragePooling")),
        _MOVES,
    ),
    **dict.fromkeys(
        (
            cls
            for name in (
                *("ZeroPadding", "UpSampling"),
                *("MaxPooling", "GlobalMaxPooling"),
                *("AdaptiveAveragePooling", "AdaptiveMaxPooling"),
            )
            for cls in _of_ranks(name)
        ),
        _PASSES,
    ),
    keras.layers.ReLU: Facts(passes_factor=_relu),
    keras.layers.LeakyReLU: _PASSES,
    keras.layers.PReLU: _PASSES,
    keras.layers.Activation: Facts(passes_factor=_activation),
}

# Classes without a public name, or of an optional package.
_DROP_PATH = Facts(
    drawing.DROP_PATH,
    layers.DropPath,
    is_identity=True,
    is_multiplicative=True,
)
_DROPS_NO_PATH = dataclasses.replace(
    _DROP_PATH,
    says=(
        "it never dropped a row in training, but multiplied each by a random "
        "factor of mean (1.5 - rate) / (1 - rate); now rows are dropped"
    ),
)
_BY_NAME = {
    "keras.src.applications.convnext.StochasticDepth": _DROP_PATH,
    "keras_hub.src.models.dinov2.dinov2_layers.DINOV2DropPath": _DROPS_NO_PATH,
    "keras_hub.src.models.dinov3.dinov3_layers.DINOV3DropPath": _DROPS_NO_PATH,
    "keras_hub.src.models.mit.mit_layers.DropPath": _DROP_PATH,
    "keras_hub.src.models.mobilenetv5.mobilenetv5_layers.DropPath": _DROP_PATH,
    "keras_hub.src.models.swin_transformer.swin_transformer_layers"
    ".DropPath": _DROP_PATH,
}
_MODULES = {name.rpartition(".")[0] for name in _BY_NAME}

# From `register_stochastic`, by exact class, since a subclass may do anything.
_REGISTERED: dict[Given, Given] = {}


def _of_ours(cls: Given) -> Facts:
    """The facts of a class of this package, from its attributes."""
    if not issubclass(cls, StochasticLayer):
        return Facts(extends=cls._extends, loop=nearest_facts(cls).loop)
    return Facts(
        is_by_unit=cls._is_by_unit,
        is_rescaled=cls._is_rescaled,
        is_multiplicative=cls._is_multiplicative,
        passes_factor=None if issubclass(cls, StochasticWrapper) else _always,
        is_layer_inside=cls._is_layer_inside,
        has_kernel_of_rows=cls._has_kernel_of_rows,
    )


def facts_of(cls: type) -> Facts | None:
    """The `Facts` of exactly this class, or None."""
    if cls in _TABLE:
        return _TABLE[cls]
    # Each prediction asks this for all layers of a model.
    if cls.__module__ in _MODULES:
        return _BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")
    return _OURS.get(cls)


def classes_with_counterpart() -> list[type]:
    """The classes from elsewhere that a layer of this package can replace."""
    return [cls for cls, facts in _loaded() if facts.counterpart]


def _loaded() -> Iterator[tuple[type, Facts]]:
    """Yields all records, except those of classes that are not imported."""
    yield from _TABLE.items()
    for name, facts in _BY_NAME.items():
        module, _, cls = name.rpartition(".")
        if hasattr(sys.modules.get(module), cls):
            yield getattr(sys.modules[module], cls), facts


def inner_rates() -> dict[type, tuple[str, ...]]:
    """The names of the rates at which classes of Keras drop in their calls."""
    return {
        cls: facts.inner_rates
        for cls, facts in _TABLE.items()
        if facts.inner_rates
    }


def removable_classes() -> list[type]:
    """The classes from elsewhere that draw in training and else do nothing."""
    return [
        cls
        for cls, facts in _loaded()
        if facts.is_identity and facts.adapter is not None
    ]


def nearest(cls: type) -> type | None:
    """The first class with known facts among `cls` and its parents."""
    # All layers of a model are asked in each prediction.
    if cls not in _nearest:
        found = (one for one in cls.__mro__ if facts_of(one) is not None)
        _nearest[cls] = next(found, None)
    return _nearest[cls]


_nearest: Given = weakref.WeakKeyDictionary()


def nearest_facts(cls: type) -> Facts:
    """The facts of that class, or empty facts if there is none."""
    found = nearest(cls)
    return (facts_of(found) if found is not None else None) or NOTHING


NOTHING = Facts()
_OURS = {}
for _name in layers.__all__:
    _OURS[getattr(layers, _name)] = _of_ours(getattr(layers, _name))
# Meanwhile some of ours were not known.
_nearest.clear()


def register(cls: type, adapter: drawing.Adapter) -> None:
    """Stores how the layers of a user's class draw."""
    global _drawing_classes
    _REGISTERED[cls] = adapter
    # Another thread may be filling the old cache.
    _drawing_classes = weakref.WeakKeyDictionary()


def is_registered(cls: type) -> bool:
    """Whether `register_stochastic` was called for exactly this class."""
    return cls in _REGISTERED


def adapter_of_class(cls: type) -> Given:
    """The adapter of exactly this class, or None."""
    if cls in _REGISTERED:
        return _REGISTERED[cls]
    facts = facts_of(cls)
    return None if facts is None else facts.adapter


def drawing_class(cls: type) -> type | None:
    """The class that determines how layers of `cls` draw, or None.

    A subclass of a stock class draws like the stock class. A subclass of a
    registered class, or of a class of this package, counts on its own.
    """
    known = _drawing_classes
    if cls not in known:
        known[cls] = _looked_up(cls)
    return known[cls]


# Each prediction asks this several times for all layers of a model. Only the
# registered classes can change.
_drawing_classes: Given = weakref.WeakKeyDictionary()


def _looked_up(cls: type) -> type | None:
    if cls in _REGISTERED:
        return cls
    if issubclass(cls, StochasticLayer):
        return None
    for one in cls.__mro__:
        if one not in _REGISTERED and adapter_of_class(one) is not None:
            return one
    return None


def is_cell(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is a cell of Keras with rates, or of a subclass."""
    return nearest_facts(type(layer)).adapter is drawing.CELL


def is_around_cell(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is a recurrent layer of Keras that makes its own cell."""
    facts = nearest_facts(type(layer))
    return facts.loop == RECURRENT and bool(facts.inner_rates)


def cells_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The cells of a recurrent layer, including each cell of a stack."""
    return cells_in(layer.cell)


def cells_in(cell: Given) -> list[keras.layers.Layer]:
    """A list of the cell, or of the cells in a list or a stack."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        cell = cell.cells
    return list(cell) if isinstance(cell, (list, tuple)) else [cell]


def rates_of_cells(cells: list[keras.layers.Layer]) -> list[float]:
    """The rates of cells of Keras; empty if any cell is from elsewhere."""
    if any(facts_of(type(cell)) is not _CELL for cell in cells):
        return []
    return [getattr(cell, name) for cell in cells for name in RATES]


def thinned_cells(layers: Iterable[keras.layers.Layer]) -> set[int]:
    """The ids of the cells whose masks the layer around them makes."""
    return {
        id(cell)
        for layer in layers
        if isinstance(layer, keras.layers.RNN)
        and nearest_facts(type(layer)).extends
        for cell in cells_of(layer)
    }


def rates_inside(layer: keras.layers.Layer) -> list[float] | None:
    """The rates at which a layer of Keras drops in its own computation.

    The result is None if the class of the layer cannot drop. An `RNN` has the
    rates of its cells, or an empty list if any cell is not Keras'.
    """
    if type(layer) is keras.layers.RNN:
        return rates_of_cells(cells_of(layer))
    names = (facts_of(type(layer)) or NOTHING).inner_rates
    return [getattr(layer, name) for name in names] if names else None


def left_out_of_config(layer: keras.layers.Layer) -> Config:
    """Arguments that Keras leaves out of the configuration of a layer."""
    if not is_around_cell(layer):
        return {}
    found = {}
    if hasattr(layer, "use_cudnn"):
        found["use_cudnn"] = layer.use_cudnn
    # If the state is dropped, Keras itself chose the implementation.
    if hasattr(layer.cell, "implementation") and not layer.recurrent_dropout:
        found["implementation"] = layer.cell.implementation
    return found


def loop_of(layer: keras.layers.Layer) -> str | None:
    """`RECURRENT`, `MAP`, or None for a layer without a loop over steps."""
    return nearest_facts(type(layer)).loop


def is_attention_without_dropout(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a Keras attention, or a subclass, with rate 0.

    Keras still makes a dropout layer for it, but does not call it.
    """
    facts = nearest_facts(type(layer))
    return facts.drops_by_layer and layer.dropout == 0.0


def is_attention_with_dropout(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a Keras attention, or a subclass, with a rate."""
    facts = nearest_facts(type(layer))
    return facts.drops_by_layer and layer.dropout > 0.0


def is_stock_dropout(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is a dropout layer of Keras, or of a subclass of one.

    Drop path layers of KerasHub count, too.
    """
    facts = nearest_facts(type(layer))
    return facts.is_identity and facts.counterpart is not None


def is_noise(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is of a dropout or noise class of Keras, or a subclass.

    Layers of this package that contain one count, too.
    """
    found = (_TABLE.get(cls, NOTHING) for cls in type(layer).__mro__)
    return any(one.is_identity and one.adapter is not None for one in found)


def drops_in_its_call(layer: keras.layers.Layer) -> bool:
    """Whether `layer` drops at rates of its own, without a dropout layer.

    Subclasses count, too.
    """
    facts = nearest_facts(type(layer))
    return bool(facts.inner_rates) and not facts.drops_by_layer


def why_no_factor_passes(operation: keras.layers.Layer, draws: bool) -> str:
    """Why f(c * x) = c * f(x) does not hold for every c >= 0; "" if it does.

    Args:
        operation: A layer or an operation of `keras.ops`.
        draws: Whether it is called so that it draws if it can.
    """
    facts = facts_of(type(operation)) or NOTHING
    if not (facts.is_identity or facts.passes_factor):
        return "through which no factor passes"
    can_draw = facts.adapter or isinstance(operation, StochasticLayer)
    if draws and can_draw and not facts.is_multiplicative:
        return "which draws, and then adds to what comes"
    return facts.passes_factor(operation) if facts.passes_factor else ""

"""Replaces the stock dropout layers of a model by ours."""

from typing import NamedTuple

import keras

from kerasdrop._adapters import adapters
from kerasdrop._adapters import making
from kerasdrop._adapters import registry
from kerasdrop._refusals import blame
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import comparing
from kerasdrop.conversion import copying
from kerasdrop.conversion import counterparts
from kerasdrop.conversion import graphs
from kerasdrop.conversion import trying
from kerasdrop.conversion.reports import ConversionReport
from kerasdrop.layers.base import StochasticLayer

_NAME = "convert_dropout"


class Conversion(NamedTuple):
    """A new model, and the report of what was converted and what was not.

    Attributes:
        model: The new `keras.Model`.
        report: A `ConversionReport`; printed, it is a table.

    Example:

    >>> stock = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dropout(0.5, name="drop")]
    ... )
    >>> conversion = kerasdrop.convert_dropout(stock)
    >>> kerasdrop.get_rates(conversion.model)
    {'drop': 0.5}
    """

    model: keras.Model
    report: ConversionReport


def convert_dropout(model: keras.Model, x: Structure = None) -> Conversion:
    """A copy of a model with our layers in place of stock dropout layers.

    Every `keras.layers.Dropout` becomes a `kerasdrop.layers.Dropout` with the
    same rate, noise shape, seed, name and dtype policy. The same holds for
    `SpatialDropout1D`, `2D` and `3D`, `AlphaDropout` and `GaussianDropout`,
    and, if they have dropout, for `MultiHeadAttention`, `GroupQueryAttention`,
    `LSTM`, `GRU`, `SimpleRNN`, `ConvLSTM1D`, `2D` and `3D`, and `RNN` around
    cells of Keras. Layers are converted in functional and sequential models
    and in the models nested in them, in wrappers
    (`TimeDistributed(Dropout(...))`), and in layers and models whose code
    creates them: the backbones and tasks of KerasHub, and your own classes.
    The drop paths of KerasHub and of `keras.applications.ConvNeXt...` become
    `kerasdrop.layers.DropPath`.
    Predictions stay the same. Training drops the same share of units, but
    with other masks.

    Objects whose code creates dropout are rebuilt by `get_config` and
    `from_config`; meanwhile the dropout classes of Keras create our layers,
    in this thread only. Enabled adapters (LoRA) are enabled again. Numbers
    that were changed after the objects were made, such as a momentum, are
    copied. The function then compares all weights, rates, dtypes and the
    arguments of the created Keras layers with the original, and predictions
    on two rows of generated inputs, or on `x`.

    The new model has its own layers and a copy of all weights. It shares
    nothing with `model`, which stays as it is. Existing kerasdrop layers keep
    their rate, step and masks. The seed generators of other layers and the
    states of stateful recurrent layers are reset. The new model is not
    compiled, unless its class compiles itself, as the tasks of KerasHub do:
    call `compile` again, with a new optimizer. As always when Keras builds a
    model, the numbering of layers without a name continues, and initializers
    and layers without a seed take numbers from Python's `random`, which
    `keras.utils.set_random_seed` sets.

    Args:
        model: A built model.
        x: Inputs of a few rows, as for a call of the model. They are needed
            only if the code of the model accepts none of the generated inputs
            (numbers from 0 to 2, with sizes of 8, 32, 128 or 224 for open
            axes).

    Returns:
        A `Conversion`, a named tuple of

        - `model`: the new model;
        - `report`: its `converted` and `skipped` are dicts from a layer's
          path to an explanation; printed, it is a table. Layers that draw but
          could not be converted, such as subclasses of Keras' dropout layers,
          are in `skipped`. If training changes by more than the masks,
          `converted` says so: the drop paths of DINOV2 and DINOV3 in KerasHub
          never drop. `notes` explains how files behave: if code creates the
          dropout, a `.keras` file contains stock layers, and the loaded model
          must be converted again.

    Raises:
        ValueError: If there is nothing to convert; if the model is not built;
            if one of its layers cannot be rebuilt from its configuration, or
            differs after that in weights, arguments, rates, dtypes or
            predictions, or shares layers or variables with `model`; if two
            layers share a variable.
        TypeError: If `model` is not a `keras.Model`.

    Example:

    >>> stock = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dropout(0.5, name="drop")]
    ... )
    >>> model, report = convert_dropout(stock)
    >>> print(report)
    converted  drop  keras.layers.Dropout -> kerasdrop.layers.Dropout
    """
    copying.check_copyable(model, _NAME)
    if not any(
        counterparts.is_convertible(layer)
        for _, layer in model_tree.walk(model)
    ):
        raise _nothing_to_convert(model)
    trial = trying.Trial(model, x)
    with blame(_NAME):
        new_model, pairs = copying.copy_model(
            model,
            counterparts.counterpart,
            code=making.replacing_constructors(counterparts.makers()),
            trial=trial,
        )
        report = _report(model, pairs)
        if not report.converted:
            raise _nothing_to_convert(model)
        comparing.arguments(pairs)
        report.notes.update(comparing.predictions(trial, new_model, pairs))
    return Conversion(new_model, report)


def _report(
    model: keras.Model,
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]],
) -> ConversionReport:
    copies = {id(old): new for old, new in pairs}
    found = dict(model_tree.walk(model))
    is_ours = {
        id(layer)
        for layer in found.values()
        if counterparts.is_convertible(layer)
        and type(copies.get(id(layer))) is counterparts.class_for(type(layer))
    }
    converted = {}
    skipped = {}
    for path, layer in found.items():
        if id(layer) in is_ours:
            converted[path] = _described(layer)
            continue
        if any(path.startswith(f"{above}/") for above in converted):
            continue  # a part of a converted layer
        reason = counterparts.why_kept(
            layer, found.get(path.rpartition("/")[0])
        )
        if reason:
            skipped[path] = reason
    return ConversionReport(converted, skipped, _notes(model, copies, is_ours))


def _described(layer: keras.layers.Layer) -> str:
    facts = registry.facts_of(type(layer)) or registry.NOTHING
    ours = counterparts.class_for(type(layer)).__name__
    said = f"{model_tree.class_name(layer)} -> kerasdrop.layers.{ours}"
    return f"{said}; {facts.says}" if facts.says else said


def _notes(
    model: keras.Model, copies: dict[int, Given], is_ours: set[int]
) -> dict[str, str]:
    """Notes about blocks whose code creates dropout, unlike configurations."""
    classes = []
    inside: set[int] = set()
    for layer in keras_graph.all_layers(model):
        if graphs.is_graph(layer) or not adapters.is_foreign(layer):
            continue
        held = {id(inner) for _, inner in model_tree.walk(layer)}
        if id(layer) not in inside and held & is_ours:
            config = keras.saving.serialize_keras_object(copies[id(layer)])
            if "kerasdrop>" not in repr(config):
                classes.append(type(layer).__name__)
        inside |= held
    if not classes:
        return {}
    listed = ", ".join(dict.fromkeys(classes))
    return {
        "files": f"the code of {listed} makes dropout. A `.keras` file stores "
        "it as layers of Keras: convert it after loading. A `.weights.h5` "
        "file stores the rates too"
    }


def _nothing_to_convert(model: keras.Model) -> ValueError:
    found = dict(model_tree.walk(model))
    lines = []
    for path, layer in found.items():
        owner = found.get(path.rpartition("/")[0])
        reason = counterparts.why_kept(layer, owner)
        if isinstance(layer, StochasticLayer):
            reason = f"{type(layer).__name__} is a layer of kerasdrop already"
        if reason:
            lines.append(f"  {path}: {reason}")
    listed = "\n".join(lines) or "  nothing that drops units"
    return ValueError(
        f"{_NAME}: model '{model.name}' has no dropout layer of Keras "
        f"that can be converted. Found:\n{listed}\nUse the model as it is, or "
        "build it with `kerasdrop.layers`."
    )

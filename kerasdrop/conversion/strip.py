"""Removes dropout from a trained model, to deploy it."""

from collections.abc import Iterator
from typing import NamedTuple

import keras
from keras import tree

from kerasdrop._adapters import adapters
from kerasdrop._refusals import blame
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import comparing
from kerasdrop.conversion import copying
from kerasdrop.conversion import fold_scaling
from kerasdrop.conversion import graphs
from kerasdrop.conversion import stripping
from kerasdrop.conversion import trying
from kerasdrop.conversion.reports import StrippingReport

_NAME = "strip_dropout"


class Stripping(NamedTuple):
    """A new model without dropout, and the report of what was removed.

    Attributes:
        model: The new `keras.Model`.
        report: A `StrippingReport`; printed, it is a table.

    Example:

    >>> stripping = kerasdrop.strip_dropout(model)
    >>> stripping.report.stripped
    {'dropout': 'Identity'}
    """

    model: keras.Model
    report: StrippingReport


def strip_dropout(model: keras.Model, x: Structure = None) -> Stripping:
    """A copy of a model for inference, in which nothing is dropped.

    - Dropout and noise layers, ours and those of Keras, become a
      `keras.layers.Identity` of the same name, so that weights and paths stay.
    - The scaling of `ClassicDropout` and of a classic `DropPath` is moved into
      the following kernels, as by `fold_classic_scaling`, or becomes a
      `keras.layers.Rescaling`. `StochasticDepth` becomes its inner layer, a
      factor and a sum; the sum has a padding mask only if the inner layer
      passes one on. `ConcreteDropout` and `DropConnect` become their inner
      layer.
    - Rates inside attention and recurrent layers become 0, because with other
      rates Keras uses the slow path at inference too: attention without the
      fused kernel, recurrence without cuDNN. For a query that may attend to no
      key, such as that of a padded step, the fused kernel returns the mean of
      all values, and the slow path returns 0. Outputs at padded steps may
      therefore change; layers that respect the mask do not see them. If your
      model reads these outputs, compare.
    - `DropoutRNN`, `LSTM` and the other recurrent layers,
      `MultiHeadAttention` and `GroupQueryAttention` become the Keras layers
      that they extend.

    If the other layers of the model are from Keras, the new model contains
    Keras layers only, and can be loaded and served without kerasdrop. Its
    predictions are those of `model`, up to rounding, apart from such padded
    steps. Rates are the current values of `layer.rate`.

    Layers and models whose code creates dropout (those of KerasHub, or your
    own classes) are rebuilt by `from_config` and compared, as by
    `convert_dropout`. The new model then has no dropout. A model loaded from
    its `.keras` file has dropout again, because the code of the class creates
    it; its predictions are the same.

    The new model has its own layers and weights; `model` stays as it is. It
    is not compiled, unless its class compiles itself.

    Args:
        model: A built model.
        x: Inputs of a few rows, as in `convert_dropout`.

    Returns:
        A `Stripping`, a named tuple of

        - `model`: the new model;
        - `report`: its `stripped` and `skipped` are dicts from a layer's path
          to an explanation; printed, it is a table. Layers that draw in
          predictions (`MCDropout`, a call with `training=True`) are skipped,
          because no model without them has the same predictions; so are
          subclasses of dropout layers. `notes` says so if attention
          was stripped (padded steps), and, if code rebuilt the model, how
          the predictions compare.

    Raises:
        ValueError: If there is nothing to strip; if the model is not built;
            if one of its layers cannot be rebuilt from its configuration, or
            differs after that; if code calls dropout with `training=True`; if
            two layers share a variable.
        TypeError: If `model` is not a `keras.Model`.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), kerasdrop.layers.Dropout(0.5, name="drop")]
    ... )
    >>> print(strip_dropout(model).report)
    stripped  drop  Identity
    """
    copying.check_copyable(model, _NAME)
    folded = _foldable(model)
    stripper = stripping.Stripper(model, folded)
    trial = trying.Trial(model, x)
    with blame(_NAME):
        new_model, pairs = copying.copy_model(
            model, stripper.replacement, code=stripper.code(), trial=trial
        )
        fold_scaling.multiply_kernels(folded, pairs)
        report = stripper.report(model, new_model, dict(_by_id(pairs)))
        if not report.stripped:
            raise _nothing_to_strip(model, report)
        noted = comparing.predictions(
            trial, new_model, pairs, may_draw=not stripper.made
        )
        report.notes.update(noted)
        if keras_graph.graph_of(new_model) is None:
            trial.call_once(new_model)
        else:
            _call_once(new_model)
    return Stripping(new_model, report)


def _nothing_to_strip(
    model: keras.Model, report: StrippingReport
) -> ValueError:
    listed = "\n".join(f"  {p}: {why}" for p, why in report.skipped.items())
    return ValueError(
        f"{_NAME}: model '{model.name}' has nothing to strip. Found:"
        f"\n{listed or '  nothing that drops units'}\nUse the model as it "
        "is."
    )


def _foldable(model: keras.Model) -> Given:
    """As `fold_scaling.foldable`, without layers that code creates again."""
    by_code = {
        id(inner)
        for layer in keras_graph.all_layers(model)
        if adapters.is_foreign(layer) and not graphs.is_graph(layer)
        for inner in keras_graph.all_layers(layer)
    }
    if id(model) in by_code:
        return {}
    found, _ = fold_scaling.foldable(model)
    return {
        path: target
        for path, target in found.items()
        if id(target[0]) not in by_code
    }


def _call_once(model: keras.Model) -> None:
    """Calls a model symbolically: Keras exports none that was never called."""
    model(
        tree.map_structure(
            lambda tensor: keras.KerasTensor(tensor.shape, tensor.dtype),
            keras_graph.graph_of(model).input,
        )
    )


def _by_id(
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]],
) -> Iterator[Given]:
    return ((id(old), new) for old, new in pairs)

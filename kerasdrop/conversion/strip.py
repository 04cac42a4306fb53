"""Removes dropout from a trained model, to deploy it."""

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

import keras
from keras import tree

from kerasdrop._adapters import adapters
from kerasdrop._adapters import making
from kerasdrop._adapters import registry
from kerasdrop._adapters import survey
from kerasdrop._refusals import blame
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import comparing
from kerasdrop.conversion import copying
from kerasdrop.conversion import fold_scaling
from kerasdrop.conversion import rebuilding
from kerasdrop.conversion import trying
from kerasdrop.conversion.reports import StrippingReport
from kerasdrop.layers import stand_ins
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper

_NAME = "strip_dropout"

_PADDED_STEPS = (
    "attention of Keras returns the mean of all values, and not 0, for a query "
    "that may attend to no key"
)


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
    stripper = _Stripper(model, folded)
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
    """As `fold_scaling.foldable`, without what code makes anew."""
    by_code = {
        id(inner)
        for layer in keras_graph.all_layers(model)
        if adapters.is_foreign(layer) and not copying.is_graph(layer)
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


class _Stripper:
    """Decides, layer by layer, what takes its place.

    Args:
        model: The model to strip.
        folded: Dict from a layer's path to (the layer, kernels), of classic
            dropout layers whose scaling moves.
    """

    def __init__(
        self,
        model: keras.Model,
        folded: dict[str, tuple[keras.layers.Layer, list[keras.layers.Layer]]],
    ) -> None:
        self._kernels = {id(layer): ks for layer, ks in folded.values()}
        self._always_draw = _called_in_training(model)
        self._classes = {type(layer) for _, layer in model_tree.walk(model)}
        # The classes of what code made, and something else was made for.
        self.made: list[type] = []

    def code(self) -> contextlib.AbstractContextManager[None]:
        """Makes what code makes: no dropout; a block to build models in."""
        found = {
            cls
            for cls in self._classes
            if _is_dropped(cls) or _extended(cls) or _stands_alone(cls)
        }
        makers = {
            cls: functools.partial(self._made, cls)
            for cls in {*found, *registry.removable_classes()}
        }
        rates = {
            cls: dict.fromkeys(names, 0.0)
            for cls, names in registry.inner_rates().items()
        }
        return making.made_otherwise(makers, rates)

    def _made(
        self, cls: type, owner: Given, args: Given, kwargs: Given
    ) -> Given:
        # Attention that still has a rate has been left as it was.
        if owner is not None and _drops_inside(owner):
            return None
        layer = cls(*args, **kwargs)
        if _extended(cls):
            stand_in = _plain(layer)
        elif _is_ours(layer) and layer.stochastic_inference:
            return None
        else:
            stand_in = _stand_in(layer)
        self.made.append(cls)
        return stand_in

    def replacement(
        self, layer: keras.layers.Layer, copy: Function
    ) -> keras.layers.Layer | None:
        """What a layer of the graph becomes; None if it just is copied."""
        with making.made_as_ever():
            found = self._stand_in_for(layer, copy)
        if not isinstance(found, dict):
            return found
        with rebuilding.by_its_code(layer):
            return rebuilding.rebuild(layer, found)

    def _stand_in_for(
        self, layer: keras.layers.Layer, copy: Function
    ) -> keras.layers.Layer | Config | None:
        """As `replacement`; or a configuration to rebuild the layer from."""
        if not isinstance(layer, keras.layers.Layer):
            return None
        inside = keras_graph.all_layers(layer)
        if any(self._draws_at_inference(one) for one in inside):
            if not isinstance(layer, StochasticWrapper):
                return None
        if id(layer) in self._kernels:
            return stand_ins.identity(layer)
        if isinstance(layer, StochasticWrapper):
            draws = self._draws_at_inference(layer)
            return None if draws else _stand_in(layer, copy)
        if _extended(type(layer)):
            return _plain(layer)
        if _is_removable(layer):
            return _stand_in(layer)
        if any(_is_removable(one) or _rates_of(one) for one in inside):
            try:
                config = layer.get_config()
            except NotImplementedError:
                return None
            return _without_rates(layer, _stripped_config(config))
        return None

    def _draws_at_inference(self, layer: keras.layers.Layer) -> bool:
        if _extended(type(layer)):
            return any(map(self._draws_at_inference, _dropouts_of(layer)))
        if id(layer) in self._always_draw:
            return _is_removable(layer) or bool(_rates_of(layer))
        return _is_ours(layer) and layer.stochastic_inference

    def report(
        self,
        model: keras.Model,
        new_model: keras.Model,
        copies: dict[int, keras.layers.Layer],
    ) -> StrippingReport:
        """What became of each layer of `model` that drops.

        Args:
            copies: Dict from the id of a layer to its copy.
        """
        unknown = {id(one) for one in survey.of(new_model).unknown}
        found = dict(model_tree.walk(model))
        stripped, skipped = {}, {}
        for path, layer in found.items():
            owner = found.get(path.rpartition("/")[0])
            is_part = owner is not None and _drops_inside(owner)
            if is_part or id(layer) not in copies:
                continue  # of a layer that was asked already; or an input
            new = copies[id(layer)]
            if id(new) in unknown or _drops(new):
                skipped[path] = self._why_skipped(layer)
            elif _drops(layer) or _is_removable(layer):
                stripped[path] = self._describe(layer, new)
        made = [copies[id(found[path])] for path in stripped]
        notes = {}
        if any(
            registry.nearest_facts(type(new)).drops_by_layer for new in made
        ):
            notes["padded steps"] = _PADDED_STEPS
        return StrippingReport(stripped, skipped, notes)

    def _why_skipped(self, layer: keras.layers.Layer) -> str:
        name = model_tree.class_name(layer)
        if self._draws_at_inference(layer):
            how = "by `stochastic_inference=True`"
            if id(layer) in self._always_draw:
                how = "being called with `training=True`"
            return f"{name} draws in predictions, too, {how}"
        return f"{name} is a subclass, or made by a layer around it"

    def _describe(
        self, layer: keras.layers.Layer, new: keras.layers.Layer
    ) -> str:
        if id(layer) in self._kernels:
            kernels = self._kernels[id(layer)]
            return fold_scaling.describe(layer, kernels)
        if isinstance(layer, StochasticWrapper):
            if _facts_of(type(layer)).is_layer_inside:
                return "the layer in it"
            return "sum of inputs and layer"
        if isinstance(new, keras.layers.Rescaling):
            return f"Rescaling by {new.scale:g}"
        if _extended(type(layer)):
            return model_tree.class_name(new)
        if rates := _rates_of(layer):
            return ", ".join(f"{key}={rate} -> 0" for key, rate in rates)
        if not isinstance(new, keras.layers.Identity):
            return f"{model_tree.class_name(new)} of rate 0"
        return "Identity"


def _is_ours(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, StochasticLayer)


def _is_removable(layer: keras.layers.Layer) -> bool:
    # Subclasses of those of Keras are left alone: they may do anything.
    return _is_ours(layer) or _is_dropped(type(layer))


def _is_dropped(cls: type) -> bool:
    """Whether a class of Keras draws in training, and is an identity else."""
    facts = _facts_of(cls)
    return facts.is_identity and facts.adapter is not None


def _facts_of(cls: type) -> registry.Facts:
    return registry.facts_of(cls) or registry.NOTHING


def _extended(cls: type) -> Given:
    """The class of Keras that one of ours extends, or None."""
    return _facts_of(cls).extends


def _drops_inside(layer: keras.layers.Layer) -> bool:
    """Whether `layer` drops inside its own computation, by its class."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    facts = registry.nearest_facts(type(layer))
    return bool(facts.inner_rates or facts.extends)


def _dropouts_of(layer: keras.layers.Layer) -> Given:
    return filter(_is_ours, model_tree.sublayers(layer))


def _rates_of(layer: keras.layers.Layer) -> list[Given]:
    """Pairs of a name and a rate above 0 that the layer's call uses."""
    names = _facts_of(type(layer)).inner_rates
    # Attention has them in its configuration only.
    config = layer.get_config() if names else {}
    return [(name, config[name]) for name in names if config.get(name)]


def _drops(layer: keras.layers.Layer) -> bool:
    return (
        _is_ours(layer)
        or _extended(type(layer)) is not None
        or bool(_rates_of(layer))
        or registry.is_attention_with_dropout(layer)
        or (adapters.can_draw(layer) and adapters.rate_of(layer) > 0)
    )


def _called_in_training(model: keras.Model) -> set[int]:
    """Ids of the layers that a call with `training=True` reaches."""
    return {
        id(inner)
        for layer in keras_graph.all_layers(model)
        if (graph := keras_graph.graph_of(layer)) is not None
        for node in keras_graph.nodes_of(graph)
        if isinstance(node.operation, keras.layers.Layer)
        and fold_scaling.training_at(node)
        for inner in keras_graph.all_layers(node.operation)
    }


def _stand_in(
    layer: keras.layers.Layer, copy: Function | None = None
) -> keras.layers.Layer:
    """What computes the same as a dropout layer at inference."""
    if _is_ours(layer):
        return layer._at_inference(copy)
    return stand_ins.identity(layer)


def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer of Keras that one of ours extends, unbuilt."""
    stock = _extended(type(layer))
    config = _stripped_config(stock.get_config(layer))
    zeros = dict.fromkeys(_facts_of(stock).inner_rates, 0.0)
    return stock.from_config({**config, **zeros})


def _without_rates(layer: keras.layers.Layer, config: Config) -> Config:
    zeros = {name: 0.0 for name, _ in _rates_of(layer)}
    return {**config, **zeros}


def _stripped_config(config: Config | None) -> Given:
    """A configuration, with serialized dropout layers made what stands in."""
    if isinstance(config, (list, tuple)):
        return type(config)(_stripped_config(item) for item in config)
    if not isinstance(config, dict):
        return config
    cls = copying.serialized_class(config)
    if cls is None:
        return {key: _stripped_config(value) for key, value in config.items()}
    facts = _facts_of(cls)
    if facts.inner_rates:
        names = [name for name in facts.inner_rates if name in config["config"]]
        zeros = dict.fromkeys(names, 0.0)
        return {**config, "config": {**config["config"], **zeros}}
    if facts.extends:
        layer = keras.saving.deserialize_keras_object(config)
        return copying.serialized_in_place(_plain(layer), config)
    if facts.is_layer_inside and _is_ours_class(cls):
        inner = config["config"]["layer"]
        # Or else the wrapper casts what the layer makes.
        if inner["config"].get("dtype") == config["config"].get("dtype"):
            return _stripped_config(inner)
    if _is_dropped(cls) or _stands_alone(cls):
        layer = keras.saving.deserialize_keras_object(config)
        # A new layer's schedule stands at its beginning; one in a layer is
        # seldom enough to be left, and reported.
        late = (
            _is_ours(layer) and layer.schedule and layer._scales_at_inference()
        )
        if not late:
            return keras.saving.serialize_keras_object(_stand_in(layer))
    return {key: _stripped_config(value) for key, value in config.items()}


def _stands_alone(cls: type) -> bool:
    """Whether a class is of ours, and one layer can take its place."""
    return _is_ours_class(cls) and not issubclass(cls, StochasticWrapper)


def _is_ours_class(cls: type) -> bool:
    return issubclass(cls, StochasticLayer)

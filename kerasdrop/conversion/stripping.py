"""Chooses the replacements of dropout layers in a model for inference."""

import contextlib
import functools

import keras

from kerasdrop._adapters import making
from kerasdrop._adapters import registry
from kerasdrop._adapters import survey
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.conversion import copying
from kerasdrop.conversion import dropping
from kerasdrop.conversion import fold_scaling
from kerasdrop.conversion import rebuilding
from kerasdrop.conversion.reports import StrippingReport
from kerasdrop.layers import stand_ins
from kerasdrop.layers.base import StochasticWrapper

_PADDED_STEPS = (
    "attention of Keras returns the mean of all values, and not 0, for a query "
    "that may attend to no key"
)


class Stripper:
    """Chooses the replacement of each layer.

    Args:
        model: The model to strip.
        folded: Dict from the path of a classic dropout layer whose scaling
            moves to (the layer, kernels).
    """

    def __init__(
        self,
        model: keras.Model,
        folded: dict[str, tuple[keras.layers.Layer, list[keras.layers.Layer]]],
    ) -> None:
        self._kernels = {id(layer): ks for layer, ks in folded.values()}
        self._always_draw = dropping.called_in_training(model)
        self._classes = {type(layer) for _, layer in model_tree.walk(model)}
        # The classes of layers for which code got something else.
        self.made: list[type] = []

    def code(self) -> contextlib.AbstractContextManager[None]:
        """A context in which code creates models without dropout."""
        found = {
            cls
            for cls in self._classes
            if dropping.is_dropped(cls)
            or dropping.extended(cls)
            or dropping.stands_alone(cls)
        }
        makers = {
            cls: functools.partial(self._made, cls)
            for cls in {*found, *registry.removable_classes()}
        }
        rates = {
            cls: dict.fromkeys(names, 0.0)
            for cls, names in registry.inner_rates().items()
        }
        return making.replacing_constructors(makers, rates)

    def _made(
        self, cls: type, owner: Given, args: Given, kwargs: Given
    ) -> Given:
        # Attention that still has a rate was not changed.
        if owner is not None and dropping.drops_inside(owner):
            return None
        layer = cls(*args, **kwargs)
        if dropping.extended(cls):
            stand_in = _plain(layer)
        elif dropping.is_ours(layer) and layer.stochastic_inference:
            return None
        else:
            stand_in = _stand_in(layer)
        self.made.append(cls)
        return stand_in

    def replacement(
        self, layer: keras.layers.Layer, copy: Function
    ) -> keras.layers.Layer | None:
        """The replacement of a layer of the graph; None for a plain copy."""
        with making.usual_constructors():
            found = self._stand_in_for(layer, copy)
        if not isinstance(found, dict):
            return found
        with rebuilding.by_its_code(layer):
            return rebuilding.rebuild(layer, found)

    def _stand_in_for(
        self, layer: keras.layers.Layer, copy: Function
    ) -> keras.layers.Layer | Config | None:
        """As `replacement`, or a configuration to rebuild the layer from."""
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
        if dropping.extended(type(layer)):
            return _plain(layer)
        if dropping.is_removable(layer):
            return _stand_in(layer)
        if any(
            dropping.is_removable(one) or dropping.rates_of(one)
            for one in inside
        ):
            try:
                config = layer.get_config()
            except NotImplementedError:
                return None
            return _without_rates(layer, _stripped_config(config))
        return None

    def _draws_at_inference(self, layer: keras.layers.Layer) -> bool:
        if dropping.extended(type(layer)):
            return any(
                map(self._draws_at_inference, dropping.dropouts_of(layer))
            )
        if id(layer) in self._always_draw:
            return dropping.is_removable(layer) or bool(
                dropping.rates_of(layer)
            )
        return dropping.is_ours(layer) and layer.stochastic_inference

    def report(
        self,
        model: keras.Model,
        new_model: keras.Model,
        copies: dict[int, keras.layers.Layer],
    ) -> StrippingReport:
        """Reports on each layer of `model` that drops.

        Args:
            copies: Dict from the id of a layer to its copy.
        """
        unknown = {id(one) for one in survey.of(new_model).unknown}
        found = dict(model_tree.walk(model))
        stripped, skipped = {}, {}
        for path, layer in found.items():
            owner = found.get(path.rpartition("/")[0])
            is_part = owner is not None and dropping.drops_inside(owner)
            if is_part or id(layer) not in copies:
                continue  # part of a layer that was handled, or an input
            new = copies[id(layer)]
            if id(new) in unknown or dropping.drops(new):
                skipped[path] = self._why_skipped(layer)
            elif dropping.drops(layer) or dropping.is_removable(layer):
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
            if dropping.facts_of(type(layer)).is_layer_inside:
                return "the layer in it"
            return "sum of inputs and layer"
        if isinstance(new, keras.layers.Rescaling):
            return f"Rescaling by {new.scale:g}"
        if dropping.extended(type(layer)):
            return model_tree.class_name(new)
        if rates := dropping.rates_of(layer):
            return ", ".join(f"{key}={rate} -> 0" for key, rate in rates)
        if not isinstance(new, keras.layers.Identity):
            return f"{model_tree.class_name(new)} of rate 0"
        return "Identity"


def _stand_in(
    layer: keras.layers.Layer, copy: Function | None = None
) -> keras.layers.Layer:
    """A layer that computes the same as a dropout layer at inference."""
    if dropping.is_ours(layer):
        return layer._at_inference(copy)
    return stand_ins.identity(layer)


def _plain(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer of Keras that a layer of this package extends, unbuilt."""
    stock = dropping.extended(type(layer))
    config = _stripped_config(stock.get_config(layer))
    zeros = dict.fromkeys(dropping.facts_of(stock).inner_rates, 0.0)
    return stock.from_config({**config, **zeros})


def _without_rates(layer: keras.layers.Layer, config: Config) -> Config:
    zeros = {name: 0.0 for name, _ in dropping.rates_of(layer)}
    return {**config, **zeros}


def _stripped_config(config: Config | None) -> Given:
    """A configuration in which serialized dropout layers are replaced."""
    if isinstance(config, (list, tuple)):
        return type(config)(_stripped_config(item) for item in config)
    if not isinstance(config, dict):
        return config
    cls = copying.serialized_class(config)
    if cls is None:
        return {key: _stripped_config(value) for key, value in config.items()}
    facts = dropping.facts_of(cls)
    if facts.inner_rates:
        names = [name for name in facts.inner_rates if name in config["config"]]
        zeros = dict.fromkeys(names, 0.0)
        return {**config, "config": {**config["config"], **zeros}}
    if facts.extends:
        layer = keras.saving.deserialize_keras_object(config)
        return copying.serialized_in_place(_plain(layer), config)
    if facts.is_layer_inside and dropping.is_ours_class(cls):
        inner = config["config"]["layer"]
        # Otherwise the wrapper would cast the layer's outputs.
        if inner["config"].get("dtype") == config["config"].get("dtype"):
            return _stripped_config(inner)
    if dropping.is_dropped(cls) or dropping.stands_alone(cls):
        layer = keras.saving.deserialize_keras_object(config)
        # The schedule of a new layer begins at step 0. A schedule inside a
        # layer is so rare that it is only reported.
        late = (
            dropping.is_ours(layer)
            and layer.schedule
            and layer._scales_at_inference()
        )
        if not late:
            return keras.saving.serialize_keras_object(_stand_in(layer))
    return {key: _stripped_config(value) for key, value in config.items()}

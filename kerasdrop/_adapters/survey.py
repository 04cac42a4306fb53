"""A record that answers questions about all layers of a model."""

import dataclasses
import functools
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from kerasdrop._adapters import attributes
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import drawing
from kerasdrop._adapters import random_functions
from kerasdrop._adapters import registry
from kerasdrop._adapters.adapters import adapter_of
from kerasdrop._adapters.adapters import can_draw
from kerasdrop._adapters.adapters import is_foreign
from kerasdrop._adapters.adapters import rate_of
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.layers.thinned_cells import RATES
from kerasdrop.masks import scopes


@dataclasses.dataclass(frozen=True)
class Survey:
    """The layers of a model at the time when `of` reads them.

    Each property is computed once, when it is first needed. A later call, or a
    call after the model has changed, needs another `Survey`.

    Attributes:
        model: The model.
        layers: Tuple of (path, layer) for each layer. The model comes first,
            with the path "".
    """

    model: keras.layers.Layer
    layers: tuple[tuple[str, keras.layers.Layer], ...]

    @functools.cached_property
    def drawable(self) -> list[keras.layers.Layer]:
        """The layers that can draw, in the order that numbers them.

        Layers at rate 0 count, too, because a rate must not change what other
        layers draw.
        """
        # The class of a layer decides whether it can draw.
        can = {cls: can_draw(one) for cls, one in self._classes.items()}
        return [layer for _, layer in self.layers if can[type(layer)]]

    @functools.cached_property
    def _classes(self) -> dict[type[keras.layers.Layer], keras.layers.Layer]:
        """The classes of the layers, each with one layer of the class."""
        return {type(layer): layer for _, layer in self.layers}

    def drawn(self) -> list[keras.layers.Layer]:
        """The layers among these whose rate is not 0 now."""
        return [layer for layer in self.drawable if rate_of(layer) > 0.0]

    @functools.cached_property
    def unknown(self) -> list[keras.layers.Layer]:
        """Layers that have or make random numbers, and no adapter.

        Layers that contain one that can draw are left out if they only have a
        generator of Keras, because it may serve that layer. So is augmentation,
        which is not a part of the model's uncertainty.
        """
        holders = self.holders_of(self.drawable)
        can = set(map(id, self.drawable))
        return [
            layer
            for _, layer in self.layers
            if not model_tree.is_preprocessing(layer)
            and (
                (id(layer) not in holders and _has_random_numbers(layer))
                or (id(layer) not in can and random_functions.called_by(layer))
            )
        ]

    def holders_of(self, layers: Iterable[keras.layers.Layer]) -> set[int]:
        """Ids of all layers that are or contain one of `layers`."""
        wanted = {id(layer) for layer in layers}
        # The order is from the inside out, so one round suffices if nothing is
        # shared.
        found = [
            (id(layer), set(map(id, model_tree.sublayers(layer))))
            for _, layer in reversed(self.layers)
        ]
        holders: set[int] = set()
        is_growing = True
        while is_growing:
            size = len(holders)
            for own, held in found:
                if own in wanted or held & holders:
                    holders.add(own)
            is_growing = len(holders) > size
        return holders

    @functools.cached_property
    def fingerprint(self) -> "Fingerprint":
        """Everything that a compiled pass depends on besides values."""
        return self.fingerprint_after(None)

    def fingerprint_after(self, before: "Fingerprint | None") -> "Fingerprint":
        """Returns `fingerprint`, faster if little differs from an earlier one.

        Args:
            before: The `Fingerprint` of the same model in an earlier `Survey`,
                or None.
        """
        known = {} if before is None else before.by_layer
        by_layer = {
            id(layer): attributes.of_layer(layer, known.get(id(layer)))
            for _, layer in self.layers
        }
        layers = [
            (
                id(layer),
                type(layer),
                getattr(layer.dtype_policy, "name", None),
                layer.supports_masking,
            )
            for _, layer in self.layers
        ]
        # LoRA adds variables. JAX gets variables in two lists, trainable and
        # other ones, and would not notice that two of the same shape changed
        # places.
        variables = [
            (id(variable), variable.trainable)
            for variable in self.model.variables
        ]
        classes = [
            (cls, adapter_of(layer), cls.call, attributes.of_class(cls))
            for cls, layer in self._classes.items()
        ]
        return Fingerprint(by_layer, layers, variables, classes)

    @functools.cached_property
    def has_foreign(self) -> bool:
        """Whether a layer runs code of neither Keras nor this package."""
        return any(is_foreign(layer) for _, layer in self.layers)

    @functools.cached_property
    def generator_owners(self) -> dict[int, keras.layers.Layer]:
        """Dict from the id of a Keras generator to the layer that owns it."""
        return {
            id(generator): layer
            for _, layer in self.layers
            for generator in by_keras.generators(layer)
        }

    @property
    def is_traceable(self) -> bool:
        """Whether each layer can run inside a function that JAX compiles.

        Augmentation layers deny it, but can where they change nothing.
        """
        return all(
            layer.supports_jit or by_keras.is_augmentation(layer)
            for _, layer in self.layers
        )

    @property
    def draws_by_step(self) -> bool:
        """Whether a layer draws in a loop over steps that Keras may vectorize.

        `TimeDistributed` is a Python loop if the number of steps is known.
        Otherwise it is a map, which would draw once for all steps.
        """
        loops = [
            layer
            for _, layer in self.layers
            if registry.loop_of(layer) == registry.MAP
        ]
        return any(of(loop).drawable for loop in loops)

    @property
    def may_draw(self) -> bool:
        """Whether a layer may draw without being known to draw."""
        return any(
            is_foreign(layer) or by_keras.generators(layer)
            for _, layer in self.layers
            if not model_tree.is_preprocessing(layer)
        )


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What a compiled Monte Carlo pass depends on, in a form to compare.

    Attributes:
        by_layer: Dict from the id of each layer to its
            `attributes.OfLayer`.
        layers: List of tuples with the other facts about each layer that may
            change.
        variables: List of pairs of a variable's id and whether it is trainable.
        classes: List of tuples, each with the facts about a class.
    """

    by_layer: dict[int, attributes.OfLayer]
    layers: list[tuple[Given, ...]]
    variables: list[tuple[int, bool]]
    classes: list[tuple[Given, ...]]


def of(model: keras.layers.Layer) -> Survey:
    """Returns the `Survey` of a model, or of any layer, as it is now."""
    return Survey(model, (("", model), *model_tree.walk(model)))


def smallest_chance(
    layers: Iterable[keras.layers.Layer], given: scopes.Rates
) -> Tensor:
    """The smallest probability of an outcome, a float32 scalar tensor.

    The outcomes are that a unit is dropped and that it is kept, if both are
    possible. The result is computed in the graph, and infinite if nothing is
    dropped.

    Args:
        layers: The layers that draw.
        given: Dict of the rates that are given for the layers, as in
            `scopes.StochasticScope`.
    """
    live = [rate for layer in layers for rate in _live_rates(layer, given)]
    if not live:
        return ops.convert_to_tensor(np.inf, "float32")
    rates = ops.stack(live)
    chances = ops.minimum(rates, 1.0 - rates)
    return ops.min(ops.where(chances > 0.0, chances, np.inf))


def _live_rates(layer: keras.layers.Layer, given: scopes.Rates) -> list[Tensor]:
    """Tensors, each the probability that a unit is dropped."""
    adapter = adapter_of(layer)
    if adapter is drawing.GAUSSIAN_NOISE:
        return []  # a deviation, in every sample
    found = []
    for part in parts_of(layer):
        rate = given.get((id(layer), part))
        if rate is None and adapter is None:
            rate = layer._rate_tensor()
        elif rate is None:
            rate = rate_of(layer) if part is None else getattr(layer, part)
        found.append(drawing.rate_tensor(rate))
    return found


def parts_of(layer: keras.layers.Layer) -> tuple[str | None, ...]:
    """The names of the rates of a layer that draws; None for a single rate."""
    return RATES if registry.is_cell(layer) else (None,)


def _has_random_numbers(layer: keras.layers.Layer) -> bool:
    return bool(by_keras.generators(layer)) or _wraps_dropout(layer)


def _wraps_dropout(layer: keras.layers.Layer) -> bool:
    """Whether `layer` wraps a module of PyTorch with dropout in it."""
    if not isinstance(layer, keras.layers.TorchModuleWrapper):
        return False
    return any(
        "Dropout" in type(module).__name__ and getattr(module, "p", 0.0)
        for module in layer.module.modules()
    )

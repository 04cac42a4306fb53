"""What is asked of a whole model about its layers, as one record."""

import dataclasses
import functools
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from kerasdrop._adapters import attributes
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import drawing
from kerasdrop._adapters import registry
from kerasdrop._adapters import rnn_cells
from kerasdrop._adapters.adapters import adapter_of
from kerasdrop._adapters.adapters import can_draw
from kerasdrop._adapters.adapters import is_foreign
from kerasdrop._adapters.adapters import rate_of
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import scopes


@dataclasses.dataclass(frozen=True)
class Survey:
    """The layers of a model as they are when `of` looks at them.

    What follows from them is worked out when it is asked for, and once. A
    later call, or one after the model was changed, needs another `Survey`.

    Attributes:
        model: The model.
        layers: Tuple of (path, layer) for each, the model first, whose path
            is "".
    """

    model: keras.layers.Layer
    layers: tuple[tuple[str, keras.layers.Layer], ...]

    @functools.cached_property
    def drawable(self) -> list[keras.layers.Layer]:
        """The layers that can draw, in the order that numbers them.

        Those at rate 0 included: a rate must not change what others draw.
        """
        # Whether one can is a matter of its class.
        can = {cls: can_draw(one) for cls, one in self._classes.items()}
        return [layer for _, layer in self.layers if can[type(layer)]]

    @functools.cached_property
    def _classes(self) -> dict[type[keras.layers.Layer], keras.layers.Layer]:
        """The classes of the layers, each with one of them."""
        return {type(layer): layer for _, layer in self.layers}

    def drawn(self) -> list[keras.layers.Layer]:
        """Those of them whose rate is not 0 now."""
        return [layer for layer in self.drawable if rate_of(layer) > 0.0]

    @functools.cached_property
    def unknown(self) -> list[keras.layers.Layer]:
        """Layers that have random numbers of Keras and no adapter.

        Not counted are layers that hold one that can draw, whose numbers these
        may be, and augmentation, which is no part of the model's uncertainty.
        """
        holders = self.holders_of(self.drawable)
        return [
            layer
            for _, layer in self.layers
            if id(layer) not in holders
            and ".preprocessing." not in type(layer).__module__
            and (by_keras.generators(layer) or _wraps_dropout(layer))
        ]

    def holders_of(self, layers: Iterable[keras.layers.Layer]) -> set[int]:
        """Ids of all layers that are or hold one of `layers`."""
        wanted = {id(layer) for layer in layers}
        # From the inside out: one round is enough where nothing is shared.
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
        """What a compiled Monte Carlo pass depends on, besides values."""
        return self.fingerprint_after(None)

    def fingerprint_after(self, before: "Fingerprint | None") -> "Fingerprint":
        """`fingerprint`, found sooner if little differs from an earlier one.

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
        # LoRA adds variables. JAX gets them in two lists, those to train and
        # the others, and would not notice that two of one shape changed places.
        variables = [
            (id(variable), variable.trainable)
            for variable in self.model.variables
        ]
        classes = [
            (cls, adapter_of(layer), cls.call, attributes.of_class(cls))
            for cls, layer in self._classes.items()
        ]
        return Fingerprint(by_layer, layers, variables, classes)

    @property
    def has_foreign(self) -> bool:
        """Whether code runs that neither Keras nor this package wrote."""
        return any(is_foreign(layer) for _, layer in self.layers)

    @property
    def is_traceable(self) -> bool:
        """Whether each layer runs inside a function that JAX compiles.

        Augmentation says that it does not, and does where it changes nothing.
        """
        return all(
            layer.supports_jit or by_keras.is_augmentation(layer)
            for _, layer in self.layers
        )

    @property
    def draws_by_step(self) -> bool:
        """Whether a layer draws in a loop over steps that Keras may vectorize.

        `TimeDistributed` is a loop of Python where the number of steps is
        known, and else a map, which would draw once for all steps.
        """
        loops = [
            layer
            for _, layer in self.layers
            if registry.loop_of(layer) == registry.MAP
        ]
        return any(of(loop).drawable for loop in loops)

    @property
    def may_draw(self) -> bool:
        """Whether something may draw that is not known to."""
        return any(
            is_foreign(layer) or by_keras.generators(layer)
            for _, layer in self.layers
            if ".preprocessing." not in type(layer).__module__
        )


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What a compiled Monte Carlo pass depends on: to be compared.

    Attributes:
        by_layer: Dict from the id of each layer to its
            `attributes.OfLayer`.
        layers: List of tuples, what else may change of each layer.
        variables: List of the id of each variable, and whether it is trained.
        classes: List of tuples, each with what a class has for its layers.
    """

    by_layer: dict[int, attributes.OfLayer]
    layers: list[tuple[Given, ...]]
    variables: list[tuple[int, bool]]
    classes: list[tuple[Given, ...]]


def of(model: keras.layers.Layer) -> Survey:
    """The `Survey` of a model, or of any layer, as it is now."""
    return Survey(model, (("", model), *model_tree.walk(model)))


def smallest_chance(
    layers: Iterable[keras.layers.Layer], given: scopes.Rates
) -> Tensor:
    """The smallest probability of what is drawn: a float32 scalar tensor.

    That of a unit to be dropped, or to be kept, if it may be either. It is read
    in the graph, and infinite if nothing is dropped.

    Args:
        layers: The layers that draw.
        given: Dict of the rates that are given for them, as of
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
        return []  # a deviation; and no sample is without it
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
    """The names of the rates of a layer that draws; None is that of its one."""
    return rnn_cells.PARTS if registry.is_cell(layer) else (None,)


def _wraps_dropout(layer: keras.layers.Layer) -> bool:
    """Whether `layer` wraps a module of PyTorch with dropout in it."""
    if not isinstance(layer, keras.layers.TorchModuleWrapper):
        return False
    return any(
        "Dropout" in type(module).__name__ and getattr(module, "p", 0.0)
        for module in layer.module.modules()
    )

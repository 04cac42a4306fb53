"""Which layers a pass draws, and at which rates: `layers=` and `rate=`."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kerasdrop import _checks
from kerasdrop._adapters import adapters
from kerasdrop._adapters import reading
from kerasdrop._adapters import registry
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._structure import model_tree
from kerasdrop._structure import selection
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.layers.gaussian import GaussianDropout
from kerasdrop.masks import scopes

# The rate at which a self-check draws places whose rate is given in each call.
RATE_OF_CHECK = 0.5


@dataclasses.dataclass(frozen=True)
class Place:
    """One rate of a model.

    Attributes:
        path: The path by which users name it: that of the layer, or for a
            recurrent layer its path with `dropout` or `recurrent_dropout`
            appended.
        layer: The layer that draws at it.
        part: The name of the rate, if the layer has several; or None.
    """

    path: str
    layer: keras.layers.Layer
    part: str | None

    def own_rate(self) -> float:
        """The rate of the layer itself, a number."""
        if self.part is not None:
            return float(getattr(self.layer, self.part))
        return adapters.rate_of(self.layer)

    def why_fixed(self) -> str:
        """Why no rate can be given for a call, with a remedy; or ""."""
        cls = model_tree.class_name(self.layer)
        adapter = adapters.adapter_of(self.layer)
        if adapter is None or adapter.takes_rate:
            return ""
        return (
            f"how {cls} draws was registered without a rate. Register a "
            "function with a parameter `rate`: `register_stochastic("
            f"{type(self.layer).__name__}, f)` with `def f(layer, draw, "
            "inputs, rate)`"
        )

    def check(self, rate: float) -> None:
        """Raises if the layer cannot draw at exactly this rate."""
        kinds = (GaussianDropout, keras.layers.GaussianDropout)
        if rate < 1.0 or not (self.part or isinstance(self.layer, kinds)):
            return
        why = "its noise has the variance rate / (1 - rate), here infinite"
        if self.part is not None:
            why = (
                "Keras drops all in some kernels of a recurrent layer and "
                "nothing in others"
            )
        raise Refusal(
            f"the rate of '{self.path}' "
            f"({model_tree.class_name(self.layer)}) must be below 1, where "
            f"{why}. Received: rate={rate}"
        )


@dataclasses.dataclass(frozen=True)
class Choice:
    """The selection of what a pass draws, and at which rates.

    Attributes:
        places: Tuple of all `Place`s of the model, in the order of its layers.
        selected: Frozen set of the numbers of the places that are drawn.
        given: Dict from the numbers of the places with a given rate to the
            rate.
        is_whole: Whether the user left out nothing.
    """

    places: tuple[Place, ...]
    selected: frozenset[int]
    given: dict[int, float]
    is_whole: bool

    @property
    def key(self) -> Given:
        """A key of what a compiled pass depends on, without given numbers."""
        selected = None if self.is_whole else tuple(sorted(self.selected))
        return len(self.places), selected, tuple(sorted(self.given))

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The paths of the places that are drawn, a tuple; None for all."""
        if self.is_whole:
            return None
        return tuple(self.places[i].path for i in sorted(self.selected))

    @property
    def rates(self) -> dict[str, float]:
        """A dict from the path of each given rate to it."""
        return {self.places[i].path: rate for i, rate in self.given.items()}

    def asked(self) -> "Asked":
        """The request for this choice."""
        return Asked(self.paths, self.rates or None)

    def vector(self) -> Array:
        """The given rates, float32 `(places,)`, as an argument of a pass."""
        vector = np.zeros(max(1, len(self.places)), "float32")
        for number, rate in self.given.items():
            vector[number] = rate
        return vector

    def for_check(self) -> "Choice":
        """The same choice at rates at which draws show, for a self-check."""
        given = dict.fromkeys(self.given, RATE_OF_CHECK)
        return dataclasses.replace(self, given=given)

    def rates_for_scope(self, vector: Tensor) -> scopes.Rates:
        """The rates for a `scopes.StochasticScope`.

        Args:
            vector: float32 tensor `(places,)`.
        """
        # The user of an exported graph may pass an illegal rate, which NaN
        # shows.
        vector = ops.where(vector * (1.0 - vector) >= 0.0, vector, np.nan)
        rates: scopes.Rates = {}
        for number, place in enumerate(self.places):
            key = id(place.layer), place.part
            if number in self.given:
                rates[key] = vector[number]
            elif place.part is not None and number not in self.selected:
                rates[key] = 0.0
        return rates

    def of_layer(self, layer: keras.layers.Layer) -> list[int]:
        """The numbers of the selected places of a layer."""
        return [
            number
            for number in self.selected
            if self.places[number].layer is layer
        ]

    def parts_of(self, layer: keras.layers.Layer) -> tuple[str, ...]:
        """The names of the rates at which a layer draws by itself."""
        own = (
            self.places[number].part
            for number in self.of_layer(layer)
            if number not in self.given
        )
        return tuple(part for part in own if part is not None)

    def is_given(self, layer: keras.layers.Layer) -> bool:
        """Whether the rate of a layer, or one of its rates, is given."""
        return any(number in self.given for number in self.of_layer(layer))

    def rate_of(self, layer: keras.layers.Layer) -> float:
        """A number that is 0 if and only if the layer draws nothing."""
        if self.is_whole and not self.given:
            return adapters.rate_of(layer)
        rates = [
            self.given[number]
            if number in self.given
            else self.places[number].own_rate()
            for number in self.of_layer(layer)
        ]
        return max(rates, default=0.0)

    def draws(self, layer: keras.layers.Layer) -> bool:
        """Whether a pass must ask a layer, until the next trace."""
        if self.is_given(layer):
            return True
        if adapters.adapter_of(layer) is None:
            return bool(self.of_layer(layer))
        return self.rate_of(layer) != 0.0

    def silent(self) -> list[keras.layers.Layer]:
        """The layers that could draw but have no selected place."""
        drawn = {id(self.places[number].layer) for number in self.selected}
        found = {id(place.layer): place.layer for place in self.places}
        return [layer for key, layer in found.items() if key not in drawn]


class Asked(NamedTuple):
    """The user's request, which is looked up again if the model may change.

    Attributes:
        paths: The paths of the places to draw, a tuple; None for all.
        rate: The rate as the user gave it.
    """

    paths: tuple[str, ...] | None
    rate: Given

    def layers_given(self) -> list[str] | None:
        """The paths as a list, or None: an argument of `MonteCarlo`."""
        return None if self.paths is None else list(self.paths)

    def rate_given(self) -> float | dict[str, float] | None:
        """The rate as plain numbers, copied from the user's objects."""
        if self.rate is None:
            return None
        if isinstance(self.rate, dict):
            return {key: float(value) for key, value in self.rate.items()}
        return float(self.rate)


def whole(model: keras.Model) -> Choice:
    """The `Choice` of everything that can draw, at its own rates."""
    places = tuple(_places(model))
    return Choice(places, frozenset(range(len(places))), {}, True)


def of(model: keras.Model, layers: Given = None, rate: Given = None) -> Choice:
    """Returns the `Choice` for arguments of `mc_predict`.

    Args:
        model: A built model.
        layers: None, or the layers to draw, as in `set_rates`.
        rate: None, a number, or a dict from path, name or pattern to number.

    Raises:
        Refusal: If nothing is selected, or a rate cannot be given.
        TypeRefusal: If an argument has another type.
    """
    found = whole(model)
    if layers is None and rate is None:
        return found
    if not found.places:
        raise Refusal(
            f"no layer of model '{model.name}' is known to draw, so there is "
            "nothing to select, and nothing that a rate applies to. Received: "
            f"layers={layers!r}, rate={rate!r}"
        )
    numbers = {place.path: i for i, place in enumerate(found.places)}
    selected = found.selected
    if layers is not None:
        selected = _numbers(model, found.places, numbers, layers)
    choice = dataclasses.replace(
        found, selected=selected, is_whole=layers is None
    )
    if rate is None:
        return choice
    given = _given(model, choice, numbers, rate)
    choice = dataclasses.replace(choice, given=given)
    _check_given(model, choice, rate)
    return choice


def _places(model: keras.Model) -> Iterator[Place]:
    found = survey.of(model)
    paths = {id(layer): path for path, layer in found.layers[1:]}
    around = {
        id(layer.cell): path
        for path, layer in found.layers[1:]
        if registry.is_around_cell(layer)
    }
    # The layer around these has their dropout.
    thinned = registry.thinned_cells(layer for _, layer in found.layers[1:])
    for layer in found.drawable:
        if id(layer) in thinned:
            continue
        path = paths.get(id(layer), layer.name)
        for part in survey.parts_of(layer):
            if part is None:
                yield Place(path, layer, None)
            else:
                holder = around.get(id(layer), path)
                yield Place(f"{holder}/{part}", layer, part)


def _numbers(
    model: keras.Model,
    places: tuple[Place, ...],
    numbers: dict[str, int],
    selector: Given,
    is_key: bool = False,
) -> frozenset[int]:
    candidates = [(place.path, place.layer) for place in places]
    found = selection.selected(
        model, candidates, selector, "layer that can draw", is_key
    )
    return frozenset(numbers[path] for path, _ in found)


def _given(
    model: keras.Model, choice: Choice, numbers: dict[str, int], rate: Given
) -> dict[int, float]:
    """A dict from the numbers of places to the rates that are given."""
    if not isinstance(rate, dict):
        rate = _checks.rate_to_set(rate)
        return {number: rate for number in sorted(choice.selected)}
    if not rate:
        raise Refusal(
            "argument `rate` is an empty dict, which gives no rate; leave it "
            "out, or pass a number for all layers. Received: rate={}"
        )
    given: dict[int, float] = {}
    key_of: dict[int, str] = {}
    for key, value in rate.items():
        if not isinstance(key, str):
            raise Refusal(
                "the keys of argument `rate` must be paths, names or patterns. "
                f"Received: {key!r} (of type {type(key).__name__})"
            )
        number_given = _checks.rate_to_set(value)
        found = _numbers(model, choice.places, numbers, key, is_key=True)
        if not found & choice.selected:
            raise Refusal(
                f"the key {key!r} of argument `rate` selects layers that "
                "`layers` leaves out, which draw nothing: "
                f"{_listed(choice, found)}. Remove the key, or select them. "
                f"Received: rate={rate!r}"
            )
        for number in sorted(found & choice.selected):
            if number in key_of:
                raise Refusal(
                    f"the keys {key_of[number]!r} and {key!r} of argument "
                    f"`rate` both mean '{choice.places[number].path}'. Narrow "
                    f"one of them. Received: rate={rate!r}"
                )
            key_of[number], given[number] = key, number_given
    return given


def _read_by(reader: keras.layers.Layer) -> str:
    return (
        f"the code of '{reader.name}' ({model_tree.class_name(reader)}) "
        "computes with the layer's own rate, which would differ from the rate "
        "of this call. Set the layer's rate itself, or register how it draws, "
        "with `kerasdrop.register_stochastic`"
    )


def _listed(choice: Choice, numbers: Iterable[int]) -> str:
    return ", ".join(repr(choice.places[i].path) for i in sorted(numbers))


def _check_given(model: keras.Model, choice: Choice, rate: Given) -> None:
    inert = {
        id(inner): path
        for path, layer in model_tree.walk(model)
        if registry.is_attention_without_dropout(layer)
        for inner in model_tree.sublayers(layer)
    }
    owners = reading.written_by_users(model)
    fixed = {}
    for number, value in choice.given.items():
        place = choice.places[number]
        place.check(value)
        why = place.why_fixed()
        if id(place.layer) in inert:
            owner = inert[id(place.layer)]
            why = (
                f"attention '{owner}' was made with `dropout=0`, and never "
                "calls it. Make it with a `dropout` above 0, or put "
                "`kerasdrop.layers` attention there, whose rate is live"
            )
        reader = reading.reader_of_rate(owners, place.layer, place.part)
        if reader is not None:
            why = _read_by(reader)
        if why:
            fixed[number] = why
    if not fixed:
        return
    number, why = next(iter(fixed.items()))
    others = sorted(set(choice.selected) - set(fixed))
    way_out = ""
    if others:
        paths = [choice.places[i].path for i in others]
        way_out = f" Or leave it out: `layers={paths!r}`."
    raise Refusal(
        f"'{choice.places[number].path}' cannot get a rate for this call: "
        f"{why}.{way_out} Received: rate={rate!r}"
    )

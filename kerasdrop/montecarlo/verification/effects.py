"""Checks that a layer's draw changes its outputs, and by as much as it must."""

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from kerasdrop._adapters import adapters
from kerasdrop._adapters import registry
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.masks import scopes
from kerasdrop.montecarlo import choice as choices

# Anything less probable than this is not attributed to chance.
_CHANCE = 1e-9
_UNLIKELY = 1e-3


class Probe(NamedTuple):
    """One probed call of a layer that draws.

    Attributes:
        path: The path of the layer.
        kept, drawn: Lists of its outputs from the same inputs, with nothing
            dropped and with its draw.
    """

    path: str
    kept: list[Given]
    drawn: list[Given]


class Prober:
    """Calls each layer that draws once more, to see the effect of its draw.

    A cell is probed through the recurrent layer around it.

    Args:
        model: A built model.
        drawn: The layers that draw.
    """

    def __init__(
        self, model: keras.Model, drawn: dict[keras.layers.Layer, int]
    ) -> None:
        self._found: Given = None
        self._paths = {
            id(layer): path for path, layer in model_tree.walk(model)
        }
        self._probed = _probed(model, drawn)

    @contextlib.contextmanager
    def probing(self) -> Iterator[Given]:
        """Yields a list to which each such call in the block adds a `Probe`."""
        self._found = []
        try:
            yield self._found
        finally:
            self._found = None

    def wrap(
        self, recorder: Given, operation: keras.layers.Layer, plain: Function
    ) -> Function:
        """Returns an operation's method `plain`, with a probe if it draws."""
        if id(operation) not in self._probed:
            return plain

        @functools.wraps(plain)
        def call(*args: Given, **kwargs: Given) -> Given:
            kept = plain(*args, **kwargs)
            scope: Given = scopes.current()
            # Other scopes belong to trials, whose results are not used.
            is_pass = scope is not None and scope.keep_all is not None
            is_plain = scope is not None and not scope.draws
            is_one = is_pass or (is_plain and self._probed[id(operation)])
            if self._found is not None and is_one and recorder.is_on():
                by_plan = self._probed[id(operation)]
                with recorder.recording(), scope.drawing(by_plan):
                    drawn = plain(*args, **kwargs)
                pair = [recorder.reduced_all(one) for one in (kept, drawn)]
                if all(pair):
                    path = self._paths[id(operation)]
                    self._found.append(Probe(path, *pair))
            return kept

        return call


def _probed(
    model: keras.Model, drawn: dict[keras.layers.Layer, int]
) -> dict[int, bool]:
    """Dict from the id of a layer to probe to whether it uses the plan's words.

    Layers with the plan's words draw in a plain call as well, which shows that
    a class draws by row and not by position in a batch. For a known class only
    the first layer is probed in this way. The other layers draw from
    independent words, which take fewer operations and still show that a layer
    uses a mask at its rate. On JAX, where everything is compiled, the words are
    most of the cost of a probe.
    """
    found, seen = {}, set()
    for _, layer in model_tree.walk(model):
        is_rnn = isinstance(layer, keras.layers.RNN) and layer.cell in drawn
        if not is_rnn and layer not in drawn:
            continue
        found[id(layer)] = adapters.is_foreign(layer) or type(layer) not in seen
        seen.add(type(layer))
    return found


class Effects:
    """What the probes of the layers have shown so far.

    Args:
        model: A built model.
        drawn: The layers that draw.
        num_samples: Integer, the samples in a probe.
        choice: The `choice.Choice` of what is drawn.
    """

    def __init__(
        self,
        model: keras.Model,
        drawn: dict[keras.layers.Layer, int],
        num_samples: int,
        choice: choices.Choice,
    ) -> None:
        self._choice = choice
        self._num_samples = num_samples
        self._layers = {
            path: layer
            for path, layer in model_tree.walk(model)
            if layer in drawn
            or (isinstance(layer, keras.layers.RNN) and layer.cell in drawn)
        }
        self._probes: dict[Given, Given] = {}

    def add(self, probes: Given) -> None:
        for probe in probes:
            self._probes.setdefault(probe.path, []).append(probe)

    def undecided(self) -> Given:
        """Paths of the layers that need more draws before a verdict.

        Layers of Keras and of this package are known to draw. If one of those
        that draw whole rows had no effect, that may be chance.
        """
        return [
            path
            for path in self._probes
            if not (self._has_effect(path) and self._samples_differ(path))
            and (
                adapters.is_foreign(self._layers[path])
                or self._is_unlikely(path)
            )
        ]

    def _is_unlikely(self, path: str) -> Given:
        """Whether it is improbable that a layer had no effect by chance."""
        layer = self._layers[path]
        if not registry.nearest_facts(type(layer)).is_by_unit:
            return False
        if getattr(layer, "noise_shape", None) is not None:
            return False
        elements = sum(
            np.count_nonzero(kept)
            for probe in self._probes[path]
            for kept in probe.kept
        )
        rate = self._rate(path)
        seen = rate**2 + (1.0 - rate) ** 2
        return max(seen, 1.0 - rate) ** elements < _UNLIKELY

    def faults(self) -> Iterator[Given]:
        """Yields pairs of a layer's path and what is wrong with the layer."""
        for path, probes in self._probes.items():
            layer = self._layers[path]
            rate = self._rate(path)
            if any(_has_wrong_rate(layer, rate, probe) for probe in probes):
                yield path, f"is not drawn at its rate of {rate:g}"
            if not _is_one_function(layer):
                continue
            alike = rate**2 + (1.0 - rate) ** 2
            if not self._has_effect(path):
                if not self._is_chance(path, 1.0 - rate):
                    yield path, "does not change with what is drawn for it"
            elif not self._samples_differ(path):
                if not self._is_chance(path, alike):
                    yield path, "draws the same in each sample"

    def without_effect(self) -> Given:
        """Paths of layers whose draws changed nothing, which is not chance."""
        return tuple(
            path
            for path in self._probes
            if not self._has_effect(path)
            and (
                self._rows_alive(path) == 0
                or not self._is_chance(path, 1.0 - self._rate(path))
            )
        )

    def _rate(self, path: str) -> Given:
        layer = self._layers[path]
        if not adapters.can_draw(layer):
            layer = layer.cell
        # A noise layer has a standard deviation instead.
        return min(1.0, self._choice.rate_of(layer))

    def _has_effect(self, path: str) -> Given:
        return any(
            not np.array_equal(kept, drawn, equal_nan=True)
            for probe in self._probes[path]
            for kept, drawn in zip(probe.kept, probe.drawn)
        )

    def _samples_differ(self, path: str) -> Given:
        if self._num_samples == 1:
            return True
        for probe in self._probes[path]:
            for drawn in probe.drawn:
                parts = self._by_sample(drawn)
                if parts is None or not np.array_equal(
                    parts[:, 0], parts[:, 1], equal_nan=True
                ):
                    return True
        return False

    def _by_sample(self, array: Array) -> Given:
        if array.shape[:1] == () or array.shape[0] % self._num_samples:
            return None
        return array.reshape(-1, self._num_samples, *array.shape[1:])

    def _is_chance(self, path: str, probability: Given) -> Given:
        """Whether a finding may be due to chance, or had no reason to differ.

        Args:
            path: The path of a layer.
            probability: The probability of the finding in each row of a tensor
                that is not all 0.
        """
        return probability ** self._rows_alive(path) > _CHANCE

    def _rows_alive(self, path: str) -> Given:
        """How many rows of the outputs were not all 0."""
        rows = 0
        for probe in self._probes[path]:
            for kept in probe.kept:
                flat = kept.reshape(len(kept), -1) if kept.ndim else kept
                alive = np.any(np.isfinite(flat) & (flat != 0), axis=-1)
                rows += int(np.sum(alive))
        return rows


def _is_one_function(layer: keras.layers.Layer) -> Given:
    """Whether the outputs of `layer` depend only on its inputs and a mask."""
    return not (
        model_tree.sublayers(layer)
        or (registry.is_noise(layer) and _has_own_call(layer))
        or isinstance(layer, keras.layers.RNN)
        or registry.drops_in_its_call(layer)
        or adapters.is_by_keras(layer)
    )


def _has_own_call(layer: keras.layers.Layer) -> Given:
    """Whether the `call` of a layer is neither Keras' nor this package's."""
    owner = model_tree.owner_of(type(layer), "call")
    return not owner.__module__.startswith(("keras.", "kerasdrop."))


def _has_wrong_rate(
    layer: keras.layers.Layer, rate: Given, probe: Given
) -> Given:
    """Whether a dropout layer scales the kept units by a wrong factor."""
    is_rescaled = registry.nearest_facts(type(layer)).is_rescaled
    if not is_rescaled or _has_own_call(layer):
        return False
    kept_share = 1.0 - rate
    for kept, drawn in zip(probe.kept, probe.drawn):
        passed = np.isfinite(kept) & (kept != 0.0) & (drawn != 0.0)
        ratio = drawn[passed].astype("float64") / kept[passed]
        # float16 rounds both the inputs and the scale.
        if np.size(ratio) and not np.allclose(ratio * kept_share, 1.0, 0.05):
            return True
    return False

"""Runs a model in a plain call and in a pass, and records each call."""

import functools
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._adapters import asking
from kerasdrop._adapters import survey
from kerasdrop._structure import keras_graph
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.sampling import passes
from kerasdrop.montecarlo.verification import comparing
from kerasdrop.montecarlo.verification import effects
from kerasdrop.montecarlo.verification import recording

NUM_SAMPLES = 2


class Rows(NamedTuple):
    """Some rows of the model's inputs.

    Attributes:
        inputs: Numpy arrays `(rows, ...)` in the structure of the inputs.
        places: int32 `(rows,)`, the position of each row in the data.
    """

    inputs: Given
    places: np.ndarray

    def part(self, order: Array) -> "Rows":
        """Returns the rows with these numbers."""
        inputs = tree.map_structure(
            lambda array: None if array is None else array[order], self.inputs
        )
        return Rows(inputs, self.places[order])

    def tensors(self) -> tuple[Tensor, Tensor]:
        return tree.map_structure(
            lambda array: None if array is None else _tensor(array),
            (self.inputs, self.places),
        )


class Run(NamedTuple):
    """The recorded results of a plain call and a pass, as numpy arrays.

    Attributes:
        plain: List of `comparing.Call` in a plain call, in which all layers
            that are known to draw are in inference. The last one has the
            model's outputs.
        pass_: The same for samples in which nothing is dropped.
        plain_probes, probes: Lists of `effects.Probe` in the plain call and in
            the pass.
        outputs: The outputs of the plain call, a structure of arrays.
    """

    plain: list[Given]
    pass_: list[Given]
    plain_probes: list[Given]
    probes: list[Given]
    outputs: Given


class Runs:
    """Runs a model both ways on some rows.

    Args:
        model: A built model.
        holder: A layer that tracks all variables of the model.
        plan: One of `plans.PLANS`.
        vectorized: As in `passes.sampler`.
        choice: The `choice.Choice` of what is drawn.

    Attributes:
        drawn: Dict whose keys are the layers that draw.
        num_samples: Integer, the samples in a pass.
        in_training: Ids of the layers that something told to be in training and
            that obeyed in a plain call.
        strangers: List of pairs of a layer that is none of the model's and the
            layer of the model whose code called it in a plain call.
        draws_at_inference: Whether code that is not known to draw has drawn
            from Keras' generators. It gets the same seeds in plain calls and in
            samples. It draws a whole tensor at once, whose size must be the
            same in both, and its numbers depend on the batch.
    """

    def __init__(
        self,
        model: keras.Model,
        holder: keras.Model,
        plan: str,
        vectorized: bool,
        choice: choices.Choice,
    ) -> None:
        self._model = model
        self._holder = holder
        self._plan = plan
        self._vectorized = vectorized
        self._functions: dict[Given, Given] = {}
        self._choice = choice
        self.drawn = passes.drawn_layers(model, choice)
        self.num_samples = NUM_SAMPLES if vectorized else 1
        self.in_training: set[Given] = set()
        self.strangers: list[Given] = []
        self.draws_at_inference = False

    def forget(self) -> None:
        """Drops the compiled functions, so the next run calls Python again."""
        self._functions = {}

    def of(
        self,
        rows: Rows,
        others: Rows | None = None,
        seed: int = 0,
        twice: bool = False,
        with_inputs: bool = False,
    ) -> Run:
        """Runs the model and returns a `Run`.

        Args:
            rows: `Rows` for the plain call.
            others: `Rows` for the samples; None for the same.
            seed: Integer, the seed of the draws.
            twice: Whether to make the plain call twice.
            with_inputs: Whether to record the largest inputs of each call, too.
        """
        settings = (twice, with_inputs, self.draws_at_inference)
        if settings not in self._functions:
            names: list[Given] = []
            function = functools.partial(self._made, names, *settings)
            made = _backend.quickly(
                function,
                self._holder,
                traceable=survey.of(self._model).is_traceable,
            )
            self._functions[settings] = made, names
        function, names = self._functions[settings]
        key = _tensor(masks.key_of_seed(seed))
        with keras_graph.no_global_generator_made():
            made = function(rows.tensors(), (others or rows).tensors(), key)
        return _run_of(tree.map_structure(array_of, made), names)

    def _made(
        self,
        names: list[Given],
        twice: bool,
        with_inputs: bool,
        repeats: bool,
        rows: tuple[Tensor, Tensor],
        others: tuple[Tensor, Tensor],
        key: Tensor,
    ) -> Given:
        """The traced function, which fills `names` with the paths of calls."""
        model = self._model
        probes = effects.Prober(model, self.drawn)
        with (
            asking.asking_the_scope(model, self.drawn, self._choice.silent()),
            recording.recorder(model, with_inputs, probes.wrap) as recorder,
        ):
            pass_, of_pass = self._pass(recorder, probes, *others, key)
            plain, of_plain, outputs = self._plain(
                recorder, probes, *rows, key, twice, repeats
            )
        lists = plain, pass_, of_plain, of_pass
        names[:] = [[one.path for one in found] for found in lists]
        return [[tuple(one)[1:] for one in found] for found in lists], outputs

    def _pass(
        self,
        recorder: recording.Recorder,
        probes: effects.Prober,
        inputs: Tensor,
        places: Tensor,
        key: Tensor,
    ) -> Given:
        samples = _tensor(np.arange(self.num_samples, dtype="int32"))
        settings = self._plan, inputs, places, self._vectorized
        num_rows = places.shape[0]
        folded = num_rows * self.num_samples
        with (
            recorder.recording(num_rows, folded) as calls,
            passes.sampler(
                self._model,
                key,
                *settings,
                keep_all=True,
                choice=self._choice,
            ) as draw,
            probes.probing() as found,
        ):
            outputs = [
                ops.reshape(output, (folded, *output.shape[2:]))
                for output in tree.flatten(draw(samples))
            ]
            calls.append(_outputs(recorder, outputs))
        return calls, found

    def _plain(
        self,
        recorder: Given,
        probes: Given,
        inputs: Structure,
        places: Given,
        key: Tensor,
        twice: Given,
        repeats: Given,
    ) -> Given:
        num_samples = self.num_samples if repeats else 1
        samples = _tensor(np.arange(num_samples, dtype="int32"))
        inputs = _repeated(inputs, num_samples)
        num_rows = places.shape[0]
        with (
            recorder.recording(num_rows, num_rows * self.num_samples) as calls,
            probes.probing() as found,
        ):
            for _ in range(1 + twice):
                with passes.inference(
                    self._model,
                    key,
                    self._plan,
                    places,
                    samples,
                    self._vectorized,
                    self._choice,
                ) as scope:
                    outputs = self._model(inputs, training=False)
                calls.append(_outputs(recorder, outputs))
        self.draws_at_inference = scope.asked[id(None)] > 0
        self.in_training.update(scope.told)
        self.strangers.extend(scope.strangers)
        return calls, found, outputs


def _outputs(recorder: Given, outputs: Structure) -> Given:
    """A `recording.Call` with the outputs of a model."""
    reduced = recorder.reduced_all(outputs)
    return recording.Call(comparing.OUTPUTS, reduced, None)


def _run_of(made: Given, names: Given) -> Given:
    """Makes a `Run` from what `Runs._made` returns."""
    kinds = comparing.Call, comparing.Call, effects.Probe, effects.Probe
    lists = [
        [kind(path, *one) for path, one in zip(paths, found)]
        for kind, paths, found in zip(kinds, names, made[0])
    ]
    return Run(*lists, made[1])  # type: ignore[call-arg]


def _repeated(tensors: Given, num_samples: int) -> Given:
    if num_samples == 1:
        return tensors
    return tree.map_structure(
        lambda tensor: (
            None if tensor is None else ops.repeat(tensor, num_samples, axis=0)
        ),
        tensors,
    )


def array_of(tensor: Tensor) -> Given:
    """A tensor as a numpy array; None for an input that is left out."""
    return None if tensor is None else ops.convert_to_numpy(tensor)


def _tensor(array: Array) -> Tensor:
    return ops.convert_to_tensor(array)

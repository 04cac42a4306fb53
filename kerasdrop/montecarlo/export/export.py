"""Writes a Monte Carlo model for other software, and tests the file.

The masks are integer arithmetic without random operations, so an exported graph
can draw the same samples as Keras. But most exporters get some integer
arithmetic wrong, and some of them silently. Therefore each file is run, and
must agree, before it counts as exported.
"""

import os
import pathlib
import shutil
import tempfile

import keras
from keras import tree

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._adapters import adapters
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.masks import plans
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine.engine import Engine
from kerasdrop.montecarlo.export import agreement
from kerasdrop.montecarlo.export import signatures
from kerasdrop.montecarlo.export.formats.table import FORMATS


class _Written(keras.Model):
    """The model that is written, a function from tensors to statistics.

    Args:
        predictive: The `MonteCarlo`, which has the variables.
        engine: Its `Engine`.
        divides: As for `_backend.exporting`.
        extra: Names of the further inputs: any of `rows`, `seed` and `rate`.
    """

    def __init__(
        self, predictive: Given, engine: Given, divides: Given, extra: Given
    ) -> None:
        super().__init__(autocast=False, name=predictive.name)
        self.predictive = predictive
        self._engine = engine
        self._divides = divides
        self._extra = extra
        self.built = True

    # The inputs come by position, since Keras exports none by name.
    def call(
        self,
        inputs: Structure,
        first: Given = None,
        second: Given = None,
        third: Given = None,
    ) -> Given:
        given = dict(zip(self._extra, (first, second, third)))
        rows, seed = given.get("rows"), given.get("seed")
        with _backend.exporting(self._divides):
            if seed is None:
                key = masks.key_of_seed(self.predictive.seed)
            else:
                key = masks.key_of_seed_tensor(seed)
            # Keras on PyTorch unrolls loops. There is no loop if all samples
            # are drawn at once.
            at_once = plans.SET_SIZE
            if keras.backend.backend() == "torch":
                at_once = self.predictive.num_samples
            return agreement.statistics(
                self._engine, key, inputs, rows, given.get("rate"), at_once
            )


def export(
    predictive: keras.Model,
    engine: Engine,
    filepath: Given,
    format: Given,
    verbose: bool | None,
    input_signature: Given,
    seed: str | None,
    rows: str | None,
    rate: str | None,
    example: Structure,
    **kwargs: Given,
) -> None:
    """Implements `MonteCarlo.export`; `engine` is the model's own engine."""
    owner = predictive._owner
    path = pathlib.Path(filepath)
    with blame(owner):
        format = _checked_format(format, path)
        format.check_arguments(kwargs)
        _check_inputs(seed=seed, rows=rows, rate=rate)
        _check_model(predictive)
    _check_installed(format, owner)
    with blame(owner):
        signature = signatures.of(predictive.model, input_signature)
        engine = engine.with_choice(_choice(predictive, rate))
    extra = signatures.extra_inputs(signature, rows, seed, rate)
    example = signatures.example(signature, example)
    trial = [example, *signatures.extra_trial(example, extra)]

    names = [spec.name for spec in extra]
    model = _Written(predictive, engine, format.divides(), names)
    with tempfile.TemporaryDirectory(
        prefix=".kerasdrop_export_", dir=_made(path.parent)
    ) as folder:
        written = os.path.join(folder, path.name)
        try:
            format.write(model, written, signature + extra, **kwargs)
            names = [spec.name for spec in tree.flatten(signature + extra)]
            inputs = dict(zip(names, tree.flatten(trial)))
            found = format.run(written, inputs)
        except Exception as error:
            raise RuntimeError(
                f"{owner}: model '{predictive.model.name}' could not be "
                f"exported as '{format.name}' from "
                f"{keras.backend.backend()}: the exporter, or the software "
                "that runs its file, failed. The model is unchanged, and "
                "nothing was written. docs/exports.md lists other formats. "
                f"The reason: {type(error).__name__}: {error}"
            ) from error
        agreement.check(predictive, engine, trial, extra, found, owner)
        _move(folder, path.parent)
    if verbose is not False:
        print(f"Saved '{path}'. It was run, and draws what Keras draws.")


def _choice(predictive: keras.Model, rate: str | None) -> choice.Choice:
    """The `Choice` of the file, which may have a rate as an input."""
    paths, given = predictive._asked
    if rate is not None and given is None:
        # The rate of all selected places.
        given = signatures.RATE_OF_TRIAL
    return choice.of(predictive.model, paths, given)


def _checked_format(name: str, path: Given) -> Given:
    if not isinstance(name, str) or name not in FORMATS:
        raise Refusal(
            "argument `format` of `export` must be one of "
            f"{', '.join(FORMATS)}. Received: format={name!r}"
        )
    format, backend = FORMATS[name], keras.backend.backend()
    if backend not in format.backends:
        raise Refusal(
            f"format '{name}' can be written on "
            f"{' and '.join(format.backends)}, but Keras runs on {backend}, "
            "where it cannot write this format with the same samples. Save "
            "this `MonteCarlo` (`.save('predictive.keras')`), load it in a "
            f"process with KERAS_BACKEND={' or '.join(format.backends)}, after "
            "`import kerasdrop`, and export it there: the samples are the same "
            "on all backends."
        )
    if not path.name.endswith(format.ending):
        raise Refusal(
            f"a file of format '{name}' must end in '{format.ending}'. "
            f"Received: filepath='{path}'"
        )
    return format


def _check_inputs(**given: Given) -> None:
    for name, value in given.items():
        if value not in (None, "input"):
            raise Refusal(
                f"argument `{name}` of `export` must be 'input', for an input "
                "of the exported model, or None. Received: "
                f"{name}={value!r}"
            )


def _check_installed(format: Given, owner: str) -> None:
    missing = format.missing()
    if missing:
        raise ImportError(
            f"{owner}: to write a file of format '{format.name}', and to run "
            "it once for a check of its samples, these packages are needed: "
            f"pip install {' '.join(missing)}"
        )


def _check_model(predictive: keras.Model) -> None:
    by_keras = [
        layer.name
        for layer in survey.of(predictive.model).drawable
        if adapters.is_by_keras(layer)
    ]
    if by_keras:
        raise Refusal(
            "these layers draw by Keras' own generators, which draw other "
            "numbers in an exported model: "
            f"{', '.join(map(repr, by_keras))}. Register a function for their "
            "class that draws: `register_stochastic(cls, f)`."
        )
    if not predictive.vectorized:
        raise Refusal(
            "an exported model runs its samples side by side. Export a "
            "`MonteCarlo` that was made without `vectorized=False`. Received: "
            "vectorized=False"
        )
    is_torch = keras.backend.backend() == "torch"
    if predictive.tolerance is not None and is_torch:
        raise Refusal(
            "with a `tolerance` the number of samples depends on the "
            "data, and a graph of PyTorch has no loop of such a length. Leave "
            "the tolerance out, or load this model in a process with "
            "KERAS_BACKEND=tensorflow and export it there. Received: "
            f"tolerance={predictive.tolerance}"
        )


def _made(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _move(folder: str, target: pathlib.Path) -> None:
    """Moves the written files to their place, over existing ones."""
    for name in os.listdir(folder):
        old = target / name
        if old.is_dir():
            shutil.rmtree(old)
        os.replace(os.path.join(folder, name), old)

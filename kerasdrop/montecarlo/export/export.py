"""Writes a Monte Carlo model for other software, and tries what was written.

Our masks are integer arithmetic, with no random operation in them, so that an
exported graph can draw the samples that Keras draws. But exporters get integer
arithmetic wrong more often than not, some of them without a word. So nothing
is called exported that was not run, and found to agree.
"""

import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._adapters import adapters
from kerasdrop._structure import keras_graph
from kerasdrop.masks import plans
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.export import runtimes

# By format: what writes it, and the ending of its files.
_BACKENDS = {
    "tf_saved_model": ("tensorflow", "jax"),
    "onnx": ("tensorflow", "torch"),
    "openvino": ("tensorflow", "torch"),
    "litert": ("tensorflow",),
}
_ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}

# Their readers have no integer `and`, or shift otherwise than PyTorch does.
_DIVIDING = (("litert", "tensorflow"), ("openvino", "torch"))

# onnxruntime refuses bit operations in files of the default of tf2onnx.
_ONNX_OPSET = 18

# Sizes that the signature leaves open are of so many in the trial, and of so
# many where an example is traced: these must differ.
_TRIAL_SIZE = 3
_TRACED_SIZE = 2

# What a file may differ by: rounding, and this part of what another seed
# makes of the same rows. One wrong bit in a thousand makes more.
_ROUNDING = 1e-5
_PART_OF_ANOTHER_SEED = 0.02

_SEED_OF_TRIAL = 2**31 - 19


class _Written(keras.Model):
    """What is written: a function from tensors to statistics.

    Args:
        predictive: The `MonteCarlo`, for its variables.
        engine: Its `Engine`.
        divides: As for `_backend.exporting`.
        extra: Names of the inputs besides the model's: `rows`, `seed`.
    """

    def __init__(self, predictive, engine, divides, extra):
        super().__init__(autocast=False, name=predictive.name)
        self.predictive = predictive
        self._engine = engine
        self._divides = divides
        self._extra = extra
        self.built = True

    # By position: Keras exports nothing by name.
    def call(self, inputs, first=None, second=None):
        given = dict(zip(self._extra, (first, second)))
        rows, seed = given.get("rows"), given.get("seed")
        with _backend.exporting(self._divides):
            if seed is None:
                key = masks.key_of_seed(self.predictive.seed)
            else:
                key = masks.key_of_seed_tensor(seed)
            # Keras on PyTorch writes a loop out, round by round: there is none
            # if all samples are drawn at once.
            at_once = plans.SET_SIZE
            if keras.backend.backend() == "torch":
                at_once = self.predictive.num_samples
            return _statistics(self._engine, key, inputs, rows, at_once)


def _statistics(engine, key, inputs, rows, samples_at_once=plans.SET_SIZE):
    """A flat dict of statistics, `mean.name` for one of several outputs."""
    if rows is None:
        size = ops.shape(tree.flatten(inputs)[0])[0]
        rows = ops.arange(size, dtype="int32")
    engine = engine.with_key(lambda: key)
    packed = engine.whole(RowsOf(inputs, rows), samples_at_once)
    return {
        ".".join([name, *map(str, path)]): value
        for name, structure in packed.items()
        for path, value in tree.flatten_with_path(structure)
    }


def export(
    predictive,
    engine,
    filepath,
    format,
    verbose,
    input_signature,
    seed,
    rows,
    example,
    **kwargs,
):
    """What `MonteCarlo.export` says; `engine` is the model's own."""
    owner = type(predictive).__name__
    backend = keras.backend.backend()
    path = pathlib.Path(filepath)
    _check_arguments(format, backend, path, seed, rows, owner)
    _check_model(predictive, backend, owner)
    runtimes.check_installed(format, backend, owner)
    signature = _signature(predictive.model, input_signature, owner)
    extra = _extra_inputs(signature, rows, seed)
    example = _example(signature, example)
    trial = [example, *_extra_trial(example, extra)]

    model = _Written(
        predictive,
        engine,
        (format, backend) in _DIVIDING,
        [spec.name for spec in extra],
    )
    with tempfile.TemporaryDirectory(
        prefix=".kerasdrop_export_", dir=_made(path.parent)
    ) as folder:
        written = os.path.join(folder, path.name)
        try:
            _write(model, written, format, backend, signature + extra, kwargs)
            names = [spec.name for spec in tree.flatten(signature + extra)]
            inputs = dict(zip(names, tree.flatten(trial)))
            found = runtimes.run(format, written, inputs)
        except Exception as error:
            raise RuntimeError(
                f"{owner}: model '{predictive.model.name}' could not be "
                f"exported as '{format}' from {backend}: the exporter, or what "
                "runs its file, failed as below. The model is as it was; "
                "nothing was written. docs/exports.md has what else can be "
                f"had. The reason: {type(error).__name__}: {error}"
            ) from error
        _check_agreement(predictive, engine, trial, extra, found, owner)
        _move(folder, path.parent)
    if verbose is not False:
        print(f"Saved '{path}'. It was run, and draws what Keras draws.")


def _check_arguments(format, backend, path, seed, rows, owner):
    if format not in _BACKENDS:
        raise ValueError(
            f"{owner}: argument `format` of `export` must be one of "
            f"{', '.join(_BACKENDS)}. Received: format={format!r}"
        )
    if backend not in _BACKENDS[format]:
        raise ValueError(
            f"{owner}: format '{format}' can be written on "
            f"{' and '.join(_BACKENDS[format])}, and Keras runs on {backend}, "
            "from where Keras writes it for no model, or not without changing "
            "what is drawn. Save this model (`.keras`), load it in a process "
            f"with KERAS_BACKEND={_BACKENDS[format][0]} and export it there: "
            "the samples are the same on all backends."
        )
    ending = _ENDINGS.get(format, "")
    if not path.name.endswith(ending):
        raise ValueError(
            f"{owner}: a file of format '{format}' must end in '{ending}'. "
            f"Received: filepath='{path}'"
        )
    for name, value in (("seed", seed), ("rows", rows)):
        if value not in (None, "input"):
            raise ValueError(
                f"{owner}: argument `{name}` of `export` must be 'input', for "
                "an input of what is written, or None. Received: "
                f"{name}={value!r}"
            )


def _check_model(predictive, backend, owner):
    by_keras = [
        layer.name
        for layer in adapters.drawable_layers(predictive.model)
        if adapters.is_by_keras(layer)
    ]
    if by_keras:
        raise ValueError(
            f"{owner}: these layers draw by Keras' own generators, which "
            "draw other numbers where they are exported to: "
            f"{', '.join(map(repr, by_keras))}. Register a function for their "
            "class that draws: `register_stochastic(cls, f)`."
        )
    if not predictive.vectorized:
        raise ValueError(
            f"{owner}: what is exported runs its samples side by side. Make "
            "it of the model without `vectorized=False`. Received: "
            "vectorized=False"
        )
    if predictive.tolerance is not None and backend == "torch":
        raise ValueError(
            f"{owner}: with a `tolerance` the number of samples depends on the "
            "data, and a graph of PyTorch has no loop of such a length. Leave "
            "the tolerance out, or load this model in a process with "
            "KERAS_BACKEND=tensorflow and export it there. Received: "
            f"tolerance={predictive.tolerance}"
        )


def _signature(model, given, owner):
    """A list of one structure of `keras.InputSpec`s, each with a name."""
    if given is None:
        graph = keras_graph.graph_of(model)
        if graph is None:
            raise ValueError(
                f"{owner}: model '{model.name}' is no graph of layers, so it "
                "is not known what it takes. Pass `input_signature`, e.g. "
                "`[keras.InputSpec('float32', (None, 8))]`."
            )
        given = [graph.input]
    if not isinstance(given, (list, tuple)) or len(given) != 1:
        raise ValueError(
            f"{owner}: argument `input_signature` must be a list of one "
            "structure, that of the model's inputs. Received: "
            f"input_signature={given!r}"
        )
    numbers = iter(range(len(tree.flatten(given))))

    def spec(leaf):
        number, shape = next(numbers), tuple(leaf.shape)
        if not isinstance(leaf, keras.InputSpec):
            shape = (None, *shape[1:])  # as Keras has it
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        name = getattr(leaf, "name", None) or f"input_{number}"
        return keras.InputSpec(dtype, shape, name=name)

    return [tree.map_structure(spec, given[0])]


def _extra_inputs(signature, rows, seed):
    size = tree.flatten(signature)[0].shape[0]
    extra = []
    if rows is not None:
        extra.append(keras.InputSpec("int32", (size,), name="rows"))
    if seed is not None:
        extra.append(keras.InputSpec("int32", (), name="seed"))
    return extra


def _example(signature, given):
    """Arrays in the structure of the model's inputs."""
    if given is not None:
        return tree.map_structure(
            lambda spec, x: np.asarray(ops.convert_to_numpy(x), spec.dtype),
            signature[0],
            given,
        )
    generator = np.random.default_rng(0)

    def numbers(spec):
        shape = [_TRIAL_SIZE if n is None else n for n in spec.shape]
        if "float" in spec.dtype:
            return generator.uniform(size=shape).astype(spec.dtype)
        return generator.integers(2, size=shape).astype(spec.dtype)

    return tree.map_structure(numbers, signature[0])


def _extra_trial(example, extra):
    size = len(tree.flatten(example)[0])
    places = np.random.default_rng(1).integers(2**31, size=size)
    values = {"rows": places, "seed": _SEED_OF_TRIAL}
    return [np.array(values[spec.name], "int32") for spec in extra]


def _write(model, path, format, backend, signature, kwargs):
    if backend == "torch":
        # Keras' own way to ONNX knows no bit operations, and that to OpenVINO
        # names no outputs.
        _write_from_torch(model, path, format, signature, kwargs)
        return
    if format == "onnx":
        kwargs = {"opset_version": _ONNX_OPSET, **kwargs}
    if backend == "jax":
        # Nobody trains on statistics, and the loop of a `tolerance` has none.
        kwargs = {"jax2tf_kwargs": {"with_gradient": False}, **kwargs}
    model.export(
        path, format, verbose=False, input_signature=signature, **kwargs
    )


def _write_from_torch(model, path, format, signature, kwargs):
    specs = tree.flatten(signature)
    names = [spec.name for spec in specs]
    shapes = [
        [_TRACED_SIZE if size is None else size for size in spec.shape]
        for spec in specs
    ]
    traced = [ops.ones(size, s.dtype) for size, s in zip(shapes, specs)]
    outputs = list(model(*tree.pack_sequence_as(signature, traced)))

    def function(*flat):
        result = model(*tree.pack_sequence_as(signature, list(flat)))
        return tuple(result[name] for name in outputs)

    module = _backend.module(function, model)
    if format == "onnx":
        shapes = [spec.shape for spec in specs]
        _backend.write_onnx(
            module, traced, shapes, path, names, outputs, **kwargs
        )
    else:
        graph = _backend.traced(module, traced)
        runtimes.write_openvino(graph, path, names, outputs, **kwargs)


def _check_agreement(predictive, engine, trial, extra, found, owner):
    """Raises if outputs are not those of this model on these inputs."""
    inputs, *others = tree.map_structure(ops.convert_to_tensor, trial)
    given = dict(zip([spec.name for spec in extra], others))
    seed = _SEED_OF_TRIAL if "seed" in given else predictive.seed
    compiled = _backend.compiled(
        lambda *args: _statistics(engine, *args), predictive
    )
    expected, of_another_seed = (
        {
            name: np.asarray(ops.convert_to_numpy(value), "float64")
            for name, value in compiled(
                ops.convert_to_tensor(masks.key_of_seed(number)),
                inputs,
                given.get("rows"),
            ).items()
        }
        for number in (seed, seed + 1)
    )
    if not _differences(expected, expected, of_another_seed):
        raise RuntimeError(
            f"{owner}: what was exported cannot be told right from wrong: on "
            "the inputs that it was tried with, the samples of another seed "
            "have the same statistics. Nothing was written. Pass inputs of a "
            "few rows on which the model is uncertain as `example`."
        )
    differences = _differences(expected, of_another_seed, found)
    if differences:
        raise RuntimeError(
            f"{owner}: the exporter wrote a file that runs, but does not "
            "return what this model returns for the same seed. So it was "
            "deleted. Try another format (docs/exports.md), or inputs like "
            "yours as `example`. Received: largest differences by statistic, "
            f"in parts of what another seed makes: {differences}"
        )


def _differences(expected, of_another_seed, found):
    """By name, what differs by too much, as a part of another seed's."""
    differences = {}
    for name, value in expected.items():
        if name not in found or np.shape(found[name]) != value.shape:
            differences[name] = f"shape {np.shape(found.get(name, ()))}"
            continue
        off = _distance(value, np.asarray(found[name], "float64"))
        scale = _distance(value, of_another_seed[name])
        size = np.max(np.abs(value), initial=0.0, where=np.isfinite(value))
        allowed = _ROUNDING * size + _PART_OF_ANOTHER_SEED * scale
        # A vote may go the other way by a rounding error.
        if name.split(".")[0] in ("votes", "variation_ratio"):
            allowed += 1.0 if name.startswith("votes") else np.inf
        if not off <= allowed:
            differences[name] = round(float(off / scale), 3) if scale else off
    return differences


def _distance(one, other):
    """The largest difference; infinite where only one is finite."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(one - other))
    return np.max(np.where(np.isnan(off), np.inf, off), initial=0.0)


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _move(folder, target):
    """Moves all that was written, in place of what is there."""
    for name in os.listdir(folder):
        old = target / name
        if old.is_dir():
            shutil.rmtree(old)
        os.replace(os.path.join(folder, name), old)

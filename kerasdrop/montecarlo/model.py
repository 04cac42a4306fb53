"""`MonteCarlo`: a model's predictive distribution, as a model."""

import random

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop.montecarlo import adapters
from kerasdrop.montecarlo import folding
from kerasdrop.montecarlo import kinds
from kerasdrop.montecarlo import moments
from kerasdrop.montecarlo import plans
from kerasdrop.montecarlo import preconditions
from kerasdrop.montecarlo import scopes
from kerasdrop.montecarlo.batches import Batches
from kerasdrop.montecarlo.batches import RowsOf
from kerasdrop.state import Cell

_NOT_TRAINED = (
    "MonteCarlo predicts; it is not trained. Train the model that it was made "
    "of: its next prediction uses the new weights."
)


@keras.saving.register_keras_serializable("kerasdrop")
class MonteCarlo(keras.Model):
    """The predictive distribution of a model with dropout, as a model.

    Each prediction draws `num_samples` thinned networks and returns statistics
    over their outputs. The model itself is used as it is and left as it was:
    its layers that draw do so inside this model's calls only, everything else
    (batch normalization above all) is in inference.

    Sample `t` of row `i` depends on the seed, `t` and `i` alone: not on
    `num_samples`, the batch size, the order of the batches or the backend.

    Args:
        model: A built Keras model with layers that can draw: those of
            `kerasdrop.layers`; the stock dropout and noise layers; the
            dropout inside recurrent cells and attention; the drop paths of
            `keras.applications` and KerasHub; what was given to
            `kerasdrop.register_stochastic`. Augmentation layers stay off.
        num_samples: Integer, samples per row.
        seed: Integer; None draws one. Readable afterwards as `seed`, and
            settable without a retrace.
        plan: `"independent"`: each row of each sample has masks of its own.
            `"stratified"`: these, balanced over each 16 samples, in which a
            unit is dropped as nearly as possible `16 * rate` times: more
            exact means from fewer samples (Latin hypercube sampling, McKay,
            Beckman & Conover 1979). `"shared"`: all rows of a sample share
            their masks, so that each sample is one function.
        kind: What the outputs are: `"probabilities"` or `"logits"` of classes
            (over the last axis), `"binary"` (each element the probability of
            yes), `"regression"`, `"mean_and_variance"` or
            `"mean_and_log_variance"` (means in the first half of the last
            axis, variances or their logarithms in the second). None reads it
            off the last activation: softmax makes probabilities, sigmoid
            binary, anything else regression.
        **kwargs: As in `keras.Model`: `name`, `dtype`.

    Call arguments:
        inputs: As the model's.

    Returns (of a call and of `predict`):
        A dict; each value has the structure of the model's outputs.

        - `mean`: `(batch, ...)`, of probabilities if the outputs are logits.
        - `variance`: `(batch, ...)`, over samples, with `num_samples - 1` in
          the denominator; NaN for a single sample.
        - `std`: its square root.
        - `standard_error`: `(batch, ...)`, of the mean, right for the plan.
        - for classes `predictive_entropy` (of the mean), `expected_entropy`
          (mean over samples) and `mutual_information` (their difference),
          `(batch, ...)` without the last axis, in nats; `votes`,
          `(batch, ..., classes)`, the samples that find each class the most
          probable; `variation_ratio`, the part of the samples that does not
          vote with the majority. For `"binary"` the same element by element,
          `votes` being those for yes.
        - for two-part outputs `aleatoric_variance` (mean of the variances),
          `epistemic_variance` (variance of the means) and `total_variance`
          (their sum).
        - with `keep_samples` the `samples`, `(batch, num_samples, ...)`, of
          what `mean` is the mean of.

    Raises:
        ValueError: If an argument is out of its range, the model is not
            built, no layer of it can draw, or all their rates are 0.

    Example:

    >>> predictive = MonteCarlo(model, num_samples=50, seed=0)
    >>> uncertainty = predictive.predict(x)["mutual_information"]

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142),
    equation 6 (mean); the entropies are those of [Houlsby et al., 2011](
    https://arxiv.org/abs/1112.5745), equation 2.
    """

    def __init__(
        self,
        model,
        num_samples=50,
        seed=None,
        plan="stratified",
        kind=None,
        keep_samples=False,
        **kwargs,
    ):
        # The model casts its inputs itself, by its own dtype policy.
        super().__init__(autocast=False, **kwargs)
        owner = type(self).__name__
        preconditions.check_model(model, owner)
        self.num_samples = _checks.positive_integer(
            num_samples, owner, "num_samples"
        )
        self.plan = plans.check(plan, owner)
        self.kind = kinds.check(kind, model, owner)
        self.keep_samples = _checks.flag(keep_samples, owner, "keep_samples")
        self.model = model
        seed = _checks.seed(seed, owner)
        self._seed = random.getrandbits(63) if seed is None else seed
        self._key = Cell(masks.key_of_seed(self._seed), "int32", "key")
        self._compiled_for = None
        self.built = True
        preconditions.check_draws(model, owner)
        preconditions.warn_of_unknown(model, owner)

    @property
    def seed(self):
        """The seed of the samples; setting None draws another."""
        return self._seed

    @seed.setter
    def seed(self, value):
        value = _checks.seed(value, type(self).__name__)
        if value is None:
            value = random.getrandbits(63)
        self._key.state.assign(masks.key_of_seed(value))
        self._seed = value

    def call(self, inputs, training=False):
        if training:
            raise ValueError(_NOT_TRAINED)
        if isinstance(inputs, RowsOf):
            inputs, rows = inputs
        else:
            batch = ops.shape(tree.flatten(inputs)[0])[0]
            rows = ops.arange(batch, dtype="int32")
        numbers = {
            layer: number
            for number, layer in enumerate(adapters.drawable_layers(self.model))
            if not adapters.is_constant(layer)
        }
        with adapters.asking_the_scope(self.model, numbers):
            return self._statistics(inputs, rows, numbers)

    def _statistics(self, inputs, rows, numbers):
        key = ops.convert_to_tensor(self._key.state.value)
        keys = {
            id(layer): masks.derived_key(key, np.int32(number))
            for layer, number in numbers.items()
        }
        holders = adapters.holders_of(self.model, numbers)
        folded = folding.FoldedModel(self.model, inputs, holders)

        def sample(first_sample, num_samples):
            """Outputs, and what is averaged: `(batch, num_samples, ...)`."""
            index, rows_ = plans.index_and_rows(
                self.plan, first_sample, num_samples, rows
            )
            draws = _draws(keys, index, rows_, plans.set_size(self.plan))
            with scopes.StochasticScope(draws, numbers):
                outputs = folded.samples(num_samples)
            features = [
                feature
                for output in tree.flatten(outputs)
                for feature in kinds.features(
                    self.kind, _unfolded(output, num_samples)
                )
            ]
            return outputs, features

        return self._stream(sample)

    def _stream(self, sample):
        """Streams the samples, a set at a time, into statistics."""
        num_sets, rest = divmod(self.num_samples, plans.SET_SIZE)
        # What is left of the whole sets goes first: it shows what shapes the
        # statistics have, and the loop then has one body.
        is_set = rest == 0
        num_sets -= is_set
        first = num_sets * plans.SET_SIZE
        structure, chunks = sample(first, plans.SET_SIZE if is_set else rest)
        streams = [moments.start(chunk, is_set) for chunk in chunks]
        kept = [self._kept(chunk, first) for chunk in self._to_keep(chunks)]

        def add_set(number, state):
            streams, kept = state
            first = ops.cast(number, "int32") * plans.SET_SIZE
            _, chunks = sample(first, plans.SET_SIZE)
            streams = [
                moments.add_set(moments.Stream(*stream), chunk)
                for stream, chunk in zip(streams, chunks)
            ]
            kept = [
                _with_samples(samples, first, chunk)
                for samples, chunk in zip(kept, self._to_keep(chunks))
            ]
            return streams, kept

        if num_sets:
            streams, kept = ops.fori_loop(0, num_sets, add_set, (streams, kept))
        result = kinds.statistics(
            self.kind, self.plan, self.num_samples, structure, streams
        )
        if kept:
            result["samples"] = tree.pack_sequence_as(structure, kept)
        return result

    def _to_keep(self, chunks):
        """Of the features of each output the first, if samples are wanted."""
        if not self.keep_samples:
            return []
        return chunks[:: kinds.num_features(self.kind)]

    def _kept(self, chunk, first):
        """Room for all samples, with those of the first chunk in place."""
        room = ops.zeros_like(chunk[:, :1])
        room = ops.repeat(room, self.num_samples, axis=1)
        return _with_samples(room, first, chunk)

    def compute_output_shape(self, input_shape):
        raise NotImplementedError("MonteCarlo returns a dict of statistics.")

    def predict(
        self, x, batch_size=32, verbose="auto", callbacks=None, first_row=0
    ):
        """The statistics for each row of `x`, as numpy arrays.

        Args:
            x: Array, or structure of arrays as the model takes it.
            batch_size: Integer, rows at a time.
            verbose: `"auto"` or 1 for a progress bar, 2 for a line, 0 for
                nothing.
            callbacks: List of `keras.callbacks.Callback`; their `on_predict_*`
                methods are called.
            first_row: Integer, place of the first row of `x` in the data: the
                rows of a part get the masks that they get in the whole.

        Returns:
            A dict, as a call returns, of numpy arrays.

        Raises:
            ValueError: If `x` has no rows, or not the same number of rows in
                each array.
        """
        data = self._batches(x, batch_size, first_row)
        return self._predict(data, verbose, callbacks)

    def _batches(self, x, batch_size, first_row):
        owner = type(self).__name__
        preconditions.check_draws(self.model, owner)
        batch_size = _checks.positive_integer(batch_size, owner, "batch_size")
        first_row = _checks.step(first_row, owner, "first_row")
        return Batches(x, batch_size, first_row, owner)

    def _predict(self, data, verbose, callbacks):
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_progbar=verbose not in (0, "0"),
            verbose=1 if verbose == "auto" else verbose,
            epochs=1,
            steps=data.num_batches,
            model=self,
        )
        callbacks.on_predict_begin()
        parts = []
        for number, (batch, valid) in enumerate(data):
            callbacks.on_predict_batch_begin(number)
            part = tree.map_structure(
                lambda value: ops.convert_to_numpy(value)[:valid],  # noqa: B023
                self._run(batch),
            )
            parts.append(part)
            callbacks.on_predict_batch_end(number, {"outputs": part})
        callbacks.on_predict_end()
        return tree.map_structure(lambda *part: np.concatenate(part), *parts)

    def fit(self, *args, **kwargs):
        """Refuses: the model that this was made of is what is trained.

        Raises:
            ValueError: Always, and before Keras touches the model's state.
        """
        raise ValueError(_NOT_TRAINED)

    def train_on_batch(self, *args, **kwargs):
        """Refuses, as `fit`."""
        raise ValueError(_NOT_TRAINED)

    def evaluate(
        self,
        x,
        y=None,
        batch_size=32,
        verbose="auto",
        sample_weight=None,
        callbacks=None,
        return_dict=False,
        first_row=0,
    ):
        """Loss and metrics, as compiled, of the predictive mean.

        Args:
            x, batch_size, verbose, callbacks, first_row: As in `predict`.
            y: Targets, an array or a structure of arrays; None if the
                batches of `x` bring them along.
            sample_weight: Array `(rows,)`, or None.
            return_dict: Whether to return a dict rather than a list.

        Returns:
            The loss, or a list of the loss and the metrics, or a dict.

        Raises:
            ValueError: If this model is not compiled; if there are no
                targets; and as `predict`.
        """
        if not self.compiled:
            raise ValueError(
                "MonteCarlo: to evaluate, it needs a loss or metrics of its "
                'own. Call `compile(loss="...", metrics=[...])` on it first.'
            )
        data = self._batches(x, batch_size, first_row)
        mean = self._predict(data, verbose, callbacks)["mean"]
        if y is None:
            y, sample_weight = data.joined_targets()
        if y is None:
            raise ValueError(
                "MonteCarlo: `evaluate` needs targets: pass `y`, or batches "
                "`(x, y)`. Received: y=None, and none with the data"
            )
        self.reset_metrics()
        loss = self.compute_loss(
            y=y, y_pred=mean, sample_weight=sample_weight, training=False
        )
        logs = self.compute_metrics(
            x=None, y=y, y_pred=mean, sample_weight=sample_weight
        )
        logs = {**logs, "loss": loss}
        logs = {name: float(value) for name, value in logs.items()}
        if return_dict:
            return logs
        names = ["loss", *(name for name in logs if name != "loss")]
        values = [logs[name] for name in names]
        return values if len(values) > 1 else values[0]

    def _run(self, batch):
        drawn = adapters.fingerprint(self.model)
        if drawn != self._compiled_for:
            # Stock layers have their rates in the compiled function.
            self._compiled = _backend.compiled(self)
            self._compiled_for = drawn
        return self._compiled(batch)

    def get_config(self):
        preconditions.check_saveable(self.model, type(self).__name__)
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "num_samples": self.num_samples,
            "seed": self._seed,
            "plan": self.plan,
            "kind": self.kind,
            "keep_samples": self.keep_samples,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})


def _with_samples(samples, first, chunk):
    """`samples` with those from number `first` on replaced by `chunk`."""
    start = [0, first] + [0] * (len(chunk.shape) - 2)
    return ops.slice_update(samples, start, chunk)


def _unfolded(output, num_samples):
    """`(batch * num_samples, ...)` to `(batch, num_samples, ...)`, float32+."""
    shape = (-1, num_samples, *ops.shape(output)[1:])
    output = ops.reshape(output, shape)
    if keras.backend.standardize_dtype(output.dtype) != "float64":
        output = ops.cast(output, "float32")
    return output


def _draws(keys, index, rows, set_size):
    """What each layer draws in one pass; a layer called again draws anew."""
    calls = {}

    def draw_of(layer):
        number = calls.get(id(layer), 0)
        calls[id(layer)] = number + 1
        key = keys[id(layer)]
        if number:
            key = masks.derived_key(key, np.int32(number))
        return masks.Draw(key, index, rows, set_size)

    return draw_of

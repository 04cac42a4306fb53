"""`MonteCarlo`: a model's predictive distribution, as a model."""

import random

import keras
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers.paths import name_scope
from kerasdrop.layers.state import StateVariable
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine import arrays
from kerasdrop.montecarlo.engine import loop
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.engine.batches import Labels
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.engine.engine import Engine
from kerasdrop.montecarlo.engine.judged import Judged
from kerasdrop.montecarlo.engine.receivers import Collected
from kerasdrop.montecarlo.engine.receivers import PassedOn
from kerasdrop.montecarlo.engine.receivers import Receiver
from kerasdrop.montecarlo.export import export
from kerasdrop.montecarlo.inspection import preconditions
from kerasdrop.montecarlo.not_trained import NOT_TRAINED
from kerasdrop.montecarlo.not_trained import NotTrained
from kerasdrop.montecarlo.settings import Settings


def _setting(name: str) -> Given:
    def get(self: keras.Model) -> Given:
        return getattr(self._settings, name)

    return property(get, doc=f"The argument `{name}`; it cannot be set.")


@keras.saving.register_keras_serializable("kerasdrop")
class MonteCarlo(NotTrained):
    """The predictive distribution of a model with dropout, as a model.

    Each prediction draws `num_samples` thinned networks and returns statistics
    over their outputs. The wrapped model is not changed. Its stochastic layers
    draw only inside calls of this object; everything else, such as batch
    normalization, runs in inference mode.

    Sample `t` of row `i` depends only on the seed, `t` and `i`, not on
    `num_samples`, the batch size, the order of the batches or the backend.

    Args:
        model: A built Keras model with layers that can draw: those of
            `kerasdrop.layers`; the stock dropout and noise layers; the
            dropout inside recurrent cells and attention; the drop paths of
            `keras.applications` and KerasHub; and classes passed to
            `kerasdrop.register_stochastic`. Augmentation layers stay off.
        num_samples: Integer, samples per row; with a `tolerance`, the maximum.
            None for 48, and with a `tolerance` for 1024.
        seed: Integer; None draws one. It can be read as `seed`, and set
            without a retrace.
        plan: `"independent"`: each row of each sample has its own masks.
            `"stratified"`: the same, but balanced over each set of 16 samples,
            in which a unit is dropped as close to `16 * rate` times as
            possible. Means are then more exact with fewer samples (Latin
            hypercube sampling, McKay, Beckman & Conover 1979). `"shared"`:
            all rows of a sample share their masks, so that each sample is one
            function.
        kind: The kind of the outputs: `"probabilities"` or `"logits"` of
            classes (over the last axis), `"binary"` (each element is the
            probability of the positive class), `"regression"`,
            `"mean_and_variance"` or `"mean_and_log_variance"` (means in the
            first half of the last axis, variances or their logarithms in the
            second). None reads the kind off the last activation, through
            reshapes, casts, averages and inner models: softmax means
            probabilities, sigmoid means binary, anything else regression. With
            several outputs, a dict by name or a list gives the kind of each.
        keep_samples: Boolean; whether the result has the `samples`.
        quantiles: Probabilities between 0 and 1, such as `(0.05, 0.5, 0.95)`,
            of the quantiles to compute; None for no quantiles.
        noise_variance: For `"regression"`, the variance of the targets around
            the output, in their squared unit (the inverse of the paper's
            tau): a number above 0, or None if it is unknown. With it, the
            output is treated as that of a mean-variance model.
        tolerance: The wanted precision of the mean: a standard error above 0,
            in the unit of `mean`. A row stops after the set of 16 samples at
            which all its outputs have reached it, independently of other
            rows, but not before 128 samples. While all samples are equal, a
            row continues for 10 / (the smallest probability of a unit to be
            dropped, or kept) samples. The root mean squared error is then
            about the tolerance. A unit with a rate below 0.03 or above 0.97
            may not have been dropped, or kept, yet when its row stops.
            `num_samples` must be a multiple of 16 and at least 128; a warning
            tells how many rows did not reach the tolerance. None draws all
            samples for all rows.
        memory_limit: Bytes that a prediction may use in addition to its
            results, the data as passed and the model's variables. The limit
            determines how many rows (at most `batch_size`) and samples are
            drawn at a time, down to one sample of one row; it does not change
            the results. For data of new shapes the needed memory is measured,
            for any model: on TensorFlow and JAX from the compiled program, on
            PyTorch by a trial with one row. The internal memory of kernels is
            not counted; for one row it does not exceed that of a plain
            prediction. None stands for 256 MiB, or for the memory of one
            sample of one row if that is more.
        vectorized: Boolean; whether samples run side by side, as rows of one
            batch. False runs one sample at a time by plain calls of the model.
            This is slower, but exact for any model, even if rows affect each
            other. Batches are then neither padded nor cut, there is no
            `memory_limit`, and another `batch_size` may give another result.
            The first axis of each output must be the batch.
        layers: The layers that draw; None for all that can: a path, name or
            pattern, a layer (with everything inside it), a function of a
            layer, or a list of these, as in `kerasdrop.set_rates`.
            `kerasdrop.inspect(model)` lists the paths. A recurrent layer has
            `"lstm/dropout"` and `"lstm/recurrent_dropout"`; `"lstm"` means
            both. All other layers draw nothing, `MCDropout` included. A
            selected layer draws the same masks as without a selection. A saved
            model has the paths.
        rate: A number in [0, 1], the rate of all selected layers; or a dict
            from paths, names or patterns to numbers, which leaves the other
            layers at their own rates; None for the layers' own rates. It is
            the probability of dropping a unit, or for `GaussianNoise` the
            standard deviation, and also applies to learned and scheduled
            rates. The layers keep their own rates. It can be set as `rate`
            without a retrace.
        verify: Boolean; whether `predict` checks itself first, once for each
            kind of inputs: on a few rows, with nothing dropped, each layer
            must have the same output as in a plain call. See
            docs/drawing.md.
        **kwargs: As in `keras.Model`: `name`, `dtype`.

    Call arguments:
        inputs: The inputs of the model.

    Returns (of a call and of `predict`):
        A dict; each value has the structure of the model's outputs. A
        statistic that only some outputs have is a dict of these outputs, by
        name or, for a list, by position.

        - `mean`: `(batch, ...)`; the mean probabilities if the outputs are
          logits.
        - `variance`: `(batch, ...)`, an estimate of the variance of one
          sample; NaN for a single sample. For independent samples it is the
          sum of the squared deviations over `num_samples - 1`. The estimate
          for stratified samples takes into account that these differ from
          each other more than independent ones: it is unbiased from 32
          samples on; with fewer samples it is between 3.7 % too low and 3.3 %
          too high, depending on how units interact.
        - `std`: the square root of `variance`.
        - `standard_error`: `(batch, ...)`, the standard error of the mean.
          `mean` plus or minus twice this value covers the mean of infinitely
          many samples 95 % of the time, if outputs are nearly normal. For
          independent samples it is the root of `variance / num_samples`. For
          stratified samples it comes from the spread of whole sets of 16, and
          allows for the small number of sets: with 32 to 64 samples it is
          usually 1.2 to 2.3 times the actual error. It includes the rounding
          of the mean to its dtype, and is 0 only if the mean is 0.
        - For classes: `predictive_entropy` (of the mean), `expected_entropy`
          (mean over samples) and `mutual_information` (their difference,
          computed as the mean divergence of the samples from their mean, at
          least 0), `(batch, ...)` without the last axis, in nats; `votes`,
          `(batch, ..., classes)`, the number of samples in which each class is
          the most probable; `variation_ratio`, the share of the samples that
          do not vote with the majority. For `"binary"` these are computed
          element by element, and `votes` counts the positive class.
        - For mean-variance outputs: `aleatoric_variance` (mean of the
          variances), `epistemic_variance` (variance of the means) and
          `total_variance` (their sum).
        - With `quantiles`: `quantiles`, `(batch, len(quantiles), ...)`, of the
          samples of the output; for mean-variance outputs, of the mixture of
          normals, which includes the noise. `quantiles_standard_error` is that
          of independent samples; it is usually too large for the stratified
          plan, and NaN if there are too few samples to estimate it. To bound
          memory, only the first 1024 samples are used (all of them with
          `keep_samples`).
        - With a `tolerance`: `num_drawn`, `(batch,)`, the number of samples of
          each row, and `converged`, whether the row reached the tolerance.
        - With `keep_samples`: `samples`, `(batch, num_samples, ...)`, whose
          mean is `mean`.

    Raises:
        ValueError: If an argument is out of its range; if the model is not
            built; if none of its layers can draw; or if all their rates are 0.

    Example:

    >>> predictive = MonteCarlo(model, seed=0)
    >>> uncertainty = predictive.predict(x, verbose=0)["mutual_information"]
    >>> uncertainty.shape == (len(x),)
    True

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142),
    equation 6 (mean); the entropies are those of [Houlsby et al., 2011](
    https://arxiv.org/abs/1112.5745), equation 2.
    """

    _owner = "MonteCarlo"  # the name that messages begin with

    num_samples = _setting("num_samples")
    plan = _setting("plan")
    kind = _setting("kind")
    keep_samples = _setting("keep_samples")
    quantiles = _setting("quantiles")
    noise_variance = _setting("noise_variance")
    tolerance = _setting("tolerance")
    memory_limit = _setting("memory_limit")
    vectorized = _setting("vectorized")

    def __init__(
        self,
        model: keras.Model,
        num_samples: int | None = None,
        *,
        seed: Seed = None,
        plan: str = "stratified",
        kind: Given = None,
        keep_samples: bool = False,
        quantiles: Given = None,
        noise_variance: float | None = None,
        tolerance: float | None = None,
        memory_limit: int | None = None,
        vectorized: bool = True,
        verify: bool = True,
        layers: Given = None,
        rate: float | dict[str, float] | None = None,
        **kwargs: Given,
    ) -> None:
        # The model casts its inputs itself, by its own dtype policy.
        super().__init__(autocast=False, **kwargs)
        owner = self._owner
        with blame(owner):
            preconditions.check_model(model)
            chosen = choice.of(model, layers, rate)
            self._settings = Settings.checked(
                model,
                owner,
                num_samples=num_samples,
                plan=plan,
                kind=kind,
                keep_samples=keep_samples,
                quantiles=quantiles,
                noise_variance=noise_variance,
                tolerance=tolerance,
                memory_limit=memory_limit,
                vectorized=vectorized,
            )
            self.verify = _checks.flag(verify, "verify")
            seed = _checks.seed(seed)
        self.model = model
        self._seed = random.getrandbits(63) if seed is None else seed
        with name_scope(self):
            self._key = StateVariable(
                masks.key_of_seed(self._seed), "int32", "seed"
            )
            self._rates = StateVariable(chosen.vector(), "float32", "rates")
        self._asked = choice.Asked(chosen.paths, rate)
        self._engine = Engine(
            model,
            lambda: _backend.read(self._key.state),
            self._settings,
            self,
            owner,
            chosen,
            lambda: _backend.read(self._rates.state),
        )
        self.built = True
        found = survey.of(model)
        with blame(owner):
            preconditions.check_draws(found, self._settings, chosen)
        preconditions.warn_of_what_is_left_out(found, owner)

    @property
    def seed(self) -> int:
        """The seed of the samples; setting None draws another."""
        return self._seed

    @seed.setter
    def seed(self, value: Seed) -> None:
        with blame(self._owner):
            value = _checks.seed(value)
        if value is None:
            value = random.getrandbits(63)
        self._key.hold(masks.key_of_seed(value))
        self._seed = value

    @property
    def rate(self) -> Given:
        """The rate at which the selected layers draw, as the argument `rate`.

        Another number needs no retrace. None stands for the layers' own rates;
        `predict` compiles another function if None is replaced by a number or
        the reverse, or by a dict for other layers.
        """
        return self._asked.rate_given()

    @rate.setter
    def rate(self, value: Given) -> None:
        with blame(self._owner):
            self._choose(choice.of(self.model, self._asked.paths, value))
        self._asked = choice.Asked(self._asked.paths, value)

    def _choose(self, chosen: choice.Choice) -> None:
        """Makes this model draw another `choice.Choice` from now on.

        Raises:
            Refusal: If nothing would be drawn correctly, or if other layers of
                the model can draw than before.
        """
        found = survey.of(self.model)
        preconditions.check_draws(found, self._settings, chosen)
        vector = chosen.vector()
        if vector.shape != tuple(self._rates.state.shape):
            raise Refusal(
                f"model '{self.model.name}' has other layers that can draw "
                f"than when this {type(self).__name__} was made. Make another."
            )
        self._rates.hold(vector)
        self._engine.choose(chosen)

    def call(self, inputs: Tensor, training: bool = False) -> Given:
        if training:
            raise ValueError(NOT_TRAINED)
        given = [one for one in tree.flatten(inputs) if one is not None]
        batch = ops.shape(given[0])[0]
        rows = ops.arange(batch, dtype="int32")
        with blame(self._owner):
            return self._engine.of_call(RowsOf(inputs, rows))

    def export(
        self,
        filepath: Given,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Given = None,
        seed: str | None = None,
        rows: str | None = None,
        rate: str | None = None,
        example: Given = None,
        **kwargs: Given,
    ) -> None:
        """Exports this model for other software, with the same samples.

        The exported file draws the same samples as `predict`, and returns the
        same statistics, up to rounding: a flat dict, or outputs with these
        names (`mean.a` for output `a` of several). Before it is moved to its
        place, the file is run on a few rows and compared with this model.
        docs/exports.md lists the formats of each backend.

        Args:
            filepath: Path of the file, or of a folder for `"tf_saved_model"`.
            format: `"tf_saved_model"`, `"onnx"`, `"openvino"` (ending in
                `.xml`; for the same samples and outputs as here, run it with
                `INFERENCE_PRECISION_HINT` `"f32"`) or `"litert"` (`.tflite`).
            verbose: Boolean; whether to print what was written; None for
                True.
            input_signature: As in `keras.Model.export`; needed if the model
                is not a graph of layers.
            seed: None writes the seed of this model into the file. `"input"`
                adds an int32 scalar input `seed`, for the samples of a
                `MonteCarlo` with that seed.
            rows: None numbers the rows of each batch from 0 on, so that each
                batch gets the same masks. `"input"` adds an int32 input
                `rows`, `(batch,)`, the position of each row in the data, from
                0 on, as in `predict`.
            rate: None writes the rates of this model into the file. `"input"`
                adds a float32 scalar input `rate`, which replaces the rates
                given as `rate` or, if none is given, those of all layers that
                draw. A value outside [0, 1] makes the statistics NaN.
            example: Inputs of a few rows to compare with; None for numbers
                between 0 and 1 (0 or 1 where the inputs are integers).
            **kwargs: For Keras' exporter, as in `keras.Model.export`.

        Raises:
            ValueError: If the model cannot be exported to this format with
                the same samples. Nothing is written in this case.
            TypeError: If Keras' exporter does not know a further argument.
            ImportError: If a package that writes or runs the file is missing.
            RuntimeError: If the exporter fails, or if the file does not agree
                with this model. Then no new file is left, and an existing
                file is unchanged.
        """
        with model_tree.surveyed(self.model):
            export.export(
                self,
                self._engine,
                filepath,
                format,
                verbose,
                input_signature,
                seed,
                rows,
                rate,
                example,
                **kwargs,
            )

    def predict(
        self,
        x: Given,
        batch_size: int = 32,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Given = None,
        first_row: int = 0,
        rows: Given = None,
        y: Given = None,
        collect: bool = True,
    ) -> Given:
        """The statistics for each row of `x`, as numpy arrays.

        Args:
            x: An array, or a structure of arrays as the model takes it (None
                for an optional input; pandas frames and sparse matrices of
                scipy are accepted); or an iterable of batches
                (`tf.data.Dataset`, PyTorch `DataLoader`,
                `keras.utils.PyDataset`, generator), whose targets are ignored
                unless `y=True`.
            batch_size: Integer, rows at a time.
            verbose: `"auto"` or 1 for a progress bar over batches and, if
                there are many, samples; 2 for a line; 0 for nothing.
            steps: Integer, the number of batches to use; None for all. It is
                needed if the iterable is infinite.
            callbacks: List of `keras.callbacks.Callback`, whose `on_predict_*`
                methods are called as in Keras. In
                `on_predict_batch_end(batch, logs)`, `logs["outputs"]` is a
                `kerasdrop.Predictive` with the statistics of this batch, which
                holds the next rows of the data. A callback that sets
                `model.stop_predicting` ends the prediction after the batch.
            first_row: Integer, the position of the first row of `x` in the
                data. The rows of a part get the same masks as in the whole.
            rows: Integers `(rows,)`, the position of each row; use it instead
                of `first_row` for data that were shuffled or filtered.
            y: Targets, in the structure of the outputs: integers or one-hot
                vectors for classes, 0 and 1 for `"binary"`, numbers for other
                kinds. With targets, the result has a `log_likelihood`, which
                is NaN for a target that is not a class. An output without
                targets gets None, or is left out of the dict. True uses the
                targets that come with the batches of an iterable, `(x, y)` or
                `(x, y, sample_weight)`; weights do not change a likelihood.
            collect: Boolean; whether to return the statistics of all rows.
                With False, only the callbacks receive each batch, so that
                memory does not grow with the rows.

        Returns:
            A dict of numpy arrays, as returned by a call; None if `collect`
            is False.

        Raises:
            ValueError: If `x` has no rows, or arrays with different numbers of
                rows; if `y` has another structure than the outputs; if
                outputs do not fit their `kind`; or if `collect` is False and
                there are no callbacks.

        Example:

        >>> class Write(keras.callbacks.Callback):
        ...     means = []
        ...     def on_predict_batch_end(self, batch, logs=None):
        ...         self.means.append(logs["outputs"].mean)  # to a file
        >>> predictive = MonteCarlo(model, seed=0)
        >>> _ = predictive.predict(
        ...     x, verbose=0, callbacks=[Write()], collect=False)
        >>> sum(map(len, Write.means)) == len(x)
        True
        """
        with blame(self._owner), model_tree.surveyed(self.model):
            collect = _checks.flag(collect, "collect")
            data = self._batches(x, batch_size, first_row, rows, y, steps)
            receiver: Receiver
            if collect:
                receiver = Collected(data.num_rows)
            else:
                receiver = PassedOn(callbacks)
            statistics, _ = self._predict(data, receiver, verbose, callbacks)
        return statistics

    def predict_on_batch(
        self, x: Given, first_row: int = 0, rows: Given = None
    ) -> Config:
        """The statistics of one batch, without a progress bar.

        Args:
            x: An array, or a structure of arrays as the model takes it.
            first_row, rows: As in `predict`.

        Returns:
            A dict of numpy arrays, as returned by a call.
        """
        with blame(self._owner):
            x = arrays.of(x, "x")
            size = arrays.num_rows(x)
        return self.predict(x, size, 0, first_row=first_row, rows=rows)

    def evaluate(
        self,
        x: Given,
        y: Given = None,
        batch_size: int = 32,
        verbose: int | str = "auto",
        sample_weight: Given = None,
        steps: int | None = None,
        callbacks: Given = None,
        return_dict: bool = False,
        first_row: int = 0,
    ) -> Given:
        """Loss and metrics, as compiled, of the predictive mean.

        Each batch is evaluated as soon as it is predicted, so that memory does
        not grow with the rows. The loss equals that of all rows at once if it
        is a mean or a sum over rows. A loss that combines rows, such as
        `Dice`, is averaged over batches. Padded steps that the model masks are
        left out. Both are as in `keras.Model.evaluate`.

        Args:
            x, batch_size, verbose, steps, first_row: As in `predict`.
            y: Targets, an array or a structure of arrays like the outputs;
                None or True if the batches of `x` contain them, as `(x, y)` or
                `(x, y, sample_weight)`.
            sample_weight: Array `(rows,)`, or a structure of arrays like the
                outputs; or None.
            callbacks: List of `keras.callbacks.Callback`, whose `on_test_*`
                methods are called with the current loss and metrics as `logs`.
                A callback that sets `model.stop_evaluating` ends the
                evaluation after the batch.
            return_dict: Boolean; whether to return a dict instead of a list.

        Returns:
            The loss, or a list of the loss and the metrics, or a dict.

        Raises:
            ValueError: If this model is not compiled; if there are no
                targets, or if they have another structure than the outputs;
                if a loss or metric expects logits of an output of kind
                `"logits"`, whose mean is a mean of probabilities; if some
                losses have the `reduction` `"sum"` and others do not; and in
                the same cases as `predict`.
        """
        if not self.compiled:
            raise ValueError(
                "MonteCarlo: to evaluate, it needs a loss or metrics of its "
                'own. Call `compile(loss="...", metrics=[...])` on it first.'
            )
        with blame(self._owner), model_tree.surveyed(self.model):
            return_dict = _checks.flag(return_dict, "return_dict")
            labels = Labels(y, sample_weight)
            data = self._batches(
                x, batch_size, first_row, None, None, steps, labels
            )
            result, _ = self._predict(
                data,
                Judged(self, self._engine.output_masks, return_dict),
                verbose,
                callbacks,
                calls=loop.EVALUATING,
            )
        return result

    def _batches(
        self,
        x: Given,
        batch_size: int,
        first_row: int,
        rows: Given = None,
        y: Given = None,
        steps: int | None = None,
        labels: Labels | None = None,
        chosen: choice.Choice | None = None,
    ) -> Batches:
        if chosen is None:
            # The model may have changed since it was asked for.
            chosen = choice.of(self.model, *self._asked)
        else:
            self._asked = chosen.asked()
        self._choose(chosen)
        batch_size = _checks.positive_integer(batch_size, "batch_size")
        first_row = _checks.step(first_row, "first_row")
        if steps is not None:
            steps = _checks.positive_integer(steps, "steps")
        return Batches(
            x,
            batch_size,
            self._engine.most_rows,
            first_row,
            rows,
            y,
            steps,
            fills=self.vectorized,
            labels=labels,
        )

    def _predict(
        self,
        data: Batches,
        receiver: Receiver,
        verbose: int | str,
        callbacks: Given = None,
        on_interrupt: str = "raise",
        calls: loop.Calls = loop.PREDICTING,
    ) -> tuple[Given, int]:
        """Runs a prediction; returns a receiver's result and the samples."""
        return loop.run(
            self,
            self._engine,
            data,
            receiver,
            _checks.verbosity(verbose),
            callbacks,
            on_interrupt,
            calls,
        )

    def get_config(self) -> Config:
        with blame(self._owner):
            preconditions.check_saveable(self.model)
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "seed": self._seed,
            **self._settings.get_config(),
            "verify": self.verify,
            "layers": self._asked.layers_given(),
            "rate": self.rate,
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Given = None
    ) -> "MonteCarlo":
        model = keras.saving.deserialize_keras_object(
            config["model"], custom_objects=custom_objects
        )
        return cls(**{**config, "model": model})

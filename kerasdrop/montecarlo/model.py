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
    def get(self: keras.Model) -> bool | str:
        return getattr(self._settings, name)

    return property(get, doc=f"The argument `{name}`; it cannot be set.")


@keras.saving.register_keras_serializable("kerasdrop")
class MonteCarlo(NotTrained):
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
        num_samples: Integer, samples per row; with a `tolerance` the most. None
            for 48, and with a `tolerance` for 1024.
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
            binary, anything else regression, also behind reshapes, casts,
            averages and inner models. A structure of kinds, a dict by name or
            a list, says what each of several outputs is.
        keep_samples: Whether the result has the `samples` themselves.
        quantiles: Probabilities between 0 and 1, e.g. `(0.05, 0.5, 0.95)`,
            whose quantiles are wanted; None for none.
        noise_variance: For `"regression"`, the variance of the targets around
            the output, in their squared unit (the inverse of the paper's
            tau): a number above 0, or None if it is not known. With it the
            output is treated as that of a two-part model.
        tolerance: How exact the mean has to be: a standard error above 0, in
            the unit of `mean`. A row takes no further samples from the set of
            16 on at which all its outputs have reached it, whatever its
            neighbours do; the first look is at 128 samples. Where all samples
            so far are equal, it goes on for 10 / (the smallest chance of a
            unit to be dropped, or kept) samples. Then the root mean squared
            error is about the tolerance; a unit whose rate is below .03 or
            above .97 may not have been dropped, or kept, yet when a row stops.
            `num_samples` must be a multiple of 16 and at least 128; a warning
            tells how many rows did not get there. None draws
            all samples for all rows.
        memory_limit: Bytes that a prediction may take besides its results,
            the data as they were passed and the model's variables. From it
            follows how many rows (`batch_size` at most) and samples are drawn
            at a time, down to one sample of one row, never what they are. What
            is needed is measured when data of new shapes come, for any model:
            on TensorFlow and JAX from the program that is compiled, on PyTorch
            by a trial with one row. Not counted is what a kernel needs for
            itself, which for one row is no more than a plain prediction needs.
            None stands for 256 MiB, or what one sample of one row takes, if
            that is more.
        vectorized: Whether samples are run side by side, as rows of one
            batch. False runs one sample at a time by plain calls of the
            model: slower, and exact for any model, also for one in which
            rows see each other. Results then belong to the batches as they
            are: none is filled up or cut, there is no `memory_limit`, and
            another `batch_size` may make another result. The first axis of
            each output must be the batch.
        layers: What is drawn, None for all that can: a path, name or pattern,
            a layer (with all inside it), a function of a layer, or a list of
            these, as in `kerasdrop.set_rates`. `kerasdrop.inspect(model)` lists
            the paths; the rates of a recurrent layer are `"lstm/dropout"` and
            `"lstm/recurrent_dropout"`, `"lstm"` means both. All else draws
            nothing, `MCDropout` included; what is selected draws the masks
            that it draws in the whole. A saved model has the paths.
        rate: A number in [0, 1] at which all that is selected is drawn, or a
            dict from path, name or pattern to number, beside which the other
            layers have rates of their own; None for those that the layers
            have. It is the probability of dropping a unit, of `GaussianNoise`
            the standard deviation, and also given to learned and scheduled
            rates. The layers keep theirs. Settable as `rate` without a retrace.
        verify: Whether `predict` first checks itself, once for each kind of
            inputs: on a few rows, with nothing dropped, each layer must make
            what it makes in a plain call; see docs/uncertainty.md.
        **kwargs: As in `keras.Model`: `name`, `dtype`.

    Call arguments:
        inputs: As the model's.

    Returns (of a call and of `predict`):
        A dict; each value has the structure of the model's outputs. A
        statistic that only some outputs have is a dict of these, by name or,
        in a list, by place.

        - `mean`: `(batch, ...)`, of probabilities if the outputs are logits.
        - `variance`: `(batch, ...)`, of one sample, NaN of a single one; as
          it is from infinitely many. Of independent samples the sum of the
          squared deviations over `num_samples - 1`. Stratified ones differ
          from each other more than independent ones do; that is taken into
          account: it is unbiased from 32 samples on, and below between
          3.7 % too low and 3.3 % too high, by how units act together.
        - `std`: its square root.
        - `standard_error`: `(batch, ...)`, of the mean: `mean` plus or minus
          twice that covers 95 % of the time what infinitely many samples
          would have as their mean, if outputs are near normal. Of independent
          samples it is the root of `variance / num_samples`. Of stratified
          ones it comes from the spread of whole sets of 16, and from how few
          these are: with 32 to 64 samples it is mostly 1.4 to 2.4 times the
          error to be expected. The rounding of the mean to its dtype is in
          it, so that it is 0 for a mean of 0 alone.
        - for classes `predictive_entropy` (of the mean), `expected_entropy`
          (mean over samples) and `mutual_information` (their difference, as
          the mean divergence of the samples from their mean, at least 0),
          `(batch, ...)` without the last axis, in nats; `votes`,
          `(batch, ..., classes)`, the samples that find each class the most
          probable; `variation_ratio`, the part of the samples that does not
          vote with the majority. For `"binary"` the same element by element,
          `votes` being those for yes.
        - for two-part outputs `aleatoric_variance` (mean of the variances),
          `epistemic_variance` (variance of the means) and `total_variance`
          (their sum).
        - with `quantiles` the `quantiles`, `(batch, len(quantiles), ...)`: of
          the samples of the output; of two-part outputs of the mixture of
          normals, so that the noise is in them. `quantiles_standard_error` is
          that of independent samples, for the stratified plan mostly too
          large, and NaN where the samples are too few to tell. Of more than
          1024 samples the first 1024 count, so that memory stays bounded
          (all, with `keep_samples`).
        - with a `tolerance` `num_drawn`, `(batch,)`, the samples of each row,
          and `converged`, whether it has reached the tolerance.
        - with `keep_samples` the `samples`, `(batch, num_samples, ...)`, of
          what `mean` is the mean of.

    Raises:
        ValueError: If an argument is out of its range, the model is not
            built, no layer of it can draw, or all their rates are 0.

    Example:

    >>> predictive = MonteCarlo(model, seed=0)
    >>> uncertainty = predictive.predict(x, verbose=0)["mutual_information"]
    >>> uncertainty.shape == (len(x),)
    True

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142),
    equation 6 (mean); the entropies are those of [Houlsby et al., 2011](
    https://arxiv.org/abs/1112.5745), equation 2.
    """

    _owner = "MonteCarlo"  # who is to blame in a message

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
        preconditions.warn_of_unknown(found, owner)

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
        self._key.state.assign(masks.key_of_seed(value))
        self._seed = value

    @property
    def rate(self) -> Given:
        """The rate that is given for what is drawn, as the argument `rate`.

        Setting another number traces nothing anew. None stands for the rates
        that the layers have themselves; from there to a number and back, or
        to a dict for other layers, what `predict` compiles is another function.
        """
        return self._asked.rate_given()

    @rate.setter
    def rate(self, value: Given) -> Given:
        with blame(self._owner):
            chosen = choice.of(self.model, self._asked.paths, value)
            found = survey.of(self.model)
            preconditions.check_draws(found, self._settings, chosen)
            self._choose(chosen)
        self._asked = choice.Asked(self._asked.paths, value)

    def _choose(self, chosen: choice.Choice) -> None:
        """From now on draws what is in this `choice.Choice`."""
        vector = chosen.vector()
        if vector.shape != tuple(self._rates.state.shape):
            raise Refusal(
                f"model '{self.model.name}' has other layers that can draw "
                f"than when this {type(self).__name__} was made. Make another."
            )
        self._rates.state.assign(vector)
        self._engine.choose(chosen)

    def call(self, inputs: Tensor, training: bool = False) -> Given:
        if training:
            raise ValueError(NOT_TRAINED)
        batch = ops.shape(tree.flatten(inputs)[0])[0]
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
        """Writes this model for other software, with all of its samples.

        What is written draws the samples that `predict` draws, and returns
        the same statistics, to rounding: a flat dict, or outputs of these
        names (`mean.a` for output `a` of several). It is run before it is
        called written, in a temporary folder, on a few rows, and compared
        with this model. docs/exports.md tells which format can be had on
        which backend.

        Args:
            filepath: Path of the file; of a folder for `"tf_saved_model"`.
            format: `"tf_saved_model"`, `"onnx"`, `"openvino"` (ending in
                `.xml`; for the same samples and outputs as here, run it with
                `INFERENCE_PRECISION_HINT` `"f32"`) or `"litert"` (`.tflite`).
            verbose: Whether to print what was written; None for yes.
            input_signature: As in `keras.Model.export`; needed if the model
                is no graph of layers.
            seed: None: the seed of this model is written into the file.
                `"input"`: there is an int32 scalar input `seed`, which makes
                the samples that a `MonteCarlo` of that seed has.
            rows: None: the rows of a batch are numbered from 0 on, so each
                batch gets the same masks. `"input"`: there is an int32 input
                `rows`, `(batch,)`, the place of each row in the data, from 0
                on, as in `predict`.
            rate: None: the rates of this model are written into the file.
                `"input"`: there is a float32 scalar input `rate`, in the place
                of all rates that are given, or, if none is, of all that is
                drawn. Outside [0, 1] it makes statistics that are NaN.
            example: Inputs of a few rows to compare with; None for numbers
                between 0 and 1 (0 or 1 where the inputs are integers).
            **kwargs: For Keras' exporter, as in `keras.Model.export`.

        Raises:
            ValueError: If the model or the format cannot be exported so that
                the samples stay the same; before anything is written.
            ImportError: If what writes or runs the file is not installed.
            RuntimeError: If the exporter fails, or what it wrote does not
                agree with this model. Then there is no new file, and one
                that was there before is as it was.
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
            x: Array, structure of arrays as the model takes it (None for an
                optional input, a pandas frame, a sparse matrix of scipy), or
                an iterable of batches (`tf.data.Dataset`, PyTorch
                `DataLoader`, `keras.utils.PyDataset`, generator); targets in
                it are ignored unless `y=True`.
            batch_size: Integer, rows at a time.
            verbose: `"auto"` or 1 for a progress bar over batches and, where
                there are many, samples; 2 for a line, 0 for nothing.
            steps: Integer, the number of batches to take; None for all.
                Needed where the batches have no end.
            callbacks: List of `keras.callbacks.Callback`; their `on_predict_*`
                methods are called, as Keras calls them:
                `on_predict_batch_end(batch, logs)` with the statistics of the
                rows of this batch, the next in the data, in
                `logs["outputs"]`, a `kerasdrop.Predictive`. One that sets
                `model.stop_predicting` ends the prediction behind the batch.
            first_row: Integer, place of the first row of `x` in the data: the
                rows of a part get the masks that they get in the whole.
            rows: Integers `(rows,)`, the place of each row, instead; for data
                that were shuffled or filtered.
            y: Targets, in the structure of the outputs: integers or one-hot
                vectors for classes, 0 and 1 for `"binary"`, numbers for the
                others. With them there is a `log_likelihood`, NaN for what is
                no class. Outputs without have None, or no name in a dict.
                True takes the targets that come with the batches of an
                iterable, `(x, y)` or `(x, y, sample_weight)`; a weight changes
                no row's likelihood.
            collect: Whether the statistics of all rows are returned. False:
                each batch goes to the callbacks alone, so that memory does
                not grow with the rows.

        Returns:
            A dict, as a call returns, of numpy arrays; None without `collect`.

        Raises:
            ValueError: If `x` has no rows, or not the same number of rows in
                each array; if `y` has another structure than the outputs; if
                outputs cannot be of the kind that they were said to be; if
                nothing is collected and there are no callbacks.

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
            receiver: Receiver = Collected(data.num_rows)
            if not collect:
                _check_taken(callbacks)
                receiver = PassedOn()
            statistics, _ = self._predict(data, receiver, verbose, callbacks)
        return statistics

    def predict_on_batch(
        self, x: Given, first_row: int = 0, rows: Given = None
    ) -> Config:
        """The statistics of one batch, without a progress bar.

        Args:
            x: Array, or structure of arrays as the model takes it.
            first_row, rows: As in `predict`.

        Returns:
            A dict, as a call returns, of numpy arrays.
        """
        size = len(tree.flatten(x)[0])
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

        Each batch is judged when it is predicted, so that memory does not
        grow with the rows. The loss is that of all rows at once if it is a
        mean or a sum over rows; one that sees rows together, `Dice` say, is
        averaged over batches, as in `keras.Model.evaluate`. Steps of padding
        that the model masks are left out, as there.

        Args:
            x, batch_size, verbose, steps, first_row: As in `predict`.
            y: Targets, an array or a structure of arrays as of the outputs;
                None, or True, if the batches of `x` bring them along, as
                `(x, y)` or `(x, y, sample_weight)`.
            sample_weight: Array `(rows,)`, or a structure as of the outputs;
                or None.
            callbacks: List of `keras.callbacks.Callback`; their `on_test_*`
                methods are called, with loss and metrics so far as `logs`. One
                that sets `model.stop_evaluating` ends it behind the batch.
            return_dict: Whether to return a dict rather than a list.

        Returns:
            The loss, or a list of the loss and the metrics, or a dict.

        Raises:
            ValueError: If this model is not compiled; if there are no
                targets, or in another structure than that of the outputs; if
                a loss or metric takes for logits what is of kind `"logits"`,
                whose mean is one of probabilities; if
                losses have a `reduction` of `"sum"` and others have not; and
                as `predict`.
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
            chosen = choice.of(self.model, *self._asked)
        found = survey.of(self.model)
        preconditions.check_draws(found, self._settings, chosen)
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
        """What a receiver makes of all statistics, and of how many samples."""
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


def _check_taken(callbacks: Given) -> None:
    """Raises if nobody gets what is not collected."""
    if callbacks:
        return
    raise Refusal(
        "with `collect=False` each batch of statistics goes to callbacks "
        "alone. Pass `callbacks=[...]`, one of which has a method "
        "`on_predict_batch_end(batch, logs)`, or leave `collect` out. "
        f"Received: callbacks={callbacks!r}"
    )

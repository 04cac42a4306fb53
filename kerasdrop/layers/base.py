"""The abstract layers: the rate, the key, and the one decision to draw."""

import keras
import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import masks
from kerasdrop._refusals import blame
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers import rematerialization
from kerasdrop.layers import stand_ins
from kerasdrop.layers.arguments import CheckedArguments
from kerasdrop.layers.state import DrawState
from kerasdrop.masks import scopes
from kerasdrop.schedules.base import as_schedule

# Draws at inference have an index with the sign bit set, and draws in training
# have one without it. A prediction thus never repeats or moves a training mask.
_INFERENCE = -(2**31)


class StochasticLayer(CheckedArguments, keras.layers.Layer):
    """Abstract: a layer that drops or perturbs units at random.

    It decides once for each call whether to draw, and then calls one of two
    methods that a final layer defines:

    - `stochastic(inputs, draw, rate)`,
    - `deterministic(inputs, rate)`.

    A final layer calls `_start` at the end of its `__init__`. A layer that
    keeps its rate itself, and overrides what reads the rate, calls
    `_start_drawing` instead.
    """

    _schedule = None
    # Facts about the class, which `_adapters.registry.Facts` describes.
    _is_by_unit = False
    _is_rescaled = False
    _is_multiplicative = False
    _is_layer_inside = False
    _has_kernel_of_rows = False

    def _start(
        self, rate: Rate, seed: Seed, stochastic_inference: bool
    ) -> None:
        rate = rate_or_schedule(rate)
        if _checks.is_schedule(rate):
            self._schedule = rate
            rate = None
        else:
            rate = self.checked_rate(rate)
        self._exact_rate: float | None = rate
        self._start_drawing(rate, seed, stochastic_inference)

    def _start_drawing(
        self, rate: Tensor, seed: Seed, stochastic_inference: bool
    ) -> None:
        self.seed = _checks.seed(seed)
        self._stochastic_inference = _checks.flag(
            stochastic_inference, "stochastic_inference"
        )
        self._state = DrawState(rate, self.seed, self, self._label())
        self.supports_masking = True
        # Only a subclass with its own `build` has something to build.
        self.built = type(self).build is keras.layers.Layer.build

    def seed_later(self) -> None:
        """Makes this an unseeded layer, to which `seed_now` gives a seed."""
        self.seed = None
        self._state.seed_later()

    def seed_now(self) -> None:
        """Gives the layer a seed if it was made without one."""
        if self.seed is None:
            self._state.seed_now(self, self._exact_rate != 0.0)

    def _label(self) -> str:
        return f"Layer '{self.name}' ({type(self).__name__})"

    @property
    def stochastic_inference(self) -> bool:
        """Whether the layer draws when `training` is False, too."""
        return self._stochastic_inference

    @property
    def schedule(self) -> Given:
        """The schedule of the rate, or None for a rate that is a number."""
        return self._schedule

    @property
    def step(self) -> int:
        """How many training calls the layer has seen: an int of at least 0.

        It is counted in int32: set it before it reaches 2**31. A layer that is
        called several times for a batch counts each, as one in a cell of
        `keras.layers.RNN` does (see docs/annealing.md).

        What restores weights alone (`set_weights`,
        `EarlyStopping(restore_best_weights=True)`) leaves it as it is. Set it
        then: `new.step = old.step`, or for a model that was trained from its
        first step `layer.step = (stop.best_epoch + 1) * steps_per_epoch`. The
        table in docs/saving.md tells what keeps it.
        """
        return int(self._state.read("step"))

    @step.setter
    @blame_itself
    def step(self, value: Given) -> None:
        self._state.write("step", _checks.step(value, "step"))

    def _scales_at_inference(self) -> bool:
        """Whether predictions depend on the rate."""
        return False

    def _at_inference(self, copy: Function) -> keras.layers.Layer:
        """A layer of Keras that computes the same when nothing is drawn.

        Args:
            copy: Function that copies an inner layer.
        """
        if self._scales_at_inference():
            return stand_ins.scaling(self, name=self.name)
        return stand_ins.identity(self)

    @property
    def rate(self) -> float:
        """The probability of dropping a unit: a float in [0, 1].

        Setting it takes effect at once, in compiled functions as well,
        without a retrace. With a schedule it is the rate of the next training
        call, and cannot be set.

        Raises:
            ValueError: On setting something else than a number in [0, 1], or
                the rate of a scheduled layer; on reading a schedule that has
                left [0, 1].
            RuntimeError: On JAX, while an epoch runs and the model's state is
                not in its variables; the message says what to do.
        """
        if self._schedule is not None:
            value = float(
                ops.convert_to_numpy(self._schedule(self._state.read("step")))
            )
            with blame(f"{self._label()}, schedule at step {self.step}"):
                return _checks.rate(value)
        value = np.float32(self._state.read("rate"))
        exact = self._exact_rate
        if exact is not None and value == np.float32(exact):
            return exact
        # It was loaded, or set by a stateless call: 0.3, not 0.30000001.
        return float(str(value))

    @rate.setter
    def rate(self, value: Given) -> None:
        value = self.checked_rate(value)
        self._state.write("rate", value)
        self._exact_rate = value

    @blame_itself
    def checked_rate(self, rate: float) -> float:
        """Returns a rate that is to be set as a float, or raises."""
        if self._schedule is not None:
            raise ValueError(
                f"{self._label()}: the rate follows a "
                f"{type(self._schedule).__name__} and cannot be set. To set "
                "it by hand or by a callback, build the layer with a number, "
                f"e.g. `Dropout(rate=0.5)`. Received: rate={rate!r}"
            )
        return _checks.rate_to_set(rate)

    def _rate_tensor(self, step: Tensor | None = None) -> Tensor:
        """The rate in the graph; NaN if it is illegal, so that outputs show it.

        A schedule may leave [0, 1], and a stateless call may pass any value,
        but a compiled step cannot raise an error. In a Monte Carlo pass the
        rate may be given.
        """
        given = scopes.given_rate(self)
        if given is not None:
            return given
        if self._schedule is None:
            rate = self._state.tensor("rate")
        else:
            if step is None:
                step = self._state.tensor("step")
            rate = ops.cast(self._schedule(step), "float32")
        known = _backend.at_hand(rate)
        if known is not None:
            # A copy: another thread may set the rate while the mask is made.
            value = known[0].copy()
            if 0.0 <= value <= 1.0:
                return _backend.tensor_of(value, rate)
        return _backend.where(rate * (1.0 - rate) >= 0.0, rate, float("nan"))

    @blame_itself
    def _check_inputs(self, inputs: Tensor) -> None:
        _checks.float_inputs(inputs)

    def would_draw(self, training: bool | None) -> bool:
        """Whether a call with this `training`, here and now, would draw."""
        scope = scopes.scope_of(self)
        if scope is not None:
            return scope.draws
        if scopes.is_silent(self):
            return False
        return bool(training or self._stochastic_inference)

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        self._check_inputs(inputs)
        if not _backend.has_rank(inputs) and self.would_draw(training):
            return self._call_at_any_rank(inputs, training)
        scope = scopes.scope_of(self)
        draw, step = None, None
        if scope is not None:
            draw = scope.draw(self) if scope.draws else None
        elif scopes.is_silent(self):
            pass
        elif training:
            step = self._next_number("step", inputs)
            draw = self._draw(step, inputs)
        elif self._stochastic_inference:
            index = self._next_number("draws", inputs) + _INFERENCE
            draw = self._draw(index, inputs)
        if draw is not None:
            return self.stochastic(inputs, draw, self._rate_tensor(step))
        # Other layers do not need the rate, and to read it eagerly takes longer
        # than the call.
        rate = self._rate_tensor() if self._scales_at_inference() else None
        return self.deterministic(inputs, rate)

    def _call_at_any_rank(
        self, inputs: Tensor, training: bool | None
    ) -> Tensor:
        if not self._is_by_unit or getattr(self, "noise_shape", None):
            raise ValueError(
                f"{self._label()}: the number of axes of the inputs is not "
                "known here, and what is dropped depends on it. Make it "
                "known, e.g. by `inputs = tf.ensure_shape(inputs, (None, "
                "None, 8))` or `tf.TensorSpec((None, None, 8))`. Received: "
                f"inputs of shape {inputs.shape}"
            )
        return _backend.by_rows(lambda x: self.call(x, training), inputs)

    def _check_drawing(self) -> None:
        """Raises, before a Monte Carlo pass, what a call that draws would."""

    def _next_number(self, counter: str, inputs: Tensor) -> Tensor:
        def advance() -> Tensor:
            with _backend.after(inputs):
                return self._state.advance(counter)

        return rematerialization.number_of(self, advance)

    def _draw(self, index: Tensor, inputs: Tensor) -> masks.Draw:
        key = self._state.tensor("key")
        for part in _backend.worker():
            key = masks.derived_key(key, part)
        return masks.Draw(key, index, masks.rows_of_batch(inputs))

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        """Outputs under the random numbers of `draw`."""
        raise NotImplementedError

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        """Outputs when nothing is drawn.

        Args:
            inputs: Tensor.
            rate: None if predictions do not depend on it.
        """
        raise NotImplementedError

    def rematerialized_call(
        self, layer_call: Function, *args: Given, **kwargs: Given
    ) -> Function:
        # A second draw would cost more than keeping the mask, and would count
        # the step again, so the layer is called only once, whatever the scope.
        return layer_call

    def compute_output_spec(
        self, inputs: Tensor, *args: Given, **kwargs: Given
    ) -> Tensor:
        # Keras does not run `call` on symbolic inputs. A mistake must show when
        # the model is made, not in its first step.
        self._check_inputs(inputs)
        return super().compute_output_spec(inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        rate = self._schedule
        step: Config = {}
        if rate is None:
            rate = self.rate
        else:
            rate = keras.saving.serialize_keras_object(rate)
            # A copy that gets only the weights must predict the same.
            if self._scales_at_inference() and self.step > 0:
                step = {"step": self.step}
        return {
            # This is the configuration of `Layer`, not of a stock parent with
            # more keys.
            **keras.layers.Layer.get_config(self),
            "rate": rate,
            "seed": self.seed,
            "stochastic_inference": self._stochastic_inference,
            **step,
        }

    @classmethod
    def from_config(
        cls, config: Config, *args: Given, **kwargs: Given
    ) -> Given:
        config = dict(config)
        step = config.pop("step", 0)
        layer = super().from_config(config, *args, **kwargs)
        if step:
            layer.step = step
        return layer


class NoiseShapeLayer(StochasticLayer):
    """Abstract: a stochastic layer whose mask may have a shape of its own."""

    def __init__(
        self,
        rate: Rate,
        noise_shape: Shape | None = None,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        # The stock `__init__` would make a generator and lock the state.
        # Each of its methods that uses these is overridden.
        keras.layers.Layer.__init__(self, **kwargs)
        self.noise_shape = _checks.noise_shape(noise_shape)
        self._start(rate, seed, stochastic_inference)

    @blame_itself
    def _check_inputs(self, inputs: Tensor) -> None:
        super()._check_inputs(inputs)
        if self.noise_shape is not None and _backend.has_rank(inputs):
            _checks.noise_shape_fits(self.noise_shape, inputs.shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "noise_shape": self.noise_shape}


class StochasticWrapper(StochasticLayer, keras.layers.Wrapper):
    """Abstract: a stochastic layer that calls another one, its `layer`."""

    def _outputs(self, inputs: Tensor) -> Tensor:
        """The outputs of the inner layer, which may have another dtype."""
        return ops.cast(self.layer(inputs), self.compute_dtype)

    def _at_inference(self, copy: Function) -> keras.layers.Layer:
        shape = self._shape_at_inference(self.get_build_config()["input_shape"])
        inputs = keras.Input(batch_shape=shape, dtype=self.compute_dtype)
        branch = copy(self.layer)(inputs)
        outputs = self._joined_at_inference(inputs, branch)
        return keras.Model(inputs, outputs, name=self.name)

    def _shape_at_inference(self, shape: Shape) -> Shape:
        # The inner layer is dense or a convolution, so only the number of
        # channels is the same in each call. A sequence may have any length.
        channels_first = getattr(self, "data_format", "") == "channels_first"
        channel = 1 if channels_first else len(shape) - 1
        return tuple(
            size if i == channel else None for i, size in enumerate(shape)
        )

    def _joined_at_inference(self, inputs: Tensor, branch: Tensor) -> Tensor:
        return branch

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
        }


def rate_or_schedule(rate: Given, name: str = "rate") -> Given:
    """Returns a number in [0, 1], or the schedule that `rate` stands for."""
    rate = _checks.plain(rate, name)
    # A layer can be called, but not with a step.
    is_function = callable(rate) and not isinstance(
        rate, (type, keras.layers.Layer)
    )
    if not (is_function or isinstance(rate, dict)):
        return _checks.rate(rate, name)
    return as_schedule(rate, name)

"""Dropout of single units: inverted, classic, Monte Carlo, scheduled."""

import keras

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers.base import NoiseShapeLayer


@keras.saving.register_keras_serializable("kerasdrop")
class Dropout(NoiseShapeLayer, keras.layers.Dropout):
    """Drops units at random in training; survivors are divided by `1 - rate`.

    A drop-in for `keras.layers.Dropout` ("inverted" dropout: inference is the
    identity) whose rate can be changed at any time, whose masks are the same
    on every backend, and which costs about one pass over memory.

    Training: `y = x * keep / (1 - rate)`, where each entry of `keep` is 1 with
    probability `1 - rate` and else 0, drawn anew in each call.
    Inference: `y = x`.

    Write `import kerasdrop` before you load a `.keras` file with this layer, or
    Keras will not know the class. Weights files are loaded class by class, see
    "Stopping and resuming" in docs/saving.md.

    Args:
        rate: Float in [0, 1], the probability of dropping a unit; or a
            schedule (of `kerasdrop.schedules`, or any
            `keras.optimizers.schedules.LearningRateSchedule`, or a function
            registered with Keras), called with the number of training calls
            so far. A float can be read and set later on (`layer.rate = 0.3`),
            also in compiled training.
        noise_shape: Tuple of integers and None, the shape of the mask before
            it is broadcast over the inputs: None takes the inputs' size, 1
            decides once for the whole axis. `(None, 1, None)` drops the same
            features at every step of a sequence.
        seed: Integer, or None for a seed of its own (reproducible by
            `keras.utils.set_random_seed`; for a layer made at rate 0 in a
            session that made such a layer before, after
            `keras.utils.clear_session` only). Layers with the same seed draw
            the same masks in training.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor of any rank, `(batch, ...)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers.

    Example:

    >>> layer = Dropout(0.5, seed=0)
    >>> layer.rate = 0.25
    >>> layer.rate
    0.25

    Reference: [Srivastava et al., 2014](
    https://jmlr.org/papers/v15/srivastava14a.html), section 4, in the scaling
    of its section 10 (multiplication by `1 / (1 - rate)` in training).
    """

    _is_by_unit = True
    _is_rescaled = True
    _is_multiplicative = True

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        return functional.dropout(inputs, draw, rate, self.noise_shape)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return inputs


@keras.saving.register_keras_serializable("kerasdrop")
class ClassicDropout(NoiseShapeLayer, keras.layers.Dropout):
    """Drops units without scaling in training; scales at inference.

    This is dropout as the 2014 paper defines it. In expectation it is the same
    model as `Dropout`, up to the size of the weights that follow. Use it with
    the learning rates, initial weights and max-norm bounds of the paper.
    `kerasdrop.fold_classic_scaling` moves the scaling into the weights.

    Training: `y = x * keep`, `P(keep = 1) = 1 - rate`.
    Inference: `y = x * (1 - rate)`, with the current value of `layer.rate`:
    the last one set or, with a schedule, the one of the next training call.
    When it draws at inference (`stochastic_inference`, Monte Carlo),
    `y = x * keep`.

    Args:
        rate: Float in [0, 1], the probability of dropping a unit; or a
            schedule, as in `Dropout`.
        noise_shape: Tuple of integers and None, the shape of the mask, as in
            `Dropout`.
        seed: Integer or None, as in `Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor of any rank, `(batch, ...)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers.

    Example:

    >>> layer = ClassicDropout(0.25)
    >>> keras.ops.convert_to_numpy(layer(np.ones((1, 4))))  # times 1 - rate
    array([[0.75, 0.75, 0.75, 0.75]], dtype=float32)

    Reference: [Srivastava et al., 2014](
    https://jmlr.org/papers/v15/srivastava14a.html), section 4 and figure 2.
    """

    _is_by_unit = True
    _is_rescaled = True
    _is_multiplicative = True

    def _scales_at_inference(self) -> bool:
        return True

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        return functional.classic_dropout(inputs, draw, rate, self.noise_shape)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        return functional.classic_scaling(inputs, rate)


@keras.saving.register_keras_serializable("kerasdrop")
class MCDropout(Dropout):
    """`Dropout` that draws at inference, too: each prediction is a sample.

    Use it for a model that shall be stochastic wherever it runs. To get the
    uncertainty of an ordinary model now and then, leave the model as it is and
    use `kerasdrop.mc_predict`, which draws many samples at once.

    Args:
        rate: Float in [0, 1], the probability of dropping a unit; or a
            schedule, as in `Dropout`.
        noise_shape: Tuple of integers and None, the shape of the mask, as in
            `Dropout`.
        seed: Integer or None, as in `Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too; True by default.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor of any rank, `(batch, ...)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers.

    Example:

    >>> layer = MCDropout(0.5)
    >>> y = layer(np.ones((4, 8)))  # at inference too
    >>> y = keras.ops.convert_to_numpy(y)
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]

    Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142).
    """

    def __init__(
        self,
        rate: Rate,
        noise_shape: Shape | None = None,
        seed: Seed = None,
        stochastic_inference: bool = True,
        **kwargs: Given,
    ) -> None:
        super().__init__(
            rate, noise_shape, seed, stochastic_inference, **kwargs
        )


@keras.saving.register_keras_serializable("kerasdrop")
class ScheduledDropout(Dropout):
    """`Dropout` whose rate is a schedule of the training step.

    The step is counted in the compiled training step itself, one for each
    training call of this layer: exact with `jit_compile`,
    `steps_per_execution` and in custom loops, where a callback comes too
    seldom or not at all. Validation and prediction do not count. Gradient
    accumulation counts each micro-step; a layer that is called twice in a
    step counts two.

    Args:
        rate: A schedule with values in [0, 1], as in `Dropout`.
        noise_shape: Tuple of integers and None, the shape of the mask, as in
            `Dropout`.
        seed: Integer or None, as in `Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor of any rank, `(batch, ...)`.
        training: Boolean; whether to draw.

    Output shape: As the inputs. A padding mask is passed through.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if `rate` is a number, if the inputs are
            integers.

    Example:

    >>> from keras.optimizers.schedules import PolynomialDecay
    >>> ramp = PolynomialDecay(0.0, decay_steps=1000, end_learning_rate=0.5)
    >>> ScheduledDropout(ramp).rate
    0.0
    """

    def __init__(
        self,
        rate: Rate,
        noise_shape: Shape | None = None,
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        super().__init__(
            rate, noise_shape, seed, stochastic_inference, **kwargs
        )
        if self.schedule is None:
            raise ValueError(
                f"{self._label()}: argument `rate` must be a "
                "`keras.optimizers.schedules.LearningRateSchedule`. For a "
                f"constant rate use `Dropout({rate!r})`. Received: "
                f"rate={rate!r}"
            )

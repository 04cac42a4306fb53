"""A layer with a skip connection around it, left out at random."""

import keras

from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.layers import stand_ins
from kerasdrop.layers.base import StochasticWrapper


@keras.saving.register_keras_serializable("kerasdrop")
class StochasticDepth(StochasticWrapper):
    """Adds a layer's outputs to its inputs, for some rows, at random.

    In training, a residual block is left out for a part of the rows, so that
    the network is short in training and deep at inference.

    With `f` the layer and, for each row, `keep` 1 with probability
    `1 - rate` and else 0:

    - `"classic"`, the default and the paper: `y = x + keep * f(x)` in training
      (its equation 2, without the activation behind the sum) and
      `y = x + (1 - rate) * f(x)` at inference (equation 5).
    - `"inverted"`: `y = x + keep * f(x) / (1 - rate)` and `y = x + f(x)`.

    The paper decides once for a batch, and saves the time of blocks that are
    left out. Here, as in all later work, each row has its own decision: the
    layer runs on all rows, and batch normalization inside it sees all of them.

    Usually the rate grows over the depth of the network:
    `kerasdrop.schedules.linear_depth_rates(num_blocks, 0.5)` is the paper's
    rule. Where the shape changes, write the sum yourself, with a projection
    of the inputs, and put `DropPath` at the end of the branch.

    Args:
        layer: The layer, or model, of one input and one output of the same
            shape.
        rate: Float in [0, 1], the probability of leaving it out for a row; or
            a schedule, as in `kerasdrop.layers.Dropout`.
        scaling: `"classic"` or `"inverted"`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
        stochastic_inference: Boolean; whether to draw when `training` is
            False, too.
        **kwargs: As in `keras.layers.Layer`: `name`, `dtype`.

    Call arguments:
        inputs: Floating-point tensor `(batch, ...)`.
        training: Boolean; whether to draw. The layer gets it as well.

    Output shape: As the inputs. A padding mask is passed through, and seen by
        the layer.

    Raises:
        ValueError: If an argument is out of its range, if the schedule leaves
            [0, 1], if the inputs are integers, if `layer` changes their shape.

    Example:

    >>> branch = keras.Sequential(
    ...     [keras.layers.Dense(64, "relu"), keras.layers.Dense(4)]
    ... )
    >>> layer = StochasticDepth(branch, 0.5)
    >>> layer(x, training=True).shape == x.shape
    True

    Reference: [Huang et al., 2016](https://arxiv.org/abs/1603.09382),
    section 3.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        rate: Rate,
        scaling: str = "classic",
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        keras.layers.Wrapper.__init__(self, layer, **kwargs)
        self.scaling = _checks.choice(
            scaling, ("classic", "inverted"), "scaling"
        )
        self._start(rate, seed, stochastic_inference)

    def build(self, input_shape: Shape | None = None) -> None:
        # The layer is called, not built, because a layer that contains others
        # may have no `build` that builds them.
        inputs = keras.KerasTensor(input_shape, self.compute_dtype)
        outputs = self.layer(inputs)
        shape = getattr(outputs, "shape", None)
        if shape != inputs.shape:
            raise ValueError(
                f"{self._label()}: `layer` must have one output, of the shape "
                "of its inputs, to which it is added. Where the shape "
                "changes, write `project(x) + DropPath(rate)(layer(x))`. "
                f"Received: layer '{self.layer.name}', which makes "
                f"{shape or type(outputs).__name__} of {inputs.shape}"
            )

    def _scales_at_inference(self) -> bool:
        return self.scaling == "classic"

    def _shape_at_inference(self, shape: Shape) -> Shape:
        return shape

    def _joined_at_inference(self, inputs: Tensor, branch: Tensor) -> Tensor:
        if self._scales_at_inference():
            branch = stand_ins.scaling(self)(branch)
        return keras.layers.Add(dtype=self.dtype_policy)([inputs, branch])

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        branch = self._outputs(inputs)
        return inputs + functional.drop_path(branch, draw, rate, self.scaling)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        branch = self._outputs(inputs)
        if self.scaling == "classic":
            branch = functional.classic_scaling(branch, rate)
        return inputs + branch

    def get_config(self) -> Config:
        return {**super().get_config(), "scaling": self.scaling}

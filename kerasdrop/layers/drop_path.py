"""Dropout of whole rows of a residual branch."""

import keras

from kerasdrop import _checks
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Rate
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.layers.base import StochasticLayer


@keras.saving.register_keras_serializable("kerasdrop")
class DropPath(StochasticLayer):
    """Drops the whole branch of a row in training: stochastic depth.

    Put it at the end of a residual branch, before the sum:
    `x = x + DropPath(0.1)(branch(x))`. A row of a batch then goes through the
    branch or past it. `StochasticDepth` does the same around a layer.

    The two scalings, with `keep` of each row 1 with probability `1 - rate`
    and else 0:

    - `"inverted"`: `y = x * keep / (1 - rate)` in training, `y = x` at
      inference. timm and most vision transformers use this form.
    - `"classic"`: `y = x * keep` in training, `y = x * (1 - rate)` at
      inference. This is the form of the paper (its equations 2 and 5).

    timm's `scale_by_keep=False` is neither: it does not scale at inference,
    where the branch is then too large on average.

    Usually the rate grows over the depth of the network:
    `kerasdrop.schedules.linear_depth_rates(num_blocks, 0.2)` is the paper's
    rule, a list with a rate for each block.

    Args:
        rate: Float in [0, 1], the probability of dropping the branch of a
            row; or a schedule, as in `kerasdrop.layers.Dropout`.
        scaling: `"inverted"` or `"classic"`.
        seed: Integer or None, as in `kerasdrop.layers.Dropout`.
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

    >>> rates = kerasdrop.schedules.linear_depth_rates(4, 0.5)
    >>> [DropPath(rate).rate for rate in rates]  # of four blocks
    [0.125, 0.25, 0.375, 0.5]

    Reference: [Huang et al., 2016](https://arxiv.org/abs/1603.09382),
    section 3, where a whole batch is dropped; [Larsson et al., 2017](
    https://arxiv.org/abs/1605.07648) and later papers drop single rows.
    """

    _is_rescaled = True
    _is_multiplicative = True

    def __init__(
        self,
        rate: Rate,
        scaling: str = "inverted",
        seed: Seed = None,
        stochastic_inference: bool = False,
        **kwargs: Given,
    ) -> None:
        super().__init__(**kwargs)
        self.scaling = _checks.choice(
            scaling, ("inverted", "classic"), "scaling"
        )
        self._start(rate, seed, stochastic_inference)

    def _scales_at_inference(self) -> bool:
        return self.scaling == "classic"

    def stochastic(
        self, inputs: Tensor, draw: masks.Draw, rate: Tensor
    ) -> Tensor:
        return functional.drop_path(inputs, draw, rate, self.scaling)

    def deterministic(self, inputs: Tensor, rate: Tensor) -> Tensor:
        if self.scaling == "classic":
            return functional.classic_scaling(inputs, rate)
        return inputs

    def get_config(self) -> Config:
        return {**super().get_config(), "scaling": self.scaling}

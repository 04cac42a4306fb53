"""Pure functions that apply the random decisions of a draw to inputs.

The layers of this package and the adapters of stock layers call the same
functions, so a stock layer and its counterpart here drop the same units.
"""

import keras

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._backend import ops
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.masks import int32
from kerasdrop.masks import keeping

__all__ = [
    "alpha_dropout",
    "by_channel",
    "by_row",
    "classic_dropout",
    "classic_scaling",
    "concrete_dropout",
    "drop_block",
    "drop_connect",
    "drop_path",
    "dropout",
    "embedding_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "normal",
    "over_steps",
]

# The limit of SELU for large negative inputs (Klambauer et al. 2017).
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805
_SELU_LIMIT = -_SELU_ALPHA * _SELU_SCALE
# This is computed outside the graph, because `torch.compile(dynamic=True)`
# fails at this power.
_SELU_LIMIT_SQUARED = _SELU_LIMIT**2

# The logit for a rate of 0, at any temperature.
LOWEST_LOGIT = -1e30


def _dtype(inputs: Tensor) -> str:
    return keras.backend.standardize_dtype(inputs.dtype)


def _precise(inputs: Tensor) -> str:
    """The dtype for scalars: float32 at least."""
    return "float64" if _dtype(inputs) == "float64" else "float32"


@_backend.recomputed
def dropout(
    inputs: Tensor,
    draw: masks.Draw,
    rate: Tensor,
    noise_shape: Shape | None = None,
) -> Tensor:
    """`inputs * keep / (1 - rate)`; all zeros at rate 1.

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw: A `masks.Draw`.
        rate: float32 scalar tensor in [0, 1].
        noise_shape: As in `keras.layers.Dropout`.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> y = keras.ops.convert_to_numpy(dropout(ones, draw, 0.5))
    >>> set(y.ravel().tolist()) <= {0.0, 2.0}
    True
    """
    rate = masks.unless_all_is_kept(draw, rate, 0.0)
    at_once = keeping.in_one_pass("inverted", inputs, draw, rate, noise_shape)
    if at_once is not None:
        return at_once
    keep = masks.keep_mask(draw, rate, inputs, noise_shape)
    scale = masks.survivor_scale(rate, _dtype(inputs))
    return _backend.selected(keep, inputs * scale)


@_backend.recomputed
def classic_dropout(
    inputs: Tensor,
    draw: masks.Draw,
    rate: Tensor,
    noise_shape: Shape | None = None,
) -> Tensor:
    """`inputs * keep`.

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw: A `masks.Draw`.
        rate: float32 scalar tensor in [0, 1].
        noise_shape: As in `keras.layers.Dropout`, or None.

    Returns:
        A tensor of the inputs' shape and dtype.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> y = keras.ops.convert_to_numpy(classic_dropout(ones, draw, 0.5))
    >>> set(y.ravel().tolist()) <= {0.0, 1.0}
    True
    """
    # 1, but NaN for an illegal rate, which must show here as well.
    scale = masks.unless_all_is_kept(draw, rate * 0.0 + 1.0, 1.0 - rate)
    scale = ops.cast(scale, _dtype(inputs))
    at_once = keeping.in_one_pass(
        "scaled", inputs, draw, rate, noise_shape, scale
    )
    if at_once is not None:
        return at_once
    keep = masks.keep_mask(draw, rate, inputs, noise_shape)
    return _backend.selected(keep, inputs * scale)


def classic_scaling(inputs: Tensor, rate: Tensor) -> Tensor:
    """`inputs * (1 - rate)`: what classic dropout does at inference.

    Args:
        inputs: Float tensor.
        rate: float32 scalar tensor in [0, 1].

    Returns:
        A tensor of the inputs' shape and dtype.

    Example:

    >>> y = classic_scaling(keras.ops.ones((2,)), 0.25)
    >>> keras.ops.convert_to_numpy(y)
    array([0.75, 0.75], dtype=float32)
    """
    kept = 1.0 - ops.cast(rate, _precise(inputs))
    return inputs * ops.cast(kept, _dtype(inputs))


def by_channel(inputs: Tensor, data_format: str) -> Shape:
    """The noise shape for one decision per row and channel.

    Args:
        inputs: Tensor `(batch, ..., channels)`, or with `"channels_first"`
            `(batch, channels, ...)`.
        data_format: `"channels_last"` or `"channels_first"`.

    Example:

    >>> by_channel(np.ones((2, 8, 8, 3)), "channels_last")
    (None, 1, 1, None)
    """
    ones = (1,) * (len(inputs.shape) - 2)
    if data_format == "channels_first":
        return (None, None, *ones)
    return (None, *ones, None)


def by_row(inputs: Tensor) -> Shape:
    """The noise shape for one decision per row.

    Args:
        inputs: Tensor; axis 0 is the row.

    Returns:
        A tuple: None, and 1 for each further axis.

    Example:

    >>> by_row(np.ones((2, 8, 8, 3)))
    (None, 1, 1, 1)
    """
    return (None,) + (1,) * (len(inputs.shape) - 1)


def over_steps(inputs: Tensor) -> Shape:
    """The noise shape for one decision per row and unit, shared by all steps.

    The steps are on axis 1.

    Args:
        inputs: Tensor `(rows, steps, ...)`.

    Returns:
        A tuple: 1 for the steps, and None for each other axis.

    Example:

    >>> over_steps(np.ones((2, 10, 3)))
    (None, 1, None)
    """
    return (None, 1) + (None,) * (len(inputs.shape) - 2)


def drop_path(
    inputs: Tensor, draw: masks.Draw, rate: Tensor, scaling: str = "inverted"
) -> Tensor:
    """Drops whole rows, with `dropout` or `classic_dropout`.

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw, rate: As in `dropout`.
        scaling: `"inverted"` for `dropout`, `"classic"` for `classic_dropout`.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> y = keras.ops.convert_to_numpy(drop_path(ones, draw, 0.5))
    >>> [len(set(row)) for row in y.tolist()]  # kept or dropped as a whole
    [1, 1]
    """
    drop = classic_dropout if scaling == "classic" else dropout
    return drop(inputs, draw, rate, by_row(inputs))


@_backend.recomputed
def drop_block(
    inputs: Tensor,
    draw: masks.Draw,
    rate: Tensor,
    block_size: tuple[int, ...],
    data_format: str = "channels_last",
) -> Tensor:
    """Drops blocks of each channel, and divides a row by its kept fraction.

    At each place where a block fits, one begins with the probability
    `gamma = rate * product of size / (block * (size - block + 1))` over the
    axes (Ghiasi et al. 2018, equation 1). If nothing of a row is kept, it is
    all 0.

    Args:
        inputs: Float tensor `(batch, ..., channels)`, or with
            `"channels_first"` `(batch, channels, ...)`.
        draw, rate: As in `dropout`.
        block_size: Tuple of integers, one for each axis between batch and
            channels.
        data_format: `"channels_last"` or `"channels_first"`.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> maps = keras.ops.ones((1, 8, 8, 3))
    >>> drop_block(maps, draw, 0.1, block_size=(3, 3)).shape == maps.shape
    True
    """
    first_axis = 2 if data_format == "channels_first" else 1
    rate = masks.unless_all_is_kept(draw, rate, 0.0)
    gamma = rate
    for size, block in zip(ops.shape(inputs)[first_axis:], block_size):
        if not isinstance(size, int):
            size = ops.cast(size, "float32")
        gamma = gamma * (size / (block * (size - block + 1)))
    keep = masks.block_keep_mask(draw, gamma, inputs, block_size, first_axis)
    dropped = ops.mean(
        ops.cast(ops.logical_not(keep), _precise(inputs)),
        axis=tuple(range(1, len(inputs.shape))),
        keepdims=True,
    )
    # An illegal rate is NaN, which must show here as well.
    dropped = dropped + ops.cast(rate * 0.0, _precise(inputs))
    scale = masks.survivor_scale(dropped, _dtype(inputs))
    return _backend.selected(keep, inputs * scale)


@_backend.recomputed
def embedding_dropout(
    vectors: Tensor, ids: Tensor, draw: masks.Draw, rate: Tensor
) -> Tensor:
    """`vectors * keep / (1 - rate)`, with one decision for each id in a row.

    Args:
        vectors: Float tensor `(batch, ..., features)`.
        ids: int32 tensor `(batch, ...)`, the id of each vector.
        draw, rate: As in `dropout`.

    Returns:
        A tensor of the shape and dtype of `vectors`.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ids = keras.ops.convert_to_tensor([[7, 3, 7]], "int32")
    >>> y = embedding_dropout(keras.ops.ones((1, 3, 2)), ids, draw, 0.5)
    >>> bool(keras.ops.all(y[0, 0] == y[0, 2]))
    True
    """
    rate = masks.unless_all_is_kept(draw, rate, 0.0)
    keep = masks.unit_keep_mask(draw, rate, ids)
    scale = masks.survivor_scale(rate, _dtype(vectors))
    return _backend.selected(ops.expand_dims(keep, -1), vectors * scale)


@_backend.recomputed
def alpha_dropout(
    inputs: Tensor,
    draw: masks.Draw,
    rate: Tensor,
    noise_shape: Shape | None = None,
) -> Tensor:
    """Sets dropped units to SELU's limit; keeps mean 0 and variance 1.

    `y = a * (x if kept else limit) + b` with
    `a = ((1 - rate) * (1 + rate * limit**2)) ** -0.5`, `b = -a * limit * rate`
    (Klambauer et al. 2017, section 2). At rate 1, where `a` is not finite, all
    outputs are 0, the mean.

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw: A `masks.Draw`.
        rate: float32 scalar tensor in [0, 1].
        noise_shape: As in `keras.layers.Dropout`, or None.

    Returns:
        A tensor of the inputs' shape and dtype.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> alpha_dropout(ones, draw, 0.25).shape == ones.shape
    True
    """
    rate = masks.unless_all_is_kept(draw, rate, 0.0)
    a, b = _alpha_scale_and_shift(rate, inputs)
    at_once = keeping.in_one_pass(
        "affine", inputs, draw, rate, noise_shape, a, _SELU_LIMIT, b
    )
    if at_once is not None:
        return at_once
    keep = masks.keep_mask(draw, rate, inputs, noise_shape)
    return a * _backend.where(keep, inputs, _SELU_LIMIT) + b


def _alpha_scale_and_shift(
    rate: Tensor, inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """The `a` and `b` of `alpha_dropout`, of the dtype of `inputs`."""
    rate = ops.cast(rate, _precise(inputs))
    inverse = (1.0 - rate) * (1.0 + rate * _SELU_LIMIT_SQUARED)
    some = inverse > 0.0
    a = ops.rsqrt(_backend.where(some, inverse, 1.0))
    a = _backend.where(some, a, 0.0)
    a = _backend.where(inverse >= 0.0, a, float("nan"))
    b = -a * _SELU_LIMIT * rate
    return ops.cast(a, _dtype(inputs)), ops.cast(b, _dtype(inputs))


@_backend.recomputed
def gaussian_dropout(inputs: Tensor, draw: masks.Draw, rate: Tensor) -> Tensor:
    """`inputs * N(1, rate / (1 - rate))` (Srivastava et al. 2014, section 10).

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw: A `masks.Draw`.
        rate: float32 scalar tensor in [0, 1): at 1 the variance is infinite.

    Returns:
        A tensor of the inputs' shape and dtype.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> gaussian_dropout(ones, draw, 0.5).shape == ones.shape
    True
    """
    rate = masks.unless_all_is_kept(draw, rate, 0.0)
    rate = ops.cast(rate, _precise(inputs))
    deviation = ops.sqrt(rate / (1.0 - rate))
    return inputs * ops.cast(
        1.0 + deviation * normal(draw, inputs), _dtype(inputs)
    )


@_backend.recomputed
def gaussian_noise(
    inputs: Tensor, draw: masks.Draw, standard_deviation: Tensor
) -> Tensor:
    """`inputs + N(0, standard_deviation ** 2)`.

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw: A `masks.Draw`.
        standard_deviation: Number or scalar tensor, in the inputs' unit.

    Returns:
        A tensor of the inputs' shape and dtype.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> gaussian_noise(ones, draw, 0.1).shape == ones.shape
    True
    """
    if ops.is_tensor(standard_deviation):
        standard_deviation = ops.cast(standard_deviation, _precise(inputs))
    noise = standard_deviation * normal(draw, inputs)
    return inputs + ops.cast(noise, _dtype(inputs))


def normal(draw: masks.Draw, inputs: Tensor) -> Tensor:
    """Standard normal numbers in the shape of `inputs`, float32 or float64.

    Each number is made from one word by inversion, so stratified words give
    stratified normal numbers. The words are equal on all backends, and the
    numbers are equal up to rounding. No number is beyond 5.3, because 23 bits
    of a word count. If the draw keeps all units, the numbers are 0.

    Args:
        draw: A `masks.Draw`.
        inputs: Float tensor; axis 0 is the row.

    Returns:
        A tensor of the inputs' shape.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> z = keras.ops.convert_to_numpy(normal(draw, ones))
    >>> bool((abs(z) < 5.3).all())
    True
    """
    draw = masks.for_rows(draw, inputs)
    if draw.keep_all is True:
        return ops.zeros_like(inputs, _precise(inputs))
    factor = 2.0**0.5
    if draw.keep_all is not None:
        factor = ops.convert_to_tensor(factor, _precise(inputs))
        factor = masks.unless_all_is_kept(draw, factor, 0.0)
    return factor * ops.erfinv(_uniform_numbers(inputs, draw))


@_backend.recomputed
def concrete_dropout(
    inputs: Tensor,
    draw: masks.Draw,
    logit: Tensor,
    temperature: float = 0.1,
    noise_shape: Shape | None = None,
) -> Tensor:
    """`inputs * (1 - z) / (1 - rate)`, with z in (0, 1), mostly near an end.

    Here `z = sigmoid((logit + log(u / (1 - u))) / temperature)`, with u uniform
    in (0, 1). This is a dropout mask that is smooth in the rate (Gal, Hron &
    Kendall 2017, section 3). z is above 1/2 with probability `rate`.

    Args:
        inputs: Float tensor; axis 0 is the row.
        draw: A `masks.Draw`.
        logit: float32 scalar tensor, `log(rate / (1 - rate))`.
        temperature: Float above 0; with a lower one, z is closer to 0 or 1.
        noise_shape: As in `keras.layers.Dropout`.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> ones = keras.ops.ones((2, 4))
    >>> y = concrete_dropout(ones, draw, logit=0.0)  # a rate of 1/2
    >>> y.shape == ones.shape
    True
    """
    draw = masks.for_rows(draw, inputs)
    # Numbers in (-1, 1), to which 1 can be added without rounding.
    uniform = _uniform_numbers(inputs, draw, noise_shape)
    log_odds = ops.log(1.0 + uniform) - ops.log(1.0 - uniform)
    logit = masks.unless_all_is_kept(draw, logit, LOWEST_LOGIT)
    logit = ops.cast(logit, _precise(inputs))
    noise = ops.sigmoid(-(logit + log_odds) / temperature) / ops.sigmoid(-logit)
    return inputs * ops.cast(noise, _dtype(inputs))


def drop_connect(
    inputs: Tensor, kernel: Tensor, draw: masks.Draw, rate: Tensor
) -> Tensor:
    """`inputs @ (kernel * keep / (1 - rate))`, with its own mask for each row.

    Args:
        inputs: Float tensor `(batch, ..., features)`.
        kernel: Float tensor `(features, units)`, of the dtype of `inputs`.
        draw, rate: As in `dropout`.

    Returns:
        A float tensor `(batch, ..., units)`.

    Example:

    >>> draw = kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> kernel = keras.ops.ones((4, 2))
    >>> y = keras.ops.convert_to_numpy(
    ...     drop_connect(keras.ops.ones((1, 4)), kernel, draw, 0.5)
    ... )
    >>> set(y.ravel().tolist()) <= {0.0, 2.0, 4.0, 6.0, 8.0}
    True
    """
    kernels = ops.broadcast_to(
        kernel, (ops.shape(inputs)[0], *ops.shape(kernel))
    )
    kernels = dropout(kernels, draw, rate)
    return ops.einsum("b...i,bio->b...o", inputs, kernels)


def _uniform(
    inputs: Tensor,
    key: Tensor,
    index: Tensor,
    rows: Tensor,
    set_size: int | None,
    num_samples: int,
    noise_shape: Shape,
) -> Tensor:
    """Uniform numbers in (-1, 1), in the shape of `inputs` or of the noise."""
    draw = masks.Draw(key, index, rows, set_size, num_samples)
    word = masks.words(*masks.for_noise(inputs, draw, noise_shape))
    part = ops.cast(int32.signed_shifted(word, 9), _precise(inputs))
    # The middle of one of 2**23 equal parts, exact in float32: never -1 or 1,
    # where the inverse of the error function is infinite.
    return (part + 0.5) * 2.0**-22


_fused_uniform = _backend.fused(_uniform)


def _uniform_numbers(
    inputs: Tensor, draw: masks.Draw, noise_shape: Shape | None = None
) -> Tensor:
    at_once = keeping.in_one_pass(
        "uniform", inputs, draw, noise_shape=noise_shape
    )
    if at_once is not None:
        return at_once
    return _fused_uniform(inputs, *draw[:5], noise_shape)

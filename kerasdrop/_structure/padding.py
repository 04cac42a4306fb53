"""The padding masks that Keras keeps with tensors.

Keras passes them only to layers, so there are layers here.
"""

import keras

from kerasdrop import _backend
from kerasdrop._types import Tensor


class _Reader(keras.layers.Layer):
    """Stores the mask of its inputs."""

    def __init__(self) -> None:
        super().__init__(autocast=False, name="mask_of")
        self.supports_masking = True
        self.found: Tensor | None = None

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        self.found = mask
        return inputs


class _Writer(keras.layers.Layer):
    """Gives its outputs a mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(autocast=False, name="masked")
        self.supports_masking = True
        self._given = mask

    def call(self, inputs: Tensor) -> Tensor:
        return keras.ops.copy(inputs)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor) -> Tensor:
        return self._given


def mask_of(tensor: Tensor) -> Tensor | None:
    """The mask that a tensor carries, or None."""
    reader = _Reader()
    reader(tensor)
    return reader.found


def may_have_mask(tensor: Tensor) -> bool:
    """Whether a tensor may carry a mask, as far as a cheap test shows.

    The test is exact on PyTorch. In a compiled pass it makes no difference.
    """
    if _backend.COMPILES:
        return True
    # Private; pinned by tests/contracts/test_padding_masks.py.
    return getattr(tensor, "_keras_mask", None) is not None


def masked(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Returns a tensor that carries this mask."""
    return tensor if mask is None else _Writer(mask)(tensor)

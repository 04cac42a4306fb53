"""On PyTorch Keras keeps the mask of padding with the tensor it is of."""

import keras
import numpy as np
from keras import layers
from keras import ops

from kerasdrop._structure import padding


def test_a_tensor_tells_whether_it_carries_a_mask():
    tokens = np.array([[3, 4, 0]])
    embedding = layers.Embedding(5, 2, mask_zero=True)
    assert padding.may_have_mask(embedding(tokens))
    if keras.backend.backend() == "torch":
        assert not padding.may_have_mask(layers.Embedding(5, 2)(tokens))
        assert not padding.may_have_mask(ops.ones((1, 3, 2)))
        assert not padding.may_have_mask(tokens)

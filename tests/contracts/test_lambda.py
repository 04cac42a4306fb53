"""`_copying` reads an argument of `Lambda` that has no public name."""

import pytest
from keras import layers

from kerasdrop.conversion import rebuilding


@pytest.mark.parametrize("shape", [None, (4,), lambda shape: shape])
def test_the_output_shape_is_kept_as_given(shape):
    layer = layers.Lambda(lambda x: x, output_shape=shape)
    assert rebuilding.output_shape_of_lambda(layer) == shape

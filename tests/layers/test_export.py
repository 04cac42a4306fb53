"""A model with dropout is exported for inference as with the stock layer."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout

pytestmark = pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras cannot export a SavedModel from PyTorch, stock or not",
)


@pytest.mark.filterwarnings(
    # Keras' own call of jax2tf.
    "ignore:The `native_serialization` parameter:DeprecationWarning"
)
@pytest.mark.parametrize("layer_class", [Dropout, ClassicDropout])
def test_a_saved_model_predicts_as_the_model(layer_class, tmp_path):
    tf = pytest.importorskip("tensorflow")
    layer = layer_class(0.5)
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(2)])
    layer.rate = 0.25
    inputs = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
    model.export(tmp_path, format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(
        exported.serve(inputs), ops.convert_to_numpy(model(inputs)), rtol=1e-6
    )

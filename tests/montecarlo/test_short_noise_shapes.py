"""A noise shape of fewer axes than the inputs is that of the last axes."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support.helpers import assert_proportion

X = np.ones((4, 5, 60), "float32")
SHAPES = [(60,), (1, 60), (5, 60), (5, 1)]
CLASSES = {
    "stock": layers.Dropout,
    "ours": kerasdrop.layers.Dropout,
    "stock alpha": layers.AlphaDropout,
    "our alpha": kerasdrop.layers.AlphaDropout,
}


def sampled(layer, **kwargs):
    model = keras.Sequential([keras.Input(X.shape[1:]), layer])
    return kerasdrop.mc_predict(
        model,
        X,
        40,
        seed=0,
        plan="independent",
        kind="regression",
        keep_samples=True,
        verbose=0,
        **kwargs,
    ).samples


def assert_shared(kept, noise_shape):
    """Of masks `(samples, rows, steps, features)`."""
    full = (1,) * (3 - len(noise_shape)) + noise_shape
    first = kept[(slice(None), *(slice(n if n > 1 else 1) for n in full))]
    assert (kept == first).all()
    assert_proportion(first, 0.5)
    masks = np.unique(first.reshape(len(first), -1), axis=0)
    # Of five decisions there are only so many.
    assert len(masks) == len(first) or first[0].size == 5


@pytest.mark.parametrize(
    ("name", "noise_shape"),
    [
        *(("stock", noise_shape) for noise_shape in SHAPES),
        *((name, (5, 1)) for name in CLASSES if name != "stock"),
    ],
)
def test_in_a_pass_and_in_training_it_is_shared_as_keras_shares_it(
    name, noise_shape
):
    layer = CLASSES[name](0.5, noise_shape=noise_shape)
    training = [ops.convert_to_numpy(layer(X, training=True)) for _ in "ab"]
    kept = np.stack(training) > 0.5
    first = kept[:, :1]
    assert (kept == first).all()  # all rows share, with Keras too
    samples = sampled(layer).swapaxes(0, 1)
    assert_shared(samples > 0.5, noise_shape)


@pytest.mark.parametrize("name", ["stock", "ours"])
@pytest.mark.parametrize("noise_shape", [(None, 1), (4, 1, 60), (3, 1, 60)])
def test_what_cannot_be_meant_is_refused(name, noise_shape):
    with pytest.raises(ValueError, match="noise_shape"):
        sampled(CLASSES[name](0.5, noise_shape=noise_shape))


@pytest.mark.parametrize("cls", [layers.Dropout, kerasdrop.layers.Dropout])
def test_rows_may_be_fixed_where_samples_come_one_by_one(cls):
    layer = cls(0.5, noise_shape=(4, 1, 60))
    kept = sampled(layer, vectorized=False, batch_size=4) > 0.5
    assert (kept == kept[:, :, :1]).all()
    assert_proportion(kept[:, :, 0], 0.5)

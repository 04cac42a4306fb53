"""`vectorized=False`: each sample is a plain call of the model."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support import helpers
from tests.support import zoo
from tests.support.zoo import graphs


def predicted(model, x, num_samples=16, **settings):
    settings = {"kind": "regression", "seed": 3, "verbose": 0, **settings}
    return kerasdrop.mc_predict(
        model,
        x,
        num_samples,
        keep_samples=True,
        vectorized=False,
        **settings,
    )


def model_of(function, shape=(3,), **settings):
    """A model of a function of a tensor of which units were dropped."""
    x = keras.Input(shape, **settings)
    return keras.Model(x, function(layers.Dropout(0.5)(x)))


@pytest.mark.parametrize(
    "make",
    [
        graphs.nested_shared,
        graphs.several_inputs_and_outputs,
        graphs.masked_sequence,
    ],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("plan", ["stratified", "shared"])
def test_samples_are_those_that_run_side_by_side(make, plan):
    model = make()
    x = zoo.inputs_of(model)
    one_by_one = predicted(model, x, 20, plan=plan)
    side_by_side = kerasdrop.mc_predict(
        model,
        x,
        20,
        seed=3,
        plan=plan,
        kind="regression",
        keep_samples=True,
        verbose=0,
    )
    for name in ("samples", "mean", "standard_error"):
        for one, other in zip(
            keras.tree.flatten(one_by_one[name]),
            keras.tree.flatten(side_by_side[name]),
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_each_sample_is_a_call_on_the_batch():
    seen = []

    class Witness(layers.Layer):
        def call(self, inputs):
            seen.append(tuple(inputs.shape))
            return inputs * 1.0

    model = model_of(Witness())
    seen.clear()
    predicted(model, np.ones((4, 3), "float32"))
    assert set(seen) == {(4, 3)}


def test_rows_may_see_each_other():
    # Two equal rows: the mean of both is 0 in each sample, and a row is half
    # of the difference of 0 or 2 and 0 or 2.
    model = model_of(lambda h: h - ops.mean(h, axis=0, keepdims=True))
    samples = predicted(model, np.ones((2, 3), "float32"), 512).samples
    np.testing.assert_array_equal(samples.sum(axis=0), 0.0)
    assert set(np.unique(samples)) == {-1.0, 0.0, 1.0}
    helpers.assert_proportion(samples[0] != 0.0, 0.5)


def test_batches_are_not_filled_up():
    model = model_of(lambda h: h - ops.mean(h, axis=0, keepdims=True))
    x = np.ones((3, 3), "float32")
    samples = predicted(model, x, batch_size=2).samples
    assert samples[:2].any()
    np.testing.assert_array_equal(samples[2], 0.0)  # alone in its batch


def test_outputs_of_pairs_of_rows():
    def pairs(h):
        return [h, ops.matmul(h, ops.transpose(h))]

    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    rows, products = predicted(model_of(pairs), x).samples
    expected = np.einsum("isf,jsf->isj", rows, rows)
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-5)


def test_outputs_of_pairs_in_batches_of_two_sizes():
    model = model_of(lambda h: ops.matmul(h, ops.transpose(h)))
    x = np.ones((3, 3), "float32")
    with pytest.raises(ValueError, match="`batch_size` that divides"):
        predicted(model, x, batch_size=2)


def test_units_are_dropped_where_the_first_axis_is_not_the_batch():
    x = keras.Input((4, 3))
    h = layers.Dropout(0.5)(ops.reshape(x, (-1, 3)))
    model = keras.Model(x, ops.reshape(h, (-1, 4, 3)))
    ones = np.ones((6, 4, 3), "float32")
    samples = predicted(model, ones, 64, batch_size=3).samples
    assert set(np.unique(samples)) == {0.0, 2.0}
    dropped = samples == 0.0
    helpers.assert_proportion(dropped.reshape(-1), 0.5)
    # Stratified: each unit falls 8 times in each 16 samples.
    in_sets = dropped.reshape(6, 4, 16, 12)
    np.testing.assert_array_equal(in_sets.sum(axis=2), 8)
    # Places, samples and batches differ.
    assert len(np.unique(dropped.reshape(24, -1), axis=0)) == 24
    again = predicted(model, ones, 64, batch_size=3).samples
    np.testing.assert_array_equal(samples, again)


def test_noise_of_a_transposed_batch():
    x = keras.Input((40,))
    h = layers.GaussianNoise(1.0)(ops.transpose(x))
    model = keras.Model(x, ops.transpose(h))
    zeros = np.zeros((5, 40), "float32")
    samples = predicted(model, zeros, 256, plan="independent").samples
    helpers.assert_mean(samples, 0.0, 1.0)
    # The square of a normal number has the variance 2.
    helpers.assert_mean(samples**2, 1.0, 2.0**0.5)


def test_a_batch_size_that_the_model_is_written_for():
    model = model_of(lambda h: ops.reshape(h, (4, 1, 3)), batch_size=4)
    x = np.ones((8, 3), "float32")
    samples = predicted(model, x, batch_size=4).samples
    assert samples.shape == (8, 16, 1, 3)
    assert set(np.unique(samples)) == {0.0, 2.0}


def test_masks_written_for_the_rows_of_a_batch():
    x = keras.Input((3,))
    h = layers.Dropout(0.5, noise_shape=(4, 1))(x)
    model = keras.Model(x, h)
    samples = predicted(model, np.ones((4, 3), "float32")).samples
    assert (samples == samples[..., :1]).all()
    assert len(np.unique(samples[..., 0], axis=0)) == 4


def test_a_subclassed_model():
    @keras.saving.register_keras_serializable("test_one_by_one")
    class Ranked(keras.Model):
        def __init__(self):
            super().__init__()
            self.dropout = kerasdrop.layers.Dropout(0.5)

        def call(self, inputs):
            return ops.argsort(self.dropout(inputs), axis=0)

    model = Ranked()
    x = np.arange(4, dtype="float32")[:, None]
    model(x)
    samples = predicted(model, x).samples
    # Each sample is an order of the rows.
    np.testing.assert_array_equal(
        np.sort(samples[..., 0], axis=0), np.arange(4)[:, None].repeat(16, 1)
    )
    assert len(np.unique(samples[..., 0], axis=1).T) > 1


def test_it_is_kept_with_the_model(tmp_path):
    model = model_of(layers.Dense(2))
    x = np.ones((3, 3), "float32")
    predictive = kerasdrop.MonteCarlo(model, 16, seed=0, vectorized=False)
    expected = predictive.predict(x, verbose=0)
    predictive.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.vectorized is False
    found = loaded.predict(x, verbose=0)
    np.testing.assert_allclose(found["variance"], expected["variance"], 1e-5)


def test_an_output_without_a_row_for_each():
    model = model_of(lambda h: {"rows": h, "all": ops.sum(h)})
    with pytest.raises(ValueError, match="output 'all' of shape \\(\\)"):
        predicted(model, np.ones((4, 3), "float32"))


def test_no_memory_limit():
    with pytest.raises(ValueError, match="batch is not cut"):
        predicted(
            model_of(layers.Dense(2)),
            np.ones((4, 3), "float32"),
            memory_limit=2**20,
        )


def test_no_export(tmp_path):
    model = model_of(layers.Dense(2))
    predictive = kerasdrop.MonteCarlo(model, 16, vectorized=False)
    formats = {"tensorflow": "tf_saved_model", "jax": "tf_saved_model"}
    name = formats.get(keras.backend.backend(), "onnx")
    with pytest.raises(ValueError, match="side by side"):
        predictive.export(tmp_path / "model.onnx", format=name)


def test_what_is_no_flag():
    with pytest.raises(ValueError, match="`vectorized` must be True or"):
        kerasdrop.mc_predict(
            model_of(layers.Dense(2)), np.ones((4, 3)), vectorized="no"
        )


def test_masks_of_another_axis_are_refused_side_by_side():
    x = keras.Input((4, 3))
    h = layers.Dropout(0.5)(ops.reshape(x, (-1, 3)))
    model = keras.Model(x, ops.reshape(h, (-1, 4, 3)))
    with pytest.raises(ValueError, match="vectorized=False"):
        kerasdrop.mc_predict(
            model, np.ones((6, 4, 3)), kind="regression", verbose=0
        )

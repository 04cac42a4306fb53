"""Every stock layer that can draw does, and draws what its twin draws."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from keras.src.applications import convnext

import kerasdrop
from tests.support import foreign_checks as checks
from tests.support.helpers import assert_proportion


def sequential(*stack, shape=(5, 8)):
    return keras.Sequential([keras.Input(shape), *stack])


def attending(make):
    x = keras.Input((5, 8))
    return keras.Model(x, make(x))


ATTENTION = {
    "MultiHeadAttention": lambda x: layers.MultiHeadAttention(
        2, 4, dropout=0.3
    )(x, x),
    "GroupQueryAttention": lambda x: layers.GroupQueryAttention(
        4, 4, 2, dropout=0.3
    )(x, x),
    "Attention": lambda x: layers.Attention(dropout=0.3)([x, x]),
    "AdditiveAttention": lambda x: layers.AdditiveAttention(dropout=0.3)(
        [x, x]
    ),
}
DROPS = {
    "SpatialDropout1D": (layers.SpatialDropout1D(0.4), (5, 8)),
    "SpatialDropout2D": (layers.SpatialDropout2D(0.4), (3, 4, 2)),
    "SpatialDropout3D": (layers.SpatialDropout3D(0.4), (2, 2, 3, 2)),
    "AlphaDropout": (layers.AlphaDropout(0.3), (8,)),
    "GaussianDropout": (layers.GaussianDropout(0.3), (8,)),
    "GaussianNoise": (layers.GaussianNoise(0.3), (8,)),
}
RECURRENT = {
    "LSTM": lambda: layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2),
    "LSTM, inputs only": lambda: layers.LSTM(4, dropout=0.3),
    "GRU": lambda: layers.GRU(4, dropout=0.3, recurrent_dropout=0.2),
    "SimpleRNN": lambda: layers.SimpleRNN(4, dropout=0.3),
    "SimpleRNN, state only": lambda: layers.SimpleRNN(4, recurrent_dropout=0.3),
    "RNN of a cell": lambda: layers.RNN(layers.LSTMCell(4, dropout=0.3)),
    "RNN of two cells": lambda: layers.RNN(
        [layers.GRUCell(4, dropout=0.3), layers.LSTMCell(4)]
    ),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(4, dropout=0.3)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dropout(0.3)),
}
MODELS = {
    **{
        name: (lambda make=make: attending(make))
        for name, make in ATTENTION.items()
    },
    **{
        name: (lambda make=make: sequential(make()))
        for name, make in RECURRENT.items()
    },
    "ConvLSTM1D": lambda: sequential(
        layers.ConvLSTM1D(3, 2, dropout=0.3, recurrent_dropout=0.2),
        shape=(4, 6, 2),
    ),
}


def inputs_of(model, rows=3):
    shape = (rows, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_with_dropout_inside_draws_and_is_left_as_it_was(name):
    model = MODELS[name]()
    x = inputs_of(model)
    before = model.predict(x, verbose=0)
    result = kerasdrop.mc_predict(
        model, x, 16, seed=0, kind="regression", batch_size=2, verbose=0
    )
    assert (result.variance.reshape(3, -1).max(axis=-1) > 0.0).all()
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def samples_of(layer, x, num_samples=64):
    """`(samples, rows, ...)`, independent."""
    result = kerasdrop.mc_predict(
        sequential(layer, shape=x.shape[1:]),
        x,
        num_samples,
        seed=0,
        plan="independent",
        kind="regression",
        keep_samples=True,
        verbose=0,
    )
    return result.samples.swapaxes(0, 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_spatial_dropout_drops_whole_channels(rank, data_format):
    if rank == 1 and data_format == "channels_first":
        pytest.skip("SpatialDropout1D has no data format")
    cls = getattr(layers, f"SpatialDropout{rank}D")
    settings = {} if rank == 1 else {"data_format": data_format}
    channels = -1 if data_format == "channels_last" else 1
    shape = [4] + [3] * rank
    shape.insert(len(shape) if channels == -1 else 1, 16)
    samples = samples_of(cls(0.4, **settings), np.ones(shape, "float32"))
    axis = channels if channels == -1 else 2
    by_channel = np.moveaxis(samples, axis, 2).reshape(64, 4, 16, -1)
    assert (by_channel.min(-1) == by_channel.max(-1)).all()
    assert_proportion(by_channel[..., 0] == 0.0, 0.4)


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=(64, 200)).astype("float32")
    samples = samples_of(layers.AlphaDropout(0.3), x)
    # Of n numbers with mean 0, variance 1 and a fourth moment below 6.
    n = samples.size
    assert abs(samples.mean()) < 5 * np.sqrt(1 / 12800)  # that of x
    assert abs((samples**2).mean() - (x**2).mean()) < 5 * np.sqrt(6 / n) + 0.02


def test_gaussian_dropout_has_the_moments_of_its_paper():
    samples = samples_of(
        layers.GaussianDropout(0.2), np.ones((8, 500), "float32")
    )
    n, variance = samples.size, 0.2 / 0.8
    assert abs(samples.mean() - 1.0) < 5 * np.sqrt(variance / n)
    spread = 5 * variance * np.sqrt(2 / n)
    assert abs(samples.var() - variance) < spread


def test_gaussian_noise_is_normal():
    stats = pytest.importorskip("scipy.stats")
    samples = samples_of(
        layers.GaussianNoise(0.5), np.zeros((8, 500), "float32")
    )
    p_value = stats.kstest(samples.ravel() / 0.5, "norm").pvalue
    assert p_value > 1e-6


def test_an_lstm_keeps_its_mask_for_the_whole_sequence():
    """With state and input kernels that pass one feature on, zeros stay."""
    layer = layers.SimpleRNN(
        6,
        activation=None,
        dropout=0.5,
        kernel_initializer="identity",
        recurrent_initializer="zeros",
        use_bias=False,
        return_sequences=True,
    )
    samples = samples_of(layer, np.ones((4, 5, 6), "float32"))
    np.testing.assert_array_equal(
        samples, np.repeat(samples[:, :, :1], 5, axis=2)
    )
    assert_proportion(samples[:, :, 0] == 0.0, 0.5)


def test_attention_weights_are_dropped_before_they_meet_the_values():
    """One-hot values show the weights: dropped, or divided by `1 - rate`."""
    x = keras.Input((6, 6))
    model = keras.Model(x, layers.Attention(dropout=0.5)([x, x]))
    values = np.repeat(np.eye(6, dtype="float32")[None], 4, axis=0)
    plain = ops.convert_to_numpy(model(values))
    samples = checks.samples_of(model, values, "regression", 64, 32)
    kept = np.isclose(samples, 2 * plain[:, None], rtol=1e-4)
    dropped = samples == 0.0
    assert (kept | dropped).all()
    assert_proportion(dropped, 0.5)


def test_a_layer_at_rate_zero_draws_nothing_and_renumbers_nobody():
    def make(first_rate):
        return sequential(
            layers.Dropout(first_rate), layers.Dropout(0.5), shape=(40,)
        )

    x = np.ones((2, 40), "float32")
    with_it, without = (
        kerasdrop.mc_predict(
            make(rate), x, 16, seed=0, keep_samples=True, verbose=0
        ).samples
        for rate in (0.3, 0.0)
    )
    # Where nothing was dropped by the first layer, the second drops the same.
    assert ((without == 0.0) <= (with_it == 0.0)).all()


def test_a_drop_path_that_does_not_scale_is_whole_at_inference():
    """What it keeps it does not divide; the self-check passes."""
    path = convnext.StochasticDepth(0.4)
    path.scale_by_keep = False
    samples = checks.samples_of(
        sequential(path), np.ones((32, 5, 8), "float32"), "regression", 64, 32
    )
    values = samples[:, :, 0, 0]
    assert np.isin(values, [0.0, 1.0]).all()
    assert_proportion(values == 0.0, 0.4)

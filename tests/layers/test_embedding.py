"""Dropout of words: each id of a row as a whole, by masks known beforehand."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import schedules
from kerasdrop.layers import Dropout
from kerasdrop.layers import EmbeddingDropout
from tests.support import helpers
from tests.support import known_masks

RNG = np.random.default_rng(0)
WORDS, FEATURES = 10, 3
VECTORS = RNG.uniform(1, 2, (WORDS, FEATURES)).astype("float32")
IDS = RNG.integers(0, WORDS, (6, 8))
RATE = 0.25


numpy = ops.convert_to_numpy


def embedding(cls=stock.Embedding, **arguments):
    layer = cls(WORDS, FEATURES, **arguments)
    layer.build((None, None))
    layer.set_weights([VECTORS])
    return layer


def kept_words(seed, index):
    words = known_masks.words(seed, index, (len(IDS), WORDS))
    return known_masks.kept_array(words, RATE)


@pytest.mark.parametrize("cls", [stock.Embedding, stock.ReversibleEmbedding])
def test_the_formula_under_the_known_words(cls):
    layer = EmbeddingDropout(embedding(cls), RATE, seed=7)
    for index in range(2):
        keep = np.take_along_axis(kept_words(7, index), IDS, axis=1)
        expected = VECTORS[IDS] * keep[..., None] / (1 - RATE)
        drawn = numpy(layer(IDS, training=True))
        np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    np.testing.assert_array_equal(numpy(layer(IDS)), VECTORS[IDS])
    assert layer.step == 2


def test_an_id_beyond_all_masks_that_could_be_stored():
    many = 50_000_000
    ids = np.array([[many - 1, 2**24 + 1, 2**24, many - 1]] * 3)
    keys = known_masks.key_of_seed(3), 0
    keep = [
        [
            known_masks.kept(known_masks.word(*keys, row, one), 0.5)
            for one in ids[row].tolist()
        ]
        for row in range(3)
    ]
    kept = kerasdrop.masks.unit_keep_mask(
        kerasdrop.masks.Draw(kerasdrop.masks.key_of_seed(3), 0),
        ops.convert_to_tensor(np.float32(0.5)),
        ops.convert_to_tensor(ids, "int32"),
    )
    np.testing.assert_array_equal(numpy(kept), keep)


def test_ids_fall_as_often_and_for_themselves():
    ids = np.tile(np.array([[1, 2, 1]]), (20_000, 1))
    layer = EmbeddingDropout(embedding(), RATE, seed=0)
    dropped = numpy(layer(ids, training=True))[..., 0] == 0.0
    np.testing.assert_array_equal(dropped[:, 0], dropped[:, 2])
    for word in (0, 1):
        helpers.assert_proportion(dropped[:, word], RATE)
    helpers.assert_proportion(dropped[:, 0] & dropped[:, 1], RATE**2)


def test_a_batch_of_single_ids():
    layer = EmbeddingDropout(embedding(), RATE, seed=7)
    keep = kept_words(7, 0)[np.arange(6), IDS[:, 0]]
    np.testing.assert_allclose(
        numpy(layer(IDS[:, 0], training=True)),
        VECTORS[IDS[:, 0]] * keep[:, None] / (1 - RATE),
        rtol=1e-6,
    )


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantized_embedding(mode):
    inner = embedding()
    inner.quantize(mode)
    layer = EmbeddingDropout(inner, RATE, seed=7)
    expected = numpy(inner(IDS))
    np.testing.assert_array_equal(numpy(layer(IDS)), expected)
    keep = np.take_along_axis(kept_words(7, 0), IDS, axis=1)
    np.testing.assert_allclose(
        numpy(layer(IDS, training=True)),
        expected * keep[..., None] / (1 - RATE),
        rtol=1e-6,
    )


def test_ids_that_come_as_floats_are_refused():
    layer = EmbeddingDropout(embedding(), RATE, name="drop")
    with pytest.raises(ValueError, match="'drop'.*Received: float32. Make"):
        layer(IDS.astype("float32"))
    with pytest.raises(ValueError, match="Input\\(shape, dtype='int32'\\)"):
        layer(keras.Input((3,)))


def test_a_sequential_is_told_to_begin_with_an_input_of_integers():
    first = keras.Input((8,), dtype="int32")
    assert keras.Sequential([first, EmbeddingDropout(embedding(), RATE)])(
        IDS
    ).shape == (6, 8, FEATURES)
    with pytest.raises(ValueError, match="first entry of a `Sequential`"):
        keras.Sequential([EmbeddingDropout(embedding(), RATE)])(IDS)


def test_a_plain_embedding_is_not_reversed():
    with pytest.raises(ValueError, match="only a `keras.layers.Reversible"):
        EmbeddingDropout(embedding(), RATE)(np.ones((2, 3)), reverse=True)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("cls", [stock.Embedding, stock.ReversibleEmbedding])
def test_the_padding_mask_is_that_of_the_embedding(cls, training):
    """Told by what a layer behind does, which skips padded steps."""
    ids = np.where(np.arange(8) < np.arange(2, 8)[:, None], IDS + 1, 0) % WORDS
    rnn = stock.SimpleRNN(2)
    inputs = keras.Input((8,), dtype="int32")
    layer = EmbeddingDropout(embedding(cls, mask_zero=True), RATE, seed=7)
    model = keras.Model(inputs, rnn(layer(inputs)))
    keep = np.take_along_axis(kept_words(7, 0), ids, axis=1)
    vectors = VECTORS[ids]
    if training:
        vectors = vectors * keep[..., None] / np.float32(1 - RATE)
    expected = rnn(vectors, mask=ids != 0)
    assert (numpy(expected) != numpy(rnn(vectors))).any()
    np.testing.assert_allclose(
        numpy(model(ids, training=training)),
        numpy(expected),
        rtol=1e-5,
        atol=1e-6,
    )


class PaddedBySeven(stock.Embedding):
    """Tells a padding mask by an id of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 7)


@pytest.mark.parametrize("arguments", [{}, {"mask_zero": True}])
def test_the_padding_mask_of_a_subclass_is_its_own(arguments):
    ids = np.array([[1, 0, 7, 7], [3, 7, 2, 0]])
    rnn = stock.SimpleRNN(2)
    inputs = keras.Input((4,), dtype="int32")
    inner = embedding(PaddedBySeven, **arguments)
    model = keras.Model(inputs, rnn(EmbeddingDropout(inner, 1e-9)(inputs)))
    expected = numpy(rnn(VECTORS[ids], mask=ids != 7))
    for training in (False, True):
        np.testing.assert_allclose(
            numpy(model(ids, training=training)), expected, rtol=1e-5, atol=1e-6
        )


def language_model(rate=RATE):
    """An output whose weights are those of the embedding."""
    inputs = keras.Input((None,), dtype="int32")
    layer = EmbeddingDropout(
        stock.ReversibleEmbedding(WORDS, FEATURES, name="words"),
        rate,
        name="drop",
    )
    hidden = stock.Dense(FEATURES, "tanh")(layer(inputs))
    return keras.Model(inputs, layer(hidden, reverse=True))


def test_tied_weights_stay_tied_and_are_not_dropped(tmp_path):
    model = language_model(rate=1.0)
    assert len(model.trainable_variables) == 3
    vectors, kernel, bias = model.get_weights()
    # All words are dropped, yet the output has all of the matrix.
    expected = np.tanh(np.zeros((6, 8, FEATURES)) @ kernel + bias) @ vectors.T
    np.testing.assert_allclose(
        numpy(model(IDS, training=True)), expected, rtol=1e-5, atol=1e-6
    )
    model.get_layer("drop").rate = 0.3
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    model.fit(IDS, IDS, batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert len(again.trainable_variables) == 3
    np.testing.assert_allclose(
        numpy(again(IDS)), numpy(model(IDS)), rtol=1e-6, atol=1e-7
    )
    drop = again.get_layer("drop")
    assert (drop.rate, drop.step) == (0.3, 3)
    np.testing.assert_allclose(
        numpy(again(IDS, training=True)),
        numpy(model(IDS, training=True)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_schedule_moves_its_rate():
    rate = schedules.Linear(0.0, 1.0, num_steps=1)
    layer = EmbeddingDropout(embedding(), rate)
    np.testing.assert_array_equal(
        numpy(layer(IDS, training=True)), VECTORS[IDS]
    )
    assert (numpy(layer(IDS, training=True)) == 0.0).all()


# Predictions.


def classifier(rate=RATE, **arguments):
    inputs = keras.Input((4,), dtype="int32")
    layer = EmbeddingDropout(embedding(), rate, **arguments)
    hidden = ops.tanh(ops.sum(layer(inputs), axis=1) / 4)
    return keras.Model(inputs, hidden)


def sampled(model, x, num_samples, **arguments):
    return kerasdrop.mc_predict(
        model, x, num_samples, kind="regression", seed=0, verbose=0, **arguments
    )


def test_the_moments_are_those_over_all_masks():
    ids = np.array([[1, 1, 2, 3], [4, 4, 4, 4]])
    mean, square = 0.0, 0.0
    for keep in itertools.product((0, 1), repeat=4):
        p = np.prod(np.where(keep, 1 - RATE, RATE))
        keep_of = dict(zip((1, 2, 3, 4), keep))
        kept = np.vectorize(keep_of.get)(ids)[..., None]
        vectors = VECTORS[ids].astype("float64") * kept / (1 - RATE)
        y = np.tanh(vectors.sum(axis=1) / 4)
        mean, square = mean + p * y, square + p * y**2
    variance = square - mean**2
    found = sampled(classifier(), ids, 4096, plan="independent")
    error = 5 * np.sqrt(variance / 4096) + 1e-5
    assert (np.abs(found.mean - mean) <= error).all()
    # The fourth moment of what is within -1 and 1 is below the variance.
    error = 5 * np.sqrt(4 * variance / 4096) + 1e-5
    assert (np.abs(found.variance - variance) <= error).all()


@pytest.mark.parametrize("num_samples", [16, 32])
def test_a_set_of_samples_drops_each_id_in_its_share(num_samples):
    ids = np.array([[1, 1, 2, 3], [4, 4, 4, 1]])
    inputs = keras.Input((4,), dtype="int32")
    model = keras.Model(inputs, EmbeddingDropout(embedding(), RATE)(inputs))
    found = sampled(
        model, ids, num_samples, plan="stratified", keep_samples=True
    )
    dropped = np.asarray(found.samples)[..., 0] == 0.0
    dropped = np.moveaxis(dropped, 1, -1)
    counts = dropped.reshape(2, 4, -1, 16).sum(axis=-1)
    np.testing.assert_array_equal(counts, np.full_like(counts, 4))
    np.testing.assert_array_equal(dropped[0, 0], dropped[0, 1])
    assert (dropped[0, 0] != dropped[0, 2]).any()


def test_ids_that_differ_between_samples():
    """Each sample drops its own, side by side as one by one."""
    inputs = keras.Input((4, 5))
    ids = ops.argmax(Dropout(0.5)(inputs), axis=-1)
    model = keras.Model(inputs, EmbeddingDropout(embedding(), RATE)(ids))
    x = RNG.uniform(1, 2, (3, 4, 5)).astype("float32")
    samples = [
        sampled(model, x, 32, keep_samples=True, vectorized=vectorized).samples
        for vectorized in (True, False)
    ]
    np.testing.assert_allclose(*samples, rtol=1e-6)
    assert (samples[0] == 0.0).any()


def test_a_rate_may_be_given_for_one_call():
    model = classifier(rate=0.0)
    assert np.all(sampled(model, IDS[:, :4], 16, rate=1.0).mean == 0.0)
    assert np.all(sampled(model, IDS[:, :4], 16, rate=0.5).variance > 0.0)


def test_stripped_it_leaves_the_embedding():
    model = language_model()
    stripped, report = kerasdrop.strip_dropout(model)
    assert dict(report.stripped) == {"drop": "the layer in it"}
    assert len(stripped.trainable_variables) == 3
    np.testing.assert_allclose(
        numpy(stripped(IDS)), numpy(model(IDS)), rtol=1e-6
    )


@pytest.mark.parametrize("layer", [stock.Dense(3), Dropout(0.5)])
def test_another_layer_is_refused(layer):
    with pytest.raises(ValueError, match="must be a `keras.layers.Embedding`"):
        EmbeddingDropout(layer, 0.5)


def test_shapes_are_those_of_the_embedding():
    for shape in [(), (None,), (5, 2)]:
        inputs = keras.Input(shape, dtype="int32")
        outputs = EmbeddingDropout(embedding(), 0.5)(inputs, training=True)
        assert outputs.shape == (None, *shape, FEATURES)

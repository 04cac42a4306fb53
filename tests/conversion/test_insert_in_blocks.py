"""Dropout on the branches of blocks."""

import keras
import numpy as np
import pytest
from keras import layers as stock

import kerasdrop
from kerasdrop import insert_dropout
from kerasdrop import layers
from tests.support.inserted import RNG
from tests.support.inserted import assert_inserted
from tests.support.inserted import functional
from tests.support.inserted import randomized

IMAGE = (4, 4, 3)


def conv(name):
    return stock.Conv2D(3, 3, padding="same", name=name)


def on_top(x, h, name="model"):
    h = stock.GlobalAveragePooling2D()(h)
    return functional(x, stock.Dense(2, name="top")(h), name)


def test_branches_are_dropped_and_shortcuts_are_not(tmp_path):
    x = keras.Input(IMAGE)
    h = conv("stem")(x)
    h = stock.Add()([conv("b")(stock.ReLU()(conv("a")(h))), h])
    h = stock.Add()([h, conv("d")(conv("c")(h))])

    behind, new, report = assert_inserted(
        on_top(x, h), tmp_path, where="blocks"
    )

    assert behind == ["b", "d"]
    assert type(new.get_layer("b_dropout")) is layers.SpatialDropout2D
    assert new.get_layer("b_dropout").rate == 0.02
    assert not report.identities
    assert report.loads_weights


def test_a_projection_keeps_its_place_by_an_identity(tmp_path):
    """Without one the file is read into the wrong layers: all have a shape."""
    x = keras.Input(IMAGE)
    h = conv("stem")(x)
    h = stock.Add()([conv("shortcut")(h), conv("b")(conv("a")(h))])

    behind, _, report = assert_inserted(
        on_top(x, h), tmp_path, 0.1, where="blocks"
    )

    assert behind == ["b"]
    assert list(report.identities) == ["shortcut_identity"]
    assert "keeps the layers in order" in str(report)
    assert report.loads_weights


def test_variances_of_branches_add_up():
    """By formula, for y = sum(h), h = x + branch(x), twice."""
    x = keras.Input((3,))
    h = stock.Add()([x, stock.Dense(3, use_bias=False)(x)])
    h = stock.Add()([h, stock.Dense(3, use_bias=False)(h)])
    model = randomized(keras.Model(x, h))
    new, _ = insert_dropout(model, 0.2, where="blocks")
    given = RNG.uniform(0.5, 1.0, (1, 3)).astype("float32")

    result = kerasdrop.mc_predict(
        new, given, 4000, plan="independent", kind="regression", verbose=0
    )

    first, second = map(np.asarray, model.get_weights())
    odds = 0.2 / 0.8
    noise = np.diag((given[0] @ first) ** 2) * odds
    before = given[0] + given[0] @ first
    onward = np.eye(3) + second
    # The second mask multiplies what the first left: its variance is that of
    # what comes in, and of its square.
    square = (before @ second) ** 2 + np.diag(second.T @ noise @ second)
    variance = np.diag(onward.T @ noise @ onward) + square * odds
    # The kurtosis of such a sum is below 6.
    bound = 5 * variance * (5 / 4000) ** 0.5
    assert np.all(np.abs(result.variance[0] - variance) < bound)


def test_of_a_concatenation_what_is_new_is_dropped(tmp_path):
    x = keras.Input(IMAGE)
    h = conv("stem")(x)
    for name in ("one", "two"):
        h = stock.Concatenate()([h, conv(name)(stock.ReLU()(h))])

    behind, _, report = assert_inserted(
        on_top(x, h), tmp_path, 0.1, where="blocks"
    )

    assert behind == ["one", "two"]
    assert report.loads_weights


def test_of_parallel_branches_all_are_dropped(tmp_path):
    x = keras.Input(IMAGE)
    h = conv("stem")(x)
    h = stock.Concatenate()(
        [
            conv("one")(h),
            conv("three")(conv("two")(h)),
            stock.MaxPooling2D(3, strides=1, padding="same")(h),
        ]
    )
    behind, _, report = assert_inserted(
        on_top(x, h), tmp_path, 0.1, where="blocks"
    )

    assert behind == ["one", "three"]
    assert report.loads_weights


def test_blocks_inside_nested_models_are_found(tmp_path):
    y = keras.Input(IMAGE)
    g = conv("stem")(y)
    g = stock.Add()([g, conv("inner")(g)])
    base = keras.Model(y, g, name="base")
    base.trainable = False
    x = keras.Input(IMAGE)
    model = on_top(x, base(x))

    _, _, report = assert_inserted(model, tmp_path, 0.1, where="blocks")

    assert list(report.inserted) == ["base/inner_dropout"]


class Scaled(stock.Layer):
    def call(self, inputs):
        return inputs[0] + 0.2 * inputs[1]


class Gate(stock.Layer):
    def call(self, inputs):
        return inputs[0] * inputs[1]


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_sum_of_another_class_is_told_by_what_it_does(dtype, tmp_path):
    def model_with(merge):
        x = keras.Input(IMAGE)
        h = stock.Conv2D(3, 1, dtype=dtype)(x)
        branch = stock.Conv2D(3, 1, dtype=dtype, name="branch")(h)
        return on_top(x, merge([h, branch]))

    behind, _, _ = assert_inserted(
        model_with(Scaled(dtype=dtype)), tmp_path, 0.1, where="blocks"
    )
    assert behind == ["branch"]
    for merge in (Gate(dtype=dtype), stock.Multiply(dtype=dtype)):
        with pytest.raises(ValueError, match="no sum or concatenation"):
            insert_dropout(model_with(merge), 0.1, where="blocks")


def test_a_chain_has_no_blocks():
    x = keras.Input(IMAGE)
    model = on_top(x, conv("b")(conv("a")(x)))
    with pytest.raises(ValueError, match='(?s)where="stages".*a .*Conv2D'):
        insert_dropout(model, 0.1, where="blocks")


def test_merges_that_not_all_goes_through_are_listed():
    x = keras.Input(IMAGE)
    h = conv("stem")(x)
    inner = stock.Add(name="inner")([h, conv("a")(h)])
    model = functional(x, [stock.Flatten()(inner), stock.Flatten()(h)])
    with pytest.raises(ValueError, match="Others are: 'inner'"):
        insert_dropout(model, 0.1, where="blocks")


def test_embeddings_that_are_added_are_no_block():
    x = keras.Input((5,), dtype="int32")
    h = stock.Embedding(7, 3, name="a")(x) + stock.Embedding(7, 3)(x)
    model = keras.Model(x, stock.Dense(2)(h))
    with pytest.raises(ValueError, match="no sum or concatenation"):
        insert_dropout(model, 0.1, where="blocks")


class Positions(stock.Layer):
    """As `PositionEmbedding` of KerasHub: only the shape of inputs counts."""

    def build(self, shape):
        self.table = self.add_weight(shape=(9, shape[-1]))

    def call(self, inputs):
        rows = self.table[: inputs.shape[1]]
        return keras.ops.broadcast_to(rows, keras.ops.shape(inputs))


class Projection(stock.Layer):
    """Of another class than Keras' too, but of what comes in."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, inputs):
        return inputs @ self.kernel


def with_positions(*blocks):
    x = keras.Input((5,), dtype="int32")
    h = stock.Embedding(7, 3)(x)
    h = stock.Add(name="embeddings")([h, Positions()(h)])
    for block in blocks:
        h = stock.Add()([h, block(h)])
    return keras.Model(x, stock.Dense(2)(h))


def test_positions_that_are_added_are_no_block():
    with pytest.raises(ValueError, match="no sum or concatenation"):
        insert_dropout(with_positions(), 0.1, where="blocks")

    model = with_positions(Projection(name="block"))
    _, report = insert_dropout(model, 0.1, where="blocks")

    assert list(report.inserted) == ["block_dropout"]


class Encoder(stock.Layer):
    """A block in Python code, of two kernels."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one, self.two = stock.Dense(3), stock.Dense(3)

    def call(self, inputs):
        return inputs + self.two(self.one(inputs))


def test_blocks_inside_layers_are_named():
    x = keras.Input((5, 3))
    model = keras.Model(x, Encoder(name="second")(Encoder(name="first")(x)))
    with pytest.raises(ValueError, match="'first', 'second' are layers"):
        insert_dropout(model, 0.1, where="blocks")

    _, report = insert_dropout(model, 0.1, where="first")

    assert list(report.inserted) == ["first_dropout"]


def test_masks_that_go_to_each_block_do_not_hide_them(tmp_path):
    x, mask = keras.Input((5, 4)), keras.Input((5,), dtype="bool")
    h = stock.Dense(4, name="stem")(x)
    for name in ("one", "two"):
        attention = stock.MultiHeadAttention(2, 2, name=name)
        attended = attention(h, h, attention_mask=mask[:, None, :])
        h = stock.Add()([h, attended])
    model = randomized(keras.Model([x, mask], stock.Dense(2)(h)))

    _, report = insert_dropout(model, 0.1, where="blocks")

    assert [text.split("'")[1] for text in report.inserted.values()] == [
        "one",
        "two",
    ]


def test_branches_that_end_in_dropout_get_no_second_one(tmp_path):
    x = keras.Input(IMAGE)
    h = conv("stem")(x)
    h = stock.Add()([stock.Dropout(0.5, name="there")(conv("a")(h)), h])
    with pytest.raises(ValueError, match="dropout at each .*'there'"):
        insert_dropout(on_top(x, h), 0.1, where="blocks")
    h = stock.Add()([h, conv("free")(h)])

    behind, _, report = assert_inserted(
        on_top(x, h), tmp_path, 0.1, where="blocks"
    )

    assert behind == ["free"]
    assert list(report.kept) == ["there"]

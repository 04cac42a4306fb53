"""Dropout behind layers that are named, and what then becomes of files."""

import keras
import numpy as np
import pytest
from keras import layers as stock

import kerasdrop
from kerasdrop import insert_dropout
from kerasdrop import layers
from tests.support.inserted import assert_inserted
from tests.support.inserted import functional
from tests.support.inserted import inputs_of
from tests.support.inserted import predict
from tests.support.inserted import randomized


def nested():
    base = keras.Sequential(
        [
            keras.Input((4,)),
            stock.Dense(5, name="one"),
            stock.Dense(5, name="two"),
        ],
        name="base",
    )
    x = keras.Input((4,), name="x")
    h = stock.Dense(4, name="first")(x)
    return functional(x, stock.Dense(2, name="top")(base(h)))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("first", ["first_dropout"]),
        ("base/o*", ["base/one_dropout"]),
        ("two", ["base/two_dropout"]),
        ("base", ["base_dropout"]),
        ("x", ["x_dropout"]),
        (["first", "base/*"], ["first", "base/one", "base/two"]),
        (lambda layer: layer.name == "top", ["top_dropout"]),
        (lambda layer: isinstance(layer, keras.Model), ["base_dropout"]),
    ],
    ids=str.split("name path inner model input list function models"),
)
def test_layers_are_named_as_in_set_rates(where, expected, tmp_path):
    _, _, report = assert_inserted(nested(), tmp_path, 0.1, where)

    found = [path.removesuffix("_dropout") for path in report.inserted]
    assert found == [path.removesuffix("_dropout") for path in expected]


@pytest.mark.parametrize("name", ["first", "base"])
def test_a_layer_stands_for_itself(name):
    model = nested()
    _, report = insert_dropout(model, 0.1, model.get_layer(name))

    assert list(report.inserted) == [f"{name}_dropout"]


def test_what_takes_a_tensor_takes_the_dropped_one(tmp_path):
    """Two users and an output: one mask for all of them."""
    x = keras.Input((4,))
    h = stock.Dense(6, name="h")(x)
    total = stock.Lambda(lambda h: keras.ops.sum(h, -1, keepdims=True))
    again = stock.Dense(1, use_bias=False, name="again")(h)
    model = functional(x, [h, total(h), again])
    new, report = insert_dropout(model, 0.5, "h")
    assert list(report.inserted) == ["h_dropout"]

    result = kerasdrop.mc_predict(
        new,
        inputs_of(model),
        16,
        kind="regression",
        keep_samples=True,
        verbose=0,
    )

    features, sums, dense = result.samples
    assert (features == 0).any()
    np.testing.assert_allclose(features.sum(-1, keepdims=True), sums, rtol=1e-5)
    kernel = model.get_weights()[2]
    np.testing.assert_allclose(features @ kernel, dense, rtol=1e-5)


def test_each_call_of_a_shared_layer_has_its_own(tmp_path):
    x, y = keras.Input((4,)), keras.Input((4,))
    shared = stock.Dense(3, name="shared")
    h = stock.Concatenate()([shared(x), shared(y)])
    model = functional([x, y], stock.Dense(2)(h))

    behind, _, report = assert_inserted(model, tmp_path, 0.1, "shared")

    assert behind == ["shared", "shared"]
    assert list(report.inserted) == ["shared_dropout", "shared_dropout_1"]


def parallel(sizes=(3, 3)):
    """Two branches of two layers; the names tell their order in the graph."""
    x = keras.Input((3,))
    a = stock.Dense(sizes[0], name="a")(x)
    b = stock.Dense(sizes[1], name="b")(x)
    a, b = stock.Dense(3, name="a2")(a), stock.Dense(3, name="b2")(b)
    return functional(x, stock.Add()([a, b]))


def test_a_longer_branch_is_loaded_before_the_other_and_that_is_told(tmp_path):
    """All shapes agree: the file is read, into the wrong layers."""
    model = parallel()
    _, new, report = assert_inserted(model, tmp_path, 0.1, "b")
    order = [layer.name for layer in new.layers if layer.weights]
    assert order == ["b", "a", "a2", "b2"]
    assert not report.loads_weights
    assert "changes its position" in report.why_not_loaded
    assert "insert again" in str(report)

    file = tmp_path / "silent.weights.h5"
    model.save_weights(file)
    new.load_weights(file)

    x = inputs_of(model)
    assert np.abs(predict(new, x)[0] - predict(model, x)[0]).max() > 1e-3


def test_loaded_into_the_original_and_inserted_again_all_is_right(tmp_path):
    model, trained = parallel(), parallel()
    file = tmp_path / "trained.weights.h5"
    trained.save_weights(file)

    model.load_weights(file)
    new, _ = insert_dropout(model, 0.1, "b")

    x = inputs_of(model)
    np.testing.assert_array_equal(predict(new, x)[0], predict(trained, x)[0])


def test_other_shapes_do_not_make_it_right(tmp_path):
    _, _, report = assert_inserted(parallel((3, 4)), tmp_path, 0.1, "b")

    assert not report.loads_weights


def test_branches_of_other_classes_keep_their_names_in_files(tmp_path):
    """By class, not by the order of all: `a` and `b` are told apart."""
    x = keras.Input((5, 3))
    a = stock.Conv1D(3, 1, name="a")(x)
    b = stock.Dense(3, name="b")(x)
    model = functional(x, stock.Add()([a, stock.ReLU()(b)]))

    assert assert_inserted(model, tmp_path, 0.1, "b")[2].loads_weights


@pytest.mark.parametrize(
    "where",
    [
        "nothing",
        "no*",
        ["first", "nothing"],
        lambda layer: False,
        stock.Dense(1),
    ],
    ids=str.split("name pattern list function stranger"),
)
def test_what_selects_nothing_lists_the_layers(where):
    with pytest.raises(ValueError, match="(?s)insert_dr.*base/two .*Dense"):
        insert_dropout(nested(), 0.1, where)


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match="the list is empty"):
        insert_dropout(nested(), 0.1, [])


def test_a_layer_inside_a_layer_is_refused():
    x = keras.Input((4,))
    inner = stock.Dense(3, name="inner")
    model = keras.Model(x, stock.TimeDistributed(inner)(x[:, None]))
    for where in ("inner", inner):
        with pytest.raises(ValueError, match="called in the graph"):
            insert_dropout(model, 0.1, where)


def test_what_cannot_select_is_a_type_error():
    with pytest.raises(TypeError, match="insert_dropout: argument `where`"):
        insert_dropout(nested(), 0.1, 3)


def test_a_name_needs_a_rate():
    with pytest.raises(ValueError, match="`rate` is missing"):
        insert_dropout(nested(), where="first")


def test_integers_are_not_dropped():
    x = keras.Input((5,), dtype="int32", name="tokens")
    model = keras.Model(x, stock.Embedding(7, 3, name="vectors")(x))
    with pytest.raises(ValueError, match="'tokens'.*int32.*cannot be dropped"):
        insert_dropout(model, 0.1, "tokens")

    new, _ = insert_dropout(model, 0.1, "vectors")
    assert type(new.layers[-1]) is layers.LockedDropout


def test_padding_masks_are_handed_on(tmp_path):
    x = keras.Input((5,), dtype="int32")
    h = stock.Embedding(7, 3, mask_zero=True, name="vectors")(x)
    model = randomized(keras.Model(x, stock.Dense(2)(stock.LSTM(3)(h))))
    tokens = np.array([[3, 4, 0, 0, 0], [1, 2, 3, 4, 5]])

    new, _ = insert_dropout(model, 1e-9, "vectors")
    result = kerasdrop.mc_predict(new, tokens, 16, kind="regression", verbose=0)

    np.testing.assert_array_equal(predict(new, tokens), predict(model, tokens))
    np.testing.assert_allclose(
        result.mean, predict(model, tokens)[0], rtol=1e-5
    )

"""Attention: what decides on the fused path, and which layer drops weights.

`kerasdrop.layers.attention` puts a layer and a rate of its own there.
"""

from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from kerasdrop._structure import keras_graph

INPUTS = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")

# How each is made, and the attribute that it compares with 0.
KINDS = {
    "multi-head": (
        lambda rate: layers.MultiHeadAttention(4, 2, None, rate),
        "_dropout",
    ),
    "grouped": (
        lambda rate: layers.GroupQueryAttention(2, 4, 2, rate),
        "dropout",
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def num_fused_calls(layer, **arguments):
    with mock.patch(
        "keras.src.ops.dot_product_attention", wraps=ops.dot_product_attention
    ) as fused:
        layer(INPUTS, INPUTS, **arguments)
    return fused.call_count


@kinds
def test_one_attribute_decides_on_the_path_in_each_call(kind):
    make, attribute = KINDS[kind]
    layer = make(0.5)
    assert num_fused_calls(layer, training=False) == 0
    setattr(layer, attribute, 0.0)
    assert num_fused_calls(layer, training=True) == 1
    setattr(layer, attribute, 1.0)
    assert num_fused_calls(layer, training=False) == 0


@kinds
def test_build_makes_the_layer_that_drops_the_weights(kind):
    make, _ = KINDS[kind]
    layer = make(0.5)
    assert not hasattr(layer, "_dropout_layer")
    layer.build(INPUTS.shape, INPUTS.shape)
    assert type(layer._dropout_layer) is layers.Dropout


@kinds
@pytest.mark.parametrize("training", [True, False])
def test_that_layer_is_called_once_on_the_weights(kind, training):
    make, _ = KINDS[kind]
    layer = make(0.5)
    layer.build(INPUTS.shape, INPUTS.shape)
    seen = []

    def record(inputs, training):
        seen.append((ops.convert_to_numpy(inputs), training))
        return inputs

    with mock.patch.object(
        type(layer._dropout_layer), "__call__", wraps=record
    ):
        layer(INPUTS, INPUTS, training=training)
    [(weights, told)] = seen
    assert weights.shape == (3, 4, 4, 4)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    assert told is training


@pytest.mark.parametrize("cls", [layers.Attention, layers.AdditiveAttention])
def test_what_attention_keeps_of_being_asked_for_scores_is_known(cls):
    layer = cls()
    layer([INPUTS, INPUTS])
    before = dict(vars(layer))

    def changed():
        return {
            name for name in before if vars(layer)[name] is not before[name]
        }

    with keras_graph.forgetting_scores(layer):
        layer([INPUTS, INPUTS], return_attention_scores=True)
        keeps = changed()
    assert keeps <= {"_return_attention_scores"}
    assert not changed()
    version = tuple(map(int, keras.__version__.split(".")[:2]))
    if version >= (3, 15):
        assert not keeps


@kinds
def test_one_method_makes_weights_of_scores_before_the_rate_is_asked(kind):
    """Of the axes of its softmax; and the dropout layer is not called."""
    make, attribute = KINDS[kind]
    layer = make(0.5)
    layer.build(INPUTS.shape, INPUTS.shape)
    plain, seen = layer._masked_softmax, []

    def softmax(scores, attention_mask=None):
        seen.append((scores.shape, attention_mask.shape))
        setattr(layer, attribute, 0.0)
        return plain(scores, attention_mask)

    with (
        mock.patch.object(layer, "_masked_softmax", softmax),
        mock.patch.object(type(layer._dropout_layer), "__call__") as dropped,
    ):
        mask = np.ones((3, 4, 4), bool)
        layer(INPUTS, INPUTS, attention_mask=mask, training=True)
    assert seen == [((3, 4, 4, 4), (3, 4, 4))]
    assert not dropped.called
    assert layer._softmax.axis in (-1, (3,))


@kinds
@pytest.mark.parametrize(("rate", "has_weights"), [(0.0, False), (0.5, True)])
def test_one_method_tells_by_its_weights_which_path_it_took(
    kind, rate, has_weights
):
    make, attribute = KINDS[kind]
    layer = make(0.5)
    layer.build(INPUTS.shape, INPUTS.shape)
    setattr(layer, attribute, rate)
    plain, seen = layer._compute_attention, []

    def attention(*args, attention_mask=None, **kwargs):
        *tensors, mask = [*args, attention_mask][:4]
        found = plain(*tensors, mask, *args[4:], **kwargs)
        seen.append((mask.shape, found[1] is not None))
        return found

    with mock.patch.object(layer, "_compute_attention", attention):
        layer(INPUTS, INPUTS, attention_mask=np.ones((3, 4, 4), bool))
    assert seen == [((3, 4, 4), has_weights)]

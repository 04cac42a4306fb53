"""What `making.replacing_constructors` needs of Keras and of Python.

A class is asked by its `__new__` wherever its name was imported; an instance
of a subclass that this returns is initialized with the same arguments.
Nothing is left on the class behind the block.
"""

import threading

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras.layers import Dropout as by_name

from kerasdrop import layers
from kerasdrop._adapters import making

NOTHING = {}


def ours(owner, args, kwargs):
    return layers.Dropout.__new__(layers.Dropout, *args, **kwargs)


def identity(owner, args, kwargs):
    return stock.Identity(name=stock.Dropout(*args, **kwargs).name)


def traces():
    """What the classes have themselves of what a block puts there."""
    patched = (stock.Dropout, stock.SpatialDropout1D, stock.LSTM)
    return [vars(cls).get("__new__") for cls in patched] + [
        vars(stock.LSTM)["__init__"]
    ]


def test_a_class_that_was_imported_by_name_is_reached():
    with making.replacing_constructors({stock.Dropout: ours}):
        made = by_name(0.3, noise_shape=(None, 1), seed=5, name="drop")
    assert type(made) is layers.Dropout
    assert (made.rate, made.noise_shape, made.seed, made.name) == (
        0.3,
        (None, 1),
        5,
        "drop",
    )


def test_a_configuration_is_reached():
    config = keras.saving.serialize_keras_object(stock.Dropout(0.3))
    with making.replacing_constructors({stock.Dropout: ours}):
        made = keras.saving.deserialize_keras_object(config)
    assert type(made) is layers.Dropout


def test_a_finished_object_of_another_class_is_returned():
    with making.replacing_constructors({stock.Dropout: identity}):
        made = stock.Dropout(0.3, name="drop")
    assert (type(made), made.name) == (stock.Identity, "drop")


def test_subclasses_are_left_alone():
    class Own(stock.Dropout):
        pass

    with making.replacing_constructors({stock.Dropout: ours}):
        assert type(Own(0.3)) is Own
        assert type(layers.MCDropout(0.3)) is layers.MCDropout


def test_the_dropout_that_attention_makes_is_reached():
    owners = []

    def maker(owner, args, kwargs):
        owners.append(owner)
        return ours(owner, args, kwargs)

    class Attention(stock.MultiHeadAttention):
        pass

    attention = Attention(1, 2, dropout=0.3)
    with making.replacing_constructors({stock.Dropout: maker}):
        attention.build((2, 3, 4), (2, 3, 4))
    assert owners == [attention]
    made = [type(layer) for layer in attention._flatten_layers()]
    assert layers.Dropout in made


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_on_the_classes(fails):
    before = traces()
    makers = {stock.Dropout: ours, stock.SpatialDropout1D: identity}
    try:
        with making.replacing_constructors(
            makers, {stock.LSTM: {"dropout": 0.0}}
        ):
            assert traces() != before
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert traces() == before
    assert type(stock.Dropout(0.3)) is stock.Dropout
    # Without a trace in the machinery of Python, too: it takes arguments.
    assert stock.Dropout(rate=0.3, seed=1).rate == 0.3


def test_other_threads_make_what_they_always_do():
    inside, stop = threading.Event(), threading.Event()
    made = []

    def others():
        inside.wait()
        while not stop.is_set():
            made.append(type(stock.Dropout(0.3)))

    def user():
        inside.wait()
        for _ in range(20):
            with making.replacing_constructors({stock.Dropout: ours}):
                mine.append(type(stock.Dropout(0.3)))

    mine = []
    threads = [threading.Thread(target=one) for one in (others, user, user)]
    for thread in threads:
        thread.start()
    with making.replacing_constructors({stock.Dropout: identity}):
        inside.set()
        for thread in threads[1:]:
            thread.join()
        assert type(stock.Dropout(0.3)) is stock.Identity
        stop.set()
        threads[0].join()
    assert set(made) == {stock.Dropout}
    assert mine == [layers.Dropout] * 40
    assert "__new__" not in vars(stock.Dropout)


def test_the_innermost_block_counts():
    with making.replacing_constructors({stock.Dropout: ours}):
        with making.replacing_constructors(NOTHING):
            assert type(stock.Dropout(0.3)) is stock.Dropout
        with making.usual_constructors():
            assert type(stock.Dropout(0.3)) is stock.Dropout
        assert type(stock.Dropout(0.3)) is layers.Dropout


def test_arguments_reach_the_code_of_subclasses_too():
    class Own(stock.LSTM):
        pass

    with making.replacing_constructors(NOTHING, {stock.LSTM: {"dropout": 0.0}}):
        made = [
            Own(2, dropout=0.5, recurrent_dropout=0.25),
            stock.LSTM.from_config(stock.LSTM(2, dropout=0.5).get_config()),
            stock.LSTM(2),
        ]
    assert [one.cell.dropout for one in made] == [0.0, 0.0, 0.0]
    assert made[0].cell.recurrent_dropout == 0.25
    layer = stock.LSTM(2, dropout=0.5)
    assert layer.dropout == 0.5
    assert layer(np.ones((1, 2, 3))).shape == (1, 2)

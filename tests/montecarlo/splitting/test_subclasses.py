"""A subclass of a stock class draws as the stock class does, always on or not.

What is compared with is the stock class, whose law the other tests have.
"""

import threading

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from tests.support.helpers import assert_proportion

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


def sub(cls):
    """A subclass that overrides nothing that matters."""

    class Sub(cls):
        def __init__(self, *args, note="mine", **kwargs):
            super().__init__(*args, **kwargs)
            self.note = note

        def get_config(self):
            return {**super().get_config(), "note": self.note}

    return Sub


def mc(model, x=X, num_samples=16, **kwargs):
    settings = {"seed": 0, "kind": "regression", "verbose": 0, **kwargs}
    return kerasdrop.mc_predict(
        model, x, num_samples, keep_samples=True, **settings
    ).samples


def model_of(*stack, shape=X.shape[1:]):
    return keras.Sequential([keras.Input(shape), *stack])


def assert_same_samples(model, stock, x=X):
    model.set_weights(stock.get_weights())
    expected = mc(stock, x)
    assert expected.var(axis=1).max() > 0.0
    np.testing.assert_array_equal(mc(model, x), expected)


def noise(wrap):
    return model_of(
        wrap(layers.Dropout)(0.5, noise_shape=(None, 1, None)),
        wrap(layers.SpatialDropout1D)(0.4),
        wrap(layers.AlphaDropout)(0.3),
        wrap(layers.GaussianDropout)(0.3),
        wrap(layers.GaussianNoise)(0.3),
    )


def attention(wrap):
    x = keras.Input(X.shape[1:])
    return keras.Model(
        x,
        [
            wrap(layers.Attention)(dropout=0.3)([x, x]),
            wrap(layers.AdditiveAttention)(dropout=0.3)([x, x]),
            wrap(layers.MultiHeadAttention)(2, 4, dropout=0.3)(x, x),
            wrap(layers.GroupQueryAttention)(4, 4, 2, dropout=0.3)(x, x),
        ],
    )


def recurrent(wrap):
    x = keras.Input(X.shape[1:])
    return keras.Model(
        x,
        layers.concatenate(
            [
                wrap(layers.LSTM)(3, dropout=0.5)(x),
                wrap(layers.LSTM)(3, dropout=0.5, recurrent_dropout=0.2)(x),
                wrap(layers.GRU)(3, dropout=0.5)(x),
                wrap(layers.SimpleRNN)(3, dropout=0.5)(x),
                layers.RNN(wrap(layers.LSTMCell)(3, dropout=0.5))(x),
                layers.RNN(
                    [
                        wrap(layers.GRUCell)(3, dropout=0.5),
                        wrap(layers.LSTMCell)(3),
                    ]
                )(x),
            ]
        ),
    )


@pytest.mark.parametrize("make", [noise, recurrent])
def test_subclasses_that_change_nothing_draw_the_same(make):
    assert_same_samples(make(sub), make(lambda cls: cls))


def test_so_do_those_of_attention():
    stock, model = attention(lambda cls: cls), attention(sub)
    model.set_weights(stock.get_weights())
    for one, other in zip(mc(model), mc(stock), strict=True):
        assert other.var(axis=1).max() > 0.0
        np.testing.assert_array_equal(one, other)


def test_a_convolutional_recurrent_layer_too():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 2)).astype("float32")
    stock, model = (
        model_of(cls(2, 2, dropout=0.3), shape=x.shape[1:])
        for cls in (layers.ConvLSTM1D, sub(layers.ConvLSTM1D))
    )
    assert_same_samples(model, stock, x)


class OfTheBook(layers.Dropout):
    def call(self, inputs):
        return super().call(inputs, training=True)


class Renamed(layers.Dropout):
    def call(self, x, training=None):
        return super().call(x, True)


class NotBySuper(layers.Dropout):
    def call(self, inputs, training=False):
        return layers.Dropout.call(self, inputs, training=True)


class ByCall(layers.Dropout):
    def __call__(self, inputs, **kwargs):
        return super().__call__(inputs, training=True)


class Twice(OfTheBook):
    """A subclass of the subclass."""


ALWAYS_ON = [OfTheBook, Renamed, NotBySuper, ByCall, Twice]


def test_always_on_dropout_draws_as_dropout():
    """Alone, beside others, before and behind them."""
    for before, after in (([], []), ([0.3], [0.2])):
        stock, model = (
            model_of(
                *map(layers.Dropout, before),
                *[cls(0.1) for cls in classes],
                *map(layers.Dropout, after),
                layers.Dense(2),
            )
            for classes in ([layers.Dropout] * len(ALWAYS_ON), ALWAYS_ON)
        )
        state = [ops.convert_to_numpy(v.value) for v in model.variables]
        mc(model)
        for variable, before_it in zip(model.variables, state, strict=True):
            now = ops.convert_to_numpy(variable.value)
            np.testing.assert_array_equal(now, before_it)
        assert_same_samples(model, stock)


def test_the_layer_of_the_book_alone_has_its_law():
    samples = mc(
        model_of(OfTheBook(0.5), shape=(50,)),
        np.ones((8, 50), "float32"),
        plan="independent",
    )
    assert np.isin(samples, (0.0, 2.0)).all()
    assert_proportion(samples == 0.0, 0.5)


def test_other_noise_may_be_always_on_as_well():
    def always(cls):
        class Always(cls):
            def call(self, inputs):
                return super().call(inputs, training=True)

        return Always

    assert_same_samples(noise(always), noise(lambda cls: cls))


def test_what_a_subclass_does_around_the_call_still_happens():
    class Around(layers.Dropout):
        def call(self, inputs):
            first = super().call(inputs + 1.0, training=True)
            return first + 10.0 * super().call(inputs + 1.0, training=True)

    x = np.zeros((50, 40), "float32")
    samples = mc(model_of(Around(0.5), shape=(40,)), x, plan="independent")
    assert np.isin(samples, (0.0, 2.0, 20.0, 22.0)).all()
    for value in (0.0, 2.0, 20.0, 22.0):  # two calls, two masks
        assert_proportion(samples == value, 0.25)


def test_recurrent_layers_may_forward_their_calls():
    class Layer(layers.LSTM):
        def call(self, sequences, initial_state=None, mask=None):
            return super().call(sequences, initial_state, mask)

    class Loop(layers.LSTM):
        def inner_loop(self, sequences, initial_state, mask, **kwargs):
            return super().inner_loop(sequences, initial_state, mask)

    class Cell(layers.LSTMCell):
        def call(self, inputs, states):
            return super().call(inputs, states)

    stock, model = (
        model_of(
            outer(4, dropout=0.5, return_sequences=True),
            inner(4, dropout=0.5, return_sequences=True),
            layers.RNN(cell(3, dropout=0.5)),
        )
        for outer, inner, cell in (
            (layers.LSTM, layers.LSTM, layers.LSTMCell),
            (Layer, Loop, Cell),
        )
    )
    assert_same_samples(model, stock)


def test_a_call_that_never_reaches_the_stock_one_is_refused():
    class Own(layers.Dropout):
        def call(self, inputs, training=False):
            return inputs * 0.5 if training else inputs

    for others in ([], [layers.Dropout(0.5)]):
        model = keras.Sequential(
            [keras.Input((4,)), Own(0.5, name="own"), *others]
        )
        with pytest.raises(ValueError, match=r"'own' \(Own\).*its own `call`"):
            mc(model, np.ones((2, 4), "float32"))


def test_what_else_a_subclass_does_in_its_own_way_is_refused():
    class Own(layers.SpatialDropout1D):
        def _get_noise_shape(self, inputs):
            return ops.shape(inputs)

    class Cell(layers.LSTMCell):
        def get_dropout_mask(self, step_input):
            return ops.ones_like(step_input)

    for layer, name in (
        (Own(0.5), "_get_noise_shape"),
        (layers.RNN(Cell(3, dropout=0.5)), "get_dropout_mask"),
    ):
        with pytest.raises(ValueError, match=f"overrides `{name}`"):
            mc(model_of(layer))


def test_rates_that_keras_does_not_read_are_refused():
    layer = layers.LSTM(3, dropout=0.5)
    model = model_of(layer)
    layer.cell.recurrent_dropout = 0.2
    with pytest.raises(ValueError, match="made without `recurrent_dropout`"):
        mc(model)
    with pytest.raises(ValueError, match="has a dropout rate of 1"):
        mc(model_of(layers.LSTM(3, dropout=1.0)))


def test_the_stock_class_is_as_it_was_afterwards_and_in_other_threads():
    plain = vars(layers.Dropout)["call"]
    seen = {}

    class Looking(OfTheBook):
        def call(self, inputs):
            def look():
                seen["other thread"] = layers.Dropout(0.5)(np.ones((2, 3)))

            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            return super().call(inputs)

    class Failing(OfTheBook):
        def call(self, inputs):
            if vars(layers.Dropout)["call"] is not plain:
                raise KeyboardInterrupt
            return super().call(inputs)

    mc(model_of(Looking(0.5)), verify=False)  # it draws for a new layer
    assert (ops.convert_to_numpy(seen["other thread"]) == 1.0).all()
    assert vars(layers.Dropout)["call"] is plain
    model = model_of(Failing(0.5))
    with pytest.raises(KeyboardInterrupt):
        mc(model)
    assert vars(layers.Dropout)["call"] is plain
    assert not {"call", "inner_loop"} & set(vars(model.layers[-1]))

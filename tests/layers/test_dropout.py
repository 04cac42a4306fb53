"""What a call of each dropout layer computes."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from kerasdrop.layers import MCDropout
from kerasdrop.layers import ScheduledDropout
from tests.support import traced
from tests.support.helpers import assert_proportion

RAMP = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.5)
LAYERS = [Dropout, ClassicDropout, MCDropout]


numpy = ops.convert_to_numpy


def inputs_of(*shape):
    """Values of which none is zero."""
    return np.random.default_rng(0).uniform(1, 2, shape).astype("float32")


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_the_probability_of_dropping(layer_class, rate):
    outputs = layer_class(rate, seed=0)(inputs_of(100, 500), training=True)
    assert_proportion(numpy(outputs) == 0, rate)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_survivors_of_dropout_are_divided_by_one_minus_the_rate(rate):
    inputs = inputs_of(20, 500)
    outputs = numpy(Dropout(rate, seed=0)(inputs, training=True))
    expected = np.where(outputs == 0, 0, inputs / (1 - rate))
    np.testing.assert_allclose(outputs, expected, rtol=3e-7)


def test_survivors_of_classic_dropout_are_left_as_they_are():
    inputs = inputs_of(20, 500)
    outputs = numpy(ClassicDropout(0.3, seed=0)(inputs, training=True))
    np.testing.assert_array_equal(outputs, np.where(outputs == 0, 0, inputs))


def test_dropout_is_the_identity_at_inference():
    inputs = inputs_of(20, 500)
    np.testing.assert_array_equal(numpy(Dropout(0.5)(inputs)), inputs)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_classic_dropout_multiplies_by_one_minus_the_rate_at_inference(rate):
    inputs = inputs_of(20, 500)
    outputs = numpy(ClassicDropout(rate)(inputs))
    np.testing.assert_allclose(outputs, inputs * (1 - rate), rtol=3e-7)


def test_the_classic_factor_is_that_of_the_last_rate_that_was_set():
    layer = ClassicDropout(0.5)
    layer.rate = 0.25
    np.testing.assert_array_equal(numpy(layer(np.ones((1, 3)))), [[0.75] * 3])


def test_the_classic_factor_under_a_schedule_is_that_of_the_next_step():
    layer = ClassicDropout(RAMP)  # 0, .05, .1, .15, ...
    for _ in range(3):
        layer(np.ones((1, 3)), training=True)
    outputs = numpy(layer(np.ones((1, 3))))
    np.testing.assert_allclose(outputs, [[0.85] * 3], rtol=3e-7)


def test_classic_and_inverted_share_their_masks():
    inputs = inputs_of(20, 500)
    classic = numpy(ClassicDropout(0.5, seed=3)(inputs, training=True))
    inverted = numpy(Dropout(0.5, seed=3)(inputs, training=True))
    np.testing.assert_array_equal(inverted, 2 * classic)


def test_mc_dropout_draws_at_inference():
    outputs = MCDropout(0.5, seed=0)(inputs_of(20, 500))
    assert_proportion(numpy(outputs) == 0, 0.5)


@pytest.mark.parametrize(
    "layer",
    [
        MCDropout(0.5, seed=0),
        Dropout(0.5, seed=0, stochastic_inference=True),
        ClassicDropout(0.5, seed=0, stochastic_inference=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_successive_inference_draws_differ(layer):
    inputs = np.ones((20, 500), "float32")
    first = numpy(layer(inputs)) == 0
    second = numpy(layer(inputs)) == 0
    # Independent masks of rate .5 agree in half of the places.
    assert_proportion(first == second, 0.5)


def test_mc_dropout_can_be_silenced():
    inputs = inputs_of(20, 50)
    outputs = MCDropout(0.5, stochastic_inference=False)(inputs)
    np.testing.assert_array_equal(numpy(outputs), inputs)


def test_predicting_does_not_move_the_training_masks():
    inputs = np.ones((20, 500), "float32")
    layer, other = MCDropout(0.5, seed=0), MCDropout(0.5, seed=0)
    layer(inputs)
    np.testing.assert_array_equal(
        numpy(layer(inputs, training=True)),
        numpy(other(inputs, training=True)),
    )


def test_inference_draws_do_not_repeat_training_masks():
    inputs = np.ones((20, 500), "float32")
    layer = MCDropout(0.5, seed=0)
    training = numpy(layer(inputs, training=True)) == 0
    inference = numpy(layer(inputs)) == 0
    assert_proportion(training == inference, 0.5)


@pytest.mark.parametrize("shape", [(500,), (9, 500), (3, 5, 7, 2, 3, 4)])
def test_inputs_of_any_rank(shape):
    outputs = Dropout(0.5, seed=0)(inputs_of(*shape), training=True)
    assert outputs.shape == shape


@pytest.mark.parametrize("noise_shape", [(None, 1, None), (20, 1, 10)])
def test_one_decision_for_an_axis_of_noise_shape_one(noise_shape):
    layer = Dropout(0.5, noise_shape=noise_shape, seed=0)
    zeroed = numpy(layer(inputs_of(20, 5, 10), training=True)) == 0
    np.testing.assert_array_equal(
        zeroed, np.broadcast_to(zeroed[:, :1], zeroed.shape)
    )
    assert_proportion(zeroed[:, 0], 0.5)


def test_noise_shape_still_drops_at_the_rate():
    layer = Dropout(0.3, noise_shape=(None, 1, None), seed=0)
    zeroed = numpy(layer(inputs_of(100, 3, 100), training=True)) == 0
    assert_proportion(zeroed[:, 0], 0.3)


def test_one_mask_for_the_whole_batch():
    layer = Dropout(0.5, noise_shape=(1, None), seed=0)
    zeroed = numpy(layer(inputs_of(20, 100), training=True)) == 0
    np.testing.assert_array_equal(
        zeroed, np.broadcast_to(zeroed[:1], zeroed.shape)
    )
    assert_proportion(zeroed[0], 0.5)


@pytest.mark.parametrize("layer_class", [*LAYERS, ScheduledDropout])
def test_every_layer_is_a_keras_dropout(layer_class):
    rate = RAMP if layer_class is ScheduledDropout else 0.5
    assert isinstance(layer_class(rate), keras.layers.Dropout)


def test_the_output_shape_is_the_input_shape():
    assert Dropout(0.5).compute_output_shape((None, 3, 4)) == (None, 3, 4)


def test_a_symbolic_call_keeps_the_shape_and_has_the_compute_dtype():
    outputs = Dropout(0.5)(keras.Input((None, 4), dtype="float16"))
    assert (outputs.shape, outputs.dtype) == ((None, None, 4), "float32")


def test_the_layer_is_built_when_it_is_made():
    assert Dropout(0.5).built


def test_a_subclass_with_weights_is_built_by_keras():
    class Biased(Dropout):
        def build(self, input_shape):
            self.bias = self.add_weight(shape=input_shape[-1:])

        def call(self, inputs, training=False):
            return super().call(inputs, training) + self.bias

    layer = Biased(0.5)
    layer(inputs_of(2, 3))
    assert [weight.shape for weight in layer.weights] == [(3,)]


def test_trainable_false_does_not_switch_dropout_off():
    layer = Dropout(0.5, seed=0)
    layer.trainable = False
    outputs = layer(inputs_of(20, 500), training=True)
    assert_proportion(numpy(outputs) == 0, 0.5)


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("layer_class", LAYERS)
def test_gradients_are_finite_at_both_ends(layer_class, rate):
    result = traced.gradient(layer_class(rate), inputs_of(4, 5))
    np.testing.assert_array_equal(result, np.full((4, 5), 1.0 - rate))


def test_the_gradient_is_that_of_the_mask():
    inputs = np.ones((20, 50), "float32")
    outputs = Dropout(0.5, seed=0)(inputs, training=True)
    result = traced.gradient(Dropout(0.5, seed=0), inputs)
    np.testing.assert_array_equal(result, numpy(outputs))

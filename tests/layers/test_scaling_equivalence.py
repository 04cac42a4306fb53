"""Classic and inverted scaling are one model in two parametrisations.

With keep probability p = 1 - rate before a kernel K, the classic model with K
and the inverted model with p K make the same predictions throughout training,
given the same masks and, for that kernel alone:

- SGD, with or without momentum: learning rate p**2 times the classic one;
- Adam: p times the learning rate and 1/p times the epsilon;
- L2: 1/p**2 times the factor; a bound of the norm: p times the bound.

(Srivastava et al. 2014, section 10, states that such a map exists.)
"""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout

# Where the factors are powers of two nothing is rounded and the two runs are
# equal. Elsewhere: JAX has float64 only by its own option, and on PyTorch Keras
# multiplies float64 matrices with float32 accuracy.
BACKEND = keras.backend.backend()
DTYPE = "float32" if BACKEND == "jax" else "float64"
ROUNDING = 1e-11 if BACKEND == "tensorflow" else 1e-5


@pytest.fixture(autouse=True)
def _dtype():
    keras.config.set_floatx(DTYPE)
    keras.config.set_dtype_policy(DTYPE)
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def kept(keep_probability):
    """The probability that the float32 rate of a layer stands for."""
    return 1.0 - float(np.float32(1.0 - keep_probability))


GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(32, 6))
TARGETS = np.sin(INPUTS.sum(axis=1, keepdims=True))
KERNELS = [
    GENERATOR.normal(scale=0.5, size=shape)
    for shape in [(6, 8), (8, 8), (8, 1)]
]


class Scaled:
    """A Keras optimizer with factors for single kernels."""

    rate_power = 0

    def scale(self, kernels, probabilities):
        if BACKEND == "tensorflow":  # `update_step` gets TensorFlow's own
            kernels = [kernel.value for kernel in kernels]
        found = {id(kernel): p for kernel, p in zip(kernels, probabilities)}
        # A function, since Keras would take a dict apart.
        self.probability_before = lambda kernel: found.get(id(kernel), 1.0)
        return self

    def update_step(self, gradient, variable, learning_rate):
        p = self.probability_before(variable)
        learning_rate = ops.cast(learning_rate, DTYPE) * p**self.rate_power
        epsilon = getattr(self, "epsilon", None)
        if epsilon is None:
            super().update_step(gradient, variable, learning_rate)
            return
        self.epsilon = epsilon / p
        super().update_step(gradient, variable, learning_rate)
        self.epsilon = epsilon


class ScaledSGD(Scaled, keras.optimizers.SGD):
    rate_power = 2


class ScaledAdam(Scaled, keras.optimizers.Adam):
    rate_power = 1


OPTIMIZERS = {
    "sgd": lambda: ScaledSGD(0.05),
    "momentum": lambda: ScaledSGD(0.02, momentum=0.9),
    "adam": lambda: ScaledAdam(0.01, epsilon=1e-3),
}


class NormBound(keras.constraints.Constraint):
    """Columns of at most this length; without the epsilon of Keras' own."""

    def __init__(self, bound):
        self.bound = bound

    def __call__(self, kernel):
        norm = ops.sqrt(ops.sum(kernel**2, axis=0, keepdims=True))
        return kernel * ops.minimum(1.0, self.bound / norm)


def network(dropout_class, probabilities, scaled, penalty, bound):
    """Dense, dropout, Dense, dropout, Dense; the kernels scaled or not."""
    factors = [1.0, 1.0, 1.0]
    if scaled:
        factors[1:] = [kept(p) for p in probabilities]
    layers = [keras.Input((6,))]
    for number, factor in enumerate(factors):
        activation = "relu" if number < 2 else None
        layers.append(
            keras.layers.Dense(
                len(KERNELS[number][0]),
                activation=activation,
                kernel_regularizer=penalty
                and keras.regularizers.L2(penalty / factor**2),
                kernel_constraint=bound and NormBound(bound * factor),
            )
        )
        if number < 2:
            rate = 1.0 - probabilities[number]
            layers.append(dropout_class(rate, seed=number))
    model = keras.Sequential(layers)
    kernels = [layer.kernel for layer in model.layers[::2]]
    for kernel, value, factor in zip(kernels, KERNELS, factors):
        kernel.assign(value * factor)
    return model, kernels[1:], factors[1:]


def run(dropout_class, probabilities, optimizer, scaled, **bounds):
    """The predictions after each of 8 epochs of training."""
    model, kernels, factors = network(
        dropout_class, probabilities, scaled, **bounds
    )
    model.compile(
        OPTIMIZERS[optimizer]().scale(kernels, factors),
        keras.losses.MeanSquaredError(),
    )
    predictions = []
    predict = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: predictions.append(
            ops.convert_to_numpy(model(INPUTS))
        )
    )
    model.fit(
        INPUTS,
        TARGETS,
        batch_size=4,
        epochs=8,
        shuffle=False,
        verbose=0,
        callbacks=[predict],
    )
    return np.array(predictions)


PLAIN = {"penalty": None, "bound": None}
BOUND = {"penalty": 1e-2, "bound": 1.0}


def assert_equivalent(optimizer, probabilities, arguments, tolerance):
    classic = run(ClassicDropout, probabilities, optimizer, False, **arguments)
    inverted = run(Dropout, probabilities, optimizer, True, **arguments)
    np.testing.assert_allclose(
        inverted, classic, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_both_scalings_train_to_the_very_same_predictions(optimizer):
    assert_equivalent(optimizer, (0.5, 0.5), PLAIN, tolerance=0.0)


def test_so_they_do_with_a_penalty_and_a_bound_of_the_norm():
    assert_equivalent("momentum", (0.5, 0.5), BOUND, tolerance=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "probabilities"),
    [("momentum", (0.8, 0.5)), ("adam", (0.9, 0.75))],
)
def test_so_they_do_to_rounding_at_other_rates(optimizer, probabilities):
    assert_equivalent(optimizer, probabilities, PLAIN, ROUNDING)


def test_without_the_map_the_two_differ():
    classic = run(ClassicDropout, (0.5, 0.5), "sgd", False, **PLAIN)
    inverted = run(Dropout, (0.5, 0.5), "sgd", False, **PLAIN)
    assert np.abs(inverted - classic).max() > 0.1

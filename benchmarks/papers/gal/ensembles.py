"""Many small networks for regression, trained in one compiled step.

A step of a network with 50 units takes less time than starting it. So networks
of the same shape, each with its own data, are the members of one model with an
additional axis. The masks of kerasdrop's layers differ between members as they
differ between units. Each member is trained as it would be alone, because the
losses are added and Adam treats each weight separately.
"""

import math
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import ops

from kerasdrop.layers import Dropout

BACKEND = keras.backend.backend()

# JAX runs so many epochs in a compiled call, at most.
_EPOCHS_PER_CALL = 100


def ensemble(num_features, num_units, rate, decays):
    """Networks of one hidden layer, with dropout before each weight layer.

    Args:
        num_features: Integer, inputs of a member.
        num_units: Integer, its hidden units.
        rate: Of all dropout layers.
        decays: `(members,)`, factors of the squared weights in the loss.

    Returns:
        A model, `(rows, members, num_features)` to `(rows, members, 1)`.
    """
    inputs = keras.Input((len(decays), num_features))
    # Products of matrices are twice as fast with the members before the rows.
    hidden = Dropout(rate)(ops.transpose(inputs, (1, 0, 2)))
    hidden = _Dense(num_features, num_units, decays)(hidden)
    hidden = Dropout(rate)(ops.relu(hidden))
    outputs = _Dense(num_units, 1, decays)(hidden)
    return keras.Model(inputs, ops.transpose(outputs, (1, 0, 2)))


class _Decay(keras.regularizers.Regularizer):
    """Weight decay of each member: `(members, 1, 1)`."""

    def __init__(self, decays):
        self.decays = ops.reshape(
            ops.convert_to_tensor(decays, "float32"), (-1, 1, 1)
        )

    def __call__(self, kernel):
        return ops.sum(self.decays * ops.square(kernel))


class _Dense(keras.layers.Layer):
    """`Dense` of each member: `(members, rows, size)` to `(..., num_units)`."""

    def __init__(self, size, num_units, decays):
        super().__init__()
        # Glorot's, as `Dense` has it; the axis of members would be counted in.
        limit = math.sqrt(6.0 / (size + num_units))
        self.kernel = self.add_weight(
            (len(decays), size, num_units),
            keras.initializers.RandomUniform(-limit, limit),
            regularizer=_Decay(decays),
        )
        self.bias = self.add_weight((len(decays), 1, num_units), "zeros")
        self.built = True

    def call(self, inputs):
        return ops.matmul(inputs, self.kernel) + self.bias


def train(model, x, y, epochs, batch_size, seed):
    """Trains by Adam on the squared error, and shows how far it is.

    Args:
        model: An `ensemble`.
        x: `(rows, members, features)`.
        y: `(rows, members)`.
        epochs, batch_size: Integers; the last batch of an epoch may be
            smaller.
        seed: Integer, of the order of the rows, which is the same for all
            members.

    Returns:
        The weights of each member, a list of lists of arrays.
    """
    x, y = x.astype("float32"), y.astype("float32")[..., None]
    progress = keras.utils.Progbar(epochs, unit_name="epoch")
    run = _by_scan if BACKEND == "jax" else _by_fit
    run(model, x, y, epochs, batch_size, seed, progress)
    weights = [
        ops.convert_to_numpy(variable) for variable in model.trainable_variables
    ]
    return [list(member) for member in zip(*weights)]


def _loss(y, predicted):
    return ops.sum(ops.square(y - predicted), axis=(1, 2))


def _by_fit(model, x, y, epochs, batch_size, seed, progress):
    keras.utils.set_random_seed(seed)
    # Keras asks for XLA on a GPU only, and PyTorch has none.
    model.compile(
        keras.optimizers.Adam(), _loss, jit_compile=BACKEND == "tensorflow"
    )
    show = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress.update(epoch + 1)
    )
    model.fit(x, y, batch_size, epochs, verbose=0, callbacks=[show])


def _by_scan(model, x, y, epochs, batch_size, seed, progress):
    """The same, with the loops over steps and epochs compiled as well."""
    import jax

    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        optimizer.variables,
    )

    def objective(trainable, others, x, y):
        predicted, others, penalties = model.stateless_call(
            trainable, others, x, training=True, return_losses=True
        )
        return ops.mean(_loss(y, predicted)) + sum(penalties), others

    def step(state, rows):
        trainable, others, of_optimizer = state
        gradients, others = jax.grad(objective, has_aux=True)(
            trainable, others, x[rows], y[rows]
        )
        trainable, of_optimizer = optimizer.stateless_apply(
            of_optimizer, gradients, trainable
        )
        return (trainable, others, of_optimizer), None

    def epoch(state, order):
        count = len(order) // batch_size
        whole = order[: count * batch_size].reshape(count, batch_size)
        state, _ = jax.lax.scan(step, state, whole)
        rest = order[count * batch_size :]
        return step(state, rest) if len(rest) else (state, None)

    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    run = jax.jit(lambda state, orders: jax.lax.scan(epoch, state, orders)[0])
    state = tuple([v.value for v in part] for part in variables)
    generator = np.random.default_rng(seed)
    per_call = math.gcd(epochs, _EPOCHS_PER_CALL)
    for done in range(0, epochs, per_call):
        orders = [generator.permutation(len(x)) for _ in range(per_call)]
        state = run(state, np.array(orders, "int32"))
        jax.block_until_ready(state)
        progress.update(done + per_call)
    for part, values in zip(variables, state):
        for variable, value in zip(part, values):
            variable.assign(value)

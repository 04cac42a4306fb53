"""Many updates of the weights in one compiled loop, for JAX.

`fit` hands each batch, and each 20 updates, from Python to the device. For the
million updates of the paper, on a GPU, that takes most of the time. Here the
images lie on the device, and a chunk of updates is one call.
"""

import numpy as np
from keras import losses
from keras import ops


class CompiledLoop:
    """Trains a compiled model; the state is here until `put_back`.

    Args:
        model: A model whose optimizer has its variables.
        data: Images `(images, inputs)` and classes `(images,)`.
    """

    def __init__(self, model, data):
        self._model = model
        self._data = [ops.convert_to_tensor(part) for part in data]
        model.optimizer.build(model.trainable_variables)
        self._variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
        )
        self._state = [
            # Copies: what goes into a call is overwritten.
            [ops.copy(variable.value) for variable in variables]
            for variables in self._variables
        ]
        self._run = self._compiled()

    def _compiled(self):
        import jax

        model = self._model

        def loss_of(trainable, other, images, labels):
            outputs, other = model.stateless_call(
                trainable, other, images, training=True
            )
            loss = losses.sparse_categorical_crossentropy(labels, outputs)
            return ops.mean(loss), other

        gradients = jax.value_and_grad(loss_of, has_aux=True)

        def update(data, state, chosen):
            trainable, other, of_optimizer = state
            batch = [ops.take(part, chosen, axis=0) for part in data]
            (loss, other), found = gradients(trainable, other, *batch)
            trainable, of_optimizer = model.optimizer.stateless_apply(
                of_optimizer, found, trainable
            )
            return [trainable, other, of_optimizer], loss

        def run(state, data, order):
            return ops.scan(
                lambda state, chosen: update(data, state, chosen), state, order
            )

        return jax.jit(run, donate_argnums=0)

    def __call__(self, order):
        """Updates the state once for each batch; returns the last loss.

        Args:
            order: Integers `(updates, batch)`: the images of each batch.
        """
        order = np.asarray(order, "int32")
        self._state, found = self._run(self._state, self._data, order)
        return float(found[-1])

    def put_back(self):
        """Writes the state into the model."""
        for variables, values in zip(self._variables, self._state):
            for variable, value in zip(variables, values):
                variable.assign(value)

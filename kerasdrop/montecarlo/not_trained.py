"""The part of a Keras model that `MonteCarlo` has: metrics, but no training."""

from typing import NoReturn

import keras

from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.montecarlo import compiled_with

NOT_TRAINED = (
    "MonteCarlo predicts; it is not trained. Train the model that it was made "
    "of: its next prediction uses the new weights."
)


class NotTrained(keras.Model):
    """A model that predicts and can be evaluated, but refuses training."""

    def compile(
        self, optimizer: Given = None, loss: Given = None, **kwargs: Given
    ) -> None:
        """Sets the loss and the metrics of `evaluate`, as in `keras.Model`.

        Args:
            optimizer: None; this model is not trained.
            loss: Loss of the predictive mean, or None.
            **kwargs: As in `keras.Model.compile`: `metrics`, ...
        """
        names = compiled_with.output_names(self.model)
        if names is not None:
            # Keras matches losses and metrics to outputs in a list by these
            # names.
            self.output_names = names
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        given = [loss, kwargs.get("metrics"), kwargs.get("weighted_metrics")]
        self._compiled_with = compiled_with.CompiledWith(given, names)

    @property
    def metrics(self) -> list[keras.Metric]:
        """The loss and the metrics of `compile`.

        Metrics of layers of the model are not among them, because nothing here
        resets them.
        """
        inside = {id(one) for one in self.model.metrics}
        return [one for one in super().metrics if id(one) not in inside]

    def compile_from_config(self, config: Config) -> None:
        # Keras would not do this, since `compile` is overridden.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, *args: Given, **kwargs: Given) -> NoReturn:
        """Raises an error: train the wrapped model instead.

        Raises:
            ValueError: Always, and before Keras touches the model's state.
        """
        raise ValueError(NOT_TRAINED)

    def train_on_batch(self, *args: Given, **kwargs: Given) -> NoReturn:
        """Raises an error, like `fit`."""
        raise ValueError(NOT_TRAINED)

    def test_on_batch(self, *args: Given, **kwargs: Given) -> NoReturn:
        """Raises an error: use `evaluate`, which accepts a single batch too.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "MonteCarlo: to evaluate one batch, call "
            "`evaluate(x, y, batch_size=len(x))`."
        )

    def compute_output_shape(self, input_shape: Given) -> NoReturn:
        raise NotImplementedError(
            "MonteCarlo is not for use inside another model. Call it, or its "
            "`predict`, on data; it returns a dict of statistics."
        )

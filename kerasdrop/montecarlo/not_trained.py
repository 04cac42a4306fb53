"""What a `MonteCarlo` has of a Keras model: measures, and no training."""

import keras

from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor

NOT_TRAINED = (
    "MonteCarlo predicts; it is not trained. Train the model that it was made "
    "of: its next prediction uses the new weights."
)


class NotTrained(keras.Model):
    """A model that predicts and can be evaluated; what trains it is refused."""

    def compile(
        self, optimizer: Given = None, loss: Given = None, **kwargs: Given
    ) -> None:
        """As in `keras.Model`, for `evaluate`; an optimizer has no use.

        Args:
            optimizer: None.
            loss: Loss of the predictive mean, or None.
            **kwargs: As in `keras.Model.compile`: `metrics`, ...
        """
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def compile_from_config(self, config: Config) -> None:
        # Keras would not, since `compile` is ours.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, *args: Given, **kwargs: Given) -> None:
        """Refuses: the model that this was made of is what is trained.

        Raises:
            ValueError: Always, and before Keras touches the model's state.
        """
        raise ValueError(NOT_TRAINED)

    def train_on_batch(self, *args: Given, **kwargs: Given) -> None:
        """Refuses, as `fit`."""
        raise ValueError(NOT_TRAINED)

    def test_on_batch(self, *args: Given, **kwargs: Given) -> None:
        """Refuses: `evaluate` takes a batch as well.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "MonteCarlo: to evaluate one batch, call "
            "`evaluate(x, y, batch_size=len(x))`."
        )

    def _measured(
        self,
        mean: Structure,
        y: Structure,
        sample_weight: Tensor,
        return_dict: bool,
    ) -> Given:
        """Loss and metrics, as compiled, of means that were predicted.

        Args:
            mean: Means for all rows, in the structure of the outputs.
            y: Targets in that structure.
            sample_weight: Array `(rows,)`, or None.
            return_dict: Whether to return a dict.

        Returns:
            The loss, or a list of the loss and the metrics, or a dict.
        """
        self.reset_metrics()
        logs = self.compute_metrics(
            x=None, y=y, y_pred=mean, sample_weight=sample_weight
        )
        # Of metrics alone the loss is 0, as Keras has it.
        logs = {"loss": 0.0, **logs}
        if self.loss is not None:
            logs["loss"] = self.compute_loss(
                y=y, y_pred=mean, sample_weight=sample_weight, training=False
            )
        logs = {name: float(value) for name, value in logs.items()}
        if return_dict:
            return logs
        names = ["loss", *(name for name in logs if name != "loss")]
        values = [logs[name] for name in names]
        return values if len(values) > 1 else values[0]

    def compute_output_shape(self, input_shape: Given) -> None:
        raise NotImplementedError(
            "MonteCarlo is not for use inside another model. Call it, or its "
            "`predict`, on data; it returns a dict of statistics."
        )

"""TensorFlow's SavedModel."""

from typing import ClassVar

import keras

from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop.montecarlo.export.formats import base


class SavedModel(base.Format):
    """A folder that TensorFlow and its servers run, from any backend."""

    name = "tf_saved_model"
    needed: ClassVar[Config] = {
        "tensorflow": {},
        "jax": {"tensorflow": "tensorflow"},
    }
    known: ClassVar[Config] = {
        "tensorflow": (),
        "jax": ("is_static", "jax2tf_kwargs"),
    }

    @property
    def options(self) -> Config:
        if keras.backend.backend() == "tensorflow":
            return {}
        # Nobody trains on statistics, and the loop of a `tolerance` has no
        # gradient.
        return {"jax2tf_kwargs": {"with_gradient": False}}

    def run(self, path: str, inputs: dict[str, Array]) -> dict[str, Array]:
        import tensorflow as tf

        # The object must live until the end, because it owns its variables.
        loaded = tf.saved_model.load(path)
        signature = loaded.signatures["serving_default"]
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {
            name: output.numpy()
            for name, output in signature(**tensors).items()
        }

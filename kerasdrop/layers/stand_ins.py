"""Layers of Keras that stand for dropout layers at inference."""

import keras


def identity(layer: keras.layers.Layer) -> keras.layers.Layer:
    """An identity with the name and the dtype policy of a layer."""
    policy = keras.dtype_policies.serialize(layer.dtype_policy)
    # A layer that was made with a policy object would have no configuration.
    return keras.layers.Identity.from_config(
        {"name": layer.name, "dtype": policy}
    )


def scaling(
    layer: keras.layers.Layer, name: str | None = None
) -> keras.layers.Layer:
    """A layer that multiplies by the share that a dropout layer keeps now."""
    return keras.layers.Rescaling(
        1.0 - layer.rate, name=name, dtype=layer.dtype_policy
    )

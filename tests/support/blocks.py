"""Models whose classes make their dropout in their own code.

They have the traits of KerasHub's models: functional subclasses that are
configured by numbers, and tasks around them; Keras' attention and a subclass of
it in a block; layers that are made in `__init__` or in `build`, and weights
that are made in the first call.
"""

import keras
from keras import layers as stock
from keras import ops

RATE = 0.25
WIDTH = 8


class Attention(stock.MultiHeadAttention):
    """Like the cached attention of language models."""


@keras.saving.register_keras_serializable("blocks")
class Block(stock.Layer):
    """Attention and a dense layer, made when it is built."""

    def __init__(self, rate, attention="MultiHeadAttention", **kwargs):
        super().__init__(**kwargs)
        self.rate, self.kind = rate, attention
        self.supports_masking = True

    def build(self, shape):
        cls = (
            Attention if self.kind == "Attention" else stock.MultiHeadAttention
        )
        self.attention = cls(2, 4, dropout=self.rate, name="attention")
        self.attention.build(shape, shape)
        self.drop = stock.Dropout(self.rate, name="drop")
        self.norm = stock.LayerNormalization(epsilon=1e-5, name="norm")
        self.norm.build(shape)
        self.dense = stock.Dense(WIDTH, activation="gelu", name="dense")
        self.dense.build(shape)

    def call(self, inputs, training=None):
        hidden = self.attention(inputs, inputs, training=training)
        hidden = self.drop(hidden, training=training)
        return self.dense(self.norm(hidden + inputs))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        config = {"rate": self.rate, "attention": self.kind}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("blocks")
class Backbone(keras.Model):
    """A functional subclass, built from numbers."""

    def __init__(self, rate=RATE, attention="MultiHeadAttention", **kwargs):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        embedding = stock.Embedding(20, WIDTH, name="embedding")
        hidden = stock.Dropout(rate)(embedding(tokens))
        hidden = Block(rate, attention, name="block")(hidden)
        super().__init__(tokens, hidden, **kwargs)
        self.rate, self.kind = rate, attention

    def get_config(self):
        return {"rate": self.rate, "attention": self.kind, "name": self.name}


@keras.saving.register_keras_serializable("blocks")
class Task(keras.Model):
    """A functional subclass around another one."""

    def __init__(self, backbone, rate=RATE, **kwargs):
        pooled = stock.GlobalAveragePooling1D()(backbone.output)
        outputs = stock.Dense(2)(stock.Dropout(rate, name="head")(pooled))
        super().__init__(backbone.input, outputs, **kwargs)
        self.backbone, self.rate = backbone, rate

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {"backbone": backbone, "rate": self.rate, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})


class InInit(keras.Model):
    """A subclass as beginners write it; `__init__` has no arguments."""

    def __init__(self):
        super().__init__()
        self.hidden = stock.Dense(WIDTH, activation="relu", name="hidden")
        self.drop = stock.Dropout(RATE, name="drop")
        self.top = stock.Dense(2, name="top")

    def call(self, inputs, training=None):
        hidden = self.hidden(inputs)
        return self.top(self.drop(hidden, training=training))


class InBuild(keras.Model):
    """Makes all layers in `build`, from arguments that Keras keeps."""

    def __init__(self, rate=RATE, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, shape):
        self.drop = stock.SpatialDropout1D(self.rate, name="drop")
        self.top = stock.Conv1D(2, 2, name="top")
        self.top.build(shape)

    def call(self, inputs, training=None):
        return self.top(self.drop(inputs, training=training))


@keras.saving.register_keras_serializable("blocks")
class InCall(stock.Layer):
    """Tells its output shape without a call, so the first makes the weights."""

    def __init__(self, rate=RATE, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.drop = stock.Dropout(rate, name="drop")
        self.top = stock.Dense(2, name="top")

    def call(self, inputs, training=None):
        return self.top(self.drop(inputs, training=training))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)

    def compute_output_spec(self, inputs, training=None):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, self.compute_dtype)


class Positional(keras.Model):
    """A subclass with two inputs, one of them of integers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = stock.Embedding(20, WIDTH)
        self.drop = stock.Dropout(RATE, name="drop")
        self.top = stock.Dense(2)

    def call(self, inputs, training=None):
        hidden = self.embedding(inputs["tokens"]) * inputs["weights"][..., None]
        hidden = ops.sum(self.drop(hidden, training=training), axis=1)
        return self.top(hidden)


def called(model, x):
    """A model that has been called, with biases that are not 0."""
    model(x)
    for number, weight in enumerate(model.weights):
        numbers = ops.cos(ops.arange(ops.size(weight), dtype="float32"))
        weight.assign(ops.reshape(numbers, weight.shape) + 0.1 * number)
    return model

"""Operations of `keras.ops` on plain and drawn tensors."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.support.zoo.registry import entry


def _drawn(shape=(4,), rate=0.4):
    x = keras.Input(shape)
    return x, layers.Dropout(rate)(x)


@entry(core=True)
def elementwise_operations(rate=0.4):
    x, h = _drawn(rate=rate)
    return keras.Model(
        x,
        [
            ops.where(h > 0, h, x),
            ops.maximum(h, x) / (1.0 + ops.square(x)),
            ops.clip(h, -1.0, 1.0) ** 2,
            ops.erf(h) - ops.sign(h) * 0.1,
            ops.logical_and(h > 0, x > 0),
            -abs(h) // 1.0,
        ],
    )


@entry(core=True)
def reductions_of_features(rate=0.4):
    x, h = _drawn((3, 4), rate)
    return keras.Model(
        x,
        [
            ops.mean(h, axis=(1, 2)),
            ops.var(h, axis=-1),
            ops.logsumexp(h, axis=1),
            ops.cumsum(h, axis=1),
            ops.norm(h, axis=(1, 2)),
            ops.argmax(h, axis=-1),
            # Keras before 3.15 fails on PyTorch for two axes at once.
            ops.any(ops.any(h > 1.0, axis=2), axis=1),
            ops.prod(h, axis=-2, keepdims=True),
        ],
    )


@entry(core=True)
def shapes_of_features(rate=0.4):
    x, h = _drawn((3, 4), rate)
    a, b = ops.split(h, 2, axis=-1)
    parts = ops.unstack(h, axis=1)
    return keras.Model(
        x,
        [
            ops.transpose(h, (0, 2, 1)),
            ops.swapaxes(h, 1, 2) * 2.0,
            ops.stack([a, b], axis=1),
            parts[0] - parts[2],
            h[:, 1],
            h[:, 1:, 1:3],
            h[..., None],
            ops.pad(h, ((0, 0), (1, 0), (0, 1))),
            ops.tile(h, (1, 2, 1)),
            ops.repeat(h, 2, axis=1),
            ops.roll(h, 1, axis=1),
            ops.flip(h, axis=-1),
            ops.sort(h, axis=-1),
            ops.squeeze(h[:, :1], axis=1),
            ops.reshape(h, (-1, 12)),
            h[:, 0, 0],
        ],
    )


@entry(core=True)
def products(rate=0.4):
    x, h = _drawn((3, 4), rate)
    kernel = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    return keras.Model(
        x,
        [
            ops.matmul(h, ops.transpose(x, (0, 2, 1))),
            ops.einsum("bij,bkj->bik", h, ops.tanh(x)),
            ops.einsum("bij,jk->bik", h, kernel),
            ops.tensordot(h, kernel, axes=1),
            h @ kernel,
            ops.dot(h, kernel),
        ],
    )


@entry(core=True)
def indices_that_are_drawn(rate=0.4):
    x, h = _drawn((5,), rate)
    best = ops.argmax(h, axis=-1)
    values, places = ops.top_k(h, 2)
    return keras.Model(
        x,
        [
            ops.one_hot(best, 5),
            ops.take_along_axis(x, best[:, None], axis=1),
            ops.take(np.arange(10.0, dtype="float32").reshape(5, 2), best, 0),
            values,
            ops.take_along_axis(h, places, axis=-1),
            ops.argsort(h),
        ],
    )


@entry(tolerance=1e-4)
def linear_algebra(rate=0.3):
    x, h = _drawn((3, 3), rate)
    square = ops.matmul(h, ops.transpose(h, (0, 2, 1))) + 2.0 * ops.eye(3)
    return keras.Model(
        x, [ops.inv(square), ops.det(square), ops.solve(square, x)]
    )


@entry()
def images(rate=0.4):
    x = keras.Input((4, 4, 2))
    h = layers.SpatialDropout2D(rate)(x)
    return keras.Model(
        x,
        [
            ops.image.resize(h, (2, 2)),
            ops.image.pad_images(h, 1, 0, target_height=6, target_width=5),
            ops.average_pool(h, (2, 2), (2, 2)),
            ops.max_pool(ops.concatenate([h, x], -1), (2, 2), (2, 2)),
        ],
    )


@entry()
def constants_of_numpy(rate=0.4):
    x, h = _drawn(rate=rate)
    generator = np.random.default_rng(0)
    shift = generator.normal(size=(4,)).astype("float32")
    kernel = generator.normal(size=(4, 4)).astype("float32")
    return keras.Model(x, ops.matmul(h * shift + 1.0, kernel))


@entry(core=True)
def tensors_by_keyword(rate=0.4):
    class Mix(layers.Layer):
        def call(self, inputs, *, weight, others=None, scale=1.0):
            a, b = others["pair"]
            return inputs * weight + scale * (a - b)

    x, h = _drawn(rate=rate)
    out = Mix()(x, weight=h, others={"pair": [ops.tanh(x), h]}, scale=0.5)
    return keras.Model(x, out)


@entry()
def lists_of_tensors(rate=0.4):
    class Gate(layers.Layer):
        def call(self, inputs):
            return inputs[0] * ops.sigmoid(inputs[1]["gate"]) + inputs[1]["x"]

    x, h = _drawn(rate=rate)
    return keras.Model(x, Gate()([h, {"gate": x, "x": h}]))


@entry()
def several_outputs_of_a_layer(rate=0.4):
    class Split(layers.Layer):
        def call(self, inputs):
            return {"a": inputs[:, :2], "b": [inputs[:, 2:], inputs * 2.0]}

    x, h = _drawn(rate=rate)
    out = Split()(h)
    first, second = out["b"]
    return keras.Model(x, [out["a"] + first, second + x])


@entry()
def integers_and_truths(rate=0.4):
    x, h = _drawn(rate=rate)
    return keras.Model(
        x, [ops.cast(h * 3.0, "int32"), h > x, ops.cast(x > 0, "int8")]
    )


@entry()
def a_branch_in_a_layer(rate=0.4):
    class Choose(layers.Layer):
        def call(self, inputs, other):
            return ops.cond(
                ops.shape(inputs)[1] > 2, lambda: inputs, lambda: other
            )

    x, h = _drawn(rate=rate)
    return keras.Model(x, Choose()(h, x))


@entry()
def a_loop_over_features(rate=0.4):
    class Power(layers.Layer):
        def call(self, inputs):
            return ops.fori_loop(
                0, 3, lambda i, h: h * 0.5 + inputs, ops.zeros_like(inputs)
            )

    x, h = _drawn(rate=rate)
    return keras.Model(x, Power()(h))

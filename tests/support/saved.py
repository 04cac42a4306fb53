"""Models of every layer and schedule, whose files must stay loadable.

`python -m tests.support.saved ARCHIVE.zip` saves each model in three formats,
and also what the loaded model must do: its predictions, rates and steps, and
the next draws of each layer. With names of models as further arguments, it
saves only these. tests/support/fixtures/ has files of earlier versions:

- 0.1.0-first.zip: commit 2da1584, Keras 3.15.1, PyTorch 2.13.0; only the first
of the Monte Carlo models. - 0.1.0-monte-carlo.zip: the Monte Carlo models, as
of 28 November 2026, Keras
  3.15.1, PyTorch 2.13.0.
- 0.1.0-recurrent.zip: layers and a schedule that came later on that day, with
  the same versions.
- 0.1.0-keras-3.12.zip: all models, as of 29 November 2026, Keras 3.12.4,
  PyTorch 2.13.0. An older Keras does not load what a newer one wrote.
"""

import pathlib
import shutil
import sys
import tempfile

import keras
import numpy as np
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import schedules

DECAY = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.5)


@keras.saving.register_keras_serializable("kerasdrop_tests")
def eighths(step):
    return (step % 8) / 8


def dense(units=6, **arguments):
    return keras.layers.Dense(units, activation="tanh", **arguments)


def sequential(shape, *inner):
    return keras.Sequential([keras.Input(shape), *inner])


def vectors():
    model = sequential(
        (6,),
        dense(),
        layers.Dropout(0.3, name="dropout"),
        layers.ClassicDropout(0.3, seed=1, name="classic"),
        layers.AlphaDropout(0.3, name="alpha"),
        layers.GaussianDropout(0.3, name="gaussian"),
        layers.DropPath(0.3, name="path"),
        layers.DropConnect(dense(), 0.3, name="connect"),
        layers.StochasticDepth(dense(), 0.3, name="depth"),
        layers.ConcreteDropout(dense(), 0.3, name="concrete"),
        dense(2),
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def sequences():
    inputs = keras.Input((5, 6))
    x = inputs
    for layer in (
        layers.SpatialDropout1D(0.3, name="spatial"),
        layers.LockedDropout(0.3, name="locked"),
        layers.DropBlock1D(0.3, 2, name="block"),
        layers.FeatureAlphaDropout(0.3, name="alpha"),
    ):
        x = dense()(layer(x))
    x = layers.MultiHeadAttention(2, 3, dropout=0.3, name="heads")(x, x)
    x = layers.GroupQueryAttention(3, 2, 1, dropout=0.3, name="groups")(x, x)
    cell = keras.layers.LSTMCell(4)
    rnn = layers.DropoutRNN(cell, 0.1, 0.2, 0.3, seed=2, name="rnn")
    return keras.Model(inputs, rnn(x))


def images():
    return sequential(
        (4, 4, 3),
        layers.SpatialDropout2D(0.3, name="spatial"),
        layers.DropBlock2D(0.3, 2, name="block"),
        keras.layers.GlobalAveragePooling2D(),
        dense(2),
    )


def volumes():
    return sequential(
        (3, 3, 3, 2),
        layers.SpatialDropout3D(0.3, name="spatial"),
        layers.DropBlock3D(0.3, 2, name="block"),
        keras.layers.GlobalAveragePooling3D(),
        dense(2),
    )


def drawn_at_inference():
    return sequential((6,), layers.MCDropout(0.3, name="mc"), dense(2))


def scheduled():
    linear = schedules.Linear(0.1, 0.6, 8)
    rates = {
        "constant": schedules.Constant(0.3),
        "cosine": schedules.Cosine(0.1, 0.5, 8),
        "curriculum": schedules.Curriculum(0.5, 0.1),
        "cyclic": schedules.Cyclic(linear, 2),
        "early": schedules.EarlyDropout(0.5, 8),
        "exponential": schedules.Exponential(0.1, 0.5, 8),
        "from_keras": DECAY,
        "function": eighths,
        "join": schedules.Join([linear, schedules.Constant(0.2)], [3]),
        "late": schedules.LateDropout(0.4, 2),
        "linear": linear,
        "piecewise": schedules.PiecewiseLinear([0, 4, 8], [0.0, 0.5, 0.1]),
        "polynomial": schedules.Polynomial(0.1, 0.5, 8, power=2.0),
        "stage_wise": schedules.stage_wise(0.1, 0.5, 2, 8),
        "steps": schedules.Steps([2, 3], [0.1, 0.2, 0.3]),
        "warm_up": schedules.warm_up(schedules.Constant(0.4), 8),
    }
    return sequential(
        (6,),
        dense(),
        *(layers.Dropout(rate, name=name) for name, rate in rates.items()),
        layers.ScheduledDropout(linear, name="scheduled"),
        dense(2),
    )


def scheduled_classic():
    """A model whose predictions depend on the step."""
    linear = schedules.Linear(0.1, 0.6, 8)
    return sequential(
        (6,),
        dense(),
        layers.ClassicDropout(linear, seed=3, name="classic"),
        layers.StochasticDepth(dense(), linear, name="depth"),
        dense(2),
    )


def recurrent():
    rates = {"dropout": 0.3, "recurrent_dropout": 0.2}
    inner = (
        layers.LSTM(4, **rates, return_sequences=True, name="lstm"),
        layers.GRU(4, **rates, return_sequences=True, name="gru"),
        layers.SimpleRNN(4, **rates, return_sequences=True, name="simple"),
        layers.RNN(keras.layers.GRUCell(3, **rates), name="cell"),
    )
    return sequential((5, 6), *inner, dense(2))


def maps_in_time():
    rates = {"dropout": 0.3, "recurrent_dropout": 0.2}
    recurrent = layers.ConvLSTM1D(3, 2, **rates, name="recurrent")
    inner = (recurrent, keras.layers.Flatten(), dense(2))
    return sequential((3, 4, 2), *inner)


def words():
    embedding = keras.layers.Embedding(WORDS, 4)
    inputs = keras.Input((5,), dtype="int32")
    x = layers.EmbeddingDropout(embedding, 0.3, name="words")(inputs)
    x = layers.MultiHeadAttention(
        2, 3, dropout=0.3, drop="logits", name="keys"
    )(x, x)
    return keras.Model(inputs, dense(2)(keras.layers.Flatten()(x)))


def accelerating():
    rate = schedules.Accelerating(0.0, 0.5, 8)
    return sequential((6,), layers.Dropout(rate, name="dropout"), dense(2))


MODELS = {
    make.__name__: make
    for make in (
        vectors,
        sequences,
        images,
        volumes,
        drawn_at_inference,
        scheduled,
        scheduled_classic,
        recurrent,
        maps_in_time,
        words,
        accelerating,
    )
}

WORDS = 7


def inputs(shape, dtype="float32", rows=4):
    random = np.random.default_rng(0)
    if dtype == "int32":
        return random.integers(WORDS, size=(rows, *shape)).astype(dtype)
    return random.normal(size=(rows, *shape)).astype("float32")


def inputs_of(model):
    return inputs(model.input_shape[1:], model.inputs[0].dtype)


def with_a_past(model):
    """The model after three training steps and the change of a rate."""
    x = inputs_of(model)
    for _ in range(3):
        if model.compiled:
            model.train_on_batch(x, np.zeros((len(x), 2), "float32"))
        else:
            model(x, training=True)
    for layer in ours(model):
        if layer.name in ("spatial", "dropout") and layer.schedule is None:
            layer.rate = 0.4
    return model


def ours(model):
    """The layers of the model that come from kerasdrop."""
    package = layers.Dropout.__module__.split(".")[0]
    return [x for x in model.layers if type(x).__module__.startswith(package)]


def steps(model):
    return [layer.step for layer in ours(model) if hasattr(layer, "step")]


def draws(model):
    """The outputs of the layers in training for one array, by name."""
    return {
        layer.name: ops.convert_to_numpy(_drawn(layer)) for layer in ours(model)
    }


def _drawn(layer):
    first = keras.tree.flatten(layer.input)[0]
    x = inputs(first.shape[1:], first.dtype)
    attention = (layers.MultiHeadAttention, layers.GroupQueryAttention)
    if isinstance(layer, attention):
        return layer(x, x, training=True)
    return layer(x, training=True)


def predictions(model):
    return ops.convert_to_numpy(model(inputs_of(model)))


def behaviour(model):
    """The whole behaviour of a model, as arrays by name."""
    return {
        "predictions": predictions(model),
        "rates": np.array(list(kerasdrop.get_rates(model).values())),
        "steps": np.array(steps(model)),
        **{f"draws {name}": array for name, array in draws(model).items()},
    }


def monte_carlo():
    model = sequential(
        (6,), dense(), layers.Dropout(0.3), keras.layers.Dropout(0.2), dense(2)
    )
    return kerasdrop.MonteCarlo(model, num_samples=32, seed=5)


def of_classes():
    model = sequential(
        (6,),
        dense(),
        layers.AlphaDropout(0.3),
        keras.layers.GaussianDropout(0.2),
        keras.layers.Dense(3, activation="softmax"),
    )
    return kerasdrop.MonteCarlo(
        model, 16, seed=6, plan="independent", quantiles=(0.1, 0.9)
    )


def of_two_parts():
    model = sequential(
        (6,), dense(), layers.DropConnect(dense(), 0.3), keras.layers.Dense(4)
    )
    return kerasdrop.MonteCarlo(
        model, 16, seed=7, plan="shared", kind="mean_and_log_variance"
    )


def of_steps():
    """Recurrent and attention layers, one sample at a time."""
    inputs = keras.Input((5, 6))
    x = layers.MultiHeadAttention(2, 3, dropout=0.3)(inputs, inputs)
    x = keras.layers.LSTM(4, dropout=0.2, recurrent_dropout=0.3)(x)
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))
    return kerasdrop.MonteCarlo(
        model, 16, seed=8, kind="binary", vectorized=False
    )


def of_schedules():
    """A model with all schedules; samples have the rates of the third step."""
    return kerasdrop.MonteCarlo(
        with_a_past(scheduled()), 16, seed=9, keep_samples=True, verify=False
    )


MONTE_CARLO = {
    make.__name__: make
    for make in (monte_carlo, of_classes, of_two_parts, of_steps, of_schedules)
}


def means(predictive):
    """The means, which depend on the masks, and the samples if they are kept.

    Other estimates from the samples may improve in later versions.
    """
    found = predictive.predict(inputs_of(predictive.model), verbose=0)
    return {name: found[name] for name in ("mean", "samples") if name in found}


def save_all(folder, names=()):
    keras.utils.set_random_seed(0)
    for name, make in MODELS.items():
        if names and name not in names:
            continue
        model = with_a_past(make())
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
        model.save(folder / f"{name}.h5")
        np.savez_compressed(folder / f"{name}.npz", **behaviour(model))
    for name, make in MONTE_CARLO.items():
        if names and name not in names:
            continue
        predictive = make()
        predictive.save(folder / f"{name}.keras")
        predictive.save_weights(folder / f"{name}.weights.h5")
        np.savez_compressed(folder / f"{name}.npz", **means(predictive))


def main(archive, *names):
    with tempfile.TemporaryDirectory() as folder:
        save_all(pathlib.Path(folder), names)
        shutil.make_archive(archive.removesuffix(".zip"), "zip", folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Concrete dropout learns its rate, which falls with more data.

The data are the synthetic ones of its paper (Gal, Hron & Kendall 2017), with
y = 2 x + 8 and normal noise of standard deviation 1. A network with three
hidden layers predicts the mean and the logarithm of the variance, and learns a
dropout rate before each of its layers. For growing numbers of rows and a fixed
number of updates, the script prints the rates before the hidden layers, the
error of the mean, and the aleatoric and the epistemic standard deviation. For
comparison it prints the epistemic standard deviation of the same network at a
fixed rate.

    python examples/concrete_dropout.py [--quick]

KERAS_BACKEND chooses the backend. The authors' code has wider networks, and
makes fewer updates when there are more rows. With few rows, its rates end near
.4, as they do here: Adam cannot move a logit further in 2,000 steps of .001,
although the data would allow it. With few rows, the standard deviations of a
single run say little.
"""

import argparse

import keras
import numpy as np
from keras import ops

import kerasdrop

LENGTH_SCALE, FIRST_RATE, BATCH_ROWS, SAMPLES = 1e-4, 0.1, 20, 48


def data(num_rows, rng):
    x = rng.normal(size=(num_rows, 1)).astype("float32")
    noise = rng.normal(size=(num_rows, 1)).astype("float32")
    return x, 2.0 * x + 8.0 + noise


def negative_log_likelihood(y, outputs):
    """Twice that of a normal distribution, without a constant."""
    mean, log_variance = ops.split(outputs, 2, axis=-1)
    return ops.exp(-log_variance) * (y - mean) ** 2 + log_variance


def network(units, num_rows, learning_rate, is_learned):
    def dropping(layer, x):
        if not is_learned:
            return layer(kerasdrop.layers.Dropout(FIRST_RATE)(x))
        return kerasdrop.layers.ConcreteDropout(
            layer,
            FIRST_RATE,
            # For a loss of twice the negative log-likelihood of a row.
            weight_regularizer=LENGTH_SCALE**2 / num_rows,
            dropout_regularizer=2.0 / num_rows,
        )(x)

    x = inputs = keras.Input((1,))
    for _ in range(3):
        x = dropping(keras.layers.Dense(units, "relu"), x)
    heads = [dropping(keras.layers.Dense(1), x) for _ in range(2)]
    model = keras.Model(inputs, keras.layers.Concatenate()(heads))
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, negative_log_likelihood)
    return model


def predictive(settings, num_rows, num_updates, is_learned):
    """A trained network, its predictions for new rows, and their targets."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = data(num_rows, rng)
    model = network(num_rows=num_rows, is_learned=is_learned, **settings)
    rows = rng.integers(num_rows, size=num_updates * BATCH_ROWS)
    model.fit(x[rows], y[rows], BATCH_ROWS, verbose=0)
    x_test, y_test = data(1000, np.random.default_rng(1))
    result = kerasdrop.mc_predict(
        model, x_test, SAMPLES, seed=0, kind="mean_and_log_variance", verbose=0
    )
    return model, result, y_test


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small networks")
    if parser.parse_args().quick:
        sizes, num_updates = (10, 1000), 300
        settings = {"units": 64, "learning_rate": 1e-2}
    else:
        sizes, num_updates = (10, 25, 50, 100, 1000, 10_000), 2000
        settings = {"units": 256, "learning_rate": 1e-3}

    print("  rows  rates before hidden   error  aleatoric  epistemic  fixed")
    for num_rows in sizes:
        model, result, y = predictive(settings, num_rows, num_updates, True)
        rates = list(kerasdrop.get_rates(model).values())[:3]
        _, fixed, _ = predictive(settings, num_rows, num_updates, False)
        error = np.sqrt(np.mean((result.mean - y) ** 2))
        aleatoric, epistemic, of_fixed = (
            np.sqrt(np.mean(variance))
            for variance in (
                result.aleatoric_variance,
                result.epistemic_variance,
                fixed.epistemic_variance,
            )
        )
        print(
            f"{num_rows:6}  {rates[0]:.3f}  {rates[1]:.3f}  {rates[2]:.3f}  "
            f"{error:6.3f}  {aleatoric:9.3f}  {epistemic:9.3f}  "
            f"{of_fixed:5.3f}"
        )


if __name__ == "__main__":
    main()

"""From training with dropout to an uncertainty, on real handwritten digits.

The script trains a small classifier on scikit-learn's digits twice: without
dropout, and with dropout whose rate is annealed. It then computes the Monte
Carlo uncertainty of the second. Which digits is it least certain of, and does
it notice inputs that are not digits? The script prints a table and draws a
figure.

With every seed, noise is distinguished from digits. Rotated digits look like
other digits; how well they are noticed depends on the initial weights. Areas
under the ROC curve from .5 to .9 were seen, and they differ between backends.

    python examples/quickstart.py [--seed 0] [--quick] [--output output]

KERAS_BACKEND chooses the backend. On a backend, the same seed gives the same
numbers.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import kerasdrop

FIRST_RATE, LAST_RATE = 0.7, 0.4


def load_data(seed):
    """Digits for training and testing, and two kinds of inputs to detect."""
    images, labels = load_digits(return_X_y=True)
    images = images.astype("float32").reshape(-1, 8, 8, 1) / 16.0
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, train_size=1000, stratify=labels, random_state=seed
    )
    pixels = x_test.reshape(len(x_test), -1)
    shuffled = np.random.default_rng(seed).permuted(pixels, axis=1)
    inputs = {
        "digits": x_test,
        "rotated": np.rot90(x_test, axes=(1, 2)),
        "noise": shuffled.reshape(x_test.shape),
    }
    return (x_train, y_train), y_test, inputs


def build_model(rate):
    """A small convolutional classifier with two dropout layers."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            kerasdrop.layers.Dropout(rate),
            keras.layers.Dense(128, activation="relu"),
            kerasdrop.layers.Dropout(rate),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class OneProgressBar(keras.callbacks.Callback):
    """One bar for the whole training rather than one for each epoch."""

    def on_train_begin(self, logs=None):
        self.bar = keras.utils.Progbar(
            self.params["epochs"],
            interval=0.5,
            stateful_metrics=["loss", "accuracy"],
            unit_name="epoch",
        )

    def on_epoch_end(self, epoch, logs=None):
        values = [(name, logs[name]) for name in ("loss", "accuracy")]
        self.bar.update(epoch + 1, values)


def train(data, epochs, schedule=None):
    """Returns a trained model and its dropout rate in each epoch."""
    model = build_model(rate=FIRST_RATE if schedule else 0.0)
    callbacks = [kerasdrop.callbacks.DropoutRateLogger(), OneProgressBar()]
    if schedule is not None:
        callbacks.append(kerasdrop.callbacks.DropoutRateScheduler(schedule))
    history = model.fit(
        *data, batch_size=32, epochs=epochs, callbacks=callbacks, verbose=0
    )
    path, *_ = kerasdrop.get_rates(model)
    return model, history.history[f"rate/{path}"]


def accuracy(probabilities, labels):
    """The share of rows whose most probable class is the label."""
    return np.mean(np.argmax(probabilities, axis=-1) == labels)


def split(values, inputs):
    """Undoes the concatenation of all kinds of inputs."""
    ends = np.cumsum([len(x) for x in inputs.values()])[:-1]
    return dict(zip(inputs, np.split(values, ends)))


def separation(uncertainty, kind):
    """Area under the ROC curve for digits against `kind`; 0.5 is chance.

    The probability that an input of that kind is more uncertain than a digit.
    """
    digits, others = uncertainty["digits"], uncertainty[kind]
    is_other = np.repeat([False, True], [len(digits), len(others)])
    return roc_auc_score(is_other, np.concatenate([digits, others]))


def print_table(accuracies, uncertainties):
    """Prints what the figure shows, in numbers."""
    print("\nTest accuracy")
    for name, value in accuracies.items():
        print(f"  {name:<42}{value:>8.4f}")
    columns = ("digits", "rotated", "noise")
    heading = "".join(f"{kind:>9}" for kind in columns)
    print(f"\n{'Mean uncertainty in nats':<34}{heading}")
    for name, values in uncertainties.items():
        row = "".join(f"{np.mean(values[kind]):>9.4f}" for kind in columns)
        print(f"  {name:<32}{row}")
    print("\nArea under the ROC curve, digits against those (0.5: by chance)")
    for name, values in uncertainties.items():
        row = "".join(f"{separation(values, k):>9.4f}" for k in columns[1:])
        print(f"  {name:<41}{row}")


def draw_figure(path, rates, digits, labels, predicted, entropy):
    """Draws the rates, the most uncertain digits and the entropies."""
    figure = plt.figure(figsize=(10, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.05])
    left, right = top.subfigures(1, 2, width_ratios=[1, 1.5])
    draw_rates(left.subplots(), rates)
    draw_digits(right, digits, labels, predicted, entropy["digits"])
    draw_histograms(bottom.subplots(), entropy)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_rates(axes, rates):
    """The rate of the dropout layers over the epochs."""
    epochs = np.arange(1, len(rates) + 1)
    axes.plot(epochs, rates, marker=".", color="tab:blue")
    axes.set(
        title="Dropout rate while training",
        xlabel="epoch",
        ylabel="rate",
        ylim=(0.0, 1.0),
    )
    axes.grid(alpha=0.3)


def draw_digits(figure, digits, labels, predicted, entropy):
    """The twelve digits with the highest predictive entropy."""
    figure.suptitle("The test digits it is least sure of")
    order = np.argsort(-entropy, kind="stable")[:12]
    for axes, row in zip(figure.subplots(2, 6).flat, order):
        axes.imshow(digits[row, :, :, 0], cmap="gray_r")
        right = predicted[row] == labels[row]
        axes.set_title(
            f"is {labels[row]}, says {predicted[row]}\n{entropy[row]:.2f} nats",
            fontsize=9,
            color="black" if right else "tab:red",
        )
        axes.set_axis_off()


def draw_histograms(axes, entropy):
    """The entropy of digits, of rotated digits and of noise."""
    colors = {"digits": "tab:blue", "rotated": "tab:orange", "noise": "0.4"}
    bins = np.linspace(0.0, np.log(10.0), 47)
    for kind, values in entropy.items():
        axes.hist(
            values,
            bins,
            weights=np.full(len(values), 1.0 / len(values)),
            histtype="stepfilled" if kind == "digits" else "step",
            linewidth=1.8,
            alpha=0.45 if kind == "digits" else 1.0,
            color=colors[kind],
            label=kind,
        )
    axes.set(
        title="Predictive entropy of the Monte Carlo samples",
        xlabel="predictive entropy (nats; ln 10 = 2.30 is a pure guess)",
        ylabel="share of the inputs",
        yscale="log",
        xlim=(0.0, np.log(10.0)),
    )
    axes.legend()


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="2 epochs, 8 samples: a try"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("output"),
        help="the folder for the figure",
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    # Initial weights, the order of the batches, and the masks of layers
    # without a seed of their own.
    keras.utils.set_random_seed(options.seed)
    data, labels, inputs = load_data(options.seed)
    epochs, num_samples = (2, 8) if options.quick else (25, 48)
    print("Without dropout")
    plain, _ = train(data, epochs)
    print(f"With dropout, its rate annealed from {FIRST_RATE} to {LAST_RATE}")
    schedule = kerasdrop.schedules.Linear(
        FIRST_RATE, LAST_RATE, num_steps=epochs - 1
    )
    model, rates = train(data, epochs, schedule)

    print(f"Monte Carlo, {num_samples} samples")
    result = kerasdrop.mc_predict(
        model,
        np.concatenate(list(inputs.values())),
        num_samples=num_samples,
        seed=options.seed,
        kind="probabilities",
        batch_size=128,
    )
    mean = split(result.mean, inputs)["digits"]
    entropy = split(result.predictive_entropy, inputs)
    information = split(result.mutual_information, inputs)
    digits = inputs["digits"]
    print_table(
        {
            "without dropout": accuracy(
                plain.predict(digits, verbose=0), labels
            ),
            "with dropout": accuracy(model.predict(digits, verbose=0), labels),
            "with dropout, mean of the samples": accuracy(mean, labels),
        },
        {
            "predictive entropy": entropy,
            "mutual information": information,
        },
    )
    figure = options.output / "quickstart.png"
    draw_figure(
        figure, rates, digits, labels, np.argmax(mean, axis=-1), entropy
    )
    print(f"\nFigure: {figure}")


if __name__ == "__main__":
    main()

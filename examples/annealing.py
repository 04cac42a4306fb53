"""Dropout rates that change during training, compared at equal mean rate.

The script trains a small network on a few of scikit-learn's handwritten digits.
The dropout rate is constant, rises, falls, or is above 0 only early or only
late. All schedules have the same mean over training, so that none wins by
dropping more; "none" has no dropout. Each schedule is trained with several
seeds, which determine the split of the data, the initial weights, the order of
the batches and the masks. The script prints a table and draws a figure. The
last column is the difference from the constant rate, paired by seeds, which is
more precise than the difference of the means.

    python examples/annealing.py [--seeds 10] [--quick] [--output output]

KERAS_BACKEND chooses the backend. The results hold for this network, these data
and this mean rate only.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerasdrop import schedules
from kerasdrop.layers import Dropout

MEAN_RATE = 0.3
TRAIN_ROWS, BATCH_ROWS = 320, 32


def equal_mean_schedules(num_steps):
    """Schedules over `num_steps` steps, each with the mean `MEAN_RATE`."""
    last = num_steps - 1
    half = num_steps // 2
    # 0.99 of the way to its last rate is done by the end.
    gamma = np.log(100.0) / num_steps
    rise = values(schedules.Curriculum(1.0, gamma), num_steps).mean()
    return {
        "none": schedules.Constant(0.0),
        "constant": schedules.Constant(MEAN_RATE),
        "annealed (falls)": schedules.Linear(2 * MEAN_RATE, 0.0, last),
        "ramp (rises)": schedules.Linear(0.0, 2 * MEAN_RATE, last),
        "curriculum (rises)": schedules.Curriculum(MEAN_RATE / rise, gamma),
        "early": schedules.EarlyDropout(2 * MEAN_RATE, half, "constant"),
        "late": schedules.LateDropout(2 * MEAN_RATE, half),
    }


def values(schedule, num_steps):
    """The rates at all steps."""
    steps = np.arange(num_steps, dtype="int32")
    return keras.ops.convert_to_numpy(schedule(steps)).astype("float64")


def load_data(seed):
    """`((x_train, y_train), (x_test, y_test))`."""
    pixels, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32") / 16.0,
        labels,
        train_size=TRAIN_ROWS,
        stratify=labels,
        random_state=seed,
    )
    return (x_train, y_train), (x_test, y_test)


def build_model(rate):
    """Two hidden layers, each followed by dropout; `rate` is a schedule."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(256, activation="relu"),
            Dropout(rate),
            keras.layers.Dense(256, activation="relu"),
            Dropout(rate),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train(schedule, seed, epochs):
    """Test error in percent, test NLL, and the test NLL of each epoch."""
    keras.utils.set_random_seed(seed)
    training, test = load_data(seed)
    history = (
        build_model(schedule)
        .fit(
            *training,
            batch_size=BATCH_ROWS,
            epochs=epochs,
            validation_data=test,
            validation_batch_size=len(test[0]),
            verbose=0,
        )
        .history
    )
    error = 100.0 * (1.0 - history["val_accuracy"][-1])
    return error, history["val_loss"][-1], history["val_loss"]


def mean_and_error(results):
    """Mean over seeds and its standard error, as text."""
    standard_error = np.std(results, ddof=1) / np.sqrt(len(results))
    return f"{np.mean(results):.3f} ± {standard_error:.3f}"


def print_table(by_schedule, errors, losses, num_steps):
    head = ("mean rate", "test error, %", "test NLL, nats", "less constant's")
    print("{:<20}{:>11}{:>17}{:>17}{:>17}".format("schedule", *head))
    for name, schedule in by_schedule.items():
        difference = np.subtract(losses[name], losses["constant"])
        print(
            f"{name:<20}{values(schedule, num_steps).mean():>11.3f}"
            f"{mean_and_error(errors[name]):>17}"
            f"{mean_and_error(losses[name]):>17}"
            f"{mean_and_error(difference):>17}"
        )


def draw_figure(path, by_schedule, curves, num_steps):
    """The rates over training, and below them the test loss."""
    figure, (rates, loss) = plt.subplots(
        2, sharex=True, figsize=(7, 7), layout="constrained"
    )
    steps = np.arange(num_steps)
    for name, schedule in by_schedule.items():
        # The lines of early and late cover half of that of none.
        style = {"linestyle": "--", "zorder": 3} if name == "none" else {}
        rates.plot(steps, values(schedule, num_steps), label=name, **style)
        mean = np.mean(curves[name], axis=0)
        ends = np.arange(1, len(mean) + 1) * (num_steps // len(mean))
        loss.plot(ends, mean, **style)
    rates.set(ylabel="dropout rate")
    loss.set(
        xlabel="training step",
        ylabel="test NLL, mean over seeds (nats)",
        yscale="log",
    )
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--quick", action="store_true", help="2 seeds, 3 epochs, to try it out"
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
    epochs = 3 if options.quick else 40
    num_seeds = 2 if options.quick else options.seeds
    num_steps = epochs * (TRAIN_ROWS // BATCH_ROWS)
    by_schedule = equal_mean_schedules(num_steps)
    errors, losses, curves = {}, {}, {}
    for name, schedule in by_schedule.items():
        results = [train(schedule, seed, epochs) for seed in range(num_seeds)]
        errors[name], losses[name], curves[name] = zip(*results)
        print(f"trained: {name}, {num_seeds} seeds", flush=True)
    print(f"\nMean ± standard error of {num_seeds} seeds, {epochs} epochs:")
    print_table(by_schedule, errors, losses, num_steps)
    figure = options.output / "annealing.png"
    draw_figure(figure, by_schedule, curves, num_steps)
    print(f"\nFigure: {figure}")


if __name__ == "__main__":
    main()

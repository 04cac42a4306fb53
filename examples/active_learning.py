"""Which digits to label next: from 20 labels to 200, in batches of ten.

The script trains a small network with dropout on 20 of scikit-learn's digits.
It then requests ten more labels at a time, from a pool of 1000 digits, by one
of these strategies:

- random choice,
- BALD: the ten digits with the highest mutual information (`acquisition.bald`),
- power BALD: ten digits drawn at random, with probabilities proportional to it
  (`acquisition.stochastic_top_k`),
- BatchBALD: the ten digits that are jointly the most informative
  (`acquisition.batch_bald`).

All strategies begin with the same labels and weights. After each batch a
network is trained from scratch, with other masks, and tested on 600 other
digits. The script prints the test error after each fourth batch. It also prints
the difference of the mean error from that of random choice, paired by seeds,
with its standard error.

With `--copies 10` the pool contains each digit ten times, with a little noise,
like frames of a video. Top-k BALD then requests copies of the same digits.

    python examples/active_learning.py [--seeds 3] [--copies 1] [--quick]

KERAS_BACKEND chooses the backend. On a backend, the same seed gives the same
numbers.
"""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits

import kerasdrop
from kerasdrop import acquisition

FIRST, LAST, BATCH, SAMPLES = 20, 200, 10, 48
POOL, TEST = 1000, 600
# As many updates whatever the number of labels: of rows drawn with replacement.
UPDATES, QUICK_UPDATES, ROWS = 400, 20, 32

STRATEGIES = {
    "random": lambda samples, seed: np.random.default_rng(seed).choice(
        len(samples), BATCH, replace=False
    ),
    "BALD": lambda samples, seed: acquisition.top_k(
        acquisition.bald(samples), BATCH
    ),
    "power BALD": lambda samples, seed: acquisition.stochastic_top_k(
        acquisition.bald(samples), BATCH, method="power", seed=seed
    ),
    "BatchBALD": lambda samples, seed: (
        acquisition.batch_bald(
            samples, BATCH, num_configurations=1000, seed=seed, verbose=0
        ).rows
    ),
}


def data(seed, copies):
    """A pool of digits, and digits to test on."""
    images, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(images))
    images, labels = images[order].astype("float32") / 16.0, labels[order]
    test = images[-TEST:], labels[-TEST:]
    chosen = np.repeat(np.arange(POOL // copies), copies)
    pool = images[chosen]
    if copies > 1:
        noise = generator.normal(0.0, 0.05, pool.shape)
        pool = (pool + noise).astype("float32")
    return (pool, labels[chosen]), test


def build_model():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, activation="relu"),
            kerasdrop.layers.Dropout(0.3),
            keras.layers.Dense(128, activation="relu"),
            kerasdrop.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    # Without a state, so that the weights are all there is to begin anew with.
    model.compile(
        optimizer=keras.optimizers.SGD(0.3),
        loss="sparse_categorical_crossentropy",
    )
    return model


def errors(choose, pool, test, first, model, seed, last, updates):
    """The test error after each batch of labels."""
    start = model.get_weights()
    generator = np.random.default_rng(seed)
    known = list(first)
    found = []
    while True:
        model.set_weights(start)
        rows = generator.choice(known, updates * ROWS)
        model.fit(pool[0][rows], pool[1][rows], batch_size=ROWS, verbose=0)
        p = model.predict(test[0], batch_size=TEST, verbose=0)
        found.append(np.mean(p.argmax(axis=-1) != test[1]))
        if len(known) == last:
            model.set_weights(start)
            return found
        left = np.setdiff1d(np.arange(len(pool[0])), known)
        # All rows, so that the shapes stay the same; the known ones are then
        # left out. One network draws one mask for all of them: joint samples.
        samples = kerasdrop.mc_predict(
            model,
            pool[0],
            num_samples=SAMPLES,
            seed=len(known),
            plan="shared",
            kind="probabilities",
            keep_samples=True,
            batch_size=500,
            verbose=0,
        ).samples
        known.extend(left[choose(samples[left], seed + len(known))])


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--copies", type=int, choices=(1, 5, 10), default=1)
    parser.add_argument(
        "--quick", action="store_true", help="1 seed, 30 labels: a try"
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    seeds, last, updates = options.seeds, LAST, UPDATES
    if options.quick:
        seeds, last, updates = 1, FIRST + BATCH, QUICK_UPDATES
    found = {name: [] for name in STRATEGIES}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        pool, test = data(seed, options.copies)
        model = build_model()
        first = np.random.default_rng(seed).choice(POOL, FIRST, replace=False)
        for name, choose in STRATEGIES.items():
            found[name].append(
                errors(choose, pool, test, first, model, seed, last, updates)
            )
    numbers = np.arange(FIRST, last + 1, BATCH)
    shown = sorted({*range(0, len(numbers), 4), len(numbers) - 1})
    print(f"Test error in %, mean of {seeds} seeds, by the number of labels")
    heading = "".join(f"{numbers[place]:7}" for place in shown)
    print(f"{'':12}{heading}    all, against random")
    random = 100.0 * np.mean(found["random"], axis=1)
    for name, each in found.items():
        mean = 100.0 * np.mean(each, axis=0)
        line = "".join(f"{mean[place]:7.1f}" for place in shown)
        change = 100.0 * np.mean(each, axis=1) - random
        error = change.std(ddof=min(1, seeds - 1)) / np.sqrt(seeds)
        print(f"{name:12}{line}    {change.mean():+.2f} ± {error:.2f}")


if __name__ == "__main__":
    main()

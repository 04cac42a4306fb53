"""A map of uncertainty for each image: segmentation with a small U-Net.

The script makes images of discs and squares in noise, whose pixels have three
classes (background, disc, square), and trains a U-Net with dropout.
`mc_predict` returns two maps for each image: the entropy (the total
uncertainty) and the mutual information (the part due to the model). The script
compares them with the errors. Some test images are as noisy as the training
images, others are noisier.

It prints the fraction of pixels that are wrong, how well each map distinguishes
wrong pixels from right ones (area under the ROC curve; .5 is chance), and the
fraction of wrong pixels in the most certain half. It draws a figure of some
images.

All images are predicted within a limit of memory for the samples
(`memory_limit`), whatever their number. The maps are sums over the samples,
which are not kept.

    python examples/segmentation.py [--quick] [--output output]

KERAS_BACKEND chooses the backend. On a backend, the same seed gives the same
numbers.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers

import kerasdrop
from kerasdrop import calibration

SIDE, CLASSES, RATE = 32, 3, 0.2
NOISE = {"as trained": 0.4, "noisier": 0.8}
MEMORY_LIMIT = 64 * 2**20


def draw_images(count, noise, seed):
    """Images `(count, SIDE, SIDE, 1)` and the class of each pixel."""
    generator = np.random.default_rng(seed)
    down, right = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((count, SIDE, SIDE), "int32")
    for label in labels:
        for number in (1, 2, 1, 2):  # what is later lies above
            size = generator.uniform(3.0, 6.0)
            top, left = generator.uniform(size, SIDE - size, 2)
            distance = np.stack([abs(down - top), abs(right - left)])
            norm = np.hypot(*distance) if number == 1 else distance.max(0)
            label[norm < size] = number
    brightness = np.array([0.0, 1.0, 0.7])[labels]
    images = brightness + noise * generator.normal(size=labels.shape)
    return images[..., None].astype("float32"), labels


def convolved(x, filters):
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return kerasdrop.layers.SpatialDropout2D(RATE)(x)


def build_model():
    """A U-Net of two levels, with dropout of channels after each block."""
    inputs = keras.Input((SIDE, SIDE, 1))
    fine = convolved(inputs, 12)
    middle = convolved(layers.MaxPooling2D()(fine), 24)
    coarse = convolved(layers.MaxPooling2D()(middle), 32)
    x = layers.Concatenate()([layers.UpSampling2D()(coarse), middle])
    x = convolved(x, 24)
    x = layers.Concatenate()([layers.UpSampling2D()(x), fine])
    x = convolved(x, 12)
    # Logits: Keras 3.15 on PyTorch fails at the gradient of integer labels of
    # pixels if these are probabilities.
    model = keras.Model(inputs, layers.Conv2D(CLASSES, 1)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def ask(model, images, num_samples):
    return kerasdrop.mc_predict(
        model,
        images,
        num_samples=num_samples,
        seed=0,
        kind="logits",
        batch_size=16,
        memory_limit=MEMORY_LIMIT,
        verbose=0,
    )


def report(result, labels):
    """The error, how well each map detects it, and the risk of half."""
    wrong = (result.mean.argmax(axis=-1) != labels).ravel()
    line = [wrong.mean()]
    for name in ("predictive_entropy", "mutual_information"):
        uncertainty = result[name].ravel()
        found = calibration.ood_detection(
            uncertainty[~wrong], uncertainty[wrong], interval=None
        )
        line.append(found.auroc)
    curve = calibration.risk_coverage(wrong, result.predictive_entropy.ravel())
    line.append(curve.risk[len(wrong) // 2 - 1])
    return line


def draw_figure(path, images, labels, result):
    """Image, truth, errors and both maps of four images."""
    shown = 4
    wrong = result.mean.argmax(axis=-1) != labels
    columns = {
        "image": (images[..., 0], "gray"),
        "truth": (labels, "viridis"),
        "wrong": (wrong, "gray_r"),
        "entropy": (result.predictive_entropy, "magma"),
        "mutual information": (result.mutual_information, "magma"),
    }
    figure, grid = plt.subplots(
        shown, len(columns), figsize=(10, 8), layout="constrained"
    )
    for column, (name, (maps, colors)) in enumerate(columns.items()):
        for row in range(shown):
            axes = grid[row, column]
            axes.imshow(maps[row], cmap=colors, vmin=0, vmax=maps[:shown].max())
            axes.set_axis_off()
        grid[0, column].set_title(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="1 epoch, 8 samples: a try"
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("output")
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    rows, epochs, samples = (64, 1, 16) if options.quick else (400, 10, 32)
    keras.utils.set_random_seed(0)
    model = build_model()
    model.fit(
        *draw_images(rows, NOISE["as trained"], seed=0),
        batch_size=16,
        epochs=epochs,
        verbose=0,
    )
    heading = ("wrong", "AUROC, H", "AUROC, MI", "surest half")
    print(f"{'noise':12}" + "".join(f"{each:>13}" for each in heading))
    for name, noise in NOISE.items():
        images, labels = draw_images(min(rows, 96), noise, seed=1)
        result = ask(model, images, samples)
        numbers = "".join(f"{each:13.4f}" for each in report(result, labels))
        print(f"{name:12}{numbers}")
    figure = options.output / "segmentation.png"
    draw_figure(figure, images, labels, result)
    print(f"Figure: {figure}")


if __name__ == "__main__":
    main()

"""The uncertainty of a transformer, an EfficientNet and an LSTM in one line.

None of the three models was made for this: a transformer from KerasHub, built
small from its configuration; EfficientNetB0 from `keras.applications`; and an
LSTM of stock Keras layers. Each has the dropout that its authors gave it, and
for each of them one line is enough, here for images of scikit-learn's
handwritten digits:

    result = kerasdrop.mc_predict(model, x)

The script prints a table of the layers that draw and of the spread of the
samples. It downloads and trains nothing, so the models know nothing about
digits. examples/quickstart.py trains a model and shows what the numbers mean.

    python examples/mc_any_model.py [--seed 0] [--quick]

KERAS_BACKEND chooses the backend. Most of the time goes into compiling. The
transformer needs KerasHub (`pip install keras-hub`); without it, the script
runs the other two models.
"""

import argparse

import keras
from sklearn.datasets import load_digits

import kerasdrop

try:
    import keras_hub
except ModuleNotFoundError:
    keras_hub = None


def transformer(images):
    """A vision transformer with dropout of units and of attention weights."""
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(8, 8, 1),
        patch_size=2,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
        dropout_rate=0.1,
        attention_dropout=0.1,
    )
    model = keras_hub.models.ViTImageClassifier(
        backbone, num_classes=10, activation="softmax", dropout=0.1
    )
    return model, images


def efficientnet(images):
    """EfficientNetB0, which drops residual branches."""
    images = 255.0 * images.repeat(4, axis=1).repeat(4, axis=2)
    images = images.repeat(3, axis=3)
    features = keras.applications.EfficientNetB0(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    model = keras.Sequential(
        [
            features,
            # Layers that are not trained leave next to nothing of the signal.
            keras.layers.LayerNormalization(epsilon=1e-12),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    return model, images


def lstm(images):
    """An LSTM that reads an image line by line, with dropout in its cell."""
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.LSTM(32, dropout=0.1, recurrent_dropout=0.1),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    return model, images[..., 0]


def builders():
    """Functions of images that return a model and its inputs, by name."""
    by_name = {"EfficientNet": efficientnet, "LSTM": lstm}
    if keras_hub is not None:
        return {"transformer": transformer, **by_name}
    print(
        "KerasHub is not installed, so the transformer is left out. To have "
        "it: pip install keras-hub\n"
    )
    return by_name


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="16 images, 16 samples: a try"
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    num_images, num_samples = (16, 16) if options.quick else (64, 48)
    keras.utils.set_random_seed(options.seed)  # of the initial weights
    images = load_digits().images[:num_images, :, :, None] / 16.0
    images = images.astype("float32")

    print(f"{'':<13}{'layers drawn':>13}{'std':>9}{'information':>13}")
    for name, build in builders().items():
        model, x = build(images)
        result = kerasdrop.mc_predict(
            model, x, num_samples, seed=options.seed, verbose=0
        )
        drawn = sum(one.is_drawn for one in kerasdrop.inspect(model).layers)
        print(
            f"{name:<13}{drawn:>13}{result.std.mean():>9.4f}"
            f"{result.mutual_information.mean():>13.4f}",
            flush=True,
        )
    print(
        "\nstd: of a probability, over the samples. Information: between label "
        "and masks,\nin nats (`mutual_information`). Both are means over the "
        "images."
    )


if __name__ == "__main__":
    main()

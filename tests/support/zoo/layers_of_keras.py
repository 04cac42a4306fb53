"""Every layer class of Keras that can stand beside a dropout.

Each model has many of them, each with its own output.
"""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.support.zoo.registry import entry
from tests.support.zoo.registry import floats

NUMBERS = {
    "Activation": lambda: layers.Activation("gelu"),
    # ActivityRegularization is left out: after a failed pass, as after a plain
    # call that fails, its entries in `model.losses` from the earlier call are
    # lost.
    "BatchNormalization": lambda: layers.BatchNormalization(trainable=False),
    "Dense": lambda: layers.Dense(3, "relu"),
    "ELU": layers.ELU,
    "EinsumDense": lambda: layers.EinsumDense("ab,bc->ac", 3),
    "Flatten": layers.Flatten,
    "GroupNormalization": lambda: layers.GroupNormalization(2),
    "Identity": layers.Identity,
    "Lambda": lambda: layers.Lambda(lambda t: t * 2.0),
    "LayerNormalization": layers.LayerNormalization,
    "LeakyReLU": layers.LeakyReLU,
    "Normalization": lambda: layers.Normalization(mean=0.5, variance=2.0),
    "PReLU": layers.PReLU,
    "RMSNormalization": layers.RMSNormalization,
    "ReLU": lambda: layers.ReLU(max_value=2.0),
    "RepeatVector": lambda: layers.RepeatVector(2),
    "Rescaling": lambda: layers.Rescaling(0.5, 1.0),
    "Reshape": lambda: layers.Reshape((2, 2)),
    "Softmax": layers.Softmax,
    "UnitNormalization": layers.UnitNormalization,
}
MERGES = {
    "Add": layers.Add,
    "Average": layers.Average,
    "Concatenate": layers.Concatenate,
    "Dot": lambda: layers.Dot(axes=1),
    "Maximum": layers.Maximum,
    "Minimum": layers.Minimum,
    "Multiply": layers.Multiply,
    "Subtract": layers.Subtract,
}
SEQUENCES = {
    "AdaptiveAveragePooling1D": lambda: layers.AdaptiveAveragePooling1D(2),
    "AdaptiveMaxPooling1D": lambda: layers.AdaptiveMaxPooling1D(2),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "Conv1D": lambda: layers.Conv1D(2, 3, padding="causal"),
    "Conv1DTranspose": lambda: layers.Conv1DTranspose(2, 3, strides=2),
    "Cropping1D": layers.Cropping1D,
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(3),
    "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": layers.GlobalMaxPooling1D,
    "MaxPooling1D": lambda: layers.MaxPooling1D(2),
    "Permute": lambda: layers.Permute((2, 1)),
    "SeparableConv1D": lambda: layers.SeparableConv1D(2, 3),
    "UpSampling1D": layers.UpSampling1D,
    "ZeroPadding1D": layers.ZeroPadding1D,
}
IMAGES = {
    "AdaptiveAveragePooling2D": lambda: layers.AdaptiveAveragePooling2D(2),
    "AdaptiveMaxPooling2D": lambda: layers.AdaptiveMaxPooling2D(2),
    "AveragePooling2D": lambda: layers.AveragePooling2D(2),
    "Conv2D": lambda: layers.Conv2D(2, 3, groups=2),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(2, 2, strides=2),
    "Cropping2D": layers.Cropping2D,
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3),
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D,
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D,
    "MaxPooling2D": lambda: layers.MaxPooling2D(2),
    "SeparableConv2D": lambda: layers.SeparableConv2D(2, 3),
    "UpSampling2D": lambda: layers.UpSampling2D(interpolation="bilinear"),
    "ZeroPadding2D": layers.ZeroPadding2D,
}
VOLUMES = {
    "AdaptiveAveragePooling3D": lambda: layers.AdaptiveAveragePooling3D(2),
    "AdaptiveMaxPooling3D": lambda: layers.AdaptiveMaxPooling3D(2),
    "AveragePooling3D": lambda: layers.AveragePooling3D(2),
    "Conv3D": lambda: layers.Conv3D(2, 2),
    "Conv3DTranspose": lambda: layers.Conv3DTranspose(1, 2),
    "Cropping3D": layers.Cropping3D,
    "GlobalAveragePooling3D": layers.GlobalAveragePooling3D,
    "GlobalMaxPooling3D": layers.GlobalMaxPooling3D,
    "MaxPooling3D": lambda: layers.MaxPooling3D(2),
    "UpSampling3D": layers.UpSampling3D,
    "ZeroPadding3D": layers.ZeroPadding3D,
}


def _there(makers):
    """The layers that this version of Keras has."""
    return [each for each in makers.items() if hasattr(layers, each[0])]


def _behind(shape, makers, rate, merges=False):
    """A model with an output for each layer, all after one dropout."""
    x = keras.Input(shape)
    h = layers.Dropout(rate)(x)
    return keras.Model(
        x,
        {
            name: make()([h, x] if merges else h)
            for name, make in _there(makers)
        },
    )


@entry(core=True)
def layers_of_numbers(rate=0.4):
    return _behind((4,), NUMBERS, rate)


@entry(core=True)
def merges(rate=0.4):
    return _behind((4,), MERGES, rate, merges=True)


@entry(core=True)
def layers_of_sequences(rate=0.4):
    return _behind((6, 2), SEQUENCES, rate)


@entry(core=True)
def layers_of_images(rate=0.4):
    return _behind((4, 4, 2), IMAGES, rate)


@entry(core=True)
def layers_of_volumes(rate=0.4):
    return _behind((4, 4, 4, 1), VOLUMES, rate)


@entry(law=None)
def layers_that_training_changes(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(
        x,
        [
            layers.BatchNormalization()(h),
            layers.SpectralNormalization(layers.Dense(3))(h),
        ],
    )


_IMAGE = (8, 8, 3)
# These are off at inference, or functions of the image.
AUGMENTATIONS = {
    "AugMix": lambda: layers.AugMix(value_range=(0, 255)),
    "AutoContrast": lambda: layers.AutoContrast(value_range=(0, 255)),
    "CenterCrop": lambda: layers.CenterCrop(4, 4),
    "ContrastLimitedAdaptiveHistogramEqualization": lambda: (
        layers.ContrastLimitedAdaptiveHistogramEqualization(
            value_range=(0, 255), tile_grid_size=(2, 2)
        )
    ),
    "Equalization": lambda: layers.Equalization(value_range=(0, 255)),
    "Pipeline": lambda: layers.Pipeline([layers.RandomFlip()]),
    "RandAugment": lambda: layers.RandAugment(value_range=(0, 255)),
    "RandomBrightness": lambda: layers.RandomBrightness(0.2),
    "RandomColorDegeneration": lambda: layers.RandomColorDegeneration(0.2),
    "RandomColorJitter": lambda: layers.RandomColorJitter(),
    "RandomContrast": lambda: layers.RandomContrast(0.2),
    "RandomCrop": lambda: layers.RandomCrop(4, 4),
    "RandomElasticTransform": lambda: layers.RandomElasticTransform(),
    "RandomErasing": lambda: layers.RandomErasing(),
    "RandomFlip": lambda: layers.RandomFlip(),
    "RandomGaussianBlur": lambda: layers.RandomGaussianBlur(),
    "RandomGrayscale": lambda: layers.RandomGrayscale(),
    "RandomHue": lambda: layers.RandomHue(0.2),
    "RandomInvert": lambda: layers.RandomInvert(),
    "RandomPerspective": lambda: layers.RandomPerspective(),
    "RandomPosterization": lambda: layers.RandomPosterization(4),
    "RandomRotation": lambda: layers.RandomRotation(0.2),
    "RandomSaturation": lambda: layers.RandomSaturation(0.2),
    "RandomSharpness": lambda: layers.RandomSharpness(0.2),
    "RandomShear": lambda: layers.RandomShear(0.2),
    "RandomTranslation": lambda: layers.RandomTranslation(0.2, 0.2),
    "RandomZoom": lambda: layers.RandomZoom(0.2),
    "Resizing": lambda: layers.Resizing(4, 6),
    "Solarization": lambda: layers.Solarization(value_range=(0, 255)),
}


def _colours(rows):
    generator = np.random.default_rng(0)
    return generator.uniform(0, 255, (rows, *_IMAGE)).astype("float32")


@entry(_colours, law=None, tolerance=1e-4, comparable=False)
def augmentations_before_dropout(rate=0.4):
    x = keras.Input(_IMAGE)
    drop = layers.SpatialDropout2D(rate)
    ends = {
        name: layers.GlobalAveragePooling2D()(drop(make()(x)))
        for name, make in _there(AUGMENTATIONS)
    }
    return keras.Model(x, ends)


@entry(_colours, law=None, tolerance=1e-4)
def augmentations_behind_dropout(rate=0.4):
    x = keras.Input(_IMAGE)
    h = layers.Dropout(rate, noise_shape=(None, 1, 8, 1))(x)
    names = ("CenterCrop", "RandomFlip", "RandomRotation", "RandomZoom")
    return keras.Model(x, [AUGMENTATIONS[name]()(h) for name in names])


@entry(law=None, core=True)
def mixed_images(rate=0.4):
    image, labels = keras.Input(_IMAGE), keras.Input((3,))
    h = layers.CutMix()({"images": image, "labels": labels})
    h = layers.MixUp()(h)["images"]
    h = layers.GlobalAveragePooling2D()(layers.SpatialDropout2D(rate)(h))
    return keras.Model([image, labels], layers.Concatenate()([h, labels]))


def _spectra(rate):
    x = keras.Input((64,))
    h = layers.Dropout(rate)(x)
    return keras.Model(
        x,
        {
            "STFTSpectrogram": layers.STFTSpectrogram(
                frame_length=16, frame_step=16, fft_length=16
            )(h[..., None]),
            "MelSpectrogram": layers.MelSpectrogram(
                fft_length=16,
                sequence_stride=16,
                num_mel_bins=4,
                sampling_rate=64,
                min_freq=1,
                max_freq=30,
            )(h),
        },
    )


@entry(floats(64), tolerance=1e-4)
def spectrograms(rate=0.3):
    return _spectra(rate)


def _small_integers(rows):
    integers = np.random.default_rng(0).integers(0, 5, (rows, 3))
    return integers.astype("int32")


@entry(_small_integers)
def categories(rate=0.4):
    x = keras.Input((3,), dtype="int32")
    one_hot = layers.CategoryEncoding(5, "multi_hot")(x)
    bins = layers.Discretization([1.0, 2.5])(ops.cast(x, "float32"))
    h = layers.Embedding(4, 3)(bins)
    h = layers.Concatenate()([layers.Flatten()(h), one_hot])
    return keras.Model(x, layers.Dense(3)(layers.Dropout(rate)(h)))


@entry(_small_integers)
def looked_up(rate=0.4):
    x = keras.Input((3,), dtype="int32")
    crossed = layers.HashedCrossing(4)((x[:, :1], x[:, 1:2]))
    places = [
        layers.IntegerLookup(vocabulary=[1, 2, 4])(x),
        layers.Hashing(4)(x),
        crossed,
    ]
    vectors = [layers.Embedding(4, 2)(place) for place in places]
    h = layers.Dropout(rate)(layers.Concatenate(axis=1)(vectors))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(h)))


@entry()
def discretized_behind_dropout(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    bins = layers.Discretization([-1.0, 0.0, 1.0])(h)
    return keras.Model(x, layers.Embedding(4, 2)(bins))


@entry(_small_integers)
def embedded_both_ways(rate=0.4):
    x = keras.Input((3,), dtype="int32")
    table = layers.ReversibleEmbedding(7, 4)
    h = layers.Dropout(rate)(table(x))
    return keras.Model(x, table(h, reverse=True))

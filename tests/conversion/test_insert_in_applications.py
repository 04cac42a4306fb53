"""`insert_dropout` in architectures of `keras.applications`."""

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks.insertion import insertion
from kerasdrop import insert_dropout
from tests.support import foreign_checks
from tests.support.inserted import predict

# How many merges of blocks the papers have, and falls of the size at 64 or 71
# pixels and more; None where there is no block, or dropout in each.
BLOCKS = {
    "ResNet50": 3 + 4 + 6 + 3,
    "ResNet50V2": 3 + 4 + 6 + 3,
    "VGG16": None,
    "MobileNet": None,
    # All repetitions of a bottleneck but the first: 1, 2, 3, 2, 2.
    "MobileNetV2": 1 + 2 + 3 + 2 + 2,
    "MobileNetV3Small": 6,
    "EfficientNetB0": None,
    "EfficientNetV2B0": None,
    "ConvNeXtTiny": 3 + 3 + 9 + 3,
    "DenseNet121": 6 + 12 + 24 + 16,
    "Xception": 12,
    # Only the last of its cells makes what all paths go through: 6 branches.
    "NASNetMobile": 6,
    # Branches of kernels in 11 concatenations: 3 x 4, 3, 4 x 4, 2, 2 x 4 - 1.
    "InceptionV3": 40,
    # 40 sums, 4 and 2 + 3 branches of three concatenations.
    "InceptionResNetV2": 40 + 4 + 2 + 3,
}


def test_a_mobile_net_predicts_what_it_did(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, weights=None, classes=3
    )
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    foreign_checks.freeze_batch_norm(model, images.astype("float32"))
    before = predict(model, images)[0]
    assert np.ptp(before, axis=0).max() > 1e-4

    new, report = insert_dropout(model, where="blocks")

    assert len(report.inserted) == BLOCKS["MobileNetV2"]
    np.testing.assert_array_equal(predict(new, images)[0], before)
    assert report.loads_weights
    file = tmp_path / "mobile.weights.h5"
    model.save_weights(file)
    new.set_weights([np.zeros(w.shape, w.dtype) for w in new.get_weights()])
    new.load_weights(file)
    for layer in model.layers:
        copy = new.get_layer(layer.name)
        for one, other in zip(copy.weights, layer.weights):
            assert bool(ops.all(ops.equal(one, other))), layer.name


@pytest.mark.slow
@pytest.mark.parametrize("name", insertion.FAMILIES)
def test_each_family_keeps_what_is_promised(name):
    figures = insertion.measured(name, rounds=1)
    if "refused" in figures:
        pytest.skip(figures["refused"])

    assert insertion.holds(figures), figures
    assert figures["blocks"].get("count") == BLOCKS[name]
    assert figures["head"].get("count", 0) + figures["stock dropout"] >= 1

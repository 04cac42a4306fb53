"""Folding gives what the whole model, run on every sample, would give."""

import keras
import numpy as np
import pytest

import kerasdrop
from tests.support import zoo
from tests.support.zoo import graphs


class Opaque(keras.Model):
    """Hides a model's graph, so that all of it runs on every sample."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.built = True

    def call(self, inputs):
        return self.inner(inputs)


@pytest.mark.parametrize("make", graphs.TOPOLOGIES)
def test_folding_changes_no_number(make):
    model = make()
    x = zoo.inputs_of(model)
    settings = {"num_samples": 20, "seed": 3, "kind": "regression"}
    folded = kerasdrop.mc_predict(model, x, verbose=0, **settings)
    whole = kerasdrop.mc_predict(Opaque(model), x, verbose=0, **settings)
    for name in ("mean", "variance"):
        for one, other in zip(
            keras.tree.flatten(folded[name]), keras.tree.flatten(whole[name])
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", graphs.TOPOLOGIES)
def test_every_row_of_a_drawn_output_varies(make):
    model = make()
    result = kerasdrop.mc_predict(
        model, zoo.inputs_of(model), seed=3, kind="regression", verbose=0
    )
    variance = result.variance
    if isinstance(variance, dict):
        assert (variance["plain"] == 0.0).all()
        variance = variance["drawn"]
    assert (variance.max(axis=-1) > 0.0).all()


def test_the_prefix_runs_on_the_batch_and_not_on_its_samples():
    seen = []

    class Witness(keras.layers.Layer):
        def call(self, inputs):
            seen.append(inputs.shape[0])
            return inputs * 1.0

    x = keras.Input((3,))
    h = Witness()(x)
    h = kerasdrop.layers.Dropout(0.5)(h)
    model = keras.Model(x, Witness()(h))
    seen.clear()
    kerasdrop.MonteCarlo(model, 16)(np.ones((4, 3), "float32"))
    assert seen == [4, 64]

"""Checks of a Monte Carlo prediction of a model from elsewhere."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

import kerasdrop
from kerasdrop._adapters import adapters
from kerasdrop._adapters import survey
from tests.support import helpers

ROWS, NUM_SAMPLES = 3, 256

# The attributes with the rates of drop paths and dropout layers.
RATES = ("rate", "drop_prob", "drop_path_rate")


class Case(NamedTuple):
    """A model and one prediction of it.

    Attributes:
        model: A model with a single output.
        x: Its inputs.
        kind: The kind of its output.
        samples: `(ROWS, NUM_SAMPLES, ...)`.
        before, after: Everything that a user could see of the model, before and
            after the prediction.
    """

    model: object
    x: object
    kind: str
    samples: object
    before: dict
    after: dict


def predicted(model, x, kind):
    """The `Case` of a model."""
    before = state_of(model, x)
    samples = samples_of(model, x, kind)
    return Case(model, x, kind, samples, before, state_of(model, x))


def samples_of(model, x, kind, num_samples=NUM_SAMPLES, batch_size=ROWS):
    """Independent samples, `(rows, num_samples, ...)`."""
    result = kerasdrop.mc_predict(
        model,
        x,
        num_samples,
        seed=0,
        plan="independent",
        kind=kind,
        keep_samples=True,
        batch_size=batch_size,
        verbose=0,
    )
    return result.samples


def copies_of(x, count):
    """Each row `count` times."""
    return tree.map_structure(lambda array: np.repeat(array, count, axis=0), x)


def state_of(model, x):
    """Everything that a user could see of a model, with seed generators."""
    # Otherwise the random numbers of a first prediction would count as a
    # change.
    outputs = model.predict(x, verbose=0)
    return {
        "variables": [ops.convert_to_numpy(v) for v in model.variables],
        "outputs": outputs,
        "config": model.get_config(),
        "rates": [
            adapters.rate_of(layer) for layer in survey.of(model).drawable
        ],
    }


def assert_untouched(case):
    before, after = dict(case.before), dict(case.after)
    for name in ("variables", "outputs"):
        for one, other in zip(
            tree.flatten(before.pop(name)), tree.flatten(after.pop(name))
        ):
            np.testing.assert_array_equal(one, other)
    assert before == after


def assert_every_row_varies(case):
    spread = np.ptp(case.samples, axis=1).reshape(ROWS, -1)
    assert (spread.max(axis=-1) > 0.0).all()


def assert_batch_size_does_not_count(case):
    """Predicts three rows in batches of two, so the last batch is padded."""
    few = samples_of(case.model, case.x, case.kind, 16, batch_size=2)
    np.testing.assert_allclose(few, case.samples[:, :16], rtol=1e-4, atol=1e-5)


def assert_same_layers_draw_as_in_training(case, monkeypatch):
    """Asserts that each layer alone, at rate 1/2, draws as in training.

    Without all of these layers nothing may draw in training, so there are no
    others.
    """
    layers = [
        layer
        for layer in survey.of(case.model).drawable
        if adapters.rate_of(layer) > 0.0
    ]
    for layer in layers:
        monkeypatch.setattr(layer, _name_of_rate(layer), 0.0)
    assert not _draws_in_training(case)
    in_training, here = [], []
    for layer in layers:
        with monkeypatch.context() as patch:
            patch.setattr(layer, _name_of_rate(layer), 0.5)
            in_training.append(_draws_in_training(case))
            here.append(_draws_here(case))
    assert here == in_training
    assert any(here)


def _draws_in_training(case):
    x = copies_of(case.x, 16)
    outputs = [case.model(x, training=training) for training in (True, False)]
    trained, plain = map(ops.convert_to_numpy, outputs)
    return bool((trained != plain).any())


def _draws_here(case):
    # The model is called, so that nothing is compiled for each layer.
    predictive = kerasdrop.MonteCarlo(case.model, 16, seed=0, kind=case.kind)
    try:
        std = predictive(case.x)["std"]
    except ValueError as error:
        # A layer that nothing calls is refused. Gemma has some.
        if "is not called in a prediction" not in str(error):
            raise
        return False
    return bool(ops.convert_to_numpy(std).any())


def assert_as_in_training(case):
    """Asserts the mean and variance of calls in training, without our code.

    The rows of a batch draw independently, so copies of a row in one call are
    separate samples.
    """
    for row in range(2):
        x = tree.map_structure(lambda array: array[row : row + 1], case.x)  # noqa: B023
        outputs = case.model(copies_of(x, NUM_SAMPLES), training=True)
        if case.kind == "logits":
            outputs = ops.softmax(outputs)
        outputs = ops.convert_to_numpy(outputs)
        helpers.assert_same_moments(case.samples[row], outputs)


def freeze_batch_norm(model, images):
    """Gives batch normalization statistics, and keeps them in training.

    Training is then deterministic, too, except for dropout. Without statistics
    of its own, the outputs of an untrained deep network hardly depend on its
    inputs.
    """
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        norm.trainable = False


def _name_of_rate(layer):
    return next(name for name in RATES if hasattr(layer, name))

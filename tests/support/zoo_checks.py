"""The checks of each model of the zoo."""

import contextlib
import os
import pathlib
import re
import warnings

import keras
import numpy as np
from keras import tree

import kerasdrop
from tests.support import helpers
from tests.support import untouched
from tests.support import zoo
from tests.support.zoo import oracles

BACKEND = keras.backend.backend()
TINY = 1e-9  # a rate at which no test ever drops a unit
NUM_SAMPLES = 512
PART = np.array([4, 1, 3, 0, 2])  # some rows, in another order

# Warnings of Keras about the models themselves.
KERAS_WARNS = (
    "(?s).*does not support masking and will therefore destroy",
    "Layer .* does not have a `quantize` method implemented",
    # `MixUp` on JAX.
    "(?s).*requested dtype int64 requested in \\w+ is not available",
)

# Ways to cut a prediction of five rows that must not change a number.
CUTS = (
    {"num_samples": 5, "batch_size": 1},
    {"num_samples": 16, "batch_size": 4},
    {"num_samples": 48, "rows_in_memory": 2},
)


class Case:
    """A model with its inputs, and one prediction of each.

    That prediction makes the self-check. Those of the checks need not.

    Args:
        entry: An entry of the zoo.
        settings: Arguments of all predictions, besides those of the checks.
    """

    def __init__(self, entry, **settings):
        self.entry = entry
        self.settings = settings
        self.model, self.x = prepared(entry)
        self.samples = self.predict(num_samples=NUM_SAMPLES, verify=True)

    def predict(self, model=None, x=None, rows_in_memory=None, **settings):
        """The samples of each output, `(rows, samples, ...)`."""
        model = self.model if model is None else model
        x = self.x if x is None else x
        if rows_in_memory is not None:
            settings["memory_limit"] = memory_of_rows(
                model, x, rows_in_memory, settings["num_samples"]
            )
        settings = {"verify": False, **self.settings, **settings}
        return samples_of(model, x, **settings)


def prepared(entry, *rate):
    """The model of an entry, with the weights of the zoo, and its inputs."""
    keras.utils.set_random_seed(0)
    model = entry.make(*rate)
    x = (entry.inputs or (lambda rows: zoo.inputs_of(model, rows)))(zoo.ROWS)
    x = rows_of(x, [*range(zoo.ROWS - 1), 0])
    if not model.built:
        model(x)
    zoo.set_weights(model)
    return model, x


def rows_of(x, rows):
    return oracles.map_arrays(lambda array: array[rows], x)


def samples_of(model, x, **settings):
    settings = {"seed": 3, "kind": "regression", "verbose": 0, **settings}
    result = kerasdrop.mc_predict(model, x, keep_samples=True, **settings)
    return tree.flatten(result["samples"])


def memory_of_rows(model, x, count, num_samples):
    """The memory limit that allows this many rows at a time."""
    try:
        samples_of(model, x, num_samples=num_samples, memory_limit=1)
    except ValueError as error:
        found = re.search(r"about ([\d,]+) bytes", str(error))
        return found and count * int(found[1].replace(",", ""))
    raise AssertionError("a memory limit of one byte was accepted")


def plain(model, x):
    """The predictions of the stock model, as a list of arrays."""
    outputs = tree.flatten(model.predict_on_batch(x))
    return [np.asarray(array, "float64") for array in outputs]


def assert_close(found, expected, tolerance, what):
    """Asserts equality up to a fraction of the largest expected number."""
    found = np.asarray(found, "float64")
    assert found.shape == expected.shape, (
        f"{what}: shape {found.shape}, expected {expected.shape}"
    )
    finite = np.isfinite(expected)
    assert (np.isfinite(found) == finite).all(), f"{what}: NaN or infinity"
    largest = np.abs(expected[finite]).max(initial=0.0)
    off = np.abs(found - expected)[finite].max(initial=0.0)
    assert off <= tolerance * max(largest, 1e-30), (
        f"{what}: off by {off:.3g}, the largest number is {largest:.3g} "
        f"(allowed: a share of {tolerance:g})"
    )


def check_zero_noise(case):
    """With almost nothing dropped, each sample is the model's prediction."""
    model, x = prepared(case.entry, TINY)
    expected = plain(model, x)
    # Rows of a refused model may see each other, so all are in one batch.
    batch_size = 4 if case.entry.refused is None else zoo.ROWS
    found = case.predict(model, x, num_samples=16, batch_size=batch_size)
    assert len(found) == len(expected)
    for number, (samples, one) in enumerate(zip(found, expected)):
        one = np.repeat(one[:, None], 16, axis=1)
        what = f"samples of output {number} at rate {TINY}"
        assert_close(samples, one, case.entry.tolerance, what)


def check_all_cuts(case):
    check_cuts(case, CUTS)


def check_cuts(case, cuts=None):
    """Samples do not depend on other samples that are drawn with them."""
    if case.entry.by_keras:
        again = case.predict(num_samples=NUM_SAMPLES)
        for one, other in zip(again, case.samples):
            np.testing.assert_array_equal(one, other)
        return
    if cuts is None:
        cuts = [CUTS[case.entry.number % len(CUTS)]]
    for cut in cuts:
        if case.entry.refused is None:
            rows, place = PART, {"rows": PART}
        else:
            rows, place = np.arange(zoo.ROWS), {}
            cut = {"num_samples": cut["num_samples"]}
        found = case.predict(x=rows_of(case.x, rows), **place, **cut)
        for number, (part, whole) in enumerate(zip(found, case.samples)):
            whole = whole[rows, : part.shape[1]].astype("float64")
            what = f"samples of output {number}, {cut}"
            assert_close(part, whole, case.entry.tolerance, what)


def check_independence(case):
    """Two equal rows draw independently, and so do two sets of samples."""
    bound = 5.0 / np.sqrt(NUM_SAMPLES - 16)
    for number, samples in enumerate(case.samples):
        samples = samples.reshape(*samples.shape[:2], -1).astype("float64")
        first, last = samples[0], samples[-1]
        pairs = {"sets": (first[16:], first[:-16])}
        if not case.entry.rows_share_masks and case.entry.refused is None:
            pairs["rows"] = (first, last)
        for name, pair in pairs.items():
            found = np.abs(oracles.correlation(*pair)).max(initial=0.0)
            assert found <= bound, (
                f"{name} of output {number} are correlated by {found:.2f} "
                f"(allowed: {bound:.2f})"
            )


def check_law(case):
    """Samples have the same distribution as without this package."""
    law = case.entry.law
    if law is None:
        assert any(np.ptp(one, axis=1).max() > 0.0 for one in case.samples)
    elif law == "masks":
        of_outputs, probabilities = oracles.outcomes(case.model, case.x)
        for samples, outcomes in zip(case.samples, of_outputs):
            oracles.assert_drawn_from(samples, outcomes, probabilities)
    else:
        for row in range(3):
            trained = oracles.trained(case.model, case.x, row, NUM_SAMPLES)
            for samples, one in zip(case.samples, trained):
                helpers.assert_same_moments(
                    samples[row], one, case.entry.tolerance
                )


def check_backends(case):
    """The first samples equal those of the backends that ran before."""
    folder = os.environ.get("KERASDROP_SHARED")
    is_comparable = case.entry.comparable and not case.entry.by_keras
    if not folder or not is_comparable:
        return
    samples = [array[:, :16].astype("float64") for array in case.samples]
    folder = pathlib.Path(folder) / case.entry.name
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        with np.load(path) as others:
            for number, array in enumerate(samples):
                what = f"output {number} of {path.stem} and {BACKEND}"
                other = others[f"arr_{number}"]
                assert_close(array, other, 10 * case.entry.tolerance, what)
    np.savez(folder / f"{BACKEND}.npz", *samples)


def check_untouched(case):
    """Nothing has changed, not even after a failure within a pass."""
    rows = range(2 if case.entry.refused is None else zoo.ROWS)
    part = rows_of(case.x, rows)
    plain(case.model, case.x)  # may itself change state
    before = untouched.state_of(case.model)
    with untouched.unmoved_generators():
        case.predict(x=part, num_samples=2)
    untouched.assert_same_state(
        before, untouched.state_of(case.model), "a prediction"
    )
    number = case.entry.number
    error = (KeyboardInterrupt, OSError)[number % 2]
    after = 1 + number // 2 % untouched.count_layers(case.model)
    with untouched.unmoved_generators(), untouched.failing(error, after):
        case.predict(x=part, num_samples=3)
    what = f"{error.__name__} in call {after} of a layer"
    untouched.assert_same_state(before, untouched.state_of(case.model), what)
    if case.entry.by_keras:
        return
    again = case.predict(x=part, num_samples=2)
    for one, other in zip(again, case.samples):
        one, other = one.astype("float64"), other[rows, :2].astype("float64")
        assert_close(one, other, case.entry.tolerance, f"after {what}")


CHECKS = (
    check_zero_noise,
    check_cuts,
    check_independence,
    check_law,
    check_backends,
    check_untouched,
)
WHOLE = (*CHECKS, check_all_cuts)


def quick(entry):
    """The checks of `make test`, of which two take turns on compiling backends.

    There the equality with samples of PyTorch, where all checks run, implies
    the other checks.
    """
    if BACKEND == "torch":
        return CHECKS
    turns = (check_cuts, check_law, check_untouched)
    turn = turns[entry.number // 2 % len(turns)]
    always = check_zero_noise, check_independence, check_backends
    return (*always, turn)


def check_refusal(entry):
    """The model is refused by name, with a remedy, and left unchanged."""
    model, x = prepared(entry)
    before = untouched.state_of(model)
    try:
        with untouched.unmoved_generators():
            samples_of(model, x, num_samples=16)
    except ValueError as error:
        message = str(error)
        assert re.search(entry.refused, message), message
        if entry.one_by_one:
            assert "vectorized=False" in message, message
    else:
        raise AssertionError("it was accepted")
    untouched.assert_same_state(before, untouched.state_of(model), "a refusal")


def failures(entry, checks=CHECKS):
    """The failed checks of an entry, as a list of sentences."""
    with expected_warnings(entry.warns):
        return _failures(entry, checks)


def _failures(entry, checks):
    if entry.refused is not None:
        try:
            check_refusal(entry)
        except Exception as error:
            return [_sentence("refusal", error)]
        if not entry.one_by_one:
            return []
    settings = {} if entry.refused is None else {"vectorized": False}
    try:
        case = Case(entry, **settings)
    except Exception as error:
        return [_sentence("prediction", error)]
    found = []
    for check in checks:
        try:
            check(case)
        except Exception as error:
            found.append(_sentence(check.__name__, error))
    return found


def _sentence(name, error):
    kind = type(error).__name__
    return f"{name}: {kind}: {error}"


@contextlib.contextmanager
def expected_warnings(message):
    with warnings.catch_warnings():
        for known in (message, *KERAS_WARNS):
            if known is not None:
                warnings.filterwarnings("ignore", known)
        yield

"""Streaming metrics are the functions of all rows, compiled and saved too."""

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import calibration
from kerasdrop import measures
from kerasdrop import metrics

ROWS = 60
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(ROWS, 5)).astype("float32")
Y = GENERATOR.integers(0, 3, ROWS)
P = GENERATOR.dirichlet(np.ones(3), size=ROWS)
TRUTH = GENERATOR.normal(size=(ROWS, 2)).astype("float32")
PARTS = np.concatenate(
    [GENERATOR.normal(size=(ROWS, 2)), GENERATOR.uniform(0.5, 2, (ROWS, 2))],
    axis=-1,
)
MEAN, VARIANCE = np.split(PARTS, 2, axis=-1)
WEIGHT = GENERATOR.uniform(0.0, 2.0, ROWS).astype("float32")
NORMAL = {"kind": "mean_and_variance"}
INTERVAL = calibration.gaussian_interval(MEAN, VARIANCE, 0.8)


def mean_of(score):
    """The function that a metric of the mean of a score is to agree with."""

    def whole(sample_weight=None):
        if score.ndim == 1:
            return np.average(score, weights=sample_weight)
        return np.average(score.mean(1), weights=sample_weight)

    return whole


# Metric, targets, predictions, the same of all rows.
TABLE = {
    "likelihood": (
        metrics.NegativeLogLikelihood(),
        (Y, P),
        lambda w=None: calibration.negative_log_likelihood(Y, P, w),
    ),
    "brier": (
        metrics.BrierScore(),
        (Y, P),
        lambda w=None: calibration.brier_score(Y, P, w),
    ),
    "calibration": (
        metrics.ExpectedCalibrationError(num_bins=10),
        (Y, P),
        lambda w=None: calibration.expected_calibration_error(Y, P, 10, w),
    ),
    "entropy": (metrics.Entropy(), (Y, P), mean_of(measures.entropy(P))),
    "confidence": (
        metrics.Confidence(),
        (Y, P),
        mean_of(measures.confidence(P)),
    ),
    "gaussian likelihood": (
        metrics.GaussianNegativeLogLikelihood(**NORMAL),
        (TRUTH, PARTS),
        lambda w=None: calibration.gaussian_negative_log_likelihood(
            TRUTH, MEAN, VARIANCE, w
        ),
    ),
    "gaussian crps": (
        metrics.GaussianCRPS(**NORMAL),
        (TRUTH, PARTS),
        lambda w=None: calibration.gaussian_crps(TRUTH, MEAN, VARIANCE, w),
    ),
    "coverage": (
        metrics.IntervalCoverage(**NORMAL, level=0.8),
        (TRUTH, PARTS),
        lambda w=None: calibration.interval_coverage(TRUTH, *INTERVAL, w),
    ),
    "interval score": (
        metrics.IntervalScore(**NORMAL, level=0.8),
        (TRUTH, PARTS),
        lambda w=None: calibration.interval_score(TRUTH, *INTERVAL, 0.8, w),
    ),
    "sharpness": (
        metrics.Sharpness(**NORMAL),
        (TRUTH, PARTS),
        lambda w=None: np.sqrt(mean_of(VARIANCE)(w)),
    ),
}


def close_to(value):
    # Sums of float32 over 60 rows.
    return pytest.approx(float(value), rel=2e-5, abs=1e-5)


def result_of(metric):
    return float(ops.convert_to_numpy(metric.result()))


def tensor(value):
    dtype = "float32" if value.dtype.kind == "f" else "int32"
    return ops.convert_to_tensor(value.astype(dtype))


def stream(metric, *arrays, convert=tensor):
    """The result of batches of several sizes, of a metric of that config."""
    metric = type(metric).from_config(metric.get_config())
    # Two sizes of batches: JAX compiles each operation for each.
    for part in np.split(np.arange(ROWS), [25, 50]):
        metric.update_state(*(convert(array[part]) for array in arrays))
    return result_of(metric)


@pytest.mark.parametrize("name", TABLE)
def test_what_is_streamed_is_the_whole(name):
    metric, arrays, whole = TABLE[name]
    assert stream(metric, *arrays) == close_to(whole())
    assert stream(metric, *arrays, convert=np.asarray) == close_to(whole())


@pytest.mark.parametrize("name", TABLE)
def test_what_is_streamed_is_the_whole_with_weights(name):
    metric, arrays, whole = TABLE[name]
    assert whole(WEIGHT) != pytest.approx(float(whole()), rel=1e-3)
    assert stream(metric, *arrays, WEIGHT) == close_to(whole(WEIGHT))
    column = stream(metric, *arrays, WEIGHT[:, None])
    assert column == close_to(whole(WEIGHT))


def test_a_metric_starts_again():
    for name in ("calibration", "brier"):
        metric, arrays, whole = TABLE[name]
        metric.update_state(*(tensor(array[:25]) for array in arrays))
        metric.reset_state()
        metric.update_state(*map(tensor, arrays))
        assert result_of(metric) == close_to(whole())


def classifier(last="softmax", units=3):
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, activation="relu"),
            kerasdrop.layers.Dropout(0.3),
            keras.layers.Dense(units, activation=last),
        ]
    )


def of_classes(**settings):
    return [
        metrics.ExpectedCalibrationError(10, **settings),
        metrics.BrierScore(**settings),
        metrics.NegativeLogLikelihood(**settings),
        metrics.Entropy(**settings),
    ]


def check_logs(logs, y, p, sample_weight=None):
    assert logs["expected_calibration_error"] == close_to(
        calibration.expected_calibration_error(y, p, 10, sample_weight)
    )
    assert logs["brier_score"] == close_to(
        calibration.brier_score(y, p, sample_weight)
    )
    assert logs["negative_log_likelihood"] == close_to(
        calibration.negative_log_likelihood(y, p, sample_weight)
    )
    entropy = np.average(measures.entropy(p), weights=sample_weight)
    assert logs["entropy"] == close_to(entropy)


def test_a_compiled_model_streams_them_and_is_saved_with_them(tmp_path):
    model = classifier()
    model.compile(
        "sgd", "sparse_categorical_crossentropy", metrics=of_classes()
    )
    history = model.fit(
        X, Y, batch_size=20, validation_data=(X, Y), verbose=0
    ).history
    p = model.predict(X, verbose=0)
    last = {
        name.removeprefix("val_"): values[-1]
        for name, values in history.items()
        if name.startswith("val_")
    }
    check_logs(last, Y, p)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    logs = loaded.evaluate(X, Y, batch_size=20, verbose=0, return_dict=True)
    check_logs(logs, Y, p)


def test_weights_of_rows_in_a_compiled_model():
    model = classifier()
    model.compile(
        loss="sparse_categorical_crossentropy", weighted_metrics=of_classes()
    )
    logs = model.evaluate(
        X, Y, batch_size=20, sample_weight=WEIGHT, verbose=0, return_dict=True
    )
    check_logs(logs, Y, model.predict(X, verbose=0), WEIGHT)


def test_logits_of_two_classes():
    model = classifier(None, units=1)
    labels = (Y > 0).astype("float32")
    model.compile(
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=of_classes(from_logits=True),
    )
    logs = model.evaluate(X, labels, 20, verbose=0, return_dict=True)
    p = 1.0 / (1.0 + np.exp(-model.predict(X, verbose=0).astype("float64")))
    check_logs(logs, labels, p)


def test_one_hot_targets_and_half_precision():
    last = keras.layers.Dense(3, activation="softmax", dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((5,)), last])
    model.compile(loss="categorical_crossentropy", metrics=of_classes())
    one_hot = np.eye(3, dtype="float32")[Y]
    logs = model.evaluate(X, one_hot, 20, verbose=0, return_dict=True)
    p = np.asarray(model.predict(X, verbose=0), "float64")
    # Two roundings to 8 bits, in different programs.
    assert logs["brier_score"] == pytest.approx(
        np.mean(np.sum((p - one_hot) ** 2, axis=-1)), abs=2e-2
    )


def test_two_part_outputs_in_a_compiled_model():
    model = classifier(None, units=4)
    kind = "mean_and_log_variance"
    model.compile(
        loss="mse",
        metrics=[
            metrics.GaussianNegativeLogLikelihood(kind),
            metrics.GaussianCRPS(kind),
            metrics.IntervalCoverage(kind, 0.8),
            metrics.IntervalScore(kind, 0.8),
            metrics.Sharpness(kind),
        ],
    )
    # Targets are of half the width of the outputs: so no loss of Keras fits.
    truth, parts = TRUTH[:25], PARTS[:25]
    logs = model.compute_metrics(None, tensor(truth), tensor(parts))
    mean, variance = parts[:, :2], np.exp(parts[:, 2:])
    interval = calibration.gaussian_interval(mean, variance, 0.8)
    expected = {
        "gaussian_negative_log_likelihood": (
            calibration.gaussian_negative_log_likelihood(truth, mean, variance)
        ),
        "gaussian_crps": calibration.gaussian_crps(truth, mean, variance),
        "interval_coverage": calibration.interval_coverage(truth, *interval),
        "interval_score": calibration.interval_score(truth, *interval, 0.8),
        "sharpness": measures.sharpness(variance),
    }
    for name, value in expected.items():
        assert float(ops.convert_to_numpy(logs[name])) == close_to(value)


def test_monte_carlo_is_evaluated_by_them():
    predictive = kerasdrop.MonteCarlo(classifier(), 20, seed=1)
    predictive.compile(metrics=of_classes())
    logs = predictive.evaluate(X, Y, verbose=0, return_dict=True)
    check_logs(logs, Y, predictive.predict(X, verbose=0)["mean"])


def test_reliability_of_what_was_streamed():
    metric = metrics.ExpectedCalibrationError(num_bins=8)
    for part in np.split(np.arange(50), [25]):
        metric.update_state(tensor(Y[part]), tensor(P[part]))
    whole = calibration.reliability(Y[:50], P[:50], 8)
    for ours, expected in zip(metric.reliability(), whole):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_logits_taken_for_probabilities_are_nan():
    model = classifier(None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=of_classes())
    logs = model.evaluate(X, Y, 20, verbose=0, return_dict=True)
    assert np.isfinite(logs.pop("loss"))
    assert len(logs) == 4
    assert np.isnan(list(logs.values())).all()


@pytest.mark.parametrize(
    "metric",
    [
        metrics.GaussianCRPS,
        metrics.GaussianNegativeLogLikelihood,
        metrics.IntervalCoverage,
        metrics.IntervalScore,
        metrics.Sharpness,
    ],
)
def test_logarithms_of_variances_taken_for_variances_are_nan(metric):
    metric = metric("mean_and_variance")
    parts = np.concatenate([MEAN, np.log(VARIANCE)], axis=-1)
    metric.update_state(tensor(TRUTH), tensor(parts))
    assert np.isnan(float(metric.result()))


def test_settings_out_of_their_range():
    with pytest.raises(ValueError, match="`num_bins` must be an integer"):
        metrics.ExpectedCalibrationError(0)
    with pytest.raises(ValueError, match="`from_logits` must be True or"):
        metrics.BrierScore(from_logits="no")
    with pytest.raises(ValueError, match='`kind` must be "mean_and_variance"'):
        metrics.GaussianCRPS("regression")
    with pytest.raises(ValueError, match="IntervalScore: argument `level`"):
        metrics.IntervalScore("mean_and_variance", level=90)
    with pytest.raises(ValueError, match="must have an even size.*with 3"):
        metrics.GaussianCRPS("mean_and_variance").update_state(
            TRUTH, np.ones((ROWS, 3))
        )
    with pytest.raises(ValueError, match="outputs of a softmax"):
        metrics.BrierScore().update_state(Y, np.log(P))


@pytest.mark.parametrize("name", TABLE)
def test_no_rows_are_no_good_score(name):
    # The mean of Keras would be 0, the best there is.
    metric, arguments, _ = TABLE[name]
    metric.reset_state()
    assert np.isnan(float(metric.result()))
    metric.update_state(*arguments, sample_weight=np.zeros(ROWS))
    assert np.isnan(float(metric.result()))

"""The benchmark on UCI data: its parts against Keras and formulas; a run."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.support.scripts import ROOT
from tests.support.scripts import dotted
from tests.support.scripts import module_of


def linear_data(rows=60, features=3, splits=3, test_rows=6):
    """Arrays as in the files of the benchmark, of a noisy linear function."""
    generator = np.random.default_rng(0)
    x = generator.normal(2.0, 3.0, (rows, features))
    x[:, -1] = 7.0  # a constant feature, as Boston nearly has
    y = 10.0 + 4.0 * x[:, 0] + generator.normal(0.0, 1.0, rows)
    orders = [generator.permutation(rows) for _ in range(splits)]
    return x, y, np.array(orders)[:, :test_rows]


def alone(weights, decay):
    """A plain Keras network with such weights, and that weight decay."""
    kernel, bias, last_kernel, last_bias = weights
    model = keras.Sequential(
        [
            keras.Input((len(kernel),)),
            keras.layers.Dense(
                bias.size,
                activation="relu",
                kernel_regularizer=keras.regularizers.L2(decay),
            ),
            keras.layers.Dense(
                1, kernel_regularizer=keras.regularizers.L2(decay)
            ),
        ]
    )
    model.set_weights([kernel, bias.ravel(), last_kernel, last_bias.ravel()])
    model.compile(keras.optimizers.Adam(), "mse")
    return model


def test_a_member_is_trained_as_keras_trains_it_alone():
    ensembles = module_of("ensembles")
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 2, 3)).astype("float32")
    y = generator.normal(size=(8, 2)).astype("float32")
    decays = (0.0, 0.1)
    model = ensembles.ensemble(3, 4, 0.0, decays)
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    # With one batch the order of the rows does not matter.
    after = ensembles.train(model, x, y, 30, len(x), seed=0)
    for member, decay in enumerate(decays):
        expected = alone([weight[member] for weight in before], decay)
        expected.fit(x[:, member], y[:, member], len(x), 30, verbose=0)
        for start, value, wanted in zip(
            before, after[member], expected.get_weights()
        ):
            value, start = (
                a.reshape(wanted.shape) for a in (value, start[member])
            )
            assert np.abs(wanted - start).max() > 0.01
            np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-4)


def test_the_smaller_last_batch_and_a_mask_for_each_member():
    ensembles = module_of("ensembles")
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = np.repeat(generator.normal(size=(10, 1, 3)), 2, axis=1)
    y = np.repeat(generator.normal(size=(10, 1)), 2, axis=1)
    model = ensembles.ensemble(3, 4, 0.5, (0.0, 0.0))
    for variable in model.trainable_variables:
        first = keras.ops.convert_to_numpy(variable)[:1]
        variable.assign(np.repeat(first, 2, axis=0))
    one, other = ensembles.train(model, x, y, 2, batch_size=4, seed=0)
    # Same data, same start, same order: masks alone tell them apart.
    assert np.abs(one[0] - other[0]).max() > 1e-4


def test_log_likelihood_and_errors_are_those_of_the_paper():
    networks = module_of("gal_networks")
    x, y, test_index = linear_data()
    task = networks.tasks(x, y, test_index)[0][0]
    generator = np.random.default_rng(1)
    weights = [
        generator.normal(size=shape).astype("float32")
        for shape in ((3, 8), (1, 8), (8, 1), (1, 1))
    ]
    tau = 0.05
    figures, samples = networks.Tester(3, 8, 500)(weights, 0.2, task, tau)
    test = test_index[0]
    errors = samples - y[test][:, None]
    terms = np.exp(-0.5 * tau * errors**2).mean(axis=1)
    expected = np.log(terms * (tau / (2.0 * np.pi)) ** 0.5).mean()
    np.testing.assert_allclose(figures["ll"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        [figures["mc"], figures["one_pass"]],
        [
            np.sqrt(np.mean(errors.mean(axis=1) ** 2)),
            np.sqrt(np.mean(errors[:, 0] ** 2)),
        ],
        rtol=1e-4,
        atol=1e-4,
    )
    # Weight scaling is the plain network, in the units of the data.
    train = np.setdiff1d(np.arange(len(x)), test)
    deviation = x[train].std(axis=0)
    deviation[-1] = 1.0
    inputs = (x[test] - x[train].mean(axis=0)) / deviation
    hidden = np.maximum(inputs @ weights[0] + weights[1], 0.0)
    outputs = (hidden @ weights[2] + weights[3])[:, 0]
    outputs = outputs * y[train].std() + y[train].mean()
    np.testing.assert_allclose(
        figures["scaled"],
        np.sqrt(np.mean((outputs - y[test]) ** 2)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_free_tau_is_a_maximum():
    networks = module_of("gal_networks")
    y = np.array([0.0, 1.0, 3.0])
    constant = np.tile(np.array([[1.0], [1.0], [1.0]], "float32"), (1, 5))
    # Passes that agree: the inverse of the mean squared error, (1 + 0 + 4) / 3.
    np.testing.assert_allclose(
        networks.best_tau(constant, y), 0.6, rtol=1e-5, atol=1e-6
    )
    generator = np.random.default_rng(0)
    samples = generator.normal(1.0, 0.5, (3, 200)).astype("float32")

    def log_likelihood(tau):
        terms = np.exp(-0.5 * tau * (samples - y[:, None]) ** 2).mean(axis=1)
        return np.log(terms).mean() + 0.5 * np.log(tau)

    tau = networks.best_tau(samples, y)
    assert log_likelihood(tau) > log_likelihood(tau * 1.1)
    assert log_likelihood(tau) > log_likelihood(tau / 1.1)


def test_the_best_pair_of_each_split_is_chosen():
    gal_uci = module_of("gal_uci")
    found = {
        0.1: {
            "ll": [[-3.0, -1.0], [-2.0, -2.5]],
            "free_ll": [-0.5, -2.0],
            "free_tau": [7.0, 8.0],
        },
        0.2: {
            "ll": [[-2.0, -1.5], [-3.0, -1.9]],
            "free_ll": [-0.6, -1.0],
            "free_tau": [5.0, 6.0],
        },
    }
    pairs = list(gal_uci.chosen_pairs(found, (10.0, 20.0)))
    assert pairs == [(0.1, 20.0), (0.1, 7.0), (0.2, 20.0), (0.2, 6.0)]


def test_nothing_of_the_test_rows_is_seen_before():
    networks = module_of("gal_networks")
    x, y, test_index = linear_data()
    for test, (whole, held) in zip(
        test_index, networks.tasks(x, y, test_index)
    ):
        assert len(whole.x) == 54
        assert (len(held.x), len(held.x_test)) == (43, 11)
        assert not set(held.y_test) & set(y[test])
        np.testing.assert_array_equal(whole.y_test, y[test])
        np.testing.assert_allclose(whole.x.mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(
            whole.x.std(axis=0), [1.0, 1.0, 0.0], rtol=1e-9, atol=1e-12
        )


def test_a_missing_file_is_named_with_its_origin(tmp_path):
    networks = module_of("gal_networks")
    with pytest.raises(SystemExit, match=r"uci_yacht.npz.*yaringal"):
        networks.loaded(tmp_path, "yacht")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_is_resumed(tmp_path):
    x, y, test_index = linear_data()
    np.savez(tmp_path / "uci_yacht.npz", x=x, y=y, test_index=test_index)
    output = tmp_path / "results.json"
    command = [
        sys.executable,
        "-m",
        dotted("gal_uci"),
        f"--data={tmp_path}",
        f"--output={output}",
        "--samples=64",
        "--quick",
    ]
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": str(ROOT),
    }

    def run(*more):
        return subprocess.run(
            [*command, *more],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run("--protocols=fixed400")
    assert first.returncode == 0, first.stderr
    kept = json.loads(output.read_text())["parts"]
    assert list(kept) == ["yacht fixed400"]
    second = run("--protocols=fixed400,grid")
    assert second.returncode == 0, second.stderr
    assert "yacht fixed400: done before" in second.stdout
    parts = json.loads(output.read_text())["parts"]
    assert parts["yacht fixed400"] == kept["yacht fixed400"]
    results = parts["yacht grid"]
    for tau in results["grid"]["tau"]:
        assert tau in (0.25, 0.5, 0.75)
    # The log-likelihood cannot exceed that of targets met exactly.
    ceilings = np.log(np.array(results["grid"]["tau"]) / (2.0 * np.pi)) / 2.0
    assert (np.array(results["grid"]["ll"]) <= ceilings).all()
    other = run("--samples=32")
    assert other.returncode != 0
    assert "begun with another `samples`" in other.stderr

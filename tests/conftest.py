"""Gives each test a fresh Keras and a seed, and the report a header."""

import gc
import itertools
import os
import pathlib
import platform
import sys
import zlib

# Where PyTorch finds Triton, the import of PyTorch loads it, and TensorFlow
# ends a process that loads Triton after it. So only tests on PyTorch, where it
# comes first, see the folder that the Makefile installs it into.
if os.environ.get("KERAS_BACKEND") == "torch":
    sys.path.append(str(pathlib.Path(sys.prefix, "triton")))

import keras
import numpy as np
import pytest

import kerasdrop
from tests.run_backends import COMPILED


def pytest_addoption(parser):
    parser.addoption(
        "--in-turn",
        action="store_true",
        help="run each test of `IN_TURN` on one of the backends alone",
    )
    parser.addoption(
        "--seed",
        type=int,
        default=0,
        help="the seed that every test starts from",
    )


def pytest_configure():
    """Lets JAX read from files what any process compiled before."""
    if keras.backend.backend() == "jax":
        import jax

        for name, value in {
            "jax_compilation_cache_dir": str(COMPILED),
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
            # With these, names of files contain the path of the folder.
            "jax_persistent_cache_enable_xla_caches": "none",
        }.items():
            jax.config.update(name, value)
            # The programs that tests start read these.
            os.environ[name.upper()] = str(value)


def pytest_report_header():
    backend = keras.backend.backend()
    version, device = _backend_version_and_device(backend)
    return (
        f"kerasdrop {kerasdrop.__version__}, keras {keras.__version__}, "
        f"numpy {np.__version__}, python {platform.python_version()}\n"
        f"backend: {backend} {version}, device: {device}"
    )


def _backend_version_and_device(backend):
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices()
        return tf.__version__, devices[-1].name
    if backend == "jax":
        import jax

        return jax.__version__, jax.devices()[0]
    import torch

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    )
    return torch.__version__, device


# These test scripts, documents, functions of arrays, messages, what is decided
# before or after a backend computes, and many models that are alike to a
# backend. `make test` runs each of them on one backend, chosen by its name.
# `make test BACKEND=...`, as in CI, and `make test-full` run all.
IN_TURN = (
    "tests/acquisition/",
    "tests/adapters/test_registry.py",
    "tests/benchmarks/",
    "tests/calibration/",
    "tests/callbacks/test_adaptive.py",
    "tests/callbacks/test_logger.py",
    "tests/callbacks/test_together.py",
    "tests/conversion/",
    "tests/docs/",
    "tests/formulas/",
    "tests/layers/test_bad_input.py",
    "tests/layers/test_drop_block.py",
    "tests/layers/test_embedding.py",
    "tests/layers/test_lora.py",
    "tests/layers/test_resuming.py",
    "tests/masks/test_mask_statistics.py",
    "tests/montecarlo/engine/test_callbacks.py",
    "tests/montecarlo/engine/test_data.py",
    "tests/montecarlo/engine/test_evaluation.py",
    "tests/montecarlo/engine/test_memory.py::TestCuts",
    "tests/montecarlo/engine/test_memory.py::TestSizes",
    "tests/montecarlo/engine/test_tolerance.py",
    "tests/montecarlo/engine/test_what_is_judged.py",
    "tests/montecarlo/inspection/test_warnings.py",
    "tests/montecarlo/rate_fitting/",
    "tests/montecarlo/sampling/test_draws.py",
    "tests/montecarlo/splitting/",
    "tests/montecarlo/statistics/",
    "tests/montecarlo/test_bad_input.py",
    "tests/montecarlo/test_choice.py",
    "tests/montecarlo/test_closed_forms.py",
    "tests/montecarlo/test_padding_masks.py",
    "tests/montecarlo/test_random_models.py",
    "tests/montecarlo/variance_shares/",
    "tests/montecarlo/verification/test_foreign_code.py::test_outputs_",
    "tests/montecarlo/verification/test_foreign_code.py::test_selected_",
    # Planted faults of the engine, which the check has to find.
    "tests/montecarlo/verification/test_verification.py::test_a_",
    "tests/montecarlo/verification/test_verification.py::test_it_is_",
    "tests/montecarlo/verification/test_verification.py::test_masks_",
    "tests/montecarlo/verification/test_verification.py::test_one_row_",
    "tests/montecarlo/verification/test_verification.py::test_rows_",
    "tests/packaging/test_versions.py",
    "tests/plots/",
    "tests/test_architecture.py",
    "tests/test_docstrings.py",
    "tests/test_examples.py",
    "tests/test_measures.py",
    "tests/test_metrics.py",
    "tests/rate_fit/",
    "tests/test_run_backends.py",
)
BACKENDS = ("jax", "tensorflow", "torch")

# These take half of the time of `make test-full` on JAX. Begun last, they would
# leave one of two processes without work.
LONGEST = (
    "tests/montecarlo/test_zoo.py",
    "tests/montecarlo/test_random_models.py",
)


def pytest_collection_modifyitems(config, items):
    """Chooses and orders the tests, and checks their names."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    if config.getoption("in_turn"):
        here = BACKENDS.index(keras.backend.backend())
        others = [
            item
            for item in items
            if item.nodeid.startswith(IN_TURN)
            # A test that some backends skip has to run on each of the others.
            and item.get_closest_marker("skipif") is None
            and zlib.crc32(item.nodeid.encode()) % len(BACKENDS) != here
        ]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]
    for item in items:
        # Processes that share the tests must have the same names for them.
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(
                "The name of a test has an address in it, which differs from "
                f"process to process; give its parameter an id: {item.nodeid}"
            )


@pytest.fixture(autouse=True)
def _fresh_keras(request):
    """Makes each test give the same results alone and in the whole suite."""
    keras.utils.set_random_seed(request.config.getoption("seed"))
    yield
    # Collecting garbage takes longer than most tests, so each module does it.
    keras.utils.clear_session(free_memory=False)


def pytest_collection_finish():
    _collect_garbage()


@pytest.fixture(autouse=True, scope="module")
def _collected_garbage():
    yield
    _collect_garbage()


def pytest_unconfigure():
    # Some modules complain at exit about frozen objects, which are not freed.
    gc.unfreeze()


_collections = itertools.count(1)
_WHOLE_AFTER = 16


def _collect_garbage():
    """Collects garbage, and excludes what survives from later collections.

    A backend's modules and caches are millions of objects, which stay. Walking
    through them after each module of tests took a sixth of the suite's time.
    """
    if next(_collections) % _WHOLE_AFTER == 0:
        # Objects that fixtures held in earlier collections were excluded, too.
        gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        seed = item.config.getoption("seed")
        backend = keras.backend.backend()
        report.sections.append(
            (
                "to repeat",
                f"KERAS_BACKEND={backend} python -m pytest "
                f"'{item.nodeid}' --seed {seed}",
            )
        )

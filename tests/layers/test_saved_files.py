"""What earlier versions saved is loaded, and does what it did there."""

import functools
import pathlib
import shutil

import keras
import numpy as np
import pytest

import kerasdrop
from tests.support import saved
from tests.support import versions

FIXTURES = pathlib.Path(__file__).parents[1] / "support" / "fixtures"
LATER = ("recurrent", "maps_in_time", "words", "accelerating")
OLDEST = "0.1.0-keras-3.12.zip"
ARCHIVES = {
    name: "0.1.0-recurrent.zip" if name in LATER else "0.1.0-first.zip"
    for name in saved.MODELS
}
MONTE_CARLO = [
    ("0.1.0-first.zip", "monte_carlo"),
    *(("0.1.0-monte-carlo.zip", name) for name in saved.MONTE_CARLO),
    *((OLDEST, name) for name in saved.MONTE_CARLO),
]

# Weights alone are read by any version.
does_not_read = versions.needs_keras(
    "3.15", "does not load a model that Keras 3.15 wrote"
)
written_by = pytest.mark.parametrize(
    "written_by", ["3.12", pytest.param("3.15", marks=does_not_read)]
)


def whole_models(cases):
    """The cases `(archive, name)`, by name."""
    return [
        pytest.param(
            *case,
            id="-".join(case),
            marks=[] if case[0] == OLDEST else [does_not_read],
        )
        for case in cases
    ]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A function that returns the folder of an archive, unpacked once."""

    @functools.cache
    def unpacked(archive):
        folder = tmp_path_factory.mktemp(pathlib.Path(archive).stem)
        shutil.unpack_archive(FIXTURES / archive, folder)
        return folder

    return unpacked


@pytest.fixture
def folder(name, written_by, unpacked):
    return unpacked(OLDEST if written_by == "3.12" else ARCHIVES[name])


def expected(folder, name):
    with np.load(folder / f"{name}.npz") as arrays:
        return dict(arrays)


def assert_behaves(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        # Another backend rounds otherwise; a mask would differ by its units.
        np.testing.assert_allclose(
            array, expected[name], rtol=1e-4, atol=1e-5, err_msg=name
        )


@written_by
@pytest.mark.parametrize("name", saved.MODELS)
def test_a_model_goes_on_as_it_was(folder, name):
    model = keras.saving.load_model(folder / f"{name}.keras")
    assert_behaves(saved.behaviour(model), expected(folder, name))


@pytest.mark.parametrize("written_by", ["3.15"])
@pytest.mark.parametrize("name", saved.MODELS)
def test_a_model_with_loaded_weights_goes_on_as_it_was(folder, name):
    keras.utils.set_random_seed(99)
    model = saved.MODELS[name]()
    model.load_weights(folder / f"{name}.weights.h5")
    assert_behaves(saved.behaviour(model), expected(folder, name))


# Whose predictions depend on what a legacy file does not hold.
NEED_MORE_THAN_WEIGHTS = ("drawn_at_inference", "scheduled_classic")
LEGACY = [name for name in saved.MODELS if name not in NEED_MORE_THAN_WEIGHTS]


@written_by
@pytest.mark.parametrize("name", LEGACY)
def test_a_model_of_a_legacy_file_predicts_as_it_did(folder, name):
    model = keras.saving.load_model(folder / f"{name}.h5", compile=False)
    np.testing.assert_allclose(
        saved.predictions(model),
        expected(folder, name)["predictions"],
        rtol=1e-4,
        atol=1e-5,
    )


@written_by
@pytest.mark.parametrize("name", ["vectors", "sequences", "images", "volumes"])
def test_a_model_of_a_legacy_file_has_its_rates(folder, name):
    model = keras.saving.load_model(folder / f"{name}.h5", compile=False)
    np.testing.assert_array_equal(
        list(kerasdrop.get_rates(model).values()),
        expected(folder, name)["rates"],
    )


@written_by
@pytest.mark.parametrize("name", saved.MODELS)
def test_the_weights_of_a_legacy_file_load(folder, name):
    whole = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    model = saved.MODELS[name]()
    model.load_weights(folder / f"{name}.h5")
    for mine, theirs in zip(
        model.get_weights(), whole.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def assert_draws_the_same_samples(predictive, folder, name):
    there = expected(folder, name)
    found = saved.means(predictive)
    assert_behaves(found, {key: there[key] for key in found})


@pytest.mark.parametrize(("archive", "name"), whole_models(MONTE_CARLO))
def test_a_monte_carlo_model_predicts_as_it_did(unpacked, archive, name):
    folder = unpacked(archive)
    predictive = keras.saving.load_model(folder / f"{name}.keras")
    assert_draws_the_same_samples(predictive, folder, name)


@pytest.mark.parametrize(("archive", "name"), MONTE_CARLO)
def test_the_weights_of_a_monte_carlo_model_load(unpacked, archive, name):
    folder = unpacked(archive)
    predictive = saved.MONTE_CARLO[name]()
    predictive.load_weights(folder / f"{name}.weights.h5")
    assert_draws_the_same_samples(predictive, folder, name)


def test_every_archive_is_loaded():
    loaded = {*ARCHIVES.values(), *(archive for archive, _ in MONTE_CARLO)}
    assert loaded == {path.name for path in FIXTURES.glob("*.zip")}


def test_every_layer_of_a_release_is_saved():
    # One that was made after the archives is to be in the next.
    classes = {
        type(layer)
        for name in saved.MODELS
        for layer in saved.ours(saved.MODELS[name]())
    }
    public = {getattr(kerasdrop.layers, n) for n in kerasdrop.layers.__all__}
    assert classes <= public
    assert len(classes) >= 27


def test_every_schedule_is_saved():
    models = saved.scheduled(), saved.accelerating()
    rates = [layer.schedule for one in models for layer in saved.ours(one)]
    public = [getattr(kerasdrop.schedules, n) for n in _classes()]
    assert {type(rate) for rate in rates} >= set(public)


def _classes():
    return [name for name in kerasdrop.schedules.__all__ if name[0].isupper()]

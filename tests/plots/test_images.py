"""The images that are drawn are those of the rows, and the maps lie beside."""

import numpy as np
import pytest
from keras import ops
from matplotlib import figure

from kerasdrop import plots

IMAGES = np.arange(3 * 2 * 4, dtype="float32").reshape(3, 2, 4)
MAPS = np.linspace(0.1, 0.9, 3 * 2 * 4).reshape(3, 2, 4)


def new_axes(number):
    return figure.Figure().subplots(1, number, squeeze=False)[0]


def image_of(ax):
    (image,) = ax.images
    return image


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "switch_backend", plt.switch_backend)
    plt.switch_backend("agg")
    yield
    plt.close("all")


def test_the_map_of_a_row_is_beside_its_image():
    axes = new_axes(2)
    drawn = plots.uncertainty_map(IMAGES, MAPS, 1, axes, label="entropy")
    assert list(drawn) == list(axes)
    np.testing.assert_array_equal(image_of(axes[0]).get_array(), IMAGES[1])
    np.testing.assert_array_equal(image_of(axes[1]).get_array(), MAPS[1])
    assert axes[0].figure.axes[-1].get_ylabel() == "entropy"


def test_colors_mean_the_same_in_every_row():
    for row in (0, -1):
        axes = plots.uncertainty_map(IMAGES, MAPS, row)
        assert image_of(axes[0]).get_clim() == (0.0, 23.0)
        assert image_of(axes[1]).get_clim() == (0.0, 0.9)
    np.testing.assert_array_equal(image_of(axes[0]).get_array(), IMAGES[2])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_channels_are_where_the_data_format_says(data_format):
    axis = -1 if data_format == "channels_last" else 1
    colors = np.stack([IMAGES / 23.0] * 3, axis)
    maps = ops.convert_to_tensor(np.expand_dims(MAPS, axis))
    axes = plots.uncertainty_map(colors, maps, 2, data_format=data_format)
    expected = np.stack([IMAGES[2] / 23.0] * 3, axis=-1)
    np.testing.assert_allclose(image_of(axes[0]).get_array(), expected)
    np.testing.assert_allclose(image_of(axes[1]).get_array(), MAPS[2])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.array([0, 51, 102], "uint8"), [0.0, 0.2, 0.4]),
        (np.array([0.1, 0.2, 0.4]), [0.1, 0.2, 0.4]),
        (np.array([-1.0, 0.0, 3.0]), [0.0, 0.25, 1.0]),
        (np.array([7.0, 7.0, 7.0]), [0.0, 0.0, 0.0]),
    ],
    ids=["uint8", "0 to 1", "others", "all the same"],
)
def test_colors_beyond_their_range_are_scaled(values, shown):
    images = np.broadcast_to(values, (1, 2, 2, 3))
    (ax,) = plots.least_certain(
        images, [0.5], axes=new_axes(1), data_format="channels_last"
    )
    drawn = image_of(ax).get_array()
    np.testing.assert_allclose(drawn, np.broadcast_to(shown, (2, 2, 3)))


def test_the_least_certain_come_first():
    values = ops.convert_to_tensor([[0.5], [2.0], [0.5]])
    axes = plots.least_certain(IMAGES, values, ["cat", "dog", "hen"])
    titles = [ax.get_title() for ax in axes]
    assert titles == ["dog: 2.00", "cat: 0.500", "hen: 0.500"]
    np.testing.assert_array_equal(image_of(axes[0]).get_array(), IMAGES[1])
    assert image_of(axes[0]).get_clim() == (0.0, 23.0)


def test_as_many_images_as_asked_for_or_as_axes():
    values, classes = np.arange(20.0), np.arange(20) % 3
    images = np.zeros((20, 2, 2))
    assert len(plots.least_certain(images, values)) == 12
    assert len(plots.least_certain(images[:8], values[:8])) == 8
    axes = plots.least_certain(images, values, num_images=7)
    assert len(axes) == len(axes[0].figure.axes) == 7
    grid = figure.Figure().subplots(2, 2)
    axes = plots.least_certain(images, values, classes, axes=grid)
    assert list(axes) == list(grid.flat)
    assert axes[-1].get_title() == "1: 16.0"


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (r"`images` must be \(rows.*\(3, 8\)", {"images": np.ones((3, 8))}),
        (
            r"select 3 channels.*\(3, 2, 4, 2\)",
            {"images": np.ones((3, 2, 4, 2))},
        ),
        (r"`images` must hold finite.*24 of 24", {"images": IMAGES * np.nan}),
        (r"std\[\.\.\., 0\].*\(3, 2\)", {"uncertainty": np.ones((3, 2))}),
        ("same number of rows.*3 and 2", {"uncertainty": MAPS[:2]}),
        ("from -3 to 2. Received: row=3", {"row": 3}),
        ("row=True", {"row": True}),
        ("must be 2 Matplotlib axes.*Received: 3", {"axes": new_axes(3)}),
        ("data_format", {"data_format": "last", "images": IMAGES[..., None]}),
    ],
    ids=[
        "flat images",
        "two channels",
        "not finite",
        "a number a row",
        "rows",
        "a row beyond",
        "a flag as row",
        "axes",
        "data format",
    ],
)
def test_maps_that_cannot_be_drawn(message, arguments):
    given = {"images": IMAGES, "uncertainty": MAPS} | arguments
    with pytest.raises(ValueError, match=f"^uncertainty_map: .*{message}"):
        plots.uncertainty_map(**given)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("`uncertainty` must have a number", {"uncertainty": MAPS}),
        ("1 of 3 numbers are not", {"uncertainty": [1.0, np.nan, 2.0]}),
        ("`uncertainty`.*3 and 2", {"uncertainty": [1.0, 2.0]}),
        ("`classes`.*3 and 1", {"classes": ["a"]}),
        (r"argmax.*\(3, 2\)", {"classes": np.ones((3, 2))}),
        ("at least 1", {"num_images": 0}),
        ("3 images. Received: 4", {"num_images": 4}),
        (
            "must be 2 Matplotlib axes.*3",
            {"num_images": 2, "axes": new_axes(3)},
        ),
    ],
    ids=[
        "a map a row",
        "not finite",
        "rows",
        "rows of classes",
        "probabilities",
        "none",
        "too many",
        "axes",
    ],
)
def test_images_that_cannot_be_drawn(message, arguments):
    given = {"images": IMAGES, "uncertainty": [1.0, 2.0, 3.0]} | arguments
    with pytest.raises(ValueError, match=f"^least_certain: .*{message}"):
        plots.least_certain(**given)

"""What Monte Carlo dropout does to a network, with each package."""

import warnings

import numpy as np
from keras import layers
from torch import nn

from benchmarks.peers import twins

NUM_SAMPLES = 16
RATE = 0.5

# No rounding, and no draw at rate 0.5, comes near it.
_SPREAD = 1e-3


def layer_beside(inner, module, shape):
    return lambda: twins.beside(
        lambda: inner(RATE), module and module(RATE), shape, RATE
    )


# A network for each kind of dropout. Its outputs are those of the layer in
# question and, beside them, of plain dropout, which everybody draws.
KINDS = {
    "`Dropout`": layer_beside(layers.Dropout, nn.Dropout, (12,)),
    "`SpatialDropout1D`, `Dropout1d`": layer_beside(
        layers.SpatialDropout1D, nn.Dropout1d, (3, 8)
    ),
    "`SpatialDropout2D`, `Dropout2d`": layer_beside(
        layers.SpatialDropout2D, nn.Dropout2d, (3, 3, 8)
    ),
    "`AlphaDropout`": layer_beside(layers.AlphaDropout, nn.AlphaDropout, (12,)),
    "`GaussianDropout`": layer_beside(layers.GaussianDropout, None, (12,)),
    "inside an LSTM: `dropout`": twins.recurrent,
    "inside an LSTM: `recurrent_dropout`": lambda: twins.recurrent(
        is_recurrent=True
    ),
    "inside attention": twins.transformer,
    "inside an LSTM, no other dropout": lambda: twins.recurrent(
        with_head=False
    ),
    "inside attention, no other dropout": lambda: twins.transformer(
        with_head=False
    ),
    "by a function, in a layer of one's own": layer_beside(
        twins.OwnLayer, twins.OwnModule, (12,)
    ),
}


def facts(contenders):
    """What holds for each contender: a list of rows.

    Args:
        contenders: The classes, by name.

    Returns:
        For each fact a dict of its name, how it was checked, and, by
        contender, what was found; None where there is no such layer.
    """
    rows = [
        row(f"draws: {kind}", _DRAWS, contenders, drawn, make)
        for kind, make in KINDS.items()
    ]
    for name, (check, function) in _OTHERS.items():
        rows.append(row(name, check, contenders, function, twins.convnet))
    return rows


def row(name, check, contenders, function, make):
    found = {}
    for contender, kind in contenders.items():
        twin = make()
        needs = twin.module if hasattr(kind, "draws") else twin.model
        found[contender] = None if needs is None else function(kind, twin)
    return {"fact": name, "check": check, "found": found}


_DRAWS = (
    f"the outputs of the layer differ between {NUM_SAMPLES} samples of one row"
)


def drawn(kind, twin):
    """Whether the first half of the outputs differs between samples."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            samples = kind(twin, NUM_SAMPLES).samples(twin.x)
        except ValueError as error:
            return f"error: {error}"
    outputs = samples[..., : samples.shape[-1] // 2]
    answer = "yes" if outputs.std(axis=1).max() > _SPREAD else "no"
    said = [
        str(one.message)
        for one in caught
        if issubclass(one.category, UserWarning)
    ]
    return f"{answer}, warns: {said[0]}" if said else answer


def statistics_moved(kind, twin):
    """The largest change of a statistic of batch normalization."""
    before = twin.statistics(kind.network)
    kind(twin, NUM_SAMPLES).samples(twin.x)
    changes = [
        abs(after - value).max()
        for value, after in zip(before, twin.statistics(kind.network))
    ]
    return f"{max(changes):.2g}" if max(changes) else "no"


def is_left_alone(kind, twin):
    """Whether the network is as before; else what brings it back, if any."""
    before = picture(twin, kind.network)
    contender = kind(twin, NUM_SAMPLES)
    contender.samples(twin.x)
    if not differences(before, picture(twin, kind.network)):
        return "yes"
    if contender.way_back:
        contender.go_back()
        different = differences(before, picture(twin, kind.network))
        if not different:
            return f"after `{contender.way_back}`"
        return f"no: {different}, also after `{contender.way_back}`"
    return f"no: {differences(before, picture(twin, kind.network))}"


def picture(twin, network):
    """All that a user could see changed, by name: lists."""
    parts = twin.parts(network)
    return {
        "outputs": [twin.outputs(network)],
        "weights or statistics": twin.weights(network),
        "modes": [np.array([one.training for one in parts])],
        "layers": [np.array([type(one).__name__ for one in parts])],
    }


def differences(before, after):
    """The names under which two pictures differ, a string."""
    return ", ".join(
        name
        for name, arrays in before.items()
        if not all(map(np.array_equal, arrays, after[name]))
    )


def is_reproducible(kind, twin):
    contender = kind(twin, NUM_SAMPLES)
    draws = []
    for seed in (1, 1, 2):
        contender.seed(seed)
        draws.append(contender.samples(twin.x))
    if np.array_equal(draws[0], draws[2]):
        return "draws nothing"
    return "yes" if np.array_equal(*draws[:2]) else "no"


def is_free_of_the_batch(kind, twin):
    contender = kind(twin, NUM_SAMPLES)
    draws = []
    for batch_size in (len(twin.x), 5):
        contender.seed(1)
        draws.append(contender.samples_in_batches(twin.x, batch_size))
    if draws[0].std(axis=1).max() < _SPREAD:
        return "draws nothing"
    return "yes" if np.allclose(*draws, rtol=1e-4, atol=1e-5) else "no"


_OTHERS = {
    "batch normalization moves by": (
        "its statistics before and after, largest difference",
        statistics_moved,
    ),
    "the network is left as it was": (
        "outputs, weights, statistics, modes and classes of the layers before "
        "and after, the network used as before",
        is_left_alone,
    ),
    "the same samples for the same seed": (
        "drawn twice, and once with another seed",
        is_reproducible,
    ),
    "the samples of a row do not depend on its batch": (
        "the same seed and rows in one batch and in batches of 5, equal to "
        "1e-4",
        is_free_of_the_batch,
    ),
}

"""Gal & Ghahramani's published UCI results, and their hyperparameters.

They are from the authors' repository, github.com/yaringal/
DropoutUncertaintyExps, which has the results of each split; they are averaged
here. ± gives the standard error: the standard deviation over the splits (with
their number in the denominator), divided by the root of their number.
"""

from typing import NamedTuple


class DataSet(NamedTuple):
    """What is particular to a data set.

    Attributes:
        rate, tau, length_scale: Those of the fixed protocols: the drop rate,
            the inverse of the noise's variance, the prior length scale.
        taus: The grid.
        num_units: Of the hidden layer.
        grid_epochs: Of the grid search.
    """

    rate: float
    tau: float
    length_scale: float
    taus: tuple
    num_units: int = 50
    grid_epochs: int = 4000


RATES = (0.005, 0.01, 0.05, 0.1)  # of the grid
GRID_LENGTH_SCALE = 1e-2

DATA_SETS = {
    "boston": DataSet(0.05, 0.159707652696, 1e-2, (0.1, 0.15, 0.2)),
    "concrete": DataSet(0.01, 0.0557319157756, 1e-2, (0.025, 0.05, 0.075)),
    "energy": DataSet(0.05, 0.427114830213, 1e-2, (0.25, 0.5, 0.75)),
    "kin8nm": DataSet(0.05, 192.483, 1e-2, (150.0, 200.0, 250.0)),
    "naval": DataSet(0.05, 42173.5, 1.0, (3e4, 4e4, 5e4)),
    "power": DataSet(0.005, 0.087111, 1e-2, (0.05, 0.1, 0.15)),
    "protein": DataSet(0.005, 0.064442, 1e-2, (0.025, 0.05, 0.075), 100, 2000),
    "wine": DataSet(0.05, 2.95833720839, 1e-2, (2.5, 3.0, 3.5)),
    "yacht": DataSet(0.01, 0.541869562034, 1e-1, (0.25, 0.5, 0.75)),
}

# Root mean squared errors and mean log-likelihoods with their standard errors;
# `wins`: in how many splits the mean of the passes is nearer than the scaled
# network, None where it is not known.
_FIXED = ("scaled", "mc", "mc_error", "ll", "ll_error", "wins")
_GRID = ("one_pass", "one_pass_error", *_FIXED[1:5])


def _table(columns, rows):
    return {name: dict(zip(columns, row)) for name, row in rows.items()}


RESULTS = {
    "fixed400": _table(
        _FIXED,
        {
            "boston": (2.979, 2.974, 0.190, -2.460, 0.055),
            "concrete": (5.232, 5.230, 0.118, -3.039, 0.020),
            "energy": (1.678, 1.663, 0.043, -1.985, 0.020),
            "kin8nm": (0.09443, 0.09647, 0.0007, 0.951, 0.006),
            "naval": (0.00622, 0.00547, 0.0001, 3.805, 0.011),
            "power": (4.021, 4.022, 0.041, -2.795, 0.010),
            "protein": (4.354, 4.356, 0.020, -2.891, 0.004),
            "wine": (0.6201, 0.6202, 0.0087, -0.933, 0.014),
            "yacht": (1.177, 1.109, 0.085, -1.554, 0.027),
        },
    ),
    "fixed4000": _table(
        _FIXED,
        {
            "boston": (2.871, 2.798, 0.187, -2.389, 0.045, 16),
            "concrete": (4.844, 4.815, 0.143, -2.940, 0.023, 16),
            "energy": (1.495, 1.087, 0.046, -1.717, 0.016, 19),
            "kin8nm": (0.09256, 0.09459, 0.0006, 0.973, 0.005, 0),
            "naval": (0.00582, 0.00468, 0.00004, 3.918, 0.006, 20),
            "power": (3.997, 3.998, 0.037, -2.787, 0.009, 2),
            "protein": (4.273, 4.275, 0.023, -2.872, 0.006, 1),
            "wine": (0.6127, 0.6129, 0.0091, -0.921, 0.014, 11),
            "yacht": (0.844, 0.724, 0.056, -1.375, 0.014, 18),
        },
    ),
    "grid": _table(
        _GRID,
        {
            "boston": (3.609, 0.234, 2.904, 0.177, -2.402, 0.042),
            "concrete": (5.448, 0.188, 4.826, 0.161, -2.937, 0.025),
            "energy": (0.967, 0.060, 0.539, 0.0135, -1.212, 0.005),
            "kin8nm": (0.0916, 0.0011, 0.0789, 0.0006, 1.136, 0.007),
            "naval": (0.00173, 0.00005, 0.000743, 0.00005, 4.4495, 0.0022),
            "power": (4.176, 0.040, 4.014, 0.037, -2.808, 0.009),
            "protein": (4.392, 0.021, 4.274, 0.021, -2.871, 0.0015),
            "wine": (0.6571, 0.0102, 0.6218, 0.0080, -0.928, 0.013),
            "yacht": (1.229, 0.373, 0.666, 0.049, -1.250, 0.015),
        },
    ),
}

"""Dropout for Keras 3: live rates, schedules, Monte Carlo uncertainty."""

from kerasdrop import acquisition
from kerasdrop import calibration
from kerasdrop import callbacks
from kerasdrop import functional
from kerasdrop import layers
from kerasdrop import measures
from kerasdrop import metrics
from kerasdrop import plots
from kerasdrop import schedules
from kerasdrop.classic_scaling import fold_classic_scaling
from kerasdrop.conversion import convert_dropout
from kerasdrop.montecarlo.adapters import register_stochastic
from kerasdrop.montecarlo.inspection import inspect
from kerasdrop.montecarlo.model import MonteCarlo
from kerasdrop.montecarlo.prediction import mc_predict
from kerasdrop.montecarlo.verdicts import VerificationError
from kerasdrop.rates import get_rates
from kerasdrop.rates import set_rates
from kerasdrop.rematerialization import remat
from kerasdrop.rows import row_scope
from kerasdrop.stripping import strip_dropout

__version__ = "0.1.0"

__all__ = [
    "MonteCarlo",
    "VerificationError",
    "acquisition",
    "calibration",
    "callbacks",
    "convert_dropout",
    "fold_classic_scaling",
    "functional",
    "get_rates",
    "inspect",
    "layers",
    "mc_predict",
    "measures",
    "metrics",
    "plots",
    "register_stochastic",
    "remat",
    "row_scope",
    "schedules",
    "set_rates",
    "strip_dropout",
]

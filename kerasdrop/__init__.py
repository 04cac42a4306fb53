"""Dropout for Keras 3: live rates, schedules, Monte Carlo uncertainty."""

import sys

from kerasdrop import _keras_version  # noqa: F401, which refuses an old Keras
from kerasdrop import _public_names
from kerasdrop import acquisition
from kerasdrop import calibration
from kerasdrop import callbacks
from kerasdrop import functional
from kerasdrop import layers
from kerasdrop import masks
from kerasdrop import measures
from kerasdrop import metrics
from kerasdrop import plots
from kerasdrop import schedules
from kerasdrop.conversion import Conversion
from kerasdrop.conversion import Folding
from kerasdrop.conversion import Insertion
from kerasdrop.conversion import Stripping
from kerasdrop.conversion import convert_dropout
from kerasdrop.conversion import fold_classic_scaling
from kerasdrop.conversion import insert_dropout
from kerasdrop.conversion import strip_dropout
from kerasdrop.layers.rematerialization import remat
from kerasdrop.masks import Draw
from kerasdrop.masks import row_scope
from kerasdrop.montecarlo import Inspection
from kerasdrop.montecarlo import MonteCarlo
from kerasdrop.montecarlo import Verification
from kerasdrop.montecarlo import VerificationError
from kerasdrop.montecarlo import fit_rates
from kerasdrop.montecarlo import inspect
from kerasdrop.montecarlo import mc_predict
from kerasdrop.montecarlo import mc_sobol_indices
from kerasdrop.montecarlo import register_stochastic
from kerasdrop.predictive import Predictive
from kerasdrop.rate_fit import RateCurve
from kerasdrop.rate_fit import RateFit
from kerasdrop.rates import get_rates
from kerasdrop.rates import set_rates
from kerasdrop.sobol_indices import SobolIndices

__version__ = "0.1.0"

__all__ = [
    "Conversion",
    "Draw",
    "Folding",
    "Insertion",
    "Inspection",
    "MonteCarlo",
    "Predictive",
    "RateCurve",
    "RateFit",
    "SobolIndices",
    "Stripping",
    "Verification",
    "VerificationError",
    "acquisition",
    "calibration",
    "callbacks",
    "convert_dropout",
    "fit_rates",
    "fold_classic_scaling",
    "functional",
    "get_rates",
    "insert_dropout",
    "inspect",
    "layers",
    "masks",
    "mc_predict",
    "mc_sobol_indices",
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

_public_names.list_public_names(sys.modules[__name__])

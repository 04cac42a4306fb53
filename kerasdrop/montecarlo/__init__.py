"""Monte Carlo dropout: predictions with an uncertainty.

`kerasdrop` has these names too.
"""

from kerasdrop._adapters.adapters import register_stochastic
from kerasdrop.montecarlo.inspection.inspection import Inspection
from kerasdrop.montecarlo.inspection.inspection import inspect
from kerasdrop.montecarlo.model import MonteCarlo
from kerasdrop.montecarlo.prediction import mc_predict
from kerasdrop.montecarlo.rate_fitting.fit import fit_rates
from kerasdrop.montecarlo.variance_shares.shares import mc_sobol_indices
from kerasdrop.montecarlo.verification.verdicts import Verification
from kerasdrop.montecarlo.verification.verdicts import VerificationError

__all__ = [
    "Inspection",
    "MonteCarlo",
    "Verification",
    "VerificationError",
    "fit_rates",
    "inspect",
    "mc_predict",
    "mc_sobol_indices",
    "register_stochastic",
]

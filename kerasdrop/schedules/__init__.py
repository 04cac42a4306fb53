"""Rates as functions of the step, and profiles of rates over depth."""

from kerasdrop.schedules.base import Constant
from kerasdrop.schedules.base import FromFunction
from kerasdrop.schedules.compositions import Cyclic
from kerasdrop.schedules.compositions import EarlyDropout
from kerasdrop.schedules.compositions import Join
from kerasdrop.schedules.compositions import LateDropout
from kerasdrop.schedules.compositions import stage_wise
from kerasdrop.schedules.compositions import warm_up
from kerasdrop.schedules.depth import exponential_depth_rates
from kerasdrop.schedules.depth import linear_depth_rates
from kerasdrop.schedules.depth import rates_with_mean
from kerasdrop.schedules.depth import step_depth_rates
from kerasdrop.schedules.pieces import PiecewiseLinear
from kerasdrop.schedules.pieces import Steps
from kerasdrop.schedules.ramps import Accelerating
from kerasdrop.schedules.ramps import Cosine
from kerasdrop.schedules.ramps import Curriculum
from kerasdrop.schedules.ramps import Exponential
from kerasdrop.schedules.ramps import Linear
from kerasdrop.schedules.ramps import Polynomial

__all__ = [
    "Accelerating",
    "Constant",
    "Cosine",
    "Curriculum",
    "Cyclic",
    "EarlyDropout",
    "Exponential",
    "FromFunction",
    "Join",
    "LateDropout",
    "Linear",
    "PiecewiseLinear",
    "Polynomial",
    "Steps",
    "exponential_depth_rates",
    "linear_depth_rates",
    "rates_with_mean",
    "stage_wise",
    "step_depth_rates",
    "warm_up",
]

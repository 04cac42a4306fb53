"""Callbacks that change the rates of a model during `fit`, or log them."""

from kerasdrop.callbacks.adaptive import AdaptiveDropoutRate
from kerasdrop.callbacks.control import DropoutRateControl
from kerasdrop.callbacks.logger import DropoutRateLogger
from kerasdrop.callbacks.scheduler import DropoutRateScheduler

__all__ = [
    "AdaptiveDropoutRate",
    "DropoutRateControl",
    "DropoutRateLogger",
    "DropoutRateScheduler",
]

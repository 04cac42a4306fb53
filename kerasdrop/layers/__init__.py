"""Dropout layers."""

from kerasdrop.layers.dropout import ClassicDropout
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.dropout import MCDropout
from kerasdrop.layers.dropout import ScheduledDropout

__all__ = ["ClassicDropout", "Dropout", "MCDropout", "ScheduledDropout"]

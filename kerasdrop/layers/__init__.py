"""Dropout layers."""

from kerasdrop.layers.alpha import AlphaDropout
from kerasdrop.layers.alpha import FeatureAlphaDropout
from kerasdrop.layers.dropout import ClassicDropout
from kerasdrop.layers.dropout import Dropout
from kerasdrop.layers.dropout import MCDropout
from kerasdrop.layers.dropout import ScheduledDropout
from kerasdrop.layers.gaussian import GaussianDropout
from kerasdrop.layers.spatial import SpatialDropout1D
from kerasdrop.layers.spatial import SpatialDropout2D
from kerasdrop.layers.spatial import SpatialDropout3D

__all__ = [
    "AlphaDropout",
    "ClassicDropout",
    "Dropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "MCDropout",
    "ScheduledDropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]

"""Rebuilds trained models with other dropout layers, more, or none."""

from kerasdrop.conversion.convert import Conversion
from kerasdrop.conversion.convert import convert_dropout
from kerasdrop.conversion.fold_scaling import Folding
from kerasdrop.conversion.fold_scaling import fold_classic_scaling
from kerasdrop.conversion.insert import Insertion
from kerasdrop.conversion.insert import insert_dropout
from kerasdrop.conversion.strip import Stripping
from kerasdrop.conversion.strip import strip_dropout

__all__ = [
    "Conversion",
    "Folding",
    "Insertion",
    "Stripping",
    "convert_dropout",
    "fold_classic_scaling",
    "insert_dropout",
    "strip_dropout",
]

"""Many small models, each with facts about its Monte Carlo pass.

`ENTRIES` has all of them by name. `tests.support.zoo_checks` checks a model
against its entry, and the other modules of this package have the models.
"""

from tests.support.zoo import attention
from tests.support.zoo import batch_axis
from tests.support.zoo import drawing
from tests.support.zoo import dtypes
from tests.support.zoo import graphs
from tests.support.zoo import habits
from tests.support.zoo import layers_of_keras
from tests.support.zoo import masks
from tests.support.zoo import operations
from tests.support.zoo import ours
from tests.support.zoo import recurrent
from tests.support.zoo import rows
from tests.support.zoo import subclassed
from tests.support.zoo.registry import ENTRIES
from tests.support.zoo.registry import ROWS
from tests.support.zoo.registry import Entry
from tests.support.zoo.registry import here
from tests.support.zoo.registry import inputs_of
from tests.support.zoo.registry import is_quick
from tests.support.zoo.registry import set_weights

__all__ = [
    "ENTRIES",
    "ROWS",
    "Entry",
    "attention",
    "batch_axis",
    "drawing",
    "dtypes",
    "graphs",
    "habits",
    "here",
    "inputs_of",
    "is_quick",
    "layers_of_keras",
    "masks",
    "operations",
    "ours",
    "recurrent",
    "rows",
    "set_weights",
    "subclassed",
]

"""Many small models, each with what is true of a Monte Carlo pass of it.

`ENTRIES` has them all by name. `tests.montecarlo.zoo_checks` holds a model to
what its entry says, and the other modules of this package have the models.
"""

from tests.montecarlo.zoo import attention
from tests.montecarlo.zoo import batch_axis
from tests.montecarlo.zoo import drawing
from tests.montecarlo.zoo import dtypes
from tests.montecarlo.zoo import graphs
from tests.montecarlo.zoo import habits
from tests.montecarlo.zoo import layers_of_keras
from tests.montecarlo.zoo import masks
from tests.montecarlo.zoo import operations
from tests.montecarlo.zoo import ours
from tests.montecarlo.zoo import recurrent
from tests.montecarlo.zoo import rows
from tests.montecarlo.zoo import subclassed
from tests.montecarlo.zoo.registry import ENTRIES
from tests.montecarlo.zoo.registry import ROWS
from tests.montecarlo.zoo.registry import Entry
from tests.montecarlo.zoo.registry import here
from tests.montecarlo.zoo.registry import inputs_of
from tests.montecarlo.zoo.registry import is_quick
from tests.montecarlo.zoo.registry import set_weights

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

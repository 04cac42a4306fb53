"""Which rows to label next: acquisition functions and batches of rows.

All functions take samples of probabilities, `(rows, samples, classes)`. `bald`,
`max_entropy`, `variation_ratio` and `mean_std` look at one row at a time and
accept samples of any plan. `epig` and `batch_bald` compare rows with each other
and need joint samples, in which sample t of every row comes from the same
thinned network: `mc_predict(model, pool, plan="shared", keep_samples=True)`.
With other samples they would return only noise. Pass them the result itself: it
contains its plan, and they refuse any other plan.

Samples may be a NumPy array, or an array on disk that supports slices, such as
`numpy.memmap`, which is read a block of rows at a time. A last axis of size 1
holds the probability of the positive class. Information is in nats.
"""

from kerasdrop.acquisition.batches import Batch
from kerasdrop.acquisition.batches import batch_bald
from kerasdrop.acquisition.scores import bald
from kerasdrop.acquisition.scores import epig
from kerasdrop.acquisition.scores import max_entropy
from kerasdrop.acquisition.scores import mean_std
from kerasdrop.acquisition.scores import variation_ratio
from kerasdrop.acquisition.selection import stochastic_top_k
from kerasdrop.acquisition.selection import top_k

__all__ = [
    "Batch",
    "bald",
    "batch_bald",
    "epig",
    "max_entropy",
    "mean_std",
    "stochastic_top_k",
    "top_k",
    "variation_ratio",
]

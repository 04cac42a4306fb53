"""Which rows to label next: acquisition functions and batches of rows.

All of them take joint samples of probabilities, `(rows, samples, classes)`, in
which sample t of every row is of the same thinned network:
`mc_predict(model, pool, plan="shared", keep_samples=True).samples`. What looks
at one row at a time (`bald`, `max_entropy`, `variation_ratio`, `mean_std`)
takes samples of any plan; `epig` and `batch_bald` compare rows with each other,
and of samples that are not joint they make nothing but noise. Pass them the
result itself, which knows its plan: they refuse another one.

Samples may be a NumPy array, or any array on disk that takes slices, such as
`numpy.memmap`: it is read a block of rows at a time. A last axis of size 1
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

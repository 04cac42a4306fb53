"""Random words, and how they become keep masks.

A word is 32 random bits, stored as an int32. Every random decision of the
package is a pure function of four integers: a key (made from the seed), an
index (the training step, or the number of a Monte Carlo sample), the row (its
position in the batch or in the data) and the unit (its position in the row).
The functions use only wrapping int32 arithmetic. The same key therefore gives
the same mask on TensorFlow, JAX and PyTorch, eager or compiled, in any compute
dtype and for any batch size. There is no generator with a state.

A word is made in four steps:

1. `key_of_seed`: Threefry-2x32-20 (Salmon et al. 2011) of the seed, on the
   host, gives a key of four words.
2. `row_keys`: two words for each row, an integer hash of (key, index, row).
3. `unit_keys`: one word for each unit, an integer hash of its position.
4. `words`: row key + unit key, then two rounds of xorshift and multiply, with
   the second row key xored in between.

The expensive hashing is thus done once for each row and each unit, and an
element costs about as much as a pass over memory.

`benchmarks/statistics/bits.py` writes the words to a file for statistical test
suites. No test of TestU01's SmallCrush or of `dieharder -a` fails, for tall,
square and small shapes. For a wide shape, 16 rows of 65,536 units, fewer tests
of dieharder were run (not -d 5, 6, 7; -d 200 to 203 with few settings of -n).
None failed. One of 75 p-values was called weak (bit distribution, n = 1:
.9999); with other words and 5 times as many samples it was .85.

Step 4 has known weaknesses. The decisions of two units in a row are correlated
if their keys differ, modulo 2**32 and in either direction, by

| difference | rate .5 | .25, .75 | .1, .9 |
|---|---|---|---|
| 2**31 + 2**15 | .2 | .1 | -.06 |
| 2**29 +- 2**13 | -.02 | -.014 | 0 |
| 2**30 + 2**29 +- 2**13 | -.016 | -.011 | -.005 |
| 2**30 +- 2**14 | 0 | .012 | 0 |
| 2**28 +- 2**12 | -.009 | -.007 | 0 |

The columns are rates, the entries correlations; 0 means below .005. All sums of
up to three powers of two of either sign were tried at rates .1, .25 and .5: no
other difference reaches .007. Unit keys are the same for all layers, so these
units are known: 1 pair among the first 10,000 of a row, 6 among 65,536 (one of
them with .2), 138 among 262,144 (16 with .2). A test counts them.
"""

from kerasdrop.masks.draws import Draw
from kerasdrop.masks.draws import derived_key
from kerasdrop.masks.draws import derived_keys
from kerasdrop.masks.draws import for_rows
from kerasdrop.masks.draws import row_keys
from kerasdrop.masks.draws import rows_of_batch
from kerasdrop.masks.draws import unit_keys
from kerasdrop.masks.draws import unless_all_is_kept
from kerasdrop.masks.keeping import block_keep_mask
from kerasdrop.masks.keeping import for_noise
from kerasdrop.masks.keeping import keep_mask
from kerasdrop.masks.keeping import survivor_scale
from kerasdrop.masks.keeping import unit_keep_mask
from kerasdrop.masks.keeping import words
from kerasdrop.masks.rows import row_scope
from kerasdrop.masks.threefry import derived_seed
from kerasdrop.masks.threefry import key_of_seed
from kerasdrop.masks.threefry import key_of_seed_tensor

__all__ = [
    "Draw",
    "block_keep_mask",
    "derived_key",
    "derived_keys",
    "derived_seed",
    "for_noise",
    "for_rows",
    "keep_mask",
    "key_of_seed",
    "key_of_seed_tensor",
    "row_keys",
    "row_scope",
    "rows_of_batch",
    "survivor_scale",
    "unit_keep_mask",
    "unit_keys",
    "unless_all_is_kept",
    "words",
]

"""Saves and draws on each backend, for comparisons between backends.

One program does both in a process on its backend. If the suite runs on several
backends in turn, the program runs once and the later ones use its files.
"""

import functools
import os
import pathlib
import tempfile

from tests.support import helpers

BACKENDS = ("tensorflow", "jax", "torch")
DTYPES = ("float32", "float16", "bfloat16")

# Computes digests of many masks and of a layer's outputs.
_DIGESTS = """
import hashlib
import numpy as np
from keras import ops
from kerasdrop import layers
from kerasdrop import masks

def show(name, tensor):
    array = np.ascontiguousarray(ops.convert_to_numpy(tensor))
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    print(name, array.dtype, array.shape, digest)

def int32(value):
    return ops.convert_to_tensor(np.asarray(value, "int32"))

for seed in (0, -1, 2**63 - 1):
    key = masks.key_of_seed(seed)
    for index in (0, 2**31 - 1, -(2**31)):
        draw = masks.Draw(key, int32(index))
        for shape in ((), (7,), (64, 1024), (2, 300, 300)):
            show((seed, index, shape), masks.words(draw, shape))
    child = masks.derived_key(key, 3)
    rows = int32([5, 0, 2**31 - 1])
    draw = masks.Draw(child, int32([1, 2, 3]), rows)
    show((seed, "child, rows"), masks.words(draw, (3, 50)))
    for set_size in (4, 16, 256):
        draw = masks.Draw(child, int32([1, 2, 300]), rows, set_size)
        show((seed, "stratified", set_size), masks.words(draw, (3, 50)))
    for rate in (0.0, 1e-6, 0.001, 0.1, 0.3, 0.5, 0.9, 0.999, 1.0):
        rate32 = ops.convert_to_tensor(np.float32(rate))
        for dtype in DTYPES:
            inputs = ops.zeros((200, 7, 13), dtype)
            draw = masks.Draw(key, int32(9))
            keep = masks.keep_mask(draw, rate32, inputs)
            show((seed, rate, dtype), keep)
            keep = masks.keep_mask(draw, rate32, inputs, (None, 1, None))
            show((seed, rate, dtype, "noise shape"), keep)

layer = layers.Dropout(0.5, seed=4)
for step in range(3):
    show(("layer", step), layer(np.ones((16, 33), "float32"), training=True))
"""

# Saves a model, its predictions, and its next masks.
_SAVE = """import keras
import numpy as np
from keras import ops

from kerasdrop.layers import ClassicDropout, Dropout

schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.5)
model = keras.Sequential([
    keras.Input((6,)),
    keras.layers.Dense(5, activation="relu"),
    ClassicDropout(0.5, name="live"),
    keras.layers.BatchNormalization(),
    ClassicDropout(schedule, name="scheduled"),
    Dropout(0.5, seed=3, name="seeded"),
    keras.layers.Dense(2),
])
inputs = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
for _ in range(3):
    model(inputs, training=True)
model.get_layer("live").rate = 0.3
model.save("model.keras")
ones = np.ones((4, 50), "float32")
masks = [
    ops.convert_to_numpy(model.get_layer(name)(ones, training=True)) != 0
    for name in ("live", "scheduled", "seeded")
]
np.savez(
    "expected.npz",
    predictions=ops.convert_to_numpy(model(inputs)),
    masks=np.array(masks),
)
"""


def digests(backend, dtypes=DTYPES, **settings):
    """Returns lines with the digests of masks from a new process on a backend.

    Args:
        backend: String.
        dtypes: Strings, the dtypes of the inputs.
        **settings: Arguments of `helpers.run_python`.
    """
    code = f"DTYPES = {dtypes!r}\n{_DIGESTS}"
    return helpers.run_python(code, backend, **settings).splitlines()


@functools.cache
def folder_of(backend):
    """The folder with the results of a process on a backend.

    It contains a model, `model.keras`, its predictions and next draws,
    `expected.npz`, and `digests.txt`.
    """
    shared = pathlib.Path(os.environ.get("KERASDROP_SHARED") or _alone())
    folder = shared / f"made by {backend}"
    if not folder.exists():
        # Another process of the tests may make the folder, too.
        made = pathlib.Path(tempfile.mkdtemp(dir=shared))
        code = "\n".join(
            [
                f"import os\nos.chdir({str(made)!r})",
                _SAVE,
                f"DTYPES = {DTYPES!r}",
                _DIGESTS,
            ]
        )
        printed = helpers.run_python(code, backend)
        (made / "digests.txt").write_text(printed)
        try:
            made.rename(folder)
        except OSError:
            assert folder.exists()
    return folder


@functools.cache
def _alone():
    return tempfile.mkdtemp(prefix="kerasdrop-tests-")

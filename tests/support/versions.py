"""Requirements of tests on the version of Keras.

docs/stability.md tells users what older versions break.
"""

import keras
import pytest

KERAS = tuple(map(int, keras.__version__.split(".")[:2]))

# In `torch.compile`, comparing two tuples by `is not` in `keras.tree` breaks
# the graph. The results are the same.
ONE_GRAPH = KERAS >= (3, 15)


def is_older(version):
    """Whether Keras is older than a version such as `"3.15"`."""
    return KERAS < tuple(map(int, version.split(".")))


def needs_keras(version, reason, *, backend=None):
    """Returns a mark that skips the test on an older Keras.

    Args:
        version: String, `"major.minor"`, of the first Keras it runs on.
        reason: String, what an older Keras does, for its users to read.
        backend: String, the only backend on which the test needs that version.
    """
    older = is_older(version)
    if backend is not None:
        older = older and keras.backend.backend() == backend
    return pytest.mark.skipif(older, reason=f"Keras before {version} {reason}")


needs_one_graph = needs_keras(
    "3.15", "ends a graph of torch.compile in each operation", backend="torch"
)

keeps_tensors = needs_keras(
    "3.15",
    "keeps what a layer made until Python collects its garbage",
    backend="torch",
)

# The compiler reads the gradient of each tensor that enters a graph.
looked_at_gradients = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)

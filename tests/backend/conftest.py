"""What the tests of the kernel share."""

import pytest

from tests.support import kernels


@pytest.fixture(scope="module")
def interpreted():
    """Triton interprets the kernel, on tensors of the CPU."""
    with kernels.interpreted():
        yield

"""Each model of the zoo keeps what its entry says."""

import pytest

from tests.montecarlo import zoo
from tests.montecarlo import zoo_checks

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in zoo_checks.KERAS_WARNS
]


def _named(entries):
    return [pytest.param(one, id=one.name) for one in entries]


@pytest.mark.parametrize("entry", _named(filter(zoo.is_quick, zoo.here())))
def test_zoo(entry):
    found = zoo_checks.failures(entry, zoo_checks.quick(entry))
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("entry", _named(zoo.here()))
def test_the_whole_zoo(entry):
    found = zoo_checks.failures(entry, zoo_checks.WHOLE)
    assert not found, "\n".join(found)

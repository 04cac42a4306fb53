"""Models that nobody has thought of."""

import functools

import keras
import pytest

from tests.support import random_models
from tests.support import versions
from tests.support import zoo
from tests.support import zoo_checks

FEW, MANY = 20, 200
# These models drop units of what is always 0, such as the difference of a
# tensor and itself, and the self-check has to say so.
IN_VAIN = {45, 159, 160}

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in zoo_checks.KERAS_WARNS
]


def entry_of(seed):
    """The model of a seed, as an entry of the zoo."""
    make = functools.partial(random_models.make, seed)
    return zoo.Entry(
        name=f"random_{seed}",
        make=make,
        inputs=lambda rows: random_models.inputs_of(seed, make(), rows),
        tolerance=1e-4,
        warns="(?s).*has no effect" if seed in IN_VAIN else None,
    )


def skip_what_keras_refuses(seed):
    try:
        random_models.make(seed)
    except ValueError as error:
        if not (versions.is_older("3.14") and "not connected" in str(error)):
            raise
        pytest.skip("Keras before 3.14 refuses an input that leads nowhere")


def check(seed):
    skip_what_keras_refuses(seed)
    checks = [
        zoo_checks.check_zero_noise,
        zoo_checks.check_independence,
        zoo_checks.check_backends,
    ]
    if keras.backend.backend() == "torch":  # nothing is compiled there
        checks.append(zoo_checks.check_cuts)
        if seed % 5 == 0:
            checks.append(zoo_checks.check_law)
    found = zoo_checks.failures(entry_of(seed), checks)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", range(FEW))
def test_a_random_model(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FEW, MANY))
def test_another_random_model(seed):
    check(seed)

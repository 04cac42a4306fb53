"""What `untouched` reads and sets of the global random generators.

`keras_graph.global_generator` and `_backend.generators` read private names of
Keras and TensorFlow: public ones would make a generator where there is none.
"""

import copy
import pickle
import random

import keras
import numpy as np
import pytest

from kerasdrop import _backend
from kerasdrop._structure import keras_graph
from kerasdrop.montecarlo.verification import untouched

BACKEND = keras.backend.backend()


def drawn_by_keras():
    return np.array(keras.random.uniform((4,)))


def drawn_by_backend():
    """A function that draws from each generator, by its name."""
    if BACKEND == "torch":
        import torch

        return {"torch.random": lambda: torch.rand(4).numpy()}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return {
            "tf.random": lambda: tf.random.uniform((4,)).numpy(),
            "tf.random.get_global_generator()": lambda: (
                tf.random.get_global_generator().uniform((4,)).numpy()
            ),
        }
    return {}


def test_all_generators_of_the_backend_are_known():
    keras.utils.set_random_seed(0)
    named = {name.split(", ")[0] for name in _backend.generators()}
    assert named - {"torch.cuda.random"} == set(drawn_by_backend())


@pytest.mark.parametrize("name", list(drawn_by_backend()))
def test_a_state_tells_what_comes_next(name):
    keras.utils.set_random_seed(0)
    draw = drawn_by_backend()[name]
    draw()  # now there is one
    read, write = _backend.generators()[name]
    before = copy.deepcopy(read())
    one = draw()
    assert pickle.dumps(read()) != pickle.dumps(before)
    write(before)
    assert pickle.dumps(read()) == pickle.dumps(before)
    if name != "tf.random":  # whose operations, run eagerly, count as well
        np.testing.assert_array_equal(draw(), one)


@pytest.mark.parametrize("name", list(drawn_by_backend()))
def test_to_read_a_state_draws_nothing(name):
    draw = drawn_by_backend()[name]
    results = []
    for looks in (False, True):
        keras.utils.set_random_seed(0)
        if looks:
            _backend.generators()[name][0]()
        results.append(draw())
    if name != "tf.random.get_global_generator()":  # has no seed there
        np.testing.assert_array_equal(*results)


def test_the_generator_of_keras_is_found_and_not_made():
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    assert keras_graph.global_generator() is None
    drawn_by_keras()
    found = keras_graph.global_generator()
    assert isinstance(found, keras.random.SeedGenerator)
    before = np.array(found.state)
    drawn_by_keras()
    assert not np.array_equal(np.array(found.state), before)


def test_generators_are_kept():
    np_random = np.random  # the global one is what this is about
    states = [random.getstate(), np_random.get_state()[2]]
    with untouched.generators_kept():
        random.random()
        np_random.normal()
        for draw in drawn_by_backend().values():
            draw()
    assert random.getstate() == states[0]
    assert np_random.get_state()[2] == states[1]


def test_no_generator_of_keras_is_left_behind():
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    state = random.getstate()
    with keras_graph.no_global_generator_made():
        drawn_by_keras()
        assert keras_graph.global_generator() is not None
    assert keras_graph.global_generator() is None
    assert random.getstate() == state
    drawn_by_keras()
    found = keras_graph.global_generator()
    with keras_graph.no_global_generator_made():
        drawn_by_keras()
    assert keras_graph.global_generator() is found

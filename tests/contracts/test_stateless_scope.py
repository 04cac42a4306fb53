"""Where Keras puts what is assigned to variables, and how we ask.

`_backend.is_state_lost` reads the scope around a `keras.StatelessScope` off its
`original_scope`, for Keras has no public way to ask for it.
"""

import keras
import pytest

from kerasdrop import _backend


def test_a_scope_knows_the_one_around_it():
    with keras.StatelessScope(initialize_variables=False) as outer:
        assert outer.original_scope is None
        with keras.StatelessScope(initialize_variables=False) as inner:
            assert inner.original_scope is outer


def test_only_a_compiled_function_of_jax_loses_a_state():
    found = {"eager": _backend.is_state_lost()}
    if keras.backend.backend() != "jax":
        assert found == {"eager": False}
        pytest.skip("of JAX")
    import jax

    def look(name):
        found[name] = _backend.is_state_lost()
        with keras.StatelessScope():
            found[f"{name}, stateless"] = _backend.is_state_lost()
        return 0.0

    jax.jit(lambda: look("jit"))()
    jax.vmap(lambda x: look("vmap"))(jax.numpy.ones(2))
    jax.grad(lambda x: look("grad"))(1.0)
    lost = [name for name, is_lost in found.items() if is_lost]
    assert lost == ["jit"]

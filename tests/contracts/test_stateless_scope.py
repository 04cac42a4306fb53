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
    variable = keras.Variable(0, dtype="int32", trainable=False)
    found = {"eager": _backend.is_state_lost(variable)}
    if keras.backend.backend() != "jax":
        assert found == {"eager": False}
        pytest.skip("of JAX")
    import jax

    def look(name, state=0):
        found[name] = _backend.is_state_lost(variable)
        with keras.StatelessScope([(variable, state)]):
            found[f"{name}, stateless"] = _backend.is_state_lost(variable)
            jax.grad(lambda x: look_again(f"{name}, grad", x))(1.0)
            jax.lax.scan(
                lambda x, _: (look_again(f"{name}, scan", x), 0),
                0.0,
                length=2,
            )
        return 0.0

    def look_again(name, x):
        found[name] = _backend.is_state_lost(variable)
        return x

    jax.jit(lambda state: look("jit", state))(0)
    jax.vmap(lambda x: look("vmap"))(jax.numpy.ones(2))
    jax.grad(lambda x: look("grad"))(1.0)
    lost = [name for name, is_lost in found.items() if is_lost]
    assert lost == ["jit", "jit, scan"]

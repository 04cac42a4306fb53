"""Values of `jit_compile` with which training is compiled, and is not."""

import keras

# "auto" compiles on JAX only, and JAX runs operation by operation without it.
# torch.compile takes half a minute, and changes nothing for a callback.
JIT_MODES = {
    "tensorflow": ["auto", True],
    "jax": ["auto", False],
    "torch": ["auto"],
}[keras.backend.backend()]

"""The kernel compiles for GPUs; there need be none to see that.

The interpreter takes what a compiler refuses, and knows no instructions.
"""

import functools

import keras
import pytest

from tests.support import kernels

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

triton = pytest.importorskip(
    "triton", reason="`make test` installs Triton on Linux"
)

PLAIN = {
    "FILL": 0.5,
    "HAS_INDICES": False,
    "HAS_ROWS": False,
    "HAS_HALF": False,
    "BITS": 0,
    "TOGETHER": False,
    "BLOCK_ROWS": 16,
    "BLOCK_UNITS": 128,
}
OF_SAMPLES = {"HAS_INDICES": True, "HAS_ROWS": True, "BITS": 4}
TOGETHER = {**OF_SAMPLES, "TOGETHER": True}

VARIANTS = {
    "inverted": ("INVERTED", "fp32", {}),
    "inverted, bfloat16": ("INVERTED", "bf16", TOGETHER),
    "inverted, float64": ("INVERTED", "fp64", {"HAS_HALF": True}),
    "scaled": ("SCALED", "fp16", OF_SAMPLES),
    "affine": ("AFFINE", "fp32", {}),
    "affine, bfloat16": ("AFFINE", "bf16", TOGETHER),
    "mask": ("MASK", "i1", TOGETHER),
    "uniform": ("UNIFORM", "fp32", OF_SAMPLES),
}
# The others take a second each, too.
FEW = ("inverted", "affine", "mask")


@pytest.fixture(autouse=True)
def _compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with kernels.interpreted(False):
        yield


def instructions(what, dtype, changes, capability=90):
    """What NVIDIA's assembler is given for a GPU of this capability: PTX."""
    from kerasdrop._backend import triton_launch

    kernel = triton_launch.kernels()
    constants = {**PLAIN, **changes, "WHAT": getattr(kernel, what)}
    names = kernel.one_pass.arg_names
    types = dict.fromkeys(names, "i32")
    types |= dict.fromkeys(("words", "indices", "rows"), "*i32")
    types |= dict.fromkeys(("inputs", "outputs", "scale", "shift"), f"*{dtype}")
    types |= dict.fromkeys(constants, "constexpr")
    multiples = ("inputs", "outputs", "row_size")
    source = triton.compiler.ASTSource(
        fn=kernel.one_pass,
        signature=types,
        constexprs=constants,
        attrs={
            (names.index(name),): [["tt.divisibility", 16]]
            for name in multiples
        },
    )
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    compiled = triton.compile(
        source, target=target, options=triton_launch.OPTIONS
    )
    return compiled.asm["ptx"]


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=[] if name in FEW else pytest.mark.slow)
        for name in VARIANTS
    ],
)
def test_it_compiles(variant):
    code = instructions(*VARIANTS[variant])

    # 16 bytes at once, and no product that is added without being rounded.
    assert "st.global.v4.b32" in code or "st.global.v2.b64" in code
    assert "fma." not in code
    # Float32 operations keep small numbers, and divide as PyTorch does.
    assert ".ftz" not in code
    assert "div.full" not in code


@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 100])
def test_it_compiles_for_other_gpus(capability):
    dropped = functools.partial(instructions, "INVERTED", "fp32", {})

    assert "mul.rn.f32" in dropped(capability)

"""PyTorch's kernel gives what its operations give, bit for bit.

Interpreted, on tensors of a CPU: what it costs on a GPU is not seen here.
"""

import functools
import itertools
import logging

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import _backend
from kerasdrop import functional
from kerasdrop import layers
from kerasdrop import masks
from kerasdrop.masks import plans
from tests.layers import test_common
from tests.support import kernels
from tests.support import operations

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

import torch

from kerasdrop._backend import torch_kernel
from kerasdrop._backend import triton_launch
from kerasdrop._backend import triton_trial

pytest.importorskip("triton")

KEY = torch.from_numpy(masks.key_of_seed(3))
EXTREMES = (-(2**31), -1, 0, 2**31 - 1)


@pytest.fixture(scope="module", autouse=True)
def _interpreted():
    with kernels.interpreted():
        yield


def int32(values):
    return torch.tensor(values, dtype=torch.int32)


def rate_of(value=0.3):
    return torch.tensor(value)


def random(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(dtype)


def both(call):
    """What operations make, and what the kernel makes: they must differ."""
    expected = call()
    with kernels.on_cpu() as made:
        found = call()
    assert made
    return found, expected


def assert_same(call):
    found, expected = both(call)
    torch.testing.assert_close(
        found, expected, rtol=0.0, atol=0.0, equal_nan=True
    )


def draw_of(index=70, **others):
    return masks.Draw(KEY, int32(index), **others)


def in_sets(num_rows, set_size=16, num_samples=1, first=160):
    """Rows that are samples: `num_samples` successive ones of each row."""
    number = np.arange(num_rows)
    return masks.Draw(
        KEY,
        int32((first + number % num_samples).tolist()),
        int32((5 + number // num_samples * 3).tolist()),
        set_size,
        num_samples,
    )


# Inputs and `noise_shape`: those of all layers, one row, one unit, none, and
# such that a tile is not full or is not the only one.
SHAPES = {
    "matrix": ((7, 40), None),
    "vector": ((20,), None),
    "scalar": ((), None),
    "no rows": ((0, 3), None),
    "no units": ((3, 0), None),
    "tiles": ((37, 300), None),
    "wide": ((1, 5000), None),
    "tall": ((3000, 2), None),
    "path": ((6, 4, 5), (None, 1, 1)),
    "channels last": ((3, 5, 4, 6), (None, 1, 1, None)),
    "channels first": ((3, 6, 5, 4), (None, None, 1, 1)),
    "steps": ((4, 6, 3), (None, 1, None)),
    "one for all rows": ((4, 6, 3), (1, None, None)),
    "one for all": ((4, 3), (1, 1)),
    "last axes": ((4, 6, 3), (6, 1)),
    "sizes": ((4, 6, 3), (4, 6, 1)),
    "axes of one entry": ((9, 1, 3, 1), (None, None, 1, 1)),
}


@pytest.mark.parametrize(("shape", "noise"), SHAPES.values(), ids=SHAPES)
def test_shapes(shape, noise):
    x, draw = random(*shape), draw_of()

    def call():
        return (
            functional.dropout(x, draw, rate_of(), noise),
            masks.keep_mask(draw, rate_of(), x, noise),
        )

    assert_same(call)
    keep = call()[1]
    if keep.numel() > 1:
        assert len(keep.unique()) == 2


RATES = (0.0, 1e-9, 0.3, 0.999, 1 - 2.0**-24, 1.0, float("nan"))


@pytest.mark.parametrize("set_size", [None, 16])
@pytest.mark.parametrize("is_number", [False, True], ids=["tensor", "number"])
def test_rates(set_size, is_number):
    x = random(32, 9)
    draw = in_sets(32, set_size, 16)

    def call():
        return [
            function(x, draw, rate if is_number else rate_of(rate))
            for rate in RATES
            for function in (
                functional.dropout,
                functional.classic_dropout,
                functional.alpha_dropout,
            )
        ]

    assert_same(call)


SETS = [
    (set_size, num_samples)
    for set_size in (4, 16, 256)
    for num_samples in (1, 5, 16, 20)
]


@pytest.mark.parametrize(("set_size", "num_samples"), SETS)
def test_words_of_sets(set_size, num_samples):
    draw = in_sets(2 * num_samples, set_size, num_samples, first=768)
    if num_samples == 1:
        draw = draw._replace(index=int32(770))  # one index for all rows
    x = random(2 * num_samples, 11)

    assert_same(lambda: functional.dropout(x, draw, rate_of()))
    assert_same(lambda: functional.normal(draw, x))


@pytest.mark.parametrize("plan", plans.PLANS)
@pytest.mark.parametrize("num_samples", [5, 16, 50])
def test_plans(plan, num_samples):
    samples, rows = int32(list(range(num_samples))), int32([3, 11, 4])
    index, rows = plans.index_and_rows(plan, samples, rows)
    draw = masks.Draw(KEY, index, rows, plans.set_size(plan), num_samples)
    x = random(3 * num_samples, 4, 3)

    for noise in (None, (None, 1, None)):
        assert_same(
            functools.partial(functional.dropout, x, draw, rate_of(), noise)
        )


@pytest.mark.parametrize("set_size", [None, 16])
def test_words_and_numbers_at_the_ends_of_int32(set_size):
    pairs = list(itertools.product(EXTREMES, EXTREMES))
    index, rows = (int32(list(values)) for values in zip(*pairs))
    x = random(len(pairs), 6)

    for words in itertools.product((-(2**31), 2**31 - 1), repeat=4):
        key = int32(list(words)).reshape(2, 2, 1)
        draw = masks.Draw(key, index, rows, set_size)
        assert_same(functools.partial(masks.keep_mask, draw, rate_of(), x))


def test_keys_indices_and_rows_may_be_arrays():
    x = random(4, 6)
    rows = np.arange(3, 7, dtype="int32")
    for index in (5, np.int32(5), np.arange(4, dtype="int32"), int32(5)):
        draw = masks.Draw(masks.key_of_seed(1), index, rows)
        assert_same(functools.partial(functional.dropout, x, draw, 0.3))


DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_dtypes(dtype):
    x, draw = random(8, 33, dtype=dtype), draw_of()

    def call():
        results = {
            "dropout": functional.dropout(x, draw, rate_of()),
            "classic": functional.classic_dropout(x, draw, rate_of()),
            "alpha": functional.alpha_dropout(x, draw, rate_of()),
            "gaussian": functional.gaussian_dropout(x, draw, rate_of()),
            "noise": functional.gaussian_noise(x, draw, 0.5),
            "concrete": functional.concrete_dropout(x, draw, rate_of()),
        }
        assert {value.dtype for value in results.values()} == {dtype}
        if dtype != torch.bfloat16:
            return results
        # The interpreter truncates where hardware rounds.
        return {
            name: value == 0 if name in ("dropout", "classic") else None
            for name, value in results.items()
        }

    assert_same(call)


def test_what_is_dropped_is_zero_whatever_it_was():
    x = torch.tensor([[np.inf, np.nan, -np.inf, 1.0] * 8])

    found, expected = both(lambda: functional.dropout(x, draw_of(), rate_of()))

    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found == 0, expected == 0)


STRIDED = {
    "transposed": lambda: random(6, 5).t(),
    "every other": lambda: random(6, 10)[:, ::2],
    "some rows": lambda: random(9, 5)[2:8:2],
    "one row for all": lambda: random(1, 5).expand(6, 5),
    "channels last": lambda: random(3, 4, 5, 6).permute(0, 2, 3, 1),
    "channels first": lambda: random(3, 4, 5, 6).permute(0, 3, 1, 2),
    "time first": lambda: random(4, 3, 5).transpose(0, 1),
    "all axes": lambda: random(2, 3, 4, 5).permute(0, 3, 2, 1),
    "an offset": lambda: random(31)[1:].reshape(6, 5),
    "negated": lambda: torch.complex(random(6, 5), random(6, 5)).conj().imag,
}


@pytest.mark.parametrize("make", STRIDED.values(), ids=STRIDED)
def test_strided_inputs(make):
    for noise in ((), (None, *(1,) * (make().ndim - 2), None)):
        assert_same(
            lambda noise=noise: functional.dropout(
                make(), draw_of(), rate_of(), noise or None
            )
        )


def test_outputs_lie_in_memory_as_inputs_do():
    x = random(3, 4, 5, 6).permute(0, 2, 3, 1)

    with kernels.on_cpu():
        y = functional.dropout(x, draw_of(), rate_of())

    assert y.stride() == x.stride()


def test_draws_that_keep_all():
    x = random(4, 6)
    for keep_all in (True, torch.tensor(True), torch.tensor(False)):
        draw = draw_of(keep_all=keep_all)
        assert_same(functools.partial(functional.dropout, x, draw, rate_of()))
        assert_same(
            functools.partial(functional.classic_dropout, x, draw, rate_of())
        )


def test_blocks():
    x = random(2, 6, 6, 3)
    assert_same(lambda: functional.drop_block(x, draw_of(), rate_of(), (3, 3)))


# What the kernel is not for gives what operations give, and no wrong number.
OTHERS = {
    "three groups of axes": lambda: functional.dropout(
        random(3, 4, 5, 6), draw_of(), rate_of(), (None, None, 1, None)
    ),
    "a mask larger than the inputs": lambda: functional.dropout(
        random(3, 1), draw_of(), rate_of(), (None, 5)
    ),
    "an index of another dtype": lambda: functional.dropout(
        random(3, 4), masks.Draw(KEY, torch.tensor(5)), rate_of()
    ),
}


@pytest.mark.parametrize("call", OTHERS.values(), ids=OTHERS)
def test_what_the_kernel_is_not_for(call):
    expected = call()
    with kernels.on_cpu() as made:
        found = call()

    assert not made or set(made) == {"mask"}
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


DRAW, RATE = draw_of(), rate_of()


def linear(x):
    return functional.dropout(x, DRAW, RATE)


def affine(x):
    return functional.alpha_dropout(x, DRAW, RATE)


def cubed(function):
    return lambda x: (function(x) ** 3).sum()


def gradient(call, x):
    x = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(call(x), x, create_graph=True)
    return first, *torch.autograd.grad((first**2).sum(), x)


def by_dual(call, x):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x * 2.0)
        return torch.autograd.forward_ad.unpack_dual(call(dual)).tangent


WAYS = {
    "gradient, twice": lambda f, x: gradient(cubed(f), x),
    "dual": lambda f, x: by_dual(f, x),
    "grad": lambda f, x: torch.func.grad(cubed(f))(x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x * 2.0,)),
    "vjp": lambda f, x: torch.func.vjp(f, x)[1](x),
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, 2 * x])),
    "vmap, last axis": lambda f, x: torch.func.vmap(f, in_dims=2, out_dims=1)(
        torch.stack([x, 2 * x], 2)
    ),
    "vmap of grad": lambda f, x: torch.func.vmap(torch.func.grad(cubed(f)))(
        torch.stack([x, 2 * x, 3 * x])
    ),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "hessian": lambda f, x: torch.func.hessian(cubed(f))(x),
    "batched gradients": lambda f, x: torch.autograd.functional.jacobian(
        f, x, vectorize=True
    ),
    "batched tangents": lambda f, x: torch.autograd.functional.jacobian(
        f, x, vectorize=True, strategy="forward-mode"
    ),
}


# PyTorch's own, of its `torch.jit`.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("function", [linear, affine])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_derivatives(way, function):
    x = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)

    found, expected = both(lambda: way(function, x))

    torch.testing.assert_close(found, expected)


def test_nothing_is_kept_for_a_gradient():
    kept = []
    x = random(32, 64).requires_grad_()

    with (
        kernels.on_cpu(),
        torch.autograd.graph.saved_tensors_hooks(kept.append, kept.append),
    ):
        functional.dropout(x, draw_of(), rate_of()).sum()

    assert kept == []


def test_what_changes_before_the_gradient_does_not_change_it():
    rate, index, rows = rate_of(), int32(list(range(8))), int32([7] * 8)
    key = KEY.clone()
    x = torch.ones(8, 5, requires_grad=True)

    with kernels.on_cpu():
        y = functional.dropout(x, masks.Draw(key, index, rows), rate)
        for tensor in (rate, index, rows, key):
            tensor.fill_(1)
        y.sum().backward()

    assert 0 < int((y == 0).sum()) < 40
    assert torch.equal(x.grad, y.detach())


def test_a_rate_that_is_differentiated_has_its_gradient():
    def of_rate():
        rate = rate_of().requires_grad_()
        y = functional.dropout(random(3, 5), draw_of(), rate)
        return torch.autograd.grad((y**2).sum(), rate)

    expected = of_rate()
    with kernels.on_cpu() as made:
        found = of_rate()

    assert not made
    torch.testing.assert_close(found, expected)


# In `torch.func` a seed, a row or a rate may be mapped: then each entry has
# masks of its own, by operations.
def test_a_mapped_index_has_masks_of_its_own():
    x = random(3, 5)

    def call():
        return torch.func.vmap(
            lambda index: functional.dropout(
                x, masks.Draw(KEY, index), rate_of()
            )
        )(int32([1, 2, 3]))

    expected = call()
    with kernels.on_cpu():
        torch.testing.assert_close(call(), expected)


def traced_by_fx(call, x):
    return torch.fx.experimental.proxy_tensor.make_fx(call)(x)(x)


def traced_by_jit(call, x):
    return torch.jit.trace(call, x, check_trace=False)(x)


def faked(call, x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return tuple(call(mode.from_tensor(x)).shape)


TRACED = {
    "compile": lambda call, x: torch.compile(
        call, backend="eager", fullgraph=True
    )(x),
    "export": lambda call, x: torch.export.export(_Module(call), (x,)).module()(
        x
    ),
    "make_fx": traced_by_fx,
    "jit": traced_by_jit,
    "fake": faked,
}


class _Module(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("trace", TRACED.values(), ids=TRACED)
def test_what_is_traced_is_made_of_operations(trace):
    x = random(3, 4)
    expected = linear(x) if trace is not faked else (3, 4)

    with kernels.on_cpu() as made:
        found = trace(linear, x)

    assert not made
    torch.compiler.reset()
    if trace is faked:
        assert found == expected
    else:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("plan", plans.PLANS)
def test_samples_of_a_model(plan):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dropout(0.4),
            layers.AlphaDropout(0.2),
            layers.GaussianDropout(0.1),
            keras.layers.Dense(2),
        ]
    )
    x = random(3, 4).numpy()

    def call():
        return kerasdrop.mc_predict(
            model, x, num_samples=20, plan=plan, seed=0, verbose=0
        )

    found, expected = both(call)

    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.std, expected.std)


# Nothing to run on a GPU, as these are used.
UNLAUNCHED = ("permute", "contiguous", "reshape", "empty", "empty_like")


def test_a_call_is_few_operations(monkeypatch):
    # As on a GPU, nothing can be read there.
    monkeypatch.setattr(_backend, "at_hand", lambda *values: None)
    layer = layers.Dropout(0.5, seed=0)
    x = random(32, 64).requires_grad_()

    with kernels.on_cpu():
        layer(x, training=True)
        # The kernel is one; what interprets it is many.
        monkeypatch.setattr(triton_launch, "run", _copied)
        names = operations.of(lambda: layer(x, training=True))

    launched = [name for name in names if name not in UNLAUNCHED]
    # The step, the rate, the words that are kept; the stock layer has eleven.
    assert 0 < len(launched) <= 9, launched


def _copied(recipe, layout, inputs, outputs):
    recipe.copies(outputs.device)
    return outputs


@pytest.fixture
def untried(monkeypatch):
    """It is not known whether the kernel works."""
    monkeypatch.setattr(triton_trial, "_passed", {})


def messages(caplog, expected):
    """What is logged while the kernel does not work."""
    with kernels.on_cpu() as made, caplog.at_level(logging.DEBUG, "kerasdrop"):
        for _ in range(2):
            assert torch.equal(linear(random(3, 4)), expected)
    assert "scaled" not in made
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    return caplog.text


def test_without_triton_operations_are_used_and_a_line_says_so(
    untried, monkeypatch, caplog
):
    expected = linear(random(3, 4))
    monkeypatch.setattr(triton_trial, "find_spec", lambda name: None)

    assert "pip install triton" in messages(caplog, expected)


def test_a_kernel_that_fails_is_not_used(untried, monkeypatch, caplog):
    def failing():
        raise RuntimeError("Failed to find C compiler.\nSecond line")

    expected = linear(random(3, 4))
    monkeypatch.setattr(triton_launch, "kernels", failing)

    text = messages(caplog, expected)
    assert "Failed to find C compiler." in text
    assert "Second line" not in text


@pytest.mark.parametrize("set_size", [None, 16])
def test_a_kernel_that_is_wrong_is_not_used(
    set_size, untried, monkeypatch, caplog
):
    expected = linear(random(3, 4))
    other = torch_kernel._KNOWN[set_size].replace("d", "c", 1)
    monkeypatch.setitem(torch_kernel._KNOWN, set_size, other)

    assert "not those" in messages(caplog, expected)


def test_the_known_masks_are_those_of_operations():
    index = int32(list(range(16)))
    for set_size, known in torch_kernel._KNOWN.items():
        key = index[:4].reshape(2, 2, 1)
        draw = masks.Draw(key, index, index * 0, set_size, 16)
        keep = masks.keep_mask(draw, rate_of(), torch.ones(16, 8)).numpy()
        assert np.packbits(keep).tobytes().hex() == known


def test_it_is_not_tried_where_nothing_can_be_read(untried, caplog):
    x = random(2, 3, 4)
    expected = linear(x[0])

    with kernels.on_cpu() as made:
        found = torch.func.vmap(linear)(x)
        assert not made
        assert torch.equal(linear(x[0]), expected)

    assert made
    assert torch.equal(found[0], expected)
    assert caplog.text == ""


def test_on_a_cpu_there_is_no_kernel(untried, caplog):
    layer = layers.Dropout(0.5, seed=0)

    layer(random(300, 300), training=True)

    assert triton_trial._passed == {}
    assert caplog.text == ""


FEW = ("Dropout", "GaussianDropout", "LSTM", "DropBlock2D", "DropConnect")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FEW else pytest.mark.slow)
        for name in test_common.CASES
        if name != "EmbeddingDropout"  # which asks for units by numbers
    ],
)
def test_training_of_each_layer(name):
    case = test_common.CASES[name]
    x = random(8, *case.shape).numpy()

    def call():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input(case.shape),
                keras.layers.Dense(case.shape[-1]),
                case.make(0.4, seed=3),
            ]
        )
        model.compile("sgd", "mse")
        y = np.zeros(model.output_shape[1:])
        y = np.broadcast_to(y, (8, *y.shape))
        losses = model.fit(x, y, batch_size=4, verbose=0).history["loss"]
        return losses, [torch.tensor(each) for each in model.get_weights()]

    found, expected = both(call)

    # Sums of recurrent layers follow the order in memory.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)

"""PyTorch's kernel gives what its operations give, bit for bit.

Interpreted, on tensors of a CPU: what it costs on a GPU is not seen here.
"""

import functools
import itertools

import keras
import numpy as np
import pytest

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop.masks import plans
from tests.support import kernels

if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

import torch

pytest.importorskip("triton", reason="`make test` installs Triton on Linux")

pytestmark = pytest.mark.usefixtures("interpreted")

EXTREMES = (-(2**31), -1, 0, 2**31 - 1)


def in_sets(num_rows, set_size=16, num_samples=1, first=160):
    """Rows that are samples: `num_samples` successive ones of each row."""
    number = np.arange(num_rows)
    return masks.Draw(
        kernels.key(),
        kernels.tensor((first + number % num_samples).tolist()),
        kernels.tensor((5 + number // num_samples * 3).tolist()),
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
    x, draw = kernels.random(*shape), kernels.draw()

    def call():
        return (
            functional.dropout(x, draw, kernels.rate(), noise),
            masks.keep_mask(draw, kernels.rate(), x, noise),
        )

    kernels.assert_same(call)
    keep = call()[1]
    if keep.numel() > 1:
        assert len(keep.unique()) == 2


RATES = (0.0, 1e-9, 0.3, 0.999, 1 - 2.0**-24, 1.0, float("nan"))


@pytest.mark.parametrize("set_size", [None, 16])
@pytest.mark.parametrize("is_number", [False, True], ids=["tensor", "number"])
def test_rates(set_size, is_number):
    x = kernels.random(32, 9)
    draw = in_sets(32, set_size, 16)

    def call():
        return [
            function(x, draw, rate if is_number else kernels.rate(rate))
            for rate in RATES
            for function in (
                functional.dropout,
                functional.classic_dropout,
                functional.alpha_dropout,
            )
        ]

    kernels.assert_same(call)


SETS = [
    (set_size, num_samples)
    for set_size in (4, 16, 256)
    for num_samples in (1, 5, 16, 20)
]


@pytest.mark.parametrize(("set_size", "num_samples"), SETS)
def test_words_of_sets(set_size, num_samples):
    draw = in_sets(2 * num_samples, set_size, num_samples, first=768)
    if num_samples == 1:
        draw = draw._replace(
            index=kernels.tensor(770)
        )  # one index for all rows
    x = kernels.random(2 * num_samples, 11)

    kernels.assert_same(lambda: functional.dropout(x, draw, kernels.rate()))
    kernels.assert_same(lambda: functional.normal(draw, x))


def test_a_first_index_that_begins_no_set():
    draw = in_sets(48, 16, 24, first=163)

    for noise in (None, (None, 1)):
        kernels.assert_same(
            functools.partial(
                functional.dropout,
                kernels.random(48, 7),
                draw,
                kernels.rate(),
                noise,
            )
        )


@pytest.mark.parametrize("plan", plans.PLANS)
@pytest.mark.parametrize("num_samples", [5, 16, 50])
def test_plans(plan, num_samples):
    samples, rows = (
        kernels.tensor(list(range(num_samples))),
        kernels.tensor([3, 11, 4]),
    )
    index, rows = plans.index_and_rows(plan, samples, rows)
    draw = masks.Draw(
        kernels.key(), index, rows, plans.set_size(plan), num_samples
    )
    x = kernels.random(3 * num_samples, 4, 3)

    for noise in (None, (None, 1, None)):
        kernels.assert_same(
            functools.partial(
                functional.dropout, x, draw, kernels.rate(), noise
            )
        )


@pytest.mark.parametrize("set_size", [None, 16])
def test_words_and_numbers_at_the_ends_of_int32(set_size):
    pairs = list(itertools.product(EXTREMES, EXTREMES))
    index, rows = (kernels.tensor(list(values)) for values in zip(*pairs))
    x = kernels.random(len(pairs), 6)

    for words in itertools.product((-(2**31), 2**31 - 1), repeat=4):
        key = kernels.tensor(list(words)).reshape(2, 2, 1)
        draw = masks.Draw(key, index, rows, set_size)
        kernels.assert_same(
            functools.partial(masks.keep_mask, draw, kernels.rate(), x)
        )


def test_keys_indices_and_rows_may_be_arrays():
    x = kernels.random(4, 6)
    rows = np.arange(3, 7, dtype="int32")
    for index in (
        5,
        np.int32(5),
        np.arange(4, dtype="int32"),
        kernels.tensor(5),
    ):
        draw = masks.Draw(masks.key_of_seed(1), index, rows)
        kernels.assert_same(functools.partial(functional.dropout, x, draw, 0.3))


DTYPES = ("float16", "bfloat16", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    x, draw = kernels.random(8, 33, dtype=dtype), kernels.draw()

    def call():
        results = {
            "dropout": functional.dropout(x, draw, kernels.rate()),
            "classic": functional.classic_dropout(x, draw, kernels.rate()),
            "alpha": functional.alpha_dropout(x, draw, kernels.rate()),
            "gaussian": functional.gaussian_dropout(x, draw, kernels.rate()),
            "noise": functional.gaussian_noise(x, draw, 0.5),
            "concrete": functional.concrete_dropout(x, draw, kernels.rate()),
        }
        found = {value.dtype for value in results.values()}
        assert found == {getattr(torch, dtype)}
        if dtype != "bfloat16":
            return results
        # The interpreter truncates where hardware rounds.
        return {
            name: value == 0 if name in ("dropout", "classic") else None
            for name, value in results.items()
        }

    kernels.assert_same(call)


def test_what_is_dropped_is_zero_whatever_it_was():
    x = torch.tensor([[np.inf, np.nan, -np.inf, 1.0] * 8])

    found, expected = kernels.both(
        lambda: functional.dropout(x, kernels.draw(), kernels.rate())
    )

    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found == 0, expected == 0)


STRIDED = {
    "transposed": lambda: kernels.random(6, 5).t(),
    "every other": lambda: kernels.random(6, 10)[:, ::2],
    "some rows": lambda: kernels.random(9, 5)[2:8:2],
    "one row for all": lambda: kernels.random(1, 5).expand(6, 5),
    "channels last": lambda: kernels.random(3, 4, 5, 6).permute(0, 2, 3, 1),
    "channels first": lambda: kernels.random(3, 4, 5, 6).permute(0, 3, 1, 2),
    "time first": lambda: kernels.random(4, 3, 5).transpose(0, 1),
    "all axes": lambda: kernels.random(2, 3, 4, 5).permute(0, 3, 2, 1),
    "an offset": lambda: kernels.random(31)[1:].reshape(6, 5),
    "negated": lambda: (
        torch.complex(kernels.random(6, 5), kernels.random(6, 5)).conj().imag
    ),
}


@pytest.mark.parametrize("make", STRIDED.values(), ids=STRIDED)
def test_strided_inputs(make):
    for noise in ((), (None, *(1,) * (make().ndim - 2), None)):
        kernels.assert_same(
            lambda noise=noise: functional.dropout(
                make(), kernels.draw(), kernels.rate(), noise or None
            )
        )


def test_outputs_lie_in_memory_as_inputs_do():
    x = kernels.random(3, 4, 5, 6).permute(0, 2, 3, 1)

    with kernels.on_cpu():
        y = functional.dropout(x, kernels.draw(), kernels.rate())

    assert y.stride() == x.stride()


def test_draws_that_keep_all():
    x = kernels.random(4, 6)
    for keep_all in (True, torch.tensor(True), torch.tensor(False)):
        draw = kernels.draw(keep_all=keep_all)
        kernels.assert_same(
            functools.partial(functional.dropout, x, draw, kernels.rate())
        )
        kernels.assert_same(
            functools.partial(
                functional.classic_dropout, x, draw, kernels.rate()
            )
        )


def test_blocks():
    x = kernels.random(2, 6, 6, 3)
    kernels.assert_same(
        lambda: functional.drop_block(x, kernels.draw(), kernels.rate(), (3, 3))
    )


# What the kernel is not for gives what operations give, and no wrong number.
OTHERS = {
    "three groups of axes": lambda: functional.dropout(
        kernels.random(3, 4, 5, 6),
        kernels.draw(),
        kernels.rate(),
        (None, None, 1, None),
    ),
    "a mask larger than the inputs": lambda: functional.dropout(
        kernels.random(3, 1), kernels.draw(), kernels.rate(), (None, 5)
    ),
    "a number that float32 would round": lambda: functional.dropout(
        kernels.random(3, 4, dtype="float64"), kernels.draw(), 0.3
    ),
    "an index of another dtype": lambda: functional.dropout(
        kernels.random(3, 4),
        masks.Draw(kernels.key(), torch.tensor(5)),
        kernels.rate(),
    ),
}


@pytest.mark.parametrize("call", OTHERS.values(), ids=OTHERS)
def test_what_the_kernel_is_not_for(call):
    expected = call()
    with kernels.on_cpu() as made:
        found = call()

    assert not made or set(made) == {"mask"}
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)

"""PyTorch, eager on a CPU: NumPy makes what is small, of the same bits.

What NumPy reads must be seen anew in each call, and must not be taken for a
constant by what traces, fakes or differentiates the operations of PyTorch.
"""

import keras
import numpy as np
import pytest

from kerasdrop import _backend
from kerasdrop import layers
from kerasdrop import masks
from kerasdrop.masks import draws
from tests.support import operations

torch = pytest.importorskip("torch")
to_numpy = keras.ops.convert_to_numpy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="the other backends compile what is small together with the rest",
)

X = np.random.default_rng(0).normal(size=(32, 64)).astype("float32")


def by_operations(monkeypatch):
    """From here on nothing is at hand: all is done by operations."""
    monkeypatch.setattr(_backend, "at_hand", lambda *values: None)


def int32(values):
    return torch.tensor(values, dtype=torch.int32)


DRAWS = {
    "step": lambda key, i: masks.Draw(key, int32(i)),
    "step, an integer": lambda key, i: masks.Draw(key, i),
    "rows": lambda key, i: masks.Draw(key, int32(i), int32(range(5, 37))),
    "a step for each row": lambda key, i: masks.Draw(
        key, int32(range(i, i + 32)), int32([7] * 32)
    ),
    "sets": lambda key, i: masks.Draw(
        key, int32(list(range(16)) * 2), int32([i] * 16 + [9] * 16), 16, 16
    ),
}
INDICES = (0, 1, 63, 64, 130, 2**31 - 1, -(2**31), -(2**31) + 65)


@pytest.mark.parametrize("make", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("key", [0, 123456789], ids=["seed 0", "seed"])
def test_the_masks_are_those_of_the_operations(make, key, monkeypatch):
    key = torch.from_numpy(masks.key_of_seed(key))
    rates = [0.0, 1e-6, 0.1, 0.5, 1 - 2.0**-24, 1.0, float("nan")]
    indices = INDICES if make is not DRAWS["a step for each row"] else (0, 63)
    cases = [(index, rate) for index in indices for rate in rates]

    def found():
        return [
            to_numpy(
                masks.keep_mask(
                    make(key, index), torch.tensor(rate), torch.ones(32, 5)
                )
            )
            for index, rate in cases
        ]

    at_hand = found()
    by_operations(monkeypatch)
    for case, one, other in zip(cases, at_hand, found()):
        assert np.array_equal(one, other), case


@pytest.mark.parametrize("index", [2**31 + 70, -(2**33) + 70])
@pytest.mark.parametrize("make", [int, np.int64, torch.tensor])
def test_of_a_long_index_the_lowest_bits_count(make, index):
    draw = masks.Draw(masks.key_of_seed(3), make(index))
    short = draw._replace(index=int32((index + 2**31) % 2**32 - 2**31))

    assert torch.equal(masks.words(draw, (2, 3)), masks.words(short, (2, 3)))


SHAPES = {
    "a number": ((), None),
    "rows": ((7,), None),
    "axes": ((3, 4, 5), None),
    "steps that share": ((3, 4, 5), (None, 1, None)),
    "rows that share": ((3, 4, 5), (1, None, None)),
    "none": ((0, 5), None),
    "the most in NumPy": ((2**7, 2**8), None),
    "more": ((2**7, 2**8 + 1), None),
    "many rows": ((2**12 + 1, 2), None),
}


@pytest.mark.parametrize(
    ("shape", "noise_shape"), SHAPES.values(), ids=SHAPES.keys()
)
def test_masks_of_any_shape_are_those_of_the_operations(
    shape, noise_shape, monkeypatch
):
    draw = masks.Draw(torch.from_numpy(masks.key_of_seed(3)), int32(70))
    inputs = torch.ones(shape)

    def found():
        keep = masks.keep_mask(draw, torch.tensor(0.5), inputs, noise_shape)
        return keep, masks.words(draw, shape)

    at_hand = found()
    by_operations(monkeypatch)
    for one, other in zip(at_hand, found()):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_masks_are_where_the_inputs_are():
    draw = masks.Draw(masks.key_of_seed(3), 70)

    with keras.device("meta"):
        keep = masks.keep_mask(draw, 0.5, torch.ones(4, 8, device="meta"))

    assert keep.device.type == "meta"


@pytest.mark.parametrize("num_rows", [1, 256, 257, 2**12, 2**12 + 1])
def test_the_keys_of_rows_are_those_of_the_operations(num_rows, monkeypatch):
    key = torch.from_numpy(masks.key_of_seed(3))
    draw = masks.Draw(key, int32(70))

    at_hand = to_numpy(draws.row_keys(draw, num_rows))

    by_operations(monkeypatch)
    assert np.array_equal(at_hand, to_numpy(draws.row_keys(draw, num_rows)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_scale_is_that_of_the_operations(dtype, monkeypatch):
    rates = [torch.tensor(rate) for rate in (0.0, 0.1, 0.3, 0.9, 1.0, np.nan)]

    at_hand = [masks.survivor_scale(rate, dtype) for rate in rates]

    by_operations(monkeypatch)
    for one, rate in zip(at_hand, rates):
        other = masks.survivor_scale(rate, dtype)
        assert one.dtype == other.dtype
        assert torch.equal(one, other) or (one.isnan() and other.isnan())


CHANGES = {
    "the setter": lambda layer, rate: setattr(layer, "rate", rate),
    "assign": lambda layer, rate: layer._state.rate.state.assign(rate),
    "copy_": lambda layer, rate: value(layer).copy_(torch.tensor(rate)),
    "data": lambda layer, rate: value(layer).data.fill_(rate),
    "NumPy": lambda layer, rate: value(layer).numpy().fill(rate),
    "another tensor": lambda layer, rate: setattr(
        value(layer), "data", torch.tensor(rate)
    ),
    "load_state_dict": lambda layer, rate: layer.load_state_dict(
        {
            name: torch.tensor(rate) if name.endswith("rate") else old
            for name, old in layer.state_dict().items()
        }
    ),
}


def value(layer):
    return layer._state.rate.state.value


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_the_rate_is_seen_by_the_next_call(change):
    layer = layers.Dropout(0.0, seed=0)
    layer(X, training=True)

    change(layer, 1.0)
    assert not to_numpy(layer(X, training=True)).any()

    change(layer, 0.5)
    dropped = np.mean(to_numpy(layer(X, training=True)) == 0.0)
    assert dropped == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(X.size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_rate_that_pytorch_has_rounded_is_used_as_it_is(dtype):
    layer, other = layers.Dropout(0.3, seed=0), layers.Dropout(0.5, seed=0)
    other.rate = float(torch.tensor(0.3, dtype=dtype))

    layer.to(dtype)

    assert layer.rate == pytest.approx(other.rate, abs=1e-6)
    np.testing.assert_allclose(
        to_numpy(layer(X, training=True)),
        to_numpy(other(X, training=True)),
        rtol=torch.finfo(dtype).eps,
    )


def test_a_rate_that_is_set_while_a_mask_is_made_changes_nothing():
    layer = layers.Dropout(0.5, seed=0)

    rate = layer._rate_tensor()
    layer.rate = 0.75

    assert float(rate) == 0.5


def test_another_key_is_seen_by_the_next_call():
    one, other = layers.Dropout(0.5, seed=0), layers.Dropout(0.5, seed=1)
    one(X, training=True)

    value = one._state.key.state.value
    value.data.copy_(other._state.key.state.value)
    one.step = 0

    assert torch.equal(one(X, training=True), other(X, training=True))


def test_the_rate_that_backward_uses_is_that_of_the_call():
    layer = layers.Dropout(0.5, seed=0)
    x = torch.ones(4, 8, requires_grad=True)

    y = layer(x, training=True)
    layer.rate = 0.75
    y.sum().backward()

    assert torch.equal(x.grad, y.detach())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_rate_that_is_differentiated_is_no_number():
    inputs = torch.ones(64, 64)
    draw = masks.Draw(torch.from_numpy(masks.key_of_seed(0)), 0)

    def total(rate):
        keep = masks.keep_mask(draw, rate, inputs)
        return (keep * masks.survivor_scale(rate, "float32")).sum()

    rate = torch.tensor(0.5, requires_grad=True)
    (reverse,) = torch.autograd.grad(total(rate), rate)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(
            torch.tensor(0.5), torch.tensor(1.0)
        )
        forward = torch.autograd.forward_ad.unpack_dual(total(dual)).tangent

    # d/dr of n / (1 - r) is n / (1 - r)^2.
    kept = float(total(torch.tensor(0.5)) / 2)
    assert float(reverse) == float(forward) == 4.0 * kept


@pytest.mark.parametrize("pre_dispatch", [False, True])
def test_a_traced_graph_reads_the_rate_and_the_step_when_it_runs(pre_dispatch):
    layer = layers.Dropout(0.5, seed=0)
    x = torch.from_numpy(X)
    layer(x, training=True)
    graph = torch.fx.experimental.proxy_tensor.make_fx(
        lambda x: layer(x, training=True), pre_dispatch=pre_dispatch
    )(x)

    first, second = graph(x), graph(x)
    layer.rate = 1.0
    third = graph(x)

    assert not torch.equal(first, second)
    assert not third.any()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_nothing_is_at_hand_where_values_are_not_those_of_the_call():
    plain = torch.tensor(0.5)
    assert _backend.at_hand(plain, 1, None) is not None
    assert _backend.at_hand(plain.clone().requires_grad_()) is None
    assert _backend.at_hand(torch.empty((), device="meta")) is None

    def asked(x):
        assert _backend.at_hand(plain) is None
        return x * 2.0

    torch.func.vmap(asked)(torch.ones(3))
    torch.func.grad(lambda x: asked(x).sum())(torch.ones(3))
    torch.jit.trace(asked, torch.ones(3), check_trace=False)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        asked(mode.from_tensor(torch.ones(3)))
    with _backend.exporting():
        asked(torch.ones(3))
    assert _backend.at_hand(plain) is not None


def test_what_counts_is_where_keras_puts_what_is_assigned():
    layer = layers.Dropout(0.5, seed=0)
    variable = layer._state.step.state
    held, number = variable.value, torch.tensor(70, dtype=torch.int32)

    with keras.StatelessScope([(variable, number)]) as scope:
        assert int(_backend.counted(variable)) == 70
    assert int(scope.get_current_value(variable)) == 71
    with keras.StatelessScope() as scope:
        assert int(_backend.counted(variable)) == 0
    assert int(scope.get_current_value(variable)) == 1
    assert (int(number), int(held)) == (70, 0)

    before = _backend.counted(variable)

    assert variable.value is held
    assert (int(before), int(held)) == (0, 1)


OPERATIONS = {
    "dropout": (lambda: layers.Dropout(0.5, seed=0), X, 2),
    "always on": (lambda: layers.MCDropout(0.5, seed=0), X, 2),
    "path": (lambda: layers.DropPath(0.5, seed=0), X, 2),
    "classic": (lambda: layers.ClassicDropout(0.5, seed=0), X, 5),
    "of many": (lambda: layers.Dropout(0.5, seed=0), np.tile(X, 17), 15),
}


@pytest.mark.parametrize(
    ("make", "inputs", "most"), OPERATIONS.values(), ids=OPERATIONS.keys()
)
def test_a_call_is_few_operations(make, inputs, most):
    layer, x = make(), torch.from_numpy(inputs)

    assert 0 < len(operations.of(lambda: layer(x, training=True))) <= most


def test_a_rate_that_inference_does_not_use_costs_nothing():
    layer, x = layers.Dropout(0.5, seed=0), torch.from_numpy(X)

    assert operations.of(lambda: layer(x)) == []

"""What `torch.compile` keeps of a mask for the gradient: nothing."""

import functools

import keras
import pytest

from kerasdrop import functional
from kerasdrop import masks
from tests.support import versions

if keras.backend.backend() != "torch":
    pytest.skip("about torch.compile", allow_module_level=True)

import torch

KEY = torch.from_numpy(masks.key_of_seed(0))
RATE = torch.tensor(0.3)


def draw():
    return masks.Draw(KEY, torch.tensor(3, dtype=torch.int32))


FUNCTIONS = {
    "dropout": functional.dropout,
    "noise shape": functools.partial(
        functional.dropout, noise_shape=(None, 1, 1, None)
    ),
    "classic": functional.classic_dropout,
    "path": functional.drop_path,
    "alpha": functional.alpha_dropout,
    "gaussian": functional.gaussian_dropout,
    "noise": functional.gaussian_noise,
    "concrete": functional.concrete_dropout,
    "block": functools.partial(functional.drop_block, block_size=(3, 3)),
}

pytestmark = [
    # PyTorch's own, when it cuts a graph in two for the first time.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    versions.looked_at_gradients,
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def inputs():
    x = torch.linspace(-2.0, 2.0, 4 * 6 * 6 * 5).reshape(4, 6, 6, 5)
    return x.requires_grad_()


def gradient(function, x):
    """Outputs, the gradient, and how many numbers were kept for it."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        y = function(x)
    weights = torch.linspace(0.0, 1.0, x.numel()).reshape(x.shape)
    return y, *torch.autograd.grad(y, x, weights), sum(kept)


# Of those that are much alike, one; the others take half a minute.
ALIKE = ("noise shape", "classic", "path", "alpha", "noise", "block")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE))
        for name in FUNCTIONS
    ],
)
def test_a_compiled_gradient_makes_the_mask_again(name):
    def call(x):
        return FUNCTIONS[name](x, draw(), RATE)

    compiled = torch.compile(
        call,
        backend="aot_eager_decomp_partition",
        fullgraph=versions.ONE_GRAPH,
    )
    *found, kept = gradient(compiled, inputs())
    *expected, _ = gradient(call, inputs())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if versions.ONE_GRAPH:
        assert kept < 64  # a key, a rate, row keys: not one number of a mask


def dropped(x):
    return functional.dropout(x, draw(), RATE)


def cubed(x):
    return (dropped(x) ** 3).sum()


WAYS = {
    "grad": torch.func.grad(cubed),
    "vmap": lambda x: torch.func.vmap(dropped)(torch.stack([x, 2 * x])),
    "jvp": lambda x: torch.func.jvp(dropped, (x,), (x * 2.0,)),
    "hessian": torch.func.hessian(cubed),
    "jacrev": torch.func.jacrev(dropped),
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(
        lambda x: dropped(x) * x, x, use_reentrant=False
    ),
    "no gradient": torch.no_grad()(dropped),
}
ALIKE_WAYS = ("jvp", "jacrev", "no gradient", "vmap")


@versions.needs_one_graph
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=[pytest.mark.slow] * (way in ALIKE_WAYS))
        for way in WAYS
    ],
)
def test_what_is_compiled_around_it_is_right(way):
    x = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)
    compiled = torch.compile(WAYS[way], backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), WAYS[way](x), rtol=0.0, atol=0.0)


def test_a_gradient_of_a_gradient_is_right():
    def second(function):
        x = torch.linspace(-1.0, 1.0, 6).reshape(2, 3).requires_grad_()
        (first,) = torch.autograd.grad(function(x), x, create_graph=True)
        return torch.autograd.grad((first**2).sum(), x)

    compiled = torch.compile(cubed, backend="eager")
    torch.testing.assert_close(second(compiled), second(cubed))


def test_a_rate_that_is_learned_has_its_gradient():
    def of_rate(compiler):
        rate = torch.tensor(0.3, requires_grad=True)
        call = compiler(lambda x, rate: functional.dropout(x, draw(), rate))
        return torch.autograd.grad((call(inputs(), rate) ** 2).sum(), rate)

    compiler = functools.partial(
        torch.compile, backend="aot_eager_decomp_partition"
    )
    torch.testing.assert_close(of_rate(compiler), of_rate(lambda call: call))

"""PyTorch: what is loaded into a module, and moves with it, is what counts."""

import copy

import keras
import pytest

from kerasdrop import layers

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="of PyTorch"
)

X = torch.ones(8, 64)


class Net(torch.nn.Module):
    """A module of PyTorch in which only the dropout is of Keras."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)
        self.drop = layers.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.linear(x), training=True)


def trained():
    net = Net()
    net(X)
    net(X)
    net.drop.rate = 0.25
    return net


def assert_goes_on(net, other):
    assert (net.drop.rate, net.drop.step) == (0.25, 2)
    assert torch.equal(net(X), other(X))
    names = [name for name in net.state_dict() if name.endswith("step")]
    assert names
    assert all(int(net.state_dict()[name]) == 3 for name in names)


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_is_loaded_whatever_it_does_with_tensors(assign):
    other = trained()
    state = copy.deepcopy(other.state_dict())
    net = Net()
    net(X)

    net.load_state_dict(state, assign=assign)

    assert_goes_on(net, other)


def test_a_module_may_be_made_empty_and_then_loaded():
    other = trained()
    net = Net()

    net.to("meta").to_empty(device="cpu")

    assert (net.drop.rate, net.drop.step) == (0.5, 0)
    net.load_state_dict(other.state_dict())
    assert_goes_on(net, other)


def test_what_a_checkpoint_without_dropout_lacks_stays():
    net = trained()
    held = net.drop._state.rate.state.value
    net.to_empty(device="cpu")
    # `empty_like` gives what is there, which may be right by chance.
    net._apply(lambda tensor: torch.full_like(tensor, 7))

    net.load_state_dict(torch.nn.Linear(64, 64).state_dict(), strict=False)

    assert net.drop._state.rate.state.value is held
    assert (net.drop.rate, net.drop.step) == (0.25, 2)


@pytest.mark.parametrize("is_overwritten", [False, True])
def test_a_module_may_change_its_dtype(is_overwritten):
    net, other = trained(), trained()
    other.load_state_dict(net.state_dict())
    torch.__future__.set_overwrite_module_params_on_conversion(is_overwritten)
    try:
        net.drop.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)

    assert net.drop._state.rate.state.value.dtype == torch.float64
    assert_goes_on(net, other)


class Augmented(torch.utils.data.Dataset):
    """Rows of which a layer drops units, in the processes that load them."""

    def __init__(self, stochastic_inference):
        self.drop = layers.Dropout(
            0.5, seed=0, stochastic_inference=stochastic_inference
        )
        self.is_training = not stochastic_inference

    def __len__(self):
        return 6

    def __getitem__(self, number):
        return self.drop(X[:1], training=self.is_training)[0]


def rows_of_epochs(data, num_epochs=2):
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2)
    return [
        tuple(row.tolist())
        for _ in range(num_epochs)
        for batch in loader
        for row in batch
    ]


@pytest.mark.parametrize("stochastic_inference", [False, True])
def test_processes_of_a_data_loader_share_no_mask(stochastic_inference):
    data = Augmented(stochastic_inference)

    rows = rows_of_epochs(data)
    again = rows_of_epochs(data)

    in_this_process = [tuple(data[0].tolist()) for _ in range(6)]
    assert len({*rows, *in_this_process}) == 2 * 6 + 6
    assert again == rows

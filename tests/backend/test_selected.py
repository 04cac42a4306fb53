"""What is dropped is 0, whatever it was, in outputs and gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import _backend

VALUES = np.array([[np.inf, 1.5, np.nan, -2.0], [3.0, -np.inf, -0.25, 0.0]])
KEEP = np.array([[False, True, False, True], [True, False, True, False]])


@pytest.fixture(params=["few", "many"], autouse=True)
def size(request, monkeypatch):
    if keras.backend.backend() == "torch" and request.param == "many":
        monkeypatch.setattr(_backend.torch, "_MANY", 0)


def selected(dtype, keep=KEEP):
    values = ops.convert_to_tensor(VALUES.copy(), dtype)
    found = _backend.selected(ops.convert_to_tensor(keep), values)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    return ops.convert_to_numpy(ops.cast(found, "float32"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_kept_values_are_kept_and_others_are_zero(dtype):
    np.testing.assert_array_equal(selected(dtype), np.where(KEEP, VALUES, 0))


def test_a_mask_may_have_axes_of_size_one():
    keep = np.array([[True], [False]])

    found = selected("float32", keep)

    np.testing.assert_array_equal(found, np.where(keep, VALUES, 0))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="its gradient is our own"
)
class TestGradient:
    """Of the function that PyTorch needs on a CPU."""

    def arguments(self, rows=3):
        import torch

        generator = torch.Generator().manual_seed(0)
        shape = (rows, 5)
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        keep = torch.rand(shape, generator=generator) < 0.5
        return values.requires_grad_(), keep

    def test_gradients_that_are_batched(self):
        import torch

        values, keep = self.arguments()
        changes = torch.arange(30.0, dtype=torch.float64).reshape(2, 3, 5)

        out = _backend.selected(keep, values * 1.0)
        (found,) = torch.autograd.grad(
            out, values, changes, is_grads_batched=True
        )

        assert torch.equal(found, torch.where(keep, changes, 0.0))

    # PyTorch's own, of its `torch.jit`.
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_first_and_second_gradients(self):
        import torch

        values, keep = self.arguments()

        def square(values):
            return _backend.selected(keep, values * values)

        assert torch.autograd.gradcheck(square, values, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(square, values)

    def test_a_jacobian(self):
        import torch

        values, keep = self.arguments(rows=1)

        def double(values):
            return _backend.selected(keep, values * 2.0)

        found = torch.func.jacrev(double)(values)[0, :, 0]

        assert torch.equal(found, torch.diag(keep[0] * 2.0).double())

    def test_a_gradient_that_is_not_finite_is_dropped(self):
        values, keep = self.arguments()

        out = _backend.selected(keep, values * 1.0)
        out.backward(out.detach().new_full(out.shape, np.inf))

        assert ((values.grad == np.inf) == keep).all()
        assert (values.grad[~keep] == 0).all()

    @pytest.mark.parametrize("with_gradients", [False, True])
    def test_a_tangent(self, with_gradients):
        import torch

        values, keep = self.arguments()
        values = values.detach()
        forward_ad = torch.autograd.forward_ad
        direction = torch.ones_like(values)

        def double(values):
            return _backend.selected(keep, values * 2.0)

        with torch.set_grad_enabled(with_gradients):
            _, of_function = torch.func.jvp(double, (values,), (direction,))
            with forward_ad.dual_level():
                dual = double(forward_ad.make_dual(values, direction))
                of_dual = forward_ad.unpack_dual(dual).tangent

        assert torch.equal(of_function, keep * 2.0 * direction)
        assert torch.equal(of_dual, keep * 2.0 * direction)

    def test_under_vmap(self):
        import torch

        values, keep = self.arguments()

        found = torch.vmap(_backend.selected)(keep, values * 1.0)

        assert torch.equal(found, torch.where(keep, values, 0.0))

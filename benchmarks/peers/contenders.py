"""Ways to draw Monte Carlo samples of one network, behind one interface."""

import importlib.util

import keras
import numpy as np
import torch
from keras import ops

import kerasdrop


class Contender:
    """One way to draw samples; abstract.

    Args:
        twin: A `_twins.Twin`; its networks may be changed, if this is what
            the contender does to them.
        num_samples: Integer, samples per row.

    Attributes:
        network: Which network of the twin it is for, a name.
        package: The distribution that is needed, or None.
        way_back: What a user calls to have the network as it was; None if
            there is nothing to call.
    """

    network = "model"
    package = None
    way_back = None

    def __init__(self, twin, num_samples):
        self.twin = twin
        self.num_samples = num_samples

    def seed(self, seed):
        """Makes the next samples those of this seed, as far as it can."""
        raise NotImplementedError

    def samples(self, x):
        """Samples of one batch: an array `(rows, num_samples, outputs)`."""
        raise NotImplementedError

    def summary(self, x):
        """Mean and variance over the samples of one batch, two arrays."""
        raise NotImplementedError

    def samples_in_batches(self, x, batch_size):
        """Samples of `x`, of so many rows at a time."""
        starts = range(0, len(x), batch_size)
        parts = [self.samples(x[i : i + batch_size]) for i in starts]
        return np.concatenate(parts)

    def go_back(self):
        """Calls `way_back`."""


class _OnKeras(Contender):
    def seed(self, seed):
        keras.utils.set_random_seed(seed)


class Kerasdrop(_OnKeras):
    """`kerasdrop.MonteCarlo`."""

    plan = "stratified"

    def __init__(self, twin, num_samples):
        super().__init__(twin, num_samples)
        self._predictive = self._monte_carlo()

    def _monte_carlo(self, **kwargs):
        return kerasdrop.MonteCarlo(
            self.twin.model,
            self.num_samples,
            seed=0,
            plan=self.plan,
            kind="regression",
            **kwargs,
        )

    def seed(self, seed):
        self._predictive.seed = seed

    def samples(self, x):
        return self.samples_in_batches(x, len(x))

    def samples_in_batches(self, x, batch_size):
        predictive = self._monte_carlo(keep_samples=True)
        predictive.seed = self._predictive.seed
        return predictive.predict(x, batch_size, verbose=0)["samples"]

    def summary(self, x):
        found = self._predictive.predict_on_batch(x)
        return found["mean"], found["variance"]


class KerasdropIndependent(Kerasdrop):
    """The same with samples that are not balanced."""

    plan = "independent"


class KerasLoop(_OnKeras):
    """The usual loop: `model(x, training=True)`, sample by sample."""

    def samples(self, x):
        # Without the tape, which a user may forget.
        with torch.no_grad():
            draws = [
                ops.convert_to_numpy(self.twin.model(x, training=True))
                for _ in range(self.num_samples)
            ]
        return np.stack(draws, axis=1)

    def summary(self, x):
        samples = self.samples(x)
        return samples.mean(axis=1), samples.var(axis=1, ddof=1)


class KerasRecipe(KerasLoop):
    """Dropout called with `training=True`, and `predict` in a loop."""

    network = "recipe"

    def samples(self, x):
        draws = [
            self.twin.recipe.predict_on_batch(x)
            for _ in range(self.num_samples)
        ]
        return np.stack(draws, axis=1)


class _OnTorch(Contender):
    network = "module"
    axis = 0  # of the samples

    def seed(self, seed):
        torch.manual_seed(seed)

    def draws(self, tensor):
        """Samples of a batch as a tensor that has them along `axis`."""
        raise NotImplementedError

    def samples(self, x):
        return self.draws(self.twin.tensor(x)).movedim(self.axis, 1).numpy()

    def summary(self, x):
        draws = self.draws(self.twin.tensor(x))
        variance, mean = torch.var_mean(draws, dim=self.axis)
        return mean.numpy(), variance.numpy()


class TorchLoop(_OnTorch):
    """The usual loop: `module.train()`, then call by call."""

    way_back = "module.eval()"

    def draws(self, tensor):
        self.twin.module.train()
        with torch.no_grad():
            return torch.stack(
                [self.twin.module(tensor) for _ in range(self.num_samples)]
            )

    def go_back(self):
        self.twin.module.eval()


class Baal(_OnTorch):
    """`baal`: the samples along the batch."""

    package = "baal"
    way_back = "wrapper.unpatch()"
    axis = -1
    repeats_batch = True

    def __init__(self, twin, num_samples):
        from baal.bayesian.dropout import MCDropoutModule
        from baal.modelwrapper import ModelWrapper
        from baal.modelwrapper import TrainingArgs

        super().__init__(twin, num_samples)
        self._patched = MCDropoutModule(twin.module)
        arguments = TrainingArgs(
            use_cuda=False, replicate_in_memory=self.repeats_batch
        )
        self._wrapper = ModelWrapper(self._patched, arguments)
        self._wrapper.eval()

    def draws(self, tensor):
        return self._wrapper.predict_on_batch(tensor, self.num_samples)

    def go_back(self):
        self._patched.unpatch()


class BaalLoop(Baal):
    """`baal` with `replicate_in_memory=False`."""

    repeats_batch = False


class TorchUncertainty(_OnTorch):
    """`torch_uncertainty`: the samples along the batch."""

    package = "torch-uncertainty"
    way_back = "module.eval()"
    repeats_batch = True

    def __init__(self, twin, num_samples):
        from torch_uncertainty.methods import mc_dropout

        super().__init__(twin, num_samples)
        self._wrapped = mc_dropout(
            twin.module, num_samples, on_batch=self.repeats_batch
        )
        self._wrapped.eval()

    def draws(self, tensor):
        with torch.no_grad():
            outputs = self._wrapped(tensor)
        return outputs.unflatten(0, (self.num_samples, -1))

    def go_back(self):
        self.twin.module.eval()


class TorchUncertaintyLoop(TorchUncertainty):
    """`torch_uncertainty` with `on_batch=False`."""

    repeats_batch = False


CONTENDERS = {
    "kerasdrop": Kerasdrop,
    "kerasdrop, independent": KerasdropIndependent,
    "Keras loop": KerasLoop,
    "Keras recipe": KerasRecipe,
    "torch loop": TorchLoop,
    "baal": Baal,
    "baal, loop": BaalLoop,
    "torch-uncertainty": TorchUncertainty,
    "torch-uncertainty, loop": TorchUncertaintyLoop,
}


def installed():
    """The contenders that can run here, by name."""
    return {
        name: contender
        for name, contender in CONTENDERS.items()
        if contender.package is None
        or importlib.util.find_spec(contender.package.replace("-", "_"))
    }


def left_out():
    """The packages that are not installed."""
    there = installed()
    return sorted(
        {one.package for name, one in CONTENDERS.items() if name not in there}
    )

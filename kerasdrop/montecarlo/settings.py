"""The settings of a Monte Carlo run, as one record."""

import dataclasses

import keras
from keras import tree

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.masks import plans
from kerasdrop.montecarlo.statistics import quantiles as quantiles_
from kerasdrop.montecarlo.statistics.kinds import choosing


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a run. `checked` makes them from a user's arguments.

    Attributes:
        num_samples: Integer.
        plan: One of `plans.PLANS`.
        kind: As `choosing.check` returns it.
        keep_samples: Whether the samples themselves are kept.
        quantiles: Tuple of probabilities.
        noise_variance: Variance of the targets around an output of kind
            `"regression"`, or None.
        tolerance: Standard error of the mean at which a row needs no further
            samples; None to draw all.
        memory_limit: Bytes; None for a default, which one sample of a row may
            exceed.
        vectorized: Whether samples run side by side. If not, there is no limit,
            and rows of a batch may see each other.
    """

    num_samples: int = plans.NUM_SAMPLES
    plan: str = "stratified"
    kind: Given = "regression"
    keep_samples: bool = False
    quantiles: tuple[float, ...] = ()
    noise_variance: float | None = None
    tolerance: float | None = None
    memory_limit: int | None = None
    vectorized: bool = True

    @classmethod
    def checked(
        cls, model: keras.Model, owner: str, **given: Given
    ) -> "Settings":
        """Returns the settings for arguments of `MonteCarlo`.

        Args:
            model: A built model.
            owner: The public function that warnings name.
            **given: All fields, as the user passes them.

        Raises:
            Refusal: If a field is out of its range, or two exclude each other.
        """
        of: Config = {
            name: _checks.flag(given[name], name)
            for name in ("keep_samples", "vectorized")
        }
        of["quantiles"] = quantiles_.check(given["quantiles"])
        for name in ("tolerance", "noise_variance"):
            if given[name] is not None:
                of[name] = _checks.positive_number(given[name], name)
        if given["memory_limit"] is not None:
            of["memory_limit"] = _checks.memory_limit(given["memory_limit"])
        of["num_samples"] = plans.num_samples(
            given["num_samples"], given["tolerance"]
        )
        of["plan"] = plans.check(given["plan"])
        of["kind"] = choosing.check(given["kind"], model, owner)
        settings = cls(**of)
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        """Raises if two settings exclude each other."""
        is_regression = "regression" in tree.flatten(self.kind)
        if self.noise_variance is not None and not is_regression:
            raise Refusal(
                "argument `noise_variance` is for outputs of kind "
                f"'regression'. Received: noise_variance={self.noise_variance} "
                f"with kind={self.kind!r}"
            )
        all_samples = self.keep_samples or self.quantiles
        if self.tolerance is not None and all_samples:
            raise Refusal(
                "with a `tolerance`, rows have different numbers of samples, "
                "so the result can contain neither `samples` nor `quantiles`. "
                "Leave out the one or the other. Received: tolerance="
                f"{self.tolerance}, keep_samples={self.keep_samples}, "
                f"quantiles={self.quantiles}"
            )
        if self.memory_limit is not None and not self.vectorized:
            raise Refusal(
                "with `vectorized=False`, a batch is not cut, because its rows "
                "may affect each other. Leave `memory_limit` out, and choose a "
                "smaller `batch_size` if the model allows it. Received: "
                f"memory_limit={self.memory_limit}"
            )

    def get_config(self) -> Config:
        """A dict of the arguments of `MonteCarlo` that give these settings."""
        config = dataclasses.asdict(self)
        return {**config, "quantiles": self.quantiles or None}

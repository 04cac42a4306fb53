"""Streams the samples of one output into its statistics."""

from typing import NamedTuple

from kerasdrop._backend import ops
from kerasdrop._formulas import estimates
from kerasdrop._formulas import log_sums
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import plans
from kerasdrop.montecarlo.statistics import kept
from kerasdrop.montecarlo.statistics import moments
from kerasdrop.montecarlo.statistics.kinds.table import KINDS

# Quantiles use at most this many samples, so that memory is bounded.
MOST_FOR_QUANTILES = 1024

# The order in which statistics are shown.
STATISTICS = (
    "mean",
    "variance",
    "std",
    "standard_error",
    "aleatoric_variance",
    "epistemic_variance",
    "total_variance",
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "votes",
    "variation_ratio",
    "quantiles",
    "quantiles_standard_error",
    "log_likelihood",
    "samples",
    "num_drawn",
    "converged",
)


# Statistics of a row, not of its outputs.
OF_ROWS = ("num_drawn", "converged")


class State(NamedTuple):
    """The sums of the samples of one output so far.

    Attributes:
        stream: `moments.Stream` of the predicted quantity.
        sums: The kind's own sums, a list of tensors `(batch, ...)`.
        kept: List of tensors `(batch, capacity, ...)`.
        log_sums: List of one `log_sums.LogSum` if the targets need one; else
            empty.
    """

    stream: moments.Stream
    sums: list[Given]
    kept: list[Given]
    log_sums: list[Given]


class Summary:
    """Streams the samples of one output into statistics.

    Args:
        kind: One of `KINDS`, by name.
        settings: A `settings.Settings`.
        target: Tensor, the targets of this output; or None.
    """

    def __init__(
        self, kind: str, settings: Given, target: Given = None
    ) -> None:
        self._kind = KINDS[kind].with_noise(settings.noise_variance)
        self._settings = settings
        self._target = target
        self._capacity = 0
        if settings.keep_samples:
            self._capacity = settings.num_samples
        elif settings.quantiles:
            self._capacity = min(settings.num_samples, MOST_FOR_QUANTILES)

    def features(self, output: Tensor) -> Given:
        """The features of samples; `mean` is the mean of the first."""
        return self._kind.features(output)

    def init(
        self, chunk: Tensor, first: tuple[int, int], rest: int, largest: int
    ) -> Given:
        """Returns the state after the first chunk of samples.

        Args:
            chunk: `(batch, samples, ...)`, outputs of the model: whole sets or
                a part of one, then the rest of all samples, if any.
            first: Integers, the numbers of the first sample of the sets and of
                the rest.
            rest: Integer, how many samples at the end fill no set.
            largest: Integer, the samples in the largest chunk to come.
        """
        features = self.features(chunk)
        in_sets = chunk.shape[1] - rest
        to_keep = []
        for feature in self._to_keep(features):
            samples = kept.room(feature, self._room_for(largest))
            if in_sets:
                part = feature[:, :in_sets]
                samples = kept.with_samples(samples, part, first[0])
            if rest:
                part = feature[:, in_sets:]
                samples = kept.with_samples(samples, part, first[1])
            to_keep.append(samples)
        terms = self._log_terms(chunk)
        return State(
            moments.init(features[0], plans.SET_SIZE, rest),
            self._kind.init(features),
            to_keep,
            [] if terms is None else [log_sums.init(terms)],
        )

    def update(
        self, state: Given, chunk: Given, first: int, rest: Given = 0
    ) -> Given:
        """Returns the state with the samples from number `first` on added.

        Args:
            chunk, rest: As `moments.update` takes them.
            first: Integer or int32 scalar.
        """
        features = self.features(chunk)
        stream = moments.update(state.stream, features[0], plans.SET_SIZE, rest)
        before, after = state.stream.samples.count, stream.samples.count
        to_keep = [
            kept.with_samples(samples, feature, first)
            for samples, feature in zip(state.kept, self._to_keep(features))
        ]
        terms = self._log_terms(chunk)
        return State(
            stream,
            self._kind.update(state.sums, features, before, after),
            to_keep,
            [log_sums.update(one, terms) for one in state.log_sums],
        )

    def partial(self, state: Given, in_sets: Given, rest: Given) -> Given:
        """Returns the state without room for samples that are not drawn yet.

        Args:
            in_sets: Integer, how many samples were drawn from the first one on.
            rest: Integer, how many of the last samples were drawn.
        """
        drawn = [
            kept.cut(
                samples[:, : self._capacity],
                in_sets,
                rest,
                self._settings.num_samples,
            )
            for samples in state.kept
        ]
        return state._replace(kept=drawn)

    def result(self, state: Given) -> Given:
        """Returns a dict of statistics."""
        plan, seen = self._settings.plan, self._seen(state)
        variance = estimates.variance(plan, seen)
        error = estimates.squared_standard_error(plan, seen, variance)
        found = {
            "mean": seen.mean,
            "variance": variance,
            "std": ops.sqrt(variance),
            "standard_error": ops.sqrt(error),
            **self._kind.result(state.sums, variance, seen.num_samples),
        }
        if self._settings.quantiles:
            samples = [samples[:, : self._capacity] for samples in state.kept]
            values = self._kind.quantiles(samples, self._settings.quantiles)
            names = ("quantiles", "quantiles_standard_error")
            found |= dict(zip(names, values))
        if state.log_sums:
            found["log_likelihood"] = log_sums.result(
                state.log_sums[0], seen.num_samples
            )
        elif self._target is not None:
            found["log_likelihood"] = self._kind.log_likelihood(
                seen.mean, self._target
            )
        if self._settings.keep_samples:
            found["samples"] = state.kept[0]
        return found

    def reaches(self, state: Given, smallest_chance: Given) -> Given:
        """Returns which rows reach the tolerance, bool `(batch,)`.

        It is False within a set, so that it does not depend on how sets are
        cut.

        Args:
            state: A `State`.
            smallest_chance: As for `estimates.reaches`.
        """
        reached = estimates.reaches(
            self._settings.plan,
            self._seen(state),
            self._settings.tolerance,
            smallest_chance,
        )
        is_whole = state.stream.part.count == 0.0
        reached = ops.logical_and(reached, is_whole)
        # Keras before 3.15 fails on PyTorch for several axes at once.
        for _ in range(len(reached.shape) - 1):
            reached = ops.all(reached, axis=-1)
        return reached

    def _seen(self, state: Given) -> Given:
        seen = moments.result(state.stream)
        mean = self._kind.mean(state.sums)
        return seen if mean is None else seen._replace(mean=mean)

    def _log_terms(self, output: Tensor) -> Given:
        if self._target is None:
            return None
        return self._kind.log_terms(output, self._target)

    def _room_for(self, largest: Given) -> Given:
        """How many samples are kept, and the room beyond the last of these."""
        if self._capacity == self._settings.num_samples:
            return self._capacity
        return self._capacity + largest

    def _to_keep(self, features: Given) -> Given:
        """The features that are kept sample by sample."""
        if not self._capacity:
            return []
        if self._settings.quantiles:
            return self._kind.for_quantiles(features)
        return features[:1]

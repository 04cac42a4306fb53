"""What is kept of the samples of one output, and what follows from it."""

from typing import NamedTuple

from keras import ops

from kerasdrop._formulas import estimates
from kerasdrop._formulas import likelihood
from kerasdrop._formulas import two_part
from kerasdrop.masks import plans
from kerasdrop.montecarlo.statistics import features
from kerasdrop.montecarlo.statistics import kept
from kerasdrop.montecarlo.statistics import moments
from kerasdrop.montecarlo.statistics import quantiles

# So many samples at most have quantiles, so that memory is bounded.
MOST_FOR_QUANTILES = 1024

# In this order they are shown.
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


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        num_samples: Integer.
        plan: One of `plans.PLANS`.
        keep_samples: Whether the samples themselves are wanted.
        quantiles: Tuple of probabilities.
        noise_variance: Variance of the targets around an output of kind
            `"regression"`, or None.
        tolerance: Standard error of the mean at which a row needs no further
            samples; None to draw all.
    """

    num_samples: int
    plan: str
    keep_samples: bool
    quantiles: tuple
    noise_variance: object
    tolerance: object


class State(NamedTuple):
    """Of the samples of one output so far.

    Attributes:
        stream: `moments.Stream` of the predicted quantity.
        means: List of tensors `(batch, ...)`, means of the other features, for
            classes behind that of the probabilities.
        divergences: For classes, a list of the sum of the divergences of the
            samples from their mean.
        kept: List of tensors `(batch, capacity, ...)`.
        log_sums: List of one `likelihood.LogSum`, if there are targets that
            need one.
    """

    stream: moments.Stream
    means: list
    divergences: list
    kept: list
    log_sums: list


class Summary:
    """Streams the samples of one output into statistics.

    Args:
        kind: One of `kinds.KINDS`.
        request: A `Request`.
        target: Tensor, the targets of this output; or None.
        owner: Who is to blame in a message.
    """

    def __init__(self, kind, request, target=None, owner="MonteCarlo"):
        self._kind = kind
        self._request = request
        self._target = target
        self._owner = owner
        self._is_normal = kind in two_part.KINDS or (
            kind == "regression" and request.noise_variance is not None
        )
        self._is_of_classes = kind in features.OF_CLASSES
        self._capacity = 0
        if request.keep_samples:
            self._capacity = request.num_samples
        elif request.quantiles:
            self._capacity = min(request.num_samples, MOST_FOR_QUANTILES)

    def start(self, chunk, first, rest, largest):
        """The state after the first chunk of samples.

        Args:
            chunk: `(batch, samples, ...)`, outputs of the model: whole sets or
                a part of one, and then the rest of all samples, if any.
            first: Integers, numbers of the first sample of the sets, and of
                the rest.
            rest: Integer, how many samples at the end fill no set.
            largest: Integer, samples in the largest chunk to come.
        """
        found = self.features(chunk)
        in_sets = chunk.shape[1] - rest
        to_keep = []
        for feature in self._to_keep(found):
            samples = kept.room(feature, self._room_for(largest))
            if in_sets:
                part = feature[:, :in_sets]
                samples = kept.with_samples(samples, part, first[0])
            if rest:
                part = feature[:, in_sets:]
                samples = kept.with_samples(samples, part, first[1])
            to_keep.append(samples)
        stream = moments.start(found[0], plans.SET_SIZE, rest)
        means = [
            moments.added_to_mean(None, feature, None)
            for feature in self._without_pivot(found)
        ]
        divergences = []
        if self._is_of_classes:
            divergences = [features.divergence(found[0], means[0], self._kind)]
        return State(stream, means, divergences, to_keep, self._log_sums(chunk))

    def add(self, state, chunk, first, rest=0):
        """The state with samples added, from number `first` on.

        Args:
            chunk, rest: As `moments.add` takes them.
            first: Integer or int32 scalar.
        """
        found = self.features(chunk)
        stream = moments.add(state.stream, found[0], plans.SET_SIZE, rest)
        count = stream.samples.count
        means = [
            moments.added_to_mean(mean, feature, count)
            for mean, feature in zip(state.means, self._without_pivot(found))
        ]
        divergences = [
            features.added_divergence(
                total,
                state.stream.samples.count,
                found[0],
                state.means[0],
                means[0],
                self._kind,
            )
            for total in state.divergences
        ]
        to_keep = [
            kept.with_samples(samples, feature, first)
            for samples, feature in zip(state.kept, self._to_keep(found))
        ]
        log_sums = [
            likelihood.merge(so_far, added)
            for so_far, added in zip(state.log_sums, self._log_sums(chunk))
        ]
        return State(stream, means, divergences, to_keep, log_sums)

    def partial(self, state, in_sets, rest):
        """The state with the samples not drawn yet cut from what is kept.

        Args:
            in_sets: Integer, samples drawn from the first one on.
            rest: Integer, samples drawn at the end.
        """
        drawn = [
            kept.cut(
                samples[:, : self._capacity],
                in_sets,
                rest,
                self._request.num_samples,
            )
            for samples in state.kept
        ]
        return state._replace(kept=drawn)

    def statistics(self, state):
        """A dict of statistics."""
        plan, seen = self._request.plan, _seen(state)
        variance = estimates.variance(plan, seen)
        error = estimates.squared_standard_error(plan, seen)
        result = {
            "mean": seen.mean,
            "variance": variance,
            "std": ops.sqrt(variance),
            "standard_error": ops.sqrt(error),
        }
        if self._is_normal:
            # The law of total variance.
            result["aleatoric_variance"] = state.means[0]
            result["epistemic_variance"] = variance
            result["total_variance"] = state.means[0] + variance
        for total in state.divergences:
            information = total / features.per_row(seen.count, total)
            result |= features.of_classes(
                self._kind, *state.means, information, seen.count
            )
        if self._request.quantiles:
            result |= self._quantiles(
                [samples[:, : self._capacity] for samples in state.kept]
            )
        if self._target is not None:
            result["log_likelihood"] = self._log_likelihood(
                seen.mean, state.log_sums, seen.count
            )
        if self._request.keep_samples:
            result["samples"] = state.kept[0]
        return result

    def _quantiles(self, samples):
        probabilities = self._request.quantiles
        if self._is_normal:
            values = quantiles.of_normal_mixture(*samples, probabilities)
        else:
            values = quantiles.of_samples(samples[0], probabilities)
        return dict(zip(("quantiles", "quantiles_standard_error"), values))

    def _log_likelihood(self, mean, log_sums, count):
        if log_sums:
            return likelihood.log_mean(log_sums[0], count)
        if self._kind == "binary":
            return likelihood.of_binary(mean, self._target)
        return likelihood.of_classes(mean, self._target)

    def _log_sums(self, output):
        terms = features.log_terms(
            output,
            self._kind,
            self._target,
            self._request.noise_variance,
            self._owner,
        )
        return [] if terms is None else [likelihood.start(terms)]

    def _room_for(self, largest):
        """How many samples are kept, and what is beyond the last of these."""
        if self._capacity == self._request.num_samples:
            return self._capacity
        return self._capacity + largest

    def _to_keep(self, found):
        """Of the features those that are kept sample by sample."""
        if not self._capacity:
            return []
        is_mixture = self._is_normal and self._request.quantiles
        return found[: 2 if is_mixture else 1]

    def _without_pivot(self, found):
        """The features that have a running mean besides the stream."""
        return found if self._is_of_classes else found[1:]

    def features(self, output):
        noise_variance = self._request.noise_variance
        return features.features(
            output, self._kind, noise_variance, self._owner
        )


def reaches(state, plan, tolerance, smallest_chance):
    """Which rows have their mean to `tolerance`: bool `(batch,)`.

    Never amid a set, so that it does not depend on how sets are cut.

    Args:
        state: A `State`.
        plan, tolerance, smallest_chance: As for `estimates.reaches`.
    """
    stream = state.stream
    seen = _seen(state)
    reached = estimates.reaches(plan, seen, tolerance, smallest_chance)
    reached = ops.logical_and(reached, stream.part.count == 0.0)
    return ops.all(reached, axis=tuple(range(1, len(reached.shape))))


def _seen(state):
    samples, set_means = state.stream.samples, state.stream.set_means
    mean = state.means[0] if state.divergences else moments.mean(state.stream)
    return estimates.Seen(
        samples.count,
        mean,
        samples.squares,
        set_means.count,
        set_means.squares,
    )

"""What is kept of the samples of one output, and what follows from it."""

from typing import NamedTuple

from keras import ops

from kerasdrop import _backend
from kerasdrop import _classes
from kerasdrop.montecarlo import kinds
from kerasdrop.montecarlo import likelihood
from kerasdrop.montecarlo import moments
from kerasdrop.montecarlo import plans
from kerasdrop.montecarlo import quantiles

# Quantiles are those of so many samples at most, so that memory is bounded.
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

# By fewer sets than these a standard error is not told well enough to stop at.
_FEWEST_SETS = 8


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
        means: List of tensors `(batch, ...)`, means of the other features.
        kept: List of tensors `(batch, capacity, ...)`.
        log_sums: List of one `likelihood.LogSum`, if there are targets that
            need one.
    """

    stream: moments.Stream
    means: list
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
        self._is_normal = kind in kinds.TWO_PART or (
            kind == "regression" and request.noise_variance is not None
        )
        # Probabilities: the mean of small ones has to keep its digits.
        self._pivot_is_0 = kind in (*kinds.CLASSES, "binary")
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
        features = self._features(chunk)
        in_sets = chunk.shape[1] - rest
        kept = []
        for feature in self._to_keep(features):
            samples = _room(feature, self._room_for(largest))
            if in_sets:
                samples = _with_samples(samples, feature[:, :in_sets], first[0])
            if rest:
                samples = _with_samples(samples, feature[:, in_sets:], first[1])
            kept.append(samples)
        stream = moments.start(
            features[0], plans.SET_SIZE, rest, self._pivot_is_0
        )
        means = [
            moments.added_to_mean(None, feature, None)
            for feature in features[1:]
        ]
        return State(stream, means, kept, self._log_sums(features))

    def add(self, state, chunk, first, rest=0):
        """The state with samples added, from number `first` on.

        Args:
            chunk, rest: As `moments.add` takes them.
            first: Integer or int32 scalar.
        """
        features = self._features(chunk)
        stream = moments.add(state.stream, features[0], plans.SET_SIZE, rest)
        count = stream.samples.count
        means = [
            moments.added_to_mean(mean, feature, count)
            for mean, feature in zip(state.means, features[1:])
        ]
        kept = [
            _with_samples(samples, feature, first)
            for samples, feature in zip(state.kept, self._to_keep(features))
        ]
        log_sums = [
            likelihood.merge(so_far, added)
            for so_far, added in zip(state.log_sums, self._log_sums(features))
        ]
        return State(stream, means, kept, log_sums)

    def partial(self, state, in_sets, rest):
        """The state with the samples not drawn yet cut from what is kept.

        Args:
            in_sets: Integer, samples drawn from the first one on.
            rest: Integer, samples drawn at the end.
        """
        end = self._capacity
        in_sets = min(in_sets, end)
        rest_at = max(self._request.num_samples - rest, in_sets)
        kept = [
            ops.concatenate(
                [samples[:, :in_sets], samples[:, rest_at:end]], axis=1
            )
            for samples in state.kept
        ]
        return state._replace(kept=kept)

    def statistics(self, state):
        """A dict of statistics."""
        count = state.stream.samples.count
        mean = moments.mean(state.stream)
        variance = moments.variance(state.stream.samples)
        result = {
            "mean": mean,
            "variance": variance,
            "std": ops.sqrt(variance),
            "standard_error": ops.sqrt(
                _squared_error(state, self._request.plan)
            ),
        }
        if self._is_normal:
            # The law of total variance.
            result["aleatoric_variance"] = state.means[0]
            result["epistemic_variance"] = variance
            result["total_variance"] = state.means[0] + variance
        elif state.means:
            result |= self._of_classes(mean, *state.means, count)
        if self._request.quantiles:
            result |= self._quantiles(
                [samples[:, : self._capacity] for samples in state.kept]
            )
        if self._target is not None:
            result["log_likelihood"] = self._log_likelihood(
                mean, state.log_sums, count
            )
        if self._request.keep_samples:
            result["samples"] = state.kept[0]
        return result

    def _of_classes(self, mean, expected_entropy, share, count):
        is_binary = self._kind == "binary"
        total = (_classes.binary_entropy if is_binary else _classes.entropy)(
            mean
        )
        winner = (
            ops.maximum(share, 1.0 - share)
            if is_binary
            else ops.max(share, axis=-1)
        )
        return {
            "predictive_entropy": total,
            "expected_entropy": expected_entropy,
            "mutual_information": total - expected_entropy,
            "votes": ops.round(share * count),
            "variation_ratio": 1.0 - winner,
        }

    def _quantiles(self, kept):
        probabilities = self._request.quantiles
        if self._is_normal:
            values = quantiles.of_normal_mixture(*kept, probabilities)
        else:
            values = quantiles.of_samples(kept[0], probabilities)
        return dict(zip(("quantiles", "quantiles_standard_error"), values))

    def _log_likelihood(self, mean, log_sums, count):
        if log_sums:
            return likelihood.log_mean(log_sums[0], count)
        if self._kind == "binary":
            return likelihood.of_binary(mean, self._target)
        return likelihood.of_classes(mean, self._target)

    def _log_sums(self, features):
        if self._target is None or self._kind in (*kinds.CLASSES, "binary"):
            return []
        if not self._is_normal:
            raise ValueError(
                f"{self._owner}: a log-likelihood needs the variance of the "
                "targets around an output of kind 'regression'. Pass "
                "`noise_variance`, or a model with a second half of outputs "
                "for it and `kind='mean_and_variance'`. Received: "
                "noise_variance=None"
            )
        terms = likelihood.log_density(*features, self._target)
        return [likelihood.start(terms)]

    def _room_for(self, largest):
        """How many samples are kept, and what is beyond the last of these."""
        if self._capacity == self._request.num_samples:
            return self._capacity
        return self._capacity + largest

    def _to_keep(self, features):
        """Of the features those that are kept sample by sample."""
        if not self._capacity:
            return []
        is_mixture = self._is_normal and self._request.quantiles
        return features[: 2 if is_mixture else 1]

    def _features(self, output):
        """What is averaged over the samples: tensors `(batch, samples, ...)`.

        First the predicted quantity; then for classes the entropy and the
        vote, for normals the variance.
        """
        if self._kind in kinds.CLASSES:
            self._check_last_axis(output)
            if self._kind == "logits":
                output = ops.softmax(output, axis=-1)
            vote = _classes.first_largest(output)
            return [output, _classes.entropy(output), vote]
        if self._kind == "binary":
            vote = ops.cast(output > 0.5, output.dtype)
            return [output, _classes.binary_entropy(output), vote]
        if self._kind in kinds.TWO_PART:
            self._check_last_axis(output)
            return kinds.parts(output, self._kind, self._owner)
        if self._is_normal:
            variance = self._request.noise_variance
            return [output, ops.full_like(output, variance)]
        return [output]

    def _check_last_axis(self, output):
        """Raises if the last axis is that of the samples."""
        if len(output.shape) < 3:
            raise ValueError(
                f"{self._owner}: an output of kind '{self._kind}' is "
                "`(batch, ..., size)`, with the classes or the two parts in "
                "the last axis. Pass the `kind` that the output is, e.g. "
                "'regression' or 'binary'. Received: an output with one "
                "number for each row, `(batch,)`"
            )


def reaches(state, plan, tolerance):
    """Which rows have their mean to `tolerance`: bool `(batch,)`."""
    squared = _squared_error(state, plan, _FEWEST_SETS)
    # A comparison with NaN, of a single sample, is false.
    return ops.all(
        squared <= tolerance**2, axis=tuple(range(1, len(squared.shape)))
    )


def _squared_error(state, plan, fewest_sets=2):
    samples, set_means = state.stream.samples, state.stream.set_means
    return plans.squared_standard_error(
        plan,
        moments.variance(samples),
        moments.variance(set_means),
        samples.count,
        set_means.count,
        fewest_sets,
    )


def _room(feature, capacity):
    """Zeros `(batch, capacity, ...)`."""
    return ops.repeat(ops.zeros_like(feature[:, :1]), capacity, axis=1)


def _with_samples(samples, chunk, first):
    """`samples` with those from number `first` on replaced by `chunk`.

    What is beyond the last sample to be kept is written behind it.
    """
    if _backend.is_exporting():
        return _with_samples_chosen(samples, chunk, first)
    end = samples.shape[1] - chunk.shape[1]
    start = ops.minimum(ops.cast(first, "int32"), end)
    place = [0, start] + [0] * (len(chunk.shape) - 2)
    return ops.slice_update(samples, place, chunk)


def _with_samples_chosen(samples, chunk, first):
    """The same in operations that exporters have."""
    size = chunk.shape[1]
    if isinstance(first, int):
        parts = [samples[:, :first], chunk, samples[:, first + size :]]
        return ops.concatenate(parts, axis=1)
    place = plans.range_of(0, samples.shape[1]) - first
    inside = ops.clip(place, 0, size - 1)
    shape = (1, -1) + (1,) * (len(chunk.shape) - 2)
    is_new = ops.reshape(place == inside, shape)
    return ops.where(is_new, ops.take(chunk, inside, axis=1), samples)

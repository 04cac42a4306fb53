"""Samples of a batch, streamed into statistics by compiled functions."""

from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop.montecarlo import adapters
from kerasdrop.montecarlo import kinds
from kerasdrop.montecarlo import plans
from kerasdrop.montecarlo import sampling
from kerasdrop.montecarlo import summaries

# Sets of samples in one compiled call. Between two calls there is progress to
# show and Ctrl-C to hear; each runs the deterministic layers anew.
_SETS_AT_A_TIME = 16


class Engine:
    """Draws what was asked for, and summarises it.

    Samples are drawn in a fixed order: first the last ones, which may be no
    whole set and show what shapes there are, then sets from the first on.

    Args:
        model: A built model.
        key: `state.Cell`, the key of all samples.
        kind: As `kinds.check` returns it.
        request: A `summaries.Request`.
        owner: A layer, with the variables of `model` and `key` among its own.
    """

    def __init__(self, model, key, kind, request, owner):
        self._model = model
        self._key = key
        self._kind = kind
        self._request = request
        self._owner = owner
        self._compiled_for = None
        num_sets, rest = divmod(request.num_samples, plans.SET_SIZE)
        self._rest_is_set = rest == 0
        self._rest = rest or plans.SET_SIZE
        self._num_sets = num_sets - self._rest_is_set
        # A compiled call has as many sets as the others, the first fewer.
        self._sets_at_first = self._num_sets
        if self._num_sets > _SETS_AT_A_TIME:
            self._sets_at_first = self._num_sets % _SETS_AT_A_TIME
        self.calls_per_batch = 1 + -(
            -(self._num_sets - self._sets_at_first) // _SETS_AT_A_TIME
        )

    def whole(self, batch):
        """The statistics of a `RowsOf`: one function, to trace or run."""
        state = self._start(batch, self._num_sets)
        return self._finish(batch, state)

    def over(self, batch):
        """A `Pass` over a batch, which draws a compiled call at a time."""
        drawn = adapters.fingerprint(self._model)
        if drawn != self._compiled_for:
            # Stock layers have their rates in the compiled function.
            self._compiled = {
                name: _backend.compiled(function, self._owner)
                for name, function in (
                    ("whole", self.whole),
                    ("start", self._first_sets),
                    ("more", self._more_sets),
                    ("finish", self._finish),
                )
            }
            self._compiled_for = drawn
        return Pass(self, self._compiled, batch)

    def sets_after(self, num_calls):
        """How many sets, the rest aside, are drawn after so many calls."""
        return self._sets_at_first + (num_calls - 1) * _SETS_AT_A_TIME

    def samples_after(self, num_calls):
        if num_calls == 0:
            return 0
        return self._rest + self.sets_after(num_calls) * plans.SET_SIZE

    def partial(self, batch, state, num_calls):
        """The statistics of what was drawn in the first calls."""
        skeleton, states = state
        num_sets = self.sets_after(num_calls)
        first_of_rest = self._num_sets * plans.SET_SIZE
        states = [
            summary.partial(one, num_sets, first_of_rest)
            for summary, one in zip(self._summaries(skeleton, batch), states)
        ]
        num_samples = self.samples_after(num_calls)
        return self._finish(batch, (skeleton, states), num_samples)

    def _sampler(self, batch):
        key = ops.convert_to_tensor(self._key.state.value)
        return sampling.sampler(
            self._model, key, self._request.plan, batch.inputs, batch.rows
        )

    def _summaries(self, outputs, batch):
        name = type(self._owner).__name__
        of_outputs = kinds.of_outputs(self._kind, outputs, name)
        targets = batch.targets or [None] * len(of_outputs)
        if len(targets) != len(of_outputs):
            raise ValueError(
                f"{name}: there must be targets for each output of the "
                f"model, in its structure. Received: y of {len(targets)} "
                f"arrays for {len(of_outputs)} outputs"
            )
        return [
            summaries.Summary(kind, self._request, target, name)
            for kind, target in zip(of_outputs, targets)
        ]

    def _first_sets(self, batch):
        return self._start(batch, self._sets_at_first)

    def _start(self, batch, num_sets):
        """The state after the rest and the first sets.

        It is a pair of the structure of the outputs, as scalars, and a list
        of the `summaries.State` of each.
        """
        first = self._num_sets * plans.SET_SIZE
        with self._sampler(batch) as draw:
            outputs = draw(first, self._rest)
            of_outputs = self._summaries(outputs, batch)
            states = [
                summary.start(output, first, self._rest_is_set)
                for summary, output in zip(of_outputs, tree.flatten(outputs))
            ]
            states = _add_sets(draw, of_outputs, states, 0, num_sets)
        skeleton = tree.map_structure(lambda _: ops.zeros(()), outputs)
        return skeleton, states

    def _more_sets(self, batch, state, first_set):
        skeleton, states = state
        of_outputs = self._summaries(skeleton, batch)
        with self._sampler(batch) as draw:
            states = _add_sets(
                draw, of_outputs, states, first_set, _SETS_AT_A_TIME
            )
        return skeleton, states

    def _finish(self, batch, state, num_samples=None):
        skeleton, states = state
        of_outputs = self._summaries(skeleton, batch)
        results = [
            summary.statistics(one, num_samples or self._request.num_samples)
            for summary, one in zip(of_outputs, states)
        ]
        return _packed(skeleton, results)


class Pass:
    """The samples of one batch, a compiled call at a time.

    Attributes:
        num_samples: How many were drawn.
    """

    def __init__(self, engine, compiled, batch):
        self._engine = engine
        self._compiled = compiled
        self._batch = batch
        self._num_calls = 0
        self._state = None
        self._result = None

    @property
    def num_samples(self):
        return self._engine.samples_after(self._num_calls)

    @property
    def is_done(self):
        return self._num_calls == self._engine.calls_per_batch

    def advance(self):
        """Makes the next call, and waits for it."""
        if self._engine.calls_per_batch == 1:
            self._result = self._compiled["whole"](self._batch)
        elif self._num_calls == 0:
            self._state = self._compiled["start"](self._batch)
        else:
            first_set = self._engine.sets_after(self._num_calls)
            self._state = self._compiled["more"](
                self._batch,
                self._state,
                ops.convert_to_tensor(first_set, "int32"),
            )
        # JAX returns at once, before it has computed anything.
        made = (self._result, self._state)[self._result is None]
        ops.convert_to_numpy(tree.flatten(made)[-1])
        self._num_calls += 1

    def statistics(self):
        """A dict of the statistics of what was drawn."""
        if self._result is not None:
            return self._result
        if self.is_done:
            return self._compiled["finish"](self._batch, self._state)
        return self._engine.partial(self._batch, self._state, self._num_calls)


def _add_sets(draw, of_outputs, states, first_set, num_sets):
    if num_sets == 0:
        return states

    def add_set(number, flat):
        first = (ops.cast(number, "int32") + first_set) * plans.SET_SIZE
        outputs = draw(first, plans.SET_SIZE)
        added = [
            summary.add_set(state, output, first)
            for summary, state, output in zip(
                of_outputs,
                tree.pack_sequence_as(states, flat),
                tree.flatten(outputs),
            )
        ]
        return tree.flatten(added)

    flat = ops.fori_loop(0, num_sets, add_set, tree.flatten(states))
    return tree.pack_sequence_as(states, flat)


def _packed(skeleton, results):
    """A dict of statistics, each in the structure of the outputs.

    Where outputs are of several kinds, and so have names, a statistic has
    those outputs that it exists for.
    """
    names = [
        name
        for name in summaries.STATISTICS
        if any(name in result for result in results)
    ]
    packed = {}
    for name in names:
        if all(name in result for result in results):
            values = [result[name] for result in results]
            packed[name] = tree.pack_sequence_as(skeleton, values)
            continue
        numbers = tree.pack_sequence_as(skeleton, list(range(len(results))))
        packed[name] = {
            output: results[number][name]
            for output, number in numbers.items()
            if name in results[number]
        }
    return packed

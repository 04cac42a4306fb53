"""The self-check: tests on a few rows that a model's pass is correct.

The check runs a model on a few rows by a plain call, and on some of these rows
in the way that samples run, with nothing dropped. It compares the outputs of
each layer, so that later layers cannot hide a fault, and it examines what each
layer draws. Only if something differs does it make further runs, to find out
what differs and why. `runs` runs the model, `comparing` and `effects` judge the
results, and `whole_pass` checks the compiled pass.
"""

import collections
import time
from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from kerasdrop import _refusals
from kerasdrop._adapters import adapters
from kerasdrop._adapters import survey
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.splitting import misfits
from kerasdrop.montecarlo.verification import chosen_rows
from kerasdrop.montecarlo.verification import comparing
from kerasdrop.montecarlo.verification import effects
from kerasdrop.montecarlo.verification import recording
from kerasdrop.montecarlo.verification import runs
from kerasdrop.montecarlo.verification import untouched
from kerasdrop.montecarlo.verification.verdicts import Verification
from kerasdrop.montecarlo.verification.verdicts import VerificationError

# The most seeds to try until each layer has shown that it draws.
_MOST_SEEDS = 4


class Result(NamedTuple):
    """The result of a check.

    Attributes:
        verification: A `Verification`.
        chosen: Integers, the rows of the batch that were checked.
        outputs: The outputs of a plain call on these rows, a structure of
            arrays; None if a plain call draws.
        batch: The whole batch, as `runs.Rows`.
        before: An `untouched.Snapshot` from before the check.
    """

    verification: Verification
    chosen: np.ndarray
    outputs: Given
    batch: runs.Rows
    before: untouched.Snapshot


class Check:
    """The self-check of a model.

    Args:
        model: A built model.
        holder: A layer that tracks all variables of the model.
        plan: One of `plans.PLANS`.
        vectorized: As in `passes.sampler`.
        owner: The public function that error messages name.
        choice: The `choice.Choice` of what is drawn. If it sets rates, the
            check uses a rate of its own at which the draws show, whatever the
            rates are.

    Attributes:
        model, owner: As given.
    """

    def __init__(
        self,
        model: keras.Model,
        holder: keras.Model,
        plan: str,
        vectorized: bool,
        owner: str,
        choice: choices.Choice,
    ) -> None:
        self.model = model
        self.owner = owner
        self._choice = choice.for_check()
        self._vectorized = vectorized
        self._runs = runs.Runs(model, holder, plan, vectorized, self._choice)
        self._may_mix_rows = any(
            map(
                adapters.runs_users_code,
                [*keras_graph.all_layers(model), *recording.operations(model)],
            )
        )

    def on(
        self,
        batch: runs.Rows,
        num_rows: int,
        most_rows: Given = chosen_rows.MOST_ROWS,
    ) -> Given:
        """Checks the model on some rows.

        Args:
            batch: `runs.Rows`.
            num_rows: Integer, how many of these rows are not padding.
            most_rows: Integer, how many rows to take at most.

        Returns:
            A `Result`.

        Raises:
            VerificationError: If the model fails.
        """
        before = untouched.Snapshot(self.model)
        size = len(batch.places)
        chosen = whole = np.arange(size)
        if self._vectorized:
            inputs = batch.part(whole[:num_rows]).inputs
            chosen = chosen_rows.chosen(inputs, most_rows, size)
        try:
            try:
                found = self._checked_apart(batch.part(chosen))
            except VerificationError:
                raise
            except Exception as error:
                # The model may be written for batches of one size.
                if chosen is whole or not misfits.may_explain(error):
                    raise
                chosen = whole
                found = self._checked_apart(batch, any_number=False)
        except BaseException:
            before.restore()
            raise
        moved = before.moved()
        # Another thread may have moved the generators.
        others = set(before.moved_generators()).difference(moved)
        if others:
            blamed = self._moved_again(batch.part(chosen), others)
            moved += blamed
            others -= set(blamed)
        before.restore(but=others)
        self.check_unmoved(moved)
        verification, outputs = found
        # One row may have been made up, which has no output here.
        return Result(
            verification, chosen[: _count(outputs)], outputs, batch, before
        )

    def _moved_again(self, rows: Tensor, names: Given) -> Given:
        """Returns the generators that a run moves but waiting does not."""
        self._runs.forget()
        before, start = untouched.Snapshot(self.model), time.monotonic()
        self._runs.of(rows)
        again = before.moved_generators()
        before.restore()
        idle = untouched.Snapshot(self.model)
        time.sleep(2 * (time.monotonic() - start))
        alone = idle.moved_generators()
        return sorted(names & set(again) - set(alone))

    def check_unmoved(self, moved: Given) -> None:
        """Raises if anything was moved; the names are those of `untouched`."""
        if moved:
            self._runs.forget()
            self._fail(
                f"a prediction changes {', '.join(moved)}",
                "It must leave these as they are. The layer that draws from "
                "them should do so in training only, or from its own "
                "`keras.random.SeedGenerator`, and be registered with "
                "`kerasdrop.register_stochastic`. (If another thread trains "
                "the model, predict with a copy of it)",
            )

    def _checked_apart(self, rows: runs.Rows, any_number: bool = True) -> Given:
        """As `_checked`, but makes up one row if all rows are alike."""
        made = chosen_rows.varied(rows.inputs) if self._vectorized else None
        if made is None:
            return self._checked(rows, any_number)
        places = np.append(rows.places[:-1], np.max(rows.places) + 1)
        try:
            verification, outputs = self._checked(
                runs.Rows(made, places.astype(rows.places.dtype)), any_number
            )
        except VerificationError:
            raise
        except Exception:
            # The model may not accept the row that was made up.
            return self._checked(rows, any_number)
        if outputs is not None:
            outputs = tree.map_structure(lambda array: array[:-1], outputs)
        return verification, outputs

    def _checked(self, rows: runs.Rows, any_number: bool = True) -> Given:
        """Returns a `Verification`, and plain outputs if they are not drawn.

        Args:
            rows: `runs.Rows`.
            any_number: Whether the model takes other numbers of rows.
        """
        num_rows = len(rows.places)
        orders = [None]
        if self._vectorized and not self._runs.draws_at_inference:
            orders = chosen_rows.others(
                rows.places, any_number, self._may_mix_rows
            )
        run = self._runs.of(rows, _part(rows, orders[0]))
        if self._runs.draws_at_inference and orders[0] is not None:
            orders, run = [None], self._runs.of(rows)
        self._check_strangers()
        layouts = comparing.Layouts(num_rows, orders[0], self._runs.num_samples)
        allowed, largest = self._compared(rows, run, layouts)
        for order in orders[1:]:
            self._compared(
                rows,
                self._runs.of(rows, _part(rows, order)),
                layouts._replace(order=order),
            )
        self._check_counts(run)
        if orders[0] is not None:
            self._check_drawn_rows(run, allowed, layouts)
        without_effect = self._check_effects(rows, run)
        verification = Verification(
            num_rows, len(run.pass_), largest, allowed, without_effect
        )
        # A model that draws at inference has no plain outputs.
        can_tell = not self._runs.draws_at_inference
        return verification, run.outputs if can_tell else None

    def _compared(self, rows: Tensor, run: Given, layouts: Given) -> Given:
        """Raises if a run differs; returns the tolerance and the difference."""
        allowed = comparing.tolerance(self.model)
        difference, largest = comparing.first_difference(
            self.model, run.plain, run.pass_, allowed, layouts
        )
        if difference is not None:
            return self._looked_into(rows, layouts)
        return allowed, largest

    def _looked_into(self, rows: Tensor, layouts: Given) -> Given:
        """Raises if a difference is not due to rounding.

        Args:
            rows: `runs.Rows`.
            layouts: `comparing.Layouts` of the runs that differed.

        Returns:
            The difference that rounding may cause, and the largest one found.
        """
        same = layouts._replace(order=None)
        run = self._runs.of(rows, with_inputs=True)
        floor = 0.0
        if layouts.order is not None:
            others = self._runs.of(rows.part(layouts.order), with_inputs=True)
            reordered = layouts._replace(num_samples=1)
            floor = self._check_rows(rows, run, others, reordered)
        allowed = comparing.tolerance(self.model, floor)
        compared = self.model, run.plain
        difference, largest = comparing.first_difference(
            *compared, run.pass_, allowed, same
        )
        if difference is not None:
            self._check_training(difference.path)
            self._check_repeats(rows)
            self._fail(
                f"with nothing dropped, {self._named(difference.path)} returns "
                f"other outputs than in a plain call: {_by(difference)}",
                "The calls before it agree. It may lack a mask or an argument "
                "that it gets in a plain call, or treat axis 0 as the batch "
                "although it is not. Or the function that was registered for "
                "it does not return, without noise, what the layer returns at "
                "inference",
            )
        if layouts.order is not None:
            difference, _ = comparing.first_difference(
                *compared, others.pass_, allowed, layouts, at_least=2
            )
            if difference is not None:
                self._fail_of_rows(difference)
        return allowed, largest

    def _check_rows(
        self, rows: Tensor, run: Given, others: Given, layouts: Given
    ) -> Given:
        """Raises if rows in a plain call see each other; returns rounding."""

        def compared(floor: Given) -> Given:
            return comparing.first_difference(
                self.model,
                run.plain,
                others.plain,
                comparing.tolerance(self.model, floor),
                layouts,
                # A tensor taken from one row may be used only for its shape.
                at_least=2,
            )

        difference, largest = compared(0.0)
        if difference is not None and len(layouts.order) != len(rows.places):
            floor = self._floor(rows.part(layouts.order), others)
            difference, largest = compared(floor)
            largest = max(largest, floor)
        if difference is None:
            return largest
        self._check_training(difference.path)
        self._check_repeats(rows)
        return self._fail_of_rows(difference)

    def _floor(self, rows: Tensor, run: Given) -> Given:
        """How much a plain call changes if each row comes twice.

        The order in which a convolution sums depends on the number of rows, and
        later layers may magnify the difference in rounding. Rows that see each
        other do not show here, because they see the same rows, only twice.
        """
        size = len(rows.places)
        order = np.tile(np.arange(size), 2)
        twice = self._runs.of(rows.part(order))
        _, largest = comparing.first_difference(
            self.model,
            run.plain,
            twice.plain,
            np.inf,
            comparing.Layouts(size, order, 1),
        )
        return largest

    def _fail_of_rows(self, difference: Given) -> None:
        layer = dict(model_tree.walk(self.model)).get(difference.path)
        by_caller = (
            "Layers of Keras keep rows apart: check what the surrounding code "
            "does before it calls this one. "
        )
        is_keras = layer is not None and not adapters.runs_users_code(layer)
        self._fail(
            f"the output of {self._named(difference.path)} for a row depends "
            f"on the other rows of the batch: {_by(difference)}",
            f"{by_caller if is_keras else ''}The samples run as additional "
            "rows of one batch",
        )

    def _check_repeats(self, rows: Tensor) -> None:
        """Raises if two plain calls with all known layers off differ."""
        run = self._runs.of(rows, twice=True)
        half = len(run.plain) // 2
        differ = comparing.unequal(
            run.plain[:half],
            run.plain[half:],
            comparing.tolerance(self.model),
        )
        if differ:
            self._fail(
                f"{self._named(differ[0])} returns something else in each "
                "call, although all layers that are known to draw are off",
                "Let it draw in training only, or register how it draws, with "
                "`kerasdrop.register_stochastic`",
            )

    def _check_training(self, path: str) -> None:
        """Raises if the layer at `path` is told to be in training."""
        layer = dict(model_tree.walk(self.model)).get(path)
        if layer is not None and id(layer) in self._runs.in_training:
            self._fail(
                f"{self._named(path)} is called with `training=True`",
                "A plain call of the model obeys this, and so does `predict`, "
                "but in a pass only dropout layers are in training mode. Call "
                "it with `training=training`",
                one_by_one=False,
            )

    def _check_strangers(self) -> None:
        """Raises if code calls dropout that the model does not contain."""
        if not self._choice.is_whole:
            return  # only the selected layers are to draw
        found = survey.of(self.model)
        known = {id(layer) for _, layer in found.layers}
        for layer, caller in self._runs.strangers:
            drawn = survey.of(layer).drawn()
            if all(id(one) in known for one in drawn):
                continue
            path = {id(one): path for path, one in found.layers}[id(caller)]
            self._fail(
                f"{self._named(path) if path else 'the model'} calls "
                f"'{layer.name}' ({model_tree.class_name(layer)}), which draws "
                "in training, but is none of the model's layers, so that it "
                "would not draw here",
                "Keras finds a layer in the graph, or as an attribute that is "
                "set in `__init__` (`self.dropout = ...`), and not in a "
                "closure, in an object of another kind, or if it is made "
                "within a call",
                one_by_one=False,
            )

    def _check_counts(self, run: Given) -> None:
        """Raises if a pass calls a layer that draws more or less often."""
        in_plain, in_pass = (
            collections.Counter(call.path for call in calls)
            for calls in (run.plain, run.pass_)
        )
        for path, layer in model_tree.walk(self.model):
            # A layer that our recurrent layers call only to draw has no
            # records.
            if layer not in self._runs.drawn or not in_plain[path]:
                continue
            if in_plain[path] != in_pass[path]:
                self._fail(
                    f"{self._named(path)} is called {in_pass[path]} times in "
                    f"a pass, and {in_plain[path]} times in a plain call",
                    "It must draw as often as the model calls it",
                )

    def _check_drawn_rows(
        self, run: Given, allowed: Given, layouts: Given
    ) -> None:
        """Raises if the draw of a row depends on the other rows."""
        by_keras = {
            path
            for path, layer in model_tree.walk(self.model)
            if adapters.is_by_keras(layer)
        }
        one, other = (
            [
                comparing.Call(probe.path, probe.drawn)
                for probe in probes
                if probe.path not in by_keras  # documented to do so
            ]
            for probes in (run.plain_probes, run.probes)
        )
        difference, _ = comparing.first_difference(
            self.model, one, other, allowed, layouts._replace(only_first=True)
        )
        if difference is not None:
            self._fail(
                f"what {self._named(difference.path)} draws for a row depends "
                f"on the other rows of the batch: {_by(difference)}",
                "Each row, along axis 0, must get the mask of its own sample",
            )

    def _check_effects(self, rows: Tensor, run: Given) -> Given:
        """Raises for faulty draws; returns paths of layers without effect."""
        seen = effects.Effects(
            self.model,
            self._runs.drawn,
            self._runs.num_samples,
            self._choice,
        )
        seen.add(run.probes)
        for seed in range(1, _MOST_SEEDS):
            if not seen.undecided():
                break
            seen.add(self._runs.of(rows, seed=seed).probes)
        for path, why in seen.faults():
            self._fail(
                f"{self._named(path)} {why}",
                "A layer that draws must use the mask that it gets, once",
            )
        return seen.without_effect()

    def fail_pass(
        self, result: Given, distance: Given, spread: Given, allowed: Given
    ) -> None:
        """Raises for a pass that does not return the plain outputs."""
        if self._vectorized:
            size, order = len(result.batch.places), result.chosen
            if len(order) == size:  # another number of rows
                order = np.resize(order, size + 1)
            whole = self._runs.of(result.batch)
            few = self._runs.of(result.batch.part(order))
            difference, _ = comparing.first_difference(
                self.model,
                whole.plain,
                few.plain,
                comparing.tolerance(self.model),
                comparing.Layouts(size, order),
            )
            if difference is not None:
                self._fail_of_rows(difference)
        if np.isinf(distance):  # only one of the two is NaN or infinite
            self._fail(
                "some inputs or outputs are NaN or infinite, and the compiled "
                "pass turns them into other numbers than a plain call does",
                "On TensorFlow, a compiled `relu` turns NaN into 0, in "
                "`predict` as well. Fill in the missing numbers of `x`, or "
                "leave these rows out",
                one_by_one=False,
            )
        self._fail(
            "with nothing dropped, the samples of the pass differ from the "
            f"plain outputs: their mean differs by {distance:.2g} of the "
            f"largest value, and their standard deviation is {spread:.2g} "
            f"(allowed: {allowed:.1g})",
            "On a few rows, without compilation, they agree. So the cause is "
            "how the pass is compiled or split into parts, or the number of "
            "rows",
        )

    def _named(self, path: str) -> Given:
        if path == comparing.OUTPUTS:
            return "the model"
        for found, layer in model_tree.walk(self.model):
            if found == path:
                return f"layer '{path}' ({model_tree.class_name(layer)})"
        return f"operation '{path}'"

    def _fail(self, what: Given, why: Given, one_by_one: Given = True) -> None:
        one_by_one = one_by_one and self._vectorized
        way_out = f" {_refusals.ONE_BY_ONE}" if one_by_one else ""
        raise VerificationError(
            f"{self.owner}: model '{self.model.name}' fails the self-check: "
            f"{what}. {why}.{way_out} `verify=False` skips the check; the "
            "numbers may then be wrong."
        )


def _part(rows: runs.Rows, order: Array) -> runs.Rows:
    return rows if order is None else rows.part(order)


def _count(outputs: Structure) -> Given:
    """The number of rows of some outputs; None if there are none."""
    leaves = tree.flatten(outputs)
    return len(leaves[0]) if leaves and np.ndim(leaves[0]) else None


def _by(difference: Given) -> Given:
    return (
        f"the difference is {difference.size:.2g} of the largest value "
        f"(allowed: {difference.allowed:.1g})"
    )

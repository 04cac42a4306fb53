"""The peak memory of a TensorFlow graph, computed from its shapes.

The graph is simulated. An operation runs when its inputs are ready, in the
order in which operations become ready. A tensor is freed after its last use.
"""

import collections
import math
from collections.abc import Callable

from kerasdrop._types import Given
from kerasdrop._types import Structure

# These pass their inputs on, or refer to existing memory.
_NO_MEMORY = {
    "Const",
    "ExpandDims",
    "Identity",
    "IdentityN",
    "NoOp",
    "Placeholder",
    "PreventGradient",
    "ReadVariableOp",
    "Reshape",
    "Squeeze",
    "StopGradient",
}

# These overwrite an input of the same size that no other operation needs.
_IN_PLACE = {
    "Add",
    "AddV2",
    "BiasAdd",
    "Elu",
    "Erf",
    "Exp",
    "Log",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "RealDiv",
    "Relu",
    "Rsqrt",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Sqrt",
    "Square",
    "Sub",
    "Tanh",
}

_TRUE_OR_FALSE = {
    "All",
    "Any",
    "Equal",
    "Greater",
    "GreaterEqual",
    "IsFinite",
    "IsInf",
    "IsNan",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "NotEqual",
}

# Attributes with the types of the results; the first that exists counts.
_TYPES = (
    "Tout",
    "output_types",
    "out_types",
    "DstT",
    "dtype",
    "out_type",
    "output_type",
    "Tparams",
    "Tidx",
    "T",
)


class GraphPeak:
    """Computes the peaks of a graph and of the functions that it calls.

    Args:
        graph: A `GraphDef` with shapes.
        size_of_type: Function of the number of a type that returns the bytes of
            an element.
        convolutions_copy: Whether a convolution makes a copy of its inputs.
    """

    def __init__(
        self,
        graph: Given,
        size_of_type: Callable[[int], int],
        convolutions_copy: bool,
    ) -> None:
        self._graph = graph
        self._functions = {
            function.signature.name: function
            for function in graph.library.function
        }
        self._size_of_type = size_of_type
        self._convolutions_copy = convolutions_copy
        self._of_function: dict[str, int] = {}

    def size(self, results: Structure) -> int:
        """The most bytes in use at a time, without arguments and variables.

        Args:
            results: Names of the operations whose results are kept.
        """
        return self._peak(self._graph.node, results)

    def _peak(self, nodes: Given, results: Structure) -> int:
        numbers = {node.name: number for number, node in enumerate(nodes)}
        waits: list[list[int]] = [[] for _ in nodes]
        uses: list[list[int]] = [[] for _ in nodes]
        for number, node in enumerate(nodes):
            for name in node.input:
                other = numbers.get(name.lstrip("^").partition(":")[0])
                if other is None:  # an argument of the function
                    continue
                waits[other].append(number)
                if not name.startswith("^"):
                    uses[number].append(other)
        run = _Run(uses, [numbers[name] for name in results if name in numbers])
        missing = collections.Counter(n for after in waits for n in after)
        ready = collections.deque(
            number for number in range(len(nodes)) if not missing[number]
        )
        while ready:
            number = ready.popleft()
            self._call(run, nodes[number], number)
            for after in waits[number]:
                missing[after] -= 1
                if not missing[after]:
                    ready.append(after)
        return run.peak

    def _call(self, run: "_Run", node: Given, number: int) -> None:
        if node.op in _NO_MEMORY:
            run.hand_on(number)
            return
        sizes = [run.sizes.get(other, 0) for other in run.uses[number]]
        size = self._size(node, max(sizes, default=0))
        inside = max(0, self._inside(node) - size)
        if self._convolutions_copy and "Conv" in node.op:
            inside = max(sizes, default=0)
        run.make(number, size, inside, node.op in _IN_PLACE)

    def _inside(self, node: Given) -> int:
        """The peak of the functions that an operation calls."""
        # XLA allocates few buffers for what it compiles.
        if "_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b:
            return 0
        peaks = [0]
        for name in ("f", "body", "then_branch", "else_branch"):
            if name not in node.attr:
                continue
            called = node.attr[name].func.name
            if called not in self._functions:
                continue
            if called not in self._of_function:
                function = self._functions[called]
                results = [
                    name.partition(":")[0] for name in function.ret.values()
                ]
                self._of_function[called] = self._peak(
                    function.node_def, results
                )
            peaks.append(self._of_function[called])
        return max(peaks)

    def _size(self, node: Given, most: int) -> int:
        """The bytes of all results of an operation; `most` if unknown."""
        if "_output_shapes" not in node.attr:
            return most
        shapes = node.attr["_output_shapes"].list.shape
        total = 0
        for shape, of_item in zip(shapes, self._item_sizes(node, len(shapes))):
            sizes = [dimension.size for dimension in shape.dim]
            if shape.unknown_rank or any(size < 0 for size in sizes):
                total += most
            else:
                total += math.prod(sizes) * of_item
        # A list of tensors, which has no shape, exists until it is stacked.
        return total * 2 if node.op == "TensorListStack" else total

    def _item_sizes(self, node: Given, count: int) -> list[int]:
        if node.op in _TRUE_OR_FALSE:
            return [1] * count
        of_type = self._size_of_type
        for name in _TYPES:
            if name not in node.attr:
                continue
            if node.attr[name].list.type:
                return [of_type(number) for number in node.attr[name].list.type]
            if node.attr[name].type:
                return [of_type(node.attr[name].type)] * count
        return [4] * count


class _Run:
    """The memory in use while a graph runs.

    Attributes:
        uses: For each operation, the numbers of the operations that make its
            inputs.
        sizes: The bytes of the results of an operation, by its number.
        peak: The most bytes so far.
    """

    def __init__(self, uses: list[list[int]], kept: list[int]) -> None:
        self.uses = uses
        self.sizes: dict[int, int] = {}
        self.peak = 0
        self._size = 0
        self._left: collections.Counter[int] = collections.Counter(
            other for others in uses for other in others
        )
        self._left.update(kept)
        # Where results are stored: the operation that allocated the memory.
        self._place: dict[int, int | None] = {}
        self._room: dict[int, int] = {}  # bytes, by place
        # The number of results left in a place.
        self._users: collections.Counter[int] = collections.Counter()

    def hand_on(self, number: int) -> None:
        uses = self.uses[number]
        place = self._place.get(uses[0]) if uses else None
        if uses:
            self.sizes[number] = self.sizes.get(uses[0], 0)
        self._put(number, place)

    def make(self, number: int, size: int, inside: int, in_place: bool) -> None:
        place = None
        if in_place:
            for other in self.uses[number]:
                found = self._place.get(other)
                if found is None or self._room[found] != size:
                    continue
                if self._users[found] == 1 and self._left[other] == 1:
                    place = found
                    break
        if place is None:
            place = number
            self._room[place] = size
            self._size += size
        self.sizes[number] = size
        self.peak = max(self.peak, self._size + inside)
        self._put(number, place)

    def _put(self, number: int, place: int | None) -> None:
        self._place[number] = place
        if place is not None and self._left[number]:
            self._users[place] += 1
        for other in self.uses[number]:
            self._left[other] -= 1
            if not self._left[other]:
                self._leave(self._place.get(other))
        if place is not None and not self._users[place]:
            self._free(place)

    def _leave(self, place: int | None) -> None:
        if place is None:
            return
        self._users[place] -= 1
        if not self._users[place]:
            self._free(place)

    def _free(self, place: int) -> None:
        self._size -= self._room.pop(place, 0)

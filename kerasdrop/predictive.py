"""The result of `mc_predict`."""

from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np
from keras import tree

from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Structure

__all__ = ["Predictive"]

# Statistics that each kind has, if they are asked for.
_ASKED_FOR = {
    "samples": "keep_samples=True",
    "quantiles": "quantiles=(0.05, 0.95)",
    "quantiles_standard_error": "quantiles=(0.05, 0.95)",
    "log_likelihood": "y=targets",
}


class Predictive(Mapping[str, Structure]):
    """Statistics of a predictive distribution: a read-only mapping.

    Each statistic is an item and an attribute: `result["mean"]` is
    `result.mean`. Its value is a numpy array or, for several outputs, a
    structure of arrays as the model returns it. `result[10:20]` has the
    statistics of these rows. `kerasdrop.MonteCarlo` explains each statistic.

    Args:
        statistics: Dict of names and of structures of numpy arrays.
        num_samples: Integer.
        seed: Integer.
        plan: String.
        kind: String, or a structure of strings.

    Attributes:
        num_samples, seed, plan, kind: The settings of the prediction. The same
            seed gives the same numbers again.

    Example:

    >>> result = kerasdrop.mc_predict(model, x, verbose=0)
    >>> result.mean is result["mean"], sorted(result)[:2]
    (True, ['expected_entropy', 'mean'])
    >>> result[:10].predictive_entropy.shape
    (10,)
    """

    def __init__(
        self,
        statistics: dict[str, Structure],
        num_samples: int,
        seed: int,
        plan: str,
        kind: Structure,
    ) -> None:
        self.__dict__.update(
            _statistics=dict(statistics),
            num_samples=num_samples,
            seed=seed,
            plan=plan,
            kind=kind,
        )

    def __getitem__(self, key: Given) -> Structure:
        if isinstance(key, str):
            return self._statistics[key]
        return Predictive(
            {
                name: tree.map_structure(lambda array: array[key], value)
                for name, value in self.items()
            },
            self.num_samples,
            self.seed,
            self.plan,
            self.kind,
        )

    def to_dict(self) -> dict[str, Structure]:
        """The statistics as a dict."""
        return dict(self._statistics)

    def to_dataframe(self) -> Structure:
        """The statistics as a `pandas.DataFrame` with one line per row.

        A statistic with several numbers per row has a column for each number,
        named `mean[0]`, `mean[1]`, ... With several outputs, the path of the
        output comes first.
        """
        import pandas  # needed for nothing else

        columns = {}
        for name, value in self.items():
            for path, array in tree.flatten_with_path(value):
                label = "/".join([*map(str, path), name])
                columns.update(_columns(label, array))
        return pandas.DataFrame(columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._statistics)

    def __len__(self) -> int:
        return len(self._statistics)

    def __getattr__(self, name: str) -> Structure:
        if name in self.__dict__.get("_statistics", ()):
            return self._statistics[name]
        fix = ""
        if name in _ASKED_FOR:
            fix = f"`mc_predict(..., {_ASKED_FOR[name]})` adds `{name}`. "
        raise AttributeError(
            f"A prediction of kind {self.__dict__.get('kind')!r} has "
            f"{', '.join(self.__dict__.get('_statistics', ()))}. "
            f"{fix}Received: {name!r}"
        )

    def __array__(self, dtype: Given = None, copy: Given = None) -> Array:
        # Without this NumPy makes an array of the names.
        raise TypeError(
            "A prediction is not an array. Pass one of its statistics, e.g. "
            "`result.mean`, or the `result.samples` of "
            "`mc_predict(..., keep_samples=True)`. Received: a prediction with "
            f"{', '.join(self._statistics)}"
        )

    def __setattr__(self, name: str, value: Given) -> None:
        raise AttributeError(
            f"A prediction is read-only. Received: {name} = {value!r}"
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._statistics]

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{name} {_shapes(value)}" for name, value in self.items()
        )
        return (
            f"<Predictive: {shapes}; kind={self.kind!r}, "
            f"num_samples={self.num_samples}, plan={self.plan!r}, "
            f"seed={self.seed}>"
        )


def _shapes(value: Given) -> Structure:
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, dict):
        return {name: _shapes(item) for name, item in value.items()}
    return [_shapes(item) for item in value]


def _columns(label: str, array: Array) -> dict[str, Array]:
    if array.ndim == 1:
        return {label: array}
    return {
        f"{label}[{', '.join(map(str, place))}]": array[(slice(None), *place)]
        for place in np.ndindex(array.shape[1:])
    }

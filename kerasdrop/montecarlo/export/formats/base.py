"""The interface of a file format."""

import abc
import importlib.util
from collections.abc import Iterable
from typing import ClassVar

import keras

from kerasdrop._refusals import TypeRefusal
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given


class Format(abc.ABC):
    """Writes a Monte Carlo model, and runs the file.

    Attributes:
        name: String, the name that users write.
        ending: String, the ending of its file names.
        needed: Dict from each backend on which it can be written to the
            requirements there, a dict from modules to the packages that contain
            them.
        divides_on: Names of the backends whose files lack an integer `and`, or
            shift in another way, so that masks use divisions.
        options: Dict of arguments for Keras' exporter.
        known: Dict from each backend on which the exporter ignores the
            arguments that it does not know to the names of those that it does.
    """

    name = ""
    ending = ""
    needed: ClassVar[Config] = {}
    divides_on: tuple[str, ...] = ()
    options: Given = {}  # noqa: RUF012
    known: ClassVar[Config] = {}

    @property
    def backends(self) -> tuple[str, ...]:
        """Names of the backends on which it can be written."""
        return tuple(self.needed)

    def missing(self) -> list[str]:
        """The required packages that are not installed."""
        return [
            package
            for module, package in self.needed[keras.backend.backend()].items()
            if importlib.util.find_spec(module) is None
        ]

    def check_arguments(self, names: Iterable[str]) -> None:
        """Raises if the exporter would ignore one of these arguments."""
        backend = keras.backend.backend()
        if backend not in self.known:
            return
        for name in set(names).difference(self.known[backend]):
            known = ", ".join(self.known[backend]) or "none"
            raise TypeRefusal(
                f"`export` got an unexpected keyword argument '{name}'. The "
                f"arguments for Keras' exporter of format '{self.name}' on "
                f"{backend} are: {known}"
            )

    def divides(self) -> bool:
        """Whether masks use divisions on this backend."""
        return keras.backend.backend() in self.divides_on

    def write(
        self, model: keras.Model, path: str, signature: Given, **kwargs: Given
    ) -> None:
        """Writes a model.

        Args:
            model: A model that takes the inputs in `signature` by position, and
                returns a dict.
            path: String.
            signature: List of structures of `keras.InputSpec`s with names.
            **kwargs: Arguments of the exporter, which override `options`.
        """
        model.export(
            path,
            self.name,
            verbose=False,
            input_signature=signature,
            **{**self.options, **kwargs},
        )

    @abc.abstractmethod
    def run(self, path: str, inputs: dict[str, Array]) -> dict[str, Array]:
        """Returns the outputs of a file, arrays by name.

        Args:
            path: String, the file or folder.
            inputs: Dict of numpy arrays, by name.
        """

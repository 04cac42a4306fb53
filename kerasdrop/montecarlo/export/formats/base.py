"""What a format of files answers."""

import abc
import importlib.util
from collections.abc import Iterable
from typing import ClassVar

import keras

from kerasdrop._refusals import TypeRefusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Structure


class Format(abc.ABC):
    """Writes a Monte Carlo model, and runs what was written.

    Attributes:
        name: String, by which users name it.
        ending: String, what the names of its files end in.
        needed: Dict from each backend on which it can be written to what is
            needed there: a dict from modules to the packages that have them.
        divides_on: Names of backends from which its files have no integer
            `and`, or shift otherwise than they do, so that masks are made by
            divisions.
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
        """The packages that are needed here and are not installed."""
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

    def divides(self) -> Given:
        """Whether masks are made by divisions on this backend."""
        return keras.backend.backend() in self.divides_on

    def write(
        self, model: keras.Model, path: str, signature: Given, **kwargs: Given
    ) -> None:
        """Writes a model.

        Args:
            model: A model of the inputs in `signature`, by position, that
                returns a dict.
            path: String.
            signature: List of structures of `keras.InputSpec`s with names.
            **kwargs: For the exporter, before `options`.
        """
        model.export(
            path,
            self.name,
            verbose=False,
            input_signature=signature,
            **{**self.options, **kwargs},
        )

    @abc.abstractmethod
    def run(self, path: str, inputs: Structure) -> None:
        """The outputs of a file, arrays by name.

        Args:
            path: String, the file or folder.
            inputs: Dict of numpy arrays, by name.
        """

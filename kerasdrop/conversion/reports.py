"""Reports of the functions that return a new model."""

import dataclasses

from kerasdrop._types import Given


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """The report of `convert_dropout`.

    Attributes:
        converted: Dict from a layer's path to what it has become.
        skipped: Dict from a layer's path to why it was not converted.
        notes: Dict of further facts, if the code of classes rebuilt blocks:
            `"predictions"`, how the predictions of both models compare;
            `"files"`, how files behave if the code creates dropout.
    """

    converted: dict[Given, Given]
    skipped: dict[Given, Given]
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return _table(
            ("converted", self.converted),
            ("skipped", self.skipped),
            ("note", self.notes),
        )


@dataclasses.dataclass(frozen=True)
class FoldingReport:
    """The report of `fold_classic_scaling`.

    Attributes:
        folded: Dict from a layer's path to where its factor went.
        skipped: Dict from a layer's path to why it is still there.
    """

    folded: dict[Given, Given]
    skipped: dict[Given, Given]

    def __str__(self) -> str:
        return _table(("folded", self.folded), ("skipped", self.skipped))


@dataclasses.dataclass(frozen=True)
class StrippingReport:
    """The report of `strip_dropout`.

    Attributes:
        stripped: Dict from a layer's path to what it has become.
        skipped: Dict from a layer's path to why it still draws.
        notes: Dict, as in `ConversionReport`.
    """

    stripped: dict[Given, Given]
    skipped: dict[Given, Given]
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return _table(
            ("stripped", self.stripped),
            ("skipped", self.skipped),
            ("note", self.notes),
        )


@dataclasses.dataclass(frozen=True)
class InsertionReport:
    """The report of `insert_dropout`.

    Attributes:
        inserted: Dict from the path of a new dropout layer to what it is and
            where it is.
        identities: Dict from the path of a new `Identity` to where it is.
            Identities preserve the order of the layers, by which a file finds
            them.
        kept: Dict from the path of each dropout layer that existed before to
            what it is; it draws as well.
        why_not_loaded: String, why the new model cannot load the
            `.weights.h5` file of the old one; "" if it can.
    """

    inserted: dict[str, str]
    identities: dict[str, str]
    kept: dict[str, str]
    why_not_loaded: str

    @property
    def loads_weights(self) -> bool:
        """Whether the new model loads the `.weights.h5` of the old one."""
        return not self.why_not_loaded

    def __str__(self) -> str:
        said = "of the old model are read by the new one"
        if self.why_not_loaded:
            said = (
                f"of the old model are NOT read by the new one: "
                f"{self.why_not_loaded}. Load them into the old model, and "
                "insert again"
            )
        return _table(
            ("inserted", self.inserted),
            ("identity", self.identities),
            ("kept", self.kept),
            ("files", {".weights.h5": said}),
        )


def _table(*sections: Given) -> str:
    rows = [
        (title, path, text)
        for title, entries in sections
        for path, text in entries.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(
        f"{title:{widths[0]}}  {path:{widths[1]}}  {text}"
        for title, path, text in rows
    )

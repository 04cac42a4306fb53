"""What functions that return a new model tell about it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """What `convert_dropout` did.

    Attributes:
        converted: Dict from a layer's path to what it has become.
        skipped: Dict from a layer's path to why it is what it was.
    """

    converted: dict
    skipped: dict

    def __str__(self):
        return _table(("converted", self.converted), ("skipped", self.skipped))


@dataclasses.dataclass(frozen=True)
class FoldingReport:
    """What `fold_classic_scaling` did.

    Attributes:
        folded: Dict from a layer's path to where its factor went.
        skipped: Dict from a layer's path to why it is still there.
    """

    folded: dict
    skipped: dict

    def __str__(self):
        return _table(("folded", self.folded), ("skipped", self.skipped))


@dataclasses.dataclass(frozen=True)
class StrippingReport:
    """What `strip_dropout` did.

    Attributes:
        stripped: Dict from a layer's path to what it has become.
        skipped: Dict from a layer's path to why it still draws.
    """

    stripped: dict
    skipped: dict

    def __str__(self):
        return _table(("stripped", self.stripped), ("skipped", self.skipped))


def _table(*sections):
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

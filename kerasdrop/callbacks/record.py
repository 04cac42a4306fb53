"""The state of a callback after each epoch, in memory and in a file."""

import json
import os
import uuid

from kerasdrop._types import Config


class EpochRecord:
    """One entry for each epoch, so that training can continue after any epoch.

    A process may be killed after the weights were saved and before this record
    was. So there is an entry for each epoch, and a resumed training reads the
    one that belongs to the weights.

    Args:
        path: Path of a JSON file, or None for memory only.
        owner: Name for error messages.
    """

    def __init__(self, path: str | os.PathLike[str] | None, owner: str) -> None:
        self._path = None if path is None else os.fspath(path)
        self._owner = owner
        self._entries: dict[int, Config] = {}

    def clear(self) -> None:
        """Forgets all epochs; the file is replaced at the next entry."""
        self._entries = {}

    def add(self, epoch: int, entry: Config) -> None:
        # Epochs after this one belong to a run that was given up.
        self._entries = {
            past: kept for past, kept in self._entries.items() if past < epoch
        }
        self._entries[epoch] = entry
        if self._path is not None:
            self._write(self._path)

    def after(self, epoch: int) -> Config | None:
        """The entry of an epoch; None if there is no record at all."""
        if epoch in self._entries:
            return self._entries[epoch]
        if self._path is None or not os.path.exists(self._path):
            return None
        with open(self._path, encoding="utf-8") as file:
            stored = json.load(file)
        self._entries = {int(key): entry for key, entry in stored.items()}
        if epoch not in self._entries:
            raise ValueError(
                f"{self._owner}: the file at `state_path` has no entry for "
                f"epoch {epoch}, after which training continues. It belongs "
                "to another training: pass another path, or delete it. "
                f"Received: state_path={self._path!r} with the epochs "
                f"{sorted(self._entries)}"
            )
        return self._entries[epoch]

    def _write(self, path: str) -> None:
        # Replaced as a whole: a killed process leaves the old file or the
        # new one, and no half of either. Several processes that train
        # together may have one path: each replaces it by the same.
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self._entries, file)
        os.replace(temporary, path)

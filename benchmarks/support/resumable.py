"""A report in parts, which survives an interruption."""

import json
import time

from benchmarks.support import reporting


class Report:
    """What is done, in a file: a part that is there is not done again.

    Args:
        path: Of the file.
        sizes: Named tuple of what all parts must have been made with.
    """

    def __init__(self, path, sizes):
        self._path = path
        taken = reporting.taken()
        self._report = {**taken, **sizes._asdict(), "parts": {}}
        if path.exists():
            before = json.loads(path.read_text())
            for name in ("backend", "versions", *sizes._fields):
                if before[name] != self._report[name]:
                    raise SystemExit(
                        f"{path} was begun with another `{name}`. Move it "
                        "away, or pass another --output. There: "
                        f"{before[name]}; here: {self._report[name]}"
                    )
            self._report["parts"] = before["parts"]

    def part(self, name, function, *args):
        """The results of a part, from the file or else of `function`."""
        parts = self._report["parts"]
        if name in parts:
            print(f"{name}: done before", flush=True)
            return parts[name]
        print(name, flush=True)
        start = time.perf_counter()
        results = function(*args)
        seconds = round(time.perf_counter() - start, 1)
        date = self._report["date"]
        parts[name] = {"date": date, "seconds": seconds, **results}
        # In one piece: it may be interrupted at any time.
        self._path.parent.mkdir(exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._report, indent=1) + "\n")
        new.replace(self._path)
        print(f"{name}: {seconds} s", flush=True)
        return parts[name]

"""The list of broken videos of a run, and the point where there are too many."""

import json
from contextlib import suppress
from pathlib import Path

import msgspec

from autovid.errors import DataError


class FaultLog:
    """The broken videos of a set of `total`, each with its reason, once, as a line {"path", "reason"} of `file`.

    How many are too many says `most_broken`. An existing file is continued: its videos count.
    """

    def __init__(self, total: int, file: Path | None = None) -> None:
        self.total = total
        self.reasons: dict[str, str] = {}
        self._file = file
        if file is not None and file.exists():
            text = file.read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                with suppress(msgspec.DecodeError, KeyError):
                    entry = msgspec.json.decode(line, type=dict[str, str])
                    self.reasons[entry["path"]] = entry["reason"]
            if text and not text.endswith("\n"):  # cut short by a kill: what comes must not be glued to it
                file.write_text(text + "\n", encoding="utf-8")

    def add(self, path: str, reason: str) -> None:
        """Record a broken video. Raises DataError where it is one too many."""
        if path not in self.reasons:
            self.reasons[path] = reason
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps({"path": path, "reason": reason}) + "\n")
        if len(self.reasons) > most_broken(self.total):
            first = "; ".join(f"{name}: {why}" for name, why in list(self.reasons.items())[:3])
            where = f"; listed in {self._file}" if self._file else ""
            raise DataError(
                f"{len(self.reasons)} of {self.total} videos cannot be read, more than the "
                f"{most_broken(self.total)} that may be: {first}{where}. "
                "There may be others: autovid data check INDEX finds all, and writes an index without them"
            )


def most_broken(total: int) -> int:
    """Return how many broken videos a set of `total` may have: 1 %; of a small set 10 %, up to ten; one at any size."""
    return max(1, min(10, total // 10), total // 100)

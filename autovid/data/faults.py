"""The list of broken videos of a run, and the point where there are too many."""

import json
from pathlib import Path

from autovid.errors import DataError


class FaultLog:
    """Which videos could not be read, and why: one line of `file` (JSON: path, reason) for each distinct video.

    More than 1 % of the `total` videos of the set is too many, but one broken video never is.
    """

    def __init__(self, total: int, file: Path | None = None) -> None:
        self.limit = max(1, total // 100)
        self.total = total
        self.reasons: dict[str, str] = {}
        self._file = file

    def add(self, path: str, reason: str) -> None:
        """Notes a broken video, once. Raises DataError where it is one too many."""
        if path in self.reasons:
            return
        self.reasons[path] = reason
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"path": path, "reason": reason}) + "\n")
        if len(self.reasons) > self.limit:
            first = "; ".join(f"{name}: {why}" for name, why in list(self.reasons.items())[:3])
            raise DataError(
                f"{len(self.reasons)} of {self.total} videos cannot be read, more than 1 %: {first}"
                + (f" (all in {self._file})" if self._file else "")
            )

"""Results that outlive the process: each line is printed and in the file at once. And times, taken in turns."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from autovid.measure import Turns

Run = Callable[[], object]
MOST_ROUNDS = 60


class Report:
    """A Markdown file that grows line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, text: str = "") -> None:
        """Write a line, to the disk, too: whatever kills the process leaves it."""
        print(text, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

    def table(self, title: str, about: str, *columns: str) -> None:
        """Begin a section with a table."""
        self.line(f"\n## {title}\n\n{about}\n")
        self.row(*columns)
        self.line("|" + "---|" * len(columns))

    def row(self, *cells: object) -> None:
        """Write a row; numbers in three digits."""
        self.line("| " + " | ".join(number(cell) for cell in cells) + " |")


class Box:
    """The time that a section has."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()


def number(cell: object) -> str:
    """Write a cell: a float in three digits, nan as nothing."""
    if not isinstance(cell, float):
        return str(cell)
    if math.isnan(cell):
        return ""
    return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:,.0f}"


def medians(runs: Mapping[str, Run], device: torch.device, seconds: float) -> dict[str, float]:
    """Return the median time of each run in milliseconds, all taking turns for so long, three times each at least.

    In no time at all, a trial, once and cold.
    """
    turns = Turns(list(runs.values()), device)
    turns.warm_up(2 if seconds else 0)
    end = time.monotonic() + seconds
    while len(turns.rounds) < (3 if seconds else 1) or (time.monotonic() < end and len(turns.rounds) < MOST_ROUNDS):
        turns.one_round()
    return {name: 1e3 * turns.quartiles(place)[1] for place, name in enumerate(runs)}


def working(runs: Mapping[str, Run], say: Callable[[str], None]) -> dict[str, Run]:
    """Return the runs that work once, and say of the others why not. Raises torch.OutOfMemoryError."""
    good = {}
    for name, run in runs.items():
        try:
            run()
            good[name] = run
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler or a capture may refuse anything
            say(f"{name}: {reason(error)}")
    return good


def reason(error: BaseException) -> str:
    """Return an error in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

"""A small search in forked children, each killed (SIGKILL) at a moment drawn beforehand, until one of them finishes.

    python search_loop.py DIRECTORY DATA SEED

Prints a JSON list of what each was about to do. Moments are counted, not timed, so that they are the same everywhere:
the n-th file operation inside saves, around them or after the last step, or the n-th loss of an
architecture. A write that is killed has half of its bytes on the disk.
"""

import gc
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib.figure  # noqa: F401 - what a search imports when first used: once here instead of in every child
import torch
import torch._dynamo

import autovid.search.run
from autovid.data import open_videos
from autovid.kernels.chosen import Kernels
from autovid.kernels.compute import Measured, Precision
from autovid.run import Progress, RunDirectory
from autovid.search import parse_constraints, search, settings_for
from autovid.search.run import SearchResult
from autovid.search.supernet import Supernet
from autovid.space import load_space

OPERATIONS = ("open", "write", "fsync", "close", "rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate")
Moment = tuple[str, str, int]  # where, the operation ("" for any), the how manieth


def tiny_search(out: Path, data: Path, progress: Progress | None = None) -> SearchResult:
    """Three steps a part, saved after each; goes on with what is in `out`.

    A run may go on on another machine, where other kernels are fastest; those of the checkpoint must hold.
    """
    saved = any(out.glob("checkpoints/step-*"))
    kernels = Kernels(input_gradient="torch", weight_gradient="torch") if saved else Kernels()
    space = load_space("tiny")
    settings = settings_for(
        space,
        proxy=True,
        videos=12,
        steps=3,
        samples=2,
        alpha_every=1,
        batch=4,
        crop=16,
        jitter=(16, 20),
        open_prior="quarter",
        seed=3,
    )
    constraints = parse_constraints(space, {"flops": "0.0075:0.008"})
    options: dict[str, Any] = {
        "constraints": constraints,
        "checkpoint_every": 1,
        "device": "cpu",
        "precision": "fp32",
        "progress": progress,
    }
    with patch("autovid.kernels.compute.measured", lambda: Measured("another", kernels, Precision())):
        return search(space, open_videos(data), settings, out, resume=out.exists(), **options)


def moments(seed: int) -> list[Moment]:
    """Saves from their first operation to their last, renames among them; steps; and the end of the search."""
    dice = random.Random(seed)
    saves = [("save", "", dice.randrange(low, low + 8)) for low in range(1, 41, 8)]
    saves += [("save", "fsync", dice.randint(1, 3))]
    saves += [("save", "rename", 1), ("save", "rename", 2), ("save", "write", dice.randint(1, 5))]
    around = [("run", "", dice.randint(1, 12)), ("run", "write", dice.randint(2, 4))]
    losses = [("loss", "", dice.randint(1, 4)), ("loss", "", dice.randint(5, 8))]
    before = [*saves, *around, *losses]
    dice.shuffle(before)
    return [*before, ("end", "", dice.randint(1, 8)), ("end", "write", 2)]


class Killer:
    """Ends this process at a moment, after it has said so to `report`."""

    def __init__(self, moment: Moment, report: int) -> None:
        self.where, self.operation, self.left = moment
        self.report, self.now = report, "run"
        self.write, self.kill = os.write, os.kill

    def arm(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self._before(name, getattr(os, name)))
        RunDirectory.save = self._inside("save", RunDirectory.save)  # type: ignore[method-assign]
        autovid.search.run.finish = self._inside("end", autovid.search.run.finish)
        logits = Supernet.logits
        Supernet.logits = lambda *arguments: (self._pass("loss", ""), logits(*arguments))[1]  # type: ignore[method-assign]

    def _inside(self, where: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.now = where
            try:
                return function(*arguments, **named)
            finally:
                self.now = "run"

        return wrapped

    def _before(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._pass(self.now, name, arguments)
            return function(*arguments, **named)

        return wrapped

    def _pass(self, where: str, operation: str, arguments: tuple[Any, ...] = ()) -> None:
        if where != self.where or self.operation not in ("", operation):
            return
        self.left -= 1
        if self.left == 0:
            if operation == "write":
                self.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            self.write(self.report, json.dumps([where, operation]).encode())
            self.kill(os.getpid(), signal.SIGKILL)


def attempt(out: Path, data: Path, moment: Moment | None) -> list[str] | None:
    """What a child was killed at, or None where it came to the end."""
    read, report = os.pipe()
    child = os.fork()
    if child == 0:
        if moment is not None:
            Killer(moment, report).arm()
        with open(os.devnull, "w") as nowhere:
            tiny_search(out, data, progress=Progress("", nowhere))
        os._exit(0)
    os.close(report)
    with open(read) as said:
        text = said.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"a child ended with {code}")
    killed_at: list[str] | None = json.loads(text) if code else None
    return killed_at


def main(out: Path, data: Path, seed: int) -> None:
    torch.set_num_threads(1)
    gc.freeze()  # else every child would go through, and so copy, all that has been imported
    killed = [attempt(out, data, moment) for moment in moments(seed)]
    if killed[-1] is not None:
        attempt(out, data, None)
    print(json.dumps(killed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

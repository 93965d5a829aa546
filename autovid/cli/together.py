"""A command that several processes run together, as torchrun or Ray start them: the first speaks for all."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from autovid.errors import AutovidError, ConfigError

COMMANDS = ("search", "train", "evaluate")


def number() -> int:
    """Which of the workers this process is, from 0; 0 also where there is but one."""
    return int(os.environ.get("RANK", "0")) if _several() else 0


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def joined(args: argparse.Namespace) -> Iterator[None]:
    """Inside, the command is one of $WORLD_SIZE workers; all but the first keep silent. Nothing where there is but one.

    Raises ConfigError for commands that are not made for it.
    """
    if not _several():
        yield
        return
    if args.command not in COMMANDS:
        raise ConfigError(f"one process does this; several (WORLD_SIZE is set) can do {', '.join(COMMANDS)}")
    from autovid import world

    with world.joined():
        go_on_after_a_restart(args)
        if world.is_first():
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield


def go_on_after_a_restart(args: argparse.Namespace) -> None:
    """What torchrun has started anew (--max-restarts) resumes; so it must know its directory from the beginning."""
    from autovid import world

    most, restart = (int(os.environ.get(f"TORCHELASTIC_{name}", "0")) for name in ("MAX_RESTARTS", "RESTART_COUNT"))
    if most and not getattr(args, "out", None):
        raise ConfigError("with --max-restarts give -o, so that a restart finds the run")
    if restart:
        args.resume = world.from_first(lambda: (Path(args.out) / "config.yaml").is_file())
        if world.is_first():
            print(f"restart {restart} of {most}: going on in {args.out}", file=sys.stderr)


def report(error: AutovidError, command: str) -> None:
    """Says what went wrong: once, where it went wrong on all workers alike."""
    who = f" (worker {number()})" if number() else ""
    if not (who and error.everywhere):
        print(f"autovid {command}{who}: {error}", file=sys.stderr)

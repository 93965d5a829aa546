"""A command that several processes run together, as torchrun or Ray start them: the first speaks for all."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from autovid.cli import options
from autovid.errors import AutovidError, ConfigError

COMMANDS = ("search", "train", "evaluate")


def number() -> int:
    """Which of the workers this process is, from 0; 0 also where there is but one."""
    return int(os.environ.get("RANK", "0")) if _several() else 0


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """--workers and what goes with it."""
    group = parser.add_argument_group("workers, on Ray")
    group.add_argument(
        "--workers", type=options.positive, metavar="N", dest="workers_of_run", help="processes that share each batch"
    )
    group.add_argument("--cpus-per-worker", type=options.positive, metavar="N", help="default: a machine's share, or 1")
    group.add_argument("--gpus-per-worker", type=options.share, default=0.0, metavar="N", help="default 0")
    cluster(group, "a worker or its node has died")


def cluster(group: argparse._ArgumentGroup, failure: str, default: str = "$RAY_ADDRESS, else local") -> None:
    """--address and --retries."""
    group.add_argument(
        "--address",
        help="a Ray cluster: ray://HOST:10001, HOST:6379, auto, or local, which starts one on this machine "
        f"(default: {default})",
    )
    group.add_argument(
        "--retries", type=options.not_negative, default=3, metavar="N", help=f"how often, where {failure}; default 3"
    )


def settings(args: argparse.Namespace) -> list[str]:
    """--workers as a key of an experiment."""
    number = getattr(args, "workers_of_run", None)
    return [] if number is None else [f"workers={number}"]


def note(wanted: int) -> None:
    """Says so where an experiment does not run on as many workers as it is for, which its plan counts with."""
    from autovid import distributed

    if wanted not in (1, distributed.size()):
        print(
            f"This experiment is for {wanted} workers and runs on {distributed.size()}, which take the same batch: "
            f"--workers {wanted} starts as many on Ray; torchrun does, too."
        )


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for what would do nothing without --workers."""
    given = vars(args)
    needless = [name for name in ("address", "cpus_per_worker", "gpus_per_worker") if given.get(name)]
    if needless and "workers_of_run" in given and not args.workers_of_run:
        raise ConfigError(f"--{needless[0].replace('_', '-')} is for workers on Ray: say how many with --workers")


def start(args: argparse.Namespace, words: Sequence[str], main: Callable[..., int]) -> int:
    """Run the command on --workers, each of which is as if torchrun had started it. The exit code of the first.

    `main` is the command line's entry, which every worker calls with the words.
    """
    if _several():
        raise ConfigError("WORLD_SIZE is set: torchrun has started the workers; leave --workers out")
    from autovid.cluster import WorkerGroup, run_workers

    command = importlib.import_module(f"autovid.cli.{args.command}")
    stem = command.stem(args)  # before anything is started: what cannot be run is said here, once
    out = args.out or options.run_directory(stem, args.resume)
    given = [*words, *([] if args.out else ["-o", str(out)])]
    workers = WorkerGroup(args.workers_of_run, args.cpus_per_worker or _cores(args), args.gpus_per_worker)
    return run_workers(partial(_work, main, given), workers, address=args.address, retries=args.retries)


def _cores(args: argparse.Namespace) -> int:
    if (args.address or os.environ.get("RAY_ADDRESS") or "local") != "local":
        return 1
    return max(1, options.cores() // int(args.workers_of_run))


def _work(main: Callable[..., int], words: list[str]) -> int:
    sys.argv = ["autovid", *words]  # what a stopped run says is to be typed
    return main(words, started=True)


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
    from autovid import distributed

    with distributed.process_group():
        go_on_after_a_restart(args)
        if distributed.is_rank0():
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield


def go_on_after_a_restart(args: argparse.Namespace) -> None:
    """What torchrun has started anew (--max-restarts) resumes; so it must know its directory from the beginning."""
    from autovid import distributed

    most, restart = (int(os.environ.get(f"TORCHELASTIC_{name}", "0")) for name in ("MAX_RESTARTS", "RESTART_COUNT"))
    if most and not getattr(args, "out", None):
        raise ConfigError("with --max-restarts give -o, so that a restart finds the run")
    restart = distributed.largest([restart])[0]  # nodes count their own
    if restart:
        args.resume = distributed.broadcast_from_rank0(lambda: (Path(args.out) / "config.yaml").is_file())
        if distributed.is_rank0():
            print(f"restart {restart} of {most}: going on in {args.out}", file=sys.stderr)


def report(error: AutovidError, command: str) -> None:
    """Says what went wrong: once, where it went wrong on all workers alike."""
    who = f" (worker {number()})" if number() else ""
    if not (who and error.everywhere):
        print(f"autovid {command}{who}: {error}", file=sys.stderr)

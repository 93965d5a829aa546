"""Processes of a command: workers that it starts itself, or torchrun or Ray, trials on Ray, and signals that end it."""

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from autovid.cli import options
from autovid.errors import AutovidError, ConfigError

COMMANDS = ("search", "train", "evaluate")
STARTED = "AUTOVID_STARTED"  # set in a worker of --processes: the first one's id, and a pipe to tell it of a beginning


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception."""


def number() -> int:
    """Return the number of this worker, from 0; also 0 for a single process."""
    return int(os.environ.get("RANK", "0")) if _several() else 0


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add --processes, and --workers and the options that go with it."""
    parser.add_argument_group("workers, on this machine").add_argument(
        "--processes", type=options.positive, metavar="N",
        help="workers that share the CPU, without Ray (default: 1; a search with --budget and --archs-per-update 2 or "
        "more measures whether two are faster)",
    )  # fmt: skip
    group = parser.add_argument_group("workers, on Ray")
    group.add_argument(
        "--workers", type=options.positive, metavar="N", dest="workers_of_run", help="processes that share each batch"
    )
    group.add_argument("--cpus-per-worker", type=options.positive, metavar="N", help="default: a machine's share, or 1")
    group.add_argument("--gpus-per-worker", type=options.gpus, default=0.0, metavar="N", help="default 0")
    cluster(group, "a worker or its node has died")


def cluster(group: argparse._ArgumentGroup, failure: str, default: str = "$RAY_ADDRESS, else local") -> None:
    """Add --address and --retries."""
    group.add_argument(
        "--address",
        help="a Ray cluster: ray://HOST:10001, HOST:6379, auto, or local, which starts one on this machine "
        f"(default: {default})",
    )
    group.add_argument(
        "--retries", type=options.not_negative, default=3, metavar="N", help=f"how often, where {failure}; default 3"
    )


def settings(args: argparse.Namespace) -> list[str]:
    """Return --workers as a key of an experiment."""
    number = getattr(args, "workers_of_run", None)
    return [] if number is None else [f"workers={number}"]


def note(workers: int) -> None:
    """Print a note where an experiment for `workers` workers runs on another number."""
    from autovid import distributed

    if workers not in (1, distributed.size()):
        print(
            f"This experiment is for {workers} workers and runs on {distributed.size()}, which take the same batch: "
            f"--workers {workers} starts as many on Ray; torchrun does, too."
        )


def check(args: argparse.Namespace) -> None:
    """Raise ConfigError for options of workers that do not go together."""
    values = vars(args)
    if values.get("processes") and values.get("workers_of_run"):
        raise ConfigError("--processes does not go with --workers; leave one of them out")
    if "score" not in values:  # a search does so as soon as it knows its score
        check_address(args)


def check_address(args: argparse.Namespace, trials: bool = False) -> None:
    """Raise ConfigError for options that have no effect without --workers; `trials` may have an address."""
    values = vars(args)
    names = ("cpus_per_worker", "gpus_per_worker", *(() if trials else ("address",)))
    needless = [name for name in names if values.get(name)]
    if needless and "workers_of_run" in values and not args.workers_of_run:
        raise ConfigError(f"--{needless[0].replace('_', '-')} is for workers on Ray: say how many with --workers")


def start(args: argparse.Namespace, arguments: Sequence[str], main: Callable[..., int]) -> int:
    """Run the command on --workers, each as if torchrun had started it, and return the exit code of the first.

    `main` is the command line's entry, which every worker calls with the arguments.
    """
    if _several():
        raise ConfigError("WORLD_SIZE is set: torchrun has started the workers; leave --workers out")
    from autovid.cluster import WorkerGroup, run_workers

    name = args.run_name(args)  # before anything is started: mistakes are reported here, once
    out = args.out or options.run_directory(name, args.resume)
    own = [*arguments, *([] if args.out else ["-o", str(out)])]
    workers = WorkerGroup(args.workers_of_run, args.cpus_per_worker or _cores(args), args.gpus_per_worker)
    return run_workers(partial(_work, main, own), workers, address=args.address, retries=args.retries)


def _cores(args: argparse.Namespace) -> int:
    if (args.address or os.environ.get("RAY_ADDRESS") or "local") != "local":
        return 1
    return max(1, options.cores() // int(args.workers_of_run))


def _work(main: Callable[..., int], arguments: list[str]) -> int:
    sys.argv = ["autovid", *arguments]  # a stopped run prints the command to go on
    return main(arguments, started=True)


@contextlib.contextmanager
def local_workers(args: argparse.Namespace) -> Iterator[None]:
    """Start --processes, of which this one is the first. In one that was started so: end when the first is gone."""
    if started := os.environ.get(STARTED):
        leader, ready = map(int, started.split())
        threading.Thread(target=_follow, args=(leader,), daemon=True).start()
        with contextlib.suppress(OSError):
            os.write(ready, b".")
            os.close(ready)
    number = getattr(args, "processes", None) or 1
    if started or number == 1 or getattr(args, "dry_run", False):
        yield
        return
    if _several():
        raise ConfigError("WORLD_SIZE is set: torchrun has started the workers; leave --processes out")
    import torch

    if torch.cuda.is_available() and args.device != "cpu":
        raise ConfigError("--processes share the CPU: give --device cpu, or start a worker for each GPU with torchrun")
    args.run_name(args)  # mistakes are reported here, once
    with _others(number, args.words):
        yield


@contextlib.contextmanager
def second_process(args: argparse.Namespace) -> Iterator[int]:
    """Start and join a second process of a command that has not asked for one, to see whether two are faster.

    Yield the threads that this one alone has, in both; 0 where there is one core, and nothing is started.
    """
    import torch

    threads = min(torch.get_num_threads(), options.cores())
    if os.environ.get(STARTED) and not args.processes:
        yield threads
    elif args.processes or _several() or threads < 2 or (torch.cuda.is_available() and args.device != "cpu"):
        yield 0
    else:
        with _others(2, args.words), joined(args):
            yield threads


@contextlib.contextmanager
def _others(number: int, words: Sequence[str]) -> Iterator[None]:
    """Start all but the first of `number` workers on this machine, which share its cores; they end with the context.

    Raises WorkerLostError where one of them ends before it begins.
    """
    import torch

    from autovid.distributed import WorkerLostError, local_meeting

    before, threads, others = dict(os.environ), torch.get_num_threads(), []
    own = max(1, options.cores() // number)
    folder = tempfile.mkdtemp(prefix="autovid-")
    os.environ.update(local_meeting(number, Path(folder) / "meeting"), OMP_NUM_THREADS=str(own))
    try:
        for rank in range(1, number):
            ready, started = os.pipe()
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), STARTED: f"{os.getpid()} {started}"}
            command, environment = [sys.executable, "-m", "autovid", *words], {**os.environ, **place}
            process = subprocess.Popen(command, env=environment, pass_fds=[started], start_new_session=True)
            others.append((process, ready))
            os.close(started)
        if not all(os.read(ready, 1) for _, ready in others):
            raise WorkerLostError("a second process could not begin; give --processes 1")
        torch.set_num_threads(own)
        yield
    finally:  # the first alone has something to save
        for process, ready in others:
            process.kill()
            process.wait()
            os.close(ready)
        torch.set_num_threads(threads)
        shutil.rmtree(folder, ignore_errors=True)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _follow(leader: int) -> None:
    """End this process when the one that has started it is gone, however that ended."""
    while os.getppid() == leader:
        time.sleep(1)
    os._exit(7)


@contextlib.contextmanager
def joined(args: argparse.Namespace) -> Iterator[None]:
    """Join the $WORLD_SIZE workers of a command, if there are several; all but the first keep silent.

    Raises ConfigError for commands that run in one process.
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
    """Resume after a restart by torchrun (--max-restarts), for which the run directory must be known."""
    from autovid import distributed

    most, restart = (int(os.environ.get(f"TORCHELASTIC_{name}", "0")) for name in ("MAX_RESTARTS", "RESTART_COUNT"))
    if most and not getattr(args, "out", None):
        raise ConfigError("with --max-restarts give -o, so that a restart finds the run")
    restart = distributed.largest([restart])[0]  # nodes count their own
    if restart:
        args.resume = distributed.broadcast_from_rank0(lambda: (Path(args.out) / "config.yaml").is_file())
        if distributed.is_rank0():
            print(f"restart {restart} of {most}: going on in {args.out}", file=sys.stderr)


@contextlib.contextmanager
def waiting(command: str, text: str) -> Iterator[None]:
    """Show on a terminal what a command is about, until it has something to say."""
    line = f"autovid {command}: {text} ..."
    shown = sys.stderr.isatty()
    if shown:
        print(line, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(" " * len(line), end="\r", file=sys.stderr, flush=True)


def load_torch(command: str) -> None:
    """Load what takes seconds, and say so."""
    with waiting(command, "loading torch"):
        importlib.import_module("torch")
        importlib.import_module("autovid.train")


def report(error: AutovidError, command: str) -> None:
    """Print an error; only once where it is the same on all workers."""
    who = f" (worker {number()})" if number() else ""
    if not (who and error.everywhere):
        print(f"autovid {command}{who}: {error}", file=sys.stderr)


def trial_arguments(parser: argparse.ArgumentParser, always: bool = False) -> None:
    """Add --address, --retries and the resources of a trial. `always`: on Ray also without --address."""
    group = parser.add_argument_group("trials side by side, on Ray")
    failure = "a training's process or its node has died"
    if always:
        cluster(group, failure)
    else:
        cluster(group, failure, "none: one after the other, without Ray")
    trial_resources(group)


def trial_resources(group: argparse._ArgumentGroup) -> None:
    """Add --cpus-per-trial, --gpus-per-trial and --at-once."""
    group.add_argument("--cpus-per-trial", type=options.positive, default=1, metavar="N", help="default 1")
    group.add_argument(
        "--gpus-per-trial", type=options.gpus, default=0.0, metavar="N", help="default 0; 0.5 puts two on a GPU"
    )
    group.add_argument("--at-once", type=options.positive, metavar="N", help="trials (default: as many as fit)")


def check_trials(args: argparse.Namespace) -> None:
    """Raise ConfigError for options of trials that have no effect without --address."""
    if not args.address and (args.cpus_per_trial != 1 or args.gpus_per_trial or args.at_once):
        raise ConfigError(
            "--cpus-per-trial, --gpus-per-trial and --at-once are for trials side by side: "
            "give --address, too (local: a Ray of its own on this machine)"
        )


def trial_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `run_trials`."""
    from autovid.cluster import Resources

    resources = Resources(args.cpus_per_trial, args.gpus_per_trial, args.at_once or 0)
    return {"address": args.address or os.environ.get("RAY_ADDRESS"), "resources": resources, "retries": args.retries}


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a stopped command: 143 by SIGTERM, 130 by Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated at SIGTERM, so that a command without steps keeps its results as at Ctrl-C.

    Loops of steps (autovid.run) have their own handler. Forked children end.
    """
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

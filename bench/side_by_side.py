"""A search step on one process with all threads, and on N processes of one thread that take architectures side by side.

    python bench/side_by_side.py [--space tiny] [-k 2 3 4] [--threads 1 2] [--rounds 5] > bench/results/side_by_side.md

A step is one update of the weights on K architectures of about the same MACs, as a range has them, and their scores on
held-out clips; decoded frames are in memory. All processes are started first; then they take turns, a step each, so
that whatever else the machine does meets all of them. Ratios are of the steps of a turn, and the table has their
medians: of the time on the clock, and of the processor's time, that of the busiest process, which other programs change
little. Target of N = 2: half of K, rounded up, as a share of K, and 0.05 more where K is even, 0.03 where it is odd.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hardware import hardware

from autovid import distributed
from autovid.data import open_videos
from autovid.data.frame_cache import FrameCache
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.search import settings_for
from autovid.search.supernet import HELD_OUT, WEIGHTS, Supernet
from autovid.space import load_space


def serve(args: argparse.Namespace) -> None:
    """For every line on stdin, a number of architectures and of threads, do a step and print its seconds."""
    keep_memory()
    torch.set_num_threads(1)
    space, videos = load_space(args.space), open_videos(args.serve)
    settings = settings_for(space, proxy=True, videos=len(videos.train), steps=10**6)
    cache = FrameCache(videos.train, videos.root, 2**27)
    supernet, rng = Supernet(space, videos, settings, Compute("cpu", "fp32"), 0, None, cache), np.random.default_rng(0)
    table = space.cost_table()
    for clips in (WEIGHTS, HELD_OUT):  # into the cache
        for _ in supernet.batches(clips, 0, 4 * supernet.batches_of(clips)):
            pass
    for step, line in enumerate(sys.stdin):
        k, threads = map(int, line.split())
        torch.set_num_threads(threads)
        drawn = rng.integers(space.sizes, size=(32 * k, len(space.sizes)))
        macs = table.total(drawn)
        rows = drawn[np.argsort(abs(macs - np.median(macs)))[:k]]
        supernet.begin_step(step, 10**6)
        start, busy = time.perf_counter(), time.process_time()
        supernet.learn(space, rows, "equal", "mean", 0.01)
        supernet.score(space, rows)
        print(time.perf_counter() - start, time.process_time() - busy, flush=True)


class Workers:
    """Processes that do each step together."""

    def __init__(self, number: int, options: list[str]) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes = [
            subprocess.Popen(
                [sys.executable, *options],
                env={**os.environ, **meeting, "WORLD_SIZE": str(number), "RANK": str(rank)},
                **pipes,  # type: ignore[call-overload]
            )
            for rank in range(number)
        ]

    def ask(self, line: str) -> tuple[float, float]:
        """Have each do what a line says; return its seconds, and those of a processor: the most of the workers'."""
        for process in self.processes:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        took, busy = zip(*(map(float, process.stdout.readline().split()) for process in self.processes))
        return max(took), max(busy)

    def close(self) -> None:
        for process in self.processes:
            process.communicate()


def row(k: int, number: int, turns: list[list[tuple[float, float]]]) -> str:
    """A line of the table: the steps of one process with so many threads each, and last those side by side."""
    cells = [f"{statistics.median(turn[at][0] for turn in turns) * 1e3:.0f}" for at in range(len(turns[0]))]
    for at in range(len(turns[0]) - 1):
        cells.append(f"{statistics.median(turn[-1][0] / turn[at][0] for turn in turns):.2f}")
    cells.append(f"{statistics.median(turn[-1][1] / turn[0][1] for turn in turns):.2f}")
    share = math.ceil(k / number) / k
    return f"| {k} | {' | '.join(cells)} | {share:.2f} | {share + (0.03 if k % number else 0.05):.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="tiny")
    parser.add_argument("-k", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        with distributed.process_group():
            serve(args)
        return
    from autovid.data.synthetic import SyntheticRecipe, write_synthetic

    number = args.processes
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "videos"
        write_synthetic(data, SyntheticRecipe(train=8, val=1, frames=32, side=72))
        options = [__file__, "--space", args.space, "--serve", str(data)]
        alone, pair = Workers(1, options), Workers(number, options)
        turns: dict[int, list[list[tuple[float, float]]]] = {k: [] for k in args.k}
        for _ in range(args.rounds + 1):
            for k in args.k:
                turns[k].append([*(alone.ask(f"{k} {threads}") for threads in args.threads), pair.ask(f"{k} 1")])
        alone.close()
        pair.close()
    print(f"# Architectures side by side\n\n{hardware()}; {args.space}, medians of {args.rounds} turns;")
    print(f"programs that wanted a core meanwhile, these among them: {os.getloadavg()[0]:.1f}.\n")
    one = [f"{threads} thread{'s' * (threads > 1)}" for threads in args.threads]
    heads = ["K", *(f"{name} (ms)" for name in one), f"{number} processes (ms)", *(f"ratio to {name}" for name in one)]
    heads += ["of processor time", "architectures of one", "target"]
    print(f"| {' | '.join(heads)} |\n|{'---:|' * len(heads)}")
    for k in args.k:
        print(row(k, number, turns[k][1:]))


if __name__ == "__main__":
    main()

"""What the papers' search step costs beside its own passes, and what a search costs to reach a percentile.

    python bench/search_cost.py [--rounds 5] [--curves runs/proof/proof.json] > bench/results/search_cost.md

A step of the papers' recipe on `tiny` draws K = 13 architectures: 13 passes forward and backward for the weights, and
13 forward for alpha. It is measured beside these passes alone, of the same architectures, in the same process; and on
two processes of one thread, which take the architectures side by side. They take turns, and the figures are medians of
the ratios of a turn: on the clock, and of processor time, that of the busiest process. Targets: a step at most 1.03 of
its passes; on two processes at most 0.56 of the passes in one.

Percentiles come from experiments/proof.py (part `curves`), on `bench`, whose table tells what trainings alone come to.
`tiny` has no table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hardware import hardware
from side_by_side import Workers

from autovid import distributed
from autovid.data import open_videos
from autovid.data.frame_cache import FrameCache
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.search import settings_for
from autovid.search.part_ranges import parse_constraints
from autovid.search.problem import Choices
from autovid.search.supernet import HELD_OUT, WEIGHTS, Supernet
from autovid.search.task import SearchTask
from autovid.space import SearchSpace, load_space

K = 13
RANGE = {"flops": "0.0065:0.0085"}
PERCENTILES = (75, 90)


class Step:
    """A search by the papers' recipe, behind the warm-up of its last part, and the passes of its last step."""

    def __init__(self, index: str, rounds: int) -> None:
        space, videos = load_space("tiny"), open_videos(Path(index))
        steps = {"sparse": 1, "dense": 1, "attention": 4 * (rounds + 2)}
        settings = settings_for(space, proxy=False, videos=len(videos.train), steps=steps)
        cache = FrameCache(videos.train, videos.root, 2**27)
        self.supernet = Supernet(space, videos, settings, Compute("cpu", "fp32"), 0, None, cache)
        self.batch = self.clips()
        constraints = parse_constraints(space, RANGE)
        self.task = SearchTask(space, settings, constraints, supernet=self.supernet)
        self.drawn: dict[str, tuple[SearchSpace, Choices]] = {}
        self.note("learn")
        self.note("score")
        for number in (0, 1):  # the parts before
            self.task.step(number)
        self.next = 2 + settings.parts[2].warmup

    def clips(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch; all frames of all videos are in the cache then."""
        for clips in (WEIGHTS, HELD_OUT):
            for batch in self.supernet.batches(clips, 0, 4 * self.supernet.batches_of(clips)):
                last = batch
        return last.x, last.y

    def note(self, name: str) -> None:
        """Note the architectures of each call of a method of the supernet."""
        method: Callable[..., Any] = getattr(self.supernet, name)

        def noted(space: SearchSpace, choices: Choices, *args: Any) -> Any:
            self.drawn[name] = space, choices
            return method(space, choices, *args)

        setattr(self.supernet, name, noted)

    def step(self) -> None:
        """The next step of the search."""
        self.task.step(self.next)
        self.next += 1
        assert all(len(choices) == K for _, choices in self.drawn.values())

    def passes(self) -> None:
        """The passes of the last step, and nothing else."""
        x, y = self.batch
        net, (space, choices) = self.supernet.net, self.drawn["learn"]
        net.train()
        for row in choices:
            torch.autograd.backward(F.cross_entropy(net(x, space.architecture(row)), y))
        for parameter in net.parameters():
            parameter.grad = None
        space, choices = self.drawn["score"]
        with torch.no_grad(), net.scoring():
            for row in choices:
                F.cross_entropy(net(x, space.architecture(row)), y)


def serve(index: str, rounds: int) -> None:
    """For every line on stdin, do a step (1) or its passes (0), and print the seconds on the clock and busy."""
    keep_memory()
    torch.set_num_threads(1)
    step = Step(index, rounds)
    for line in sys.stdin:
        work = step.step if line.split()[0] == "1" else step.passes
        start, busy = time.perf_counter(), time.process_time()
        work()
        print(time.perf_counter() - start, time.process_time() - busy, flush=True)


def reached(points: list[dict[str, Any]], percentile: float) -> str:
    """The fewest trainings after which a curve's mean is at a percentile, of those that were measured."""
    enough = [point["trainings"] for point in points if point["percentile"] >= percentile]
    most = max(point["trainings"] for point in points)
    return f"{min(enough):.1f}" if enough else f"not with {most:.1f}"


def curves(file: Path) -> list[str]:
    """A table of what each strategy and recipe costs to reach percentiles."""
    points = json.loads(file.read_text(encoding="utf-8"))["curves"]["points"]
    lines = [
        f"| | {' | '.join(f'percentile {value}' for value in PERCENTILES)} | searches of each point |",
        f"|---{'|---:' * len(PERCENTILES)}|---|",
    ]
    for name in dict.fromkeys(point["name"] for point in points):
        own = [point for point in points if point["name"] == name]
        cells = " | ".join(reached(own, value) for value in PERCENTILES)
        lines.append(f"| {name} | {cells} | {own[0]['searches']} |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--curves", type=Path, metavar="FILE", help="proof.json of experiments/proof.py")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        with distributed.process_group():
            serve(args.serve, args.rounds)
        return
    from autovid.data.synthetic import SyntheticRecipe, write_synthetic

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "videos"
        write_synthetic(data, SyntheticRecipe(train=8, val=1, frames=32, side=72))
        options = [__file__, "--serve", str(data), "--rounds", str(args.rounds)]
        alone, pair = Workers(1, options), Workers(2, options)
        turns = [(alone.ask("1"), alone.ask("0"), pair.ask("1")) for _ in range(args.rounds + 1)][1:]
        alone.close()
        pair.close()
    print(f"# The cost of a search\n\n{hardware()}; tiny, K = {K}, the papers' recipe; medians of {args.rounds} turns;")
    print(f"programs that wanted a core meanwhile, these among them: {os.getloadavg()[0]:.1f}.\n")
    print("| over the passes alone | on the clock | of processor time | target |\n|---|---:|---:|---:|")
    for name, at, target in (("a step", 0, 1.03), ("a step on two processes", 2, 0.56)):
        clock, busy = (statistics.median(turn[at][kind] / turn[1][kind] for turn in turns) for kind in (0, 1))
        print(f"| {name} | {clock:.2f} | {busy:.2f} | at most {target} |")
    passes = statistics.median(turn[1][0] for turn in turns)
    print(f"\nThe passes alone take {passes:.2f} s: {K} forward and backward, and {K} forward.")
    if args.curves:
        print("\n## Trainings of one architecture alone that a search costs as much as\n")
        print("\n".join(curves(args.curves)))


if __name__ == "__main__":
    main()

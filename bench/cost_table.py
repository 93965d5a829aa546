"""Architectures a second of a cost table, beside a traced count of one; and what the solved questions take.

    python bench/cost_table.py [--space two_stream] [--flops 1.37:1.43] [--rounds 5] [--count 200000]

Figures are the best of the rounds, in CPU seconds of one thread (target: at least a million architectures a second).
The traced counts are of one random architecture, equal to the table's figure to the last MAC, or this script stops.
"""

import argparse
import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis
from hardware import hardware

import autovid
from autovid.costs import GFLOPS
from autovid.solver import in_order_of_probability, most_probable, probability_in_range, sample_in_range


def seconds(work: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def traced(net: torch.nn.Module, clip: torch.Tensor) -> int:
    """MACs by fvcore, which counts batch norm unless told not to."""
    analysis = FlopCountAnalysis(net, clip).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = analysis.tracer_warnings("none").by_operator()
    return int(sum(by_operator.values()) - by_operator["batch_norm"])


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--space", default="two_stream")
    parser.add_argument("--flops", default="1.37:1.43")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    space = autovid.load_space(args.space)
    table = space.cost_table()
    print(f"# Cost table of {args.space}\n\n{hardware()}; numpy {np.__version__}\n")
    print(f"{len(table.sizes)} decisions, {math.prod(table.sizes):.1e} architectures, {len(table.factors)} factors.")
    print(f"Cost is {table.convention}.\n")
    speed(space, table, args.count, args.rounds, rng)
    questions(table, args.flops, args.rounds, rng)


def speed(space: Any, table: Any, count: int, rounds: int, rng: np.random.Generator) -> None:
    """Table against traces."""
    choices = np.stack([rng.integers(0, n, count) for n in table.sizes], axis=1)
    rows = [(f"table, {count:,} rows of {dtype}", seconds(lambda c=c: table.macs(c), rounds) / count)
            for dtype, c in (("int64", choices), ("int8", choices.astype(np.int8)))]  # fmt: skip
    archs = [space.architecture(row) for row in choices[: count // 20]]
    read = [dataclasses.replace(arch) for arch in archs]  # without numbers, as from a file
    for name, many, times in (("made from numbers", archs, rounds), ("read from files, the first time", read, 1)):
        rows.append(
            (f"table, {len(many):,} architectures {name}", seconds(lambda a=many: table.macs(a), times) / len(many))
        )
    net = autovid.build(space.architecture(choices[0])).eval()
    clip = torch.zeros(1, 3, net.clip.frames, net.clip.crop, net.clip.crop)
    macs = int(table.macs(choices[:1])[0])
    with torch.no_grad():
        assert macs == traced(net, clip) == autovid.count(net).macs, "the table and the traces disagree"
        rows.append(("traced by fvcore, a forward on the CPU", seconds(lambda: traced(net, clip), 2)))
    rows.append(("counted by autovid.count, on the meta device", seconds(lambda: autovid.count(net), 2)))
    trace = rows[-2][1]
    print("| | architectures a second | times a trace |\n|---|---|---|")
    for name, each in rows:
        print(f"| {name} | {1 / each:,.4g} | {trace / each:,.3g}x |")


def questions(table: Any, flops: str, rounds: int, rng: np.random.Generator) -> None:
    """For the uniform prior, a random one (normal logits) and a concentrated one (30 times as large)."""
    low, high = GFLOPS.parse(flops)
    logits = [rng.normal(size=n) for n in table.sizes]
    print(f"\n## The range {flops} GFLOPs\n\nCPU milliseconds, after the first call.\n")
    print("| prior | P(in range) | it, 1,024 bins | 16,384 bins | most probable | next 100 | 16 draws | 16 distinct |")
    print("|" + "---|" * 8)
    for name, scale in (("uniform", 0.0), ("random", 1.0), ("concentrated", 30.0)):
        logp = [scale * x for x in logits]
        asked = (
            lambda p: probability_in_range(table, p, low, high, 1024),
            lambda p: probability_in_range(table, p, low, high),
            lambda p: most_probable(table, p, low, high),
            lambda p: list(itertools.islice(in_order_of_probability(table, p, low, high), 101)),
            lambda p: sample_in_range(table, p, low, high, 16, rng),
            lambda p: sample_in_range(table, p, low, high, 16, rng, distinct=True),
        )
        times = [1e3 * seconds(lambda ask=ask, p=logp: ask(p), rounds) for ask in asked]
        times[3] -= times[2]
        probability = probability_in_range(table, logp, low, high)
        print(f"| {name} | {probability.value:.3g} | " + " | ".join(f"{t:.0f}" for t in times) + " |")


if __name__ == "__main__":
    main()

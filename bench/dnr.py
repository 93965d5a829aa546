"""Dynamic normalization and relay (docs/papers.md#dnr) against the plain network, side by side: prints Markdown.

    python bench/dnr.py > bench/results/dnr.md

Both networks take their turn in every round; a time is the quickest of its rounds, since other programs only add. On
one thread (OMP_NUM_THREADS=1) of a CPU it is CPU time. The paper's own runs, in test on a GPU, keep 0.70
(TSN), 0.74 (TSM), 0.64 (TANet) and 0.81 (TDN) of the baseline's videos a second (supplement, Table 2).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from hardware import hardware
from torch import nn

from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import Network, build

RELAYS = ("temporal", "layer", "both")


def quickest(runs: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Quickest time of each run in seconds, taking turns; the first round is not counted."""
    on_one_thread = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if on_one_thread else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                best[name] = min(best[name], clock() - start)
    return best


def trainer(net: Network, x: torch.Tensor, y: torch.Tensor, compute: Compute) -> Callable[[], None]:
    """A whole training step of a network of its own weights and optimizer."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def step() -> None:
        net.train()
        with compute.autocast("train"):
            loss, _ = net.training_loss(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def tester(net: nn.Module, x: torch.Tensor, compute: Compute) -> Callable[[], None]:
    """A forward pass in test."""

    def run() -> None:
        net.eval()
        with torch.inference_mode(), compute.autocast("forward"):
            net(x)

    return run


def rows(name: str, relay: str, args: argparse.Namespace, compute: Compute) -> Iterator[str]:
    """Two lines of the table: training and test."""
    size = {"frames": args.frames, "crop": args.crop}
    nets = {"plain": build(name, **size), "dnr": build(name, **size, modules={"dnr": {"relay": relay}})}
    x = torch.randn(args.batch, 3, args.frames, args.crop, args.crop).to(compute.device)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    y = torch.arange(args.batch, device=compute.device)
    nets = {key: net.to(compute.device) for key, net in nets.items()}
    for kind in ("training", "test"):
        runs = {
            key: trainer(net, x, y, compute) if kind == "training" else tester(net, x, compute)
            for key, net in nets.items()
        }
        rounds = args.rounds if kind == "training" else 4 * args.rounds
        seconds = quickest(runs, rounds, compute.device)
        plain, dnr = (args.batch / seconds[key] for key in ("plain", "dnr"))
        yield f"| {name} | {relay} | {kind} | {plain:.2f} | {dnr:.2f} | {dnr / plain:.2f} |"


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["tsn_resnet50", "tsm_resnet50"])
    parser.add_argument("--relays", nargs="+", default=["both"], choices=RELAYS)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--crop", type=int, default=112)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()
    keep_memory()
    compute = Compute(args.device, args.precision)
    print(f"# Dynamic normalization and relay\n\n{hardware()}\n")
    shape = f"Batch {args.batch}, {args.frames} frames of {args.crop}², {args.precision}, on {compute.device}."
    print(f"{shape} Videos a second, quickest of {args.rounds} rounds")
    print("(in test, where passes are shorter, of four times as many); training is a whole step with the optimizer.\n")
    print("| network | relay | pass | plain | dnr | dnr / plain |\n|---|---|---|---|---|---|")
    for name in args.networks:
        for relay in args.relays:
            for line in rows(name, relay, args, compute):
                print(line, flush=True)


if __name__ == "__main__":
    main()

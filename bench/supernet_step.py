"""What one search step costs, as ratios measured side by side.

    python bench/supernet_step.py [--space two_stream] [--frames 16] [--crop 32] [--batch 8] [-k 4] [--rounds 3]

1. The step's weight half (K forwards and backwards through the supernet, one optimizer step) against the training steps
   of the same K networks, frozen and built alone. Target: at most 1.10.
2. The same half in plain contiguous fp32 with torch's own layers and the C library's own memory handling, in a process
   of its own that waits while the others are measured, against ours. Target: at least 3 times slower.
3. The prior's half (K forwards without gradient) against the weight half, for information.

Every round measures all of them, one after the other; the figures are medians of the ratios of the rounds.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from hardware import hardware
from torch import Tensor

import autovid
from autovid.blocks import elastic, fusion
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import SearchNetwork, build, builder, inherit
from autovid.space import Architecture


def train(nets: list[SearchNetwork], archs: list[Architecture], x: Tensor, y: Tensor, compute: Compute) -> None:
    """K forwards and backwards; an optimizer step of each network at its end."""
    for net, group in ((net, [a for n, a in zip(nets, archs) if n is net]) for net in dict.fromkeys(nets)):
        sgd = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, weight_decay=5e-5)
        for arch in group:
            with compute.autocast("train"):
                loss = F.cross_entropy(net(x, arch).float(), y)
            torch.autograd.backward(loss)
        sgd.step()
        sgd.zero_grad(set_to_none=True)


def score(net: SearchNetwork, archs: list[Architecture], x: Tensor, compute: Compute) -> None:
    with torch.no_grad(), net.scoring(), compute.autocast("forward"):
        for arch in archs:
            net(x, arch)


def seconds(work: Callable[[], None], compute: Compute) -> float:
    if compute.device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if compute.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def plain(work: Callable[[], None]) -> Callable[[], None]:
    """`work` with torch's own layers on contiguous memory."""

    def depthwise(x: Tensor, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
        padding = [size // 2 for size in weight.shape[2:]]
        return F.conv3d(x, weight.contiguous(), stride=stride, padding=padding, groups=x.shape[1])

    def pointwise(x: Tensor, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
        return F.conv3d(x, weight, stride=stride)

    def contiguous(weight: Tensor) -> Tensor:
        return weight.flatten().view(weight.shape)

    patches = {"channels_last": contiguous, "depthwise_conv3d": depthwise, "pointwise_conv3d": pointwise}

    def run() -> None:
        with contextlib.ExitStack() as stack:
            for module in (elastic, fusion, builder):
                for name in patches.keys() & vars(module).keys():
                    stack.enter_context(mock.patch.object(module, name, patches[name]))
            work()

    return run


def serve(args: argparse.Namespace) -> None:
    """The plain process: for every line on stdin, one step, and its seconds on stdout."""
    compute = Compute(args.device, "fp32")
    space = autovid.load_space(args.space)
    archs, supernet = space.sample(args.k, seed=0), build(space, 12).to(compute.device)
    x = torch.randn(args.batch, 3, args.frames, args.crop, args.crop, device=compute.device)
    y = torch.arange(args.batch, device=compute.device) % 12
    step = plain(lambda: train([supernet] * args.k, archs, x, y, compute))
    for _ in sys.stdin:
        print(seconds(step, compute), flush=True)


class Plain:
    """The process that `serve` runs in."""

    def __init__(self) -> None:
        command = [sys.executable, *sys.argv, "--serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="two_stream")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("-k", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args)
        return
    keep_memory()
    compute = Compute(args.device)
    space = autovid.load_space(args.space)
    archs = space.sample(args.k, seed=0)
    supernet = build(space, 12).to(compute.device)
    frozen = [build(arch, 12).to(compute.device) for arch in archs]
    for net in frozen:
        inherit(net, supernet)
    x = torch.randn(args.batch, 3, args.frames, args.crop, args.crop, device=compute.device)
    x, y = x.contiguous(memory_format=torch.channels_last_3d), torch.arange(args.batch, device=compute.device) % 12
    work = {
        "supernet": lambda: train([supernet] * args.k, archs, x, y, compute),
        "frozen": lambda: train(frozen, archs, x, y, compute),
        "score": lambda: score(supernet, archs, x, compute),
    }
    other = Plain()
    measure = {name: lambda one=one: seconds(one, compute) for name, one in work.items()} | {"plain": other.seconds}
    for one in measure.values():
        one()  # warm-up
    rounds = [{name: one() for name, one in measure.items()} for _ in range(args.rounds)]
    other.process.communicate()

    for r in rounds:
        r["step"] = r["supernet"] + r["score"]

    def row(what: str, above: str, below: str, target: str) -> str:
        ratios = [r[above] / r[below] for r in rounds]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        return f"| {what} | {statistics.median(ratios):.2f} | {each} | {target} |"

    print(f"# One search step\n\n{hardware()}; {compute.device}\n")
    print(f"{args.space}: K = {args.k}, batch {args.batch}, {args.frames} frames of {args.crop}x{args.crop};")
    print(f"{compute.precision}; the weights' half takes {statistics.median(r['supernet'] for r in rounds):.2f} s\n")
    print("| ratio | median | rounds | target |\n|---|---|---|---|")
    print(row("the weights' half / sum of the frozen networks", "supernet", "frozen", "<= 1.10"))
    print(row("both halves / sum of the frozen networks", "step", "frozen", ""))
    print(row("plain contiguous fp32 / ours", "plain", "supernet", ">= 3"))
    print(row("the prior's half / the weights' half", "score", "supernet", ""))


if __name__ == "__main__":
    main()

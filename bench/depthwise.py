"""Depthwise convolution, torch's own against ours, and what the allocator's setting brings: prints Markdown.

    python bench/depthwise.py > bench/results/depthwise.md

Every contender takes its turn in every round; a time is the quickest of its rounds, since other programs only add.
On one thread (OMP_NUM_THREADS=1) it is CPU time, which other programs hardly touch: the choice on a busy machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from hardware import hardware
from torch import Tensor

from autovid.kernels.allocator import keep_memory
from autovid.kernels.chosen import current_kernels
from autovid.kernels.depthwise import Size3, depthwise_conv3d
from autovid.kernels.fastest import choose_kernels

Shape = tuple[int, int, int, int]  # B, C, T, H (= W)

# Maps of the two_stream space on small crops (sparse stream 8 frames, dense stream 32), then those of design.md.
MAPS: list[Shape] = [(8, 54, 8, 20), (8, 108, 8, 10), (8, 432, 8, 5), (8, 432, 8, 2), (8, 24, 32, 20), (8, 72, 32, 5)]
KERNELS: list[Size3] = [(1, 3, 3), (3, 3, 3), (5, 5, 5)]
CASES: list[tuple[Shape, Size3, Size3]] = [
    *((shape, kernel, (1, 1, 1)) for shape in MAPS for kernel in KERNELS),
    ((8, 54, 8, 20), (3, 3, 3), (1, 2, 2)),
    ((8, 54, 8, 20), (5, 5, 5), (1, 2, 2)),
    ((8, 24, 8, 40), (5, 1, 1), (1, 1, 1)),
    ((8, 64, 8, 28), (3, 3, 3), (1, 1, 1)),
    ((8, 54, 8, 24), (3, 3, 3), (1, 1, 1)),
    ((8, 216, 8, 6), (3, 3, 3), (1, 1, 1)),
    ((2, 54, 16, 56), (3, 3, 3), (1, 1, 1)),
]
SECONDS_PER_CASE = 2.0

clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def own(x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """torch's own convolution."""
    return F.conv3d(x, weight, stride=stride, padding=[size // 2 for size in weight.shape[2:]], groups=x.shape[1])


def quickest(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Quickest time of each run in milliseconds, taking turns."""
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    end, rounds = time.perf_counter() + SECONDS_PER_CASE, 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in runs.items():
            start = clock()
            run()
            best[name] = min(best[name], 1e3 * (clock() - start))
        rounds += 1
    return best


def row(shape: Shape, kernel: Size3, stride: Size3) -> str:
    """One line of the table."""
    batch, channels, frames, side = shape
    runs: dict[str, Callable[[], object]] = {}
    for name, layout, function in [
        ("contiguous", torch.contiguous_format, own),
        ("channels last", torch.channels_last_3d, own),
        ("ours", torch.channels_last_3d, depthwise_conv3d),
    ]:
        x = torch.randn(batch, channels, frames, side, side).contiguous(memory_format=layout).requires_grad_()
        weight = torch.randn(channels, 1, *kernel, requires_grad=True)
        grad = torch.randn_like(function(x, weight, stride))
        runs[f"forward {name}"] = lambda f=function, x=x, w=weight: torch.no_grad()(f)(x, w, stride)
        runs[name] = lambda f=function, x=x, w=weight, g=grad: torch.autograd.grad(f(x, w, stride), (x, w), g)
    ms = quickest(runs)
    order = sorted(runs, key=lambda name: not name.startswith("forward"))
    times = " | ".join(f"{ms[name]:.1f}" for name in order)
    ratios = f"{ms['contiguous'] / ms['ours']:.1f}x | {ms['channels last'] / ms['ours']:.1f}x"
    described = "x".join(map(str, kernel)) + ("" if stride == (1, 1, 1) else f" stride {'x'.join(map(str, stride))}")
    return f"| {batch} | {channels} | {frames}x{side}² | {described} | {times} | {ratios} |"


def stack_seconds(keep: bool) -> float:
    """CPU seconds of a forward pass without gradient of a depthwise and pointwise stack on large maps."""
    if keep:
        keep_memory()
    x = torch.randn(1, 54, 16, 112, 112).contiguous(memory_format=torch.channels_last_3d)
    depthwise, pointwise = torch.randn(54, 1, 3, 3, 3), torch.randn(54, 54, 1, 1, 1)
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            start, y = time.process_time(), x
            for _ in range(6):
                y = F.relu(F.conv3d(F.relu(depthwise_conv3d(y, depthwise)), pointwise)) * 1e-2
            best = min(best, time.process_time() - start)
    return best


def allocator() -> str:
    """The stack's CPU time in a fresh process, as glibc comes and with `keep_memory`, best of two processes each."""
    best = {}
    for keep in ("default", "keep") * 2:
        out = subprocess.run([sys.executable, __file__, keep], capture_output=True, text=True, check=True).stdout
        best[keep] = min(best.get(keep, float("inf")), float(out))
    ratio = best["default"] / best["keep"]
    return f"| {best['default']:.2f} | {best['keep']:.2f} | {ratio:.2f}x |"


def main() -> None:
    """Prints everything."""
    if len(sys.argv) > 1:
        print(stack_seconds(sys.argv[1] == "keep"))
        return
    keep_memory()
    print(f"# Depthwise 3-D convolution\n\n{hardware()}\n")
    print(f"Kernels chosen here: {choose_kernels()}; used: {current_kernels()}.\n")
    kind = "CPU milliseconds" if clock is time.process_time else "Milliseconds"
    print(f"{kind}, fp32: forward alone, then forward and backward, of torch's own layer in its own layout,")
    print("of torch's own in `channels_last_3d`, and of ours; then the two ratios of forward and backward.")
    print("All with the allocator kept from giving memory back (see below).\n")
    print(
        "| B | C | map | kernel | fwd own | fwd own CL | fwd ours | own | own CL | ours | own / ours | own CL / ours |"
    )
    print("|" + "---|" * 12)
    for shape, kernel, stride in CASES:
        print(row(shape, kernel, stride), flush=True)
    print(
        "\n## Allocator\n\nCPU seconds of six depthwise and pointwise layers, 54 channels, 16x112², without gradient.\n"
    )
    print("| glibc's default | kept | ratio |\n|---|---|---|")
    print(allocator())


if __name__ == "__main__":
    main()

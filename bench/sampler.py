"""S2DNet's sampler with either temporal filter, and S2DNet against TSM-ResNet-50: prints Markdown.

    python bench/sampler.py > bench/results/sampler.md

The contenders take turns in every round; a time is the quickest of its rounds, since other programs only add. On one
thread (OMP_NUM_THREADS=1) it is CPU time, which other programs hardly touch: the choice on a busy machine. On a GPU the
clock waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from hardware import hardware
from torch import Tensor

from autovid.kernels.allocator import keep_memory
from autovid.layers.detail_sampler import Location, filter_time, gaussian_filters, interpolate_time, sample
from autovid.models import build

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 16 if DEVICE.type == "cuda" else 1
FRAMES, CROP, DETAIL_FRAMES, DETAIL_CROP = 32, 160, 12, 144  # of s2dnet
SECONDS = {"filter": 6.0, "sampler": 6.0, "network": 30.0}
TARGETS = {"filter": 6.0, "network": 0.77}  # the seed: 38.2 to 6.5 ms, and 6.5 to 8.4 ms

on_one_thread = DEVICE.type == "cpu" and torch.get_num_threads() == 1
clock = time.process_time if on_one_thread else time.perf_counter


def quickest(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Quickest time of each run in milliseconds a clip, taking turns."""
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in runs.items():
            best[name] = min(best[name], measured(run))
        rounds += 1
    return best


def measured(run: Callable[[], object]) -> float:
    """Milliseconds a clip of one run."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    run()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (clock() - start) / BATCH


def clips(frames: int, crop: int = CROP) -> Tensor:
    """A batch of random clips."""
    return torch.randn(BATCH, 3, frames, crop, crop, device=DEVICE).contiguous(memory_format=torch.channels_last_3d)


def temporal_filters() -> None:
    """The two filters of time alone, without gradient, and with that of the times."""
    x = clips(FRAMES)
    times = torch.rand(BATCH, DETAIL_FRAMES, device=DEVICE).mul(FRAMES - 1).requires_grad_()
    filters: dict[str, Callable[[Tensor], Tensor]] = {
        "linear": lambda t: interpolate_time(x, t),
        "gaussian": lambda t: filter_time(x, gaussian_filters(t, FRAMES)),
    }
    grads = {name: torch.randn_like(run(times)) for name, run in filters.items()}
    forward = {name: lambda run=run: torch.no_grad()(run)(times) for name, run in filters.items()}
    both = {n: lambda n=n, run=run: torch.autograd.grad(run(times), times, grads[n]) for n, run in filters.items()}
    row("temporal filter", quickest(forward, SECONDS["filter"]))
    row("temporal filter, forward and backward", quickest(both, SECONDS["filter"]))


def samplers() -> None:
    """All of the sampler: Gaussian in space, either filter in time."""
    x = clips(FRAMES)
    where = Location(torch.randn(BATCH, 2, device=DEVICE) / 4, torch.randn(BATCH, DETAIL_FRAMES, 4, device=DEVICE) / 4)
    run = torch.no_grad()(sample)
    row(
        "sampler",
        quickest({n: lambda n=n: run(x, where, DETAIL_CROP, n) for n in ("linear", "gaussian")}, SECONDS["sampler"]),
    )


def row(name: str, ms: dict[str, float]) -> None:
    """One line of the table of filters."""
    ratio = ms["linear"] / ms["gaussian"]
    print(f"| {name} | {ms['linear']:.1f} | {ms['gaussian']:.1f} | {ratio:.1f}x |", flush=True)


def networks() -> None:
    """The networks for Something-Something V2, as they come, in fp32."""
    tsm, s2d = build("tsm_resnet50", classes=174).to(DEVICE).eval(), build("s2dnet").to(DEVICE).eval()
    few, many = clips(8, 224), clips(FRAMES)
    runs = {"tsm": lambda: torch.no_grad()(tsm)(few), "s2d": lambda: torch.no_grad()(s2d)(many)}
    ms = quickest(runs, SECONDS["network"])
    print(f"| {ms['tsm']:.0f} | {ms['s2d']:.0f} | {ms['s2d'] / ms['tsm']:.2f} |", flush=True)


def main() -> None:
    """Prints everything."""
    keep_memory()
    kind = "CPU milliseconds" if on_one_thread else "Milliseconds"
    print(f"# The detail sampler of S2DNet\n\n{hardware()}\n")
    looks = f"{DETAIL_FRAMES} looks of {DETAIL_CROP}² into {FRAMES} frames of {CROP}²"
    print(f"{kind} a clip at batch {BATCH}, fp32: {looks}.")
    print(
        "The linear filter is `grid_sample`, as published. Half of its time or more goes into the layout that it needs,"
    )
    print("and back; both filters take and give channels_last_3d. In space both samplers are Gaussian.")
    print(
        f"Target for the temporal filter: {TARGETS['filter']:.0f}x (the published network went from 38.2 to 6.5 ms).\n"
    )
    print("| | linear | Gaussian | linear / Gaussian |\n|---|---|---|---|")
    temporal_filters()
    samplers()
    print(f"\n## The network\n\n{kind} a clip; target {TARGETS['network']} (published: 6.5 against 8.4 ms).\n")
    print("| TSM-ResNet-50, 8x224² | S2DNet, SSv2 | S2DNet / TSM |\n|---|---|---|")
    networks()


if __name__ == "__main__":
    main()

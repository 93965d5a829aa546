"""A forward pass in torch, onnxruntime and OpenVINO, each with autovid's export and with a plain one: prints Markdown.

    python bench/runtimes.py [--networks x3d_m slowonly_r50_8x8] [--threads 1] [--rounds 15] [--clock process]

The plain network is the same one as one writes it in torch, contiguous, with every convolution as `conv3d` and its
norms (`bench/gpu/plain.py`); "that runtime alone" is the runtime with what `torch.onnx.export` makes of it, for one
clip. Autovid's are what `predict` runs: for torch with its norms folded, for the others what `export` writes. All take
turns, a pass each, and the ratios are medians of those within a turn. By the clock, or on a machine that others use by
the processor's time of this process (`--clock process`, of one thread).

Targets: autovid in torch within 1.1 x of the fastest runtime, for X3D-M; an export no slower than its runtime alone,
which is a ratio of 1.00 within what turns differ by: the quartiles are given.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hardware import hardware

sys.path.insert(0, str(Path(__file__).parent / "gpu"))
from plain import contiguous, torch_alone

from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.models import Network, build
from autovid.models.folding import folded
from autovid.runtimes.programs import quiet
from autovid.runtimes.sessions import Runtime, Session, open_module, open_onnxruntime, open_openvino

OTHERS: tuple[Runtime, ...] = ("onnxruntime", "openvino")
TARGET = 1.1  # of torch over the fastest runtime, for X3D-M
Runs = dict[str, Callable[[], object]]


def forward_passes(name: str) -> Runs:
    """The passes over one clip, by what runs them."""
    torch.manual_seed(0)
    net: Network = build(name).eval().requires_grad_(False)
    quick, clip = folded(net), net.clip
    x = torch.randn(1, 3, clip.frames, clip.crop, clip.crop)
    pixels, maps = x.contiguous(memory_format=torch.channels_last_3d), [x.numpy()]
    plain = contiguous(net)

    def alone() -> torch.Tensor:
        with torch_alone(), torch.inference_mode():
            out: torch.Tensor = plain(x)
        return out

    def ours() -> torch.Tensor:
        with torch.inference_mode():
            out: torch.Tensor = quick(pixels)
        return out

    runs: Runs = {"torch, plain": alone, "torch, autovid": ours}
    model = plain_onnx(plain, x)
    for runtime in OTHERS:
        session = opened(runtime, model)
        runs[f"{runtime}, plain"] = lambda session=session: session.run(maps)
        two = x.repeat(2, 1, 1, 1, 1)
        mine = open_module(quick, [two], runtime, Compute("cpu", "fp32"), name, any_batch=True)
        runs[f"{runtime}, autovid"] = lambda mine=mine: mine([x])
    check(runs)
    return runs


def plain_onnx(plain: Network, x: torch.Tensor) -> bytes:
    """What `torch.onnx.export` makes of the plain network."""
    with torch_alone(), torch.no_grad(), quiet():
        exported = torch.onnx.export(plain, (x,), dynamo=True, verbose=False)
    assert exported is not None
    content: bytes = exported.model_proto.SerializeToString()
    return content


def opened(runtime: Runtime, model: bytes) -> Session:
    """The runtime alone."""
    if runtime == "openvino":
        return open_openvino(model, None, "cpu", "plain")
    return open_onnxruntime(model, "cpu", "plain")


def check(runs: Runs) -> None:
    """Raise AssertionError where two of them do not compute the same."""
    outs = {name: torch.as_tensor(run()) for name, run in runs.items()}
    first = outs["torch, plain"]
    for name, out in outs.items():
        assert (out - first).abs().max() <= 1e-4 * max(1.0, float(first.abs().max())), name


def measured(runs: Runs, rounds: int, clock: Callable[[], float]) -> list[dict[str, float]]:
    """Seconds of each, in turns, of which the first two do not count."""
    turns = []
    for number in range(rounds + 2):
        times = {}
        for name in runs if number % 2 else reversed(runs):
            start = clock()
            runs[name]()
            times[name] = clock() - start
        turns.append(times)
    return turns[2:]


def ratio(turns: list[dict[str, float]], one: str, other: str) -> str:
    """The median of the ratios within turns, and their quartiles."""
    low, middle, high = statistics.quantiles([turn[one] / turn[other] for turn in turns], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["x3d_m", "slowonly_r50_8x8"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    args = parser.parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    print(f"# Runtimes side by side\n\n{hardware()}; fp32, one clip, medians of {args.rounds} turns,")
    print(f"{'by the clock' if args.clock == 'wall' else 'processor time'}.\n")
    for name in args.networks:
        turns = measured(forward_passes(name), args.rounds, clock)
        medians = {run: statistics.median(turn[run] for turn in turns) for run in turns[0]}
        fastest = min((run for run in medians if not run.startswith("torch")), key=lambda run: medians[run])
        print(f"## {name}\n\n| | plain (ms) | autovid (ms) | autovid / plain | target |\n|---|---:|---:|---|---|")
        for runtime in ("torch", *OTHERS):
            plain, ours = f"{runtime}, plain", f"{runtime}, autovid"
            cells = [f"{1e3 * medians[plain]:.0f}", f"{1e3 * medians[ours]:.0f}", ratio(turns, ours, plain)]
            print(f"| {runtime} | {' | '.join(cells)} | {'' if runtime == 'torch' else 'at most 1'} |")
        target = f"; target for X3D-M: at most {TARGET}" if name == "x3d_m" else ""
        best = medians["torch, autovid"] / medians[fastest]
        outcome = f": {'met' if best <= TARGET else 'missed'}" if target else ""
        print(f"\nautovid in torch over the fastest runtime ({fastest}): ", end="")
        print(f"{ratio(turns, 'torch, autovid', fastest)}{target}{outcome}\n", flush=True)


if __name__ == "__main__":
    main()

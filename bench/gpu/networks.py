"""Networks of every family against plain torch: forward and training, eager, as a CUDA graph, compiled."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from plain import contiguous, torch_alone
from report import Box, Report, Run, medians, reason, working

from autovid.kernels.compute import DTYPES, Name
from autovid.models import Network, NetworkSpec, build_network
from autovid.models.registry import FILES

TARGET = 2.0  # times as fast as plain torch, on X3D
CLIPS = {"forward": 32, "training": 16}
FIRST = ("x3d_m", "slowfast_r50_8x8", "tsm_resnet50", "auto_tsnet_m", "csn_r50", "i3d_resnet50")
SMALL = {"x3d_xs": (4, 32), "tsm_resnet18": (4, 32)}  # frames and crop of a trial on a CPU
SECONDS = 1.2  # of measuring a line


class Case(NamedTuple):
    """A line of the table."""

    network: str
    precision: Name = "bf16"
    benchmark: bool = False  # cuDNN tries its algorithms out first


def cases(smoke: bool) -> list[Case]:
    """X3D-M in all ways, then a network of every family."""
    if smoke:
        return [Case(name, "fp32") for name in SMALL]
    rest = [next(iter(names)) for file, names in FILES.items() if not any(name in FIRST for name in names)]
    first = [Case("x3d_m"), Case("x3d_m", benchmark=True), Case("x3d_m", "fp32")]
    return [*first, *(Case(name) for name in (*FIRST[1:], *rest))]


def networks(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Measure autovid against plain torch, both eager, and autovid as a CUDA graph."""
    about = (
        "`plain` is the same network with torch's own conv3d and batch norm on contiguous maps, in the same precision; "
        "fp32 has TF32 in convolutions, as torch comes. Training is forward, backward and a fused SGD step. `queued` "
        "is how long the CPU needs to queue the kernels: near the time itself, the CPU is what one waits for. Peak is "
        "memory in GB of autovid / plain."
    )
    columns = ("network", "pass", "clips", "autovid, ms", "plain, ms", "CUDA graph, ms", "queued, ms", "clips/s")
    report.table("Networks", about, *columns, "plain / autovid", "plain / graph", "peak", "target")
    for case in cases(smoke):
        for kind in CLIPS:
            if box.left < 5:
                report.line(f"\nTime is up before {case.network}, {kind}.")
                return
            measured_line(report, case, kind, device, smoke)


def measured_line(report: Report, case: Case, kind: str, device: torch.device, smoke: bool) -> None:
    """Measure one network in one kind of pass, at the largest batch that fits."""
    clips = 2 if smoke else CLIPS[kind]
    while clips:
        try:
            with benchmarking(case.benchmark):
                line(report, case, kind, clips, device, smoke)
            return
        except torch.OutOfMemoryError:
            clips //= 2
        except Exception as error:
            report.row(case.network, kind, clips, f"failed: {reason(error)}")
            return
        finally:
            empty(device)
    report.row(case.network, kind, 1, "does not fit")


def line(report: Report, case: Case, kind: str, clips: int, device: torch.device, smoke: bool) -> None:
    """Measure and write one line."""
    nets = opened(case.network, device, smoke)
    how = Pass(kind, clips, case.precision)
    passes = {name: one_pass(net, how._replace(plain=name == "plain"), device) for name, net in nets.items()}
    runs = dict(passes)
    if device.type == "cuda":
        captured = capture(one_pass(nets["autovid"], how._replace(cached=False), device))
        runs |= working({"graph": captured}, lambda text: report.line(f"<!-- {case.network}, {kind}: {text} -->"))
    ms = medians(runs, device, 0.0 if smoke else SECONDS)
    peaks = [f"{peak(passes[name], device):.2f}" for name in nets]
    ratio, graph = ms["plain"] / ms["autovid"], ms["plain"] / ms.get("graph", float("nan"))
    target = f">= {TARGET:g}: {'met' if ratio >= TARGET else 'missed'}" if case.network.startswith("x3d") else ""
    name = f"{case.network}, {case.precision}{', cudnn.benchmark' if case.benchmark else ''}"
    times = (ms["autovid"], ms["plain"], ms.get("graph", float("nan")), queued(passes["autovid"], device))
    report.row(name, kind, clips, *times, 1e3 * clips / ms["autovid"], ratio, graph, " / ".join(peaks), target)


def opened(name: str, device: torch.device, smoke: bool) -> dict[str, Network]:
    """Return a network twice: in channels_last_3d as autovid has it, and contiguous."""
    torch.manual_seed(0)
    frames, crop = SMALL[name] if smoke else (None, None)
    net = build_network(NetworkSpec(network=name, classes=10 if smoke else 400, frames=frames, crop=crop))
    return {"autovid": net.to(device), "plain": contiguous(net).to(device)}


class Pass(NamedTuple):
    """What is measured of a network."""

    kind: str
    clips: int
    precision: Name
    plain: bool = False
    cached: bool = True  # autocast keeps weights in half precision, which a CUDA graph must not


def one_pass(net: Network, how: Pass, device: torch.device, run: Any = None) -> Run:
    """Return a pass over clips that lie on the device, in the layout of the weights. `run` is a compiled form."""
    called = net if run is None else run
    x = torch.randn(how.clips, 3, net.clip.frames, net.clip.crop, net.clip.crop, device=device)
    x = x if how.plain else x.contiguous(memory_format=torch.channels_last_3d)
    y = torch.arange(how.clips, device=device) % 10
    around = torch_alone if how.plain else contextlib.nullcontext

    def precise() -> torch.autocast:
        dtype, half = DTYPES[how.precision], how.precision != "fp32"
        return torch.autocast(device.type, dtype if half else torch.bfloat16, enabled=half, cache_enabled=how.cached)

    def forward() -> None:
        if net.training:
            net.eval()
        with around(), torch.no_grad(), precise():
            called(x)

    sgd = torch.optim.SGD(net.parameters(), 1e-4, momentum=0.9, fused=True)

    def training() -> None:
        if not net.training:
            net.train()
        sgd.zero_grad(set_to_none=True)
        with around(), precise():
            loss = F.cross_entropy(called(x).float(), y)
        loss.backward()
        sgd.step()

    return forward if how.kind == "forward" else training


def capture(run: Run) -> Run:
    """Return a function that captures a run as a CUDA graph at its first call and replays it from then on."""
    graphs: list[torch.cuda.CUDAGraph] = []

    def replay() -> None:
        if not graphs:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    run()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            graphs.append(graph)
        graphs[0].replay()

    return replay


def queued(run: Run, device: torch.device) -> float:
    """Return the milliseconds in which the CPU queues a run on an idle device; nan where it does the work itself."""
    if device.type != "cuda":
        return float("nan")
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    torch.cuda.synchronize()
    return 1e3 * best


def peak(run: Run, device: torch.device) -> float:
    """Return the peak of memory in a run, beyond what lies there before it, in GB; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def empty(device: torch.device) -> None:
    """Give memory back that nobody holds."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


@contextlib.contextmanager
def benchmarking(on: bool) -> Iterator[None]:
    """Inside, cuDNN tries its algorithms out for each new size."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def compiled(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Measure torch.compile of both, beside eager."""
    columns = ("network", "pass", "clips", "autovid eager", "plain eager", "autovid compiled", "plain compiled")
    about = "Milliseconds, bf16 on CUDA. The last column is the ratio of the two compiled forms."
    report.table("torch.compile", about, *columns, "plain / autovid, compiled")
    for name in ("tsm_resnet18",) if smoke else FIRST:
        for kind in ("forward",) if smoke else CLIPS:
            if box.left < 30:
                report.line(f"\nTime is up before {name}, {kind}.")
                return
            try:
                compiled_line(report, name, kind, device, smoke)
            except Exception as error:
                report.row(name, kind, "", f"failed: {reason(error)}")
            empty(device)


def compiled_line(report: Report, name: str, kind: str, device: torch.device, smoke: bool) -> None:
    """Measure and write one line; a smoke test compiles by a backend that does nothing."""
    clips, precision = 2 if smoke else CLIPS[kind] // 2, cast("Name", "fp32" if smoke else "bf16")
    runs: dict[str, Run] = {}
    torch._dynamo.reset()
    for of, net in opened(name, device, smoke).items():
        fast = torch.compile(net, dynamic=False, backend="eager" if smoke else "inductor")
        how = Pass(kind, clips, precision, plain=of == "plain")
        runs[of], runs[f"{of} compiled"] = one_pass(net, how, device), one_pass(net, how, device, run=fast)
    runs = working(runs, lambda text: report.line(f"<!-- {name}, {kind}: {text} -->"))
    ms = medians(runs, device, 0.0 if smoke else SECONDS)
    times = [ms.get(key, float("nan")) for key in ("autovid", "plain", "autovid compiled", "plain compiled")]
    report.row(name, kind, clips, *times, times[3] / times[2])

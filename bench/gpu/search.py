"""The search step of two spaces, the way of clips to the device, and a latency table against whole networks."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learning import MemoryLoader, drawn, open_supernet
from networks import empty, peak
from report import Box, Report, Run, medians, reason

import autovid
from autovid.clip import Clip
from autovid.data.loader import normalised
from autovid.kernels.compute import Compute
from autovid.search.supernet import HELD_OUT, WEIGHTS

BATCH = {"tiny": 16, "two_stream": 8}
LATENCY = {"tiny": 24, "two_stream": 12}  # networks whose latency is predicted
FITTED = 8  # more of them, which the overhead is fitted to
REPEATS = 10


def search(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Measure all three."""
    steps(report, box, device, smoke)
    copies(report, device, smoke)
    latency(report, box, device, smoke)


def steps(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Measure both halves of the search step."""
    about = (
        "`learn`: forward and backward of every architecture, weighed by its likelihood, and a step of SGD; `score`: "
        "forward passes without gradient. On clips that lie on the device. Peak: memory beyond weights and clips."
    )
    columns = ("space", "half", "architectures", "clips", "ms", "ms each", "peak, GB")
    report.table("Search step", about, *columns)
    for name in ("tiny",) if smoke else BATCH:
        if box.left < 10:
            report.line(f"\nTime is up before {name}.")
            return
        try:
            steps_of(report, name, device, smoke)
        except Exception as error:
            report.row(name, f"failed: {reason(error)}")
        empty(device)


def steps_of(report: Report, name: str, device: torch.device, smoke: bool) -> None:
    """Measure the halves of one space: of one architecture, and of as many as its recipe asks for."""
    batch = 4 if smoke else BATCH[name]
    net = open_supernet(name, Compute(str(device), "fp32" if smoke else "auto"), batch=batch, proxy=smoke)
    batches: dict[int, Any] = {}
    for part in (WEIGHTS, HELD_OUT):
        net.begin_step(0, 1)
        batches[part] = net._batch(part)
    net._batch = batches.__getitem__  # type: ignore[method-assign]
    samples = autovid.load_space(name).recipe.samples  # type: ignore[union-attr]
    for count in (1, 2 if smoke else samples):
        architectures = drawn(name, count)
        runs: dict[str, Run] = {
            "learn": partial(net.learn, *architectures, "likelihood", "mean", 1e-4),
            "score": partial(net.score, *architectures),
        }
        ms = medians(runs, device, 0.0 if smoke else 4.0)
        for half, run in runs.items():
            report.row(name, half, count, batch, ms[half], ms[half] / count, peak(run, device))
    net.close()


def copies(report: Report, device: torch.device, smoke: bool) -> None:
    """Measure how a batch of clips comes to the device, and how long it takes to make."""
    loader = MemoryLoader(
        (), Path(), Clip(frames=4 if smoke else 16, crop=32 if smoke else 224), batch=2 if smoke else 16
    )
    (batch,) = loader.batches(0, 1)
    pixels = np.zeros((*batch.x.shape[:1], *batch.x.shape[2:], 3), dtype=np.uint8)
    pageable = torch.empty_like(batch.x, pin_memory=False).copy_(batch.x)

    def run(x: torch.Tensor) -> Run:
        return lambda: x.to(device, non_blocking=True)

    runs: dict[str, Run] = {
        f"copied from where a loader puts it ({'pinned' if batch.x.is_pinned() else 'pageable'})": run(batch.x),
        "copied from pageable memory": run(pageable),
        "normalised on the CPU": lambda: normalised(pixels, loader.clip),
    }
    ms = medians(runs, device, 0.0 if smoke else 2.0)
    report.table(
        "Clips to the device", f"{tuple(batch.x.shape)}, float32, {batch.x.nbytes / 1e6:.0f} MB.", "", "ms", "GB/s"
    )
    for what, time in ms.items():
        report.row(what, time, batch.x.nbytes / time / 1e6)


def latency(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Predict networks by a table of their blocks, and measure them."""
    about = "A table of the blocks of random networks, at one clip, against these networks, measured."
    columns = (
        "space",
        "networks",
        "blocks",
        "measured, ms",
        "overhead, ms",
        "median error, %",
        "largest, %",
        "Spearman",
    )
    report.table("Latency", about, *columns)
    for name in ("tiny",) if smoke else LATENCY:
        if box.left < 15:
            report.line(f"\nTime is up before {name}.")
            return
        try:
            latency_of(report, name, device, smoke)
        except Exception as error:
            report.row(name, f"failed: {reason(error)}")


def latency_of(report: Report, name: str, device: torch.device, smoke: bool) -> None:
    """Predict and measure the networks of one space."""
    from autovid.studies.block_latency import measure_blocks, network_run, predicted, times_of
    from autovid.studies.correlation import spearman  # here: both load all that a run needs

    count, fitted, repeats = (3, 1, 1) if smoke else (LATENCY[name], FITTED, REPEATS)
    compute = Compute(str(device), "fp32" if smoke else "auto")
    archs = autovid.load_space(name).sample(count + fitted, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        spaces = [arch.as_space() for arch in archs]
        file = measure_blocks(spaces, Path(folder) / "table.json", compute, repeats=repeats)
    archs = archs[fitted:]
    said = np.array([predicted(arch, file) for arch in archs]) / 1e6
    took = np.array(times_of([network_run(arch, compute, 1) for arch in archs], compute, repeats)) / 1e6
    error = 100 * np.abs(said / took - 1)
    report.row(
        name,
        count,
        len(file.blocks),
        f"{took.min():.3g} to {took.max():.3g}",
        (file.overhead or 0) / 1e6,
        float(np.median(error)),
        float(error.max()),
        spearman(said, took),
    )

"""The profile of a GPU, for `autovid train --dry-run --hardware`, as a file beside the results."""

from __future__ import annotations

import io

import torch
from report import Box, Report, reason

from autovid.costs.machine import MachineProfile
from autovid.costs.operations import FAMILIES
from autovid.kernels.compute import Compute
from autovid.run import Progress
from autovid.studies.profile import measure_machine, write_machine_profile


def profiling(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Measure operations, memory and, where there are two GPUs, messages; decoding needs av, and is left out."""
    about = (
        f"The fastest of each family that was measured; all are in `{report.path.with_suffix('.json').name}`, a file "
        "for `autovid train EXPERIMENT --dry-run --hardware`. MACs and bytes are counted as in fp32."
    )
    report.table("Profile", about, "operations", "measured", "GMACs/s forward", "backward", "GB/s forward", "backward")
    try:
        machine = measure_machine(
            Compute(str(device), "fp32" if smoke else "auto"),
            decoding=False,
            exchange=not smoke,
            some=1 if smoke else 0,
            progress=Progress(stream=io.StringIO()),
        )
        write_machine_profile(report.path.with_suffix(".json"), machine)
        rows(report, machine)
    except Exception as error:
        report.row("all", f"failed: {reason(error)}")


def rows(report: Report, machine: MachineProfile) -> None:
    """Write a row for each family, and lines about the rest."""
    for family, about in FAMILIES.items():
        rates = machine.operations[family]
        best = [
            max((getattr(one, what) / one.seconds / 1e9 for one in some), default=float("nan"))
            for what in ("macs", "bytes")
            for some in (rates.forward, rates.backward)
        ]
        report.row(about, len(rates.forward) + len(rates.backward), *(one or float("nan") for one in best))
    report.line(
        f"\nMemory: {machine.bandwidth / 1e9:,.0f} GB/s; an operation takes {machine.constant * 1e6:.1f} µs at least."
    )
    if machine.exchange is not None:
        speed = f"{machine.exchange.bandwidth / 1e9:.1f} GB/s, {machine.exchange.latency * 1e6:.0f} µs a message"
        report.line(f"Between two GPUs: {speed}.")

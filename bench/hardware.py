"""One line that names the machine a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch


def hardware() -> str:
    """CPU model, cores, threads in use, instruction set, GPU if any, and torch's version."""
    threads, isa = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    parts = [_cpu_model(), f"{os.cpu_count()} cores, {threads} in use", isa, f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.insert(3, torch.cuda.get_device_name())
    return "; ".join(parts)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

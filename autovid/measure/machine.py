"""The machine that a figure was measured on, and the memory that it can spare."""

import os
from pathlib import Path

import torch

from autovid import __version__
from autovid.errors import ConfigError
from autovid.kernels.machine import cpu_model


def hardware() -> str:
    """CPU model, cores, threads in use, instruction set, GPU if any, and torch's version."""
    threads, isa = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    parts = [cpu_model(), f"{os.cpu_count()} cores, {threads} in use", isa, f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.insert(3, torch.cuda.get_device_name())
    return "; ".join(parts)


def device_name(device: torch.device) -> str:
    """The model of what computes, whatever is in use of it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def versions() -> dict[str, str]:
    """What may change a latency."""
    found = {"autovid": __version__, "torch": str(torch.__version__)}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def use_threads(threads: int | None, device: torch.device) -> int:
    """Computes with so many threads from now on; None: as it is. Raises ConfigError where it cannot."""
    if threads is not None:
        if device.type != "cpu":
            raise ConfigError(f"--threads are those of a CPU; this is {device}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def spare_memory(device: torch.device) -> int:
    """Bytes that may still be taken: what the system says is available, or what a container's limit leaves of it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_meminfo()]
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                found.append(most - now)
    return max(0, min(found))


def _meminfo() -> int:
    """MemAvailable of Linux; elsewhere half of the memory there is."""
    file = Path("/proc/meminfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) // 2


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None

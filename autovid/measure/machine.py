"""The machine of a measurement, and its spare memory."""

import os
import sys
from pathlib import Path

import torch

from autovid import __version__
from autovid.errors import ConfigError
from autovid.kernels.machine import cpu_model

RUNTIMES = ("onnxruntime", "openvino")  # named with the versions where they have been loaded


def hardware() -> str:
    """Describe the machine: CPU model, cores, threads in use, instruction set, GPU if any, and torch's version."""
    threads, isa = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    parts = [cpu_model(), f"{os.cpu_count()} cores, {threads} in use", isa, f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.insert(3, torch.cuda.get_device_name())
    return "; ".join(parts)


def device_name(device: torch.device) -> str:
    """Return the model of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def versions() -> dict[str, str]:
    """Return the versions of software that may change a latency."""
    result = {"autovid": __version__, "torch": str(torch.__version__)}
    if torch.version.cuda:
        result["cuda"] = torch.version.cuda
    loaded = {name: sys.modules[name] for name in RUNTIMES if sys.modules.get(name) is not None}
    return result | {name: str(module.__version__) for name, module in loaded.items()}


def use_threads(threads: int | None, device: torch.device) -> int:
    """Compute with so many threads from now on; None leaves them. Raises ConfigError where it cannot."""
    if threads is not None:
        if device.type != "cpu":
            raise ConfigError(f"--threads are those of a CPU; this is {device}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def spare_memory(device: torch.device) -> int:
    """Return the bytes that are available to the system, or less where a container has a limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    spare = [_meminfo()]
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                spare.append(most - now)
    return max(0, min(spare))


def _meminfo() -> int:
    """Return MemAvailable of Linux; elsewhere half of all memory."""
    file = Path("/proc/meminfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) // 2


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None

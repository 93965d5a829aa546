"""The device, the precision of each kind of pass and the kernels that a network computes with.

A resumed run restores its record, so that both halves round alike; rank 0 measures for all workers. Measurements of a
CPU are cached, so that two runs with one seed round alike too.
"""

import contextlib
import hashlib
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import torch

from autovid import distributed
from autovid.errors import ConfigError
from autovid.fileio import cache_file, cache_folder
from autovid.kernels.depthwise import Kernels, choose_kernels, current_kernels, use_kernels
from autovid.kernels.machine import cpu_model
from autovid.kernels.precision import Precision, autocast, choose_precision

METHOD = 1  # counts the changes to kernels and measurements, after which all is measured anew


class Measured(msgspec.Struct, frozen=True):
    """The fastest kernels and precision of a machine's CPU."""

    machine: str
    kernels: Kernels
    precision: Precision


class Compute:
    """Choice of device, precision and kernels.

    `device` is auto, cpu or cuda (cuda:1, ...); `precision` is auto, fp32, bf16 or fp16; auto measures.
    """

    def __init__(self, device: str = "auto", precision: str = "auto") -> None:
        self.device = find_device(device)
        self.precision: Precision
        self.restore(distributed.broadcast_from_rank0(lambda: self._choose(precision)))

    def autocast(self, kind: str) -> AbstractContextManager[Any]:
        """Return the context for a pass of this kind: "train", or "forward" for one without gradient."""
        return autocast(self.precision, kind, self.device)

    def _choose(self, precision: str) -> dict[str, Any]:
        if self.device.type == "cpu":
            fastest = measured()
            use_kernels(fastest.kernels)
            if precision == "auto":
                self.precision = fastest.precision
                return self.record()
        self.precision = choose_precision(self.device, precision)
        return self.record()

    def record(self) -> dict[str, Any]:
        """Return the record for a checkpoint."""
        return {"precision": msgspec.to_builtins(self.precision), "kernels": msgspec.to_builtins(current_kernels())}

    def restore(self, record: dict[str, Any]) -> None:
        """Restore the record of a checkpoint."""
        self.precision = msgspec.convert(record["precision"], Precision)
        use_kernels(msgspec.convert(record["kernels"], Kernels))


def measured() -> Measured:
    """Return the fastest kernels and precision of this CPU, measured in about a second at the first call ever.

    They are kept in the cache, for this CPU and torch; where it cannot be written, they are measured every time.
    """
    machine = f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, {METHOD}"
    name = f"fastest-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((cache_folder() / name).read_bytes(), type=Measured)
    use_kernels(choose_kernels())
    fastest = Measured(machine, current_kernels(), choose_precision(torch.device("cpu")))  # with the kernels in use
    cache_file(name, msgspec.json.encode(fastest))
    return fastest


def find_device(name: str) -> torch.device:
    """Return the device of a name as `Compute` takes it. Raises ConfigError for one that does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in counts:
        raise ConfigError(f"no device is called {name}; use auto, cpu, cuda or cuda:N")
    if not counts[device.type]:
        raise ConfigError(f"no {device.type} device here, or a torch without it; use --device cpu")
    if (device.index or 0) >= counts[device.type]:
        raise ConfigError(f"device {name} is not there; there are {counts[device.type]}, counted from 0")
    return device

"""Where and how a network computes: the device, the precision of each kind of pass, the kernels in use.

A run that is resumed takes up what it has recorded, so that both halves round alike; and the first of several workers
measures for all. What is measured of a CPU is remembered, so that two runs with one seed round alike too.
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

METHOD = 1  # counts the changes to kernels and to how they are measured, after which all is measured anew


class Measured(msgspec.Struct, frozen=True):
    """What is fastest on a machine's CPU."""

    machine: str
    kernels: Kernels
    precision: Precision


class Compute:
    """`device` is auto, cpu or cuda (cuda:1, ...); `precision` is auto, fp32, bf16 or fp16; auto measures."""

    def __init__(self, device: str = "auto", precision: str = "auto") -> None:
        self.device = find_device(device)
        self.precision: Precision
        self.restore(distributed.broadcast_from_rank0(lambda: self._choose(precision)))

    def autocast(self, kind: str) -> AbstractContextManager[Any]:
        """The context for a pass of this kind: "train", or "forward" for one without gradient."""
        return autocast(self.precision, kind, self.device)

    def _choose(self, precision: str) -> dict[str, Any]:
        if self.device.type == "cpu":
            found = measured()
            use_kernels(found.kernels)
            if precision == "auto":
                self.precision = found.precision
                return self.record()
        self.precision = choose_precision(self.device, precision)
        return self.record()

    def record(self) -> dict[str, Any]:
        """What to put into a checkpoint."""
        return {"precision": msgspec.to_builtins(self.precision), "kernels": msgspec.to_builtins(current_kernels())}

    def restore(self, record: dict[str, Any]) -> None:
        """Takes up what a checkpoint has recorded."""
        self.precision = msgspec.convert(record["precision"], Precision)
        use_kernels(msgspec.convert(record["kernels"], Kernels))


def measured() -> Measured:
    """The kernels and the precision that are fastest on this CPU, measured in about a second at the first call ever.

    They are kept in the cache, for this CPU and torch; where it cannot be written, they are measured every time.
    """
    machine = f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, {METHOD}"
    name = f"fastest-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((cache_folder() / name).read_bytes(), type=Measured)
    use_kernels(choose_kernels())
    found = Measured(machine, current_kernels(), choose_precision(torch.device("cpu")))  # with the kernels in use
    cache_file(name, msgspec.json.encode(found))
    return found


def find_device(name: str) -> torch.device:
    """The device of a name as `Compute` takes it. Raises ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in there:
        raise ConfigError(f"no device is called {name}; use auto, cpu, cuda or cuda:N")
    if not there[device.type]:
        raise ConfigError(f"no {device.type} device here, or a torch without it; use --device cpu")
    if (device.index or 0) >= there[device.type]:
        raise ConfigError(f"device {name} is not there; there are {there[device.type]}, counted from 0")
    return device

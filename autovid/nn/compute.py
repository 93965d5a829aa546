"""Where and how a network computes: the device, the precision of each kind of pass, the kernels in use.

A run that is resumed takes up what it has recorded, so that both halves round alike; and the first of several workers
measures for all.
"""

from contextlib import AbstractContextManager
from typing import Any

import msgspec
import torch

from autovid import world
from autovid.errors import ConfigError
from autovid.nn.depthwise import Kernels, choose_kernels, current_kernels, use_kernels
from autovid.nn.precision import Precision, autocast, choose_precision


class Compute:
    """`device` is auto, cpu or cuda (cuda:1, ...); `precision` is auto, fp32, bf16 or fp16; auto measures."""

    def __init__(self, device: str = "auto", precision: str = "auto") -> None:
        self.device = find_device(device)
        self.precision: Precision
        self.restore(world.from_first(lambda: self._choose(precision)))

    def autocast(self, kind: str) -> AbstractContextManager[Any]:
        """The context for a pass of this kind: "train", or "forward" for one without gradient."""
        return autocast(self.precision, kind, self.device)

    def _choose(self, precision: str) -> dict[str, Any]:
        if self.device.type == "cpu":
            use_kernels(choose_kernels())
        self.precision = choose_precision(self.device, precision)  # measures with the kernels in use
        return self.record()

    def record(self) -> dict[str, Any]:
        """What to put into a checkpoint."""
        return {"precision": msgspec.to_builtins(self.precision), "kernels": msgspec.to_builtins(current_kernels())}

    def restore(self, record: dict[str, Any]) -> None:
        """Takes up what a checkpoint has recorded."""
        self.precision = msgspec.convert(record["precision"], Precision)
        use_kernels(msgspec.convert(record["kernels"], Kernels))


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

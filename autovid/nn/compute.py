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

DEVICES = ("auto", "cpu", "cuda")


class Compute:
    """`device` is auto, cpu or cuda (cuda:1, ...); `precision` is auto, fp32, bf16 or fp16; auto measures."""

    def __init__(self, device: str = "auto", precision: str = "auto") -> None:
        self.device = _device(device)
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


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"no device is called {name}; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device here, or a torch without CUDA; use --device cpu")
    return device

"""The device, the precision of each kind of pass and the kernels that a network computes with.

Precision is chosen by the user, by the generation of a GPU or, on a CPU, by measurement. A pass without gradient and a
training pass are chosen for separately: on CPUs bfloat16 often pays in the first only. A training pass in fp16 needs a
gradient scaler (`torch.amp.GradScaler`), which its caller has. A resumed run restores its record, so that both halves
round alike; rank 0 measures for all workers. Measurements of a CPU are cached, so that two runs with one seed round
alike too.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, get_args

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from autovid import distributed
from autovid.errors import ConfigError
from autovid.fileio import cache_file, cache_folder
from autovid.kernels.chosen import Kernels, current_kernels, use_kernels
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.fastest import choose_kernels
from autovid.kernels.machine import cpu_has_bf16, cpu_model, is_faster

Name = Literal["fp32", "bf16", "fp16"]
Kind = Literal["forward", "train"]

DTYPES: dict[Name, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision(msgspec.Struct, frozen=True):
    """Precision of passes without gradient (`forward`) and of training passes (`train`). A run keeps its own."""

    forward: Name = "fp32"
    train: Name = "fp32"


def choose_precision(device: torch.device, precision: str = "auto") -> Precision:
    """Return the precision asked for (fp32, bf16, fp16), or with `auto` the fastest here, by half a second at most.

    The measurement is on the depthwise kernels in use: call `use_kernels` first.

    Raises ConfigError for a precision that does not exist or that the device cannot train in.
    """
    if precision == "auto":
        return _fastest(device)
    if precision not in get_args(Name):
        raise ConfigError(f"precision {precision!r} does not exist: choose one of auto, {', '.join(get_args(Name))}")
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError(f"precision fp16 needs a CUDA device, not {device.type}: choose bf16, fp32 or auto")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError("this CUDA device does not support bf16: choose fp16, fp32 or auto")
    return msgspec.convert({"forward": precision, "train": precision}, Precision)


def autocast(precision: Precision, kind: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context for a pass of this kind, "forward" (without gradient) or "train", on this device."""
    name: Name = precision.train if kind == "train" else precision.forward
    if name == "fp32":
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, DTYPES[name])


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Return the context for a few operations on x that autocast must leave alone."""
    if x.is_meta or torch.compiler.is_exporting():  # which have no autocast
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def _fastest(device: torch.device) -> Precision:
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision("bf16", "bf16") if native else Precision("fp16", "fp16")
    if device.type != "cpu" or not cpu_has_bf16():
        return Precision()
    layers = _ExampleLayers()
    return Precision(forward=_faster_of(torch.no_grad()(layers.forward)), train=_faster_of(layers.train))


class _ExampleLayers:
    """The three convolutions that a video network spends its time in, at a map of its middle stages."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        normal = partial(torch.randn, generator=generator)
        self.x = normal(2, 64, 8, 14, 14).contiguous(memory_format=torch.channels_last_3d)
        self.weights = [
            normal(128, 64, 1, 1, 1).requires_grad_(),
            normal(128, 1, 3, 3, 3).requires_grad_(),
            normal(64, 128, 1, 3, 3).requires_grad_(),
        ]

    def forward(self) -> Tensor:
        pointwise, depthwise, dense = self.weights
        hidden = F.relu(F.conv3d(self.x, pointwise))
        hidden = F.relu(depthwise_conv3d(hidden, depthwise))
        return F.conv3d(hidden, dense, padding=(0, 1, 1))

    def train(self) -> None:
        torch.autograd.grad(self.forward().float().mean(), self.weights)


def _faster_of(run: Callable[[], object]) -> Name:
    def bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            run()

    return "bf16" if is_faster(bf16, run, seconds=0.2) else "fp32"


METHOD = 2  # counts the changes to kernels and measurements, after which all is measured anew


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

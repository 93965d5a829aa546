"""Depthwise 3-D convolutions of X3D-M's maps against the time in which their bytes can be copied."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from report import Box, Report, medians, reason, working
from torch import Tensor

from autovid.kernels.depthwise import depthwise_conv3d
from autovid.layers.temporal_modules import weigh_frames

Size3 = tuple[int, int, int]
Function = Callable[[Tensor, Tensor, Size3], Tensor]
# B, C, T, H = W, kernel, stride: the stages of X3D-M at 16 clips, where they are halved, the stem over time.
CASES: list[tuple[int, int, int, int, Size3, Size3]] = [
    (16, 54, 16, 56, (3, 3, 3), (1, 1, 1)),
    (16, 108, 16, 28, (3, 3, 3), (1, 1, 1)),
    (16, 216, 16, 14, (3, 3, 3), (1, 1, 1)),
    (16, 432, 16, 7, (3, 3, 3), (1, 1, 1)),
    (16, 54, 16, 112, (3, 3, 3), (1, 2, 2)),
    (16, 24, 16, 112, (5, 1, 1), (1, 1, 1)),
    (16, 256, 8, 56, (3, 1, 1), (1, 1, 1)),
]
TRIAL: list[tuple[int, int, int, int, Size3, Size3]] = [
    (1, 8, 4, 6, (3, 3, 3), (1, 1, 1)),
    (1, 8, 4, 6, (3, 1, 1), (1, 1, 1)),
]
SECONDS = 1.0


def one_call(x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """torch's own."""
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(x, weight, stride=stride, padding=padding, groups=x.shape[1])


def converted(x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """torch's own on a contiguous copy, and its result in channels_last_3d again."""
    return one_call(x.contiguous(), weight, stride).contiguous(memory_format=torch.channels_last_3d)


def by_frames(x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """A sum over the taps in time of 2-D depthwise convolutions of all frames."""
    b, c, t = x.shape[:3]
    taps = weight.shape[2]
    padded = F.pad(x, (0, 0, 0, 0, taps // 2, taps // 2))
    out = None
    for tap in range(taps):
        frames = padded[:, :, tap : tap + t].transpose(1, 2).flatten(0, 1)
        padding = (weight.shape[3] // 2, weight.shape[4] // 2)
        y = F.conv2d(frames, weight[:, :, tap], stride=stride[1:], padding=padding, groups=c)
        out = y if out is None else out + y
    assert out is not None
    return out.view(b, t, *out.shape[1:]).transpose(1, 2)


def by_taps(x: Tensor, weight: Tensor, stride: Size3) -> Tensor:
    """A sum of shifted maps, which a compiler makes one kernel of."""
    kt, kh, kw = weight.shape[2:]
    padded = F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2, kt // 2, kt // 2))
    sizes = [-(-size // step) for size, step in zip(x.shape[2:], stride)]
    out = None
    for i in range(kt):
        for j in range(kh):
            for k in range(kw):
                shifted = padded[:, :, i :: stride[0], j :: stride[1], k :: stride[2]]
                shifted = shifted[:, :, : sizes[0], : sizes[1], : sizes[2]]
                term = shifted * weight[:, 0, i, j, k].view(-1, 1, 1, 1)
                out = term if out is None else out + term
    assert out is not None
    return out


def depthwise(report: Report, box: Box, device: torch.device, smoke: bool) -> None:
    """Measure every contender, forward and with both gradients; the compiled one comes last, on two sizes."""
    bytes_a_second = copy_speed(device, smoke)
    about = (
        f"A copy moves {bytes_a_second / 1e9:,.0f} GB/s, read and written. The bound of a forward pass is the copy of "
        "its input and its result; backward reads the gradient twice and the input, and writes the input's gradient. "
        "Milliseconds, bf16 on CUDA; the bound over the time is the share of what is possible."
    )
    columns = ("map and kernel", "way", "forward", "bound / time", "both ways", "bound / time")
    report.table("Depthwise 3-D convolution", about, *columns)
    ways: dict[str, tuple[Function, torch.memory_format]] = {
        "conv3d, channels last (autovid's)": (depthwise_conv3d, torch.channels_last_3d),
        "conv3d, contiguous": (one_call, torch.contiguous_format),
        "conv3d, contiguous, from channels last and back": (converted, torch.channels_last_3d),
        "frames in 2-D, channels last": (by_frames, torch.channels_last_3d),
        "frames weighed": (lambda x, w, _: weigh_frames(x, w), torch.channels_last_3d),
    }
    sizes = TRIAL if smoke else CASES
    for case in sizes:
        for way, (function, layout) in ways.items():
            if way == "frames weighed" and case[4] != (3, 1, 1):
                continue
            line(report, box, case, way, function, layout, bytes_a_second, device)
    if smoke:
        return
    for case in sizes[:2]:
        fast: Function = torch.compile(by_taps, dynamic=False)
        line(report, box, case, "taps, compiled", fast, torch.channels_last_3d, bytes_a_second, device)


def line(
    report: Report,
    box: Box,
    case: tuple[int, int, int, int, Size3, Size3],
    way: str,
    function: Function,
    layout: torch.memory_format,
    bytes_a_second: float,
    device: torch.device,
) -> None:
    """Measure and write one line."""
    batch, channels, frames, side, kernel, stride = case
    name = f"{batch} x {channels} x {frames} x {side}², {'x'.join(map(str, kernel))} / {stride[1]}"
    if box.left < 4:
        report.line(f"\nTime is up before {name}, {way}.")
        return
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    make = {"device": device, "dtype": dtype}
    try:
        x = torch.randn(batch, channels, frames, side, side, **make).contiguous(memory_format=layout).requires_grad_()
        weight = torch.randn(channels, 1, *kernel, **make, requires_grad=True)
        grad = torch.randn_like(function(x, weight, stride))
        runs = {
            "forward": lambda: torch.no_grad()(function)(x, weight, stride),
            "both": lambda: torch.autograd.grad(function(x, weight, stride), (x, weight), grad),
        }
        runs = working(runs, lambda text: report.line(f"<!-- {name}, {way}: {text} -->"))
        ms = medians(runs, device, SECONDS if device.type == "cuda" else 0.0)
    except Exception as error:
        report.row(name, way, f"failed: {reason(error)}")
        return
    bound = 1e3 * (x.nbytes + grad.nbytes) / bytes_a_second
    back = 1e3 * (2 * grad.nbytes + 2 * x.nbytes) / bytes_a_second
    nan = float("nan")
    forward, both = ms.get("forward", nan), ms.get("both", nan)
    report.row(name, way, forward, bound / forward, both, (bound + back) / both)


def copy_speed(device: torch.device, smoke: bool) -> float:
    """Return the bytes that a copy on the device reads and writes in a second."""
    x = torch.empty(2**20 if smoke else 2**30, dtype=torch.uint8, device=device)
    y = torch.empty_like(x)
    ms = medians({"copy": lambda: y.copy_(x)}, device, 0.0 if smoke else 0.5)["copy"]
    return 2 * x.nbytes / (ms / 1e3)

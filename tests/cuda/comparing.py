"""Two devices compared: how far a result on one may lie from the exact one, by the formats of numbers alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

UNIT = 2.0**-24  # a float32 operation rounds by at most this, relative to its result
BF16 = 2.0**-8  # and rounding to bfloat16 by this
DEEP = 1e-9  # of networks in float64, see tests/tolerance.py


class Finding(NamedTuple):
    """What was compared, how far apart it lies, and how far it may: `allowed` None for what is only told."""

    what: str
    distance: float
    allowed: float | None

    @property
    def passed(self) -> bool:
        return self.allowed is None or self.distance <= self.allowed  # nan is not


Function = Callable[..., Tensor]


@contextlib.contextmanager
def exact_formats() -> Iterator[None]:
    """Inside, fp32 is fp32: no TF32 in matrix products and convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def distance(a: Tensor, b: Tensor, floor: float = 1e-30) -> float:
    """Largest difference relative to the largest value, or to `floor`, in float64 on the CPU."""
    a, b = (one.detach().cpu().double() for one in (a, b))
    assert a.shape == b.shape, f"{tuple(a.shape)} and {tuple(b.shape)}"
    if not a.numel():
        return 0.0
    return float((a - b).abs().max() / b.abs().max().clamp_min(floor))


def furthest(ours: list[Tensor], exact: list[Tensor]) -> float:
    """The largest distance of results: differences relative to each one's largest value.

    Or to a thousandth of the largest value of all: a bias before a batch norm has a gradient of zero, the sum of
    numbers that cancel, and rounds by their size.
    """
    floor = max(float(one.detach().abs().max()) for one in exact if one.numel()) * 2.0**-10
    return max(distance(one, other, floor) for one, other in zip(ours, exact, strict=True))


def room(summands: int) -> float:
    """The distance allowed between two float32 sums of so many random numbers (tests/kernels/rounding.py says why)."""
    return UNIT * max(8.0, 4.0 * summands**0.5)


def moved(x: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    """A tensor or a module as a leaf elsewhere; the layout stays."""
    if isinstance(x, nn.Module):
        return x.to(device, dtype)
    if isinstance(x, Tensor) and x.is_floating_point():
        return x.detach().to(device, dtype, memory_format=torch.preserve_format).clone().requires_grad_()
    return x.to(device) if isinstance(x, Tensor) else x


def results(function: Function, inputs: list[Any], weights: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of inputs and weights for an upstream gradient that is the same everywhere."""
    out = function(*inputs)
    seed = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).cos()
    leaves = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad] + weights
    grads = torch.autograd.grad(out, leaves, seed.to(out.device, out.dtype), allow_unused=True)
    return [out.detach(), *(grad for grad in grads if grad is not None)]


def compare_function(what: str, function: Function, inputs: list[Any], terms: int, device: torch.device) -> Finding:
    """One operation in fp32 on a device, forward and backward, against the exact one: within the room of its sums."""
    exact = results(function, [moved(x, "cpu", torch.float64) for x in inputs], [])
    ours = results(function, [moved(x, device, torch.float32) for x in inputs], [])
    return Finding(what, furthest(ours, exact), room(terms))


def compare_module(what: str, make: Callable[[], nn.Module], inputs: list[Any], device: torch.device) -> list[Finding]:
    """A module in training, forward and backward, on a device and on the CPU, in float64 and in fp32.

    In float64 they agree as networks do. In fp32 the device may err as much as the CPU does, whose order of additions
    is no better than any other: by 16 times its error, or by the room of a sum over the whole map, four times.
    """

    def run(where: torch.device | str, dtype: torch.dtype) -> list[Tensor]:
        torch.manual_seed(0)
        module = without_chance(moved(make(), where, dtype).train())
        weights = [p for p in module.parameters() if p.requires_grad]
        return results(module, [moved(x, where, dtype) for x in inputs], weights)

    exact = run("cpu", torch.float64)
    doubles = exact[0].dtype == torch.float64  # what computes in fp32 throughout does not agree more closely
    far = furthest(run(device, torch.float64), exact)
    usual = furthest(run("cpu", torch.float32), exact)
    single = furthest(run(device, torch.float32), exact)
    most = max(x.numel() for x in inputs if isinstance(x, Tensor))
    allowed = max(16 * usual, 4 * room(most))
    return [Finding(f"{what}, float64", far, DEEP if doubles else allowed), Finding(f"{what}, fp32", single, allowed)]


def without_chance(module: nn.Module) -> nn.Module:
    """The same without dropout: devices draw other random numbers."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def randomised(module: nn.Module) -> nn.Module:
    """Affine parameters at random: no module is the identity, as one whose last norm starts at zero is."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.copy_(0.5 + torch.rand_like(parameter))
    return module


def clips(*shape: int) -> Tensor:
    """Noise in channels_last_3d, always the same."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return x.contiguous(memory_format=torch.channels_last_3d)

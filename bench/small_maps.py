"""Training steps with this package's operations on maps against torch's own in their place: prints Markdown.

    OMP_NUM_THREADS=1 python bench/small_maps.py [--rounds 15] [--large-rounds 5]

In the old way, pointwise layers are matrix products, batch norm is torch's own, slices and means hand on gradients in
whatever layout torch gives them, neighbouring frames become channels by two copies, and no ReLU overwrites its input.
Both ways take turns in every round, on the same network. On one thread a time is CPU time, which other programs hardly
touch. The ratio is that of the medians; the rounds' own ratios spread as the quartiles say.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch
import torch.nn.functional as F
from hardware import hardware
from torch import Tensor

import autovid
from autovid.blocks import elastic, ends, fusion
from autovid.kernels.allocator import keep_memory
from autovid.kernels.compute import Compute
from autovid.kernels.depthwise import Size3
from autovid.layers import sync_batch
from autovid.models import build
from autovid.models.network import Network
from autovid.space import Architecture

clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

Choice = dict[str, int]


def old_pointwise(x: Tensor, weight: Tensor, stride: Size3 = (1, 1, 1), bias: Tensor | None = None) -> Tensor:
    x = x[:, :, :: stride[0], :: stride[1], :: stride[2]].contiguous(memory_format=torch.channels_last_3d)
    if torch.get_num_threads() > 1:
        return F.conv3d(x, weight, bias)
    pixels = x.permute(0, 2, 3, 4, 1)
    out = F.linear(pixels.reshape(-1, x.shape[1]), weight.flatten(1), bias)
    return out.view(*pixels.shape[:4], weight.shape[0]).permute(0, 4, 1, 2, 3)


def old_mean(x: Tensor) -> Tensor:
    return x.mean((2, 3, 4))


def old_time_to_channel(self: fusion.TimeToChannel, x: Tensor, choice: Choice) -> Tensor:
    b, c, t, h, w = x.shape
    y = x.reshape(b, c, t // self.ratio, self.ratio, h, w).transpose(2, 3)
    y = y.reshape(b, c * self.ratio, t // self.ratio, h, w)
    out: Tensor = self.norm(self.project(y, choice["width"]))
    return out


@contextlib.contextmanager
def old_way() -> Iterator[None]:
    """Inside, networks compute as they did."""

    def relu(x: Tensor, inplace: bool = False) -> Tensor:
        return torch.relu(x)

    patches: list[tuple[object, str, object]] = [
        (elastic, "pointwise_conv3d", old_pointwise),
        (elastic, "mean_of_pixels", old_mean),
        (ends, "mean_of_pixels", old_mean),
        (fusion.TimeToChannel, "forward", old_time_to_channel),
        (sync_batch.kernels, "batch_norm", F.batch_norm),
        (F, "relu", relu),
    ]
    with contextlib.ExitStack() as stack:
        for place, name, function in patches:
            stack.enter_context(mock.patch.object(place, name, function))
        yield


def make_step(nets: list[Network], archs: list[Architecture], x: Tensor) -> Callable[[], None]:
    """A training step of every network, or of one supernet routed to every architecture."""
    for net in nets:
        net.train()
    y = torch.arange(len(x)) % 12
    optimizers = [torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, weight_decay=5e-5) for net in nets]

    def step() -> None:
        for i, arch in enumerate(archs or [None]):
            net, sgd = nets[i % len(nets)], optimizers[i % len(nets)]
            F.cross_entropy(net(x, arch) if arch else net(x), y).backward()  # type: ignore[no-untyped-call]
            sgd.step()
            sgd.zero_grad(set_to_none=True)

    return step


def clips(batch: int, frames: int, crop: int) -> Tensor:
    return torch.randn(batch, 3, frames, crop, crop).contiguous(memory_format=torch.channels_last_3d)


def seconds(step: Callable[[], None]) -> float:
    start = clock()
    step()
    return clock() - start


def row(what: str, step: Callable[[], None], steps: int, rounds: int, target: float | None) -> str:
    """One line of the table; `steps` is how many training steps a call is."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 2):
        with old_way():
            old = seconds(step)
        times += [(old, seconds(step))] if number >= 2 else []  # the first ones fill caches
    old, new = (1e3 / steps * statistics.median(column) for column in zip(*times))
    low, _, high = statistics.quantiles([a / b for a, b in times], n=4)
    outcome = "" if target is None else f">= {target}, {'met' if old / new >= target else 'missed'}"
    return f"| {what} | {old:.0f} | {new:.0f} | {old / new:.2f} | {low:.2f} to {high:.2f} | {outcome} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--large-rounds", type=int, default=5)
    args = parser.parse_args()
    keep_memory()
    Compute("cpu", "fp32")  # takes up the kernels that are fastest here
    torch.manual_seed(0)
    space = autovid.load_space("tiny")
    archs, small = space.sample(4, seed=0), clips(16, 16, 32)
    print(f"# Small maps\n\n{hardware()}; fp32\n")
    kind = "CPU milliseconds" if clock is time.process_time else "Milliseconds"
    print(f"{kind} of a training step (forward, backward, SGD), medians; the old way is torch's own operations, as")
    print("`bench/small_maps.py` says. `tiny`: means over four random architectures.\n")
    print("| step | old | new | old / new | quartiles | target |\n|---|---|---|---|---|---|")
    frozen: list[Network] = [build(arch, 12) for arch in archs]
    print(row("`tiny`, 16 clips, 16 frames of 32²", make_step(frozen, archs, small), 4, args.rounds, 1.7), flush=True)
    step = make_step([build(space, 12)], archs, small)
    print(row("supernet of `tiny`, the same", step, 4, args.rounds, None), flush=True)
    step = make_step([build("x3d_m", 12)], [], clips(2, 16, 224))
    print(row("X3D-M, 2 clips, 16 frames of 224²", step, 1, args.large_rounds, 1.25), flush=True)


if __name__ == "__main__":
    main()

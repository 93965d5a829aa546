"""The measurement of a machine for `autovid train --dry-run --hardware`: operations, memory, exchange, decoding.

Each operation is measured by itself, forward and backward, in the code that networks run, at maps of the sizes that
networks have. On a CPU it finds the caches as in a network: its code is there, since the layers before run the same
one; so is what the operation before it has just written; weights and other maps, such as those that a backward pass
reads again, are not in the caches nearest to the core, and in none where they are large. The sizes are listed here and
have been taken from no network that the predictions are held against (bench/hardware_model.py).
"""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from autovid import distributed
from autovid.costs.machine import Exchange, FamilyRates, MachineProfile, MeasuredOperation
from autovid.costs.operations import FAMILIES, Operation, optimizer_operation, trace
from autovid.kernels.allocator import keep_memory
from autovid.kernels.batch_norm import batch_norm
from autovid.kernels.compute import Compute
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.maps import mean_of_pixels, pointwise_conv3d
from autovid.layers.convolutions import fold, frame_conv3d, unfold
from autovid.measure import Run, device_name, quartiles, seconds, spare_memory, versions
from autovid.run import Progress, write_atomic
from autovid.studies.block_latency import CALLS_IN_A_ROW, in_a_row
from autovid.studies.decoding_speed import measure_decoding

REPEATS = 5
LONG = 0.1  # seconds of an operation that is measured twice alone
GROUP = 24  # cases that take turns
MOST_NUMBERS = 2**23  # in a map
MOST_MACS = 2**32  # of a case on a CPU
MAPS = ((8, 2, 2), (8, 4, 4), (8, 4, 8), (8, 8, 8), (8, 4, 16), (8, 8, 14), (8, 4, 32), (8, 8, 28), (4, 8, 56))
ON_CUDA = 4  # times as many clips
MESSAGE = distributed.GRADIENTS  # bytes
SWEPT = (2**23, 2**26)  # bytes that go through before an operation: by each thread at least, and in all at most
BETWEEN = 16  # operations of the same size that a network computes before it comes back to a map or a weight


class Case(NamedTuple):
    """An operation to measure: a function of tensors of these shapes, the first of which is a map or rows."""

    family: str
    function: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    backward: bool = True


class Pass(NamedTuple):
    """A pass to measure, the bytes that it reads, and what the operation before it would have just written."""

    run: Run
    bytes: int = 0
    fresh: Tensor | None = None


def measure_machine(
    compute: Compute,
    *,
    decoding: bool = True,
    exchange: bool = True,
    some: int = 0,
    progress: Progress | None = None,
) -> MachineProfile:
    """Measure a device in two minutes or so. `some`: only so many cases of each family, to try it out."""
    device = compute.device
    chosen = [case for family in FAMILIES for case in _spread(family, device, some)]
    np.random.default_rng(0).shuffle(chosen)
    shown = progress or Progress(f"profile of {device_name(device)}")
    groups = [chosen[start : start + GROUP] for start in range(0, len(chosen), GROUP)]
    shown.start(len(groups) + 3, 0)
    try:
        operations = _operations(groups, compute, lambda done: shown.update(done, "operations", {}))
        bandwidth = _bandwidth(compute)
        shown.update(len(groups) + 1, "exchange", {})
        exchanged = measure_exchange(compute) if exchange else None
        shown.update(len(groups) + 2, "decoding", {})
        decoded = measure_decoding() if decoding else None
        shown.update(len(groups) + 3, "done", {})
    finally:
        shown.close()
    every = [one for rates in operations.values() for one in (*rates.forward, *rates.backward)]
    devices = torch.cuda.device_count() if device.type == "cuda" else 1
    return MachineProfile(
        hardware=device_name(device),
        source="measured by autovid profile",
        device=device.type,
        precision=compute.precision.train,
        threads=torch.get_num_threads(),
        cores=max(1, os.cpu_count() or 1) / devices,
        memory=spare_memory(device),
        versions=versions(),
        constant=min(one.seconds for one in operations["elementwise"].forward),
        peak=max(one.macs / one.seconds for one in every),
        bandwidth=bandwidth,
        operations=operations,
        exchange=exchanged,
        decoding=decoded,
    )


def write_machine_profile(out: Path, profile: MachineProfile) -> None:
    """Write a profile. Raises RunError where it cannot."""
    write_atomic(out, msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")


def cases(family: str, clips: int = 1, most_macs: float = MOST_MACS) -> Iterator[Case]:
    """Yield the cases of a family; `clips`: times as many as on a CPU."""
    for b, t, h in MAPS:
        size = (b * clips, t, h, h)
        for case in _at(family, *size):
            if _numbers(case) <= MOST_NUMBERS * clips and _work(case) <= most_macs * clips:
                yield case
    if family == "product":
        for rows, wide, out in ((8, 24, 8), (8, 216, 16), (8, 432, 2048), (8, 2048, 400), (64, 512, 400)):
            yield Case(family, F.linear, ((rows * clips, wide), (out, wide)))
    if family == "optimizer":
        for number, width in ((20, 1_000), (100, 1_000), (100, 100_000), (50, 500_000)):
            yield Case(family, _sgd, tuple((width,) for _ in range(3 * number)), backward=False)


def _at(family: str, b: int, t: int, h: int, w: int) -> Iterator[Case]:
    """Yield the cases of a family at a map."""
    one = partial(Case, family)
    if family == "product":
        for i, o in ((12, 24), (24, 54), (54, 24), (48, 108), (64, 64), (216, 96), (64, 256), (256, 64), (512, 512)):
            yield one(pointwise_conv3d, ((b, i, t, h, w), (o, i, 1, 1, 1)))
    elif family == "frames":
        for i, o, k, stride in ((3, 24, 3, 2), (3, 64, 7, 2), (16, 16, 3, 1), (64, 64, 3, 1), (64, 128, 3, 2),
                                (128, 128, 3, 1), (256, 256, 3, 1), (512, 512, 3, 1)):  # fmt: skip
            yield one(partial(frame_conv3d, stride=stride), ((b, i, t, h, w), (o, i, 1, k, k)))
    elif family == "time":
        for i, o in ((16, 16), (64, 64), (128, 128), (256, 256), (512, 512)):
            yield one(_over_time, ((b, i, t, h, w), (o, i, 3, 1)))
    elif family == "cubes":
        for i, o, s in (
            (8, 8, 1),
            (16, 32, 1),
            (64, 64, 1),
            (128, 256, 2),
            (256, 256, 1),
            (512, 512, 1),
            (512, 512, 2),
        ):
            yield one(partial(_cubes, stride=s), ((b, i, t, h, w), (o, i, 3, 3, 3)))
    elif family == "depthwise":
        for c, kernel, s in ((24, (5, 1, 1), 1), (54, (3, 3, 3), 1), (54, (3, 3, 3), 2), (108, (3, 3, 3), 1),
                             (108, (1, 3, 3), 1), (108, (5, 3, 3), 1), (216, (3, 3, 3), 2), (216, (3, 5, 5), 1),
                             (432, (3, 3, 3), 1), (432, (1, 5, 5), 2)):  # fmt: skip
            yield one(partial(depthwise_conv3d, stride=(1, s, s)), ((b, c, t, h, w), (c, 1, *kernel)))
    elif family == "norm":
        for c in (12, 24, 54, 108, 256, 432):
            yield one(_norm, ((b, c, t, h, w), (c,), (c,)))
    elif family in _ON_MAPS:
        for function in _ON_MAPS[family]:
            yield from (one(function, ((b, c, t, h, w),) * _INPUTS.get(function, 1)) for c in (24, 216))


def _over_time(x: Tensor, weight: Tensor) -> Tensor:
    y = F.conv2d(x.flatten(3), weight, None, 1, (1, 0))
    return y.view(*y.shape[:3], *x.shape[3:])


def _cubes(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv3d(x, weight, None, (1, stride, stride), 1)


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return batch_norm(x, torch.zeros_like(bias), torch.ones_like(bias), weight, bias, True, 0.1, 1e-5)


def _shifted(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, 1:], x[:, :, :1]], 2)


def _pooled(x: Tensor) -> Tensor:
    return unfold(F.max_pool2d(fold(x), 3, 2, 1), x.shape[0])


def _sgd(*tensors: Tensor) -> Tensor:
    """Take a fused step: a third of the tensors are weights, then gradients and momentum."""
    number = len(tensors) // 3
    weights, gradients, momentum = (list(tensors[n * number : (n + 1) * number]) for n in range(3))
    torch._fused_sgd_(
        weights, gradients, momentum, weight_decay=1e-4, momentum=0.9, lr=1e-3, dampening=0.0, nesterov=False,
        maximize=False, is_first_step=False,
    )  # fmt: skip
    return weights[0]


_ON_MAPS: dict[str, tuple[Callable[..., Tensor], ...]] = {
    "activation": (F.silu, torch.sigmoid),
    "elementwise": (F.relu, torch.add),
    "copy": (torch.clone, _shifted),
    "reduction": (mean_of_pixels,),
    "pool": (_pooled,),
}
_INPUTS: dict[Callable[..., Tensor], int] = {torch.add: 2}
ONLY_FORWARD = (torch.add, mean_of_pixels, torch.clone)  # whose gradients are other families' operations


def _spread(family: str, device: torch.device, some: int) -> Sequence[Case]:
    clips = ON_CUDA if device.type == "cuda" else 1
    every = sorted(cases(family, clips), key=_work)
    return every[:: max(1, len(every) // some)][:some] if some else every


def _numbers(case: Case) -> int:
    return max(int(np.prod(shape)) for shape in case.shapes)


def _work(case: Case) -> float:
    """Return the MACs of a case, or the numbers that it moves."""
    counted = count_case(case)[0]
    return counted.macs or counted.bytes / 4


def count_case(case: Case) -> tuple[Operation, Operation | None]:
    """Count a case forward, and backward where it has such operations of its family."""
    if case.family == "optimizer":
        return optimizer_operation(sum(int(np.prod(shape)) for shape in case.shapes) // 3), None
    tensors = [torch.empty(shape, device="meta", requires_grad=case.backward) for shape in case.shapes]
    out: list[Tensor] = []
    passes = [trace(lambda: out.append(case.function(*tensors)))]
    if case.backward and case.function not in ONLY_FORWARD:
        passes.append(trace(lambda: torch.autograd.grad(out[0], tensors, torch.empty_like(out[0]))))
    sums = []
    for number, operations in enumerate(passes):
        own = [one for one in operations if one.family == case.family]
        macs, moved, weights = np.sum([(one.macs, one.bytes, one.weights) for one in own], 0).tolist()
        sums.append(Operation(case.family, number == 1, macs, moved, weights))
    return sums[0], (sums[1] if len(sums) > 1 else None)


def _operations(
    groups: Sequence[Sequence[Case]], compute: Compute, show: Callable[[int], object]
) -> dict[str, FamilyRates]:
    """Measure the cases of each group in turns."""
    found: dict[tuple[str, bool], list[MeasuredOperation]] = {}
    for number, group in enumerate(groups, 1):
        counted, passes = [], [_nothing(compute.device)]
        for case in group:
            for operation, one in zip(count_case(case), case_passes(case, compute)):
                if operation is not None:
                    counted.append(operation)
                    passes.append(one)
        with compute.autocast("train"):
            start_of_backward, *times = quickest(passes, compute.device)
        for operation, elapsed in zip(counted, times):
            kept = found.setdefault((operation.family, operation.backward), [])
            own = elapsed - start_of_backward if operation.backward else elapsed
            kept.append(MeasuredOperation(operation.macs, operation.bytes, max(own, elapsed / 4), operation.weights))
        show(number)
    every = {key: tuple(sorted(kept, key=lambda one: (one.macs, one.bytes))) for key, kept in found.items()}
    return {
        family: FamilyRates(forward=every[family, False], backward=every.get((family, True), ())) for family in FAMILIES
    }


def quickest(passes: Sequence[Pass], device: torch.device) -> list[float]:
    """Return the least seconds of each pass, which take turns: others' work on this machine only makes them slower."""
    on_cuda, least = device.type == "cuda", torch.get_num_threads() * SWEPT[0]
    calls, sweep = (CALLS_IN_A_ROW if on_cuda else 1), torch.ones(max(least, SWEPT[1]) // 4)
    best = [math.inf] * len(passes)
    for turn in range(REPEATS):
        for number, one in enumerate(passes):
            if turn > 1 and best[number] >= calls * LONG:
                continue
            if not on_cuda:
                one.run()
                sweep[: max(least, BETWEEN * one.bytes) // 4].mul_(1.0)
                if one.fresh is not None:
                    one.fresh.detach().sum()  # read, so that it is in the cache again
            best[number] = min(best[number], seconds(in_a_row(one.run, calls), device))
    return [max(1e-9, one / calls) for one in best]


def case_passes(case: Case, compute: Compute) -> tuple[Pass, Pass]:
    """Return a forward and a backward pass of a case on the device."""
    tensors = [_noise(shape, compute.device).requires_grad_(case.backward) for shape in case.shapes]
    size = sum(tensor.nbytes for tensor in tensors)
    forward = Pass(partial(case.function, *tensors), size, tensors[0])
    if not case.backward:
        return forward, forward
    with compute.autocast("train"):
        out = case.function(*tensors)
    gradient = torch.randn_like(out)

    def backward() -> None:
        for tensor in tensors:
            tensor.grad = None  # so that each is laid out as its tensor, as in a step of training
        torch.autograd.backward(out, gradient, retain_graph=True, inputs=tensors)

    return forward, Pass(backward, size, gradient)


def _nothing(device: torch.device) -> Pass:
    """Return a backward pass through nothing: autograd's start, which a whole network has once."""
    x = torch.zeros(1, device=device, requires_grad=True)
    return Pass(partial(torch.autograd.grad, x.view(1), x, torch.ones_like(x), retain_graph=True))


def _noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    x = torch.randn(shape, device=device)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=layouts[x.dim()]) if x.dim() in layouts else x


def _bandwidth(compute: Compute) -> float:
    """Return the bytes a second of a copy in memory, read and written."""
    x = torch.zeros(2**24, device=compute.device)
    y = torch.empty_like(x)
    return 2 * x.nbytes / quickest([Pass(lambda: y.copy_(x))], compute.device)[0]


def measure_exchange(compute: Compute) -> Exchange | None:
    """Time sums over two workers of this machine, which listen on loopback alone; None where two GPUs are needed.

    Each has as many threads as this process, and on a CPU also computes beside the other, where the cores are enough.
    """
    device, threads = compute.device, torch.get_num_threads()
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        return None
    with tempfile.TemporaryDirectory(prefix="autovid-") as folder:
        spawn(_worker, (folder, device.type, compute.precision.train, threads), nprocs=2)  # type: ignore[no-untyped-call]
        content = (Path(folder) / "times").read_bytes()
    small, large, slowdown = msgspec.json.decode(content, type=tuple[float, float, float])
    return Exchange(latency=small, bandwidth=MESSAGE / max(1e-9, large - small), slowdown=slowdown)


def _worker(rank: int, folder: str, device: str, precision: str, threads: int) -> None:
    """Be one of two workers that exchange messages; the first writes their times."""
    keep_memory()  # as real workers do
    os.environ |= distributed.local_meeting(2, Path(folder) / "meeting", rank)
    torch.set_num_threads(1)
    times: list[float] = []
    with distributed.process_group():
        for numbers in (2, MESSAGE // 4):
            x = torch.zeros(numbers, device=device)
            each = []
            for _ in range(30):
                start = time.perf_counter()
                distributed.add_([x])
                if device == "cuda":
                    torch.cuda.synchronize()
                each.append(time.perf_counter() - start)
            times.append(quartiles(each[5:])[0])  # others' work on this machine only makes it slower
        several = device == "cpu" and 2 * threads <= (os.cpu_count() or 1)
        times.append(_slowdown(rank, Compute("cpu", precision), threads) if several else 1.0)
    if rank == 0:
        (Path(folder) / "times").write_bytes(msgspec.json.encode(times))


def _slowdown(rank: int, compute: Compute, threads: int) -> float:
    """Return how many times as long as alone rank 0 computes beside another worker, the median over operations."""
    torch.set_num_threads(threads)
    chosen = [sorted(cases(family), key=_work) for family in FAMILIES]
    passes = [one for every in chosen for one in case_passes(every[3 * len(every) // 4], compute)]
    with compute.autocast("train"):
        alone = quickest(passes, compute.device) if rank == 0 else [1.0]
        distributed.mean([0.0])  # the other one waits until here
        beside = quickest(passes, compute.device)
        distributed.mean([0.0])
    return max(1.0, statistics.median(b / a for a, b in zip(alone, beside)))

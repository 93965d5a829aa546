"""The latency of every distinct block of a space, measured once each, as a table of costs (autovid.costs.latency).

A block is measured by itself, as it stands in a network: the same code, layout and precision, behind maps of its size.
Blocks take turns in groups, drawn at random: so each finds the caches full of others' weights and maps, as in a network
(called over and over, blocks of `tiny` are 20 % too fast, and rank networks badly), and a disturbance does not hit one
stage alone. At the end whole networks are measured, drawn from the space: the median of what they take beside the sum
of their blocks is the overhead. All of this is ours.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from autovid.blocks.block import Choice
from autovid.blocks.site import Input, Site, Size
from autovid.costs.latency import LatencyFile, distinct_blocks, latency_table, read_latency_file
from autovid.errors import RunError
from autovid.kernels.compute import DTYPES, Compute
from autovid.measure import Run, Turns, device_name, versions
from autovid.models import build
from autovid.models.folding import fold_norms, folded
from autovid.run import Progress, write_atomic
from autovid.runtimes.sessions import Runtime, check_runtimes, open_module
from autovid.space import Architecture, SearchSpace

REPEATS = 20  # of a block, of which the median counts
WARM_UP = 2
GROUP = 48  # blocks that take turns
CALLS_IN_A_ROW = 10  # calls that one time is of on CUDA, where one alone would time the launch of its kernels
NETWORKS = 8  # whole ones, for the overhead


def measure_blocks(
    spaces: Sequence[SearchSpace],
    out: Path,
    compute: Compute,
    *,
    batch: int = 1,
    repeats: int = REPEATS,
    runtime: Runtime = "torch",
    resume: bool = False,
    progress: Progress | None = None,
) -> LatencyFile:
    """Measure what the file `out` does not have yet of the blocks of `spaces`, all at one input, and write it.

    Saves after every group; a KeyboardInterrupt leaves what is measured in the file, to be gone on with by `resume`.
    The overhead is measured at the end, once, on networks of these spaces.
    Raises RunError where the file is there without `resume`, or was made otherwise, and ConfigError for a `runtime`
    that cannot be used.
    """
    check_runtimes([runtime])
    file = _begin(spaces[0], out, compute, batch, repeats, runtime, resume)
    blocks = distinct_blocks(spaces)
    todo = [key for key in blocks if key not in file.blocks]
    np.random.default_rng(0).shuffle(todo)
    shown = progress or Progress(f"latency of {len(blocks)} blocks on {compute.device}")
    shown.start(len(blocks), len(blocks) - len(todo))
    try:
        for start in range(0, len(todo), GROUP):
            keys = todo[start : start + GROUP]
            runs = [block_run(*blocks[key], compute, batch, runtime) for key in keys]
            times = dict(zip(keys, times_of(runs, compute, repeats, [CALLS_IN_A_ROW] * len(keys))))
            file = msgspec.structs.replace(file, blocks=file.blocks | times)
            _write(out, file)
            shown.update(len(blocks) - len(todo) + start + len(keys), keys[-1], {})
        shown.update(len(blocks), "whole networks", {})
        if file.overhead is None:
            file = msgspec.structs.replace(file, overhead=_overhead(spaces, file, compute))
            _write(out, file)
    finally:
        shown.close()
    return file


def _begin(
    space: SearchSpace, out: Path, compute: Compute, batch: int, repeats: int, runtime: Runtime, resume: bool
) -> LatencyFile:
    at = space.reference
    new = LatencyFile(
        space=space.name,
        frames=at.frames,
        crop=at.crop,
        classes=at.classes,
        batch=batch,
        device=str(compute.device),
        hardware=device_name(compute.device),
        precision=compute.precision.forward,
        threads=torch.get_num_threads(),
        runtime=runtime,
        versions=versions(),
        repeats=repeats,
        blocks={},
    )
    if not out.exists():
        _write(out, new)
        return new
    if not resume:
        raise RunError(f"{out} is there already; go on with --resume, or choose another -o")
    earlier = read_latency_file(out)
    saved = earlier.settings()
    changed = [(key, now) for key, now in new.settings().items() if now != saved[key]]
    if different := [f"{key}: {saved[key]} there, {now} now" for key, now in changed]:
        raise RunError(f"{out} was measured otherwise ({'; '.join(different)}); choose another -o")
    return earlier


def _write(out: Path, file: LatencyFile) -> None:
    write_atomic(out, msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")


def _overhead(spaces: Sequence[SearchSpace], file: LatencyFile, compute: Compute) -> int:
    """Return the time of whole networks beside their blocks, in nanoseconds: the median over some, drawn at random.

    Some blocks take turns with them once more: if these are now slower or faster than when the table was measured, so
    is everything, and the networks' times are brought to the table's pace.
    """
    drawn = [spaces[number % len(spaces)].sample(1, seed=1_000 + number)[0] for number in range(NETWORKS)]
    blocks = distinct_blocks(spaces)
    keys = np.random.default_rng(1).permutation(sorted(blocks))[:GROUP]
    runtime: Runtime = msgspec.convert(file.runtime, Runtime)
    runs = [
        *(network_run(arch, compute, file.batch, runtime) for arch in drawn),
        *(block_run(*blocks[k], compute, file.batch, runtime) for k in keys),
    ]
    times = times_of(runs, compute, file.repeats, [1] * NETWORKS + [CALLS_IN_A_ROW] * len(keys))
    pace = float(np.median([now / max(1, file.blocks[key]) for key, now in zip(keys, times[NETWORKS:])]))
    known = msgspec.structs.replace(file, overhead=0)
    return round(float(np.median([whole / pace - predicted(arch, known) for arch, whole in zip(drawn, times)])))


def predicted(arch: Architecture, file: LatencyFile) -> int:
    """Nanoseconds that the table says of an architecture. Raises ConfigError where it lacks its blocks."""
    return latency_table(arch.as_space(), file).smallest()[0]


def times_of(runs: Sequence[Run], compute: Compute, repeats: int, calls: Sequence[int] = ()) -> list[int]:
    """Time runs in turn: the median of each one's repeats, in nanoseconds. `calls` of each in a row, on CUDA."""
    counts = list(calls) if calls and compute.device.type == "cuda" else [1] * len(runs)
    turns = Turns([in_a_row(run, number) for run, number in zip(runs, counts, strict=True)], compute.device)
    turns.warm_up(WARM_UP)
    for _ in range(repeats):
        turns.one_round()
    return [round(1e9 * turns.quartiles(place)[1] / number) for place, number in enumerate(counts)]


def in_a_row(run: Run, calls: int) -> Run:
    """Return so many calls of a run as one."""

    def several() -> None:
        for _ in range(calls):
            run()

    return run if calls == 1 else several


def network_run(arch: Architecture, compute: Compute, batch: int, runtime: Runtime = "torch") -> Run:
    """Return a forward pass of a whole architecture."""
    torch.manual_seed(0)
    net = folded(build(arch)).to(compute.device)
    x = _clips(batch, 3, Size(arch.reference.frames, arch.reference.crop, arch.reference.crop), compute, torch.float32)
    if runtime != "torch":
        return _elsewhere(net, [x], runtime, compute, arch.hash)

    def forward() -> Tensor:
        with torch.inference_mode(), compute.autocast("forward"):
            out: Tensor = net(x)
        return out

    return forward


def block_run(site: Site, choice: Choice, compute: Compute, batch: int, runtime: Runtime = "torch") -> Run:
    """Return a forward pass of the module at a site for one choice; where it is added to a map, with the addition."""
    torch.manual_seed(0)
    module = site.block.build(site, {name: (value,) for name, value in choice.items()})
    net = module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    net = net.to(compute.device)
    dtype = torch.float32 if site.reads_clip or runtime != "torch" else DTYPES[compute.precision.forward]
    maps = [_example(site, one, choice, compute, batch, dtype) for one in site.inputs]
    net = fold_norms(net, *(x.float() for x in maps), choice=choice)
    if runtime != "torch":
        return _elsewhere(_Chosen(net, choice), maps, runtime, compute, site.name)

    def forward() -> Tensor:
        with torch.inference_mode(), compute.autocast("forward"):
            out: Tensor = net(*maps, choice=choice)
            return out

    return forward


class _Chosen(nn.Module):
    """A block with its choice: exporters take tensors alone."""

    def __init__(self, block: nn.Module, choice: Choice) -> None:
        super().__init__()
        self.block, self.choice = block, choice

    def forward(self, *maps: Tensor) -> Tensor:
        out: Tensor = self.block(*maps, choice=self.choice)
        return out


def _elsewhere(module: nn.Module, maps: Sequence[Tensor], runtime: Runtime, compute: Compute, name: str) -> Run:
    """Return a run of a module on maps in another runtime than torch."""
    contiguous = [x.contiguous().cpu() for x in maps]
    return partial(open_module(module.cpu(), contiguous, runtime, compute, name), contiguous)


def _example(site: Site, one: Input, choice: Choice, compute: Compute, batch: int, dtype: torch.dtype) -> Tensor:
    """Return a map of noise, or a vector, as a site reads it; of a clip the frames that a stream sees."""
    width = site.width_of(one, choice)
    if one.size is None:
        return torch.randn(batch, width, device=compute.device, dtype=dtype)
    step = site.frame_stride
    whole = one.size._replace(frames=one.size.frames * step)
    return _clips(batch, width, whole, compute, dtype)[:, :, ::step]


def _clips(batch: int, channels: int, size: Size, compute: Compute, dtype: torch.dtype) -> Tensor:
    x = torch.randn(batch, channels, *size, device=compute.device, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last_3d)

"""Memory of a forward pass, and the largest batch that fits.

Peak memory is the most that torch's allocator has in use at once, with weights and input: on CUDA by its own account
(torch.cuda.max_memory_allocated), on a CPU by torch's profiler, which sees every allocation of a tensor. The workspace
of a library's kernels, and the reserve of an allocator, are in neither.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from autovid.errors import ConfigError
from autovid.measure.machine import spare_memory
from autovid.measure.timing import Run

MARGIN = 0.5  # of the memory that a CPU's system can spare: what is not counted, and other programs, need some too
STEP = 0.8  # of that memory, which a step may take by count: kernels' workspace and clips read ahead come on top


def peak_memory(run: Run, allocated: int, device: torch.device) -> int:
    """Return the bytes at the peak of a run, with `allocated` bytes of weights and input, which CUDA counts itself."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    with _silent_errors(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    now = peak = 0
    for event in results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return allocated + peak


@contextlib.contextmanager
def _silent_errors() -> Iterator[None]:
    """Silence standard error, to which some versions of the profiler write past Python when they begin and end."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def most_clips(per_clip: int, fixed: int, device: torch.device, most: int) -> int:
    """Return how many clips at once may be tried, at least 1.

    On a CPU, whose system must not swap, as many as half of its spare memory holds; on CUDA, where running out is an
    error that can be caught, `most`.
    """
    if device.type == "cuda":
        return most
    return max(1, min(most, int((MARGIN * spare_memory(device) - fixed) / max(1, per_clip))))


def check_batch(batch: int, clip_bytes: int, device: torch.device) -> None:
    """Raise ConfigError where a CPU's memory does not hold so many clips by themselves."""
    most = most_clips(clip_bytes, 0, device, batch)
    if batch > most:
        raise ConfigError(f"{batch:,} clips at once do not fit into memory, about {most:,} do; give a smaller --batch")


class StepMemory(NamedTuple):
    """Bytes of a step of training, counted from shapes: `fixed` of weights and the like, and those of each clip.

    `clips` of the batch of `batch` are in memory at once, `clips` / `batch` being the same for any batch.
    """

    fixed: int
    per_clip: int
    clips: int
    batch: int

    @property
    def total(self) -> int:
        """Return the bytes of the whole step."""
        return self.fixed + self.clips * self.per_clip

    def sentence(self, device: torch.device) -> str:
        """Say what a step takes, and what is free."""
        return f"a step takes about {gib(self.total)} of memory, and {gib(own_memory(device))} are free"

    def check(self, device: torch.device) -> None:
        """Raise ConfigError where a CPU's memory does not hold the step; on CUDA, running out can be caught."""
        free = own_memory(device)
        if device.type == "cuda" or self.total <= STEP * free:
            return
        most = int((STEP * free - self.fixed) / max(1, self.per_clip)) * self.batch // self.clips
        shared = self.batch // self.clips
        most -= most % shared
        fits = f"--batch {most} fits" if most > 0 else "not even the smallest batch fits: give a smaller --crop"
        raise ConfigError(
            f"a step of {self.batch:,} clips takes about {gib(self.total)} of memory, and {gib(free)} are free; {fits}"
        )


def own_memory(device: torch.device) -> int:
    """Return the spare memory of a device; of a CPU's, the share of this process among the workers of the machine."""
    sharing = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return spare_memory(device) // sharing


def gib(count: int) -> str:
    """Write bytes as "1.5 GiB", or in MiB below one."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def largest_batch(fits: Callable[[int], bool], most: int) -> int:
    """Find the largest batch up to `most` that fits, by doubling and bisection; 0 where none does."""
    good, bad = 0, most + 1
    size = 1
    while good < most and good + 1 < bad:
        if fits(size):
            good = size
        else:
            bad = size
        size = min(2 * good, most) if bad > most else (good + bad) // 2
        if size <= good:
            break
    return good


def out_of_memory(error: Exception) -> bool:
    """Tell whether torch's allocator has refused: a class of its own on CUDA, a sentence on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def fits_on_cuda(run: Callable[[], object]) -> bool:
    """Tell whether a run fits into memory, and release that memory."""
    try:
        run()
        torch.cuda.synchronize()
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()

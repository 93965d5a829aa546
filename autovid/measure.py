"""Measurements of time and memory of functions that it is given, and the machine that they are made on.

Peak memory is the most that the allocator of torch has in use at once, with weights and input: on CUDA by its own
account (torch.cuda.max_memory_allocated), on a CPU by the profiler of torch, which sees every allocation of a tensor.
The workspace of the kernels of a library, and the reserve of an allocator, are in neither.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from autovid import __version__
from autovid.errors import ConfigError
from autovid.kernels.machine import cpu_model

RUNTIMES = ("onnxruntime", "openvino")  # named with the versions where they have been loaded
MARGIN = 0.5  # of the memory that a CPU's system can spare: what is not counted, and other programs, need some too
Run = Callable[[], object]


class StepMemory(NamedTuple):
    """Bytes of a step of training, counted from shapes: `fixed` of weights and the like, and those of each clip.

    With workspace, clips that are read ahead and the reserve of the allocator, a process was measured to grow by 1.7 to
    1.8 times as much.

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

    def check(self, device: torch.device) -> None:
        """Raise ConfigError where a CPU's memory does not hold the step; on CUDA, running out can be caught."""
        free = own_memory(device)
        if device.type == "cuda" or self.total <= MARGIN * free:
            return
        most = int((MARGIN * free - self.fixed) / max(1, self.per_clip)) * self.batch // self.clips
        shared = self.batch // self.clips
        most -= most % shared
        fits = f"--batch {most} fits" if most > 0 else "not even the smallest batch fits: give a smaller --crop"
        raise ConfigError(
            f"a step of {self.batch:,} clips keeps about {gib(self.total)} in memory and takes up to twice as much; "
            f"{gib(free)} are free; {fits}"
        )


class Turns:
    """Times of several runs in turns, (repeats, runs) in seconds: other work of the machine disturbs all alike.

    Every other round goes backwards, so that each run has both neighbours.
    """

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        self.runs, self.device = list(runs), device
        self.rounds: list[list[float]] = []

    def warm_up(self, rounds: int) -> None:
        """Call each without counting."""
        for _ in range(rounds):
            for run in self.runs:
                seconds(run, self.device)

    def one_round(self) -> None:
        """Time each once more. A round that is interrupted does not count."""
        order = list(range(len(self.runs)))
        times = [0.0] * len(self.runs)
        for number in order if len(self.rounds) % 2 == 0 else order[::-1]:
            times[number] = seconds(self.runs[number], self.device)
        self.rounds.append(times)

    def quartiles(self, number: int) -> tuple[float, float, float]:
        """Return first quartile, median and third quartile of a run, in seconds."""
        return quartiles([times[number] for times in self.rounds])

    def ratio(self, number: int) -> float:
        """Return the median over the rounds of a run's time over the first one's in the same round."""
        return float(np.median([times[number] / times[0] for times in self.rounds]))


def hardware() -> str:
    """Describe the machine: CPU model, cores, threads in use, instruction set, GPU if any, and torch's version."""
    threads, isa = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    parts = [cpu_model(), f"{os.cpu_count()} cores, {threads} in use", isa, f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.insert(3, torch.cuda.get_device_name())
    return "; ".join(parts)


def device_name(device: torch.device) -> str:
    """Return the model of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def versions() -> dict[str, str]:
    """Return the versions of software that may change a latency."""
    result = {"autovid": __version__, "torch": str(torch.__version__)}
    if torch.version.cuda:
        result["cuda"] = torch.version.cuda
    loaded = {name: sys.modules[name] for name in RUNTIMES if sys.modules.get(name) is not None}
    return result | {name: str(module.__version__) for name, module in loaded.items()}


def use_threads(threads: int | None, device: torch.device) -> int:
    """Compute with so many threads from now on; None leaves them. Raises ConfigError where it cannot."""
    if threads is not None:
        if device.type != "cpu":
            raise ConfigError(f"--threads are those of a CPU; this is {device}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def spare_memory(device: torch.device) -> int:
    """Return the bytes that are available to the system, or less where a container has a limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    spare = [_meminfo()]
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                spare.append(most - now)
    return max(0, min(spare))


def _meminfo() -> int:
    """Return MemAvailable of Linux; elsewhere half of all memory."""
    file = Path("/proc/meminfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) // 2


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


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


def seconds(run: Run, device: torch.device) -> float:
    """Time one call by the clock; on CUDA by events, from the first kernel to the last with the gaps between them."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            run()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) / 1e3
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(low), float(middle), float(high)

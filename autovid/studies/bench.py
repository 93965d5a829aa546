"""Networks side by side on one machine: size, latency, throughput and memory, each as a ratio to the first.

Networks take turns, so that other work of the machine disturbs all alike. Ctrl-C ends the benchmark and keeps
what is measured.

The cost of a video is that of its views: views x GFLOPs, views x the latency of a batch / its clips, and clips a
second / views. Columns of papers, and the settings for the same column:
- "Searching for Two-Stream Models in Multivariate Space for Video Recognition", Gong et al., 2021, arXiv:2108.12957,
  Table 4: GFLOPs and seconds of 30 views at the LeftCenterRight crop: views 10-lcr.
- "Deep Analysis of CNN-based Spatio-temporal Representations for Action Recognition", Chen et al., 2021,
  arXiv:2010.11757, Table 1: clips a second at the largest batch; with one clip a video (ours), videos a second: views
  center, at crop 256.
- S2DNet, Table 3: milliseconds of a video, 16 at once and one clip each: views center, batch 16.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import torch

from autovid.costs import convention
from autovid.costs.count import count
from autovid.data.views import views_of
from autovid.measure import (
    Turns,
    check_batch,
    device_name,
    fits_on_cuda,
    hardware,
    largest_batch,
    most_clips,
    peak_memory,
    quartiles,
    seconds,
    versions,
)
from autovid.run import Progress
from autovid.space.schema import Reference
from autovid.studies.measured import MeasuredNetwork, try_out

WARM_UP = 10  # rounds before those that count
PASSES = 5  # rounds of a throughput, after one that does not count
MEMORY = {
    "cuda": "torch.cuda.max_memory_allocated",
    "cpu": "tensors of torch's allocator at once, by its profiler, and the weights",
}


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a benchmark. `most` is the largest batch that throughput is tried with; 0: no throughput.

    `views` are those of a video, by name (autovid.data.views).
    """

    views: str = "center"
    batch: int = 1
    repeats: int = 500
    most: int = 256

    @property
    def views_per_video(self) -> int:
        """Views of a video."""
        return views_of(self.views).total


class BenchRow(msgspec.Struct, kw_only=True):
    """The measurements of a network. Times in milliseconds, of `batch` clips at once; None: not measured."""

    name: str
    runtime: str = "torch"
    hash: str
    frames: int
    crop: int
    params: int
    macs: int
    gflops_per_view: float
    gflops_of_views: float
    latency_q1: float | None = None
    latency_median: float | None = None
    latency_q3: float | None = None
    ms_per_video: float | None = None  # median latency of all its views, `batch` at once
    latency_ratio: float | None = None  # median over rounds of the time over the first network's in that round
    repeats: int = 0
    peak_bytes: int | None = None
    largest_batch: int | None = None
    largest_batch_is: str = ""  # what ended it: "memory" or "asked"
    clips_per_second_q1: float | None = None
    clips_per_second: float | None = None  # median over rounds
    clips_per_second_q3: float | None = None
    videos_per_second: float | None = None
    clips_per_second_ratio: float | None = None  # as that of the latency
    convention: str = ""


@dataclass
class Bench:
    """A benchmark, as far as it has come. Raises ConfigError for a batch that memory cannot hold."""

    networks: Sequence[MeasuredNetwork]
    settings: BenchSettings
    compiled: bool = False
    rows: list[BenchRow] = field(default_factory=list)
    finished: bool = False

    def __post_init__(self) -> None:
        for network in self.networks:
            check_batch(self.settings.batch, network.input(1).nbytes, self.device)
        self.rows = [_counted(network, self.settings.views_per_video) for network in self.networks]

    @property
    def device(self) -> torch.device:
        """The device of all networks."""
        return self.networks[0].compute.device

    def about(self) -> dict[str, Any]:
        """Return the conditions of all measurements."""
        return {
            "hardware": hardware(),
            "device": str(self.device),
            "device_name": device_name(self.device),
            "precision": self.networks[0].compute.precision.forward,
            "threads": torch.get_num_threads(),
            "compiled": self.compiled,
            "versions": versions(),
            "memory_is": MEMORY.get(self.device.type, ""),
            "finished": self.finished,
            **msgspec.structs.asdict(self.settings),
            "views_per_video": self.settings.views_per_video,
        }

    def measure(self, progress: Progress, report: Callable[[], None] = lambda: None) -> None:
        """Measure latency of all, memory and largest batch of each, throughput of all, and `report` in between."""
        steps = self.settings.repeats + len(self.rows) * (1 + (2 + PASSES) * bool(self.settings.most))
        done = 0
        progress.start(steps, 0, "warming up")

        def step(text: str) -> None:
            nonlocal done
            done += 1
            progress.update(done, text, {})

        try:
            self._latencies(step)
            report()
            for number, network in enumerate(self.networks):
                if network.runtime == "torch":  # no other one's memory is torch's allocator's
                    self.rows[number].peak_bytes = self._peak(network, self.settings.batch)
                step(f"peak memory, {network.name}")
                if self.settings.most:
                    self._find_largest(number, lambda text: progress.update(done, text, {}))
                    step(f"largest batch, {network.name}")
                report()
            if self.settings.most:
                self._throughputs(step)
            self.finished = True
        finally:
            progress.close()

    def _latencies(self, step: Callable[[str], None]) -> None:
        for network in self.networks:
            try_out(network, self.settings.batch)
        turns = Turns([c.run(c.input(self.settings.batch)) for c in self.networks], self.device)
        turns.warm_up(min(WARM_UP, self.settings.repeats))
        try:
            for _ in range(self.settings.repeats):
                turns.one_round()
                step("latency")
        finally:  # also after an interrupt
            self._take(turns)

    def _take(self, turns: Turns) -> None:
        for number, row in enumerate(self.rows if turns.rounds else []):
            q1, median, q3 = turns.quartiles(number)
            row.latency_q1, row.latency_median, row.latency_q3 = 1e3 * q1, 1e3 * median, 1e3 * q3
            row.latency_ratio, row.repeats = turns.ratio(number), len(turns.rounds)
            row.ms_per_video = row.latency_median * self.settings.views_per_video / self.settings.batch

    def _peak(self, network: MeasuredNetwork, batch: int) -> int:
        x = network.input(batch)
        return peak_memory(network.run_torch(x), network.weights + x.nbytes, self.device)

    def _find_largest(self, number: int, say: Callable[[str], None]) -> None:
        """Find the batch that half of the spare memory holds, counted from one clip and two; on CUDA by trying.

        It is counted in torch, also for another runtime.
        """
        network, row = self.networks[number], self.rows[number]
        one, two = (self._peak(network, batch) for batch in (1, 2))
        per_clip = max(two - one, 1)
        most = most_clips(per_clip, two - 2 * per_clip, self.device, self.settings.most)

        def fits(batch: int) -> bool:
            say(f"largest batch, {network.name}: {batch}")
            if self.device.type != "cuda":
                return batch <= most
            return fits_on_cuda(lambda: network.run(network.input(batch))())

        best = largest_batch(fits, self.settings.most)
        row.largest_batch, row.largest_batch_is = best, "asked" if best == self.settings.most else "memory"

    def _throughputs(self, step: Callable[[str], None]) -> None:
        """Measure each at its largest batch, in turns; one batch at a time is in memory."""
        fitting = [number for number, row in enumerate(self.rows) if row.largest_batch]
        rounds: list[dict[int, float]] = []
        for number in range(1 + PASSES):
            speeds = {}
            for place in fitting:
                network = self.networks[place]
                x = network.input(self.rows[place].largest_batch or 1)
                speeds[place] = len(x) / seconds(network.run(x), self.device)
                step(f"throughput, {network.name}: {len(x)} clips at once")
            if number:  # the first warms up
                rounds.append(speeds)
                self._take_speeds(rounds)

    def _take_speeds(self, rounds: list[dict[int, float]]) -> None:
        """Record the rounds so far, so that an interrupt leaves them."""
        for place in rounds[0]:
            row = self.rows[place]
            row.clips_per_second_q1, row.clips_per_second, row.clips_per_second_q3 = quartiles(
                [speeds[place] for speeds in rounds]
            )
            row.videos_per_second = row.clips_per_second / self.settings.views_per_video
            if 0 in rounds[0]:
                row.clips_per_second_ratio = float(np.median([speeds[place] / speeds[0] for speeds in rounds]))


def _counted(network: MeasuredNetwork, views: int) -> BenchRow:
    total, clip = count(network.plain), network.clip
    return BenchRow(
        name=network.name,
        runtime=network.runtime,
        hash=network.model.hash,
        frames=clip.frames,
        crop=clip.crop,
        params=total.params,
        macs=total.macs,
        gflops_per_view=total.macs / 1e9,
        gflops_of_views=total.macs * views / 1e9,
        convention=convention(Reference.of(clip, network.plain.classes)),
    )

"""Networks side by side on one machine: size, latency, throughput and memory, each as a ratio to the first.

Candidates take turns, so that what the machine does besides hits all alike. Ctrl-C ends the measuring; what is measured
is kept.

A video costs the views that it is seen in: views x GFLOPs, views x the latency of a batch / its clips, and clips a
second / views. What the papers print, and the settings that give the same column:
- "Searching for Two-Stream Models", Table 4: GFLOPs and seconds of 30 views at the LeftCenterRight crop: views 10-lcr.
- "Deep Analysis", Table 1: clips a second at the largest batch; with one clip a video (ours), videos a second: views
  center, at crop 256.
- S2DNet, Table 3: milliseconds of a video, 16 at once and one clip each: views center, batch 16.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import torch

from autovid.costs import convention, count
from autovid.data.views import views_of
from autovid.measure.machine import device_name, hardware, versions
from autovid.measure.memory import check_batch, fits_on_cuda, largest_batch, most_clips, peak_memory
from autovid.measure.timing import Turns, quartiles, seconds
from autovid.run import Progress
from autovid.space.schema import Reference
from autovid.studies.candidates import Candidate, try_out

WARM_UP = 10  # rounds before those that count
PASSES = 5  # rounds of a throughput, after one that does not count
MEMORY = {
    "cuda": "torch.cuda.max_memory_allocated",
    "cpu": "tensors of torch's allocator at once, by its profiler, and the weights",
}


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How it is measured. `most` is the largest batch that throughput is tried with; 0: no throughput.

    `views` are those of a video, by name (autovid.data.views).
    """

    views: str = "center"
    batch: int = 1
    repeats: int = 500
    most: int = 256

    @property
    def views_per_video(self) -> int:
        return views_of(self.views).total


class Figures(msgspec.Struct, kw_only=True):
    """Of one candidate. Times in milliseconds, of `batch` clips at once; None: not measured."""

    name: str
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
    latency_ratio: float | None = None  # median over rounds of the time over the first candidate's in that round
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
    """What was measured, as far as it has come. Raises ConfigError for a batch that memory cannot hold."""

    candidates: Sequence[Candidate]
    settings: BenchSettings
    compiled: bool = False
    figures: list[Figures] = field(default_factory=list)
    finished: bool = False

    def __post_init__(self) -> None:
        for candidate in self.candidates:
            check_batch(self.settings.batch, candidate.input(1).nbytes, self.device)
        self.figures = [_counted(candidate, self.settings.views_per_video) for candidate in self.candidates]

    @property
    def device(self) -> torch.device:
        return self.candidates[0].compute.device

    def about(self) -> dict[str, Any]:
        """The conditions of all figures."""
        return {
            "hardware": hardware(),
            "device": str(self.device),
            "device_name": device_name(self.device),
            "precision": self.candidates[0].compute.precision.forward,
            "threads": torch.get_num_threads(),
            "compiled": self.compiled,
            "versions": versions(),
            "memory_is": MEMORY.get(self.device.type, ""),
            "finished": self.finished,
            **msgspec.structs.asdict(self.settings),
            "views_per_video": self.settings.views_per_video,
        }

    def measure(self, progress: Progress, report: Callable[[], None] = lambda: None) -> None:
        """Latency of all, memory and largest batch of each, throughput of all; `report`: figures have come."""
        steps = self.settings.repeats + len(self.figures) * (1 + (2 + PASSES) * bool(self.settings.most))
        done = 0
        progress.start(steps, 0, "warming up")

        def step(text: str) -> None:
            nonlocal done
            done += 1
            progress.update(done, text, {})

        try:
            self._latencies(step)
            report()
            for number, candidate in enumerate(self.candidates):
                self._memory(number)
                step(f"peak memory, {candidate.name}")
                if self.settings.most:
                    self._find_largest(number, lambda text: progress.update(done, text, {}))
                    step(f"largest batch, {candidate.name}")
                report()
            if self.settings.most:
                self._throughputs(step)
            self.finished = True
        finally:
            progress.close()

    def _latencies(self, step: Callable[[str], None]) -> None:
        for candidate in self.candidates:
            try_out(candidate, self.settings.batch)
        turns = Turns([c.run(c.input(self.settings.batch)) for c in self.candidates], self.device)
        turns.warm_up(min(WARM_UP, self.settings.repeats))
        try:
            for _ in range(self.settings.repeats):
                turns.one_round()
                step("latency")
        finally:  # also of what an interrupt has left
            self._take(turns)

    def _take(self, turns: Turns) -> None:
        for number, found in enumerate(self.figures if turns.rounds else []):
            q1, median, q3 = turns.quartiles(number)
            found.latency_q1, found.latency_median, found.latency_q3 = 1e3 * q1, 1e3 * median, 1e3 * q3
            found.latency_ratio, found.repeats = turns.ratio(number), len(turns.rounds)
            found.ms_per_video = found.latency_median * self.settings.views_per_video / self.settings.batch

    def _memory(self, number: int) -> None:
        self.figures[number].peak_bytes = self._peak(self.candidates[number], self.settings.batch)

    def _peak(self, candidate: Candidate, batch: int) -> int:
        x = candidate.input(batch)
        return peak_memory(candidate.run(x), candidate.weights + x.nbytes, self.device)

    def _find_largest(self, number: int, say: Callable[[str], None]) -> None:
        """That which half of the spare memory holds, counted from one clip and two; on CUDA, that which does not run
        out of it."""
        candidate, found = self.candidates[number], self.figures[number]
        one, two = (self._peak(candidate, batch) for batch in (1, 2))
        per_clip = max(two - one, 1)
        most = most_clips(per_clip, two - 2 * per_clip, self.device, self.settings.most)

        def fits(batch: int) -> bool:
            say(f"largest batch, {candidate.name}: {batch}")
            if self.device.type != "cuda":
                return batch <= most
            return fits_on_cuda(lambda: candidate.run(candidate.input(batch))())

        best = largest_batch(fits, self.settings.most)
        found.largest_batch, found.largest_batch_is = best, "asked" if best == self.settings.most else "memory"

    def _throughputs(self, step: Callable[[str], None]) -> None:
        """Each at its largest batch, taking turns; one batch at a time is in memory."""
        there = [number for number, found in enumerate(self.figures) if found.largest_batch]
        rounds: list[dict[int, float]] = []
        for number in range(1 + PASSES):
            speeds = {}
            for place in there:
                candidate = self.candidates[place]
                x = candidate.input(self.figures[place].largest_batch or 1)
                speeds[place] = len(x) / seconds(candidate.run(x), self.device)
                step(f"throughput, {candidate.name}: {len(x)} clips at once")
            if number:  # the first warms up
                rounds.append(speeds)
                self._take_speeds(rounds)

    def _take_speeds(self, rounds: list[dict[int, float]]) -> None:
        """After each round, so that an interrupt leaves the earlier ones."""
        for place in rounds[0]:
            found = self.figures[place]
            found.clips_per_second_q1, found.clips_per_second, found.clips_per_second_q3 = quartiles(
                [speeds[place] for speeds in rounds]
            )
            found.videos_per_second = found.clips_per_second / self.settings.views_per_video
            if 0 in rounds[0]:
                found.clips_per_second_ratio = float(np.median([speeds[place] / speeds[0] for speeds in rounds]))


def _counted(candidate: Candidate, views: int) -> Figures:
    figures, clip = count(candidate.plain), candidate.clip
    seen = Reference.of(clip, candidate.plain.classes)
    return Figures(
        name=candidate.name,
        hash=candidate.model.hash,
        frames=clip.frames,
        crop=clip.crop,
        params=figures.params,
        macs=figures.macs,
        gflops_per_view=figures.macs / 1e9,
        gflops_of_views=figures.macs * views / 1e9,
        convention=convention(seen),
    )

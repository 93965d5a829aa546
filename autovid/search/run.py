"""One search from start to end, in a run directory: the function behind `autovid search`."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from autovid.data import FaultLog, VideoSet
from autovid.nn.compute import Compute
from autovid.nn.precision import Precision
from autovid.run import Progress, RunDirectory, run_task, write_atomic
from autovid.search.derive import Searched, derive, read_search
from autovid.search.picture import search_curve
from autovid.search.room import check
from autovid.search.settings import SearchSettings
from autovid.search.target import Target
from autovid.search.task import SearchTask
from autovid.space import Architecture, SearchSpace

IMAGE_EVERY = 20  # steps between two pictures of alpha in TensorBoard
CHECKPOINT_EVERY = timedelta(minutes=2)


@dataclass(frozen=True)
class Found:
    """A finished search: its architecture, and where everything is."""

    architecture: Architecture
    searched: Searched
    path: Path
    seconds: float
    faults: int


def search(
    space: SearchSpace,
    videos: VideoSet,
    settings: SearchSettings,
    out: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    resume_command: str = "",
    progress: Progress | None = None,
    checkpoint_every: int | timedelta = CHECKPOINT_EVERY,
) -> Found:
    """Searches `space` on `videos`, or goes on with the search in `out`, and writes out/architecture.yaml.

    Raises CostRangeError at once when the range cannot be met, RunError when `out` is in use or holds another search.
    """
    check(space, Target.parse(settings.flops, space))
    config = {
        "space": space.name,
        "space_sha256": hashlib.sha256(space.text.encode()).hexdigest(),
        "data": videos.name,
        "data_fingerprint": videos.fingerprint,
        "precision": precision,
        "settings": settings,
    }
    with RunDirectory.create_or_resume(out, config, kind="search", resume=resume) as run:
        write_atomic(run.path / "space.yaml", space.text)
        faults = FaultLog(len(videos.train), run.path / "faults.jsonl")
        compute = Compute(device, precision)
        if compute.precision.train == "fp16":  # gradients that are weighted as they come have no one scale
            compute.precision = Precision(forward="fp16", train="fp32")
        task = SearchTask(space, videos, settings, compute, workers=workers, faults=faults)
        outcome = run_task(
            task,
            run,
            seed=settings.seed,
            checkpoint_every=checkpoint_every,
            image_every=IMAGE_EVERY,
            progress=progress,
            resume_command=resume_command,
        )
        searched = read_search(run.path)
        arch = derive(searched)
        write_atomic(run.path / "architecture.yaml", arch.to_yaml())
        picture = search_curve(run.path / "metrics.jsonl", space, settings, int(arch.cost["macs"]) / 1e9)
        write_atomic(run.path / "search.png", picture)
    return Found(arch, searched, run.path, outcome.seconds, len(faults.reasons))

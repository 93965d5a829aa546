"""One search from start to end, in a run directory: the function behind `autovid search`."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from autovid import distributed
from autovid.costs import LatencyRange, convention
from autovid.data import FaultLog, VideoSet
from autovid.data.index import check_halves
from autovid.errors import ConfigError, RunError
from autovid.kernels.compute import Compute
from autovid.kernels.precision import Precision
from autovid.run import Progress, TaskOutcome, run_task, shared_run, write_atomic
from autovid.run.config_file import differences
from autovid.search.derive import LATENCY, Searched, derive, read_search
from autovid.search.feasibility import check
from autovid.search.latency import latency_of_parts
from autovid.search.part_targets import Target
from autovid.search.picture import search_curve
from autovid.search.settings import SearchSettings
from autovid.search.task import SearchTask
from autovid.space import Architecture, SearchSpace, load_space

IMAGE_EVERY = 20  # steps between two pictures of alpha in TensorBoard
CHECKPOINT_EVERY = timedelta(minutes=2)


@dataclass(frozen=True)
class Found:
    """A finished search: its architecture, and where everything is."""

    architecture: Architecture
    searched: Searched
    path: Path
    first: int  # the step that it was taken up at
    seconds: float
    faults: int


def search(
    space: SearchSpace,
    videos: VideoSet,
    settings: SearchSettings,
    out: str | Path,
    *,
    latency: LatencyRange | None = None,
    precision: str = "auto",
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    resume_command: str = "",
    progress: Progress | None = None,
    checkpoint_every: int | timedelta = CHECKPOINT_EVERY,
) -> Found:
    """Searches `space` on `videos`, or goes on with the search in `out`, and writes out/architecture.yaml.

    Workers (autovid.distributed) call it alike; the first writes, and all of them get what was found. Raises
    CostRangeError at once when the ranges cannot be met, RunError when `out` is in use or holds another search.
    """
    target = Target.parse(settings.flops, space)
    check(space, target)
    if latency is not None:
        latency_of_parts(space, target, latency)
    check_halves(videos)
    config = {
        "space": space.name,
        "space_hash": content_hash(space),
        "cost_convention": convention(space.reference),
        "data": videos.name,
        "data_fingerprint": videos.fingerprint,
        "precision": precision,
        "settings": settings,
        **({"latency": latency.record()} if latency else {}),
    }
    distributed.broadcast_from_rank0(lambda: _check_space(Path(out), space))
    compute = Compute(device, precision)
    with shared_run(out, config, kind="search", resume=resume) as run:
        if run.locked and not (run.path / "space.yaml").exists():
            write_atomic(run.path / "space.yaml", space.text)
            run.log(f"costs are {convention(space.reference)}")
        if run.locked and latency is not None and not (run.path / LATENCY).exists():
            write_atomic(run.path / LATENCY, msgspec.json.encode(latency.file))
        faults = FaultLog(len(videos.train), run.path / "faults.jsonl" if run.path.is_dir() else None)
        if compute.precision.train == "fp16":  # gradients that are weighted as they come have no one scale
            compute.precision = Precision(forward="fp16", train="fp32")
        task = SearchTask(space, videos, settings, compute, latency=latency, workers=workers, faults=faults)
        outcome = run_task(
            task,
            run,
            seed=settings.seed,
            checkpoint_every=checkpoint_every,
            image_every=IMAGE_EVERY,
            progress=progress,
            resume_command=resume_command,
        )
        return distributed.broadcast_from_rank0(lambda: _finish(run.path, outcome, len(faults.reasons)))


def _finish(path: Path, outcome: TaskOutcome, faults: int) -> Found:
    """What the search has found, written beside it."""
    searched = read_search(path)
    arch = derive(searched)
    write_atomic(path / "architecture.yaml", arch.to_yaml())
    write_atomic(path / "search.png", search_curve(path / "metrics.jsonl", searched, arch))
    return Found(arch, searched, path, outcome.first, outcome.seconds, faults)


def content_hash(space: SearchSpace) -> str:
    """sha256 of what a space says, whatever its comments and layout."""
    return hashlib.sha256(json.dumps(_content(space), sort_keys=True).encode()).hexdigest()


def _content(space: SearchSpace) -> dict[str, Any]:
    parts = {part.name: part for part in space.parts}
    candidates = {name: list(values) for name, values in space.candidates.items()}
    what = {"network": space.network, "reference": space.reference, "parts": parts, "candidates": candidates}
    found: dict[str, Any] = msgspec.to_builtins(what)
    return found


def _check_space(out: Path, space: SearchSpace) -> None:
    """Raises RunError, with what differs, if `out` holds a search of another space."""
    try:
        theirs = load_space(out / "space.yaml")
    except ConfigError:  # no search there, or not to be read: the run directory says so
        return
    if theirs.name != space.name:
        raise RunError(
            f"{out} searches the space {theirs.name}, not {space.name}; go on with the command that it was started "
            "with, or choose another -o"
        )
    if found := differences(_content(theirs), _content(space)):
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise RunError(f"{out} searches another {space.name}: {'; '.join(found[:3])}{more}; choose another -o")

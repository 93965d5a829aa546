"""One search from start to end, in a run directory: the function behind `autovid search`."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from autovid import distributed
from autovid.costs import convention
from autovid.data import FaultLog, FrameCache, VideoSet
from autovid.data.index import check_for_search
from autovid.errors import ConfigError, CostRangeError, RunError
from autovid.kernels.compute import Compute, Precision
from autovid.kernels.machine import threads
from autovid.run import Progress, RunDirectory, TaskOutcome, run_task, shared_run, write_atomic
from autovid.run.directory import differences
from autovid.search.chance import evidence_against_chance
from autovid.search.choice import EVIDENCE, choose
from autovid.search.constraints import Constraint
from autovid.search.derivation import Searched, derive, read_search
from autovid.search.monitor import search_curve
from autovid.search.plan import check_memory
from autovid.search.settings import SearchSettings
from autovid.search.supernet import Supernet
from autovid.search.task import SearchTask
from autovid.space import Architecture, SearchSpace, load_space

METRICS = "metrics.jsonl"
CHECKPOINT_EVERY = timedelta(minutes=2)


@dataclass(frozen=True)
class SearchResult:
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
    constraints: Sequence[Constraint] = (),
    source: str = "",
    precision: str = "auto",
    device: str = "auto",
    workers: int = 0,
    cache: FrameCache | None = None,
    resume: bool = False,
    resume_command: str = "",
    progress: Progress | None = None,
    checkpoint_every: int | timedelta = CHECKPOINT_EVERY,
) -> SearchResult:
    """Search `space` on `videos`, or go on with the search in `out`, and write out/architecture.yaml.

    `constraints` come from `parse_constraints`, with a range for each part. `source` is what `videos` was opened from,
    for those who open the run later. Workers (autovid.distributed) call it
    alike; the first writes, and all of them get what was found. Raises RunError when `out` is in use or holds another
    search.
    """
    check_for_search(videos, settings.held_out_fraction, settings.seed)
    kept = str(cache or "off")
    norm_clips = settings.norm_clips(distributed.size())
    config = search_config(space, videos, settings, constraints)
    config |= {"precision": precision, "cache": kept, "norm_clips": norm_clips}
    if len({video.path for video in videos.train}) < len(videos.train):
        config["held_out"] = "by file"  # a search of before dealt the parts of a file one by one, and cannot go on
    distributed.broadcast_from_rank0(lambda: check_space(Path(out), space))
    compute = Compute(device, precision)
    check_memory(space, settings, len(videos.classes), compute, constraints)
    own = settings.threads if distributed.size() == 1 else None  # several workers share the cores
    with shared_run(out, config, kind="search", resume=resume) as run, threads(own):
        if run.locked:
            keep_inputs(run, space, constraints)
            run.log(f"decoded frames in memory: {kept}")
        faults = FaultLog(len(videos.train), run.path / "faults.jsonl" if run.path.is_dir() else None)
        if compute.precision.train == "fp16":  # gradients that are weighted as they come have no one scale
            compute.precision = Precision(forward="fp16", train="fp32")
        task = supernet_search(
            space, videos, settings, compute, constraints, workers=workers, faults=faults, cache=cache, source=source
        )
        outcome = run_task(
            task,
            run,
            seed=settings.seed,
            checkpoint_every=checkpoint_every,
            progress=progress,
            resume_command=resume_command,
        )
        _choose(task, videos, run, progress or Progress())
        return distributed.broadcast_from_rank0(lambda: finish(run.path, outcome, len(faults.reasons)))


def _choose(task: SearchTask, videos: VideoSet, run: RunDirectory, progress: Progress) -> None:
    """Choose at the end of a search, and write evidence.json, unless an earlier start has done it."""
    if task.supernet is None or task.settings.choice is None:
        return
    if distributed.broadcast_from_rank0(lambda: (run.path / EVIDENCE).is_file()):
        return
    try:
        with progress.of_phases() as show:
            evidence = choose(task.supernet, task.strategy, task.problem, videos, show)
        evidence = msgspec.structs.replace(evidence, moved_by_cost=task.moved_by_cost)
    except CostRangeError:  # what is derived says so
        return
    if distributed.is_rank0():
        learned = evidence_against_chance(run.path / METRICS, task.steps, task.settings, task.supernet.chance)
        evidence = msgspec.structs.replace(evidence, at_chance=bool(learned.at_chance))
        write_atomic(run.path / EVIDENCE, msgspec.json.format(msgspec.json.encode(evidence)).decode() + "\n")
        for line in evidence.lines():
            run.log(line)


def planned(run: str | Path, resume: bool) -> SearchSettings | None:
    """Return the settings of a search that was planned for a budget, to go on with; None where `run` holds no run.

    Raises RunError, before anything is measured, for a run that is not to be resumed, or was planned without a budget.
    """
    path = Path(run)
    if not (path / "config.yaml").is_file():
        return None
    if not resume:
        raise RunError(f"{path} holds a run already; go on with --resume, or choose another -o")
    directory = RunDirectory.open(path)
    try:
        settings = msgspec.convert(directory.config.get("settings"), SearchSettings)
    except msgspec.ValidationError as error:
        raise RunError(f"{path} is a search of another version of autovid ({error}); search again") from None
    if settings.budget is None:
        command = directory.command()
        raise RunError(
            f"{path} was not planned for a time; go on with the options that it was begun with"
            + (f": {command}" if command else "")
        )
    return settings


def finish(
    path: Path,
    outcome: TaskOutcome,
    faults: int = 0,
    facts: Callable[[Architecture], Mapping[str, Any]] = lambda arch: {},
) -> SearchResult:
    """Derive the architecture of a finished search, and write it and the picture of the search beside it.

    `facts`: what else is known about it, for its provenance.
    """
    searched = read_search(path)
    arch = derive(searched)
    arch = replace(arch, provenance={**arch.provenance, **facts(arch)})
    write_atomic(path / "architecture.yaml", arch.to_yaml())
    write_atomic(path / "search.png", search_curve(path / METRICS, searched, arch))
    return SearchResult(arch, searched, path, outcome.first, outcome.seconds, faults)


def supernet_search(
    space: SearchSpace,
    videos: VideoSet,
    settings: SearchSettings,
    compute: Compute,
    constraints: Sequence[Constraint] = (),
    *,
    workers: int = 0,
    faults: FaultLog | None = None,
    cache: FrameCache | None = None,
    source: str = "",
) -> SearchTask:
    """Make the task of a search with a supernet, which learns from `videos` and scores on others of them."""
    supernet = Supernet(space, videos, settings, compute, workers, faults, cache)
    facts = {"source": source, "classes": list(videos.classes)}
    return SearchTask(space, settings, constraints, supernet=supernet, facts=facts)


def search_config(
    space: SearchSpace, videos: VideoSet | None, settings: SearchSettings, constraints: Sequence[Constraint]
) -> dict[str, Any]:
    """Return the content of config.yaml for a search."""
    data = {} if videos is None else {"data": videos.name, "data_fingerprint": videos.fingerprint}
    return {
        "space": space.name,
        "space_hash": content_hash(space),
        "cost_convention": convention(space.reference),
        **data,
        "settings": settings,
        "constraints": {constraint.cost.option: constraint.record() for constraint in constraints},
    }


def keep_inputs(run: RunDirectory, space: SearchSpace, constraints: Sequence[Constraint]) -> None:
    """Write the space, and the files of costs, into a run directory that lacks them."""
    if not (run.path / "space.yaml").exists():
        write_atomic(run.path / "space.yaml", space.text)
        run.log(f"costs are {convention(space.reference)}")
    for cost in [constraint.cost for constraint in constraints if constraint.cost.file]:
        if not (run.path / cost.file).exists():
            write_atomic(run.path / cost.file, cost.content())


def content_hash(space: SearchSpace) -> str:
    """sha256 of what a space says, whatever its comments and layout."""
    return hashlib.sha256(json.dumps(_content(space), sort_keys=True).encode()).hexdigest()


def _content(space: SearchSpace) -> dict[str, Any]:
    parts = {part.name: part for part in space.parts}
    candidates = {name: list(values) for name, values in space.candidates.items()}
    values = {"network": space.network, "reference": space.reference, "parts": parts, "candidates": candidates}
    content: dict[str, Any] = msgspec.to_builtins(values)
    return content


def check_space(out: Path, space: SearchSpace) -> None:
    """Raise RunError, with what differs, if `out` holds a search of another space."""
    try:
        recorded = load_space(out / "space.yaml")
    except ConfigError:  # no search there, or not to be read: the run directory says so
        return
    if recorded.name != space.name:
        raise RunError(
            f"{out} searches the space {recorded.name}, not {space.name}; go on with the command that it was started "
            "with, or choose another -o"
        )
    if different := differences(_content(recorded), _content(space)):
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise RunError(f"{out} searches another {space.name}: {'; '.join(different[:3])}{more}; choose another -o")

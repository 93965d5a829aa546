"""From a finished (or stopped) search to a frozen architecture."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from autovid.costs import LatencyRange, MacsTable, latency_table, read_latency_file
from autovid.errors import CostRangeError, RunError
from autovid.run import RunDirectory, TaskState
from autovid.run.config_file import recorded_versions
from autovid.search.chance import Chance, Evidence, evidence_against_chance
from autovid.search.part_targets import Target
from autovid.search.settings import SearchSettings
from autovid.solver import CostRange, Limit, most_probable_within
from autovid.solver.cost_range import MILLISECONDS
from autovid.space import Architecture, SearchSpace
from autovid.space.load import load_space
from autovid.space.schema import Value

LATENCY = "latency.json"  # in a run directory: the table of the search
RANGES = ("range", "latency_range", "latency_on", "proven_within")  # of what an architecture was found for


class Searched(msgspec.Struct):
    """What a search has learned: the prior over every decision, and what its parts chose."""

    space: SearchSpace
    settings: SearchSettings
    target: Target
    alpha: dict[str, np.ndarray]
    chosen: dict[str, Value]
    step: int
    latency: LatencyRange | None = None
    versions: dict[str, str] = {}  # of autovid and torch, as far as the run has recorded them
    evidence: Evidence = Evidence()  # whether the supernet is better than chance

    @property
    def finished(self) -> bool:
        return self.step == self.settings.steps

    def log_probs(self, space: SearchSpace) -> list[np.ndarray]:
        """log P of every candidate of a space's decisions; uniform where no part has come to them."""
        return [self._log_prob(d.name, d.candidates) for d in space.decisions]

    def _log_prob(self, name: str, candidates: tuple[Value, ...]) -> np.ndarray:
        everything = self.space.candidates[name]
        alpha = torch.from_numpy(self.alpha.get(name, np.zeros(len(everything)))).double()
        logp = torch.log_softmax(alpha, 0).numpy()
        return logp[[everything.index(candidate) for candidate in candidates]]


def read_search(run: str | Path) -> Searched:
    """Reads a search's run directory. Raises RunError where it is not one, or has no checkpoint yet."""
    path = Path(run)
    directory = RunDirectory.open(path)
    if directory.config.get("kind") != "search":
        raise RunError(f"{path} is not a search but a run of kind {directory.config.get('kind')}")
    checkpoint = directory.latest()
    if checkpoint is None:
        raise RunError(f"{path} has no checkpoint yet; go on with: autovid search ... -o {path} --resume")
    settings = msgspec.convert(directory.config["settings"], SearchSettings)
    space = load_space(path / "space.yaml")
    evidence = evidence_against_chance(path / "metrics.jsonl", checkpoint.step, settings, chance_of(checkpoint.state))
    return Searched(
        space,
        settings,
        Target.parse(settings.flops, space),
        {name: tensor.numpy() for name, tensor in checkpoint.state.search.items()},
        dict(checkpoint.state.info["chosen"]),
        checkpoint.step,
        latency_of(directory),
        recorded_versions(directory.config),
        evidence,
    )


def chance_of(state: TaskState) -> Chance:
    """What a search has recorded; the first runs have only their classes."""
    recorded = state.info.get("chance")
    return Chance(*recorded) if recorded else Chance.uniform(len(state.model["sites.classifier.output.bias"]))


def latency_of(directory: RunDirectory) -> LatencyRange | None:
    """The range of latency that a search was given, with the table that it has kept. Raises ConfigError."""
    record, path = directory.config.get("latency"), directory.path
    if record is None:
        return None
    kept = read_latency_file(path / LATENCY)
    return LatencyRange(kept, MILLISECONDS.parse(record["range"].removesuffix(" ms").replace("–", ":")))


def derive(
    found: Searched, wanted: CostRange | None = None, latency: LatencyRange | None = None, *, no_range: bool = False
) -> Architecture:
    """The most probable architecture inside a range of FLOPs, of latency, or both; with `no_range` of the whole prior.

    With the search's own ranges, what the parts have chosen stands. With others, with none, or where what they have
    chosen leaves no way into the ranges, all decisions are open again, each under the prior that its part has learned.
    One range that is given takes the place of both.
    Raises CostRangeError when the ranges hold nothing.
    """
    own = found.target.final(found.space), found.latency
    asked = own if wanted is None and latency is None and not no_range else (wanted, latency)
    problem: CostRangeError | None = None
    for there in [found.space.fix(found.chosen), found.space] if asked == own else [found.space]:
        table = there.cost_table()
        try:
            best = most_probable_within(limits_of(there, table, *asked), found.log_probs(there))
        except CostRangeError as error:
            problem = error
            continue
        return _described(found, there.architecture(best.choices), best.gap, *asked, no_range)
    assert problem is not None
    raise problem


def limits_of(
    space: SearchSpace, table: MacsTable, flops: CostRange | None, latency: LatencyRange | None
) -> list[Limit]:
    """The limits that ranges are in a space; where none is given, the FLOPs that it reaches."""
    found = [Limit(table, flops)] if flops else []
    found += [latency.of(space)] if latency else []
    return found or [Limit(table, CostRange(table.smallest()[0], table.largest()[0]))]


def _described(
    found: Searched,
    arch: Architecture,
    gap: float,
    wanted: CostRange | None,
    latency: LatencyRange | None,
    no_range: bool,
) -> Architecture:
    settings = found.settings
    log_prob = float(sum(found.log_probs(found.space)[i][j] for i, j in enumerate(found.space.index([arch])[0])))
    how: dict[str, Any] = {
        "by": "autovid search",
        "log_probability": round(log_prob, 6),
        "samples": settings.samples,
        "beta": settings.beta,
        "seed": settings.seed,
        "steps": f"{found.step} of {settings.steps}",
        "proxy": settings.proxy,
        "better_than_chance": found.evidence.better_than_chance,
        "evidence": found.evidence.sentence(),
        **found.versions,
    }
    if wanted is not None:
        how["range"] = str(wanted)
    elif latency is None and (no_range or not found.target.own):
        how["range"] = "none"
    macs = arch.macs()
    cost: dict[str, Any] = {"macs": macs, "gflops": round(macs / 1e9, 6), "params": parameters(arch)}
    if latency is not None:
        how["latency_range"], how["latency_on"] = str(latency), latency.file.about()
        cost["latency_ms"] = round(latency_table(arch.as_space(), latency.file).smallest()[0] / 1e6, 4)
    if gap:
        how["proven_within"] = round(gap, 6)  # no other one's log-probability is larger by more
    return Architecture(arch.space, arch.network, arch.reference, arch.choices, cost, how)


def parameters(arch: Architecture) -> int:
    """Parameters of the network of an architecture, with the reference number of classes."""
    from autovid.models import build

    with torch.device("meta"):
        return sum(p.numel() for p in build(arch).parameters())


def described_scale(
    arch: Architecture, crop: int | None = None, frames: int | None = None, depth: float | None = None
) -> Architecture:
    """`Architecture.scaled` with its figures counted again; its probability is that of what it was scaled from."""
    scaled = arch.scaled(crop, frames, depth)
    macs = scaled.macs()
    cost = {"macs": macs, "gflops": round(macs / 1e9, 6), "params": parameters(scaled)}
    found = {key: value for key, value in scaled.found.items() if key not in RANGES}
    return Architecture(scaled.space, scaled.network, scaled.reference, scaled.choices, cost, found)

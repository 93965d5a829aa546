"""From a finished (or stopped) search to a frozen architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from autovid.costs import COSTS, Cost, Macs, cost_names, make_cost
from autovid.errors import CostRangeError, RunError
from autovid.run import RunDirectory, TaskState
from autovid.run.config_file import recorded_versions
from autovid.search.chance import Chance, Evidence, evidence_against_chance
from autovid.search.constraints import Constraint, final_constraints, or_reach, ranges_text, whole_constraints
from autovid.search.settings import SearchSettings
from autovid.solver import most_probable_within
from autovid.space import Architecture, SearchSpace
from autovid.space.load import load_space
from autovid.space.schema import Value

RANGES = ("range", "conventions", "proven_within")  # of what an architecture was found for


class Searched(msgspec.Struct):
    """What a search has learned: the prior over every decision, and what its parts chose."""

    space: SearchSpace
    settings: SearchSettings
    constraints: tuple[Constraint, ...]
    alpha: dict[str, np.ndarray]
    chosen: dict[str, Value]
    step: int
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
    space = load_space(path / "space.yaml")
    try:
        settings = msgspec.convert(directory.config["settings"], SearchSettings)
        constraints = read_recorded(directory)
    except (KeyError, msgspec.ValidationError) as error:
        raise RunError(f"{path} is a search of another version of autovid ({error}); search again") from None
    evidence = evidence_against_chance(path / "metrics.jsonl", checkpoint.step, settings, chance_of(checkpoint.state))
    return Searched(
        space,
        settings,
        constraints,
        {name: tensor.numpy() for name, tensor in checkpoint.state.search.items()},
        dict(checkpoint.state.info["chosen"]),
        checkpoint.step,
        recorded_versions(directory.config),
        evidence,
    )


def chance_of(state: TaskState) -> Chance:
    """What a search has recorded; the first runs have only their classes."""
    recorded = state.info.get("chance")
    return Chance(*recorded) if recorded else Chance.uniform(len(state.model["sites.classifier.output.bias"]))


def read_recorded(directory: RunDirectory) -> tuple[Constraint, ...]:
    """The constraints of a search, with the files of their costs that its run has kept. Raises ConfigError."""
    names = cost_names()
    return tuple(
        Constraint.from_record(make_cost(names[option], directory.path / COSTS.load(names[option]).file), record)
        for option, record in directory.config["constraints"].items()
    )


def derive(
    searched: Searched, constraints: Sequence[Constraint] | None = None, *, no_range: bool = False
) -> Architecture:
    """The most probable architecture inside all ranges of the finished network; with `no_range` of the whole prior.

    With the search's own constraints (None), what the parts have chosen stands. With others, with none, or where what
    they have chosen leaves no way into the ranges, all decisions are open again, each under the prior that its part
    has learned. Constraints that are given take the place of all of the search's.
    Raises CostRangeError when the ranges hold nothing.
    """
    own = constraints is None and not no_range
    asked = searched.constraints if own else tuple(constraints or ())
    problem: CostRangeError | None = None
    for space in [searched.space.fix(searched.chosen), searched.space] if own else [searched.space]:
        inside = final_constraints(asked, space) if own else whole_constraints(asked, space)
        try:
            best = most_probable_within(or_reach(inside, Macs().table(space)), searched.log_probs(space))
        except CostRangeError as error:
            problem = error
            continue
        return _described(searched, space.architecture(best.choices), best.gap, asked)
    assert problem is not None
    raise problem


def _described(searched: Searched, arch: Architecture, gap: float, asked: Sequence[Constraint]) -> Architecture:
    settings = searched.settings
    log_probs = searched.log_probs(searched.space)
    log_prob = float(sum(log_probs[i][j] for i, j in enumerate(searched.space.index([arch])[0])))
    how: dict[str, Any] = {
        "by": "autovid search",
        "log_probability": round(log_prob, 6),
        "samples": settings.samples,
        "beta": settings.beta,
        "seed": settings.seed,
        "steps": f"{searched.step} of {settings.steps}",
        "proxy": settings.proxy,
        "better_than_chance": searched.evidence.better_than_chance,
        "evidence": searched.evidence.sentence(),
        **searched.versions,
        "range": ranges_text(asked),
    }
    if told := [c.cost.convention(arch.reference) for c in asked if c.cost != Macs()]:
        how["conventions"] = "; ".join(told)
    if gap:
        how["proven_within"] = round(gap, 6)  # no other one's log-probability is larger by more
    cost = figures(arch, [constraint.cost for constraint in asked])
    return Architecture(arch.space, arch.network, arch.reference, arch.choices, cost, how)


def figures(arch: Architecture, costs: Sequence[Cost] = ()) -> dict[str, Any]:
    """The costs of an architecture as its file has them: MACs and parameters, and those asked for."""
    found = {**Macs().figures(arch.macs()), "params": parameters(arch)}
    for cost in costs:
        found |= cost.figures(cost.of(arch))
    return found


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
    found = {key: value for key, value in scaled.found.items() if key not in RANGES}
    return Architecture(scaled.space, scaled.network, scaled.reference, scaled.choices, figures(scaled), found)

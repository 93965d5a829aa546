"""From a finished (or stopped) search to a frozen architecture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from autovid.costs import COSTS, Cost, Macs, cost_names, make_cost
from autovid.errors import CostRangeError, RunError
from autovid.run import RunDirectory, TaskState, advice
from autovid.run.directory import recorded_versions
from autovid.search.chance import Chance, Evidence, evidence_against_chance
from autovid.search.choice import ChoiceEvidence, Judged, read_choice
from autovid.search.constraints import Constraint, final_constraints, or_full_range, ranges_text, whole_constraints
from autovid.search.problem import Choices, whole_problem
from autovid.search.settings import SearchSettings
from autovid.search.strategy import ScoredArchitectures, Strategy, make_strategy
from autovid.solver import most_probable_within
from autovid.space import Architecture, SearchSpace
from autovid.space.load import load_space
from autovid.space.schema import Value

TOLD = ("chosen", "against_random", "moved_by")  # what the evidence of a choice says
BY_TABLE = ("by_table", "costs_by_table", "rank_in_table")  # what a table of trained architectures says
RANGES = ("range", "conventions", "proven_within")  # of what an architecture was found for


class Searched(msgspec.Struct):
    """A search as its run directory has it: what it has learned, what its parts chose, what it has scored."""

    space: SearchSpace
    settings: SearchSettings
    constraints: tuple[Constraint, ...]
    learned: dict[str, np.ndarray]  # log-probabilities of decisions, where the strategy learns a distribution
    chosen: dict[str, Value]
    step: int
    state: dict[str, Any] = {}  # of the strategy
    versions: dict[str, str] = {}  # of autovid and torch, as far as the run has recorded them
    evidence: Evidence = Evidence()  # whether the supernet is better than chance
    choice: ChoiceEvidence | None = None  # what was chosen at its end, and how it compares

    @property
    def finished(self) -> bool:
        return self.step == self.settings.steps

    @property
    def beats_random_ones(self) -> bool:
        """True if the supernet is better than chance, and prefers what was chosen to most random ones, clearly."""
        return self.evidence.better_than_chance and self.choice is not None and self.choice.beats_random_ones

    @property
    def against_chance(self) -> str:
        """Comparison of the supernet with chance, in a sentence; empty where the search had none."""
        return self.evidence.sentence() if self.settings.score == "supernet" else ""

    def log_probs(self, space: SearchSpace) -> list[np.ndarray]:
        """log P of every candidate of a space's decisions; uniform where no part has come to them."""
        return [self._log_prob(d.name, d.candidates) for d in space.decisions]

    def _log_prob(self, name: str, candidates: tuple[Value, ...]) -> np.ndarray:
        everything = self.space.candidates[name]
        uniform = np.full(len(everything), -np.log(len(everything)))
        return self.learned.get(name, uniform)[[everything.index(candidate) for candidate in candidates]]

    def row(self, choices: Mapping[str, Value]) -> list[int]:
        """Return the candidate numbers of an architecture of the space, by its choices."""
        return [d.candidates.index(choices[d.name]) for d in self.space.decisions]

    def rows(self, judged: Sequence[Judged]) -> Choices:
        """Return the candidate numbers of architectures that a choice has judged: (K, D)."""
        rows = [self.row(one.choices) for one in judged]
        return np.array(rows, np.int64).reshape(-1, len(self.space.decisions))

    def strategy(self) -> Strategy:
        """Return the strategy as it stands, over the whole space. Only for one that learns no distribution."""
        problem = whole_problem(
            self.space, final_constraints(self.constraints, self.space), learned=self.learned, seed=self.settings.seed
        )
        strategy = make_strategy(self.settings.strategy, problem, self.settings.options)
        strategy.load(self.state)
        return strategy


def read_search(run: str | Path) -> Searched:
    """Read a search's run directory. Raises RunError where it is not one, or has no checkpoint yet."""
    path = Path(run)
    directory = RunDirectory.open(path)
    if directory.config.get("kind") != "search":
        raise RunError(f"{path} is not a search but a run of kind {directory.config.get('kind')}")
    checkpoint = directory.latest()
    if checkpoint is None:
        raise RunError(f"{path} has saved nothing yet; {advice(directory)}")
    space, settings, constraints = _begun_with(directory)
    evidence = Evidence()
    if settings.score == "supernet":
        chance = chance_of(checkpoint.state)
        evidence = evidence_against_chance(path / "metrics.jsonl", checkpoint.step, settings, chance)
    return Searched(
        space,
        settings,
        constraints,
        {name: tensor.numpy() for name, tensor in checkpoint.state.search.items()},
        dict(checkpoint.state.info["chosen"]),
        checkpoint.step,
        checkpoint.state.optim.get("strategy", {}),
        recorded_versions(directory.config),
        evidence,
        read_choice(path),
    )


def source_of(run: Path) -> str:
    """Return the source of the videos of a search. Raises RunError."""
    checkpoint = RunDirectory.open(run).latest()
    return str(checkpoint.state.info.get("source") or "DATA") if checkpoint else "DATA"


def read_begun(run: str | Path) -> Searched:
    """Read a search that has no checkpoint yet: its space and settings. Raises RunError, ConfigError."""
    return Searched(*_begun_with(RunDirectory.open(Path(run))), {}, {}, 0)


def _begun_with(directory: RunDirectory) -> tuple[SearchSpace, SearchSettings, tuple[Constraint, ...]]:
    try:
        settings = msgspec.convert(directory.config["settings"], SearchSettings)
        return load_space(directory.path / "space.yaml"), settings, read_recorded(directory)
    except (KeyError, msgspec.ValidationError) as error:
        raise RunError(f"{directory.path} is a search of another version of autovid ({error}); search again") from None


def chance_of(state: TaskState) -> Chance:
    """Return the chance that a search has recorded; the first runs have only their classes."""
    recorded = state.info.get("chance")
    return Chance(*recorded) if recorded else Chance.uniform(len(state.model["sites.classifier.output.bias"]))


def read_recorded(directory: RunDirectory) -> tuple[Constraint, ...]:
    """Read the constraints of a search, with the files of their costs that its run has kept. Raises ConfigError."""
    names = cost_names()
    return tuple(
        Constraint.from_record(make_cost(names[option], directory.path / COSTS.load(names[option]).file), record)
        for option, record in directory.config.get("constraints", {}).items()
    )


def derive(
    searched: Searched,
    constraints: Sequence[Constraint] | None = None,
    *,
    no_range: bool = False,
    choice: ChoiceEvidence | str = "",
) -> Architecture:
    """Return the most probable architecture inside all ranges of the finished network, or with `no_range` of all.

    With the search's own constraints (None), what the parts have chosen stands. With others, with none, or where what
    they have chosen leaves no way into the ranges, all decisions are open again, each under the prior that its part
    has learned. Constraints that are given take the place of all of the search's.
    Raises CostRangeError when the ranges hold nothing.
    """
    own = constraints is None and not no_range
    asked = searched.constraints if own else tuple(constraints or ())
    choice = searched.choice or "" if own else choice
    if isinstance(choice, ChoiceEvidence):
        arch = searched.space.architecture(searched.row(choice.chosen.choices))
        return described(searched, arch, 0.0, asked, choice)
    if not searched.learned:
        rng = np.random.default_rng(searched.settings.seed)
        limits = (final_constraints if own else whole_constraints)(asked, searched.space)
        row = searched.strategy().candidates(1, limits, rng)[0]
        return described(searched, searched.space.architecture(row), 0.0, asked, choice)
    problem: CostRangeError | None = None
    for space in [searched.space.fix(searched.chosen), searched.space] if own else [searched.space]:
        inside = final_constraints(asked, space) if own else whole_constraints(asked, space)
        try:
            best = most_probable_within(or_full_range(inside, Macs(), space), searched.log_probs(space))
        except CostRangeError as error:
            problem = error
            continue
        return described(searched, space.architecture(best.choices), best.gap, asked, choice)
    assert problem is not None
    raise problem


def described(
    searched: Searched, arch: Architecture, gap: float, asked: Sequence[Constraint], choice: ChoiceEvidence | str
) -> Architecture:
    """Return an architecture with its figures and with how it came about; `choice`: the evidence for it, in words."""
    settings = searched.settings
    how: dict[str, Any] = {
        "by": "autovid search",
        "strategy": settings.strategy,
        "score": settings.score,
        **_judgement(searched, arch),
        **settings.options,
        "seed": settings.seed,
        "steps": f"{searched.step} of {settings.steps}",
        "proxy": settings.proxy,
        **_evidence(searched),
        **_told(choice),
        **searched.versions,
        "range": ranges_text(asked),
    }
    if told := [c.cost.convention(arch.reference) for c in asked if c.cost != Macs()]:
        how["conventions"] = "; ".join(told)
    if gap:
        how["proven_within"] = round(gap, 6)  # no other one's log-probability is larger by more
    cost = figures(arch, [constraint.cost for constraint in asked])
    return Architecture(arch.space, arch.network, arch.reference, arch.choices, cost, how)


def _told(choice: ChoiceEvidence | str) -> dict[str, str]:
    """Return the lines on a choice, or on why there was none."""
    if isinstance(choice, str):
        return {TOLD[0]: choice} if choice else {}
    return choice.said()


def _evidence(searched: Searched) -> dict[str, Any]:
    """Return how the supernet compares with chance, where there is one."""
    if searched.settings.score != "supernet":
        return {}
    evidence = searched.evidence
    return {"better_than_chance": evidence.better_than_chance, "evidence": evidence.sentence()}


def _judgement(searched: Searched, arch: Architecture) -> dict[str, Any]:
    """Return how probable an architecture is, or how it was scored."""
    row = searched.space.index([arch])[0]
    if searched.learned:
        log_probs = searched.log_probs(searched.space)
        return {"log_probability": round(float(sum(log_probs[i][j] for i, j in enumerate(row))), 6)}
    if "scored" not in searched.state:  # a strategy that keeps its scores in another way
        return {}
    scored = ScoredArchitectures(whole_problem(searched.space))
    scored.load(searched.state["scored"])
    at = scored.rows.index(tuple(row.tolist())) if tuple(row.tolist()) in scored.rows else None
    return {"scored": "no"} if at is None else {"log_likelihood": round(scored.scores[at], 6)}


def figures(arch: Architecture, costs: Sequence[Cost] = ()) -> dict[str, Any]:
    """Return the costs of an architecture as its file has them: MACs and parameters, and those asked for."""
    values = {**Macs().figures(arch.macs()), "params": parameters(arch)}
    for cost in costs:
        values |= cost.figures(cost.of(arch))
    return values


def parameters(arch: Architecture) -> int:
    """Count the parameters of the network of an architecture, with the reference number of classes."""
    from autovid.models import build

    with torch.device("meta"):
        return sum(p.numel() for p in build(arch).parameters())


def described_scale(
    arch: Architecture, crop: int | None = None, frames: int | None = None, depth: float | None = None
) -> Architecture:
    """`Architecture.scaled` with its figures counted again; its probability is that of what it was scaled from."""
    scaled = arch.scaled(crop, frames, depth)
    provenance = {key: value for key, value in scaled.provenance.items() if key not in (*RANGES, *BY_TABLE)}
    return Architecture(scaled.space, scaled.network, scaled.reference, scaled.choices, figures(scaled), provenance)

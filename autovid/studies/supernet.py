"""The supernet of a finished search, for studies: as it was at the end of a part, and for choosing in other ranges.

A part draws its own architectures: what earlier parts chose is fixed in them, and what later ones decide is left out
("skip", or streams that are not there). At its end the weights can speak for these architectures alone, so these are
what is ranked: the very networks are trained from scratch. The joint phase draws from the whole space.
"""

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from autovid.data import FrameCache, VideoSet
from autovid.data.frame_cache import choose_cache
from autovid.errors import ConfigError, DataError, RunError
from autovid.kernels.compute import Compute
from autovid.kernels.machine import threads
from autovid.models import SearchNetwork, build_space, inherit
from autovid.run import RunDirectory
from autovid.search import Constraint, Searched, derive, read_search
from autovid.search.budget import choice_within
from autovid.search.choice import ChoiceEvidence, Show, choose
from autovid.search.constraints import PartConstraint, drawable, final_constraints, part_constraints, whole_constraints
from autovid.search.problem import Choices, Problem, whole_problem
from autovid.search.settings import ChoiceSettings
from autovid.search.strategy import SUPERNET, make_strategy
from autovid.search.supernet import Supernet
from autovid.space import Architecture, SearchSpace
from autovid.space.layout import is_searched_in
from autovid.space.schema import JOINT
from autovid.studies.tabular import add_results
from autovid.train.accuracy import evaluate_network
from autovid.train.inherited import calibrate, clip_of, open_supernet_weights


@dataclass(frozen=True)
class PartSupernet:
    """The supernet at the end of a part: the part's space and constraints (those that can be met together), weights."""

    searched: Searched
    part: str
    space: SearchSpace
    constraints: list[PartConstraint]
    net: SearchNetwork
    fingerprint: str  # of its training data
    source: str = "synthetic"  # which that was opened from

    def accuracy(
        self,
        arch: Architecture,
        videos: VideoSet,
        compute: Compute,
        calibrated: bool,
        cache: FrameCache | None = None,
    ) -> float:
        """Return top-1 on val, centre view, in percent, of an architecture with the supernet's weights.

        `calibrated`: its norms' statistics are its own, taken anew on training clips; else the supernet's, which are
        averages over the architectures that were drawn.
        """
        net = build_space(arch.as_space(), self.net.classes)
        inherit(net, self.net)
        net = net.to(compute.device)
        settings = self.searched.settings
        if calibrated:
            calibrate(net, settings, videos, compute, cache)
        clip = clip_of(settings)
        return evaluate_network(net, clip, videos.val, videos.root, "center", compute, cache=cache).top1


def open_supernet(run: Path, part: str | None = None) -> PartSupernet:
    """Open the supernet at the end of a part, by default of the one with the most decisions.

    Raises ConfigError, RunError.
    """
    searched = read_search(run)
    space, directory = searched.space, RunDirectory.open(run)
    names = [p.name for p in searched.settings.parts]
    if part is not None and part not in names:
        raise ConfigError(f"--part {part}: there is no such part; give one of {', '.join(names)}")
    decided = [sum(is_searched_in(p, decision.name) for decision in space.decisions) for p in space.parts]
    decided += [len(space.decisions)] * (len(names) - len(space.parts))
    number = decided.index(max(decided)) if part is None else names.index(part)
    end = searched.settings.end(number)
    if end not in directory.steps():
        raise RunError(f"{run} has not come to the end of part {names[number]} (step {end}); go on with its search")
    state = directory.load(end).state
    net = build_space(space, int(state.model["sites.classifier.output.weight"].shape[0]))
    net.load_state_dict(state.model)
    fingerprint = str(directory.config["data_fingerprint"])
    if names[number] == JOINT:
        part_space, inside = space, final_constraints(searched.constraints, space)
    else:
        part_space = space.part_space(number, state.info["chosen"])
        inside = part_constraints(searched.constraints, number, space, part_space)
    source = str(state.info.get("source") or "synthetic")
    return PartSupernet(searched, names[number], part_space, drawable(inside), net, fingerprint, source)


def choose_again(
    path: Path,
    searched: Searched,
    constraints: Sequence[Constraint],
    *,
    data: str | None = None,
    seconds: float = 120.0,
    device: str = "auto",
    show: Show = lambda phase, done, total: None,
) -> ChoiceEvidence | str:
    """Race candidates inside other ranges, in about `seconds`, and the best of the search's own race among them.

    Return the evidence, or why nothing was scored. Raises CostRangeError where the ranges hold nothing, DataError for
    `data` that cannot be read.
    """
    settings = searched.settings
    if settings.score != "supernet" or settings.choice is None:
        return "not scored: the search has no supernet that raced candidates"
    if reason := _outside(constraints, searched):
        return reason
    try:
        weights = open_supernet_weights(path)
        videos = weights.open_videos(data)
    except DataError as error:
        if data is not None:
            raise
        return f"not scored: {error}"
    compute = Compute(device, RunDirectory.open(path).config.get("precision", "auto"))
    frames = choose_cache("auto", (*videos.train, *videos.val), videos.root, say=lambda _: None)
    with (
        frames or nullcontext(),
        threads(settings.threads),
        closing(Supernet(searched.space, videos, settings, compute, 0, None, frames, weights.by_file)) as supernet,
    ):
        latest = RunDirectory.open(path).latest()
        assert latest is not None  # else there was nothing to read
        supernet.net.load_state_dict(latest.state.model)
        limits = whole_constraints(constraints, searched.space)
        problem = whole_problem(searched.space, limits, learned=searched.learned, seed=settings.seed)
        strategy = make_strategy(settings.strategy, problem, settings.options)
        if not searched.learned:
            strategy.load(searched.state)
        start = time.perf_counter()
        supernet.score(searched.space, problem.sample(1, np.random.default_rng(settings.seed)))
        clip = (time.perf_counter() - start) / settings.batch
        supernet.choice = choice_within(seconds / clip, settings.choice, supernet.held_out, len(videos.val))
        evidence = choose(supernet, strategy, problem, videos, show, _best_known(searched, problem, supernet.choice))
        return msgspec.structs.replace(evidence, at_chance=bool(searched.evidence.at_chance))


def _best_known(searched: Searched, problem: Problem, settings: ChoiceSettings) -> Choices:
    """Return what came first in the search's own race and lies inside the problem's ranges, the best first: (K, D).

    They are half of the candidates at most; the others are the strategy's, as in the search.
    """
    best = (searched.choice.chosen, *searched.choice.next_best) if searched.choice else ()  # it may have been stopped
    rows = searched.rows(best)
    return rows[problem.inside(rows)][: settings.candidates // 2]


def derive_again(
    path: Path,
    searched: Searched,
    constraints: Sequence[Constraint] | None = None,
    *,
    no_range: bool = False,
    data: str | None = None,
    seconds: float = 120.0,
    device: str = "auto",
    show: Show = lambda phase, done, total: None,
) -> Architecture:
    """Derive an architecture of the search in `path`; inside `constraints` of its own it is chosen anew.

    Raises what `choose_again` and `derive` raise.
    """
    if not constraints:
        own = () if no_range else searched.constraints
        unscored = _outside((), searched) if no_range and searched.settings.score == SUPERNET else ""
        return add_results(path, searched, derive(searched, None, no_range=no_range, choice=unscored), own)
    choice = choose_again(path, searched, constraints, data=data, seconds=seconds, device=device, show=show)
    return add_results(path, searched, derive(searched, constraints, choice=choice), constraints)


def _outside(constraints: Sequence[Constraint], searched: Searched) -> str:
    """Say where ranges reach outside of what the supernet has learned; empty where they do not."""
    asked = {constraint.cost: constraint.final(searched.space) for constraint in constraints}
    for constraint in searched.constraints:
        known, own, say = constraint.final(searched.space), asked.get(constraint.cost), constraint.cost.quantity.say
        if known is None or (own is not None and known.low <= own.low and own.high <= known.high):
            continue
        learned = f"not scored: the supernet has learned {say(*known)}"
        if own is None:
            return f"{learned} alone; give --{constraint.cost.option} inside that, too"
        return f"{learned}, and {say(*own)} reach beyond"
    return ""

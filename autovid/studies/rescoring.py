"""Choosing again for other ranges, with the supernet of a finished search and the videos that it has learned from."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from autovid.errors import DataError
from autovid.kernels.compute import Compute
from autovid.run import RunDirectory
from autovid.search import Constraint, Searched
from autovid.search.budget import choice_within
from autovid.search.choice import ChoiceEvidence, Show, choose
from autovid.search.constraints import whole_constraints
from autovid.search.problem import whole_problem
from autovid.search.strategy import make_strategy
from autovid.search.supernet import Supernet
from autovid.train.inherited import open_supernet_weights


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
    """Race candidates inside other ranges, in about `seconds`; return the evidence, or why nothing was scored.

    Raises CostRangeError where the ranges hold nothing, DataError for `data` that cannot be read.
    """
    settings = searched.settings
    if settings.score != "supernet" or settings.choice is None:
        return "not scored: the search has raced no candidates either"
    for constraint in constraints:
        if reason := _outside(constraint, searched):
            return reason
    try:
        videos = open_supernet_weights(path).open_videos(data)
    except DataError as error:
        if data is not None:
            raise
        return f"not scored: {error}"
    compute = Compute(device, RunDirectory.open(path).config.get("precision", "auto"))
    with closing(Supernet(searched.space, videos, settings, compute, 0, None)) as supernet:
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
        supernet.choice = choice_within(seconds / clip, settings.choice)
        return choose(supernet, strategy, problem, videos, show)


def _outside(constraint: Constraint, searched: Searched) -> str:
    """Say where a range lies outside of what the supernet has learned; empty where it does not."""
    asked = constraint.final(searched.space)
    known = next((one.final(searched.space) for one in searched.constraints if one.cost == constraint.cost), None)
    if known is None or asked is None or (known.low <= asked.low and asked.high <= known.high):
        return ""
    return (
        f"not scored: the supernet has learned {constraint.cost.quantity.say(*known)}, and "
        f"{constraint.cost.quantity.say(*asked)} reach beyond"
    )

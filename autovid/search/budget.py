"""Dividing a time between the supernet, the strategy's scores and the choice. Ours.

A few updates and passes of every part are measured; then the plan is made, once. It stands in config.yaml, and no clock
has a say in it from then on: a resumed search, or the same one again, does the same steps.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from autovid import distributed
from autovid.data import FrameCache, VideoSet, hold_out
from autovid.data.index import check_for_search
from autovid.errors import ConfigError
from autovid.kernels import machine
from autovid.kernels.compute import Compute
from autovid.search.choice import passed_clips
from autovid.search.constraints import Constraint, final_constraints
from autovid.search.feasibility import Feasibility
from autovid.search.plan import check_memory
from autovid.search.problem import Choices, Problem, part_problem, whole_problem
from autovid.search.settings import ChoiceSettings, PartSettings, SearchSettings
from autovid.search.strategy import strategy_settings, takes
from autovid.search.supernet import HELD_OUT, WEIGHTS, Supernet
from autovid.search.task import AHEAD
from autovid.space import SearchSpace
from autovid.space.schema import JOINT

SCORING, CHOOSING, REST = 0.08, 0.25, 0.05  # shares of the time; the choice may take less. What is left: learning.
ROUNDS = 0.3  # share for the rounds of a strategy that scores after the updates, at most
CLEARLY = 0.9  # of one thread's time: what all threads may take to be preferred; they get in the way of other programs
LONGER = 1.2  # an update in the search, with its records and other architectures, than one that is measured
COMPARED = 3  # updates that one thread and all of them are compared by
TRIALS = 6  # updates of a part that are measured, after a first one; one in a part with less than a tenth of all
FEWEST = 8  # updates of a part
CANDIDATES = 64


class Rates(NamedTuple):
    """Seconds of an update of the weights in each part, and of a forward pass of one clip.

    `threads`: how many computed, if it was asked how many are the fastest.
    """

    updates: tuple[float, ...]
    clip: float
    threads: int | None = None

    def update(self, parts: Sequence[PartSettings]) -> float:
        """Return the seconds of a mean update: parts have their shares of the updates."""
        total = sum(part.steps for part in parts)
        return sum(part.steps / total * rate for part, rate in zip(parts, self.updates))


def budget_of(
    budget: float | None, recipe: str | None, steps: object, epochs: object, embedded: bool, planned: object = None
) -> float | None:
    """Return the seconds of a search; None where its length is given otherwise. Raises ConfigError.

    Where nothing is given it takes 10 minutes, or an hour on videos of one's own (not `embedded`). `planned`: what is
    given of that which a budget plans.
    """
    if budget is not None and (recipe == "full" or steps or epochs):
        raise ConfigError(
            "--budget plans steps by a clock, and --recipe full, --steps and --epochs give them; leave one of them out"
        )
    if budget is None and (recipe or steps or epochs):
        return None
    if planned:
        usual = "" if budget else " (the usual one here, as no length is given)"
        raise ConfigError(
            f"a budget{usual} plans --alpha-every and --set choice.KEY; leave them out, or give --recipe proxy"
        )
    return budget or (600.0 if embedded else 3600.0)


def within_budget(
    space: SearchSpace,
    videos: VideoSet,
    settings: SearchSettings,
    seconds: float,
    compute: Compute,
    constraints: Sequence[Constraint] = (),
    *,
    workers: int = 0,
    cache: FrameCache | None = None,
    threads: int = 0,
    began: float | None = None,
) -> SearchSettings:
    """Measure, and return settings that take about `seconds`. Raises ConfigError where the time is too short.

    `began`: when the seconds began, by `time.monotonic()`; by default now. What has gone by then is not planned.
    On a CPU, where the settings say nothing of threads, one thread is measured and all of them. All are taken where
    they are clearly faster (`SearchSettings.threads`).
    `threads`: those that one process has, where a second process was started. Then one process is measured, and both
    (autovid.distributed), which take the architectures of an update side by side. The settings are for what is faster
    (`SearchSettings.processes`).
    """
    began = time.monotonic() if began is None else began
    check_memory(space, settings, len(videos.classes), compute, constraints)

    def spent() -> float:
        return distributed.broadcast_from_rank0(lambda: time.monotonic() - began)

    def rates_of(settings: SearchSettings, most: int = 0) -> Rates:
        return measure(space, videos, settings, compute, constraints, workers=workers, cache=cache, threads=most)

    def plan(settings: SearchSettings, rates: Rates) -> SearchSettings:
        held_out = len(hold_out(videos.train, settings.held_out_fraction, settings.seed)[HELD_OUT])
        return plan_budget(settings, rates, seconds, spent(), held_out, len(videos.val))

    most = 0 if settings.threads or compute.device.type != "cpu" else threads or torch.get_num_threads()
    if not threads:
        own = distributed.size() == 1
        with machine.threads(settings.threads if own else None):
            rates = rates_of(settings, most if own else 0)
        return plan(msgspec.structs.replace(settings, threads=rates.threads or settings.threads), rates)

    def of_one() -> Rates:
        with distributed.alone(settings.threads or threads):
            return rates_of(settings, most)

    alone, shared = distributed.broadcast_from_rank0(of_one), rates_of(settings)
    if shared.update(settings.parts) < alone.update(settings.parts):
        return plan(msgspec.structs.replace(settings, processes=distributed.size()), shared)
    return plan(msgspec.structs.replace(settings, processes=1, threads=alone.threads or settings.threads), alone)


def plan_budget(
    settings: SearchSettings,
    rates: Rates,
    seconds: float,
    spent: float = 0.0,
    held_out: float = math.inf,
    val: float = math.inf,
) -> SearchSettings:
    """Return settings that take about `seconds`, of which `spent` have gone. Parts have their shares of the updates.

    `held_out` and `val`: how many clips there are to choose by. Raises ConfigError where the time is too short.
    """
    total = sum(part.steps for part in settings.parts)
    each, fewest = LONGER * rates.update(settings.parts), FEWEST * sum(part.steps > 0 for part in settings.parts)

    def planned(left: float) -> tuple[SearchSettings, ChoiceSettings, float]:
        """Return the settings and the choice of so many seconds, and the updates that these leave time for."""
        choice = choice_within(CHOOSING * left / rates.clip, held_out=held_out, val=val)
        choosing = passed_clips(choice, held_out, val) * rates.clip
        with_rounds, scoring = _with_rounds(settings, ROUNDS * left, rates.clip, held_out)
        share = 1 - REST if scoring else 1 - REST - SCORING  # without the scores during the updates
        return with_rounds, choice, (share * left - scoring - choosing) / each

    left = max(0.0, seconds - spent)
    settings, choice, updates = planned(left)
    if updates < fewest:
        least = max(left, 1.0)
        while planned(least)[2] < fewest:
            least *= 1.05
        raise ConfigError(
            f"a budget of {seconds:.0f} s is too short for this search; give {math.ceil(spent + least)} s or more"
        )
    parts = [_scaled(part, updates / total) for part in settings.parts]
    samples = settings.options.get("most_samples", 1)
    scores = samples * settings.batch * rates.clip
    alpha_every = max(1, round(scores * sum(part.steps for part in parts) / (SCORING * left)))
    changes = {"parts": tuple(parts), "choice": choice, "budget": seconds}
    return msgspec.structs.replace(settings, alpha_every=alpha_every, **changes)


def _with_rounds(
    settings: SearchSettings, seconds: float, clip: float, held_out: float
) -> tuple[SearchSettings, float]:
    """Return settings whose rounds after the updates take at most `seconds`, if fewer can be; and what they take."""
    last = settings.parts[-1]
    if not last.rounds:
        return settings, 0.0
    asked = getattr(strategy_settings(settings.strategy, settings.options), "batch", 1)
    each = asked * min(settings.score_clips, held_out) * clip
    if not takes(settings.strategy, "rounds"):
        return settings, last.rounds * each
    rounds = max(1, min(last.rounds, int(seconds / each)))
    parts = (*settings.parts[:-1], msgspec.structs.replace(last, rounds=rounds))
    options = {**settings.options, "rounds": rounds}
    return msgspec.structs.replace(settings, parts=parts, options=options), rounds * each


def _scaled(part: PartSettings, factor: float) -> PartSettings:
    steps = max(FEWEST, round(part.steps * factor)) if part.steps else 0
    return msgspec.structs.replace(part, steps=steps, warmup=round(part.warmup / max(1, part.steps) * steps))


def choice_within(
    clips: float, most: ChoiceSettings | None = None, held_out: float = math.inf, val: float = math.inf
) -> ChoiceSettings:
    """Return the largest choice that passes so many clips; 64 random architectures stay, on fewer clips if need be.

    `most`: taken where that is less. `held_out` and `val`: how many clips there are to choose by.
    """
    if most is not None and passed_clips(most, held_out, val) <= clips:
        return most
    for candidates, val_clips, first, calibration in (
        (CANDIDATES, 2048, 256, 256), (CANDIDATES, 1024, 128, 128), (CANDIDATES, 512, 128, 128), (32, 256, 128, 64),
        (32, 128, 64, 64), (16, 128, 64, 32), (16, 64, 32, 32),
    ):  # fmt: skip
        choice = ChoiceSettings(candidates, first, 64, val_clips, calibration)
        if passed_clips(choice, held_out, val) <= clips:
            break
    return choice


def measure(
    space: SearchSpace,
    videos: VideoSet,
    settings: SearchSettings,
    compute: Compute,
    constraints: Sequence[Constraint] = (),
    *,
    workers: int = 0,
    cache: FrameCache | None = None,
    threads: int = 0,
) -> Rates:
    """Time updates and forward passes of every part with a supernet that is thrown away; all workers get rank 0's.

    A part with few of the updates is timed by one, so that measuring takes little of the time. With several `threads`,
    one thread is compared with all of them first, and the faster number is timed.
    """
    check_for_search(videos, settings.held_out_fraction, settings.seed)
    supernet = Supernet(space, videos, settings, compute, workers, None, cache)
    rng, updates, passes = np.random.default_rng(settings.seed), [], []
    feasibility, total = Feasibility(space, constraints), sum(part.steps for part in settings.parts)
    for clips in (WEIGHTS, HELD_OUT):  # into the cache: most of a search's frames come from there
        for _ in supernet.batches(clips, 0, 1 + TRIALS):
            pass
    number = settings.archs_per_update or 1

    def problem_of(at: int) -> Problem:
        if settings.parts[at].name == JOINT:
            return whole_problem(space, final_constraints(constraints, space))
        return part_problem(feasibility, at, space.part_space(at, {}))

    fastest = None
    if threads > 1:
        last = problem_of(len(settings.parts) - 1)
        fastest = faster_threads(supernet, last, last.sample(number, rng), threads)
    with machine.threads(fastest):
        for at, part in enumerate(settings.parts):
            problem = problem_of(at)
            supernet.begin_part(part.lr)
            start = time.perf_counter()
            ahead = problem.sample(AHEAD, rng)
            drawing = number * (time.perf_counter() - start) / AHEAD  # in a narrow range that takes its time, too
            seconds, trials = [], TRIALS if part.steps >= total / 10 else 1
            for step in range(1 + trials):
                supernet.begin_step(step, 1 + trials)
                start = time.perf_counter()
                rows = ahead.take(range(step * number, (step + 1) * number), axis=0, mode="wrap")
                supernet.learn(problem.space, rows, "equal", "mean", part.lr)
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
                supernet.score(problem.space, rows[:1].repeat(distributed.size(), axis=0))  # one for each worker
                passes.append((time.perf_counter() - start) / (settings.batch * distributed.size()))
            updates.append(float(np.mean(seconds[1:])) + drawing)  # architectures differ: the mean is what they take
    supernet.close()
    rates = Rates(tuple(updates), float(np.median(passes)), fastest)
    return distributed.broadcast_from_rank0(lambda: rates)


def faster_threads(supernet: Supernet, problem: Problem, choices: Choices, threads: int) -> int:
    """Return 1, or `threads` where these are clearly faster at an update with some architectures.

    It ends early where all threads are slow: on a busy machine they wait for each other.
    """
    updates = 1 + 2 * COMPARED

    def learn(step: int, number: int) -> float:
        supernet.begin_step(step, updates)
        start = time.perf_counter()
        with machine.threads(number):
            supernet.learn(problem.space, choices, "equal", "mean", 0.0)
        return time.perf_counter() - start

    learn(0, 1)  # prepares
    one, all_of_them = sum(learn(step, 1) for step in range(1, 1 + COMPARED)), 0.0
    for step in range(1 + COMPARED, updates):
        all_of_them += learn(step, threads)
        if all_of_them > CLEARLY * one:
            return 1
    return threads

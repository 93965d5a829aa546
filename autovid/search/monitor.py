"""Watches a search for the user: where it stands, and what he should hear about a part that went wrong."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autovid.costs import Cost, Macs
from autovid.search.constraints import drawable
from autovid.search.objective import excess
from autovid.search.opening import opening_of
from autovid.search.problem import Problem
from autovid.solver import UNLIMITED, CostRange
from autovid.space.schema import JOINT
from autovid.space.space import rough

if TYPE_CHECKING:
    from autovid.search.task import SearchTask

STILL = 0.995  # share of the uniform entropy above which a prior has not moved
COLLAPSED = 0.75  # probability of skip in every decision that has it above which a part has collapsed (ours)


class Monitor:
    """Collects notices step by step; `take_notices` empties them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.last: dict[str, float] = {}
        self.opened = False  # whether it was said that the part's prior has opened

    def on_step_end(self, task: "SearchTask", local: int, metrics: dict[str, float]) -> None:
        """Take note of a finished step, `local` within its part."""
        self.last = metrics
        part = task.settings.parts[task.number]
        if local == 0:
            self.notes.append(_opening(task))
            self.opened = False
        opening = opening_of(task.strategy)
        if opening is not None and opening.is_open and not self.opened:
            self.opened = True
            self.notes.append(f"part {part.name}: the prior opens after step {local + 1}: {opening}")
        if local == part.length - 1:
            self.notes += _verdicts(task)

    def take_notices(self) -> list[str]:
        """Return new lines since the last call."""
        notes, self.notes = self.notes, []
        return notes

    def status(self, task: "SearchTask") -> str:
        """Part, expected costs against their ranges, and how sure the prior is of these."""
        text = f"part {task.settings.parts[task.number].name}"
        if self.last.get("warmup"):
            text += ", warm-up"
        if task.settings.options.get("in_range") and task.problem.constraints:  # nothing outside is ever drawn
            return f"{text} · inside {' and '.join(map(str, drawable(task.problem.constraints)))}"
        ranges: dict[Cost, CostRange | None] = {Macs(): None, **{c.cost: c.range for c in task.problem.constraints}}
        for cost, ends in ranges.items():
            key = f"expected_{cost.metric}"
            if key in self.last:
                text += f" · expected {_short(self.last[key])}{_of(cost, ends)}"
        if "p_in_range" in self.last:
            text += f", P(in range) {self.last['p_in_range']:.2g}"
        return text

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs to show the same."""
        return {"last": self.last, "opened": self.opened}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.last, self.opened = dict(state["last"]), state["opened"]


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"


def _of(cost: Cost, ends: CostRange | None) -> str:
    """ " of 1.37–1.43 GFLOPs"; nothing for a cost without a range."""
    if ends is None:
        return f" {cost.quantity.unit}"
    low, high = (end / cost.quantity.atoms for end in ends)
    if ends.high == UNLIMITED:
        return f" of {_short(low)} {cost.quantity.unit} or more"
    return f" of {_short(low)}–{_short(high)} {cost.quantity.unit}"


def _opening(task: "SearchTask") -> str:
    part, size = task.settings.parts[task.number], task.problem.space.size
    ranges = " and ".join(map(str, task.problem.constraints))
    asked = f", range {ranges} at this point" if ranges else ", no range"
    if task.settings.options.get("in_range"):
        inside = drawable(task.problem.constraints)
        if len(inside) < len(task.problem.constraints):
            asked += f" (none found inside all: drawn from {' and '.join(map(str, inside))} alone)"
    architectures = f"{size:,}" if size < 1e6 else rough(size)
    return f"part {part.name}: {len(task.problem.searched)} decisions, {architectures} architectures{asked}, " + (
        f"{part.rounds} rounds" if part.rounds else f"{part.steps} steps ({_warmup(task)})"
    )


def _warmup(task: "SearchTask") -> str:
    """Say how long the prior is left alone."""
    return f"{task.part.warmup} of warm-up" if opening_of(task.strategy) is None else "the prior opens on evidence"


def _verdicts(task: "SearchTask") -> list[str]:
    """Return the lines for the end of a part."""
    name, notes = task.settings.parts[task.number].name, []
    log_probs, problem = task.strategy.distribution(), task.problem
    if not problem.searched:
        return [f"part {name} has nothing to decide"]
    if log_probs is None:
        return []
    opening = opening_of(task.strategy)
    if opening is not None and not opening.is_open:
        follows = "what earlier parts have learned stands" if name == JOINT else "its decisions stay open"
        return [f"part {name}: the prior stays closed: {opening}; {follows}"]
    entropy, uniform = task.entropy(log_probs), math.log(math.prod(problem.space.sizes[d] for d in problem.searched))
    if entropy > STILL * uniform:
        notes.append(
            f"part {name} has hardly moved: the prior's entropy is {entropy:.1f} of {uniform:.1f} nats, so what is "
            "derived is close to a random choice inside the range; give it more steps or a larger --arch-lr"
        )
    skips = _skips(problem, log_probs)
    if skips and min(skips.values()) > COLLAPSED:
        notes.append(
            f"part {name} collapsed onto skips: the prior puts {100 * min(skips.values()):.0f} % or more on skip in "
            f"each of the {len(skips)} decisions that have it; give it more steps or a smaller --arch-lr"
        )
    return notes + list(_outside(task))


def _outside(task: "SearchTask") -> Iterator[str]:
    """Yield a line for each cost whose expectation is not in the part's range.

    None where all architectures are drawn from inside: then the expectation is of draws that are never made.
    """
    if task.settings.options.get("in_range"):
        return
    for constraint in task.problem.constraints:
        expected, unit = task.monitor.last.get(f"expected_{constraint.cost.metric}"), constraint.cost.quantity
        if expected is not None and excess(np.array([expected * unit.atoms]), constraint.range)[0] > 0:
            yield (
                f"part {task.settings.parts[task.number].name} ends outside its range: the prior's architectures have "
                f"{expected:.4g} {unit.unit} on average, {constraint} asked for; the one that is taken lies inside"
            )


def _skips(problem: Problem, log_probs: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the probability of skip in each decision of the part that has it."""
    decisions = [(problem.space.decisions[d], log_probs[d]) for d in problem.searched]
    return {
        decision.name: math.exp(logp[decision.candidates.index("skip")])
        for decision, logp in decisions
        if "skip" in decision.candidates
    }

"""Watches a search for the user: where it stands, and what he should hear about a part that went wrong."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from autovid.costs import Cost, Macs
from autovid.search.objective import excess
from autovid.solver import UNLIMITED, CostRange
from autovid.space.space import rough

if TYPE_CHECKING:
    from autovid.search.task import SearchTask

STILL = 0.995  # share of the uniform entropy above which a prior has not moved
COLLAPSED = 0.5  # probability of skip in every decision that has it above which a part has collapsed (ours)


class Watch:
    """Collects notices step by step; `take_notices` empties them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.last: dict[str, float] = {}

    def see(self, task: "SearchTask", local: int, metrics: dict[str, float]) -> None:
        """Takes note of a finished step, `local` within its part."""
        self.last = metrics
        part = task.settings.parts[task.number]
        if local == 0:
            self.notes.append(_opening(task))
        if local == part.steps - 1:
            self.notes += _verdicts(task)

    def take_notices(self) -> list[str]:
        """New lines since the last call."""
        notes, self.notes = self.notes, []
        return notes

    def status(self, task: "SearchTask") -> str:
        """Part, expected costs against their ranges, and how sure the prior is of these."""
        text = f"part {task.settings.parts[task.number].name}"
        if self.last.get("warmup"):
            text += ", warm-up"
        ranges: dict[Cost, CostRange | None] = {Macs(): None, **{c.cost: c.range for c in task.constraints}}
        for cost, ends in ranges.items():
            key = f"expected_{cost.metric}"
            if key in self.last:
                text += f" · expected {_short(self.last[key])}{_of(cost, ends)}"
        if "p_in_range" in self.last:
            text += f", P(in range) {self.last['p_in_range']:.2g}"
        return text

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to show the same."""
        return {"last": self.last}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a saved state."""
        self.last = dict(state["last"])


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
    part, size = task.settings.parts[task.number], task.there.size
    ranges = " and ".join(map(str, task.constraints))
    wanted = f", range {ranges} at this point" if ranges else ", no range"
    if task.settings.in_range and len(task.within) < len(task.constraints):
        wanted += f" (none found inside all: drawn from {' and '.join(map(str, task.within))} alone)"
    architectures = f"{size:,}" if size < 1e6 else rough(size)
    return (
        f"part {part.name}: {len(task.prior.open)} decisions, {architectures} architectures{wanted}, "
        f"{part.steps} steps ({part.warmup} of warm-up)"
    )


def _verdicts(task: "SearchTask") -> list[str]:
    """What to say at the end of a part."""
    name, found = task.settings.parts[task.number].name, []
    entropy, uniform = task.prior.entropy(), task.prior.uniform_entropy()
    if not task.prior.open:
        return [f"part {name} has nothing to decide"]
    if entropy > STILL * uniform:
        found.append(
            f"part {name} has hardly moved: the prior's entropy is {entropy:.1f} of {uniform:.1f} nats, so what is "
            "derived is close to a random choice inside the range; give it more steps or a larger --arch-lr"
        )
    skips = _skips(task)
    if skips and min(skips.values()) > COLLAPSED:
        found.append(
            f"part {name} collapsed onto skips: the prior puts {100 * min(skips.values()):.0f} % or more on skip in "
            f"each of the {len(skips)} decisions that have it; give it more steps or a smaller --arch-lr"
        )
    return found + list(_outside(task))


def _outside(task: "SearchTask") -> Iterator[str]:
    """A line for each cost whose expectation is not in the part's range."""
    for constraint in task.constraints:
        expected, unit = task.watch.last.get(f"expected_{constraint.cost.metric}"), constraint.cost.quantity
        if expected is not None and excess(np.array([expected * unit.atoms]), constraint.range)[0] > 0:
            yield (
                f"part {task.settings.parts[task.number].name} ends outside its range: {expected:.4g} {unit.unit} "
                f"expected, {constraint} asked for; the most probable architecture inside is taken"
            )


def _skips(task: "SearchTask") -> dict[str, float]:
    """The probability of skip in each decision of the part that has it."""
    found, logps = {}, task.prior.log_probs()
    for d in task.prior.open:
        decision = task.there.decisions[d]
        if "skip" in decision.candidates:
            found[decision.name] = math.exp(logps[d][decision.candidates.index("skip")])
    return found

"""Watches a search for the user: where it stands, and what he should hear about a part that went wrong."""

import math
from typing import TYPE_CHECKING, Any

from autovid.search.objective import excess
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
        """Part, expected FLOPs against the target, and how sure the prior is of it."""
        text = f"part {task.settings.parts[task.number].name}"
        if self.last.get("warmup"):
            text += ", warm-up"
        if "expected_gflops" in self.last:
            text += f" · expected {_short(self.last['expected_gflops'])}"
        if task.range is not None and "p_in_range" in self.last:
            text += f" of {_short(task.range.low / 1e9)}–{_short(task.range.high / 1e9)} GFLOPs"
        if task.timed is not None and "expected_latency_ms" in self.last:
            low, high = task.timed.limit.range
            text += "" if task.range is not None else " GFLOPs"
            text += f" and {self.last['expected_latency_ms']:.3g} of {low / 1e6:.3g}–{high / 1e6:.3g} ms"
        if "p_in_range" in self.last:
            text += f", P(in range) {self.last['p_in_range']:.2g}"
        return text

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to show the same."""
        return {"last": self.last}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a saved state."""
        self.last = dict(state["last"])


def _short(gflops: float) -> str:
    return f"{gflops:.3g}" if gflops < 10 else f"{gflops:.1f}"


def _opening(task: "SearchTask") -> str:
    part, size = task.settings.parts[task.number], task.there.size
    wanted = f", range {task.range} at this point" if task.range else ", no FLOPs range"
    wanted += f", latency {task.timed.limit}" if task.timed else ""
    if task.settings.in_range and len(task.within) < len(task.limits):
        wanted += " (none found inside both: drawn from the range of FLOPs alone)"
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
    expected = task.watch.last.get("expected_gflops", 0.0)
    outside = float(excess(_array(expected * 1e9), task.range)[0])
    if outside > 0:
        found.append(
            f"part {name} ends outside its range: {_short(expected)} GFLOPs expected, {task.range} asked for; the most "
            "probable architecture inside is taken"
        )
    return found + _late(task)


def _late(task: "SearchTask") -> list[str]:
    """What to say of a part whose expected latency is not in its range."""
    expected = task.watch.last.get("expected_latency_ms")
    if task.timed is None or expected is None or not excess(_array(expected * 1e6), task.timed.limit.range)[0]:
        return []
    return [
        f"part {task.settings.parts[task.number].name} ends outside its range: {expected:.4g} ms expected, "
        f"{task.timed.limit} asked for; one that still leads into the range is taken where one is found"
    ]


def _skips(task: "SearchTask") -> dict[str, float]:
    """The probability of skip in each decision of the part that has it."""
    found, logps = {}, task.prior.log_probs()
    for d in task.prior.open:
        decision = task.there.decisions[d]
        if "skip" in decision.candidates:
            found[decision.name] = math.exp(logps[d][decision.candidates.index("skip")])
    return found


def _array(value: float) -> Any:
    import numpy as np

    return np.array([value])

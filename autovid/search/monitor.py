"""The display of a search: its progress, notes on a part that went wrong, and pictures."""

import io
import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autovid.costs import Cost, Macs
from autovid.search.constraints import drawable
from autovid.search.derivation import Searched
from autovid.search.objective import excess, opening_of
from autovid.search.problem import Problem
from autovid.search.settings import SearchSettings
from autovid.solver import UNLIMITED, CostRange
from autovid.space import Architecture
from autovid.space.schema import JOINT
from autovid.space.space import rough

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
            when = f"after {local + 1} of its {part.length} steps"
            self.notes.append(f"part {part.name}: the prior opens {when}: {opening}")
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
            text += ", warm-up" if opening_of(task.strategy) is None else ", prior closed"
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


BLUE, GREY, BAND, PALE, DARK = "#2b6cb0", "#718096", "#68d391", "#a3c4e8", "#1a365d"
NARROW = 0.09  # of all steps: above a shorter part there is no room for its name


def probability_image(problem: Problem, log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the probabilities of all candidates of a part's space as an image, uint8 (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(problem.space.decisions[d], np.exp(log_probs[d])) for d in problem.searched]
    widest = max((len(p) for _, p in rows), default=1)
    figure = Figure(figsize=(4.5 + 0.9 * widest, 0.8 + 0.2 * max(1, len(rows))), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    cells = np.full((max(1, len(rows)), widest), np.nan)
    for row, (decision, probabilities) in enumerate(rows):
        cells[row, : len(probabilities)] = probabilities
        for column, value in enumerate(decision.candidates):
            shade = "white" if probabilities[column] > 0.5 else "black"
            axes.text(column, row, str(value), ha="center", va="center", fontsize=6, color=shade)
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(rows)), [decision.name for decision, _ in rows], fontsize=6)
    axes.set_xticks([])
    axes.set_title("prior probability of each candidate", fontsize=8)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()  # type: ignore[no-untyped-call]


def search_curve(metrics: Path, searched: Searched, arch: Architecture) -> bytes:
    """Draw the whole search as a PNG: expected costs against each part's ranges, P(in range), entropy, loss over steps.

    `arch` is the architecture that it has found. A panel for the MACs and for each cost with a range; of a strategy
    without a prior the scores and the loss alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    space, settings = searched.space, searched.settings
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    ranges: dict[Cost, Mapping[str, CostRange | None]] = {Macs(): {}}
    ranges |= {one.cost: {**one.parts, JOINT: one.final(space)} for one in searched.constraints}
    prior = bool(searched.learned)
    panels = _panels([*[cost.name for cost in ranges], "inside", "entropy"] if prior else ["scores"])
    figure = Figure(figsize=(9, 1 + 2.2 * len(panels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic(panels, sharex=True)
    texts = [f"{cost.of(arch) / cost.quantity.atoms:.4g} {cost.quantity.unit}" for cost in ranges]
    for cost, parts in ranges.items() if prior else ():
        title = f"expected {cost.quantity.what} of the prior ({cost.quantity.unit})"
        _curve(axes[cost.name], title, records, f"expected_{cost.metric}", BLUE)
        _against(axes[cost.name], [parts.get(part.name) for part in settings.parts], cost, settings, cost.of(arch))
    if prior:
        inside = "P(in all ranges)" if len(searched.constraints) > 1 else "P(in range)"
        _curve(axes["inside"], inside, records, "p_in_range", BLUE)
        axes["inside"].set_ylim(0, 1)
        _curve(axes["entropy"], "entropy of the prior (nats)", records, "entropy", BLUE)
    else:
        title = "log-likelihood of architectures: best (blue), mean (grey)"
        _curve(axes["scores"], title, records, "best_log_likelihood", BLUE)
        _curve(axes["scores"], "", records, "mean_log_likelihood", GREY)
    _curve(axes["loss"], "loss: the weights' clips (pale), held-out clips (dark)", records, "loss", PALE)
    _curve(axes["loss"], "", records, "held_out_loss", DARK)
    for panel in axes.values():
        _mark_parts(panel, settings)
    proxy = " (proxy)" if settings.proxy else ""
    figure.suptitle(f"search of {space.name}{proxy}: {', '.join(texts)} found", fontsize=11)
    told = [cost.convention(space.reference) for cost in ranges]
    figure.supxlabel("\n".join(textwrap.fill(text, 130) for text in told), fontsize=6, color=GREY, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panels(others: Sequence[str]) -> Any:
    """Return panels, the loss the last, two in a row; the last one is as wide as both where it is alone."""
    names = [*others, "loss"]
    rows = [names[i : i + 2] for i in range(0, len(names), 2)]
    return [row if len(row) == 2 else row * 2 for row in rows]


def _curve(axes: "Axes", title: str, records: list[dict[str, Any]], key: str, color: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for part in sorted({record["part"] for record in records}):  # a line of its own for each part
        points = [(r["step"], r[key]) for r in records if r["part"] == part and r.get(key) is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], color=color, linewidth=1.4)
    if title:
        axes.set_title(title, fontsize=9, loc="left", pad=14)  # the parts' names stand below it
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step", fontsize=8)


def _against(axes: "Axes", ranges: Sequence[CostRange | None], cost: Cost, settings: SearchSettings, end: int) -> None:
    """Draw the parts' ranges behind an expected cost, and the cost of the architecture that was found."""
    unit, (bottom, top) = cost.quantity.atoms, axes.get_ylim()
    for number, (part, ends) in enumerate(zip(settings.parts, ranges)):
        if ends is not None:
            x = [settings.end(number) - part.length, settings.end(number)]
            label = "range at the end of the part" if number == 0 else None
            low = ends.low / unit if ends.low else bottom
            high = ends.high / unit if ends.high != UNLIMITED else top
            axes.fill_between(x, low, high, color=BAND, alpha=0.5, linewidth=0, label=label)
    axes.margins(y=0.15)  # room for a word above what was found
    last = settings.end(len(settings.parts) - 1) - 1
    axes.plot([last], [end / unit], "o", color="black", zorder=5)
    axes.annotate("found", (last, end / unit), (-6, 8), textcoords="offset points", ha="right", fontsize=8)
    if axes.get_legend_handles_labels()[0]:  # a search without a range has nothing to name
        axes.legend(loc="best", fontsize=7, frameon=False)


def _mark_parts(axes: "Axes", settings: SearchSettings) -> None:
    """Write names of the parts above the axes, and draw a line where one ends; grey where a part warms up."""
    for number, part in enumerate(settings.parts):
        end = settings.end(number)
        start = end - part.length
        if number:
            axes.axvline(start - 0.5, color=GREY, linewidth=0.7, linestyle=":")
        if part.warmup:
            axes.axvspan(start - 0.5, start + part.warmup - 0.5, color="#edf2f7", zorder=0, linewidth=0)
        if part.length < NARROW * settings.steps:
            continue  # its name would lie over the next
        axes.text(start, 1.01, part.name, transform=axes.get_xaxis_transform(), fontsize=7, color=GREY, va="bottom")

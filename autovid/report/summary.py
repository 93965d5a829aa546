"""The report's first and last sections: what was found, drawn; what it cost."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from autovid.config import dump_yaml
from autovid.models import Model, NetworkSpec
from autovid.report.charts import bars
from autovid.report.drawing import draw
from autovid.report.markup import Markup, isolated, join, tag
from autovid.report.picture import outline, prior_of
from autovid.report.runs import BASELINE, RANK, SEARCH, Run
from autovid.search import Searched
from autovid.space import Architecture
from autovid.space.schema import Reference
from autovid.train.evaluate import Evaluation

MOST_SHARES = 24  # stages, of those that cost most
CONVENTION = "FLOPs are MACs (multiply-accumulates) of convolution, linear and matmul; 1 GFLOPs = 1e9 MACs."


def sentences(runs: Sequence[Run]) -> Markup:
    """What each run came to."""
    return join(join([tag("p", *_sentence(run), class_="lead"), _notes(run)]) for run in runs)


def _sentence(run: Run) -> list[str]:
    name = tag("b", run.name)
    if run.kind == SEARCH:
        return [name, *_searched(run)]
    if run.kind == BASELINE:
        return [name, f": {_baseline(run)}"]
    if run.kind == RANK:
        return [name, f": {_ranking(run)}"]
    best = run.best
    what, data = isolated(title(run.model) if run.model else "a network"), isolated(run.data)
    if best is None:
        stands = f" is not finished; it stands at step {_done(run):,}."
        return [name, ": the training of ", what, " on ", data, stands]
    found = best[1]
    return [
        name,
        ": ",
        what,
        ", trained on ",
        data,
        ", names ",
        tag("b", f"{found.top1:.1f} %"),
        f" of {found.decoded:,} videos right ({_views(found)}), at {found.gflops_per_view:.4g} GFLOPs a view.",
    ]


def _searched(run: Run) -> list[str]:
    searched = run.searched
    if searched is None or not isinstance(run.model, Architecture):
        steps = f"step {_done(run):,}" + (f" of {searched.settings.steps:,}" if searched else "")
        return [f": the search of {run.config['space']} is not finished; it stands at {steps}."]
    arch = run.model
    wanted = arch.found.get("range", "")
    inside = f", inside the range asked for, {wanted}" if wanted else ""
    if wanted == "none":
        inside = "; no range was asked for"
    if searched.latency and "latency_ms" in arch.cost:
        inside += (
            f"; {arch.cost['latency_ms']:.4g} ms are predicted, inside the range asked for, {searched.latency} "
            f"({searched.latency.file.about()})"
        )
    return [
        f": of {_large(searched.space.size)} architectures of {searched.space.name} the search has found one of ",
        tag("b", f"{arch.cost['macs'] / 1e9:.4g} GFLOPs"),
        f" and {arch.cost['params'] / 1e6:.2f} M parameters{inside}.",
    ]


def _notes(run: Run) -> Markup:
    lines = []
    if run.searched and not run.searched.evidence.better_than_chance:
        lines.append(run.searched.evidence.sentence())
    if run.searched and run.searched.settings.proxy:
        settings = run.searched.settings
        lines.append(
            f"A proxy search, on clips of {settings.frames} × {settings.crop}² and in {settings.steps:,} steps: what "
            "it finds is a sketch, not a tuned network."
        )
    lines += [line.split(" ", 2)[2] for line in run.log if any(word in line for word in _VERDICTS)]
    return join(tag("p", line, class_="note mute") for line in lines)


_VERDICTS = (" has hardly moved: ", " collapsed onto skips: ", " ends outside its range: ")


def _baseline(run: Run) -> str:
    random = [one.top1 for one in run.candidates if one.kind == "random" and one.top1 is not None]
    if not random:
        return "a random baseline in which nothing is trained yet."
    spread = f" (s.d. {statistics.stdev(random):.1f})" if len(random) > 1 else ""
    ends = (run.config.get("flops"), run.config.get("latency", {}).get("range"))
    within = " and ".join(text for text in ends if text not in (None, "None"))
    text = (
        f"{len(random)} random architectures of {within} come to {statistics.mean(random):.1f} %{spread}, the best to "
    )
    text += f"{max(random):.1f} %"
    rivals = [one.top1 for one in run.candidates if one.kind == "searched" and one.top1 is not None]
    return f"{text}; the searched one to {rivals[0]:.1f} %." if rivals else f"{text}."


def _ranking(run: Run) -> str:
    if run.ranking is None:
        return "a ranking in which nothing is trained yet."
    count = sum(one.alone is not None for one in run.ranking.architectures)
    said = [
        f"{way}: {name} {one.value:.2f} ({one.interval[0]:.2f} to {one.interval[1]:.2f})"
        for way, statistics in run.ranking.correlations.items()
        for name, one in statistics.items()
        if one.value is not None and None not in one.interval
    ]
    text = f"how the supernet of {run.ranking.space} ranks {count} architectures, against trainings from scratch"
    return f"{text}: {'; '.join(said)}." if said else f"{text}: too few are trained, or all are alike."


def _done(run: Run) -> int:
    return int(run.records[-1]["step"]) + 1 if run.records else 0


def _views(found: Evaluation) -> str:
    if found.views_per_video == 1:
        return "centre view" if found.views == "center" else f"centre view, {found.views}"
    return f"{found.views}, {found.views_per_video} views each"


def _large(size: int) -> str:
    return f"{size:,}" if size < 1e6 else f"{float(size):.1e}" if size < 1e300 else "countless"


def title(model: Model) -> str:
    """A network in a few words."""
    if isinstance(model, NetworkSpec):
        return " + ".join([model.network, *model.modules])
    return f"{model.space} {model.hash}"


def comparison(runs: Sequence[Run]) -> Markup | None:
    """A table with a column for each run; of one run there is nothing to compare."""
    if len(runs) < 2:
        return None
    rows = {
        "kind": [run.kind for run in runs],
        "network": [title(run.model) if run.model else "" for run in runs],
        "GFLOPs": [_gflops(run) for run in runs],
        "input": [_input(run) for run in runs],
        "latency (ms), predicted": [_predicted(run) for run in runs],
        "parameters (M)": [_parameters(run) for run in runs],
        "data": [run.data for run in runs],
        "views": [run.best[1].views if run.best else "" for run in runs],
        "top-1 (%)": [f"{run.best[1].top1:.2f}" if run.best else "" for run in runs],
        "top-5 (%)": [f"{run.best[1].top5:.2f}" if run.best and run.best[1].top5 is not None else "" for run in runs],
        "steps": [f"{_done(run):,}" if run.records else "" for run in runs],
        "time": [duration(run.seconds) if run.seconds else "" for run in runs],
    }
    head = tag("tr", tag("th", ""), *(tag("th", run.name) for run in runs))
    body = [tag("tr", tag("th", name), *(tag("td", value) for value in row)) for name, row in rows.items() if any(row)]
    return tag("div", tag("table", head, *body), class_="scroll", tabindex=0)


def _gflops(run: Run) -> str:
    if run.best:
        return f"{run.best[1].gflops_per_view:.4g}"
    return f"{run.model.cost['macs'] / 1e9:.4g}" if isinstance(run.model, Architecture) and run.model.cost else ""


def _predicted(run: Run) -> str:
    """Of an architecture that was found for a range of latency."""
    known = isinstance(run.model, Architecture) and "latency_ms" in run.model.cost
    return f"{run.model.cost['latency_ms']:.4g}" if known and isinstance(run.model, Architecture) else ""


def _input(run: Run) -> str:
    """What the GFLOPs are those of."""
    if run.best:
        return f"{run.best[1].frames} × {run.best[1].crop}²"
    at = run.model.reference if isinstance(run.model, Architecture) else None
    return f"{at.frames} × {at.crop}²" if at else ""


def _parameters(run: Run) -> str:
    if run.best:
        return f"{run.best[1].params / 1e6:.2f}"
    return f"{run.model.cost['params'] / 1e6:.2f}" if isinstance(run.model, Architecture) and run.model.cost else ""


def architectures(runs: Sequence[Run]) -> Markup | None:
    """A drawing of each network, of runs with the same one at the same clips a single drawing."""
    groups: dict[tuple[str, Reference], list[Run]] = {}
    searches: dict[str, Searched] = {}
    for run in runs:
        if run.model is not None:
            groups.setdefault((run.model.hash, run.model.reference), []).append(run)
            searches |= {run.model.hash: run.searched} if run.searched else {}
    if not groups:
        return None
    pictures = [_drawing(group, searches.get(name)) for (name, _), group in groups.items()]
    drawn = pictures[0] if len(pictures) == 1 else [tag("div", *parts) for parts in pictures]
    text = "Point at a piece: what it costs, and in a search how probable each candidate was."
    hint = tag("p", text, class_="mute pointer")
    return join([hint, tag("div", *drawn, class_="grid")])


def _drawing(group: Sequence[Run], searched: Searched | None) -> list[Markup]:
    """Of the first one's network, with the prior of the search that has found it, if that is there."""
    model = group[0].model
    assert model is not None
    what = outline(model, prior_of(searched) if searched else None)
    names = join([isolated(run.name) for run in group], ", ")
    total = sum(macs for _, macs in what.costs)
    shares = sorted((one for one in what.costs if one[1]), key=lambda one: -one[1])
    rows = [(name, 100 * macs / total, f"{name}: {macs / 1e6:,.1f} MMACs") for name, macs in shares]
    drawn = tag("figure", tag("figcaption", names), draw(what), class_="drawing")
    return [drawn, bars("Where the FLOPs go", rows[:MOST_SHARES])]


def costs(runs: Sequence[Run]) -> Markup | None:
    """Steps, time and machine of every run, its settings, and the command that began it."""
    return tag("div", *(_cost(run) for run in runs), class_="grid")


def _cost(run: Run) -> Markup:
    parts = [tag("h3", run.name)]
    rows = dict(_facts(run))
    table = tag("table", *(tag("tr", tag("th", name), tag("td", value)) for name, value in rows.items()))
    parts.append(tag("div", table, class_="scroll", tabindex=0))
    if run.command:
        parts += [tag("p", "Again, with the same seed:"), tag("pre", _words(run.command), class_="command")]
    settings = tag("pre", dump_yaml(run.config), tabindex=0)
    parts.append(tag("details", tag("summary", "All settings (config.yaml)"), settings))
    return tag("div", *parts)


def _words(command: str) -> Markup:
    """Broken between words rather than at hyphens."""
    return join((tag("span", word) for word in command.split(" ")), " ")


def _facts(run: Run) -> list[tuple[str, str]]:
    found = [("begun", f"{run.begun}, by the clock where it ran")] if run.begun else []
    steps = sum(len(one.records) for one in run.trainings or (run,))
    if run.trainings:
        found.append(("trainings", f"{len(run.trainings)}, {steps:,} steps in all"))
    if run.records:
        found.append(("steps", f"{_done(run):,}"))
    if run.seconds:
        found += [("time", duration(run.seconds)), ("a step", f"{run.seconds / steps:.3g} s")]
    checkpoint = run.directory.latest() if run.kind != BASELINE else None
    compute: dict[str, Any] = checkpoint.state.info.get("compute", {}) if checkpoint else {}
    if "precision" in compute:
        found.append(("precision", ", ".join(f"{key} {value}" for key, value in compute["precision"].items())))
    found.append(("data", f"{run.data}"))
    return [*found, ("autovid", str(run.config["autovid"]))]


def duration(seconds: float) -> str:
    """`1 h 05 min`, `3.2 min`, `41 s`."""
    if not math.isfinite(seconds) or seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"

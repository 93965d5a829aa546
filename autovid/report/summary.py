"""The report's first and last sections: the results, compared and drawn; their costs, and the commands."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from autovid.config import dump_yaml
from autovid.costs import COSTS, recorded_costs
from autovid.report.drawing import draw, outline, prior_of
from autovid.report.markup import Bar, bars, isolated, section
from autovid.report.runs import BASELINE, RANK, SEARCH, Run
from autovid.search import Searched
from autovid.space import Architecture
from autovid.space.schema import Reference
from autovid.studies.correlation import spoken
from autovid.train.evaluate import Evaluation
from autovid.train.trained import title_of

MOST_STAGES = 24  # of those that cost most
CONVENTION = "FLOPs are MACs (multiply-accumulates) of convolution, linear and matmul; 1 GFLOPs = 1e9 MACs."
WARNINGS = (" has hardly moved: ", " collapsed onto skips: ", " ends outside its range: ")  # of a search's log


def summary(runs: Sequence[Run]) -> Markup:
    """Say the result of each run in a sentence, with warnings."""
    return section("summary", runs=[{"name": r.name, "sentence": _sentence(r), "notes": _notes(r)} for r in runs])


def _sentence(run: Run) -> str:
    if run.kind == SEARCH:
        return _search(run)
    if run.kind in (BASELINE, RANK):
        return f": {_baseline(run) if run.kind == BASELINE else _ranking(run)}"
    network, data = isolated(title_of(run.model) if run.model else "a network"), isolated(run.data)
    if run.best is None:
        unfinished = Markup(": the training of {} on {} is not finished; it stands at step {:,}.")
        return unfinished.format(network, data, run.steps)
    best = run.best[1]
    chosen = f"; the weights {best.weights}, which these videos chose" if best.validations else ""
    return Markup(": {}, trained on {}, {}, at {:.4g} GFLOPs a view{}.{}").format(
        network, data, _result(best), best.gflops_per_view, chosen, _test(run.test)
    )


def _test(one: Evaluation | None) -> Markup | str:
    """Say the accuracy on test; nothing where it was not measured."""
    if one is None:
        return ""
    text = " On test, which has chosen nothing: {}<b>{:.1f} %</b> of {:,} videos ({})."
    return Markup(text).format("a mAP of " if one.mean_ap is not None else "", one.score, one.decoded, views_label(one))


def _result(best: Evaluation) -> Markup:
    if best.mean_ap is not None:
        text = "comes to a mAP of <b>{:.1f} %</b> on {:,} videos, which may have several classes ({})"
        return Markup(text).format(best.mean_ap, best.decoded, views_label(best))
    text = "classifies <b>{:.1f} %</b> of {:,} videos correctly ({})"
    return Markup(text).format(best.top1, best.decoded, views_label(best))


def _search(run: Run) -> str:
    searched, arch = run.searched, run.model
    if searched is None or not isinstance(arch, Architecture):
        steps = f"step {run.steps:,}" + (f" of {searched.settings.steps:,}" if searched else "")
        return f": the search of {run.config['space']} is not finished; it stands at {steps}."
    asked = arch.provenance.get("range", "")
    inside = f", inside the range asked for, {asked}" if asked else ""
    if asked == "none":
        inside = "; no range was asked for"
    told = f" ({arch.provenance['conventions']})" if "conventions" in arch.provenance else ""
    others = {k: value for k, value in recorded_costs(arch.cost).items() if k.name not in ("macs", "params")}
    costs = "".join(f", {value:.4g} {kind.quantity.unit}" for kind, value in others.items())
    size = searched.space.size
    number = f"{size:,}" if size < 1e6 else f"{float(size):.1e}" if size < 1e300 else "countless"
    return Markup(
        ": of {} architectures of {} the search chose one of <b>{:.4g} GFLOPs</b> and {:.2f} M parameters{}{}{}."
    ).format(number, searched.space.name, arch.cost["macs"] / 1e9, arch.cost["params"] / 1e6, costs, inside, told)


def _notes(run: Run) -> list[str]:
    notes = []
    if run.searched and run.searched.against_chance and not run.searched.evidence.better_than_chance:
        notes.append(run.searched.against_chance)
    if run.searched and run.searched.choice is not None:
        notes += run.searched.choice.lines()
    if run.searched and run.searched.settings.proxy:
        settings = run.searched.settings
        note = f"A proxy search, on clips of {settings.frames} × {settings.crop}² and in {settings.steps:,} steps"
        sketch = "" if run.searched.beats_random_ones else ": its result is a sketch, not a tuned network"
        notes.append(f"{note}{sketch}.")
    return notes + [line.split(" ", 2)[2] for line in run.log if any(warning in line for warning in WARNINGS)]


def _baseline(run: Run) -> str:
    random = [row.top1 for row in run.baseline if row.kind != "searched" and row.top1 is not None]
    if not random:
        return "a random baseline in which nothing is trained yet."
    spread = f" (s.d. {statistics.stdev(random):.1f})" if len(random) > 1 else ""
    ranges = [
        f"{one['whole'].replace(':', '–')} {one['unit']}"
        for one in run.config.get("constraints", {}).values()
        if "whole" in one
    ]
    within = " and ".join(ranges)
    strategy, mean = run.config["settings"]["strategy"], statistics.mean(random)
    begin = f"{len(random)} {strategy} architectures of {within} come to"
    sentence = f"{begin} {mean:.1f} %{spread}, the best to {max(random):.1f} %"
    searched = [row.top1 for row in run.baseline if row.kind == "searched" and row.top1 is not None]
    return f"{sentence}; the searched one to {searched[0]:.1f} %." if searched else f"{sentence}."


def _ranking(run: Run) -> str:
    if run.ranking is None:
        return "a ranking in which nothing is trained yet."
    count = sum(arch.alone is not None for arch in run.ranking.architectures)
    figures = [
        f"{way}: {spoken(name, one.value, one.interval)}"
        for way, correlations in run.ranking.correlations.items()
        for name, one in correlations.items()
        if one.value is not None
    ]
    sentence = f"how the supernet of {run.ranking.space} ranks {count} architectures, against trainings from scratch"
    if run.ranking.evidence:  # chance first
        sentence = f"{run.ranking.evidence} H{sentence[1:]}"
    return f"{sentence}: {'; '.join(figures) if figures else 'too few are trained, or all are alike'}."


def views_label(evaluation: Evaluation) -> str:
    """Name the views of an evaluation for a person."""
    if evaluation.views_per_video == 1:
        return "centre view" if evaluation.views == "center" else f"centre view, {evaluation.views}"
    return f"{evaluation.views}, {evaluation.views_per_video} views each"


def comparison(runs: Sequence[Run]) -> Markup | None:
    """Compare runs in a table with a column for each; None for a single one."""
    if len(runs) < 2:
        return None
    columns = [_column(run) for run in runs]
    rows = {name: [column.get(name, "") for column in columns] for name in columns[0]}
    shown = {name: values for name, values in rows.items() if any(values)}
    return section("comparison", names=[run.name for run in runs], rows=shown)


def _other_costs() -> dict[str, str]:
    """Return the title and the key of every cost beside the MACs and the parameters."""
    kinds = [kind for kind in map(COSTS.load, COSTS) if kind.name not in ("macs", "params")]
    return {f"{kind.quantity.what} ({kind.quantity.unit})": kind.metric for kind in kinds}


def _column(run: Run) -> dict[str, str]:
    """Return the column of a run in a comparison, empty where a value is not known: the same keys for every run."""
    column = {"kind": run.kind, "network": title_of(run.model) if run.model else ""}
    column |= dict.fromkeys(("GFLOPs", "input", *_other_costs(), "parameters (M)"), "")
    if isinstance(run.model, Architecture):
        reference, cost = run.model.reference, run.model.cost
        column["input"] = f"{reference.frames} × {reference.crop}²"
        if cost:
            column["GFLOPs"] = f"{cost['macs'] / 1e9:.4g}"
            column["parameters (M)"] = f"{cost['params'] / 1e6:.2f}"
        column |= {name: f"{cost[metric]:.4g}" for name, metric in _other_costs().items() if metric in cost}
    accuracies = ("top-1 (%)", "mAP (%)", "top-5 (%)", "test: top-1 (%)", "test: mAP (%)")
    column |= {"data": run.data, "views": "", **dict.fromkeys(accuracies, "")}
    if run.best:
        best = run.best[1]
        column["GFLOPs"] = f"{best.gflops_per_view:.4g}"
        column["input"] = f"{best.frames} × {best.crop}²"
        column["parameters (M)"] = f"{best.params / 1e6:.2f}"
        column |= {"views": best.views, f"{best.metric} (%)": f"{best.score:.2f}"}
        column["top-5 (%)"] = "" if best.top5 is None else f"{best.top5:.2f}"
    if run.test:
        views = f" ({run.test.views})" if run.best and run.test.views != run.best[1].views else ""
        column[f"test: {run.test.metric} (%)"] = f"{run.test.score:.2f}{views}"
    epochs = run.epochs
    column["epochs"] = "" if epochs is None else f"{epochs:g}"
    column["steps"] = f"{run.steps:,}" if run.records else ""
    column["time"] = duration(run.seconds) if run.seconds else ""
    return column


def architectures(runs: Sequence[Run]) -> Markup | None:
    """Draw each network, with its cost by stage; runs of the same network at the same clips share a drawing."""
    groups: dict[tuple[str, Reference], list[Run]] = {}
    searches: dict[str, Searched] = {}
    for run in runs:
        if run.model is not None:
            groups.setdefault((run.model.hash, run.model.reference), []).append(run)
            searches |= {run.model.hash: run.searched} if run.searched else {}
    networks = []
    for (name, _), group in groups.items():
        model: Any = group[0].model
        drawn = outline(model, prior_of(searches[name]) if name in searches else None)
        total = sum(macs for _, macs in drawn.costs)
        stages = sorted((stage for stage in drawn.costs if stage[1]), key=lambda stage: -stage[1])[:MOST_STAGES]
        rows = [Bar(stage, 100 * macs / total, f"{stage}: {macs / 1e6:,.1f} MMACs") for stage, macs in stages]
        costs_chart = bars("FLOPs by stage", rows)
        networks.append({"names": [run.name for run in group], "drawing": draw(drawn), "costs": costs_chart})
    return section("architectures", networks=networks) if networks else None


def costs(runs: Sequence[Run]) -> Markup:
    """List steps, time and machine of every run, its settings, and the command that began it."""
    return section(
        "costs",
        runs=[
            {
                "name": run.name,
                "facts": _facts(run),
                "command": run.command.split(" ") if run.command else [],  # broken at spaces, not at hyphens
                "settings": dump_yaml(run.config),
            }
            for run in runs
        ],
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = [("begun", f"{run.begun}, by the clock where it ran")] if run.begun else []
    steps = sum(len(training.records) for training in run.trainings or (run,))
    if run.trainings:
        facts.append(("trainings", f"{len(run.trainings)}, {steps:,} steps in all"))
    if run.records:
        facts.append(("steps", f"{run.steps:,}"))
    if run.seconds:
        facts += [("time", duration(run.seconds)), ("a step", f"{run.seconds / steps:.3g} s")]
    checkpoint = run.directory.latest() if run.kind != BASELINE else None
    compute: dict[str, Any] = checkpoint.state.info.get("compute", {}) if checkpoint else {}
    if "precision" in compute:
        facts.append(("precision", ", ".join(f"{key} {value}" for key, value in compute["precision"].items())))
    return [*facts, ("data", run.data), ("autovid", str(run.config["autovid"]))]


def duration(seconds: float) -> str:
    """Write `1 h 05 min`, `3.2 min`, `41 s`."""
    if not math.isfinite(seconds) or seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"

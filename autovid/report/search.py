"""The report's sections about a search: its course, and every decision over time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from autovid.costs import Cost, Macs
from autovid.models import Model
from autovid.report.markup import Band, Point, Series, line_chart, section, spark, thin
from autovid.report.runs import Run
from autovid.search import Searched
from autovid.solver import UNLIMITED, CostRange
from autovid.space import Architecture
from autovid.space.layout import is_searched_in, sites
from autovid.space.schema import JOINT

INSTANTS = 40  # of a small picture
SHORT = {"temporal_kernel": "time", "spatial_kernel": "space", "expansion": "exp."}
FEW = 3  # decisions named as the closest and as the clearest


class Verdict(NamedTuple):
    """A decision at the end: its candidates' probabilities (C,), and which was chosen.

    Of a search that is not finished: as it stands, with the most probable candidate as the choice.
    """

    name: str
    candidates: tuple[object, ...]
    probabilities: np.ndarray
    chosen: int

    @property
    def lead(self) -> float:
        """The lead over the best of the others; negative where the range has made another choice necessary."""
        return float(self.probabilities[self.chosen] - np.delete(self.probabilities, self.chosen).max())

    @property
    def points(self) -> str:
        """The lead in hundredths."""
        return f"{100 * self.lead:+.0f}"

    @property
    def choice(self) -> str:
        """The chosen candidate."""
        return _label(self.candidates[self.chosen])

    @property
    def label(self) -> str:
        """The decision in a word."""
        last = self.name.rpartition(".")[2]
        return SHORT.get(last, last)

    @property
    def chances(self) -> list[str]:
        """All candidates with their probabilities."""
        return [f"{_label(c)}: {100 * p:.0f} %" for c, p in zip(self.candidates, self.probabilities)]


def curves(runs: Sequence[Run]) -> Markup | None:
    """Draw expected cost and its range, P(in range), entropy and losses, all searches side by side."""
    known = [run if run.searched else replace(run, searched=run.unsaved) for run in runs]
    searches = [run for run in known if run.searched and len(run.records) > 1]
    charts = [
        chart
        for draw in (_costs, _in_range, _entropy, _losses, _scores)
        for run in searches
        for chart in draw(run, f" · {run.name}" if len(searches) > 1 else "")
    ]
    learned = {bool(run.searched and (run.searched.learned or run.unsaved)) for run in searches}
    return section("curves", charts=charts, prior=True in learned, scored=False in learned) if charts else None


def _costs(run: Run, suffix: str) -> Iterator[Markup]:
    """Draw the expected MACs, and every cost with a range."""
    searched: Any = run.searched
    ranges: dict[Cost, Mapping[str, CostRange | None]] = {Macs(): {}}
    ranges |= {one.cost: {**one.parts, JOINT: one.final(searched.space)} for one in searched.constraints}
    for cost, parts in ranges.items():
        value = cost.recorded(run.model.cost) if isinstance(run.model, Architecture) else None
        points = [] if value is None else _result(run, value, cost.quantity.unit)
        title = f"Expected {cost.quantity.what}, {cost.quantity.unit}{suffix}"
        yield from _chart(run, title, [f"expected_{cost.metric}"], bands=_bands(run, parts, cost), points=points)


def _bands(run: Run, ranges: Mapping[str, CostRange | None], cost: Cost) -> list[Band]:
    """Return the ranges of the parts that the search has begun; an open end is that of the curve."""
    settings: Any = run.searched.settings if run.searched else None
    values = [r[key] for r in run.records if (key := f"expected_{cost.metric}") in r]
    starts = [settings.end(number) - part.length for number, part in enumerate(settings.parts)]
    bands = []
    for number, (start, part) in enumerate(zip(starts, settings.parts)):
        ends = ranges.get(part.name)
        if ends is not None and start <= run.records[-1]["step"]:
            low, high = (end / cost.quantity.atoms for end in ends)
            low = low if ends.low else min([*values, high])
            high = high if ends.high != UNLIMITED else max([*values, low])
            bands.append(Band((start, settings.end(number)), (low, high)))
    return bands


def _result(run: Run, cost: float, unit: str) -> list[Point]:
    return [Point(run.records[-1]["step"], cost, f"the result: {cost:.4g} {unit}", "e", "star", "result")]


def _in_range(run: Run, suffix: str) -> Iterator[Markup]:
    searched: Any = run.searched
    title = "P(in all ranges)" if len(searched.constraints) > 1 else "P(in range)"
    return _chart(run, f"{title}{suffix}", ["p_in_range"], low=0.0, high=1.0)


def _entropy(run: Run, suffix: str) -> Iterator[Markup]:
    return _chart(run, f"Entropy of the prior, nats{suffix}", ["entropy"], low=0.0)


def _losses(run: Run, suffix: str) -> Iterator[Markup]:
    names = {"loss": "the weights' clips", "held_out_loss": "held-out clips"}
    return _chart(run, f"Loss, mean over architectures{suffix}", list(names), names=list(names.values()))


def _scores(run: Run, suffix: str) -> Iterator[Markup]:
    names = {"best_log_likelihood": "best", "mean_log_likelihood": "mean"}
    return _chart(run, f"Log-likelihood of architectures, nats{suffix}", list(names), names=list(names.values()))


def _chart(run: Run, title: str, keys: list[str], names: Sequence[str] = (), **options: Any) -> Iterator[Markup]:
    settings: Any = run.searched.settings if run.searched else None
    series = []
    for colour, key in enumerate(keys):
        lines = []
        for number in range(len(settings.parts)):
            points = [(r["step"], r[key]) for r in run.records if r.get("part") == number and r.get(key) is not None]
            lines += [*thin([(float(x), float(y)) for x, y in points]), (0.0, math.nan)]
        if any(math.isfinite(y) for _, y in lines):
            series.append(Series(names[colour] if names else "", lines, colour))
    if not series:
        return
    starts = [settings.end(number) - part.length for number, part in enumerate(settings.parts)]
    marks = [(x, part.name) for x, part in zip(starts, settings.parts) if x <= run.records[-1]["step"]]
    yield line_chart(title, series, marks=marks, span=(0, settings.end(max(0, len(marks) - 1))), **options)


def decisions(runs: Sequence[Run]) -> Markup | None:
    """List every decision of every search with a prior: the choice, its lead, and the probabilities over time."""
    searches = [(r, list(_verdicts(r.searched, r.model))) for r in runs if r.searched and r.searched.learned]
    searches = [(run, verdicts) for run, verdicts in searches if verdicts]
    if not searches:
        return None
    parts = []
    for run, verdicts in searches:
        searched: Any = run.searched
        parts.append(
            section(
                "decisions",
                run=run,
                name=run.name if len(searches) > 1 else "",
                better=searched.evidence.better_than_chance,
                evidence=searched.evidence.sentence(),
                ranking=list(_clear_and_close(searched, verdicts)),
                decisions=verdicts,
                groups=_groups(run, verdicts),
            )
        )
    return Markup().join(parts)


def _verdicts(searched: Searched, arch: Model | None) -> Iterator[Verdict]:
    """Yield the choices; where nothing is chosen yet, all decisions of parts that the search has begun."""
    named = list(zip(searched.space.decisions, searched.log_probs(searched.space)))
    if isinstance(arch, Architecture):
        choices = dict(arch.choices)
    else:
        choices = {d.name: d.candidates[int(logp.argmax())] for d, logp in named if d.name in searched.learned}
    for decision, logp in named:
        if len(logp) > 1 and choices.get(decision.name) in decision.candidates:
            chosen = decision.candidates.index(choices[decision.name])
            yield Verdict(decision.name, decision.candidates, np.exp(logp), chosen)


def _clear_and_close(searched: Searched, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield lines about the decisions of parts whose supernet is better than chance."""
    better = {part.part for part in searched.evidence.parts if not part.at_chance}
    parts = [part for part in searched.space.parts if part.name in better or JOINT in better]
    verdicts = [one for one in verdicts if any(is_searched_in(part, one.name) for part in parts)]
    if not verdicts:
        return
    ranked = sorted(verdicts, key=lambda one: -one.lead)
    against = sum(one.lead < 0 for one in verdicts)
    line = f"{sum(one.lead > 0.5 for one in verdicts)} of {len(verdicts)} decisions lead by more than 50 points"
    why = "the range excluded the most probable candidate" if searched.choice is None else "the race took another one"
    yield line + (f"; in {against} {why}." if against else ".")
    for word, few in ("Clearest", ranked), ("Closest", sorted(verdicts, key=lambda one: abs(one.lead))):
        yield f"{word}: {'; '.join(f'{one.name} {one.choice} {one.points}' for one in few[:FEW])}"


class _Cell(NamedTuple):
    """A decision as a card shows it."""

    label: str
    choice: str
    points: str
    lead: float
    chances: list[str]
    picture: Markup


def _groups(run: Run, verdicts: Sequence[Verdict]) -> dict[str, dict[str, list[_Cell]]]:
    """Group decisions into a card for each stage of each stream, and one for each kind of site between; by block."""
    searched: Any = run.searched
    made_at = {name: site for site in sites(searched.space.network, searched.space.reference) for name in site.own}
    groups: dict[str, dict[str, list[_Cell]]] = {}
    for one in verdicts:
        site = made_at[one.name]
        card = f"{site.stream} {site.place}" if site.shape == "box" else site.kind
        block = one.name.split(".")[-2] if one.name.count(".") > 2 else ""
        cell = _Cell(one.label, one.choice, one.points, one.lead, one.chances, _history(run, one))
        groups.setdefault(card, {}).setdefault(block, []).append(cell)
    return groups


def _history(run: Run, one: Verdict) -> Markup:
    records = [record[one.name] for record in run.history if len(record.get(one.name, ())) == len(one.candidates)]
    if len(records) < 2:
        return Markup()
    instants = np.linspace(0, len(records) - 1, min(INSTANTS, len(records))).round().astype(int)
    lines = list(zip(map(_label, one.candidates), np.array(records)[instants].T.tolist()))
    return spark(lines, one.chosen, f"{one.name} over time", "b" if one.lead < 0 else "a")


def _label(candidate: object) -> str:
    return str(candidate).replace("_", " ")

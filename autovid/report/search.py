"""The report's sections about a search: how it went, and every decision over time."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from autovid.models import Model
from autovid.report.charts import Band, Point, Series, line_chart, spark, thin
from autovid.report.markup import Markup, join, tag
from autovid.report.runs import Run
from autovid.search import Searched
from autovid.search.latency import latencies_of
from autovid.solver import CostRange
from autovid.space import Architecture
from autovid.space.decisions import is_searched_in

INSTANTS = 40  # of a small picture
SHORT = {"temporal_kernel": "time", "spatial_kernel": "space", "expansion": "exp."}
FEW = 3  # decisions named as the closest and as the clearest


def curves(runs: Sequence[Run]) -> Markup | None:
    """Expected cost against the range, P(in range), entropy and losses, of all searches side by side."""
    there = [run for run in runs if run.searched and len(run.records) > 1]
    kinds = (_flops, _latency, _inside, _entropy, _losses)
    charts = [chart for kind in kinds for run in there if (chart := kind(run, run.name if len(there) > 1 else ""))]
    if not charts:
        return None
    text = (
        "In each part of a search the prior moves towards that part's range (green). While the weights warm up, the "
        "prior stands still."
    )
    return join([tag("p", text, class_="mute"), tag("div", *charts, class_="grid charts")])


def _flops(run: Run, name: str) -> Markup | None:
    assert run.searched is not None
    searched = run.searched
    bands = _bands(run, [searched.target.of(searched.space, number) for number in range(len(searched.settings.parts))])
    points = []
    if isinstance(run.model, Architecture):
        points = _found(run, int(run.model.cost["macs"]) / 1e9, "GFLOPs")
    return _chart(run, _named("Expected GFLOPs", name), ["expected_gflops"], bands=bands, points=points)


def _latency(run: Run, name: str) -> Markup | None:
    """Of a search that had a range of it."""
    assert run.searched is not None
    if run.searched.latency is None:
        return None
    points = []
    if isinstance(run.model, Architecture) and "latency_ms" in run.model.cost:
        points = _found(run, float(run.model.cost["latency_ms"]), "ms")
    bands = _bands(run, latencies_of(run.searched), 1e6)
    return _chart(run, _named("Expected latency, ms", name), ["expected_latency_ms"], bands=bands, points=points)


def _bands(run: Run, wanted: Sequence[CostRange | None], unit: float = 1e9) -> list[Band]:
    """The ranges of the parts that the search has come to."""
    assert run.searched is not None
    settings = run.searched.settings
    starts = [settings.end(number) - part.steps for number, part in enumerate(settings.parts)]
    return [
        Band((start, settings.end(number)), (ends.low / unit, ends.high / unit))
        for number, (start, ends) in enumerate(zip(starts, wanted))
        if ends is not None and start <= run.records[-1]["step"]
    ]


def _found(run: Run, cost: float, unit: str) -> list[Point]:
    return [Point(run.records[-1]["step"], cost, f"found: {cost:.4g} {unit}", "e", "star", "found")]


def _inside(run: Run, name: str) -> Markup | None:
    assert run.searched is not None
    both = run.searched.latency is not None and bool(run.searched.settings.flops)
    title = "P(in both ranges)" if both else "P(in range)"
    return _chart(run, _named(title, name), ["p_in_range"], low=0.0, high=1.0)


def _entropy(run: Run, name: str) -> Markup | None:
    return _chart(run, _named("Entropy of the prior, nats", name), ["entropy"], low=0.0)


def _losses(run: Run, name: str) -> Markup | None:
    names = {"loss": "weights' half of the data", "held_out_loss": "prior's half"}
    return _chart(run, _named("Loss, mean over architectures", name), list(names), names=list(names.values()))


def _named(title: str, name: str) -> str:
    return f"{title} · {name}" if name else title


def _chart(run: Run, title: str, keys: list[str], names: Sequence[str] = (), **options: Any) -> Markup | None:
    assert run.searched is not None
    settings = run.searched.settings
    series = []
    for colour, key in enumerate(keys):
        lines = [_part(run, number, key) for number in range(len(settings.parts))]
        points = [point for line in lines for point in (*line, (0.0, math.nan))]
        if any(math.isfinite(y) for _, y in points):
            series.append(Series(names[colour] if names else "", points, colour))
    if not series:
        return None
    starts = [settings.end(number) - part.steps for number, part in enumerate(settings.parts)]
    marks = [(x, part.name) for x, part in zip(starts, settings.parts) if x <= run.records[-1]["step"]]
    return line_chart(title, series, marks=marks, span=(0, settings.end(max(0, len(marks) - 1))), **options)


def _part(run: Run, number: int, key: str) -> list[tuple[float, float]]:
    points = [(r["step"], r[key]) for r in run.records if r.get("part") == number and r.get(key) is not None]
    return thin([(float(x), float(y)) for x, y in points])


class _Verdict(NamedTuple):
    """A decision at the end: its candidates' probabilities (C,), what was taken, and by how much that leads.

    Of a search that is not finished: as it stands, with the likeliest candidate as what would be taken.
    """

    name: str
    candidates: tuple[object, ...]
    probabilities: np.ndarray
    taken: int

    @property
    def lead(self) -> float:
        """Over the best of the others; negative where the range has made another one necessary."""
        return float(self.probabilities[self.taken] - np.delete(self.probabilities, self.taken).max())

    @property
    def says(self) -> str:
        """The short form."""
        return f"{self.word} {self.points}"

    @property
    def points(self) -> str:
        """The lead in hundredths."""
        return f"{100 * self.lead:+.0f}"

    @property
    def word(self) -> str:
        """What was taken."""
        return _word(self.candidates[self.taken])


def decisions(runs: Sequence[Run]) -> Markup | None:
    """Every decision of every search: what was taken, by how much it leads, and the probabilities over time."""
    there = [(run, found) for run in runs if run.searched and (found := list(_verdicts(run.searched, run.model)))]
    if not there:
        return None
    return join(_of_run(run, verdicts, named=len(there) > 1) for run, verdicts in there)


def _of_run(run: Run, verdicts: Sequence[_Verdict], named: bool) -> Markup:
    assert run.searched is not None
    cards = tag("div", *_cards(run, verdicts), class_="cards")
    parts = [tag("h3", run.name)] if named else []
    marked = "the one that was taken" if run.model else "the likeliest so far"
    text = f"Probability of each candidate over time, from 0 to 100 %; in blue {marked}, with its lead over the next. "
    if run.model:
        text += "In orange and with a minus: another was likelier, and the range decided."
    else:
        text += "The search is not finished: what it has not come to is left out, and all may change."
    details = tag("details", tag("summary", f"All {len(verdicts)} decisions"), cards, open="" if not named else None)
    return join([*parts, *_summary(run.searched, verdicts), tag("p", text, class_="mute"), details])


def _verdicts(searched: Searched, arch: Model | None) -> Iterator[_Verdict]:
    """Of what is chosen; where nothing is chosen yet, of all decisions that a part of the search has come to."""
    if isinstance(arch, Architecture):
        chosen = dict(arch.choices)
    else:
        named = zip(searched.space.decisions, searched.log_probs(searched.space))
        chosen = {d.name: d.candidates[int(logp.argmax())] for d, logp in named if d.name in searched.alpha}
    for decision, logp in zip(searched.space.decisions, searched.log_probs(searched.space)):
        if len(logp) > 1 and chosen.get(decision.name) in decision.candidates:
            taken = decision.candidates.index(chosen[decision.name])
            yield _Verdict(decision.name, decision.candidates, np.exp(logp), taken)


def _summary(searched: Searched, verdicts: Sequence[_Verdict]) -> Iterator[Markup]:
    """What is won, of the decisions of parts whose supernet is better than chance; of others that it is not."""
    evidence = searched.evidence
    yield tag("p", evidence.sentence(), class_=None if evidence.better_than_chance else "note")
    proven = {one.part for one in evidence.parts if not one.at_chance}
    open_parts = [part for part in searched.space.parts if part.name in proven]
    verdicts = [one for one in verdicts if any(is_searched_in(part, one.name) for part in open_parts)]
    if not verdicts:
        return
    ranked = sorted(verdicts, key=lambda one: -one.lead)
    against = sum(one.lead < 0 for one in verdicts)
    text = f"{sum(one.lead > 0.5 for one in verdicts)} of {len(verdicts)} decisions are won by more than 50 points"
    text += f"; {against} went to another than the most probable candidate, for the range's sake" if against else ""
    yield tag("p", f"{text}.")
    for word, few in ("Clearest", ranked), ("Closest", sorted(verdicts, key=lambda one: abs(one.lead))):
        yield tag("p", f"{word}: ", "; ".join(f"{one.name} {one.says}" for one in few[:FEW]), class_="mute")


def _cards(run: Run, verdicts: Sequence[_Verdict]) -> Iterator[Markup]:
    """One for each stage of each stream, and for fusion and attention."""
    groups: dict[str, list[_Verdict]] = {}
    for one in verdicts:
        first, second, *_ = one.name.split(".")
        groups.setdefault(first if first in ("fusion", "attention") else f"{first} {second}", []).append(one)
    for name, group in groups.items():
        rows: dict[str, list[_Verdict]] = {}
        for one in group:
            rows.setdefault(one.name.rpartition(".")[0] if one.name.count(".") > 2 else "", []).append(one)
        cells = [cell for place, row in rows.items() for cell in _row(run, place, row)]
        yield tag("div", tag("h4", name), tag("div", *cells, class_="decisions"), class_="card")


def _row(run: Run, place: str, row: Sequence[_Verdict]) -> Iterator[Markup]:
    if place:
        yield tag("div", place.rpartition(".")[2], class_="row")
    for one in row:
        label = SHORT.get(one.name.rpartition(".")[2], one.name.rpartition(".")[2])
        chances = [f"{_word(c)}: {100 * p:.0f} %" for c, p in zip(one.candidates, one.probabilities)]
        picture = _history(run, one)
        yield tag(
            "div",
            *picture,
            tag("span", f"{label} ", class_="mute"),
            tag("span", tag("b", one.word), f" {one.points}", class_="against" if one.lead < 0 else None),
            tag("div", join((tag("span", chance) for chance in _listed(chances)), " "), class_="mute chances"),
            class_="decision",
            title=", ".join(chances),
        )


def _listed(parts: Sequence[str]) -> list[str]:
    return [*(f"{part}," for part in parts[:-1]), *parts[-1:]]


def _history(run: Run, one: _Verdict) -> list[Markup]:
    known = [record[one.name] for record in run.history if len(record.get(one.name, ())) == len(one.candidates)]
    if len(known) < 2:
        return []
    chosen = np.linspace(0, len(known) - 1, min(INSTANTS, len(known))).round().astype(int)
    lines = np.array(known)[chosen].T.tolist()
    named = list(zip(map(_word, one.candidates), lines))
    return [spark(named, one.taken, f"{one.name} over time", "b" if one.lead < 0 else "a")]


def _word(candidate: object) -> str:
    return str(candidate).replace("_", " ")

"""The outline of a network in pictures: rows from the clip down to the classes, with a cell for each of its streams."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from autovid.blocks.block import SKIP, Choice
from autovid.blocks.site import Shape, Site, Size
from autovid.costs import gflops
from autovid.space import Architecture

Probabilities = Mapping[str, tuple[tuple[object, ...], np.ndarray]]
"""By decision: its candidates, and the probability of each (C,)."""


class Box(NamedTuple):
    """A piece of one stream and the feature map that it gives; `title` is shown when pointed at.

    In an outline with columns `label` is a part for each; else the first part stands above the others.
    """

    channels: int
    size: Size
    label: tuple[str, ...]
    title: str
    shape: Shape = "box"


class Heading(NamedTuple):
    """The beginning of a stage: its name, and for each stream what its maps measure."""

    name: str
    notes: tuple[str, ...]


class Boxes(NamedTuple):
    """Pieces at one depth, one for each stream that has any."""

    cells: tuple[Box | None, ...]


class Arrow(NamedTuple):
    """Features that flow from one stream into the other."""

    source: int
    target: int
    label: str
    title: str


class Aside(NamedTuple):
    """A piece that gives no feature map."""

    label: str
    title: str


class Outline(NamedTuple):
    """A network as it is drawn. `foot` are the pieces behind the streams, or beside them.

    `costs` are the MACs of its stages, by name; `asked` is what was asked for beside its name, `arrows` what the legend
    says of these. Where `columns`, the parts of labels stand below one another's.
    """

    title: str
    about: str
    lanes: tuple[str, ...]
    rows: tuple[Heading | Boxes | Arrow | Aside, ...]
    foot: tuple[Aside, ...]
    costs: tuple[tuple[str, int], ...]
    asked: tuple[str, ...] = ()
    arrows: str = "→: fusion"
    columns: bool = False


def architecture_outline(arch: Architecture, prior: Probabilities | None = None) -> Outline:
    """Outline an architecture at its reference input, with the prior of the search that has found it, if known."""
    return _Architecture(arch, prior or {}).outline()


class _Architecture:
    def __init__(self, arch: Architecture, prior: Probabilities) -> None:
        self.arch, self.prior = arch, prior
        self.lanes = tuple(arch.network.streams)
        self.table = arch.as_space().cost_table()
        self.costs = {site.name: int(factor.table.sum()) for site, factor in self.table.sites}

    def outline(self) -> Outline:
        at, sites = self.arch.reference, [site for site, _ in self.table.sites]
        macs = sum(self.costs.values())
        params = sum(site.block.params(site, self._choice(site)) for site in sites)
        cost = gflops(macs, digits=4)
        about = f"{cost} GFLOPs at {at.frames} × {at.crop}² · {params / 1e6:.2f} M parameters"
        places = groupby(sites, key=attrgetter("place"))
        rows = tuple(row for place, group in places for row in self._rows(place, list(group)))
        foot = tuple(Aside(self._label(site)[0], self._title(site)) for site in sites if site.shape == "foot")
        title = f"{self.arch.space} {self.arch.hash}"
        return Outline(title, about, self.lanes, rows, foot, self._stages(), columns=True)

    def _stages(self) -> tuple[tuple[str, int], ...]:
        sums: dict[str, int] = {}
        for site, _ in self.table.sites:
            place = site.place.replace("stage", "stage ")
            stage = f"{site.stream} {place}" if site.shape == "box" else site.name.split(".")[0]
            sums[stage] = sums.get(stage, 0) + self.costs[site.name]
        return tuple(sums.items())

    def _rows(self, place: str, sites: Sequence[Site]) -> Iterator[Heading | Boxes | Arrow]:
        """Yield a heading, the boxes side by side, then what stands between this place and the next."""
        boxes = [site for site in sites if site.shape == "box"]
        if boxes:
            last = {site.stream: self._box(site) for site in boxes}
            notes = tuple(measures(last[lane].channels, last[lane].size) if lane in last else "" for lane in self.lanes)
            yield Heading(place.replace("stage", "stage "), notes)
        for index in sorted({site.index for site in boxes}):
            yield self._across([site for site in boxes if site.index == index])
        for site in sites:
            if self._choice(site).get("operation") == SKIP:
                continue
            if site.shape == "arrow":
                ends = (self.lanes.index(site.inputs[0].stream), self.lanes.index(site.stream))
                yield Arrow(*ends, self._label(site)[0], self._title(site))
            elif site.shape == "badge":
                yield self._across([site])

    def _across(self, sites: Sequence[Site]) -> Boxes:
        boxes = {site.stream: self._box(site) for site in sites}
        return Boxes(tuple(boxes.get(lane) for lane in self.lanes))

    def _box(self, site: Site) -> Box:
        size = site.size if site.place != "head" else site.size_in  # before the mean
        return Box(self._choice(site)["width"], size, self._label(site), self._title(site), site.shape)

    def _choice(self, site: Site) -> Choice:
        return site.choice(self.arch.choices)

    def _label(self, site: Site) -> tuple[str, ...]:
        return site.block.label(site, self._choice(site))

    def _title(self, site: Site) -> str:
        """All that is known of a site, for who points at it."""
        params = site.block.params(site, self._choice(site))
        costs = f"{self.costs[site.name] / 1e6:,.2f} MMACs, {params:,} parameters"
        lines = [site.name, site.summary(self._choice(site)), costs]
        for name in site.own:
            if name in self.prior:
                lines.append(f"prior of {name.rpartition('.')[2].replace('_', ' ')}: {said(*self.prior[name])}")
        return "\n".join(lines)


def measures(channels: int, size: Size) -> str:
    """Return a feature map in a few characters: `48 ch · 8×20²`."""
    pixels = f"{size.height}²" if size.height == size.width else f"{size.height}×{size.width}"
    return f"{channels} ch · {size.frames}×{pixels}"


def said(candidates: Sequence[object], probabilities: np.ndarray) -> str:
    """`3: 12 %, 5: 88 %`."""
    return ", ".join(f"{value}: {_percent(float(p))}" for value, p in zip(candidates, probabilities))


def _percent(p: float) -> str:
    return f"{100 * p:.0f} %" if math.isfinite(p) else "?"

"""What is drawn of a network: rows from the clip down to the classes, with a cell for each of its streams."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from autovid.blocks.mbconv3d import inner_width
from autovid.blocks.site import AttentionSite, BlockSite, ClassifierSite, FusionSite, HeadSite, Site, Size, StemSite
from autovid.costs import count, macs_table
from autovid.models import build
from autovid.models.builder import module_name
from autovid.solver import gflops
from autovid.space import Architecture
from autovid.space.layout import sites, stream_size

Kind = Literal["stem", "block", "attention", "head"]
Prior = Mapping[str, tuple[tuple[object, ...], np.ndarray]]
"""By decision: its candidates, and the probability of each (C,)."""

FUSIONS = {"strided_conv": "strided conv", "strided_sampling": "sampling", "time_to_channel": "time → channel"}
ATTENTIONS = {"glore": "GloRe", "nonlocal": "non-local"}


class Box(NamedTuple):
    """A piece of one stream and the feature map that it gives; `title` is shown when pointed at.

    In an outline with columns `label` is a part for each; else the first part stands above the others.
    """

    channels: int
    size: Size
    label: tuple[str, ...]
    title: str
    kind: Kind = "block"


class Heading(NamedTuple):
    """Where a stage begins: its name, and for each stream what its maps measure."""

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


def architecture_outline(arch: Architecture, prior: Prior | None = None) -> Outline:
    """An architecture of a space at its reference input; with the prior of the search that has found it, if known."""
    return _Architecture(arch, prior or {}).outline()


class _Architecture:
    def __init__(self, arch: Architecture, prior: Prior) -> None:
        self.arch, self.prior = arch, prior
        self.lanes = tuple(arch.network.streams)
        self.table = macs_table(arch.as_space())
        with torch.device("meta"):
            self.net = build(arch)
        self.costs = {site.name: int(factor.table.sum()) for site, factor in self.table.sites}

    def outline(self) -> Outline:
        figures = count(self.net)
        at = self.arch.reference
        cost, millions = gflops(figures.macs, digits=4), figures.params / 1e6
        about = f"{cost} GFLOPs at {at.frames} × {at.crop}² · {millions:.2f} M parameters"
        everything = tuple(sites(self.arch.network))
        foot = tuple(self._foot(site) for site in everything if isinstance(site, ClassifierSite))
        title = f"{self.arch.space} {self.arch.hash}"
        return Outline(title, about, self.lanes, tuple(self._rows(everything)), foot, self._stages(), columns=True)

    def _stages(self) -> tuple[tuple[str, int], ...]:
        sums: dict[str, int] = {}
        for name, macs in self.costs.items():
            stage = name.split(".")[0] if name.startswith(("fusion.", "attention.")) else name.partition(".block")[0]
            stage = stage.replace(".", " ").replace("stage", "stage ")
            sums[stage] = sums.get(stage, 0) + macs
        return tuple(sums.items())

    def _rows(self, everything: Sequence[Site]) -> Iterator[Heading | Boxes | Arrow]:
        yield self._heading("stem", [site for site in everything if isinstance(site, StemSite)])
        yield self._across([site for site in everything if isinstance(site, StemSite)])
        yield from self._meeting("stem", everything)
        for number in range(1, max(len(s.stages) for s in self.arch.network.streams.values()) + 1):
            place = f"stage{number}"
            blocks = [site for site in everything if isinstance(site, BlockSite) and f".{place}." in site.name]
            yield self._heading(f"stage {number}", blocks)
            for index in range(1, 1 + max(int(site.name.rpartition("block")[2]) for site in blocks)):
                yield self._across([site for site in blocks if site.name.endswith(f".block{index}")])
            yield from self._meeting(place, everything)
        heads = [site for site in everything if isinstance(site, HeadSite)]
        yield self._heading("head", heads)
        yield self._across(heads)

    def _heading(self, name: str, here: Sequence[StemSite | BlockSite | HeadSite]) -> Heading:
        last = {site.stream: self._box(site) for site in here}
        return Heading(name, tuple(_measures(last[lane]) if lane in last else "" for lane in self.lanes))

    def _across(self, here: Sequence[StemSite | BlockSite | HeadSite]) -> Boxes:
        boxes = {site.stream: self._box(site) for site in here}
        return Boxes(tuple(boxes.get(lane) for lane in self.lanes))

    def _meeting(self, place: str, everything: Sequence[Site]) -> Iterator[Arrow | Boxes]:
        for site in everything:
            chosen = self.arch.choices.get(site.name)
            if not site.name.endswith(f".{place}") or chosen in (None, "skip"):
                continue
            title = self._title(site, (site.name,))
            if isinstance(site, FusionSite):
                ends = (self.lanes.index(site.source), self.lanes.index(site.target))
                yield Arrow(*ends, FUSIONS.get(str(chosen), str(chosen)), title)
            elif isinstance(site, AttentionSite):
                width, size = int(self.arch.choices[site.width]), self._size(site.stream, site.downsampling)
                box = Box(width, size, (ATTENTIONS.get(str(chosen), str(chosen)),), title, "attention")
                yield Boxes(tuple(box if lane == site.stream else None for lane in self.lanes))

    def _box(self, site: StemSite | BlockSite | HeadSite) -> Box:
        if isinstance(site, StemSite):
            label: tuple[str, ...] = (f"1×{site.spatial_kernel}²", f"{site.temporal_kernel}×1²")
            return Box(site.width, self._size(site.stream, 2), label, self._title(site, ()), "stem")
        if isinstance(site, HeadSite):
            return Box(site.width, self._size(site.stream, site.downsampling), ("1×1²",), self._title(site, ()), "head")
        t, k, e = (self.arch.choices[name] for name in site.scope[-3:])
        size = self._size(site.stream, site.downsampling * site.stride)
        label = (f"{t}×{k}²", f"×{e:g}", *(["SE"] if site.squeeze else []))
        own = site.scope[-3:] if not site.name.endswith(".block1") else (site.width, *site.scope[-3:])
        return Box(int(self.arch.choices[site.width]), size, label, self._title(site, own))

    def _size(self, stream: str, downsampling: int) -> Size:
        at = self.arch.reference
        return stream_size(self.arch.network, stream, at.frames, at.crop, downsampling)

    def _title(self, site: Site, decisions: Sequence[str]) -> str:
        """All that is known of a site, for who points at it."""
        params = sum(p.numel() for p in self.net.sites[module_name(site)].parameters())
        lines = [site.name, self._what(site), f"{self.costs[site.name] / 1e6:,.2f} MMACs, {params:,} parameters"]
        for name in decisions:
            if name in self.prior:
                lines.append(f"prior of {name.rpartition('.')[2].replace('_', ' ')}: {said(*self.prior[name])}")
        return "\n".join(lines)

    def _what(self, site: Site) -> str:
        choices = self.arch.choices
        match site:
            case StemSite():
                side = site.spatial_kernel
                return f"{site.width} channels, 1×{side}×{side} with stride 2, then {site.temporal_kernel}×1×1"
            case BlockSite():
                t, k, e = (choices[name] for name in site.scope[-3:])
                width = int(choices[site.width])
                extras = f", stride {site.stride}" * (site.stride > 1) + ", squeeze-excitation" * bool(site.squeeze)
                return (
                    f"{width} channels, kernel {t}×{k}×{k}, expansion {e:g} to {inner_width(width, float(e))}{extras}"
                )
            case FusionSite():
                return f"{choices[site.name]}, from {site.source} into {site.target}"
            case AttentionSite():
                return f"attention: {ATTENTIONS.get(str(choices[site.name]), choices[site.name])}"
            case HeadSite():
                return f"1×1×1 to {site.width} channels, then averaged over time and space"
        return f"{site.width_in} pooled features to {site.width} to {self.net.classes} classes"

    def _foot(self, site: ClassifierSite) -> Aside:
        label = f"{site.width_in} features → {site.width} → {self.net.classes} classes"
        return Aside(label, self._title(site, ()))


def _measures(box: Box) -> str:
    return measures(box.channels, box.size)


def measures(channels: int, size: Size) -> str:
    """A feature map in a few characters: `48 ch · 8×20²`."""
    room = f"{size.height}²" if size.height == size.width else f"{size.height}×{size.width}"
    return f"{channels} ch · {size.frames}×{room}"


def said(candidates: Sequence[object], probabilities: np.ndarray) -> str:
    """`3: 12 %, 5: 88 %`."""
    return ", ".join(f"{value}: {_percent(float(p))}" for value, p in zip(candidates, probabilities))


def _percent(p: float) -> str:
    return f"{100 * p:.0f} %" if math.isfinite(p) else "?"

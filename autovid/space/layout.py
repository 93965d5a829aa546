"""The layout of a network: its sites, listed by one walk that all share, and the decisions that are left open."""

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from autovid.blocks.block import Width, mark
from autovid.blocks.registry import BLOCKS
from autovid.blocks.site import (
    AttentionSite,
    BlockSite,
    ClassifierSite,
    FusionSite,
    HeadSite,
    Input,
    Site,
    Size,
    StemSite,
)
from autovid.space.schema import (
    AttentionConfig,
    FusionConfig,
    NetworkConfig,
    Part,
    Reference,
    SpaceFile,
    StreamConfig,
    Value,
)


@dataclass(frozen=True)
class Decision:
    """One choice to be made: its name, such as `sparse.stage1.block2.expansion`, and its candidates."""

    name: str
    candidates: tuple[Value, ...]


def depth(base: int, factor: float) -> int:
    """Blocks of a stage, rounded up as X3D does (1/2/5/3 at 2.2 give 3/5/11/7)."""
    return max(1, math.ceil(round(base * factor, 6)))


def sites(network: NetworkConfig, reference: Reference) -> Iterator[Site]:
    """All sites in the order in which the network runs: stems, then stage by stage, then heads.

    Sizes are those of a clip of the reference input; the classifier is for its classes.
    """
    yield from _Walk(network, reference).sites()


class _Walk:
    """One pass over a macro table; `maps` are the sizes of the streams' maps so far."""

    def __init__(self, network: NetworkConfig, reference: Reference) -> None:
        self.network, self.reference = network, reference
        self.maps = {
            name: Size(reference.frames // stream.frame_stride, reference.crop, reference.crop)
            for name, stream in network.streams.items()
        }

    def sites(self) -> Iterator[Site]:
        network = self.network
        for name, stream in network.streams.items():
            yield self._stem(name, stream)
        yield from self._meeting("stem")
        for number in range(1, max(len(s.stages) for s in network.streams.values()) + 1):
            for name, stream in network.streams.items():
                if number <= len(stream.stages):
                    yield from self._stage(name, stream, number)
            yield from self._meeting(f"stage{number}")
        for name, stream in network.streams.items():
            yield self._head(name, stream)
        yield self._classifier()

    def _width(self, stream: str, place: str) -> int | str:
        """Channels of a stream behind a place: the stem's, or a stage's decision."""
        return self.network.streams[stream].stem.width if place == "stem" else f"{stream}.{place}.width"

    def _stem(self, name: str, stream: StreamConfig) -> StemSite:
        before = self.maps[name]
        after = self.maps[name] = before.strided(2)
        return StemSite(
            name=f"{name}.stem",
            kind="stem",
            place="stem",
            stream=name,
            inputs=(Input(name, 3, before),),
            variables=(("width_in", 3), ("width", stream.stem.width)),
            size=after,
            temporal_kernel=stream.stem.temporal_kernel,
            spatial_kernel=stream.stem.spatial_kernel,
            frame_stride=stream.frame_stride,
        )

    def _stage(self, name: str, stream: StreamConfig, number: int) -> Iterator[BlockSite]:
        stage, place = stream.stages[number - 1], f"stage{number}"
        kind, width = stage.block or stream.block, self._width(name, place)
        for index in range(depth(stage.depth, self.network.depth_factor)):
            stride = stage.stride if index == 0 else 1
            before = self.maps[name]
            after = self.maps[name] = before.strided(stride)
            previous = "stem" if number == 1 else f"stage{number - 1}"
            width_in = width if index else self._width(name, previous)
            site = f"{name}.{place}.block{index + 1}"
            own = ((choice, f"{site}.{choice}") for choice in BLOCKS.load(kind)().choices)
            yield BlockSite(
                name=site,
                kind=kind,
                place=place,
                stream=name,
                inputs=(Input(name, width_in, before),),
                variables=(("width_in", width_in), ("width", width), *own),
                size=after,
                stage=number,
                index=index,
                stride=stride,
                squeeze=self.network.squeeze if index % 2 == 0 else 0,
            )

    def _meeting(self, place: str) -> Iterator[FusionSite | AttentionSite]:
        """Yield the sites that follow a place: first the fusion, then attention."""
        fusion, attention = self.network.fusion, self.network.attention
        if fusion is not None and place in fusion.after:
            yield self._fusion(fusion, place)
        if attention is not None and place in attention.after:
            yield self._attention(attention, place)

    def _fusion(self, fusion: FusionConfig, place: str) -> FusionSite:
        streams, name = self.network.streams, f"fusion.{place}"
        source, target = (Input(end, self._width(end, place), self.maps[end]) for end in (fusion.source, fusion.target))
        return FusionSite(
            name=name,
            kind="fusion",
            place=place,
            stream=fusion.target,
            inputs=(source, target),
            variables=(("width_in", source.width), ("width", target.width), ("operation", name)),
            size=self.maps[fusion.target],
            ratio=streams[fusion.target].frame_stride // streams[fusion.source].frame_stride,
            kernel=fusion.kernel,
        )

    def _attention(self, attention: AttentionConfig, place: str) -> AttentionSite:
        stream, name = attention.stream, f"attention.{place}"
        width = self._width(stream, place)
        return AttentionSite(
            name=name,
            kind="attention",
            place=place,
            stream=stream,
            inputs=(Input(stream, width, self.maps[stream]),),
            variables=(("width_in", width), ("width", width), ("operation", name)),
            size=self.maps[stream],
            keys=attention.keys,
        )

    def _head(self, name: str, stream: StreamConfig) -> HeadSite:
        width_in = self._width(name, f"stage{len(stream.stages)}")
        return HeadSite(
            name=f"{name}.head",
            kind="head",
            place="head",
            stream=name,
            inputs=(Input(name, width_in, self.maps[name]),),
            variables=(("width_in", width_in), ("width", stream.head)),
            size=Size(1, 1, 1),
        )

    def _classifier(self) -> ClassifierSite:
        heads = {name: stream.head for name, stream in self.network.streams.items()}
        return ClassifierSite(
            name="classifier",
            kind="classifier",
            place="classifier",
            stream="classifier",
            inputs=tuple(Input(name, width, None) for name, width in heads.items()),
            variables=(("width_in", sum(heads.values())), ("width", self.network.head_width)),
            size=Size(1, 1, 1),
            classes=self.reference.classes,
            dropout=self.network.dropout,
        )


def decide(content: SpaceFile, candidates: Mapping[str, Mapping[str, Any]]) -> tuple[Decision, ...]:
    """Return the decisions of a space's file, in the order of its sites; `candidates` are checked, by stream."""
    decisions = []
    for name, kind in decision_types(content.network, content.reference).items():
        stream, *place, variable = name.split(".")
        if operations := mark(kind, "operations"):
            values = getattr(content, operations)
        elif variable == "width":
            values = candidates[stream]["width"][int(place[0].removeprefix("stage")) - 1]
        else:
            values = candidates[stream][variable]
        decisions.append(Decision(name, values))
    return tuple(decisions)


def decision_types(network: NetworkConfig, reference: Reference) -> dict[str, Any]:
    """Return the type of the values of every decision, by name, in the order of the sites."""
    types: dict[str, Any] = {}
    for site in sites(network, reference):
        own = {"width_in": Width, "width": Width, **site.block.choices}
        for variable, name in site.variables:
            if isinstance(name, str):
                types.setdefault(name, own[variable])
    return types


def is_searched_in(part: Part, decision: str) -> bool:
    """Say whether a part of the search opens this decision."""
    return any(fnmatch.fnmatchcase(decision, pattern) for pattern in part.search)


def with_streams(network: NetworkConfig, streams: Sequence[str]) -> NetworkConfig:
    """Return the macro table with only these streams; a fusion that has lost an end goes too."""
    kept = {name: stream for name, stream in network.streams.items() if name in streams}
    fusion, attention = network.fusion, network.attention
    if fusion is not None and not {fusion.source, fusion.target} <= kept.keys():
        fusion = None
    if attention is not None and attention.stream not in kept:
        attention = None
    return msgspec.structs.replace(network, streams=kept, fusion=fusion, attention=attention)

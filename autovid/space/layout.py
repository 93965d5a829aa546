"""Where everything stands in a network: the one walk that builder, cost table and description share."""

import math
from collections.abc import Iterator

from autovid.blocks.site import AttentionSite, BlockSite, ClassifierSite, FusionSite, HeadSite, Site, Size, StemSite
from autovid.space.schema import Fusion, Network, Stream


def depth(base: int, factor: float) -> int:
    """Blocks of a stage, rounded up as X3D does (1/2/5/3 at 2.2 give 3/5/11/7)."""
    return max(1, math.ceil(round(base * factor, 6)))


def sites(network: Network) -> Iterator[Site]:
    """All sites in the order in which the network runs: stems, then stage by stage, then heads."""
    for name, stream in network.streams.items():
        stem = stream.stem
        yield StemSite(f"{name}.stem", name, (), stem.width, stem.temporal_kernel, stem.spatial_kernel)
    yield from _meeting(network, "stem", 2)
    before = dict.fromkeys(network.streams, 2)
    for number in range(1, max(len(s.stages) for s in network.streams.values()) + 1):
        for name, stream in network.streams.items():
            if number <= len(stream.stages):
                yield from _stage(network, name, stream, number, before[name])
                before[name] *= stream.stages[number - 1].stride
        yield from _meeting(network, f"stage{number}", next(iter(before.values())))
    for name, stream in network.streams.items():
        width = f"{name}.stage{len(stream.stages)}.width"
        yield HeadSite(f"{name}.head", name, (width,), width, stream.head, before[name])
    pooled = sum(stream.head for stream in network.streams.values())
    yield ClassifierSite("classifier", (), pooled, network.head_width)


def _stage(network: Network, name: str, stream: Stream, number: int, before: int) -> Iterator[BlockSite]:
    stage = stream.stages[number - 1]
    width = f"{name}.stage{number}.width"
    for index in range(depth(stage.depth, network.depth_factor)):
        site = f"{name}.stage{number}.block{index + 1}"
        first = index == 0
        width_in = width if not first else stream.stem.width if number == 1 else f"{name}.stage{number - 1}.width"
        widths = (width,) if isinstance(width_in, int) or width_in == width else (width_in, width)
        own = (f"{site}.temporal_kernel", f"{site}.spatial_kernel", f"{site}.expansion")
        yield BlockSite(
            site,
            name,
            (*widths, *own),
            width_in,
            stage.stride if first else 1,
            network.squeeze if index % 2 == 0 else 0,
            before if first else before * stage.stride,
        )


def _meeting(network: Network, place: str, downsampling: int) -> Iterator[FusionSite | AttentionSite]:
    """What follows a place: first the fusion, then attention."""
    fusion, attention = network.fusion, network.attention
    if fusion is not None and place in fusion.after:
        yield _fusion(network, fusion, place, downsampling)
    if attention is not None and place in attention.after:
        name, width = f"attention.{place}", f"{attention.stream}.{place}.width"
        yield AttentionSite(name, attention.stream, (width, name), width, attention.keys, downsampling)


def _fusion(network: Network, fusion: Fusion, place: str, downsampling: int) -> FusionSite:
    def width(stream: str) -> str | int:
        return network.streams[stream].stem.width if place == "stem" else f"{stream}.{place}.width"

    name, widths = f"fusion.{place}", (width(fusion.source), width(fusion.target))
    return FusionSite(
        name,
        (*(w for w in widths if isinstance(w, str)), name),
        fusion.source,
        fusion.target,
        *widths,
        network.streams[fusion.target].every // network.streams[fusion.source].every,
        fusion.kernel,
        downsampling,
    )


def stream_size(network: Network, stream: str, frames: int, crop: int, downsampling: int) -> Size:
    """What a stream's feature map measures after this much spatial stride, for clips of `frames` x `crop` x `crop`."""
    size = Size(frames // network.streams[stream].every, crop, crop)
    return size.strided(downsampling)  # ceilings of quotients compose, so one division is exact

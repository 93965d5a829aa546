"""The outline of a hand-designed network: its pieces in the order in which they run, in one stream or two.

Pieces and layers are called as papers call them, not as the code does.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from autovid.blocks.site import Size
from autovid.costs import gflops
from autovid.costs.count import Stage, count_stages
from autovid.layers.convolutions import Residual
from autovid.models import Network, NetworkSpec
from autovid.models.factory import Option
from autovid.models.frame_networks import InvertedResidual
from autovid.models.s2dnet import S2DNet
from autovid.report.outline import Arrow, Aside, Box, Boxes, Heading, Outline, measures
from autovid.train.trained import title_of

FEWEST = 4  # pieces with feature maps that make a stream of a child of the network
LANES = {"synopsis": "synopsis: the glance", "detail": "detail: a closer look"}
JOINED = "→ +n ch: n channels, made of the fast stream's, join those of the slow one"
FUSED = "→ context: what the glance has seen, fused into the details"
SAMPLING = "sampling"  # what S2DNet computes in none of its layers

LAYERS = {
    "DenseAggregation": "temporal convolution",
    "DynamicNorm": "dynamic norm",
    "GloRe": "GloRe",
    "LearnableShift": "learned shift",
    "LongTermDifference": "long-term difference",
    "NonLocalBlock": "non-local",
    "RandomDrop": "random drop",
    "RandomMeanScaling": "random mean scaling",
    "ShakeDrop": "ShakeDrop",
    "TemporalAdaptive": "temporal adaptive module",
    "TemporalAggregation": "temporal aggregation",
    "TemporalShift": "temporal shift",
}
"""By class: layers between the convolutions of a network, which tell it from another."""

PIECES = {
    "context": "context vector, for the details",
    "elsewhere": "computed outside of its layers",
    "locator": "sampler: where and when to look closer",
    "sampling": "cutting the details out of the clip",
    "short_term": "short-term differences, beside stem and stage 1",
    "synopsis": "synopsis network",
}
"""By name of a module: pieces that are neither a stem nor a stage."""


class _Traced(NamedTuple):
    """A stage, and its feature map if it gives one."""

    stage: Stage
    module: nn.Module
    channels: int = 0
    size: Size | None = None

    @property
    def stream(self) -> str:
        return self.stage.name.split(".")[0]

    @property
    def place(self) -> str:
        """The place in its stream: `stem`, `stage 1 (res2)`, `head`."""
        name = self.stage.name
        inner = piece_label(name if self.stream in ("stages", "layers", "after") else name.partition(".")[2])
        stage = re.match(r"stage \d+", inner or piece_label(name))
        if stage is None:
            return inner or piece_label(name)
        numbers = {block.stage for block in self.module.modules() if isinstance(block, Residual)}
        return f"{stage[0]} (res{numbers.pop()})" if len(numbers) == 1 and ".stages." in f".{name}" else stage[0]

    @property
    def block_count(self) -> int:
        return sum(isinstance(part, Residual | InvertedResidual) for part in self.module.modules())

    @property
    def kernels(self) -> str:
        """Sizes of the convolutions that see more than a point, as time×space², or 1×1² where there are no others."""
        weights = [weight for weight in self.module.parameters() if weight.dim() in (4, 5)]
        sizes = [f"{1 if weight.dim() == 4 else weight.shape[2]}×{weight.shape[-1]}²" for weight in weights]
        return " ".join(dict.fromkeys([size for size in sizes if size != "1×1²"] or sizes))

    @property
    def layers(self) -> list[str]:
        """Layers between its convolutions: `temporal shift` where every block has one, else `2 × non-local`."""
        kinds = (type(layer).__name__ for layer in self.module.modules())
        counts = Counter(LAYERS[kind] for kind in kinds if kind in LAYERS)
        blocks = max(1, self.block_count)
        return [name if number == blocks else f"{number} × {name}" for name, number in counts.items()]


def network_outline(net: Network, spec: NetworkSpec) -> Outline:
    """Outline a network on the meta device, at its own clip."""
    total, counted = count_stages(net)
    stages = [_renamed(stage, net) for stage in counted]
    pieces = _trace(net, stages)
    mapped = [piece for piece in pieces if piece.size]
    lanes = _streams(net, mapped)
    last = pieces.index(mapped[-1])
    beside = [piece.stage for piece in pieces[last + 1 :]]
    beside += [stage for stage in stages if stage not in [piece.stage for piece in pieces]]
    clip = f"{net.clip.frames} × {net.clip.crop}²"
    return Outline(
        title_of(spec),
        f"{gflops(total.macs, digits=4)} GFLOPs at {clip} · {total.params / 1e6:.2f} M parameters",
        tuple(LANES.get(lane, lane) for lane in lanes) or ("",),
        tuple(_rows(pieces[: last + 1], lanes)),
        tuple(_aside(stage) for stage in beside),
        tuple((piece_label(stage.name), stage.macs) for stage in stages),
        asked=tuple(_options(spec.options) + _module_options(spec.modules)),
        arrows=FUSED if isinstance(net, S2DNet) else JOINED,
    )


def piece_label(name: str) -> str:
    """Name a piece by its module's name: `fast.stages.0` is `fast stage 1`."""
    if name in PIECES:
        return PIECES[name]
    label = re.sub(r"\bstages\.(\d+)", lambda match: f"stage {int(match[1]) + 1}", name)
    label = re.sub(r"\blaterals\.(\d+)", lambda match: f"lateral connection {int(match[1]) + 1}", label)
    label = re.sub(r"\b(layers|sites)\.|\bmain-", "", label).replace("fusions.", "context into ")
    label = re.sub(r"\b(stage|block|inception|conv)(\d)", r"\1 \2", label)
    return re.sub(r"[.\-_]", " ", label)


def _options(options: Mapping[str, Option]) -> list[str]:
    """Write options for a person: `temporal pooling`, `no bias`, `kernel 3×5`."""
    labels = []
    for name, value in options.items():
        label = name.replace("_", " ")
        if isinstance(value, bool):
            labels.append(label if value else f"no {label}")
        else:
            sizes = isinstance(value, list) and "kernel" in name
            labels.append(f"{label} {'×'.join(map(str, value)) if sizes else value}")  # type: ignore[arg-type]
    return labels


def _module_options(modules: Mapping[str, Mapping[str, Option]]) -> list[str]:
    return [f"{name}: {', '.join(_options(options))}" for name, options in modules.items() if options]


def _renamed(stage: Stage, net: Network) -> Stage:
    cut = stage.name == "elsewhere" and isinstance(net, S2DNet)
    return Stage(SAMPLING, stage.macs, stage.params) if cut else stage


def _trace(net: Network, stages: Sequence[Stage]) -> list[_Traced]:
    """Run the network and return its pieces in their order, with their feature maps (1, C, T, H, W).

    Operations outside of all stages have no place among them, but in S2DNet, where the sampler comes before them.
    """
    pieces: dict[str, _Traced] = {}
    handles = []
    for stage in stages:
        if stage.name not in ("elsewhere", SAMPLING):
            whole = net.get_submodule(stage.name)
            handles += [part.register_forward_hook(_recorder(pieces, stage, whole)) for part in whole.modules()]
    clip = net.clip
    with torch.no_grad():
        net.eval()(torch.empty(1, 3, clip.frames, clip.crop, clip.crop, device="meta"))
    for handle in handles:
        handle.remove()
    ordered = list(pieces.values())
    if stages[-1].name == SAMPLING:
        ordered.insert(list(pieces).index("locator") + 1, _Traced(stages[-1], net))
    return ordered


def _recorder(pieces: dict[str, _Traced], stage: Stage, whole: nn.Module) -> Any:
    """Make a hook that records a piece's map; of a piece that is never called itself, the last map of its parts."""

    def hook(part: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == 5:
            pieces[stage.name] = _Traced(stage, whole, output.shape[1], Size(*output.shape[2:]))
        elif part is whole or stage.name not in pieces:
            pieces[stage.name] = _Traced(stage, whole)

    return hook


def _streams(net: Network, pieces: Sequence[_Traced]) -> tuple[str, ...]:
    """Return the two streams of a network that has two, each a child of its own; else none."""
    if isinstance(net, S2DNet):
        return ("synopsis", "detail")
    counts = Counter(piece.stream for piece in pieces if "." in piece.stage.name)
    has_stem = {piece.stream for piece in pieces if piece.stage.name.endswith("stem")}
    streams = tuple(name for name in counts if counts[name] >= FEWEST and name in has_stem and name != "stem")
    return streams if len(streams) == 2 else ()


def _rows(pieces: Sequence[_Traced], lanes: tuple[str, ...]) -> Iterator[Heading | Boxes | Arrow | Aside]:
    if not lanes:
        yield from (Boxes((_box(piece, True),)) if piece.size else _aside(piece.stage) for piece in pieces)
        return
    above: tuple[str, ...] = ()  # the pieces that the last heading is about
    for row in _side_by_side(pieces, lanes):
        if not isinstance(row, list):
            yield row
            continue
        if above != (above := tuple(f"{piece.stream} {_stage(piece)}" for piece in row)):
            maps = {piece.stream: measures(piece.channels, piece.size) for piece in row if piece.size}
            yield Heading(_stage(row[0]), tuple(maps.get(lane, "") for lane in lanes))
        cells = {piece.stream: _box(piece, False) for piece in row}
        yield Boxes(tuple(cells.get(lane) for lane in lanes))


def _side_by_side(pieces: Sequence[_Traced], lanes: tuple[str, ...]) -> Iterator[list[_Traced] | Arrow | Aside]:
    """Yield pieces of the two streams together, at most one of each, and what is between them."""
    row: list[_Traced] = []
    for piece in pieces:
        if row and (piece.stream not in lanes or piece.stream in [other.stream for other in row]):
            yield row
            row = []
        if piece.size is None:
            yield _aside(piece.stage)
        elif piece.stream in lanes:
            row.append(piece)
        else:
            target = _nearest(piece.size, pieces, lanes)
            label = f"+{piece.channels} ch" if target == 0 else "context"
            yield Arrow(1 - target, target, label, _title(piece))
    if row:
        yield row


def _stage(piece: _Traced) -> str:
    """Name the stage of a block, or the network that a piece is."""
    return type(piece.module).__name__ if isinstance(piece.module, Network) else piece.place.split(" block ")[0]


def _nearest(size: Size, pieces: Sequence[_Traced], lanes: tuple[str, ...]) -> int:
    """Return the stream that a piece between the two gives to: the one whose maps have as many frames."""
    frames = [next(p.size.frames for p in pieces if p.stream == lane and p.size) for lane in lanes]
    return int(abs(frames[1] - size.frames) < abs(frames[0] - size.frames))


def _box(piece: _Traced, alone: bool) -> Box:
    assert piece.size is not None
    number = piece.block_count
    blocks = f"{number} block{'s' * (number > 1)}" if number and "block" not in piece.stage.name else ""
    head = f"{piece.place} · {measures(piece.channels, piece.size)}" if alone else ""
    parts = (head, blocks, piece.kernels, *piece.layers)
    return Box(piece.channels, piece.size, tuple(part for part in parts if part), _title(piece))


def _aside(stage: Stage) -> Aside:
    name = piece_label(stage.name)
    return Aside(f"{name} · {stage.macs / 1e6:,.1f} MMACs", f"{name}\n{_cost(stage)}")


def _title(piece: _Traced) -> str:
    assert piece.size is not None
    kernels = [f"kernels {piece.kernels}"] if piece.kernels else []
    lines = [piece_label(piece.stage.name), f"gives {measures(piece.channels, piece.size)}", *kernels, *piece.layers]
    return "\n".join([*lines, _cost(piece.stage)])


def _cost(stage: Stage) -> str:
    return f"{stage.macs / 1e6:,.2f} MMACs, {stage.params:,} parameters"

"""A hand-designed network as it is drawn: its pieces in the order in which they run, in one stream or two."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from autovid.blocks.site import Size
from autovid.costs import Stage, count_stages
from autovid.layers.residual import Residual
from autovid.models import Network, NetworkSpec
from autovid.models.mobilenet import InvertedResidual
from autovid.models.s2dnet import S2DNet
from autovid.report import labels
from autovid.report.outline import Arrow, Aside, Box, Boxes, Heading, Kind, Outline, measures
from autovid.solver import gflops

FEWEST = 4  # pieces with feature maps that make a stream of what has a name of its own
LANES = {"synopsis": "synopsis: the glance", "detail": "detail: a closer look"}
JOINED = "→ +n ch: n channels, made of the fast stream's, join those of the slow one"
FUSED = "→ context: what the glance has seen, fused into the details"
SAMPLING = "sampling"  # what S2DNet computes in none of its layers


class _Piece(NamedTuple):
    """A stage, and the feature map that it gives, if it gives one."""

    stage: Stage
    module: nn.Module
    channels: int = 0
    size: Size | None = None

    @property
    def stream(self) -> str:
        return self.stage.name.split(".")[0]

    @property
    def place(self) -> str:
        return labels.place(self.stage.name, self.module)


def network_outline(net: Network, spec: NetworkSpec) -> Outline:
    """A network on the meta device, at its own clip."""
    figures, counted = count_stages(net)
    stages = [_named(stage, net) for stage in counted]
    pieces = _run(net, stages)
    mapped = [piece for piece in pieces if piece.size]
    lanes = _streams(net, mapped)
    last = pieces.index(mapped[-1])
    beside = [piece.stage for piece in pieces[last + 1 :]]
    beside += [stage for stage in stages if stage not in [piece.stage for piece in pieces]]
    title = " + ".join([spec.network, *spec.modules])
    clip = f"{net.clip.frames} × {net.clip.crop}²"
    about = f"{gflops(figures.macs, digits=4)} GFLOPs at {clip} · {figures.params / 1e6:.2f} M parameters"
    return Outline(
        title,
        about,
        tuple(LANES.get(lane, lane) for lane in lanes) or ("",),
        tuple(_rows(pieces[: last + 1], lanes)),
        tuple(_aside(stage) for stage in beside),
        tuple((labels.piece(stage.name), stage.macs) for stage in stages),
        asked=tuple(labels.options(spec)),
        arrows=FUSED if isinstance(net, S2DNet) else JOINED,
    )


def _named(stage: Stage, net: Network) -> Stage:
    cut = stage.name == "elsewhere" and isinstance(net, S2DNet)
    return Stage(SAMPLING, stage.macs, stage.params) if cut else stage


def _run(net: Network, stages: Sequence[Stage]) -> list[_Piece]:
    """The pieces as they come, with their feature maps (1, C, T, H, W).

    What is computed in none of them has no place among them, but in S2DNet, where the sampler comes before it.
    """
    found: dict[str, _Piece] = {}
    handles = []
    for stage in stages:
        if stage.name not in ("elsewhere", SAMPLING):
            whole = net.get_submodule(stage.name)
            handles += [part.register_forward_hook(_note(found, stage, whole)) for part in whole.modules()]
    clip = net.clip
    with torch.no_grad():
        net.eval()(torch.empty(1, 3, clip.frames, clip.crop, clip.crop, device="meta"))
    for handle in handles:
        handle.remove()
    pieces = list(found.values())
    if stages[-1].name == SAMPLING:
        pieces.insert(list(found).index("locator") + 1, _Piece(stages[-1], net))
    return pieces


def _note(found: dict[str, _Piece], stage: Stage, whole: nn.Module) -> Any:
    """Of a piece that is never called itself, the last map of its parts."""

    def hook(part: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == 5:
            found[stage.name] = _Piece(stage, whole, output.shape[1], Size(*output.shape[2:]))
        elif part is whole or stage.name not in found:
            found[stage.name] = _Piece(stage, whole)

    return hook


def _streams(net: Network, pieces: Sequence[_Piece]) -> tuple[str, ...]:
    """The two streams of a network that has two, each a child of its own; else none."""
    if isinstance(net, S2DNet):
        return ("synopsis", "detail")
    tops = Counter(piece.stream for piece in pieces if "." in piece.stage.name)
    has_stem = {piece.stream for piece in pieces if piece.stage.name.endswith("stem")}
    found = tuple(name for name in tops if tops[name] >= FEWEST and name in has_stem and name != "stem")
    return found if len(found) == 2 else ()


def _rows(pieces: Sequence[_Piece], lanes: tuple[str, ...]) -> Iterator[Heading | Boxes | Arrow | Aside]:
    if not lanes:
        yield from (Boxes((_box(piece, True),)) if piece.size else _aside(piece.stage) for piece in pieces)
        return
    above: tuple[str, ...] = ()  # what the last heading is about
    for row in _side_by_side(pieces, lanes):
        if not isinstance(row, list):
            yield row
            continue
        if above != (above := tuple(f"{piece.stream} {_stage(piece)}" for piece in row)):
            yield Heading(_stage(row[0]), tuple(_note_of(row, lane) for lane in lanes))
        cells = {piece.stream: _box(piece, False) for piece in row}
        yield Boxes(tuple(cells.get(lane) for lane in lanes))


def _side_by_side(pieces: Sequence[_Piece], lanes: tuple[str, ...]) -> Iterator[list[_Piece] | Arrow | Aside]:
    """Pieces of the two streams together, at most one of each, and what is between them."""
    waiting: list[_Piece] = []
    for piece in pieces:
        if waiting and (piece.stream not in lanes or piece.stream in [other.stream for other in waiting]):
            yield waiting
            waiting = []
        if piece.size is None:
            yield _aside(piece.stage)
        elif piece.stream in lanes:
            waiting.append(piece)
        else:
            target = _nearest(piece, piece.size, pieces, lanes)
            label = f"+{piece.channels} ch" if target == 0 else "context"
            yield Arrow(1 - target, target, label, _title(piece))
    if waiting:
        yield waiting


def _stage(piece: _Piece) -> str:
    """Of a block its stage; of a network inside of another its name."""
    return type(piece.module).__name__ if isinstance(piece.module, Network) else piece.place.split(" block ")[0]


def _note_of(row: Sequence[_Piece], lane: str) -> str:
    return next((measures(piece.channels, piece.size) for piece in row if piece.stream == lane and piece.size), "")


def _nearest(piece: _Piece, size: Size, pieces: Sequence[_Piece], lanes: tuple[str, ...]) -> int:
    """The stream that a piece between the two gives to: the one whose maps have as many frames."""
    frames = [next(p.size.frames for p in pieces if p.stream == lane and p.size) for lane in lanes]
    return int(abs(frames[1] - size.frames) < abs(frames[0] - size.frames))


def _box(piece: _Piece, alone: bool) -> Box:
    assert piece.size is not None
    number = _blocks(piece.module)
    said = f"{number} block{'s' * (number > 1)}" if number and "block" not in piece.stage.name else ""
    kind: Kind = "stem" if piece.stage.name.endswith("stem") else "block"
    head = f"{piece.place} · {measures(piece.channels, piece.size)}" if alone else ""
    parts = (head, said, " ".join(_kernels(piece.module)), *labels.inside(piece.module, number))
    return Box(piece.channels, piece.size, tuple(part for part in parts if part), _title(piece), kind)


def _blocks(module: nn.Module) -> int:
    return sum(isinstance(part, Residual | InvertedResidual) for part in module.modules())


def _kernels(module: nn.Module) -> list[str]:
    """The sizes of its convolutions that see more than a point, as time×space², and 1×1² where there are no others."""
    found: dict[str, None] = {}
    for weight in module.parameters():
        if weight.dim() in (4, 5):  # of a convolution over frames, or over time too
            t, k = (1 if weight.dim() == 4 else weight.shape[2]), weight.shape[-1]
            found[f"{t}×{k}²"] = None
    more = [kernel for kernel in found if kernel != "1×1²"]
    return more or list(found)


def _aside(stage: Stage) -> Aside:
    name = labels.piece(stage.name)
    return Aside(f"{name} · {stage.macs / 1e6:,.1f} MMACs", f"{name}\n{_cost(stage)}")


def _title(piece: _Piece) -> str:
    assert piece.size is not None
    kernels = " ".join(_kernels(piece.module))
    lines = [labels.piece(piece.stage.name), f"gives {measures(piece.channels, piece.size)}"]
    lines += [f"kernels {kernels}"] * bool(kernels) + labels.inside(piece.module, _blocks(piece.module))
    return "\n".join([*lines, _cost(piece.stage)])


def _cost(stage: Stage) -> str:
    return f"{stage.macs / 1e6:,.2f} MMACs, {stage.params:,} parameters"

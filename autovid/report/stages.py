"""A hand-designed network as it is drawn: its pieces in the order in which they run, in one stream or two."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from autovid.cost import Stage, count_stages, gflops
from autovid.models import Network, NetworkSpec
from autovid.nn.residual import Residual
from autovid.report.outline import Arrow, Box, Boxes, Heading, Kind, Outline, measures
from autovid.space.layout import Size

FEWEST = 4  # pieces with feature maps that make a stream of what has a name of its own


class _Piece(NamedTuple):
    stage: Stage
    module: nn.Module
    channels: int
    size: Size

    @property
    def stream(self) -> str:
        return self.stage.name.split(".")[0]


def network_outline(net: Network, spec: NetworkSpec) -> Outline:
    """A network on the meta device, at its own clip."""
    figures, stages = count_stages(net)
    pieces = _run(net, stages)
    lanes = _streams(pieces)
    beside = [stage for stage in stages if stage.name not in {piece.stage.name for piece in pieces}]
    title = " + ".join([spec.network, *spec.modules])
    clip = f"{net.clip.frames} × {net.clip.crop}²"
    about = f"{gflops(figures.macs, digits=4)} GFLOPs at {clip} · {figures.params / 1e6:.2f} M parameters"
    foot = tuple((f"{stage.name}: {stage.macs / 1e6:,.1f} MMACs", _cost(stage)) for stage in beside)
    costs = tuple((stage.name, stage.macs) for stage in stages)
    return Outline(title, about, lanes or ("",), tuple(_rows(pieces, lanes)), foot, costs)


def _run(net: Network, stages: Sequence[Stage]) -> list[_Piece]:
    """The pieces that give a feature map (1, C, T, H, W), as they come."""
    found: dict[str, _Piece] = {}
    handles = []
    for stage in stages:
        if stage.name != "elsewhere":
            module = net.get_submodule(stage.name)
            handles.append(module.register_forward_hook(_note(found, stage, module)))
    clip = net.clip
    with torch.no_grad():
        net.eval()(torch.empty(1, 3, clip.frames, clip.crop, clip.crop, device="meta"))
    for handle in handles:
        handle.remove()
    return list(found.values())


def _note(found: dict[str, _Piece], stage: Stage, module: nn.Module) -> Any:
    def hook(_: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == 5:
            found.setdefault(stage.name, _Piece(stage, module, output.shape[1], Size(*output.shape[2:])))

    return hook


def _streams(pieces: Sequence[_Piece]) -> tuple[str, ...]:
    """The two streams of a network that has two, each a child of its own; else none."""
    tops = Counter(piece.stream for piece in pieces if "." in piece.stage.name)
    has_stem = {piece.stream for piece in pieces if piece.stage.name.endswith("stem")}
    found = tuple(name for name in tops if tops[name] >= FEWEST and name in has_stem and name != "stem")
    return found if len(found) == 2 else ()


def _rows(pieces: Sequence[_Piece], lanes: tuple[str, ...]) -> Iterator[Heading | Boxes | Arrow]:
    if not lanes:
        yield from (Boxes((_box(piece, True),)) for piece in pieces)
        return
    waiting: dict[str, Box] = {}
    for piece in pieces:
        if piece.stream in lanes:
            if piece.stream in waiting:
                yield Boxes(tuple(waiting.get(lane) for lane in lanes))
                waiting = {}
            waiting[piece.stream] = _box(piece, False)
            continue
        if waiting:
            yield Boxes(tuple(waiting.get(lane) for lane in lanes))
            waiting = {}
        target = _nearest(piece, pieces, lanes)
        yield Arrow(1 - target, target, f"+{piece.channels} ch" if target == 0 else piece.stage.name, _title(piece))
    if waiting:
        yield Boxes(tuple(waiting.get(lane) for lane in lanes))


def _nearest(piece: _Piece, pieces: Sequence[_Piece], lanes: tuple[str, ...]) -> int:
    """The stream that a piece between the two gives to: the one whose maps have as many frames."""
    frames = [next(p.size.frames for p in pieces if p.stream == lane) for lane in lanes]
    return int(abs(frames[1] - piece.size.frames) < abs(frames[0] - piece.size.frames))


def _box(piece: _Piece, alone: bool) -> Box:
    blocks = [module for module in piece.module.modules() if isinstance(module, Residual)]
    kernels = _kernels(piece.module)
    said = f"{len(blocks)} block{'s' * (len(blocks) > 1)}" if blocks else ""
    extras = _inside(blocks)
    kind: Kind = "stem" if piece.stage.name.endswith("stem") else "block"
    head = (
        f"{piece.stage.name} · {measures(piece.channels, piece.size)}"
        if alone
        else measures(piece.channels, piece.size)
    )
    if alone:
        lines: tuple[str, ...] = (head, " · ".join(part for part in (said, ", ".join(kernels), *extras) if part))
    else:
        lines = (head, *([said] if said and len(blocks) > 1 else []), *_pairs(kernels), *extras)
    return Box(piece.channels, piece.size, tuple(line for line in lines if line), _title(piece), kind)


def _pairs(kernels: Sequence[str]) -> list[str]:
    return [", ".join(kernels[i : i + 2]) for i in range(0, min(len(kernels), 4), 2)]


def _kernels(module: nn.Module) -> list[str]:
    """The sizes of its convolutions that see more than a point, as time×space², and 1×1² where there are no others."""
    found: dict[str, None] = {}
    for weight in module.parameters():
        if weight.dim() in (4, 5):  # of a convolution over frames, or over time too
            t, k = (1 if weight.dim() == 4 else weight.shape[2]), weight.shape[-1]
            found[f"{t}×{k}²"] = None
    more = [kernel for kernel in found if kernel != "1×1²"]
    return more or list(found)


def _inside(blocks: Sequence[Residual]) -> list[str]:
    """What stands in the places of residual blocks: `5 × TemporalShift`."""
    places = [place for block in blocks for place in (block.enter, block.leave, block.after)]
    there = Counter(type(place).__name__ for place in places if not isinstance(place, nn.Identity))
    return [f"{number} × {name}" for name, number in there.items()]


def _title(piece: _Piece) -> str:
    inside = _inside([module for module in piece.module.modules() if isinstance(module, Residual)])
    kernels = ", ".join(_kernels(piece.module))
    lines = [piece.stage.name, f"gives {measures(piece.channels, piece.size)}"]
    lines += [f"kernels {kernels}"] * bool(kernels) + inside
    return "\n".join([*lines, _cost(piece.stage)])


def _cost(stage: Stage) -> str:
    return f"{stage.macs / 1e6:,.2f} MMACs, {stage.params:,} parameters"

"""The one builder: a search space becomes a network, and a space with one candidate a decision a frozen one.

Supernet, half-frozen supernet of a later search part, derived model and random baseline are all `SearchNetwork`.

Weights begin as He et al. say (seed-auto-tsnet, 3.2). Ours, taken from X3D since the paper does not have it: the last
batch norm of each block begins at zero, and the classifier is drawn from N(0, 0.01).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.attention import ATTENTIONS
from autovid.blocks.elastic import Affine, Depthwise, Norm, Pointwise
from autovid.blocks.fusion import FUSIONS
from autovid.blocks.mbconv3d import MBConv3d
from autovid.blocks.site import AttentionSite, BlockSite, ClassifierSite, FusionSite, HeadSite, Site, StemSite
from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.tensors import channels_last, he_normal
from autovid.models.network import Network, every_frame
from autovid.space.architecture import Architecture
from autovid.space.layout import sites
from autovid.space.space import SearchSpace

Candidates = Mapping[str, tuple[Any, ...]]
Choices = Mapping[str, Any]


class Stem(nn.Module):
    """1 x k x k convolution with spatial stride 2, depthwise t x 1 x 1, BN, ReLU (X3D's)."""

    def __init__(self, site: StemSite) -> None:
        super().__init__()
        k = site.spatial_kernel
        self.weight = nn.Parameter(he_normal(torch.empty(site.width, 3, 1, k, k)))
        self.depthwise = Depthwise(site.width, site.temporal_kernel, 1)
        self.norm = Norm(site.width)
        self.temporal_kernel, self.padding = site.temporal_kernel, (0, k // 2, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv3d(x, channels_last(self.weight), stride=(1, 2, 2), padding=self.padding)
        return F.relu(self.norm(self.depthwise(x, self.temporal_kernel, 1)))


class Head(nn.Module):
    """1x1x1 convolution, BN, ReLU, mean over (T, H, W): (B, C, T, H, W) -> (B, width)."""

    def __init__(self, site: HeadSite, widths_in: tuple[int, ...]) -> None:
        super().__init__()
        self.width = site.width
        self.conv = Pointwise(max(widths_in), site.width)
        self.norm = Norm(site.width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.norm(self.conv(x, self.width))).mean((2, 3, 4))
        return out


class Classifier(nn.Module):
    """Linear, ReLU, dropout, linear (X3D's, without bias in the first): (B, features) -> (B, classes)."""

    def __init__(self, site: ClassifierSite, classes: int, dropout: float) -> None:
        super().__init__()
        self.width, self.classes = site.width, classes
        self.hidden = Affine(site.width_in, site.width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = Affine(site.width, classes)
        nn.init.normal_(self.output.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output(self.dropout(F.relu(self.hidden(x, self.width))), self.classes)
        return out


class SearchNetwork(Network):
    """A network over a search space: clip (B, 3, T, H, W) -> logits (B, classes).

    Where decisions are open, `forward` needs the architecture to run. `clip` says what the network wants to see.
    """

    def __init__(self, space: SearchSpace, classes: int) -> None:
        super().__init__()
        self.space, self.classes = space, classes
        self.clip = Clip(space.reference.frames, space.reference.crop, space.reference.stride)
        candidates = space.candidates
        self.only: Choices | None = {n: c[0] for n, c in candidates.items()} if space.size == 1 else None
        self.every = {name: stream.every for name, stream in space.network.streams.items()}
        self.plan = tuple(sites(space.network))
        self.sites = nn.ModuleDict()
        for site in self.plan:
            module = site_module(site, candidates, classes, space.network.dropout)
            if module is not None:
                self.sites[module_name(site)] = module

    def forward(self, x: Tensor, arch: Architecture | None = None) -> Tensor:
        choices = self._choices(arch)
        maps = {name: x[:, :, ::every] if every > 1 else x for name, every in self.every.items()}
        pooled: list[Tensor] = []
        logits = x
        for site in self.plan:
            key = module_name(site)
            module: Any = self.sites[key] if key in self.sites else None  # noqa: SIM401 (a ModuleDict has no get)
            if isinstance(site, StemSite):
                maps[site.stream] = self.sites[key](maps[site.stream])
            elif isinstance(site, BlockSite):
                maps[site.stream] = self.sites[key](
                    maps[site.stream], choices[site.width], *(choices[name] for name in site.scope[-3:])
                )
            elif isinstance(site, FusionSite):
                if module is not None and choices[site.name] != "skip":
                    operation = module[choices[site.name]]
                    target = maps[site.target]
                    maps[site.target] = target + operation(maps[site.source], target.shape[1])
            elif isinstance(site, AttentionSite):
                if module is not None and choices[site.name] != "skip":
                    maps[site.stream] = module[choices[site.name]](maps[site.stream])
            elif isinstance(site, HeadSite):
                pooled.append(self.sites[key](maps[site.stream]))
            else:
                logits = self.sites[key](torch.cat(pooled, 1))
        return logits

    def cam_layer(self) -> nn.Module:
        """The map that the head averages, of the stream that sees the fewest frames."""
        return self.get_submodule(f"sites.{self._sparsest()}-head.relu")

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return every_frame(x, self.every[self._sparsest()])

    def _sparsest(self) -> str:
        return max(self.every, key=lambda name: self.every[name])

    def _choices(self, arch: Architecture | None) -> Choices:
        if arch is not None:
            return arch.choices
        if self.only is None:
            raise ConfigError("this network still has decisions open: forward(x, arch) needs an architecture")
        return self.only

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Inside: batch statistics without touching the running ones, and no dropout; for comparing architectures."""
        norms = [module for module in self.modules() if isinstance(module, Norm)]
        training = self.training
        self.eval()
        for norm in norms:
            norm.scoring = True
        try:
            yield
        finally:
            for norm in norms:
                norm.scoring = False
            self.train(training)


def module_name(site: Site) -> str:
    """The key of a site in `SearchNetwork.sites`; a module's name holds no dots."""
    return site.name.replace(".", "-")


def site_module(site: object, candidates: Candidates, classes: int, dropout: float) -> nn.Module | None:
    """What stands at a site, large enough for all candidates; None where nothing may stand but a skip."""

    def largest(width: str | int) -> int:
        return width if isinstance(width, int) else max(candidates[width])

    match site:
        case StemSite():
            return Stem(site)
        case BlockSite():
            own = [max(candidates[name]) for name in site.scope[-3:]]
            before = site.width_in
            widths_in = (before,) if isinstance(before, int) else None if before == site.width else candidates[before]
            block = MBConv3d(widths_in, candidates[site.width], own[0], own[1], own[2], site.stride, site.squeeze)
            block.stage, block.index = _place(site)
            return block
        case FusionSite():
            size = (largest(site.width_source), largest(site.width_target), site.ratio, site.kernel)
            return _choice({n: FUSIONS[n](*size) for n in candidates[site.name] if n != "skip"})
        case AttentionSite():
            width = largest(site.width)
            return _choice({n: ATTENTIONS[n](width, site.keys) for n in candidates[site.name] if n != "skip"})
        case HeadSite():
            return Head(site, candidates[site.width_in])
        case ClassifierSite():
            return Classifier(site, classes, dropout)
    raise TypeError(type(site))


def _place(site: BlockSite) -> tuple[int, int]:
    """Stage and index of a block as residual networks count them: stage1 of a space is 2, block1 is 0 (ours)."""
    _, stage, block = site.name.split(".")
    return int(stage.removeprefix("stage")) + 1, int(block.removeprefix("block")) - 1


def _choice(modules: dict[str, nn.Module]) -> nn.ModuleDict | None:
    return nn.ModuleDict(modules) if modules else None


def build_space(space: SearchSpace, classes: int | None = None) -> SearchNetwork:
    """The supernet of a space, or the network of an architecture's space, in channels_last_3d. Raises ConfigError."""
    if classes is not None and classes < 1:
        raise ConfigError(f"{classes} classes; give 1 or more")
    net = SearchNetwork(space, classes or space.reference.classes)
    return net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def inherit(target: SearchNetwork, source: SearchNetwork) -> None:
    """Copies into `target` whatever weights and statistics `source` has for the same places.

    Smaller takes the slice that it used in larger: leading channels, the middle of a kernel. What the source does not
    have, or has only a part of, keeps its own initial values there.
    """
    centred = {f"{name}.weight" for name, m in target.named_modules() if getattr(m, "centred", False)}
    theirs = source.state_dict()
    with torch.no_grad():
        for name, mine in target.state_dict().items():
            if name in theirs:
                to, fro = _overlap(mine, theirs[name], name in centred)
                mine[to] = theirs[name][fro]


def _overlap(mine: Tensor, theirs: Tensor, centred: bool) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The slices in which two versions of one tensor meet."""
    to, fro = [], []
    for dim, (a, b) in enumerate(zip(mine.shape, theirs.shape, strict=True)):
        both = min(a, b)
        middle = centred and dim >= 2
        to.append(slice((a - both) // 2, (a - both) // 2 + both) if middle else slice(both))
        fro.append(slice((b - both) // 2, (b - both) // 2 + both) if middle else slice(both))
    return tuple(to), tuple(fro)

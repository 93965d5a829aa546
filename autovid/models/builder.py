"""The one builder: a search space becomes a network, and a space with one candidate a decision a frozen one.

Weights are put into what is built: parts of a larger network's, or those of a safetensors file, with the options that
they need in its header.

Supernet, derived model and random baseline are all `SearchNetwork`. A supernet runs architectures of any part of its
search, too: of some of its streams, and then without the fusions and columns of the classifier that belong to others.

Weights begin as He et al. (2015, arXiv:1502.01852) say, by section 3.2 of the supplement of Gong et al., "Searching for
two-stream models in multivariate space for video recognition", 2021, arXiv:2108.12957. Ours, taken from X3D since the
paper does not have it: the last batch norm of each block begins at zero, and the classifier is drawn from N(0, 0.01).
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from autovid.blocks.elastic import ElasticBatchNorm
from autovid.blocks.site import Site
from autovid.blocks.trace import check_costs
from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import Residual, channels_last
from autovid.models.network import Network, every_frame
from autovid.space import Architecture, SearchSpace
from autovid.space.layout import sites, with_streams

Choices = Mapping[str, Any]


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
        self.frame_strides = {name: stream.frame_stride for name, stream in space.network.streams.items()}
        self._plans: dict[tuple[str, ...], tuple[Site, ...]] = {}
        self.plan = self.plan_for(tuple(self.frame_strides))
        self.sites = nn.ModuleDict({module_name(site): site_module(site, candidates) for site in self.plan})

    def forward(self, x: Tensor, arch: Architecture | None = None) -> Tensor:
        choices = self._choices(arch)
        streams = tuple(self.frame_strides) if arch is None else tuple(arch.network.streams)
        strides = {name: self.frame_strides[name] for name in streams}
        maps = {name: x[:, :, ::step] if step > 1 else x for name, step in strides.items()}
        for site in self.plan_for(streams):
            module = self.sites[module_name(site)]
            inputs = (maps[one.stream] for one in site.inputs)
            maps[site.stream] = module(*inputs, choice=site.choice(choices))
        return maps[site.stream]

    def plan_for(self, streams: tuple[str, ...]) -> tuple[Site, ...]:
        """Return the sites that run, in their order, for an architecture of these streams."""
        if streams not in self._plans:
            reference = msgspec.structs.replace(self.space.reference, classes=self.classes)
            self._plans[streams] = tuple(sites(with_streams(self.space.network, streams), reference))
        return self._plans[streams]

    def cam_layer(self) -> nn.Module:
        """Return the map that the head averages, of the stream that sees the fewest frames."""
        return self.get_submodule(f"sites.{self._sparsest()}-head.relu")

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return every_frame(x, self.frame_strides[self._sparsest()])

    def _sparsest(self) -> str:
        return max(self.frame_strides, key=lambda name: self.frame_strides[name])

    def _choices(self, arch: Architecture | None) -> Choices:
        if arch is not None:
            return arch.choices
        if self.only is None:
            raise ConfigError("this network still has decisions open: forward(x, arch) needs an architecture")
        return self.only

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Inside: batch statistics without touching the running ones, and no dropout; for comparing architectures."""
        norms = [module for module in self.modules() if isinstance(module, ElasticBatchNorm)]
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
    """Return the key of a site in `SearchNetwork.sites`; a module's name holds no dots."""
    return site.name.replace(".", "-")


def site_module(site: Site, candidates: Mapping[str, tuple[Any, ...]]) -> nn.Module:
    """Return the module at a site, large enough for all candidates of its decisions."""
    check_costs(site, candidates)
    module = site.block.build(site, site.candidates(candidates))
    if isinstance(module, Residual):  # counted as residual networks do: stage1 of a space is 2, block1 is 0 (ours)
        module.stage, module.index = site.stage + 1, site.index
    return module


def build_space(space: SearchSpace, classes: int | None = None, *, norm_start: float = 0.0) -> SearchNetwork:
    """Build the supernet of a space, or the network of an architecture, in channels_last_3d.

    `norm_start`: scale of the last norm of each block at the start. Raises ConfigError.
    """
    if classes is not None and classes < 1:
        raise ConfigError(f"{classes} classes; give 1 or more")
    net = SearchNetwork(space, classes or space.reference.classes)
    for module in net.modules():
        if isinstance(module, ElasticBatchNorm) and module.zero:
            nn.init.constant_(module.weight, norm_start)
    for parameter in net.parameters():
        if parameter.dim() == 5:  # so that a layer finds a whole weight in its layout
            parameter.data = channels_last(parameter.data)
    return net


def inherit(target: nn.Module, source: nn.Module) -> None:
    """Copy into `target` whatever weights and statistics `source` has for the same places.

    Smaller takes the slice that it used in larger: leading channels, the middle of a kernel. What the source does not
    have keeps its own initial values. A larger layer keeps them in channels that the source lacks, and otherwise has
    zeros around the source's weights: so it first computes what the source does, and the new channels do not count.
    """
    inherit_state(target, source.state_dict())


def inherit_state(target: nn.Module, source: Mapping[str, Tensor]) -> None:
    """Copy what `inherit` does, from the state of a module."""
    centred = {f"{name}.weight" for name, m in target.named_modules() if getattr(m, "centred", False)}
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            if name in source:
                to, fro = _overlap(tensor, source[name], name in centred)
                if tensor.dim() > 1:
                    tensor[to[0]] = 0
                tensor[to] = source[name][fro]


def _overlap(tensor: Tensor, source: Tensor, centred: bool) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices in which two versions of one tensor meet."""
    to, fro = [], []
    for dim, (a, b) in enumerate(zip(tensor.shape, source.shape, strict=True)):
        both = min(a, b)
        middle = centred and dim >= 2
        to.append(slice((a - both) // 2, (a - both) // 2 + both) if middle else slice(both))
        fro.append(slice((b - both) // 2, (b - both) // 2 + both) if middle else slice(both))
    return tuple(to), tuple(fro)


# The layer that has a row for every class; S2DNet has two.
HEAD = re.compile(r"^((synopsis|detail)\.)?(classifier|sites\.classifier\.output)\.")


def load_weights(net: Network, file: str | Path, *, new_head: bool = False) -> None:
    """Load the weights of a file of `Imported.save`, or of a checkpoint's model.safetensors, into `net`.

    With `new_head` all but the classifier's, which stays as it is.
    Raises ConfigError where the file cannot be read, is of another network, or of one with other options.
    """
    state, header = _read(file)
    name = net.spec.network if net.spec else type(net).__name__
    mine = net.state_dict()
    if new_head:
        kept = {name: value for name, value in mine.items() if HEAD.match(name)}
        state = {name: value for name, value in state.items() if not HEAD.match(name)} | kept
    odd = sorted(mine.keys() ^ state.keys()) or [n for n in mine if mine[n].shape != state[n].shape]
    if odd:
        hint = "; give --new-head for other classes" if all(HEAD.match(name) for name in odd) else ""
        difference = _difference(mine.get(odd[0]), state.get(odd[0]))
        raise ConfigError(f"{file} is not of {name}: {odd[0]} {difference}{hint}")
    check_finite(state, file)
    options = net.spec.options if net.spec else {}
    for option, value in json.loads(header.get("needs", "{}")).items():
        if options.get(option) != value:
            raise ConfigError(f"{file} is of {name} with option {option}={json.dumps(value)}; build it with that")
    net.load_state_dict(state)


def inherit_weights(net: Network, file: str | Path, *, new_head: bool = False) -> None:
    """Load into the network of an architecture its part of a supernet's weights, a checkpoint's model.safetensors.

    With `new_head` all but the classifier's, which stays as it is. Raises ConfigError where the file cannot be read.
    """
    state, _ = _read(file)
    check_finite(state, file)
    inherit_state(net, {name: value for name, value in state.items() if not (new_head and HEAD.match(name))})


def nesting(net: Network, file: str | Path) -> str:
    """Say what `net` takes from a file by `inherit_weights`. Raises ConfigError where that is less than a half."""
    state, _ = _read(file)
    mine = {name: value for name, value in net.state_dict().items() if not HEAD.match(name)}
    shared = [name for name in mine if name in state and state[name].dim() == mine[name].dim()]
    if len(shared) < len(mine) / 2:
        raise ConfigError(f"{file} has {len(shared)} of {len(mine)} tensors of this network: it is of another kind")
    parts = sum(state[name].shape != mine[name].shape for name in shared)
    return f"{len(shared)} of {len(mine)} tensors come from {file}, {parts} of them cut or widened"


def classes_in(file: str | Path) -> int | None:
    """Return the number of classes of a file's classifier; None where it has none. Raises ConfigError."""
    state, _ = _read(file)
    return next((len(value) for name, value in state.items() if HEAD.match(name)), None)


def _read(file: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file and its header."""
    try:
        with safe_open(file, "pt") as opened:
            header = opened.metadata() or {}
        return safetensors.torch.load_file(file), header
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{file} is no safetensors file that can be read: {error}") from error


def check_finite(state: Mapping[str, Tensor], file: str | Path) -> None:
    """Raise ConfigError for weights that no network computes with."""
    for name, value in state.items():
        if not value.isfinite().all():
            raise ConfigError(f"{file}: {name} holds values that are not finite; the training that wrote it diverged")


def _difference(expected: Tensor | None, loaded: Tensor | None) -> str:
    if expected is None or loaded is None:
        return "is missing there" if loaded is None else "is unknown here"
    return f"is {tuple(loaded.shape)} there and {tuple(expected.shape)} here"

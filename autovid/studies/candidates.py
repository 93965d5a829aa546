"""What is measured: a network at a clip, on a device, in a precision."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.measure.memory import out_of_memory
from autovid.models import NETWORKS, Model, Network, NetworkSpec, build, build_network
from autovid.run import RunDirectory
from autovid.train import find_model
from autovid.train.recipe import view_crop
from autovid.train.trained import KIND, as_trained


@dataclass(frozen=True)
class Candidate:
    """`net` runs in evaluation; `plain` is the network itself where `net` is its compiled form."""

    name: str
    model: Model
    plain: Network
    net: nn.Module
    compute: Compute

    @property
    def clip(self) -> Clip:
        return self.plain.clip

    def input(self, batch: int) -> Tensor:
        """Clips as a loader gives them: random, in channels_last_3d."""
        shape = (batch, 3, self.clip.frames, self.clip.crop, self.clip.crop)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator).to(self.compute.device)
        return x.contiguous(memory_format=torch.channels_last_3d)

    def run(self, x: Tensor) -> Callable[[], Tensor]:
        """A forward pass over clips x."""

        def forward() -> Tensor:
            with torch.inference_mode(), self.compute.autocast("forward"):
                out: Tensor = self.net(x)
            return out

        return forward

    @property
    def weights(self) -> int:
        """Bytes."""
        return sum(tensor.nbytes for tensor in [*self.plain.parameters(), *self.plain.buffers()])


def open_candidate(
    what: str,
    compute: Compute,
    *,
    compiled: bool = False,
    frames: int | None = None,
    crop: int | None = None,
    views: str = "center",
) -> Candidate:
    """A network by its name, an architecture or a YAML file of one, or a run that has found one; random weights.

    A training's is measured at the clips and classes that it was trained at. Without a `crop`, in pixels, clips have
    the one that `views` take of the network's own: three crops are cut larger (160: 182).

    Raises ConfigError, RunError.
    """
    path = Path(what)
    trained = what not in NETWORKS and path.is_dir() and RunDirectory.open(path).kind == KIND
    model = as_trained(path) if trained else find_model(what)
    try:
        return candidate_of(_name(what), model, compute, compiled=compiled, frames=frames, crop=crop, views=views)
    except ConfigError as error:
        where = f"{what}, at this --frames or --crop: " if frames or crop else ""
        raise ConfigError(f"{where}{error}") from None


def candidate_of(
    name: str,
    model: Model,
    compute: Compute,
    *,
    compiled: bool = False,
    frames: int | None = None,
    crop: int | None = None,
    views: str = "center",
) -> Candidate:
    """The same of a network that is known. Raises ConfigError for clips that it cannot take."""
    torch.manual_seed(0)
    if isinstance(model, NetworkSpec):
        model = model.changed(frames=frames, crop=crop)
        plain = build_network(model)
    else:
        model = model.scaled(crop, frames) if frames or crop else model
        plain = build(model)
    if crop is None:
        plain.clip = msgspec.structs.replace(plain.clip, crop=view_crop(plain.clip.crop, views))
    plain = plain.to(compute.device).eval().requires_grad_(False)
    net: Any = torch.compile(plain) if compiled else plain
    return Candidate(name, model, plain, net, compute)


def _name(what: str) -> str:
    """Of a run its folder's, also of the architecture.yaml in it; of another file its own."""
    path = Path(what)
    if path.name == "architecture.yaml" or path.is_dir():
        return (path if path.is_dir() else path.parent).resolve().name
    return path.stem if path.suffix in (".yaml", ".yml") else what


def try_out(candidate: Candidate, batch: int) -> None:
    """The first pass, in which compilers do their work. Raises ConfigError where that fails."""
    try:
        candidate.run(candidate.input(batch))()
    except Exception as error:
        if out_of_memory(error):
            why = f"{candidate.name}: {batch} clips at once do not fit; give a smaller --batch"
            raise ConfigError(why) from error
        if candidate.net is candidate.plain:
            raise
        why = str(error).strip().splitlines()[0][:150]
        raise ConfigError(f"{candidate.name} cannot be compiled here ({why}); leave --compile out") from error

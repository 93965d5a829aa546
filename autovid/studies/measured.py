"""Networks to measure: at a clip, on a device, in a precision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.kernels.compute import Compute
from autovid.measure import out_of_memory
from autovid.models import NETWORKS, Model, Network, NetworkSpec, build, build_network
from autovid.models.folding import folded
from autovid.run import RunDirectory
from autovid.runtimes.sessions import Runtime, open_module
from autovid.train import find_model
from autovid.train.recipe import view_crop
from autovid.train.trained import KIND, as_trained


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network `plain`, and `net`, its form that is run: with its norms folded, and perhaps compiled.

    In another runtime than torch it is `other` that is run, a function of contiguous clips.
    """

    name: str
    model: Model
    plain: Network
    net: Any
    compute: Compute
    compiled: bool = False
    runtime: Runtime = "torch"
    other: Callable[[Sequence[Tensor]], object] | None = None

    @property
    def clip(self) -> Clip:
        """The clip that it takes."""
        return self.plain.clip

    def input(self, batch: int) -> Tensor:
        """Make random clips in channels_last_3d, the layout of a loader."""
        shape = (batch, 3, self.clip.frames, self.clip.crop, self.clip.crop)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator).to(self.compute.device)
        return x.contiguous(memory_format=torch.channels_last_3d)

    def run(self, x: Tensor) -> Callable[[], object]:
        """Return a function that runs a forward pass over clips x."""
        if self.other is not None:
            return partial(self.other, [x.contiguous()])
        return self.run_torch(x)

    def run_torch(self, x: Tensor) -> Callable[[], Tensor]:
        """Return one that does so in torch, whatever the runtime."""

        def forward() -> Tensor:
            with torch.inference_mode(), self.compute.autocast("forward"):
                out: Tensor = self.net(x)
            return out

        return forward

    @property
    def weights(self) -> int:
        """Bytes of parameters and buffers."""
        return sum(tensor.nbytes for tensor in [*self.plain.parameters(), *self.plain.buffers()])


def open_measured(
    what: str,
    compute: Compute,
    *,
    compiled: bool = False,
    frames: int | None = None,
    crop: int | None = None,
    views: str = "center",
) -> MeasuredNetwork:
    """Open a network by its name, an architecture, a YAML file of one, or a run that has one; with random weights.

    A training's network is measured at the clips and classes of that training. Without a `crop`, in pixels, clips have
    that of `views`: three crops are cut larger (160: 182).

    Raises ConfigError, RunError.
    """
    path = Path(what)
    trained = what not in NETWORKS and path.is_dir() and RunDirectory.open(path).kind == KIND
    model = as_trained(path) if trained else find_model(what)
    try:
        return measured_network(name_of(what), model, compute, compiled=compiled, frames=frames, crop=crop, views=views)
    except ConfigError as error:
        where = f"{what}, at this --frames or --crop: " if frames or crop else ""
        raise ConfigError(f"{where}{error}") from None


def measured_network(
    name: str,
    model: Model,
    compute: Compute,
    *,
    compiled: bool = False,
    frames: int | None = None,
    crop: int | None = None,
    views: str = "center",
) -> MeasuredNetwork:
    """Prepare a network for measuring. Raises ConfigError for clips that it cannot take."""
    torch.manual_seed(0)
    if isinstance(model, NetworkSpec):
        model = model.changed(frames=frames, crop=crop)
        plain = build_network(model)
    else:
        model = model.scaled(crop, frames) if frames or crop else model
        plain = build(model)
    if crop is None:
        plain.clip = msgspec.structs.replace(plain.clip, crop=view_crop(plain.clip.crop, views))
    net = folded(plain).to(compute.device)
    return MeasuredNetwork(name, model, plain.eval(), torch.compile(net) if compiled else net, compute, compiled)


def in_runtime(network: MeasuredNetwork, runtime: Runtime) -> MeasuredNetwork:
    """Return a network as another runtime runs it, translated as `export` does. Raises ConfigError where it cannot."""
    if runtime == "torch":
        return network
    if network.compiled:
        raise ConfigError(f"--compile is torch's; {runtime} compiles by itself")
    clips = network.input(2).cpu()
    other = open_module(folded(network.plain), [clips], runtime, network.compute, network.name, any_batch=True)
    return replace(network, runtime=runtime, other=other)


def name_of(what: str) -> str:
    """Name a run by its folder, also by the architecture.yaml in it; another file by itself."""
    path = Path(what)
    if path.name == "architecture.yaml" or path.is_dir():
        return (path if path.is_dir() else path.parent).resolve().name
    return path.stem if path.suffix in (".yaml", ".yml") else what


def try_out(network: MeasuredNetwork, batch: int) -> None:
    """Run the first pass, in which compilers work. Raises ConfigError where that fails."""
    try:
        network.run(network.input(batch))()
    except Exception as error:
        if out_of_memory(error):
            raise ConfigError(f"{network.name}: {batch} clips at once do not fit; give a smaller --batch") from error
        if not network.compiled:
            raise
        reason = str(error).strip().splitlines()[0][:150]
        raise ConfigError(f"{network.name} cannot be compiled here ({reason}); leave --compile out") from error

"""A frozen architecture: a macro table and one candidate for every decision. Data, not code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from autovid.blocks.site import BlockSite
from autovid.config import Document, dump_yaml, plain_document, read_yaml
from autovid.errors import ConfigError
from autovid.fileio import explained, write_atomic
from autovid.space.checks import check_choice, check_network
from autovid.space.layout import depth, sites
from autovid.space.schema import SMALLEST_CROP, ArchitectureFile, Network, Reference, Value

if TYPE_CHECKING:
    from autovid.space.space import SearchSpace

FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """One architecture. `space` is the name of where it comes from; `found` says how it was found."""

    space: str
    network: Network
    reference: Reference
    choices: Mapping[str, Value]
    cost: Mapping[str, Any] = field(default_factory=dict, compare=False)
    found: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def hash(self) -> str:
        """Twelve hex digits that depend on the network alone: equal networks, equal hashes, on any machine."""
        # numbers are written as floats, so that 3 and 3.0 are the same expansion
        choices = {k: float(v) if isinstance(v, int) else v for k, v in self.choices.items()}
        network = msgspec.to_builtins(self.network)
        content = json.dumps([network, choices], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def __hash__(self) -> int:
        return hash(self.hash)

    def as_space(self) -> "SearchSpace":
        """The space with this one architecture in it, which is what the builder takes."""
        from autovid.space.space import Decision, SearchSpace

        decisions = tuple(Decision(name, (value,)) for name, value in self.choices.items())
        return SearchSpace(self.space, self.network, decisions, self.reference)

    def macs(self) -> int:
        """MACs of one clip at the reference input."""
        return int(self.as_space().cost_table().macs([self])[0])

    def scaled(
        self,
        crop: int | None = None,
        frames: int | None = None,
        depth_factor: float | None = None,
        stride: int | None = None,
    ) -> "Architecture":
        """The same architecture at another input and depth, as X3D scales S to M to L.

        A deeper or shallower stage takes the choices of its blocks in proportion: block j of n from block j*m//n of m;
        the published models' rule is not known (ours). Raises ConfigError for what no file could hold.
        """
        given = {"crop": crop, "frames": frames, "stride": stride}
        wanted = {key: value for key, value in given.items() if value is not None}
        content: dict[str, Any] = {"format": FORMAT, "space": self.space, "choices": {}}
        content["reference"] = {**msgspec.to_builtins(self.reference), **wanted}
        content["network"] = msgspec.to_builtins(self.network)
        if depth_factor is not None:
            content["network"]["depth_factor"] = depth_factor
        checked = _content(plain_document(content, "the scaled architecture"))
        network, reference = checked.network, checked.reference
        choices: dict[str, Value] = {}
        for site in sites(network):
            for name in site.scope:
                choices[name] = self.choices[self._origin(name, network) if isinstance(site, BlockSite) else name]
        return Architecture(self.space, network, reference, choices, {}, {**self.found, "scaled_from": self.hash})

    def _origin(self, name: str, network: Network) -> str:
        if ".block" not in name:
            return name
        stream, stage, block, variable = name.split(".")
        base = network.streams[stream].stages[int(stage.removeprefix("stage")) - 1].depth
        now, then = depth(base, network.depth_factor), depth(base, self.network.depth_factor)
        index = (int(block.removeprefix("block")) - 1) * then // now
        return f"{stream}.{stage}.block{index + 1}.{variable}"

    def to_yaml(self) -> str:
        """The text of an architecture file."""
        from autovid.costs import convention

        cost = dict(self.cost) or {"macs": self.macs(), "gflops": round(self.macs() / 1e9, 6)}
        cost["convention"] = convention(self.reference)
        content = {
            "format": FORMAT,
            "space": self.space,
            "hash": self.hash,
            "cost": cost,
            "found": dict(self.found),
            "reference": msgspec.to_builtins(self.reference),
            "network": msgspec.to_builtins(self.network),
            "choices": dict(self.choices),
        }
        return dump_yaml({key: value for key, value in content.items() if value != {}})

    def save(self, path: str | Path) -> None:
        """Write the architecture as YAML, whole or not at all. Raises RunError where it cannot be written."""
        path = Path(path)
        with explained(f"cannot write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.to_yaml())


def check_frames(network: Network, frames: int) -> None:
    """Raises ConfigError when a clip of this many frames does not divide among the streams."""
    for name, stream in network.streams.items():
        if frames % stream.every:
            raise ConfigError(f"{frames} frames: stream {name} takes every {stream.every}th; give a multiple of it")


def check_crop(crop: int) -> None:
    """Raises ConfigError when clips are too small for networks of a space."""
    if crop < SMALLEST_CROP:
        raise ConfigError(f"crop {crop}: at least {SMALLEST_CROP}")


def load_architecture(path: str | Path) -> Architecture:
    """Reads an architecture file. Raises ConfigError with file, line and key for what is wrong in it."""
    document = read_yaml(path)
    content = _content(document)
    wanted = {name: None for site in sites(content.network) for name in site.scope}
    for name in content.choices:
        if name not in wanted:
            raise document.error("no such decision in this network", "choices", name)
    for name in wanted:
        if name not in content.choices:
            raise document.error(f"{name} is missing", "choices")
        check_choice(document, name, content.choices[name], "choices", name)
    arch = Architecture(
        content.space,
        content.network,
        content.reference,
        {name: content.choices[name] for name in wanted},
        content.cost,
        content.found,
    )
    if content.hash and content.hash != arch.hash:
        message = f"the content is another architecture's, {arch.hash}; if you have edited it, delete hash and cost"
        raise document.error(message, "hash")
    return arch


def _content(document: Document) -> ArchitectureFile:
    """What the document of an architecture says, its network and reference input checked."""
    content = document.as_type(ArchitectureFile)
    if content.format != FORMAT:
        raise document.error(f"format {content.format} is not known here; this autovid reads {FORMAT}", "format")
    check_network(document, content.network, content.reference)
    return content

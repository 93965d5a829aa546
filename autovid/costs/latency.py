"""Measured latency as a cost: a file with the nanoseconds of every distinct block, and the table of a space from it.

A network's latency is taken to be the sum of its blocks' and of an overhead. A block is told by what it computes on
what, so that equal blocks of one space, of its parts, and of another one at the same input share their entry. What is
measured, and how, is `autovid.measure`'s to say.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from autovid.blocks.block import Choice
from autovid.blocks.site import Site
from autovid.costs.cost import Cost
from autovid.errors import ConfigError
from autovid.solver import CostTable, Quantity
from autovid.space.layout import sites
from autovid.space.schema import Reference
from autovid.space.space import SearchSpace, SiteTable, site_choices

MILLISECONDS = Quantity("latency", "ms", "nanoseconds", 10**6, "20:25")
FORMAT = 1
LONGEST = 10**13  # nanoseconds of a block: sums stay within int64


class LatencyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The measurements of `autovid latency-table`, and where. Times in nanoseconds, of `batch` clips at once."""

    format: int = FORMAT
    space: str
    frames: int
    crop: int
    classes: int
    batch: int
    device: str
    hardware: str
    precision: str
    threads: int
    runtime: str = "torch"
    versions: dict[str, str]
    repeats: int = 20  # of each block
    overhead: int | None = None  # what a whole network takes beside its blocks; may be negative; None: not measured yet
    blocks: dict[str, int]

    def settings(self) -> dict[str, Any]:
        """Return the settings that must be equal where a file is gone on with."""
        return {
            name: value for name, value in msgspec.structs.asdict(self).items() if name not in ("overhead", "blocks")
        }

    def about(self) -> str:
        """Return the conditions in a line."""
        runtime = "" if self.runtime == "torch" else f"{self.runtime}, "
        return (
            f"{self.hardware}; {runtime}{self.device}, {self.precision}, {self.threads} threads, batch {self.batch}, "
            f"{self.frames} frames of {self.crop}x{self.crop}"
        )


def read_latency_file(path: str | Path) -> LatencyFile:
    """Read a latency table. Raises ConfigError for a file that is not one."""
    try:
        file = msgspec.json.decode(Path(path).read_bytes(), type=LatencyFile)
    except OSError as error:
        raise ConfigError(f"latency table {path}: {error.strerror}; autovid latency-table makes one") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is not a latency table: {error}; autovid latency-table makes one") from None
    if file.format != FORMAT:
        raise ConfigError(f"{path} has format {file.format}; this autovid reads {FORMAT}")
    wrong = next((key for key, time in file.blocks.items() if not 0 <= time <= LONGEST), None)
    if wrong is not None:
        raise ConfigError(f"{path}: {wrong} takes {file.blocks[wrong]} ns, which cannot be; measure it anew")
    if abs(file.overhead or 0) > LONGEST:
        raise ConfigError(f"{path}: an overhead of {file.overhead} ns cannot be; measure it anew")
    if not (file.about() + file.space).isprintable():
        raise ConfigError(f"{path} is not as it was written: it holds control characters; measure it anew")
    return file


@dataclass(frozen=True)
class Latency(Cost):
    """The latency that a file predicts."""

    times: LatencyFile = field(hash=False)

    name, option, quantity, metric, file = "latency", "latency", MILLISECONDS, "latency_ms", "latency.json"
    file_origin = "autovid latency-table measures one"

    @classmethod
    def read(cls, path: Path) -> "Latency":
        return cls(read_latency_file(path))

    def content(self) -> bytes:
        return msgspec.json.encode(self.times)

    def table(self, space: SearchSpace, reference: Reference | None = None) -> CostTable:
        if reference not in (None, space.reference):
            raise ConfigError("a latency table is of one input, the space's reference; leave the other one out")
        return latency_table(space, self.times)

    def convention(self, reference: Reference) -> str:
        return f"latency predicted for {self.times.about()}"

    def record(self) -> dict[str, str]:
        content = hashlib.sha256(msgspec.json.encode(self.times, order="sorted")).hexdigest()
        return {"table": content[:12]}


def latency_table(space: SearchSpace, file: LatencyFile) -> CostTable:
    """Return the latency, in nanoseconds, of every architecture of a space at its reference input.

    Raises ConfigError where the file lacks blocks of this space.
    """
    missing: list[str] = []

    def price(site: Site, choice: Choice) -> int:
        key = site.block.key(site, choice)
        if key and key not in file.blocks:
            missing.append(key)
        return file.blocks.get(key, 0)

    table = SiteTable(space, price, quantity=MILLISECONDS, constant=file.overhead or 0)
    same = (file.space, file.frames, file.crop) == (space.name, space.reference.frames, space.reference.crop)
    if file.overhead is None and (same or not missing):
        raise ConfigError("the latency table is unfinished; go on with autovid latency-table and --resume")
    if missing:
        at = f"{space.reference.frames} frames of {space.reference.crop}x{space.reference.crop}"
        raise ConfigError(
            f"the latency table lacks {len(set(missing))} blocks of space {space.name} at {at} ({missing[0]}); it is "
            f"of space {file.space} at {file.frames} frames of {file.crop}x{file.crop}; make one of this space with "
            "autovid latency-table"
        )
    return table


def distinct_blocks(spaces: Sequence[SearchSpace]) -> dict[str, tuple[Site, Choice]]:
    """Every distinct block of some spaces, and of their parts, by its key, with a place and a choice that have it.

    What is skipped is no block.
    """
    blocks: dict[str, tuple[Site, Choice]] = {}
    parts = [space.part_space(number, {}) for space in spaces for number in range(len(space.parts))]
    for space in [*spaces, *parts]:
        candidates = space.candidates
        for site in sites(space.network, space.reference):
            for choices in site_choices(site, candidates):
                choice = site.choice(choices)
                if key := site.block.key(site, choice):
                    blocks.setdefault(key, (site, choice))
    return blocks

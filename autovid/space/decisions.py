"""The decisions that a macro table leaves open, each with candidates."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from autovid.blocks.block import Width, mark
from autovid.space.layout import sites
from autovid.space.schema import NetworkConfig, Part, Reference, SpaceFile, Value


@dataclass(frozen=True)
class Decision:
    """One choice to be made: its name, such as `sparse.stage1.block2.expansion`, and its candidates."""

    name: str
    candidates: tuple[Value, ...]


def decide(content: SpaceFile, candidates: Mapping[str, Mapping[str, Any]]) -> tuple[Decision, ...]:
    """Return the decisions of a space's file, in the order of its sites; `candidates` are checked, by stream."""
    decisions = []
    for name, kind in decision_types(content.network, content.reference).items():
        stream, *place, variable = name.split(".")
        if operations := mark(kind, "operations"):
            values = getattr(content, operations)
        elif variable == "width":
            values = candidates[stream]["width"][int(place[0].removeprefix("stage")) - 1]
        else:
            values = candidates[stream][variable]
        decisions.append(Decision(name, values))
    return tuple(decisions)


def decision_types(network: NetworkConfig, reference: Reference) -> dict[str, Any]:
    """Return the type of the values of every decision, by name, in the order of the sites."""
    types: dict[str, Any] = {}
    for site in sites(network, reference):
        own = {"width_in": Width, "width": Width, **site.block.choices}
        for variable, name in site.variables:
            if isinstance(name, str):
                types.setdefault(name, own[variable])
    return types


def is_searched_in(part: Part, decision: str) -> bool:
    """Say whether a part of the search opens this decision."""
    return any(fnmatch.fnmatchcase(decision, pattern) for pattern in part.search)


def with_streams(network: NetworkConfig, streams: Sequence[str]) -> NetworkConfig:
    """Return the macro table with only these streams; a fusion that has lost an end goes too."""
    kept = {name: stream for name, stream in network.streams.items() if name in streams}
    fusion, attention = network.fusion, network.attention
    if fusion is not None and not {fusion.source, fusion.target} <= kept.keys():
        fusion = None
    if attention is not None and attention.stream not in kept:
        attention = None
    return msgspec.structs.replace(network, streams=kept, fusion=fusion, attention=attention)

"""Checks beyond the types of a file: of a network and of its decisions, refused by file, line and key."""

from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from autovid.blocks.block import SKIP, mark
from autovid.blocks.registry import ATTENTIONS, BLOCKS, FUSIONS
from autovid.config import Document, plain_document
from autovid.config.explain import describe, explain
from autovid.errors import ConfigError
from autovid.plugins import require_plugins
from autovid.space.layout import depth
from autovid.space.schema import FORMAT, SMALLEST_CROP, ArchitectureFile, NetworkConfig, Reference, Value

LARGEST_NETWORK = 500  # blocks; a guard against a depth typed wrongly
OPERATIONS = {"fusion": FUSIONS, "attention": ATTENTIONS}
OWN = "; one of your own comes with --plugin FILE.py"


def check_format(document: Document, number: int) -> None:
    """Refuse a file of a format that this version does not read."""
    if number != FORMAT:
        raise document.error(f"format {number} is not known here; this autovid reads {FORMAT}", "format")


def check_old_keys(document: Document) -> None:
    """Refuse keys that have had another name by saying the new one."""
    content = document.root.plain()
    network, parts = (content.get(key) if isinstance(content, dict) else None for key in ("network", "parts"))
    streams = network.get("streams") if isinstance(network, dict) else None
    if isinstance(content, dict) and "found" in content:
        raise document.error("this key is called provenance now; rename it", "found")
    for name, stream in streams.items() if isinstance(streams, dict) else ():
        if isinstance(stream, dict) and "every" in stream:
            raise document.error("this key is called frame_stride now; rename it", "network", "streams", name, "every")
    for number, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, dict) and "share" in part:
            raise document.error("this key is called cost_fraction now; rename it", "parts", number, "share")


def architecture_content(document: Document) -> ArchitectureFile:
    """Return the content of an architecture's document, its network and reference input checked. Raises ConfigError."""
    check_old_keys(document)
    content = document.as_type(ArchitectureFile)
    check_format(document, content.format)
    try:
        require_plugins(content.plugins, "this architecture")
    except ConfigError as error:
        raise document.error(str(error), "plugins") from None
    check_network(document, content.network, content.reference)
    return content


def check_network(document: Document, network: NetworkConfig, reference: Reference) -> None:
    """Check what types cannot say of a macro table: that its places exist and its streams fit each other."""
    if not network.streams:
        raise document.error("a network needs a stream", "network", "streams")
    for name, stream in network.streams.items():
        if not name.isidentifier() or name in ("fusion", "attention", "classifier"):
            raise document.error(
                "a stream's name is a plain word other than fusion and attention", "network", "streams", name
            )
        if reference.frames % stream.frame_stride:
            message = f"{reference.frames} reference frames are not a multiple of frame_stride: {stream.frame_stride}"
            raise document.error(message, "network", "streams", name, "frame_stride")
        if stream.block not in BLOCKS:
            raise document.error(BLOCKS.unknown(stream.block), "network", "streams", name, "block")
        for number, stage in enumerate(stream.stages):
            if stage.block and stage.block not in BLOCKS:
                key = ("network", "streams", name, "stages", number, "block")
                raise document.error(BLOCKS.unknown(stage.block), *key)
    blocks = sum(depth(s.depth, network.depth_factor) for stream in network.streams.values() for s in stream.stages)
    if blocks > LARGEST_NETWORK:
        raise document.error(f"{blocks} blocks; at most {LARGEST_NETWORK} are allowed", "network")
    _check_kernels(document, network)
    _check_fusion(document, network)
    if network.attention is not None:
        _check_stream(document, network, network.attention.stream, "attention", "stream")
        places = _places(network, network.attention.stream)[1:]
        _check_places(document, network.attention.after, places, "attention")


def _check_kernels(document: Document, network: NetworkConfig) -> None:
    for name, stream in network.streams.items():
        for variable in ("temporal_kernel", "spatial_kernel"):
            check_odd(document, getattr(stream.stem, variable), "network", "streams", name, "stem", variable)
    if network.fusion is not None:
        check_odd(document, network.fusion.kernel, "network", "fusion", "kernel")


def _check_fusion(document: Document, network: NetworkConfig) -> None:
    fusion = network.fusion
    if fusion is None:
        return
    for end in ("source", "target"):
        _check_stream(document, network, getattr(fusion, end), "fusion", end)
    source, target = network.streams[fusion.source], network.streams[fusion.target]
    if fusion.source == fusion.target:
        raise document.error("source and target are the same stream", "network", "fusion", "target")
    if target.frame_stride % source.frame_stride:
        message = (
            f"the frame_stride of {fusion.target}, {target.frame_stride}, must be a multiple of that of "
            f"{fusion.source}, {source.frame_stride}"
        )
        raise document.error(message, "network", "fusion")
    shared = [p for p in _places(network, fusion.source) if p in _places(network, fusion.target)]
    _check_places(document, fusion.after, shared, "fusion")
    strides = [[stage.stride for stage in stream.stages] for stream in (source, target)]
    last = max((int(p.removeprefix("stage")) for p in fusion.after if p != "stem"), default=0)
    if strides[0][:last] != strides[1][:last]:
        raise document.error(
            "the streams' strides differ before the last fusion, so their maps do not fit", "network", "fusion"
        )


def _places(network: NetworkConfig, stream: str) -> list[str]:
    return ["stem", *(f"stage{i + 1}" for i in range(len(network.streams[stream].stages)))]


def _check_stream(document: Document, network: NetworkConfig, stream: str, *key: str) -> None:
    if stream not in network.streams:
        raise document.error(f"no stream is called {stream}; there are {', '.join(network.streams)}", "network", *key)


def _check_places(document: Document, after: Sequence[str], places: Sequence[str], key: str) -> None:
    for index, place in enumerate(after):
        if place not in places:
            raise document.error(f"no place {place}; there are {', '.join(places)}", "network", key, "after", index)
        if place in after[:index]:
            raise document.error(f"{place} is named twice", "network", key, "after", index)


def check_odd(document: Document, size: int, *key: str | int) -> None:
    """Refuse an even kernel: a same-padded one needs a middle."""
    if size % 2 == 0:
        raise document.error(f"a kernel of {size} has no middle; use odd ones", *key)


def check_operation(document: Document, kind: str, value: Value, *key: str | int) -> None:
    """Refuse a candidate of `kind` (fusion or attention) that is neither skip nor one of its operations."""
    if value != SKIP and value not in OPERATIONS[kind]:
        names = ", ".join([SKIP, *OPERATIONS[kind]])
        raise document.error(f"no {OPERATIONS[kind].kind} is called {describe(value)}; there are {names}{OWN}", *key)


def check_choice(document: Document, value: Value, kind: Any, *key: str | int) -> Value:
    """Convert the value of a decision to its type. Raises ConfigError for another, and for a kernel that is even."""
    if operations := mark(kind, "operations"):
        check_operation(document, operations, value, *key)
    if isinstance(value, float) and float not in get_args(kind):
        raise document.error(f"expected a whole number, found {describe(value)}", *key)
    try:
        converted: Value = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise document.error(explain(error, value, kind)[0], *key) from None
    if mark(kind, "odd"):
        check_odd(document, int(converted), *key)
    return converted


def check_frames(network: NetworkConfig, frames: int) -> None:
    """Raise ConfigError when a clip of this many frames does not divide among the streams."""
    for name, stream in network.streams.items():
        if frames % stream.frame_stride:
            each = f"stream {name} takes every {stream.frame_stride}th"
            raise ConfigError(f"{frames} frames: {each}; give a multiple of it")


def check_crop(crop: int) -> None:
    """Raise ConfigError when clips are too small for networks of a space."""
    if crop < SMALLEST_CROP:
        raise ConfigError(f"crop {crop}: at least {SMALLEST_CROP}")


def changed_reference(reference: Reference, **changes: int | None) -> Reference:
    """Return the reference input with what is not None changed. Raises ConfigError for what cannot be."""
    changed = {key: value for key, value in changes.items() if value is not None}
    return plain_document({**msgspec.to_builtins(reference), **changed}, "the input").as_type(Reference)

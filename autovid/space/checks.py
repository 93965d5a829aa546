"""What the types of a file cannot say of a network and of its decisions, refused by file, line and key."""

from collections.abc import Sequence
from typing import Any

import msgspec

from autovid.config import Document, plain_document
from autovid.config.explain import describe, explain
from autovid.space.layout import depth
from autovid.space.schema import ATTENTIONS, FUSIONS, Expansion, Network, Odd, Reference, Value, Width

LARGEST_NETWORK = 500  # blocks; a guard against a depth typed wrongly
OPERATIONS = {"fusion": FUSIONS, "attention": ATTENTIONS}
KINDS: dict[str, Any] = {"width": Width, "temporal_kernel": Odd, "spatial_kernel": Odd, "expansion": Expansion}


def check_network(document: Document, network: Network, reference: Reference) -> None:
    """What types cannot say of a macro table: that its places exist and its streams fit each other."""
    if not network.streams:
        raise document.error("a network needs a stream", "network", "streams")
    for name, stream in network.streams.items():
        if not name.isidentifier() or name in ("fusion", "attention", "classifier"):
            raise document.error(
                "a stream's name is a plain word other than fusion and attention", "network", "streams", name
            )
        if reference.frames % stream.every:
            message = f"{reference.frames} reference frames are not a multiple of every: {stream.every}"
            raise document.error(message, "network", "streams", name, "every")
    blocks = sum(depth(s.depth, network.depth_factor) for stream in network.streams.values() for s in stream.stages)
    if blocks > LARGEST_NETWORK:
        raise document.error(f"{blocks} blocks; at most {LARGEST_NETWORK} are allowed", "network")
    _check_kernels(document, network)
    _check_fusion(document, network)
    if network.attention is not None:
        _check_stream(document, network, network.attention.stream, "attention", "stream")
        places = _places(network, network.attention.stream)[1:]
        _check_places(document, network.attention.after, places, "attention")


def _check_kernels(document: Document, network: Network) -> None:
    for name, stream in network.streams.items():
        for variable in ("temporal_kernel", "spatial_kernel"):
            check_odd(document, getattr(stream.stem, variable), "network", "streams", name, "stem", variable)
    if network.fusion is not None:
        check_odd(document, network.fusion.kernel, "network", "fusion", "kernel")


def _check_fusion(document: Document, network: Network) -> None:
    fusion = network.fusion
    if fusion is None:
        return
    for end in ("source", "target"):
        _check_stream(document, network, getattr(fusion, end), "fusion", end)
    source, target = network.streams[fusion.source], network.streams[fusion.target]
    if fusion.source == fusion.target:
        raise document.error("source and target are the same stream", "network", "fusion", "target")
    if target.every % source.every:
        message = (
            f"{fusion.target} (every {target.every}) must see a multiple of {fusion.source}'s every {source.every}"
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


def _places(network: Network, stream: str) -> list[str]:
    return ["stem", *(f"stage{i + 1}" for i in range(len(network.streams[stream].stages)))]


def _check_stream(document: Document, network: Network, stream: str, *key: str) -> None:
    if stream not in network.streams:
        raise document.error(f"no stream is called {stream}; there are {', '.join(network.streams)}", "network", *key)


def _check_places(document: Document, after: Sequence[str], places: Sequence[str], key: str) -> None:
    for index, place in enumerate(after):
        if place not in places:
            raise document.error(f"no place {place}; there are {', '.join(places)}", "network", key, "after", index)
        if place in after[:index]:
            raise document.error(f"{place} is named twice", "network", key, "after", index)


def check_odd(document: Document, size: int, *key: str | int) -> None:
    """A same-padded kernel needs a middle."""
    if size % 2 == 0:
        raise document.error(f"a kernel of {size} has no middle; use odd ones", *key)


def check_operation(document: Document, kind: str, value: Value, *key: str | int) -> None:
    """A candidate of `kind` (fusion or attention) is one that there is."""
    if value not in OPERATIONS[kind]:
        raise document.error(f"no {kind} operation {value}; there are {', '.join(OPERATIONS[kind])}", *key)


def check_choice(document: Document, name: str, value: Value, *key: str | int) -> None:
    """The value of one decision of an architecture, such as `sparse.stage1.block2.expansion`, is of its kind."""
    owner, variable = name.split(".")[0], name.rsplit(".", 1)[-1]
    if owner in OPERATIONS:
        return check_operation(document, owner, value, *key)
    if isinstance(value, float) and variable != "expansion":
        raise document.error(f"expected a whole number, found {describe(value)}", *key)
    try:
        msgspec.convert(value, KINDS[variable])
    except msgspec.ValidationError as error:
        raise document.error(explain(error, value, KINDS[variable])[0], *key) from None
    if variable.endswith("kernel"):
        check_odd(document, int(value), *key)


def changed_reference(reference: Reference, **changes: int | None) -> Reference:
    """The reference input with what is not None changed. Raises ConfigError for what cannot be."""
    given = {key: value for key, value in changes.items() if value is not None}
    return plain_document({**msgspec.to_builtins(reference), **given}, "the input").as_type(Reference)

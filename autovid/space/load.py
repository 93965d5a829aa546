"""Reading a search space from YAML, with every mistake in it refused by file, line and key."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path

from autovid.config import Document, read_yaml
from autovid.config.resources import search_spaces_dir
from autovid.errors import ConfigError
from autovid.space.layout import depth
from autovid.space.schema import Network, Reference, SpaceFile
from autovid.space.space import SearchSpace, decide, opens

FORMAT = 1
FUSIONS = ("skip", "strided_conv", "strided_sampling", "time_to_channel")
ATTENTIONS = ("skip", "glore", "nonlocal")
LARGEST_NETWORK = 500  # blocks; a guard against a depth typed wrongly


def list_spaces() -> dict[str, str]:
    """Names and descriptions of the shipped spaces."""
    return {path.stem: read_yaml(path).as_type(SpaceFile).about for path in sorted(search_spaces_dir().glob("*.yaml"))}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """A shipped space by its name, or a user's own by the path of its YAML file."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = search_spaces_dir() / f"{name_or_path}.yaml"
        if Path(name_or_path).name != str(name_or_path) or not path.is_file():
            known = ", ".join(sorted(p.stem for p in search_spaces_dir().glob("*.yaml")))
            raise ConfigError(f"no search space is called {name_or_path}; there are {known}, or give a .yaml file")
    document = read_yaml(path)
    content = document.as_type(SpaceFile)
    if content.format != FORMAT:
        raise document.error(f"format {content.format} is not known here; this autovid reads {FORMAT}", "format")
    check_network(document, content.network, content.reference)
    _check_candidates(document, content)
    decisions = decide(content.network, content.candidates, content.fusion, content.attention)
    space = SearchSpace(
        content.name,
        content.network,
        decisions,
        content.reference,
        content.parts,
        content.recipe,
        content.proxy,
        Path(path).read_text(encoding="utf-8"),
    )
    _check_parts(document, content, space)
    return space


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
    _check_fusion(document, network)
    if network.attention is not None:
        _check_stream(document, network, network.attention.stream, "attention", "stream")
        places = _places(network, network.attention.stream)[1:]
        _check_places(document, network.attention.after, places, "attention")


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


def _check_candidates(document: Document, content: SpaceFile) -> None:
    for name in content.network.streams:
        if name not in content.candidates:
            raise document.error(f"the stream {name} has no candidates", "candidates")
    for name, candidates in content.candidates.items():
        if name not in content.network.streams:
            raise document.error("no such stream in network.streams", "candidates", name)
        stages = len(content.network.streams[name].stages)
        if len(candidates.width) != stages:
            message = f"{len(candidates.width)} lists of widths for {stages} stages"
            raise document.error(message, "candidates", name, "width")
        for number, widths in enumerate(candidates.width):
            _check_list(document, widths, "candidates", name, "width", number)
        for variable in ("temporal_kernel", "spatial_kernel", "expansion"):
            _check_list(document, getattr(candidates, variable), "candidates", name, variable)
        for variable in ("temporal_kernel", "spatial_kernel"):
            for index, size in enumerate(getattr(candidates, variable)):
                if size % 2 == 0:
                    raise document.error(
                        f"a kernel of {size} has no middle; use odd ones", "candidates", name, variable, index
                    )
    known: Mapping[str, tuple[str, ...]] = {"fusion": FUSIONS, "attention": ATTENTIONS}
    for key, names in known.items():
        values = getattr(content, key)
        _check_list(document, values, key)
        for index, value in enumerate(values):
            if value not in names:
                raise document.error(f"no {key} operation {value}; there are {', '.join(names)}", key, index)


def _check_list(document: Document, values: Sequence[object], *key: str | int) -> None:
    if not values:
        raise document.error("an empty list: a decision needs a candidate", *key)
    for index, value in enumerate(values):
        if value in values[:index]:
            raise document.error(f"{value} stands twice", *key, index)


def _check_parts(document: Document, content: SpaceFile, space: SearchSpace) -> None:
    if not content.parts:
        raise document.error("a search needs at least one part", "parts")
    decided: dict[str, str] = {}
    share = 0.0
    for number, part in enumerate(content.parts):
        for index, stream in enumerate(part.streams):
            if stream not in content.network.streams:
                raise document.error(f"no stream is called {stream}", "parts", number, "streams", index)
        if part.share <= share:
            raise document.error("shares are cumulative: each is larger than the one before", "parts", number, "share")
        share = part.share
        if part.name not in content.proxy.parts:
            raise document.error(f"the part {part.name} is missing", "proxy", "parts")
        for index, pattern in enumerate(part.search):
            if not any(fnmatch.fnmatchcase(d.name, pattern) for d in space.decisions):
                raise document.error(f"{pattern} fits no decision", "parts", number, "search", index)
        for decision in space.decisions:
            if opens(part, decision.name):
                if decision.name in decided:
                    message = f"{decision.name} is already searched by {decided[decision.name]}"
                    raise document.error(message, "parts", number, "search")
                decided[decision.name] = part.name
    left = [d.name for d in space.decisions if d.name not in decided and len(d.candidates) > 1]
    if left:
        raise document.error(
            f"no part searches {left[0]}" + (f" and {len(left) - 1} more" if left[1:] else ""), "parts"
        )
    if set(content.parts[-1].streams) != set(content.network.streams):
        raise document.error("the last part must hold every stream", "parts", len(content.parts) - 1, "streams")

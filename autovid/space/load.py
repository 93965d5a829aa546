"""Reading spaces and architectures from YAML, with every mistake in them refused by file, line and key."""

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autovid.blocks.block import Width
from autovid.blocks.registry import BLOCKS
from autovid.config import Document, read_yaml
from autovid.config.explain import describe
from autovid.config.resources import search_spaces_dir
from autovid.errors import ConfigError, did_you_mean
from autovid.plugins import load_plugins
from autovid.space.checks import (
    OPERATIONS,
    architecture_content,
    check_choice,
    check_format,
    check_network,
    check_old_keys,
    check_operation,
)
from autovid.space.layout import decide, decision_types, is_searched_in, with_streams
from autovid.space.schema import JOINT, Part, SpaceFile, StreamConfig
from autovid.space.space import Architecture, SearchSpace


def list_spaces() -> dict[str, str]:
    """Return names and descriptions of the shipped spaces."""
    return {path.stem: read_yaml(path).as_type(SpaceFile).about for path in sorted(search_spaces_dir().glob("*.yaml"))}


def load_space(name_or_path: str | Path, *, plugins: str | Path | Sequence[str | Path] = ()) -> SearchSpace:
    """Load a shipped space by its name, or one's own by the path of its YAML file; `plugins` are code to run.

    Raises ConfigError.
    """
    load_plugins(plugins)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = search_spaces_dir() / f"{name_or_path}.yaml"
        if Path(name_or_path).name != str(name_or_path) or not path.is_file():
            known = ", ".join(sorted(p.stem for p in search_spaces_dir().glob("*.yaml")))
            raise ConfigError(f"no search space is called {name_or_path}; there are {known}, or give a .yaml file")
    document = read_yaml(path)
    check_old_keys(document)
    content = document.as_type(SpaceFile)
    check_format(document, content.format)
    check_name(document, content.name, "name")
    check_network(document, content.network, content.reference)
    decisions = decide(content, _candidates(document, content))
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
    check_parts(document, content, space)
    return space


def load_architecture(path: str | Path, *, plugins: str | Path | Sequence[str | Path] = ()) -> Architecture:
    """Read an architecture file; `plugins` are files of code to run.

    Raises ConfigError with file, line and key for what is wrong in it.
    """
    load_plugins(plugins)
    document = read_yaml(path)
    content = architecture_content(document)
    types = decision_types(content.network, content.reference)
    for name in content.choices:
        if name not in types:
            raise document.error("no such decision in this network", "choices", name)
    for name, kind in types.items():
        if name not in content.choices:
            raise document.error(f"{name} is missing", "choices")
        check_choice(document, content.choices[name], kind, "choices", name)
    choices = {name: content.choices[name] for name in types}
    arch = Architecture(content.space, content.network, content.reference, choices, content.cost, content.provenance)
    if content.hash and content.hash != arch.hash:
        message = f"the content is another architecture's, {arch.hash}; if you have edited it, delete hash and cost"
        raise document.error(message, "hash")
    return arch


def _candidates(document: Document, content: SpaceFile) -> dict[str, dict[str, Any]]:
    """Return the candidates of every stream as their types have them; those of operations are checked, too."""
    for name in content.network.streams:
        if name not in content.candidates:
            raise document.error(f"the stream {name} has no candidates", "candidates")
    for name in content.candidates:
        if name not in content.network.streams:
            raise document.error("no such stream in network.streams", "candidates", name)
    for kind in OPERATIONS:
        _check_list(document, getattr(content, kind), kind)
        for index, value in enumerate(getattr(content, kind)):
            check_operation(document, kind, value, kind, index)
    streams = content.network.streams
    return {name: _of_stream(document, name, stream, content.candidates[name]) for name, stream in streams.items()}


def _of_stream(document: Document, name: str, stream: StreamConfig, candidates: dict[str, Any]) -> dict[str, Any]:
    """`width` is a list of lists, one for each stage; every choice of the stream's blocks is a list."""
    blocks = dict.fromkeys(stage.block or stream.block for stage in stream.stages)
    kinds = {choice: kind for block in blocks for choice, kind in BLOCKS.load(block)().choices.items()}
    for key in candidates:
        if key not in ("width", *kinds):
            hint = did_you_mean(key, ["width", *kinds])
            message = f"unknown key; {hint}the keys here are width, {', '.join(kinds)}"
            raise document.error(message, "candidates", name, key)
    for key in ("width", *kinds):
        if key not in candidates:
            raise document.error(f"the key '{key}' is missing; add it", "candidates", name)
    widths = candidates["width"]
    if not isinstance(widths, list):
        raise document.error(f"expected a list, found {describe(widths)}", "candidates", name, "width")
    if len(widths) != len(stream.stages):
        message = f"{len(widths)} lists of widths for {len(stream.stages)} stages"
        raise document.error(message, "candidates", name, "width")
    return {
        "width": [_values(document, w, Width, "candidates", name, "width", i) for i, w in enumerate(widths)],
        **{key: _values(document, candidates[key], kind, "candidates", name, key) for key, kind in kinds.items()},
    }


def _values(document: Document, values: object, kind: Any, *key: str | int) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise document.error(f"expected a list, found {describe(values)}", *key)
    _check_list(document, values, *key)
    return tuple(check_choice(document, value, kind, *key, index) for index, value in enumerate(values))


def _check_list(document: Document, values: Sequence[object], *key: str | int) -> None:
    if not values:
        raise document.error("an empty list: a decision needs a candidate", *key)
    for index, value in enumerate(values):
        if value in values[:index]:
            raise document.error(f"{value} stands twice", *key, index)


def check_name(document: Document, name: str, *key: str | int) -> None:
    """Check a name that goes into paths and into --flops PART=MIN:MAX."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
        message = f"{name[:80]!r} is no name; use letters, digits, - _ and . (not first), at most 80"
        raise document.error(message, *key)


def check_parts(document: Document, content: SpaceFile, space: SearchSpace) -> None:
    """Check that parts decide everything once, each what it holds, and have proxies; that jitter fits the crops."""
    if not content.parts:
        raise document.error("a search needs at least one part", "parts")
    decided: dict[str, str] = {}
    for number, part in enumerate(content.parts):
        _check_part(document, content, number)
        _check_search(document, part, number, space, decided)
    left = [d.name for d in space.decisions if d.name not in decided and len(d.candidates) > 1]
    if left:
        raise document.error(
            f"no part searches {left[0]}" + (f" and {len(left) - 1} more" if left[1:] else ""), "parts"
        )
    last = len(content.parts) - 1
    if set(content.parts[last].streams) != set(content.network.streams):
        raise document.error("the last part must hold every stream", "parts", last, "streams")
    if content.parts[last].cost_fraction != 1:
        message = "the last part's cost_fraction is 1: the range is that of the whole network"
        raise document.error(message, "parts", last, "cost_fraction")
    _check_proxy(document, content)


def _check_part(document: Document, content: SpaceFile, number: int) -> None:
    part, before = content.parts[number], content.parts[:number]
    check_name(document, part.name, "parts", number, "name")
    if part.name == JOINT:
        raise document.error("the phase behind the parts is called joint; choose another name", "parts", number, "name")
    if part.name in [other.name for other in before]:
        raise document.error(f"two parts are called {part.name}: it stands twice", "parts", number, "name")
    if not part.streams:
        raise document.error("an empty list: a part needs a stream", "parts", number, "streams")
    for index, stream in enumerate(part.streams):
        if stream not in content.network.streams:
            raise document.error(f"no stream is called {stream}", "parts", number, "streams", index)
        if stream in part.streams[:index]:
            raise document.error(f"{stream} stands twice", "parts", number, "streams", index)
    first = list(content.network.streams)[: len(part.streams)]
    if set(part.streams) != set(first):  # the classifier's leading columns are theirs
        message = f"a part has the first streams of network.streams, here {', '.join(first)}; order them by the parts"
        raise document.error(message, "parts", number, "streams")
    if before and part.cost_fraction <= before[-1].cost_fraction:
        message = "fractions are cumulative: each is larger than the one before"
        raise document.error(message, "parts", number, "cost_fraction")


def _check_search(document: Document, part: Part, number: int, space: SearchSpace, decided: dict[str, str]) -> None:
    """Check that a part's patterns fit decisions of its own streams that nobody has made; add them to `decided`."""
    own = decision_types(with_streams(space.network, part.streams), space.reference)
    for index, pattern in enumerate(part.search):
        fitting = fnmatch.filter([d.name for d in space.decisions], pattern)
        if not fitting:
            raise document.error(f"{pattern} fits no decision", "parts", number, "search", index)
        for name in fitting:
            if name not in own:
                message = f"{name} is not in this part, whose streams are {', '.join(part.streams)}; add the stream"
                raise document.error(message, "parts", number, "search", index)
    for decision in space.decisions:
        if is_searched_in(part, decision.name):
            if decision.name in decided:
                message = f"{decision.name} is already searched by {decided[decision.name]}"
                raise document.error(message, "parts", number, "search")
            decided[decision.name] = part.name


def _check_proxy(document: Document, content: SpaceFile) -> None:
    names = [part.name for part in content.parts]
    for name in names:
        if name not in content.proxy.parts:
            raise document.error(f"the part {name} is missing", "proxy", "parts")
    for name in content.proxy.parts:
        if name not in names:
            raise document.error(f"no part is called {name}; there are {', '.join(names)}", "proxy", "parts", name)
    for name, stream in content.network.streams.items():
        if content.proxy.frames % stream.frame_stride:
            message = (
                f"{content.proxy.frames} frames are not a multiple of {name}'s frame_stride, {stream.frame_stride}"
            )
            raise document.error(message, "proxy", "frames")
    crops = {
        "recipe": (content.recipe.jitter, content.reference.crop),
        "proxy": (content.proxy.jitter, content.proxy.crop),
    }
    for key, ((low, high), crop) in crops.items():
        if not crop <= low <= high:
            raise document.error(f"{low} to {high} must rise and not be smaller than the crop, {crop}", key, "jitter")

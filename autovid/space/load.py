"""Reading spaces and architectures from YAML, with every mistake in them refused by file, line and key."""

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
from autovid.space.decisions import decide, decision_types
from autovid.space.parts import check_name, check_parts
from autovid.space.schema import SpaceFile, StreamConfig
from autovid.space.space import Architecture, SearchSpace


def list_spaces() -> dict[str, str]:
    """Return names and descriptions of the shipped spaces."""
    return {path.stem: read_yaml(path).as_type(SpaceFile).about for path in sorted(search_spaces_dir().glob("*.yaml"))}


def load_space(name_or_path: str | Path, *, plugins: Sequence[str | Path] = ()) -> SearchSpace:
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


def load_architecture(path: str | Path, *, plugins: Sequence[str | Path] = ()) -> Architecture:
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

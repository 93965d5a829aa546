"""Reading a search space from YAML, with every mistake in it refused by file, line and key."""

from collections.abc import Sequence
from pathlib import Path

from autovid.config import Document, read_yaml
from autovid.config.resources import search_spaces_dir
from autovid.errors import ConfigError
from autovid.space.checks import OPERATIONS, check_network, check_odd, check_operation
from autovid.space.parts import check_name, check_parts
from autovid.space.schema import SpaceFile
from autovid.space.space import SearchSpace, decide

FORMAT = 1


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
    check_name(document, content.name, "name")
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
    check_parts(document, content, space)
    return space


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
                check_odd(document, size, "candidates", name, variable, index)
    for kind in OPERATIONS:
        _check_list(document, getattr(content, kind), kind)
        for index, value in enumerate(getattr(content, kind)):
            check_operation(document, kind, value, kind, index)


def _check_list(document: Document, values: Sequence[object], *key: str | int) -> None:
    if not values:
        raise document.error("an empty list: a decision needs a candidate", *key)
    for index, value in enumerate(values):
        if value in values[:index]:
            raise document.error(f"{value} stands twice", *key, index)

"""YAML on top of YAML: a file, the one that it names as its `base`, and single values from the command line."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from autovid.config import nodes
from autovid.config.document import Document, read_yaml, read_yaml_text
from autovid.config.explain import explain
from autovid.errors import ConfigError

T = TypeVar("T")
BASE = "base"
DEEPEST = 5  # bases of bases


class Layers:
    """Documents of which later ones win, key by key; lists and plain values are replaced as a whole.

    Errors name the document, line and key where the value in question was given last.
    """

    def __init__(self, documents: Sequence[Document], file: Document) -> None:
        self.documents, self.file = documents, file

    def plain(self) -> nodes.Node:
        """The one mapping that they come to."""
        merged = nodes.Node(1, {})
        for document in self.documents:
            _merge(merged, document.root)
        return merged

    def as_type(self, schema: type[T]) -> T:
        """Convert, strictly, to `schema`. Raises ConfigError."""
        try:
            return msgspec.convert(self.plain().plain(), schema, str_keys=True)
        except msgspec.ValidationError as error:
            message, path = explain(error, self.plain().plain(), schema)
            raise self.error(message, *path) from None

    def error(self, message: str, *key_path: str | int) -> ConfigError:
        """The error "SOURCE:LINE: key.path: message", of the last document that goes deepest along the path."""
        depth = max(_depth(document.root, key_path) for document in self.documents)
        deepest = [document for document in self.documents if _depth(document.root, key_path) == depth]
        return (deepest[-1] if depth else self.file).error(message, *key_path)

    @contextlib.contextmanager
    def at(self, *key_path: str | int) -> Iterator[None]:
        """A ConfigError that is raised inside carries the document and line of this key."""
        try:
            yield
        except ConfigError as error:
            raise self.error(str(error), *key_path) from None


def read_layers(path: Path, pairs: Sequence[str] = (), place: Callable[[str], str] = str) -> Layers:
    """The YAML file `path` on top of its base, and on top of that `pairs`, each key=value with dots in the key.

    `place` completes a key that may be given short: `lr` is `recipe.lr`. Raises ConfigError.
    """
    files = [_mapping(read_yaml(path))]
    while (base := _take_base(files[0])) is not None:
        if len(files) > DEEPEST:
            raise files[-1].error(f"more than {DEEPEST} bases of bases; write the values out", BASE)
        files.insert(0, _mapping(read_yaml(Path(files[0].source).parent / base)))
    return Layers([*files, *(_setting(pair, place) for pair in pairs)], files[-1])


def _mapping(document: Document) -> Document:
    if not isinstance(document.root.value, dict):
        raise document.error("not a mapping; write 'key: value' lines")
    return document


def _take_base(document: Document) -> str | None:
    assert isinstance(document.root.value, dict)
    if BASE not in document.root.value:
        return None
    base = document.root.value[BASE].value
    if not isinstance(base, str):
        raise document.error("expected the name of a YAML file beside this one", BASE)
    del document.root.value[BASE]
    return base


def _setting(pair: str, place: Callable[[str], str]) -> Document:
    """One key=value as a document of its own; the value is YAML."""
    key, _, value = pair.partition("=")
    source = f"--set {pair}"
    if not all(part.isidentifier() for part in key.split(".")) or not value:
        raise ConfigError(f"{source}: give KEY=VALUE, where dots lead into a key: recipe.lr=0.1")
    node = read_yaml_text(f"value: {value}", source).root
    assert isinstance(node.value, dict)
    node = node.value["value"]
    node.line = 0  # a command line has none
    for part in reversed(place(key).split(".")):
        node = nodes.Node(0, {part: node})
    return Document(node, source)


def _merge(into: nodes.Node, node: nodes.Node) -> None:
    assert isinstance(into.value, dict)
    assert isinstance(node.value, dict)
    for key, value in node.value.items():
        there = into.value.get(key)
        if there is None or not isinstance(there.value, dict) or not isinstance(value.value, dict):
            there = into.value[key] = nodes.Node(value.line, {} if isinstance(value.value, dict) else value.value)
        if isinstance(value.value, dict):
            _merge(there, value)


def _depth(node: nodes.Node, path: Sequence[str | int]) -> int:
    """How many steps of the path exist."""
    for depth, part in enumerate(path):
        value = node.value
        if isinstance(value, dict) and str(part) in value:
            node = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            node = value[part]
        else:
            return depth
    return len(path)

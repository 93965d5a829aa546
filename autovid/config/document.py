"""YAML documents that know their lines: read, lay on top of each other, convert to typed structs, write.

A mistake is blamed on the line that has it. Text that is written reads back the same, here and in YAML 1.1 readers.
"""

import contextlib
import math
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from autovid.config import nodes
from autovid.config.explain import explain
from autovid.errors import ConfigError

T = TypeVar("T")
BASE = "base"
MAX_BASES = 5  # bases of bases
_SHORT = 100  # characters: lists of scalars up to this stand on one line


class Document:
    """One YAML document. `source` is the name that its errors carry, usually the path of the file."""

    def __init__(self, root: nodes.Node, source: str) -> None:
        self.root = root
        self.source = source

    def plain(self) -> nodes.Node:
        """Return the tree of values."""
        return self.root

    def as_type(self, schema: type[T]) -> T:
        """Convert, strictly, to `schema`: a msgspec.Struct, or whatever else msgspec.convert takes.

        Raises ConfigError naming file, line and key, and for an unknown key the nearest known one.
        """
        value = self.plain().plain()
        try:
            return msgspec.convert(value, schema, str_keys=True)
        except msgspec.ValidationError as error:
            message, path = explain(error, value, schema)
            raise self.error(message, *path) from None

    def error(self, message: str, *key_path: str | int) -> ConfigError:
        """Return the error "SOURCE:LINE: key.path: message"; the line is of the path's deepest part that exists."""
        node, _ = _deepest(self.root, key_path)
        return nodes.located(self.source, node.line or None, key_path, message)


class Layers(Document):
    """Documents of which later ones win, key by key; lists and plain values are replaced as a whole.

    Errors name the document, line and key where the value in question was given last, else the document `file`.
    """

    def __init__(self, documents: Sequence[Document], file: Document) -> None:
        super().__init__(file.root, file.source)
        self.documents = documents

    def plain(self) -> nodes.Node:
        """Return the merged mapping."""
        merged = nodes.Node(1, {})
        for document in self.documents:
            _merge(merged, document.root)
        return merged

    def error(self, message: str, *key_path: str | int) -> ConfigError:
        """Return the error "SOURCE:LINE: key.path: message", of the last document that goes deepest along the path."""
        depths = [_deepest(document.root, key_path)[1] for document in self.documents]
        if not max(depths):
            return super().error(message, *key_path)
        last = max(index for index, depth in enumerate(depths) if depth == max(depths))
        return self.documents[last].error(message, *key_path)

    @contextlib.contextmanager
    def at(self, *key_path: str | int) -> Iterator[None]:
        """Add the document and line of this key to a ConfigError that is raised inside the context."""
        try:
            yield
        except ConfigError as error:
            raise self.error(str(error), *key_path) from None


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file (UTF-8, at most 1 MB). Raises ConfigError naming the file, and the line where there is one."""
    return read_yaml_text(_read_text(Path(path)), str(path))


def read_yaml_text(text: str, source: str) -> Document:
    """Read YAML text; `source` stands for the file name in errors. Raises ConfigError."""
    return Document(nodes.compose(text, source), source)


def plain_document(value: Any, source: str) -> Document:
    """Return plain data as a document without lines, for the values of a call; `source` names them in errors."""
    return Document(nodes.from_plain(value), source)


def load_yaml(path: str | Path, schema: type[T]) -> T:
    """Read a YAML file into `schema`. Raises ConfigError naming file, line and key."""
    return read_yaml(path).as_type(schema)


def parse_yaml(text: str, schema: type[T], source: str) -> T:
    """Read YAML text into `schema`; `source` stands for the file name in errors. Raises ConfigError."""
    return read_yaml_text(text, source).as_type(schema)


def read_layers(path: Path, pairs: Sequence[str] = (), place: Callable[[str], str] = str) -> Layers:
    """Read the YAML file `path` on top of its base, and on top of that `pairs`, each key=value with dots in the key.

    `place` completes a key that may be given short: `lr` is `recipe.lr`. Raises ConfigError.
    """
    files = [_mapping(read_yaml(path))]
    while (base := _take_base(files[0])) is not None:
        if len(files) > MAX_BASES:
            raise files[-1].error(f"more than {MAX_BASES} bases of bases; write the values out", BASE)
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
    """Return one key=value as a document of its own; the value is YAML."""
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


def dump_yaml(obj: Any) -> str:
    """Return YAML text of a struct or plain data, keys in the order given, short lists as [1, 3, 5].

    Raises ValueError for a number that is not finite.
    """
    plain = msgspec.to_builtins(obj)
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def _deepest(node: nodes.Node, path: Sequence[str | int]) -> tuple[nodes.Node, int]:
    """Return the node of the deepest part of the path that exists, and its depth."""
    for depth, part in enumerate(path):
        value = node.value
        if isinstance(value, dict) and str(part) in value:
            node = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
            node = value[part]
        else:
            return node, depth
    return node, len(path)


def _merge(into: nodes.Node, node: nodes.Node) -> None:
    assert isinstance(into.value, dict)
    assert isinstance(node.value, dict)
    for key, value in node.value.items():
        if not isinstance(value.value, dict):
            into.value[key] = nodes.Node(value.line, value.value)
            continue
        old = into.value.get(key)
        if old is None or not isinstance(old.value, dict):
            old = into.value[key] = nodes.Node(value.line, {})
        _merge(old, value)


def _read_text(path: Path) -> str:
    def error(message: str, line: int | None = None) -> ConfigError:
        return nodes.located(str(path), line, (), message)

    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # before opening: a named pipe would block
            raise error(f"is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}; name a YAML file")
        with path.open("rb") as file:
            data = file.read(nodes.MAX_BYTES + 1)
    except FileNotFoundError:
        raise error("no such file; check the path") from None
    except (OSError, ValueError) as problem:
        reason: Any = getattr(problem, "strerror", None) or problem
        raise error(f"cannot be read ({reason}); check the path and its permissions") from None
    if len(data) > nodes.MAX_BYTES:
        raise error(f"larger than {nodes.MAX_BYTES // 10**6} MB; a configuration is a small text file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(f"not UTF-8 text (byte {data[problem.start]:#04x}); save the file as UTF-8", line) from None


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    scalars = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=scalars and len(str(items)) <= _SHORT)


def _represent_float(dumper: _Dumper, number: float) -> yaml.Node:
    if not math.isfinite(number):
        raise ValueError(f"{number} cannot be written to YAML: only finite numbers can be read back")
    return dumper.represent_float(number)


def _represent_str(dumper: _Dumper, text: str) -> yaml.Node:
    # Only double quotes escape: PyYAML's other styles lose some line breaks.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(float, _represent_float)
# SafeDumper quotes text that YAML 1.1 takes for something else; this adds what we take for a number: 1e-3.
_OUR_NUMBER = re.compile(f"(?:{nodes.FLOAT.pattern}|{nodes.NOT_FINITE.pattern})$", re.IGNORECASE)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _OUR_NUMBER, list("-+.0123456789"))

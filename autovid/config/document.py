"""A YAML document that knows its lines: read it, convert it to a typed struct, blame the right line for a mistake."""

import stat
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from autovid.config import nodes
from autovid.config.explain import explain
from autovid.errors import ConfigError

T = TypeVar("T")


class Document:
    """One YAML document. `source` is the name that its errors carry, usually the path of the file."""

    def __init__(self, root: nodes.Node, source: str) -> None:
        self.root = root
        self.source = source

    def as_type(self, schema: type[T]) -> T:
        """Convert, strictly, to `schema`: a msgspec.Struct, or whatever else msgspec.convert takes.

        Raises ConfigError naming file, line and key, and for an unknown key the nearest known one.
        """
        try:
            return msgspec.convert(self.root.plain(), schema, str_keys=True)
        except msgspec.ValidationError as error:
            message, path = explain(error, self.root.plain(), schema)
            raise self.error(message, *path) from None

    def error(self, message: str, *key_path: str | int) -> ConfigError:
        """The error "SOURCE:LINE: key.path: message"; the line is that of the path's deepest part that exists."""
        node = self.root
        for part in key_path:
            value = node.value
            if isinstance(value, dict) and str(part) in value:
                node = value[str(part)]
            elif isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
                node = value[part]
            else:
                break
        return nodes.located(self.source, node.line or None, key_path, message)


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file (UTF-8, at most 1 MB). Raises ConfigError naming the file, and the line where there is one."""
    return read_yaml_text(_read_text(Path(path)), str(path))


def read_yaml_text(text: str, source: str) -> Document:
    """Read YAML text; `source` stands for the file name in errors. Raises ConfigError."""
    return Document(nodes.compose(text, source), source)


def plain_document(value: Any, source: str) -> Document:
    """Plain data as a document without lines, for values that come from a call; `source` says which in errors."""
    return Document(nodes.from_plain(value), source)


def load_yaml(path: str | Path, schema: type[T]) -> T:
    """Read a YAML file into `schema`. Raises ConfigError naming file, line and key."""
    return read_yaml(path).as_type(schema)


def parse_yaml(text: str, schema: type[T], source: str) -> T:
    """Read YAML text into `schema`; `source` stands for the file name in errors. Raises ConfigError."""
    return read_yaml_text(text, source).as_type(schema)


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

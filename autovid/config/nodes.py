"""YAML text to a tree of nodes that know their lines: the strict, bounded part of YAML that autovid reads.

YAML 1.2's core schema, less what surprises or harms: no tags, anchors, aliases or second document, no duplicate
keys; only `true` and `false` are booleans, `1e-3` is a number, dates, `yes` and `1:30` are text. Keys are always text.
The tree is built from parser events in a loop, so neither deep nor huge input costs more than a moment.
"""

import dataclasses
import math
import re
from typing import Any, cast

import yaml

from autovid.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 32

Scalar = str | int | float | bool | None
KeyPath = tuple[str | int, ...]

# The C parser is twenty times faster; both give the same events, and the tests run on both.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")  # 010 is octal in YAML 1.1 and ten in 1.2: here it is text
FLOAT = re.compile(r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclasses.dataclass(slots=True)
class Node:
    """A value and the line (from 1) of its key, or of itself where it has none; no line where there is no text."""

    line: int | None
    value: Scalar | list["Node"] | dict[str, "Node"]

    def plain(self) -> Any:
        """Return the value as plain Python data, freshly built."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value


def from_plain(value: Any) -> Node:
    """Return the tree of plain data, without lines."""
    if isinstance(value, list | tuple):
        return Node(None, [from_plain(item) for item in value])
    if isinstance(value, dict):
        return Node(None, {key: from_plain(item) for key, item in value.items()})
    return Node(None, value)


def located(source: str, line: int | None, path: KeyPath, message: str) -> ConfigError:
    """Return the error "SOURCE:LINE: key.path: message", on one printable line."""
    where = source if line is None else f"{source}:{line}"
    parts = [where, show_path(path), message] if path else [where, message]
    return ConfigError("".join(c if c.isprintable() else ascii(c)[1:-1] for c in ": ".join(parts)))


def show_path(path: KeyPath) -> str:
    """Return a path as `streams[0].width`; a key that is long or no plain word is shown quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if re.fullmatch(r"[\w-]{1,60}", part) else shorten(part))
    return text


def shorten(text: str) -> str:
    """Return the text quoted, its middle left out beyond 60 characters."""
    return repr(text if len(text) <= 60 else text[:40] + " ... " + text[-15:])


def compose(text: str, source: str) -> Node:
    """Parse one YAML document into a tree. Raises ConfigError at the first thing that is not allowed."""
    _check_text(text, source)
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else None
        raise located(source, line, builder.path(), _explain(error, text, line)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the pure parser's chr() of a wild "\U" escape
        raise located(source, None, builder.path(), f"not valid YAML: {error}; mend the text") from None
    if builder.root is None or builder.root.value is None:
        raise located(source, 1, (), "the file is empty; write at least one 'key: value' line")
    return builder.root


def _check_text(text: str, source: str) -> None:
    if len(text) > MAX_BYTES:
        raise located(source, None, (), f"larger than {MAX_BYTES // 10**6} MB; a configuration is a small text file")
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise located(source, line, (), f"control character {bad.group()!a}; save the file as plain UTF-8 text")


def _explain(error: yaml.MarkedYAMLError, text: str, line: int | None) -> str:
    lines = text.split("\n")
    shown = lines[line - 1] if line and line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return "a tab in the indentation; indent with spaces"
    problem = (error.problem or "unreadable").strip()
    return f"not valid YAML: {problem}; check indentation, colons, quotes and brackets here"


class _Builder:
    """A builder that takes parser events, keeps the open lists and mappings, and refuses forbidden YAML."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.root: Node | None = None
        self.open: list[Node] = []
        self.slots: list[str | int | None] = []  # per open node: where its next value goes; None: a key comes first
        self.key_line = 0
        self.nodes = 0

    def path(self) -> KeyPath:
        """Return the key or index of the current value, for every open node."""
        return tuple(slot for slot in self.slots if slot is not None)

    def error(self, line: int, message: str) -> ConfigError:
        return located(self.source, line, self.path(), message)

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self.error(line, "a second document starts here; keep one document a file (remove the '---')")
        if isinstance(event, yaml.AliasEvent):
            raise self.error(line, f"alias '*{event.anchor}'; write the value out instead")
        if isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()
            self.slots.pop()
            self._next_slot()
        elif isinstance(event, yaml.NodeEvent):
            self._check_node(event, line)
            self._take_node(event, line)

    def _check_node(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise self.error(line, f"anchor '&{event.anchor}'; write the value out where it is needed")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self.error(line, f"tag {shorten(tag)}; remove it, values are plain text, numbers, lists and mappings")
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.error(line, f"more than {MAX_NODES:,} values; make the file smaller")

    def _take_node(self, event: Any, line: int) -> None:
        scalar = isinstance(event, yaml.ScalarEvent)
        if self.slots and self.slots[-1] is None:
            if not scalar:
                raise self.error(line, "a list or mapping as a key; use a plain word")
            self._take_key(event.value, line)
        elif scalar:
            self._attach(Node(line, self._scalar(event.value, line, plain=event.implicit[0])))
            self._next_slot()
        else:
            if len(self.open) >= MAX_DEPTH:
                raise located(self.source, line, (), f"nested more than {MAX_DEPTH} levels deep; flatten it")
            node = Node(line, [] if isinstance(event, yaml.SequenceStartEvent) else {})
            self._attach(node)
            self.open.append(node)
            self.slots.append(0 if isinstance(node.value, list) else None)

    def _take_key(self, key: str, line: int) -> None:
        mapping = cast("dict[str, Node]", self.open[-1].value)
        if not key:
            raise self.error(line, "a value without a key; write 'key: value'")
        self.slots[-1] = key
        self.key_line = line
        self._scalar(key, line, plain=False)
        if key in mapping:
            raise self.error(line, f"duplicate key, first given on line {mapping[key].line}; keep one of them")

    def _attach(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent, slot = self.open[-1].value, self.slots[-1]
        if isinstance(parent, list):
            parent.append(node)
        elif isinstance(parent, dict):
            node.line = self.key_line
            parent[cast("str", slot)] = node

    def _next_slot(self) -> None:
        if self.open:
            parent = self.open[-1].value
            self.slots[-1] = len(parent) if isinstance(parent, list) else None

    def _scalar(self, text: str, line: int, plain: bool) -> Scalar:
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise self.error(line, "half of a surrogate pair; write the character itself")
        if not plain:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
                raise self.error(line, f"the number {shorten(text)} is too large; quote it if it is text")
            return int(text)
        number = float(text) if FLOAT.fullmatch(text) else None
        if NOT_FINITE.fullmatch(text) or (number is not None and not math.isfinite(number)):
            raise self.error(line, f"{shorten(text)} is not a finite number; give one, or quote it if it is text")
        return text if number is None else number

"""msgspec's validation errors in plain English, with the exact key path."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from autovid.config.nodes import KeyPath, shorten

_ERROR = re.compile(r"(?P<text>.*?)( - at `((?P<key>key)` in `)?\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_WORDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false",
    "array": "a list", "object": "a mapping (key: value)", "null": "nothing",
}  # fmt: skip
_KINDS = {
    inspect.IntType: _WORDS["int"], inspect.FloatType: _WORDS["float"], inspect.BoolType: _WORDS["bool"],
    inspect.ListType: _WORDS["array"], inspect.NoneType: _WORDS["null"],
}  # fmt: skip


def explain(error: msgspec.ValidationError, value: Any, schema: Any) -> tuple[str, KeyPath]:
    """Return the message and the key path of `error`, which converting `value` to `schema` raised. Alters `value`."""
    match = _ERROR.fullmatch(str(error))
    assert match
    parts = _STEP.findall(match["path"] or "")
    steps = [field or (... if index == "..." else int(index)) for field, index in parts]
    if match["key"]:
        steps.append(...)
    path = _name_entries(value, steps, lambda: _fails_the_same(value, schema, str(error)))
    text = match["text"]
    if match["key"]:
        return f"not a valid key here ({_humanise(text)})", path
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        structs = (kind for kind in _types_at(value, schema, path) if isinstance(kind, inspect.StructType))
        known = [field.encode_name for struct in structs for field in struct.fields]
        return "unknown key" + _suggest(unknown[1], known, "the keys here are"), (*path, unknown[1])
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"the key '{missing[1]}' is missing; add it", path
    actual = value
    for step in path:
        actual = actual[step]
    choices, others = _choices_at(value, schema, path)
    if choices:
        return f"{describe(actual)} is not a choice" + _suggest(str(actual), choices, "choose from", others), path
    if text.startswith("Expected"):
        return f"{_humanise(text)}, found {describe(actual)}", path
    return text, path


def describe(value: Any) -> str:
    """Return a short description of a YAML value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shorten(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a mapping" if isinstance(value, dict) else f"the number {value!r}"


def _humanise(text: str) -> str:
    """Translate msgspec's "Expected `int | null` >= 1, got `str`" as "expected a whole number or nothing >= 1"."""
    match = re.fullmatch(r"Expected `(.*?)`(.*?)(, got .*)?", text, re.DOTALL)
    if not match:
        return text
    return f"expected {' or '.join(_WORDS.get(name, name) for name in match[1].split(' | '))}{match[2]}"


def _suggest(name: str, known: list[str], otherwise: str, others: Sequence[str] = ()) -> str:
    if near := difflib.get_close_matches(name[:100], known, n=1):
        return f"; did you mean '{near[0]}'?"
    return f"; {otherwise} {', '.join([*known, *others])}" if known else ""


def _fails_the_same(value: Any, schema: Any, text: str) -> bool:
    try:
        msgspec.convert(value, schema, str_keys=True)
    except msgspec.ValidationError as error:
        return str(error) == text
    return False


def _name_entries(value: Any, steps: list[Any], fails: Callable[[], bool]) -> KeyPath:
    """Name the entries of mappings, for which msgspec writes `[...]`, by leaving one in at a time."""
    path: list[str | int] = []
    for step in steps:
        if step is ...:
            if not isinstance(value, dict):
                break
            step = _guilty_key(value, fails)
        known = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if step not in known:
            break
        path.append(step)
        value = value[step]
    return tuple(path)


def _guilty_key(mapping: dict[str, Any], fails: Callable[[], bool]) -> str | None:
    everything = dict(mapping)
    for key, entry in everything.items():
        mapping.clear()
        mapping[key] = entry
        if fails():
            return key
    mapping.update(everything)
    return None


def _types_at(value: Any, schema: Any, path: KeyPath) -> Iterator[inspect.Type]:
    """Return the types that `schema` allows at `path`, unions taken apart, tagged structs chosen by tag in `value`."""
    types = list(_alternatives(inspect.type_info(schema)))
    for step in path:
        types = [kind for parent in types if _tag_fits(parent, value, step) for kind in _inside(parent, step)]
        value = value[step]
    return (kind for kind in types if _tag_fits(kind, value))


def _choices_at(value: Any, schema: Any, path: KeyPath) -> tuple[list[str], list[str]]:
    """Return the words and the other types allowed at `path`: for `Literal["auto"] | float` auto, and a number."""
    choices: list[str] = []
    others: list[str] = []
    for kind in _types_at(value, schema, path):
        if isinstance(kind, inspect.LiteralType):
            choices += map(str, kind.values)
        elif isinstance(kind, inspect.EnumType):
            choices += (str(member.value) for member in kind.cls)
        else:
            others += [word for type_, word in _KINDS.items() if isinstance(kind, type_)]
    return choices, others


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        yield from _alternatives(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _alternatives(one)
    else:
        yield kind


def _tag_fits(kind: inspect.Type, value: Any, step: str | int | None = None) -> bool:
    """Return True if `value` carries the tag of `kind`; every struct fits when the tag itself is asked for."""
    if not isinstance(kind, inspect.StructType) or kind.tag_field in (None, step) or not isinstance(value, dict):
        return True
    return bool(value.get(kind.tag_field) == kind.tag)


def _inside(parent: inspect.Type, step: str | int) -> Iterator[inspect.Type]:
    if isinstance(parent, inspect.StructType):
        if parent.tag_field == step:
            yield inspect.LiteralType((parent.tag,))
        for field in parent.fields:
            if field.encode_name == step:
                yield from _alternatives(field.type)
    elif isinstance(parent, inspect.DictType):
        yield from _alternatives(parent.value_type)
    elif isinstance(parent, inspect.TupleType) and isinstance(step, int):
        yield from _alternatives(parent.item_types[step])
    elif isinstance(parent, (inspect.ListType, inspect.VarTupleType)):
        yield from _alternatives(parent.item_type)

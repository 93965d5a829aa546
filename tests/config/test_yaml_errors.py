"""Every mistake in a YAML file is one line: FILE:LINE: key: what; what to do."""

import enum
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml

from autovid.config import load_yaml, nodes, parse_yaml, read_yaml, read_yaml_text
from autovid.errors import ConfigError


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML without its C parser")
    monkeypatch.setattr(nodes, "_LOADER", getattr(yaml, request.param))


class Mode(enum.Enum):
    DENSE = "dense"
    UNIFORM = "uniform"


class Conv(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="conv"):
    width: Annotated[int, msgspec.Meta(ge=1)]
    kernel: tuple[int, int, int] = (3, 3, 3)


class Pool(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="pool"):
    size: int

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("13 brings bad luck")


class Net(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    rate: float = 0.0
    frames: int | None = None
    flip: bool = True
    crops: list[int] = []
    act: Literal["relu", "swish"] = "relu"
    mode: Mode = Mode.DENSE
    beta: float | Literal["auto"] = "auto"
    layers: dict[str, Conv | Pool] = {}
    widths: dict[int, int] = {}


def mistake(text: str, schema: Any = Net) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, schema, "f.yaml")
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.isprintable(), "one line, without control characters"
    assert len(message) < 250
    return message


def file_mistake(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, Net)
    assert str(caught.value).isprintable()
    return str(caught.value)


# The file


def test_missing_file(tmp_path: Path) -> None:
    assert file_mistake(tmp_path / "x.yaml") == f"{tmp_path}/x.yaml: no such file; check the path"


def test_directory(tmp_path: Path) -> None:
    assert file_mistake(tmp_path) == f"{tmp_path}: is a directory; name a YAML file"


def test_a_device_is_not_opened() -> None:
    assert "not a regular file" in file_mistake(Path(os.devnull))


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 5000, "line\nbreak.yaml"])
def test_impossible_file_names(tmp_path: Path, name: str) -> None:
    file_mistake(tmp_path / name)


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"name: a\nrate: 1\nact: \xff\n")
    assert file_mistake(tmp_path / "x.yaml").startswith(f"{tmp_path}/x.yaml:3: not UTF-8 text (byte 0xff); save")


def test_file_that_is_too_large_is_not_read_on(tmp_path: Path) -> None:
    with (tmp_path / "x.yaml").open("wb") as file:
        file.truncate(10**12)
    assert "larger than 1 MB" in file_mistake(tmp_path / "x.yaml")


def test_text_that_is_too_large() -> None:
    assert "larger than 1 MB" in mistake("name: " + "x" * 1_000_000)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_empty_file(text: str) -> None:
    assert mistake(text) == "f.yaml:1: the file is empty; write at least one 'key: value' line"


def test_second_document() -> None:
    assert mistake("name: a\n---\nname: b").startswith("f.yaml:2: a second document starts here")


@pytest.mark.parametrize("bad", ["\0", "\x1b[31m", "\x7f", "\ud800", "\ufffe"])
def test_control_character(bad: str) -> None:
    assert mistake(f"name: a\nact: 'x{bad}'").startswith("f.yaml:2: control character '\\")


# Limits


@pytest.mark.parametrize("unit", ["[", "{", "- ", "? ", "{a: ", "[a, ", "[? ", "[{", "[[a]: "])
def test_hundred_thousand_nested_collections(unit: str) -> None:
    assert mistake("\n" + unit * 100_000).startswith("f.yaml:2: ")


def test_deep_block_nesting() -> None:
    text = "".join(f"{' ' * i}a:\n" for i in range(500))
    assert mistake(text) == "f.yaml:33: nested more than 32 levels deep; flatten it"


def test_the_deepest_allowed_nesting_is_read() -> None:
    assert read_yaml_text("[" * 32 + "]" * 32, "f.yaml")


def test_too_many_values() -> None:
    assert "crops[19997]: more than 20,000 values" in mistake("crops:\n" + "- 1\n" * 30_000)


# Syntax


def test_broken_syntax_names_the_line() -> None:
    assert mistake("name: a\nrate: 1: 2").startswith("f.yaml:2: not valid YAML: mapping values are not allowed")


def test_unclosed_bracket_names_a_line_of_the_file() -> None:
    assert mistake("name: a\ncrops: [1, 2\n").startswith("f.yaml:2: crops[2]: not valid YAML: ")


def test_tab_indentation() -> None:
    assert mistake("name: a\nlayers:\n\ta: 1") == "f.yaml:3: layers: a tab in the indentation; indent with spaces"


@pytest.mark.parametrize("text", ['"\\UFFFFFFFF"', '"\\ud800"', '"\\xzz"'])
def test_wild_escapes(text: str) -> None:
    assert mistake(f"name: {text}").startswith("f.yaml:") or "not valid YAML" in mistake(f"name: {text}")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!str", "!", "!mine", "!!set", "!!binary", "!<x>"])
@pytest.mark.parametrize("value", ["x", "[x]", "{x: 1}"])
def test_tags_are_refused(tag: str, value: str) -> None:
    message = mistake(f"rate: 1\nname: {tag} {value}")
    assert message.startswith("f.yaml:2: name: tag '")
    assert "remove it" in message


def test_tag_on_a_key() -> None:
    assert "tag '!!str'" in mistake("!!str name: a")


def test_anchor() -> None:
    assert mistake("rate: 1\nname: &a x").startswith("f.yaml:2: name: anchor '&a'; write the value out")


def test_alias() -> None:
    assert mistake("rate: 1\nname: *a").startswith("f.yaml:2: name: alias '*a'; write the value out")


def test_billion_laughs() -> None:
    text = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi"))
    assert mistake(text).startswith("f.yaml:1: a: anchor '&a'")


@pytest.mark.parametrize("pair", ["width: 1\n    width: 2", "width: 1\n    'width': 2", "1: 1\n    '1': 1"])
def test_duplicate_key_names_both_lines(pair: str) -> None:
    key = pair.split(":")[0]
    expected = f"f.yaml:4: layers.a.{key}: duplicate key, first given on line 3; keep one of them"
    assert mistake("layers:\n  a:\n    " + pair) == expected


def test_list_as_a_key() -> None:
    assert mistake("name: a\n? [1, 2]\n: 3") == "f.yaml:2: a list or mapping as a key; use a plain word"


@pytest.mark.parametrize("key", ['"":', "?\n:"])
def test_empty_key(key: str) -> None:
    assert mistake(f"name: a\n{key} 3") == "f.yaml:2: a value without a key; write 'key: value'"


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.INF", "+.inf", "1e999", "-1.0e400"])
def test_numbers_that_are_not_finite(text: str) -> None:
    assert mistake(f"name: a\nrate: {text}").startswith(f"f.yaml:2: rate: '{text}' is not a finite number; give one")


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 100_000])
def test_numbers_beyond_64_bits(text: str) -> None:
    assert "is too large" in mistake(f"frames: {text}")


# Meaning


def test_unknown_key_with_a_near_one() -> None:
    assert mistake("name: a\nframe: 3") == "f.yaml:2: frame: unknown key; did you mean 'frames'?"


def test_unknown_key_with_none_near() -> None:
    assert mistake("qqq: 3").startswith("f.yaml:1: qqq: unknown key; the keys here are name, rate, frames,")


def test_unknown_key_deep_in_a_union_is_compared_with_the_tagged_struct() -> None:
    text = "layers:\n  a: {kind: pool, size: 2}\n  b:\n    kind: conv\n    width: 8\n    sizes: 2"
    assert mistake(text) == "f.yaml:6: layers.b.sizes: unknown key; the keys here are width, kernel"


def test_hostile_key_is_shown_harmless_and_short() -> None:
    message = mistake('? "\\e[31m\\n' + "k" * 100_000 + '"\n: 1')
    assert "\\x1b[31m" in message


def test_missing_key() -> None:
    text = "layers:\n  a: {kind: pool, size: 2}\n  b: {kind: conv}"
    assert mistake(text) == "f.yaml:3: layers.b: the key 'width' is missing; add it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("frames: abc", "frames: expected a whole number or nothing, found the text 'abc'"),
        ("frames: 1.5", "frames: expected a whole number or nothing, found the number 1.5"),
        ("frames: true", "frames: expected a whole number or nothing, found true"),
        ("frames: '3'", "frames: expected a whole number or nothing, found the text '3'"),
        ("rate: [1]", "rate: expected a number, found a list of 1"),
        ("rate:", "rate: expected a number, found nothing"),
        ("name: 3", "name: expected text, found the number 3"),
        ("flip: yes", "flip: expected true or false, found the text 'yes'"),
        ("flip: 1", "flip: expected true or false, found the number 1"),
        ("crops: 3", "crops: expected a list, found the number 3"),
        ("crops: [1, 2, x]", "crops[2]: expected a whole number, found the text 'x'"),
        ("layers: [1]", "layers: expected a mapping (key: value), found a list of 1"),
        ("widths: {1: 2, 3: x}", "widths.3: expected a whole number, found the text 'x'"),
        ("widths: {1: 2, x: 3}", "widths.x: not a valid key here (expected a whole number)"),
        ("act: rely", "act: the text 'rely' is not a choice; did you mean 'relu'?"),
        ("mode: 7", "mode: the number 7 is not a choice; choose from dense, uniform"),
        ("beta: aut", "beta: the text 'aut' is not a choice; did you mean 'auto'?"),
        ("beta: .", "beta: the text '.' is not a choice; choose from auto, a number"),
        ("layers: {a: {kind: c}}", "layers.a.kind: the text 'c' is not a choice; choose from conv, pool"),
        ("layers: {a: {width: 1}}", "layers.a: the key 'kind' is missing; add it"),
        ("layers: {a: {kind: pool, size: 13}}", "layers.a: 13 brings bad luck"),
        ("layers: {a: {kind: conv, width: 0}}", "layers.a.width: expected a whole number >= 1, found the number 0"),
        (
            "layers: {a: {kind: conv, width: 1, kernel: [1, 3]}}",
            "layers.a.kernel: expected a list of length 3, found a list of 2",
        ),
    ],
)
def test_wrong_value_in_human_words(text: str, expected: str) -> None:
    assert mistake("# header\n\n" + text) == f"f.yaml:3: {expected}"


def test_wrong_top_level() -> None:
    assert mistake("- 1") == "f.yaml:1: expected a mapping (key: value), found a list of 1"


def test_the_guilty_one_of_many_entries_is_found() -> None:
    text = "layers:\n" + "".join(f"  l{i}: {{kind: conv, width: {'x' if i == 57 else i + 1}}}\n" for i in range(100))
    assert mistake(text) == "f.yaml:59: layers.l57.width: expected a whole number, found the text 'x'"


# Errors of other rooms


def test_document_error_names_the_line_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: a\nstreams:\n- width: 8\n\n- width: 9\n", encoding="utf-8")
    document = read_yaml(tmp_path / "s.yaml")
    error = document.error("must grow", "streams", 1, "width")
    assert isinstance(error, ConfigError)
    assert str(error) == f"{tmp_path}/s.yaml:5: streams[1].width: must grow"
    assert str(document.error("x", "streams")) == f"{tmp_path}/s.yaml:2: streams: x"


@pytest.mark.parametrize("path", [("streams", 0, "nope"), ("streams", 0, "width", "deeper"), ("streams", 0)])
def test_document_error_falls_back_to_the_nearest_parent(path: tuple[str | int, ...]) -> None:
    document = read_yaml_text("name: a\nstreams:\n  - width: 8", "s.yaml")
    assert str(document.error("x", *path)).startswith("s.yaml:3: streams[0]")


@pytest.mark.parametrize("path", [("nope",), ("nope", 3, "x"), (7,)])
def test_document_error_of_an_unknown_path_names_the_first_line(path: tuple[str | int, ...]) -> None:
    assert str(read_yaml_text("name: a\n", "s.yaml").error("x", *path)).startswith("s.yaml:1: ")


def test_document_error_of_an_index_beyond_the_list_names_the_list() -> None:
    document = read_yaml_text("name: a\nstreams:\n  - width: 8", "s.yaml")
    assert str(document.error("one more is needed", "streams", 1)) == "s.yaml:2: streams[1]: one more is needed"


def test_document_error_without_a_path() -> None:
    assert str(read_yaml_text("name: a\n", "s.yaml").error("too small")) == "s.yaml:1: too small"

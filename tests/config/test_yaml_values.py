"""What a YAML value is read as, and that what is written reads back."""

import math
from typing import Any

import msgspec
import pytest
import yaml

from autovid.config import dump_yaml, load_yaml, nodes, parse_yaml, read_yaml_text


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML without its C parser")
    monkeypatch.setattr(nodes, "_LOADER", getattr(yaml, request.param))


def read(text: str) -> Any:
    return read_yaml_text(text, "f.yaml").root.plain()


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", ".001", "+0.001", "0.1e-2", "10.e-4"])
def test_every_spelling_of_a_float_is_a_number(text: str) -> None:
    assert read(f"x: {text}") == {"x": 0.001}


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "True", "FALSE", "Null", "1.37:1.43", "1:30", "190:20:30", "010", "0x1F", "0b1", "1_000",
     "2020-01-01", "2020-01-01 10:00:00", "nan", "inf", "=", "<<", "1e", "1.2.3", "-", "٣"],
)  # fmt: skip
def test_yaml_1_1_surprises_are_text(text: str) -> None:
    assert read(f"x: {text}" if text != "-" else "x: '-'") == {"x": text}


def test_true_false_null_and_integers() -> None:
    assert read("[true, false, null, ~, -3, +4, 9223372036854775807]") == [True, False, None, None, -3, 4, 2**63 - 1]


def test_quotes_make_text() -> None:
    assert read("""['1', "true", 'null', "1e-3", '.nan']""") == ["1", "true", "null", "1e-3", ".nan"]


def test_keys_are_text_and_integer_keyed_mappings_still_convert() -> None:
    assert read("{1: a, true: b, null: c}") == {"1": "a", "true": "b", "null": "c"}
    assert parse_yaml("{1: 2, 3: 4}", dict[int, int], "f.yaml") == {1: 2, 3: 4}


def test_a_byte_order_mark_is_skipped() -> None:
    assert read("\ufeffx: 1") == {"x": 1}


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    width: int
    kernels: tuple[int, ...] = ()


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    rate: float
    streams: list[Inner]
    shares: dict[str, float]


def test_a_struct_written_to_a_file_loads_equal(tmp_path: Any) -> None:
    outer = Outer("two_stream", 3.2e-5, [Inner(24, (1, 3, 5)), Inner(8)], {"sparse": 0.57, "dense": 1.0})
    (tmp_path / "x.yaml").write_text(dump_yaml(outer), encoding="utf-8")
    assert load_yaml(tmp_path / "x.yaml", Outer) == outer


def test_keys_stay_in_the_order_given_and_short_lists_on_a_line() -> None:
    text = dump_yaml({"zeta": [1, 3, 5], "alpha": {"b": 1, "a": [[1, 3, 3], [3, 3, 3]]}})
    assert text == "zeta: [1, 3, 5]\nalpha:\n  b: 1\n  a:\n  - [1, 3, 3]\n  - [3, 3, 3]\n"


@pytest.mark.parametrize("number", [0.1, 1e-5, 1e16, 1e300, 5e-324, -0.0, 1 / 3, math.pi * 1e-7, 2.0, -1.5e-9])
def test_floats_round_trip_to_the_bit(number: float) -> None:
    back = read(dump_yaml({"x": number}))["x"]
    assert isinstance(back, float)
    assert math.copysign(1, back) == math.copysign(1, number)
    assert back == number


@pytest.mark.parametrize(
    "text",
    ["1e-3", "1E5", "12e4567", "+.nan", "010", "1:30", "1.37:1.43", "yes", "no", "null", "~", "", "true", "2020-01-01",
     ".nan", "3", "-1.5", "<<", "=", "!!str x", "&a", "*a", "# no", "a: b", "- a", " lead", "trail ", "two\nlines",
     "tab\there", "'\"", "[1", "{a", "é ☃ 🎥", "\x85", "\u2028", "x" * 300, "a b " * 100, "?", "---", "..."],
)  # fmt: skip
def test_text_round_trips_as_value_key_and_list_item(text: str) -> None:
    value = {"x": text, (text or "k"): [text, [text]]}
    assert read(dump_yaml(value)) == value
    assert yaml.safe_load(dump_yaml(value)) == value  # a YAML 1.1 reader sees the same


def test_no_anchors_for_a_list_used_twice() -> None:
    shared = [1, 2]
    assert read(dump_yaml({"a": shared, "b": shared})) == {"a": shared, "b": shared}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_could_not_be_read_back_is_not_written(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        dump_yaml({"x": [number]})

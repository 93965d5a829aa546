"""YAML on a base, with single values on top."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from autovid.config import read_layers
from autovid.errors import ConfigError


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    lr: float
    steps: list[int] = []


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: Inner
    start: str | None = "x"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("name: base\ninner:\n  lr: 0.1\n  steps: [1, 2, 3]\n")
    (tmp_path / "file.yaml").write_text("# comment\nbase: base.yaml\nname: file\ninner: {steps: [4]}\n")
    return tmp_path / "file.yaml"


def test_later_ones_win_key_by_key(file: Path) -> None:
    values = read_layers(file, ["inner.lr=1e-3", "start=null"]).as_type(Outer)
    assert values == Outer("file", Inner(1e-3, [4]), None)


def test_keys_may_be_given_short(file: Path) -> None:
    values = read_layers(file, ["lr=2"], lambda key: f"inner.{key}").as_type(Outer)
    assert values.inner.lr == 2


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["inner.lr=fast"], r"^--set inner.lr=fast: inner.lr: expected a number, found the text 'fast'"),
        (["inner.lrs=1"], r"^--set inner.lrs=1: inner.lrs: unknown key; did you mean 'lr'"),
        (["name"], r"^--set name: give KEY=VALUE"),
        (["=3"], r"^--set =3: give KEY=VALUE"),
        (["inner=3"], r"^--set inner=3: inner: expected"),
        (["inner.lr=[1"], r"^--set inner.lr=\[1"),
    ],
)
def test_a_wrong_value_is_blamed_on_whoever_gave_it(file: Path, pairs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_layers(file, pairs).as_type(Outer)


def test_mistakes_in_files_carry_file_and_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: base\ninner:\n  lr: slow\n")
    with pytest.raises(ConfigError, match=r"base.yaml:3: inner.lr: expected a number"):
        read_layers(file).as_type(Outer)
    (tmp_path / "base.yaml").write_text("name: base\n")
    with pytest.raises(ConfigError, match=r"file.yaml:4: inner: the key 'lr' is missing"):
        read_layers(file).as_type(Outer)
    with pytest.raises(ConfigError, match=r"file.yaml:3: name: no good"), read_layers(file).at("name"):
        raise ConfigError("no good")


@pytest.mark.parametrize(("base", "message"), [("file.yaml", "bases of bases"), ("none.yaml", "no such file")])
def test_bases_that_lead_nowhere_are_refused(file: Path, base: str, message: str) -> None:
    file.write_text(f"base: {base}\nname: file\n")
    with pytest.raises(ConfigError, match=message):
        read_layers(file)


@pytest.mark.parametrize("text", ["[1, 2]", "base: [1]\nname: x"])
def test_what_is_no_mapping_or_name_is_refused(tmp_path: Path, text: str) -> None:
    path: Any = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd.yaml:1"):
        read_layers(path)

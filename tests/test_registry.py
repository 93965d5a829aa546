"""Registries: names without loading, entry points by their metadata, and clear words for what cannot be."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from autovid import registry
from autovid.errors import ConfigError
from autovid.registry import Registry

LINES = {"path": ("the class of paths", "pathlib:Path"), "gone": ("not there", "no_such_module:X")}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The entry points that packages are said to have."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    return points


def registry_of_things() -> Registry[Any]:
    return Registry("thing", "autovid.things", LINES)


def test_names_are_listed_without_loading_and_a_name_is_loaded_once_used() -> None:
    things = registry_of_things()
    assert things.about() == {"path": "the class of paths", "gone": "not there"}
    assert "gone" in things
    assert things.load("path").__name__ == "Path"
    with pytest.raises(ModuleNotFoundError):  # a line of ours that is wrong is a bug, not a mistake of the user's
        things.load("gone")


def test_an_unknown_name_says_which_is_near_and_where_all_are_listed() -> None:
    with pytest.raises(ConfigError, match="no thing is called 'pat'; did you mean path.*autovid list things"):
        registry_of_things().load("pat")


def test_installed_packages_bring_names(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("counter", "collections:Counter", "autovid.things"))
    installed.append(EntryPoint("other", "collections:deque", "autovid.others"))
    things = registry_of_things()
    assert list(things) == ["path", "gone", "counter"]
    assert things.about()["counter"] == "from collections:Counter"
    assert things.load("counter").__name__ == "Counter"


def test_a_name_that_two_bring_is_refused(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("path", "collections:Counter", "autovid.things"))
    with pytest.raises(ConfigError, match="brings a thing path, but autovid has one; uninstall"):
        list(registry_of_things())


def test_an_installed_one_that_cannot_be_loaded_is_told(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("broken", "no_such_module:X", "autovid.things"))
    with pytest.raises(ConfigError, match=r"the thing broken of no_such_module:X cannot be loaded: ModuleNotFound"):
        registry_of_things().load("broken")


def test_running_code_registers_a_name_once() -> None:
    things = registry_of_things()

    @things.register("mine", "of my own")
    class Mine:
        pass

    assert things.load("mine") is Mine
    assert things.about()["mine"] == "of my own"
    with pytest.raises(ConfigError, match="there is a thing called path already"):
        things.register("path", "")(Mine)


@pytest.mark.parametrize("kind", ["blocks", "fusions", "attentions"])
def test_lists_of_blocks_and_operations_load_no_torch(kind: str) -> None:
    code = f"import sys; from autovid.cli import main; main(['list', '{kind}']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, loaded = done.stdout.splitlines()
    assert lines[0] == f"{kind}:"
    assert loaded == "False"

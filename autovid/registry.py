"""Extension points: what can be chosen by name, listed without loading it.

A line is a name, a sentence and a place in the code as text, `package.module:attribute`, which is imported when it is
used. Installed packages add lines by entry points, of which the metadata alone are read until one is used. Code that
runs adds classes by `register`: a plugin's file (`autovid.plugins`), or a program of the user's.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

from autovid.errors import ConfigError, did_you_mean

T = TypeVar("T")
C = TypeVar("C")


class Registered(NamedTuple):
    """A class or function that running code has added; `source` is the name of the plugin, or empty."""

    about: str
    loaded: Any
    source: str


class Registry(Generic[T]):
    """The choices for one purpose, by name.

    `kind` is the word for it in messages; `group` names the entry points, and after `autovid.` what `autovid list`
    takes; `lines` are the package's own.
    """

    everything: ClassVar[list["Registry[Any]"]] = []
    _plugin: ClassVar[str] = ""  # whose code runs now

    def __init__(self, kind: str, group: str, lines: Mapping[str, tuple[str, str]]) -> None:
        self.kind, self.group = kind, group
        self._lines = lines
        self._loaded: dict[str, Any] = {}
        self._registered: dict[str, Registered] = {}
        self.everything.append(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.about())

    def __contains__(self, name: object) -> bool:
        return name in self._lines or name in self._registered or name in self._installed

    def about(self) -> dict[str, str]:
        """Return the sentence of every name; of an installed one the package that brings it."""
        own = {name: about for name, (about, _) in self._lines.items()}
        installed = {name: f"from {_package(point)}" for name, point in self._installed.items()}
        return {**own, **installed, **{name: one.about for name, one in self._registered.items()}}

    def load(self, name: str) -> T:
        """Load the object of a name. Raises ConfigError where it is unknown, or an installed one cannot be imported."""
        if name in self._registered:
            return cast(T, self._registered[name].loaded)
        if name not in self._loaded:
            self._loaded[name] = self._import(name)
        return cast(T, self._loaded[name])

    def source(self, name: str) -> str | None:
        """Return the origin of a name that is not our own: a plugin, a package, or empty for the program that runs."""
        if name in self._registered:
            return self._registered[name].source
        return None if name in self._lines else _package(self._installed[name])

    def register(self, name: str, about: str) -> Callable[[C], C]:
        """Make a decorator that adds a class or function by this name. Raises ConfigError for a name that is taken."""

        def add(loaded: C) -> C:
            if name in self:
                raise ConfigError(f"the name {name} is taken by another {self.kind}; choose one of your own")
            self._registered[name] = Registered(about, loaded, Registry._plugin)
            return loaded

        return add

    def of_plugin(self, plugin: str) -> list[str]:
        """Return the names that a plugin has registered."""
        return [name for name, one in self._registered.items() if one.source == plugin]

    def forget(self, plugin: str) -> None:
        """Take out whatever a plugin has registered."""
        self._registered = {name: one for name, one in self._registered.items() if one.source != plugin}

    def unknown(self, name: object) -> str:
        """Return the message for a name that is not in the registry."""
        hint = did_you_mean(str(name), self)
        shown = f"no {self.kind} is called {str(name)[:60]!r}; {hint}autovid list {self.listed} shows them"
        return f"{shown}; one of your own comes with --plugin FILE.py"

    @property
    def listed(self) -> str:
        """The word after `autovid list`."""
        return self.group.rpartition(".")[2]

    def _import(self, name: str) -> Any:
        if name in self._lines:
            module, _, attribute = self._lines[name][1].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name not in self._installed:
            raise ConfigError(self.unknown(name))
        try:
            return self._installed[name].load()
        except Exception as error:  # anything may go wrong in somebody else's module
            package = _package(self._installed[name])
            raise ConfigError(f"the {self.kind} {name} of {package} cannot be loaded: {error!r}") from error

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        points: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=self.group)):
            if point.name in self._lines or point.name in points:
                other = _package(points[point.name]) if point.name in points else "autovid"
                raise ConfigError(
                    f"{_package(point)} brings a {self.kind} {point.name}, but {other} has one; uninstall one of them"
                )
            points[point.name] = point
        return points


@contextlib.contextmanager
def registering(plugin: str) -> Iterator[None]:
    """Inside, whatever is registered belongs to this plugin; where its code fails, nothing of it stays."""
    Registry._plugin = plugin
    try:
        yield
    except BaseException:
        for registry in Registry.everything:
            registry.forget(plugin)
        raise
    finally:
        Registry._plugin = ""


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value

"""Extension points: what can be chosen by name, listed without loading it.

A line is a name, a sentence and a place in the code as text, `package.module:attribute`, which is imported when it is
used. Installed packages add lines by entry points, of which the metadata alone are read until one is used; code that
runs already adds them by `register`.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from autovid.errors import ConfigError, did_you_mean

T = TypeVar("T")
C = TypeVar("C")


class Registry(Generic[T]):
    """What can be chosen for one purpose, by name.

    `kind` is the word for it in messages; `group` names the entry points, and after `autovid.` what `autovid list`
    takes; `lines` are the package's own.
    """

    def __init__(self, kind: str, group: str, lines: Mapping[str, tuple[str, str]]) -> None:
        self.kind, self.group = kind, group
        self._lines = lines
        self._registered: dict[str, tuple[str, Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.about())

    def __contains__(self, name: object) -> bool:
        return name in self._lines or name in self._registered or name in self._installed

    def about(self) -> dict[str, str]:
        """The sentence of every name; of an installed one the package that brings it."""
        ours = {name: about for name, (about, _) in self._lines.items()}
        installed = {name: f"from {_package(point)}" for name, point in self._installed.items()}
        return {**ours, **installed, **{name: about for name, (about, _) in self._registered.items()}}

    def load(self, name: str) -> T:
        """What the name stands for. Raises ConfigError where it is unknown, or an installed one cannot be imported."""
        if name in self._registered:
            return cast(T, self._registered[name][1])
        if name in self._lines:
            module, _, attribute = self._lines[name][1].partition(":")
            loaded = getattr(importlib.import_module(module), attribute)
            self._registered[name] = (self._lines[name][0], loaded)
            return cast(T, loaded)
        if name not in self._installed:
            raise ConfigError(self.unknown(name))
        try:
            return cast(T, self._installed[name].load())
        except Exception as error:  # anything may go wrong in somebody else's module
            package = _package(self._installed[name])
            raise ConfigError(f"the {self.kind} {name} of {package} cannot be loaded: {error!r}") from error

    def register(self, name: str, about: str) -> Callable[[C], C]:
        """Decorator that adds a class or function under this name. Raises ConfigError for a name that is taken."""

        def add(loaded: C) -> C:
            if name in self:
                raise ConfigError(f"there is a {self.kind} called {name} already; choose another name")
            self._registered[name] = (about, loaded)
            return loaded

        return add

    def unknown(self, name: object) -> str:
        """The message for a name that is not in the registry."""
        hint = did_you_mean(str(name), self)
        return f"no {self.kind} is called {str(name)[:60]!r}; {hint}autovid list {self.listed} shows them"

    @property
    def listed(self) -> str:
        """What to type after `autovid list`."""
        return self.group.rpartition(".")[2]

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


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value

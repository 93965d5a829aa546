"""A user's own code: a Python file that registers blocks or operations.

    from autovid.blocks.registry import ATTENTIONS

    @ATTENTIONS.register("axial", "attention along rows and columns")
    class AxialAttention: ...

It runs code, so it is loaded only where the user names it: `--plugin FILE.py` on the command line, in Python
`plugins=["FILE.py"]`. Runs, architectures and exports record its name, what it defines and the sha256 of its content,
never a path: what was made with it asks for it by name, and refuses another content until that is named with its hash,
`FILE.py@SHA256`.
"""

import hashlib
import re
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from autovid.errors import ConfigError
from autovid.registry import Registry, registering

SHOWN = 12  # digits of a hash in messages, and enough of them to name a file by
_NAMED = re.compile(r"(?P<path>.+\.py)(@(?P<sha256>[0-9a-f]{12,64}))?", re.DOTALL)


class PluginRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a plugin's file, and the names that it has registered."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    defines: tuple[str, ...]


class Plugin(NamedTuple):
    """A file that was loaded; `pinned` where it was named with its hash."""

    record: PluginRecord
    path: Path
    pinned: bool


_plugins: dict[str, Plugin] = {}


def load_plugins(named: str | Path | Iterable[str | Path]) -> None:
    """Run the file or files that are named, each once.

    Raises ConfigError for one that cannot be run or registers nothing.
    """
    for one in [named] if isinstance(named, str | Path) else named:
        _load(str(one))


def plugin_paths() -> list[Path]:
    """Return the files that this process has loaded."""
    return [one.path for one in _plugins.values()]


def loaded_plugins() -> list[str]:
    """Return the files that this process has loaded, as another process has to name them to run the same."""
    return [f"{one.path}@{one.record.sha256}" for one in _plugins.values()]


def plugin_records(names: Iterable[str | None] | None = None) -> dict[str, PluginRecord]:
    """Return the records of plugins by the name of their file: of those in `names`, or of all that are loaded."""
    chosen = _plugins if names is None else {name for name in names if name in _plugins}
    return {name: _plugins[name].record for name in sorted(chosen)}


def forget_plugins() -> None:
    """Take out all that plugins have registered, as if none had been loaded."""
    for name in list(_plugins):
        _forget(name)


def require_plugins(records: Mapping[str, Any], user: str) -> None:
    """Refuse `user` unless the plugins that it was made with are loaded, with the content of then.

    `records` are as `plugin_records` gives them, or plain. Raises ConfigError with what to type.
    """
    try:
        checked = msgspec.convert(msgspec.to_builtins(records), dict[str, PluginRecord])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{user}: its record of plugins cannot be read: {error}") from None
    for name, record in checked.items():
        plugin, then = _plugins.get(name), record.sha256
        if plugin is None:
            needed = f"{name}, which defines {', '.join(record.defines)}"
            raise ConfigError(f"{user} needs {needed}: add --plugin {name} (in Python plugins=[{name!r}])")
        if plugin.record.sha256 != then and not plugin.pinned:
            now = plugin.record.sha256
            raise ConfigError(
                f"{user} was made with another {name}: its sha256 was {then[:SHOWN]} and is {now[:SHOWN]}; if this one "
                f"is meant, say --plugin {plugin.path}@{now[:SHOWN]}"
            )


def _load(named: str) -> None:
    match = _NAMED.fullmatch(named)
    if match is None:
        raise ConfigError(f"--plugin {named}: give a Python file, FILE.py or FILE.py@SHA256")
    path = Path(match["path"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--plugin {path}: {error.strerror}; check the path") from None
    sha256, pin = hashlib.sha256(content).hexdigest(), match["sha256"]
    if pin and not sha256.startswith(pin):
        raise ConfigError(f"--plugin {path}: its sha256 is {sha256[:SHOWN]}, not {pin[:SHOWN]}; it is another file")
    before = _plugins.get(path.name)
    pinned = pin is not None
    if before is not None and before.record.sha256 == sha256:
        defines, pinned = before.record.defines, pinned or before.pinned
    else:
        defines = _run(path, content)
    _plugins[path.name] = Plugin(PluginRecord(sha256, defines), path.resolve(), pinned)


def _run(path: Path, content: bytes) -> tuple[str, ...]:
    """Execute exactly the bytes whose hash is recorded, and return the names that they register.

    Of an older content of this file nothing stays registered.
    """
    _forget(path.name)
    module = types.ModuleType(f"autovid_plugin_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # for what looks up a class by its module
    try:
        with registering(path.name):
            exec(compile(content, str(path), "exec"), module.__dict__)
    except ConfigError:
        raise
    except Exception as error:  # anything may go wrong in it
        line = _line_of(error, str(path))
        raise ConfigError(f"--plugin {path}{line}: {type(error).__name__}: {error}") from error
    names = tuple(name for registry in Registry.everything for name in registry.of_plugin(path.name))
    if not names:
        raise ConfigError(f"--plugin {path} registers nothing; see autovid.plugins for how to")
    return names


def _forget(name: str) -> None:
    _plugins.pop(name, None)
    for registry in Registry.everything:
        registry.forget(name)


def _line_of(error: Exception, file: str) -> str:
    """ ":12" for the line of this file where it went wrong."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    trace, number = error.__traceback__, None
    while trace is not None:
        number = trace.tb_lineno if trace.tb_frame.f_code.co_filename == file else number
        trace = trace.tb_next
    return f":{number}" if number else ""

"""Dependencies point down: who may import whom when a module is loaded (imports inside functions are deliberate)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import autovid

ROOT = Path(autovid.__file__).parent
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "clip": set(),
    "cache": set(),
    "world": {"errors"},
    "config": {"errors"},
    "run": {"errors", "world", "config"},
    "data": {"errors", "clip", "cache"},
    "space": {"errors", "clip", "config"},
    "nn": {"errors", "world", "cache", "space"},
    "models": {"errors", "clip", "config", "space", "nn"},
    "cost": {"errors", "clip", "space", "nn", "models"},
    "search": {"errors", "clip", "world", "config", "run", "data", "space", "nn", "models", "cost"},
    "train": {"errors", "clip", "world", "config", "run", "data", "space", "nn", "models", "cost"},
    "export": {"errors", "clip", "run", "data", "space", "nn", "models", "cost", "train"},
    "measure": {"errors", "clip", "run", "data", "space", "nn", "models", "cost", "train", "search"},
    "cluster": {"errors", "world", "run"},
    "report": {"errors", "clip", "config", "run", "data", "space", "nn", "models", "cost", "search", "train"},
}
ONLY = {"av": "data", "yaml": "config", "ray": "cluster"}


def imports(file: Path) -> Iterator[str]:
    """Modules imported at the top of a file; what stands under `if TYPE_CHECKING` is not run."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_room_imports_only_what_is_below_it() -> None:
    wrong = []
    for file in ROOT.rglob("*.py"):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        for module in imports(file):
            top, *rest = module.split(".")
            if room in BELOW and top == "autovid" and rest and rest[0] not in BELOW[room] | {room}:
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
            if top in ONLY and room != ONLY[top]:
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong, wrong

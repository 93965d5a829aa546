"""A folder imports only from the lines above its own, also inside functions; imports for types alone do not count."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import autovid

ROOT = Path(autovid.__file__).parent
LINES = (
    ("errors",),
    ("clip", "fileio", "registry"),
    ("plugins",),
    ("distributed", "config"),
    ("solver", "kernels"),
    ("measure",),
    ("layers",),
    ("blocks",),
    ("space",),
    ("models",),
    ("costs",),
    ("runtimes",),
    ("run",),
    ("data",),
    ("search",),
    ("train",),
    ("studies",),
    ("weights",),
    ("cluster", "export", "report"),
    ("testing",),
    ("api", "cli"),
)
LINE = {folder: number for number, line in enumerate(LINES) for folder in line}
MODULES = {
    ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in ROOT.rglob("*.py")
}
TOPS = {"__init__", "__main__"}
ONLY = {"av": "data/video.py", "yaml": "config", "ray": "cluster"}


def run_imports(node: ast.AST) -> Iterator[str]:
    """Modules imported at the top of a file and inside functions, but not under `if TYPE_CHECKING`.

    Those of `import_module` too, where it is told a text: all that may stand in the braces of one with braces.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield whole if whole in MODULES else child.module
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] == "import_module":
            yield from told(child.args[0])
        yield from run_imports(child)


def told(text: ast.expr) -> Iterator[str]:
    """Modules that a text names."""
    pieces = text.values if isinstance(text, ast.JoinedStr) else [text]
    if all(isinstance(piece, ast.FormattedValue | ast.Constant) for piece in pieces):
        pattern = "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"\w+" for p in pieces)
        yield from (name for name in MODULES if re.fullmatch(pattern, name))


def test_every_folder_imports_only_from_lines_above_its_own() -> None:
    wrong = set()
    for file in ROOT.rglob("*.py"):
        place = file.relative_to(ROOT)
        folder = place.parts[0].removesuffix(".py")
        if folder in TOPS:
            continue
        for module in run_imports(ast.parse(file.read_text(encoding="utf-8"))):
            top, *rest = module.split(".")
            if top in ONLY and not place.as_posix().startswith(ONLY[top]):
                wrong.add(f"{place} imports {module}")
            if top != "autovid" or not rest or rest[0].startswith("__"):
                continue
            if rest[0] != folder and LINE[rest[0]] >= LINE[folder]:
                wrong.add(f"{place} imports {module}")
    assert not wrong, sorted(wrong)


def test_no_circle_of_files() -> None:
    graph = {name: set(run_imports(ast.parse(file.read_text(encoding="utf-8")))) for name, file in MODULES.items()}
    del graph["autovid"]  # it gives every name of the package when it is asked for it
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for other in sorted(graph[name] & graph.keys()):
            visit(other, (*path, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_a_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert not {name: where for name, where in places.items() if len(where) > 1}


def names_when_defined(node: ast.AST) -> set[str]:
    """Names that a definition needs at once; not those in bodies and annotations of functions, which can be quoted."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        parts = [*node.args.defaults, *filter(None, node.args.kw_defaults), *getattr(node, "decorator_list", ())]
        return {name for part in parts for name in names_when_defined(part)}
    own = {node.id} if isinstance(node, ast.Name) else set()
    return own.union(*map(names_when_defined, ast.iter_child_nodes(node)))


def test_public_classes_stand_first_in_a_file() -> None:
    """Only constants stand before them, and what the first class needs to be defined."""
    wrong = []
    for file in MODULES.values():
        body = ast.parse(file.read_text(encoding="utf-8")).body
        first = next((n for n in body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")), None)
        needed = names_when_defined(first) if first else set()
        for node in reversed(body[: body.index(first)] if first else []):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = {node.name}
                if node.name not in needed:
                    wrong.append(f"{file.relative_to(ROOT)}: {node.name}")
            else:
                names = {
                    one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
                }
            if names & needed:
                needed |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    assert not wrong, wrong


def test_docstrings_can_be_read_alone() -> None:
    """A docstring is an imperative or a noun phrase, not half of a sentence that the name begins."""
    half = re.compile(r"\s*(Of|Whether|What|How|Which|Where|When|Why|Who|Those|As|Its|Their)\b")
    wrong = []
    for file in MODULES.values():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
            if isinstance(text, str) and half.match(text):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {text.splitlines()[0]}")
    assert not wrong, wrong


def test_functions_are_at_most_60_lines_long() -> None:
    """Lines of the file from `def` to the end: comments, blank lines and the docstring count."""
    wrong = []
    for file in MODULES.values():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert not wrong, wrong

"""Lines of code of the package, folder by folder, as a Markdown table: no blank lines, comments or docstrings.

    python bench/lines.py [FOLDER ...]

FOLDER is a package or a file, autovid by default. A line is counted if a token of the program stands on it. A function
is as long as its lines of code, its signature included; functions inside another count by themselves too.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class SourceCount(NamedTuple):
    """Size of one file: its lines of code, and the (length, name) of each of its functions."""

    lines: int
    functions: list[tuple[int, str]]


def count_file(path: Path) -> SourceCount:
    """Count one Python file. Raises SyntaxError for one that does not parse."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    docstrings = {line for node in nodes if isinstance(node, DOCUMENTED) for line in docstring_lines(node)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    spans = (range(token.start[0], token.end[0] + 1) for token in tokens if token.type not in NO_CODE)
    code = {line for span in spans for line in span} - docstrings
    functions = [
        (len(code & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))), f"{path}: {node.name}")
        for node in nodes
        if isinstance(node, FUNCTION)
    ]
    return SourceCount(len(code), functions)


def docstring_lines(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    """Return the lines of a node's docstring, empty where it has none."""
    if ast.get_docstring(node, clean=False) is None:
        return range(0)
    first = node.body[0]
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


def table_row(name: str, counts: Iterable[SourceCount]) -> str:
    """Return one row of the table: files, lines, and the median and longest function."""
    counts = list(counts)
    functions = [function for count in counts for function in count.functions]
    lengths = [length for length, _ in functions] or [0]
    lines = sum(count.lines for count in counts)
    longest, where = max(functions, default=(0, "-"))
    return f"| {name} | {len(counts)} | {lines} | {statistics.median(lengths):g} | {longest} | {where} |"


def main() -> None:
    """Print the table for the folders of the command line."""
    folders: dict[str, list[SourceCount]] = defaultdict(list)
    for root in map(Path, sys.argv[1:] or ["autovid"]):
        for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
            folders[str(path.parent)].append(count_file(path))
    print("| folder | files | lines of code | median function | longest | which |")
    print("|---|---:|---:|---:|---:|---|")
    for name in sorted(folders):
        print(table_row(name, folders[name]))
    print(table_row("**all**", [count for counts in folders.values() for count in counts]))


if __name__ == "__main__":
    main()

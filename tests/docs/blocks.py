"""Code blocks of the documentation, and what the comments above them say about running them.

Comments are HTML comments, which no reader sees, directly above a block:

    <!-- not run: REASON -->       the block is only parsed
    <!-- as written -->            nothing is added to its commands to make them small
    <!-- instead: A => B -->       B stands in place of A when the block is run
    <!-- before: COMMAND -->       run first
    <!-- exit: CODE -->            the exit code of its last command
    <!-- file: NAME -->            the block is written to a file of this name; later blocks use it

A `console` block holds commands behind `$ `, and what they print; a `python` block is a script of its own.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
)
MARK = re.compile(r"\s*<!-- (not run|as written|instead|before|exit|file)(?:: (.*))? -->\s*")
FENCE = re.compile(r"(\s*)(`{3,})\s*(\S*).*")
CODE = ("console", "python")
ENDS = ("&", "|", ">", "&&", "||", ";")  # of a command, for a shell
# Directives that show no commands of their own.
SHOWN = (
    "text",
    "yaml",
    "json",
    "csv",
    "toml",
    "",
    "{toctree}",
    "{include}",
    "{literalinclude}",
    "{note}",
    "{image}",
    "{figure}",
)


class Block(NamedTuple):
    """A fenced block: where it begins, its language, its text, the marks above it."""

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def mark(self, name: str) -> list[str]:
        """The values of the marks of one name."""
        return [value for key, value in self.marks if key == name]

    @property
    def commands(self) -> list[str]:
        """The commands of a `console` block, lines that end in a backslash joined with the next."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    marks: list[tuple[str, str]] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        fence = FENCE.fullmatch(line)
        if mark := MARK.fullmatch(line):
            marks.append((mark[1], mark[2] or ""))
        elif fence:
            indent, end = fence[1], next(i for i in range(number + 1, len(lines)) if lines[i].strip() == fence[2])
            text = "\n".join(inner.removeprefix(indent) for inner in lines[number + 1 : end]) + "\n"
            yield Block(page, number + 1, fence[3], text, tuple(marks))
            number, marks = end, []
        elif line.strip():
            marks = []
        number += 1


def autovid_words(command: str) -> list[str] | None:
    """The arguments of autovid in a command, launchers such as torchrun before it left out; None without one."""
    words = shlex.split(re.sub(r"\$\([^)]*\)", "", command), comments=True)
    first = next((i for i, word in enumerate(words) if word == "autovid" or word.endswith("/autovid")), None)
    if first is None:
        return None
    after = words[first + 1 :]
    return after[: next((i for i, word in enumerate(after) if word in ENDS), len(after))]

"""Every file of experiments/ says at its top how it is run, and what came out or what it needs."""

import ast
import re
from pathlib import Path

import pytest
from blocks import ROOT, autovid_words
from test_documentation import parsed

FILES = sorted(path for kind in ("*.yaml", "*.py") for path in (ROOT / "experiments").glob(kind))
OUTCOME = ("Hardware", "Time", "Result")


def header(path: Path) -> str:
    """The comment lines at the top of a YAML file, or the docstring of a script."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    lines = text.splitlines()
    return "\n".join(line[2:] for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_command_has_an_outcome_or_says_what_it_needs(path: Path) -> None:
    _, *runs = re.split(r"^Command: ", header(path), flags=re.MULTILINE)
    assert runs, "no command"
    for run in runs:
        told = [bool(re.search(rf"^{key}: (?!not run)\S", run, re.MULTILINE)) for key in OUTCOME]
        needs = bool(re.search(r"^Not run: needs \S", run, re.MULTILINE))
        assert (all(told) and not needs) or (needs and not any(told)), run


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_commands_run_this_file(path: Path) -> None:
    for command in re.findall(r"^Command: (.*?)(?: {2,}\(.*\))?$", header(path), re.MULTILINE):
        words = autovid_words(command)
        if path.suffix == ".py":
            assert command.startswith(f"python experiments/{path.name}")
        else:
            assert words
            assert words[1] == path.stem
            parsed(words)

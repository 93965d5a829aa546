"""The documentation as text: every command in it is one that the parser takes, every reference leads somewhere."""

import argparse
import re
from itertools import pairwise
from pathlib import Path

import pytest
from blocks import CODE, PAGES, ROOT, SHOWN, Block, autovid_words, blocks

from autovid import errors
from autovid.cli import COMMANDS, _parser
from autovid.plugins import load_plugins

ALL = [block for page in PAGES for block in blocks(page)]
KNOWN = (*CODE, *SHOWN, "bash")
FOLDERS = ("autovid", "bench", "docs", "experiments", "search_spaces", "tests")
TEXTS = [file for folder in FOLDERS for kind in ("*.py", "*.md", "*.yaml") for file in (ROOT / folder).rglob(kind)]


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize("block", [b for b in ALL if b.language in (*CODE, "bash")], ids=str)
def test_every_command_is_one_that_the_parser_takes(block: Block) -> None:
    assert block.language != "bash" or block.mark("not run"), "a bash block is a script: mark it, and say why"
    assert all(reason for reason in block.mark("not run"))
    commands = block.commands if block.language == "console" else shell_lines(block)
    for command in commands:
        words = autovid_words(command)
        if words:
            parsed(words)


def shell_lines(block: Block) -> list[str]:
    if block.language != "bash":
        return []
    return [line for line in re.sub(r"\\\n\s*", "", block.text).splitlines() if not line.startswith("#")]


def parsed(words: list[str]) -> argparse.Namespace:
    """What the real parser makes of it, with the options of our examples' costs. Fails where it refuses."""
    named = [ROOT / "docs" / "examples" / word for flag, word in pairwise(words) if flag == "--plugin"]
    load_plugins(file for file in named if file.is_file())
    try:
        return _parser(next((word for word in words if word in COMMANDS), None)).parse_args(words)
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"autovid refuses {words}")
        return argparse.Namespace()


def test_no_command_hides_in_a_block_that_nobody_runs() -> None:
    unknown = [str(b) for b in ALL if b.language not in KNOWN and not b.language.startswith("{autovid-")]
    assert not unknown, "blocks of a language that this test does not know"
    command = re.compile(r"^(\$ |autovid |python -m)", re.MULTILINE)
    hidden = [str(block) for block in ALL if block.language in SHOWN and command.search(block.text)]
    assert not hidden, "commands in blocks that are not `console`"
    by_indent = re.compile(r"( {4,}|\t)(\$ )?(autovid|make|python|pip) ")
    indented = [f"{page.name}: {line}" for page in PAGES for line in outside(page) if by_indent.match(line)]
    assert not indented, "commands in blocks made by indentation"


def outside(page: Path) -> list[str]:
    """The lines of a page that stand in no fenced block."""
    fenced = re.compile(r"^\s*(`{3,}).*?^\s*\1\s*$", re.DOTALL | re.MULTILINE)
    return fenced.sub("", page.read_text(encoding="utf-8")).splitlines()


def test_the_readme_is_short_and_its_links_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_every_reference_to_the_papers_page_has_its_section() -> None:
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    anchors = set(re.findall(r"^\(([a-z0-9-]+)\)=$", page, re.MULTILINE))
    link = re.compile(r"papers\.(?:md|html)#([a-z0-9-]+)")
    used = {anchor for file in TEXTS for anchor in link.findall(file.read_text(encoding="utf-8"))}
    assert used
    assert not used - anchors


def test_the_page_of_exit_codes_has_them_all() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AutovidError)]
    codes = {kind.exit_code for kind in kinds}
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes | {0} <= told


def test_the_page_of_the_architecture_has_every_folder() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| Folder | Content |\n")[2].partition("\n\n")[0]
    told = {name.rstrip("/") for row in table.splitlines() for name in re.findall(r"`([\w./]+)`", row.split("|")[1])}
    modules = {path.name for path in (ROOT / "autovid").glob("[!_]*.py")}
    assert told == modules | {path.parent.name for path in (ROOT / "autovid").glob("*/__init__.py")}


def test_every_file_that_a_page_names_is_there() -> None:
    name = re.compile(r"`((?:autovid|bench|docs|experiments|search_spaces|tests)/[\w./-]*)`")
    named = {(page.name, path) for page in PAGES for path in name.findall(page.read_text(encoding="utf-8"))}
    gone = [pair for pair in named if "NAME" not in pair[1] and not (ROOT / pair[1]).exists()]
    assert named
    assert not sorted(gone)

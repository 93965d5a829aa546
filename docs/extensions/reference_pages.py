"""Pages made of the code: `autovid-commands` (the parsers), `autovid-api` (public names), `autovid-experiments`.

Each is a directive that writes MyST Markdown and lets Sphinx parse it, so that headings become part of the page.
"""

import argparse
import importlib
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import autovid
from autovid import api
from autovid.cli import COMMANDS, _parser
from autovid.config.resources import experiments_dir


class Generated(SphinxDirective):
    """A directive without content, whose Markdown comes from `lines`."""

    def lines(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # it is made of files that Sphinx does not watch
        return self.parse_text_to_nodes("\n".join(self.lines()), allow_section_headings=True)


class Commands(Generated):
    """A section for each command: what it does, its usage, and a table for each group of arguments."""

    def lines(self) -> Iterator[str]:
        for name in COMMANDS:
            parser = command_parser(name)
            yield from (f"(cli-{name})=", f"## autovid {name}", "", parser.description or "", "")
            for sub, inner in subcommands(parser).items():
                yield from (f"### autovid {name} {sub}", "", *described(inner))
            if not subcommands(parser):
                yield from described(parser)


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    return subcommands(_parser(name))[name]


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers below a parser, by name."""
    kinds = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(kinds[0].choices) if kinds else {}


def described(parser: argparse.ArgumentParser) -> Iterator[str]:
    """How it is called, then the groups of arguments."""
    words = [row_name(action) for action in parser._actions if not action.option_strings]
    yield from ("```text", " ".join([parser.prog, "[OPTION ...]", *words]), "```", "")
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.help is not argparse.SUPPRESS and a.dest != "help"]
        if actions:
            title = {"positional arguments": "Arguments", "options": "Options"}.get(
                group.title or "", group.title or ""
            )
            yield from (f"| {title[0].upper()}{title[1:]} | |", "|---|---|", *(row(action) for action in actions), "")


def row_name(action: argparse.Action) -> str:
    """How an argument is written."""
    choices = "{" + ",".join(map(str, action.choices or ())) + "}"
    value = action.metavar or (choices if action.choices else action.dest.upper())
    if action.option_strings:
        return ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {value}")
    repeated = {"*": f"[{value} ...]", "+": f"{value} [{value} ...]", "?": f"[{value}]"}
    return repeated.get(str(action.nargs), str(value))


def row(action: argparse.Action) -> str:
    """One argument as a row of a Markdown table."""
    text = escaped((action.help or "").replace("%%", "%"))
    needed = "; required" if action.option_strings and action.required else ""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{row_name(action)}`", text + needed)) + " |"


def escaped(text: str) -> str:
    """Help text as Markdown: options and what stands in backticks as code, other markup literally."""
    text = re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"`\g<0>`", text) if "`" not in text else text
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]\\])", r"\\\1", part) for part in parts)


class Api(Generated):
    """The public names of a module, `__all__`, each documented from its docstring; those of autovid.api only there."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        module = importlib.import_module(self.arguments[0])
        yield "```{eval-rst}"
        for name in module.__all__:
            if module is autovid and name in api.__all__:
                continue
            yield from api_entry(module.__name__, name, getattr(module, name))
        yield "```"


def api_entry(module: str, name: str, thing: Any) -> Iterator[str]:
    """The autodoc directive of one public name, in reStructuredText."""
    kind = "class" if isinstance(thing, type) else "function"
    if isinstance(thing, type) and issubclass(thing, Exception):
        kind = "exception"
    yield f".. auto{kind}:: {module}.{name}"
    if kind == "class":
        yield "   :members:"
    yield ""


class Experiments(Generated):
    """A table of the experiments that ship with autovid: name, subject, and whether somebody has run it."""

    def lines(self) -> Iterator[str]:
        yield from ("| Experiment | Subject | Needs |", "|---|---|---|")
        for path in sorted(experiments_dir().glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            about = re.search(r"^about: (.*)$", text, re.MULTILINE)
            needs = re.search(r"^# Not run: needs (.*?)\.?$", text, re.MULTILINE)
            yield f"| `{path.stem}` | {about[1] if about else ''} | {needs[1] if needs else 'run: see its header'} |"


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives."""
    app.add_directive("autovid-commands", Commands)
    app.add_directive("autovid-api", Api)
    app.add_directive("autovid-experiments", Experiments)
    app.setup_extension("myst_parser")
    return {"parallel_read_safe": True}

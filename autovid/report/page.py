"""The report: one HTML file about some runs, which fetches nothing, runs no script, and fits a phone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from autovid import __version__
from autovid.errors import ConfigError
from autovid.report import quality, search, summary
from autovid.report.markup import Markup, isolated, join, tag
from autovid.report.runs import Run, read_runs
from autovid.report.theme import style_sheet
from autovid.run import write_atomic

LARGEST = 3_000_000  # bytes of a page


class Section(NamedTuple):
    """A part of the page: the anchor, the heading, and what makes it of the runs, None where they have no data."""

    anchor: str
    heading: str
    make: Callable[[Sequence[Run]], Markup | None]


def write_report(paths: Sequence[Path], out: Path, notice: Callable[[str], None] = lambda line: None) -> int:
    """Writes the page about the runs in `paths`; returns its size in bytes.

    Raises RunError and ConfigError for what is no run, and where a page would be larger than 3 MB.
    """
    text = page(read_runs(paths), notice)
    size = len(text.encode())
    if size > LARGEST:
        raise ConfigError(f"the report would be {size / 1e6:.1f} MB, more than a page should be; give fewer runs")
    write_atomic(out, text)
    return size


def page(runs: Sequence[Run], notice: Callable[[str], None] = lambda line: None) -> str:
    """The whole page; `notice` is told what had to be left out and why."""
    examples = quality.Examples(runs, notice)
    sections = (
        Section("found", "What was found", summary.sentences),
        Section("compare", "Side by side", summary.comparison),
        Section("architecture", "The architecture", summary.architectures),
        Section("search", "How it was found", search.curves),
        Section("decisions", "Every decision", search.decisions),
        Section("accuracy", "How good it is", quality.accuracy),
        Section("classes", "Class by class", quality.classes),
        Section("confusions", "What it takes for what", examples.confusions),
        Section("looks", "What it looks at", examples.looks),
        Section("cost", "What it cost, and how to run it again", summary.costs),
    )
    made = [(section, content) for section in sections if (content := section.make(runs))]
    links = [tag("a", section.heading, href=f"#{section.anchor}") for section, _ in made]
    body = [tag("section", tag("h2", section.heading), content, id=section.anchor) for section, content in made]
    title = "autovid: " + ", ".join(run.name for run in runs)
    version = tag("footer", tag("p", f"Made by autovid {__version__}. {summary.CONVENTION}"))
    names = join([isolated(run.name) for run in runs], ", ")
    head = tag("header", tag("h1", "autovid: ", names), tag("nav", *links, aria_label="Sections"))
    return _document(title, join([head, tag("main", *body), version]))


def _document(title: str, body: Markup) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        Markup(f"<style>{style_sheet()}</style>"),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", body), lang="en")

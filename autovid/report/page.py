"""The report: one HTML file about some runs, which fetches nothing, runs no script, and fits a phone."""

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

from autovid import __version__
from autovid.errors import ConfigError
from autovid.report import accuracy, search, summary
from autovid.report.markup import document, section
from autovid.report.runs import Run, read_runs
from autovid.run import write_atomic

LARGEST = 3_000_000  # bytes of a page


def write_report(paths: Sequence[Path], out: Path, notice: Callable[[str], None] = lambda line: None) -> int:
    """Write the page about the runs in `paths`, and return its size in bytes.

    Raises RunError and ConfigError for what is no run, and where a page would be larger than 3 MB.
    """
    text = page(read_runs(paths), notice)
    size = len(text.encode())
    if size > LARGEST:
        raise ConfigError(f"the report would be {size / 1e6:.1f} MB, more than a page should be; give fewer runs")
    write_atomic(out, text)
    return size


def page(runs: Sequence[Run], notice: Callable[[str], None] = lambda line: None) -> str:
    """Render the whole page; `notice` is told what had to be left out and why."""
    videos = accuracy.Videos(runs, notice)
    sections: tuple[tuple[str, str, Callable[[Sequence[Run]], Markup | None]], ...] = (
        ("summary", "Results", summary.summary),
        ("compare", "Side by side", summary.comparison),
        ("architecture", "The architecture", summary.architectures),
        ("search", "The search", search.curves),
        ("decisions", "Every decision", search.decisions),
        ("accuracy", "Accuracy", accuracy.accuracy),
        ("classes", "Class by class", accuracy.classes),
        ("confusions", "Confusions", videos.confusions),
        ("maps", "Activation maps", videos.strips),
        ("cost", "Costs, and how to run it again", summary.costs),
    )
    contents = [
        {"anchor": anchor, "heading": heading, "content": content}
        for anchor, heading, render in sections
        if (content := render(runs)) is not None
    ]
    names = [run.name for run in runs]
    footer = f"Made by autovid {__version__}. {summary.CONVENTION}"
    body = section("page", names=names, sections=contents, footer=footer)
    return document(f"autovid: {', '.join(names)}", body)

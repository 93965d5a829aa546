"""What the search commands tell a person: what will happen, what was found, where it is, what to type next."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from autovid.costs import convention
from autovid.plugins import plugin_paths
from autovid.space.space import rough

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.search import Found, Searched, SearchSettings
    from autovid.space import Architecture, SearchSpace

PROXY = (
    "This is a PROXY search: {frames} frames of {crop}x{crop} and {steps} steps in all, to show the way and to fit a "
    "machine without a GPU. FLOPs count at the reference input. For a real search give --data and --recipe full."
)
NO_RANGE = "no range asked for: beta has no effect, and what is found may cost anything"


def announce_search(
    space: "SearchSpace", videos: "VideoSet", settings: "SearchSettings", out: Path | str, latency: str | None = None
) -> None:
    """Before a search: what is searched, on what, how long, and where it will be."""
    console = Console()
    reference = space.reference
    ranges = [f"latency {latency} ms"] * bool(latency)
    if settings.flops:
        ranges.append(f"range {' '.join(settings.flops)} GFLOPs at {reference.frames} x {reference.crop}²")
    plan = (
        f"space {space.name} ({len(space.decisions)} decisions, "
        f"{rough(space.size)} architectures) · {', '.join(ranges) or NO_RANGE} · data {videos.name} "
        f"({len(videos.classes)} classes, {len(videos.train)} videos) · {settings.steps} steps · {out}"
    )
    console.print(f"[bold]autovid search[/] · {escape(plan)}", highlight=False)
    if note := settings.settled_note():
        console.print(note, style="yellow", highlight=False)
    if settings.proxy:
        text = PROXY.format(frames=settings.frames, crop=settings.crop, steps=settings.steps)
        console.print(text, style="yellow", highlight=False)


def show_found(found: "Found", data: str) -> None:
    """The last screen of a search. `data`: what to type for the videos that it searched on."""
    arch, out = found.architecture, found.path
    minutes = f"{found.seconds / 60:.1f} min"
    title = f"found in {minutes}" if found.first == 0 else f"found, {minutes} after step {found.first}"
    notes = _verdict(arch, found.searched)
    if found.faults:
        notes.append(f"[yellow]{found.faults} broken videos (listed in faults.jsonl there) were replaced by others[/]")
    panel(title if found.seconds else "found", notes)
    copyable([f"where  {quoted(out / 'architecture.yaml')}  ({arch.hash})", f"       {quoted(out / 'search.png')}"])
    copyable(_next(out, out, _data(out, data)))


def show_architecture(arch: "Architecture", file: Path, found: "Searched", run: Path, data: str) -> None:
    """What `derive` says."""
    notes = _verdict(arch, found)
    if not found.finished:
        notes.append(
            f"[yellow]the search stands at step {found.step} of {found.settings.steps}: this is provisional[/]"
        )
    panel("derived", notes)
    copyable([f"where  {quoted(file)}  ({arch.hash})", *_next(file, run, _data(run, data))])


def _data(run: Path, data: str) -> str:
    """The option for the videos of a search; the embedded ones need none."""
    from autovid.run import RunDirectory

    return "" if RunDirectory.open(run).config["data"] == "synthetic" else f" --data {quoted(Path(data))}"


def _next(what: Path, run: Path, data: str) -> list[str]:
    """What to type next, about the file or the run that has the architecture."""
    return [
        f"next   autovid describe {quoted(what)}{plugin_words()}",
        f"       autovid train {quoted(what)}{data}{plugin_words()}  # from scratch",
        f"       autovid derive {quoted(run)} --flops MIN:MAX{plugin_words()}  # another range, from the same search",
        f"       autovid random-baseline --searched {quoted(what)}{data}{plugin_words()}  # against random ones",
    ]


def plugin_words() -> str:
    """The options for the plugins of this command, which the next one needs, too."""
    return "".join(f" --plugin {quoted(path)}" for path in plugin_paths())


def quoted(path: Path) -> str:
    """A path as it can be typed."""
    return shlex.quote(str(path))


def panel(title: str, notes: list[str]) -> None:
    """A box of notes, which may hold rich's markup."""
    Console().print(Panel("\n".join(notes), title=title, expand=False), highlight=False)


def copyable(texts: list[str]) -> None:
    """Lines that are to be copied, so never broken."""
    Console().print("\n".join(texts), highlight=False, markup=False, soft_wrap=True)


def _figures(arch: "Architecture") -> str:
    macs, params = arch.cost["macs"], arch.cost["params"]
    return f"{macs / 1e9:.4f} GFLOPs, {params / 1e6:.2f} M parameters"


def _verdict(arch: "Architecture", found: "Searched") -> list[str]:
    """What is to be known of an architecture, first of all that its supernet has learned nothing, if that is so."""
    evidence = escape(found.evidence.sentence())
    better = found.evidence.better_than_chance
    lines = [] if better else [f"[yellow]{evidence}[/]"]
    lines += [f"[bold]{_figures(arch)}[/]", f"[dim]{convention(arch.reference)}[/]"]
    if "range" in arch.found:
        inside = f"inside the range asked for, {arch.found['range']}"
        none = "no range was asked for: the most probable architecture of the prior"
        lines.append(none if arch.found["range"] == "none" else inside)
    if "latency_range" in arch.found:
        lines.append(
            f"{arch.cost['latency_ms']:.4g} ms predicted, inside the range asked for, {arch.found['latency_range']} "
            f"({arch.found['latency_on']})"
        )
    if "scaled_from" in arch.found:
        lines.append(f"scaled from {arch.found['scaled_from']}")
    if found.settings.proxy:
        lines.append("[yellow]found by a proxy search: a sketch, not a tuned network[/]")
    lines += [evidence] * better
    lines.append(
        f"probability {_power(float(arch.found['log_probability']))} under the prior "
        f"(uniform: 1 in {rough(found.space.size)})"
    )
    return lines


def _power(log_probability: float) -> str:
    """exp of a number that may be far below the smallest float."""
    exponent = log_probability / 2.302585092994046
    whole = int(exponent // 1)
    return f"{10 ** (exponent - whole):.1f}e{whole:+03d}" if whole < -2 else f"{10**exponent:.3f}"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table whose first column is text and whose others are figures."""
    grid = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    Console().print(grid)

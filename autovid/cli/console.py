"""The terminal output of the search commands: plan, result, places and next commands."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from autovid.cli.options import board_line
from autovid.cli.training import recipe_words
from autovid.costs import convention, recorded_costs
from autovid.plugins import plugin_paths
from autovid.space.space import rough

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.search import Constraint, Searched, SearchResult, SearchSettings
    from autovid.space import Architecture, SearchSpace
    from autovid.studies.finalists import Result
    from autovid.studies.front_candidates import Front

PROXY = (
    "This is a PROXY search: {frames} frames of {crop}x{crop} and {steps} steps in all, to show the way and to fit a "
    "machine without a GPU. FLOPs count at the reference input. For a real search give {more}."
)


def announce_search(
    space: "SearchSpace",
    videos: "VideoSet",
    settings: "SearchSettings",
    out: Path | str,
    constraints: "Sequence[Constraint]" = (),
) -> None:
    """Print the plan of a search."""
    from autovid.search.constraints import part_ranges_note
    from autovid.search.strategy import takes

    console = Console()
    reference = space.reference
    texts = [f"{' '.join(c.texts())} {c.cost.quantity.unit}" for c in constraints]
    beta = "beta has no effect, and " if takes(settings.strategy, "beta") else ""
    no_range = f"no range asked for: {beta}what is found may cost anything"
    ranges = f"range {', '.join(texts)} at {reference.frames} x {reference.crop}²" if texts else no_range
    classes, train = len(videos.classes), len(videos.train)
    plan = (
        f"space {space.name} ({len(space.decisions)} decisions, "
        f"{rough(space.size)} architectures) · {ranges} · data {videos.name} "
        f"({classes} class{'es' * (classes != 1)}, {train} video{'s' * (train != 1)}) · {settings.steps} steps · {out}"
    )
    console.print(f"[bold]autovid search[/] · {escape(plan)}", highlight=False)
    if note := part_ranges_note(constraints):
        console.print(note, style="yellow", highlight=False)
    if settings.proxy:
        more = "--data and --recipe full" if videos.name == "synthetic" else "--recipe full, which needs a GPU"
        text = PROXY.format(frames=settings.frames, crop=settings.crop, steps=settings.steps, more=more)
        console.print(text, style="yellow", highlight=False)
    copyable([board_line(out)])


def show_search_result(result: "SearchResult", data: str) -> None:
    """Print the result of a search. `data` is the option for its videos."""
    arch, out = result.architecture, result.path
    minutes = f"{result.seconds / 60:.1f} min"
    title = f"found in {minutes}" if result.first == 0 else f"found, {minutes} after step {result.first}"
    notes = _verdict(arch, result.searched)
    if result.faults:
        some = "1 broken video was" if result.faults == 1 else f"{result.faults} broken videos were"
        notes.append(f"[yellow]{some} replaced by others (listed in faults.jsonl there)[/]")
    panel(title if result.seconds else "found", notes)
    copyable([f"where  {quoted(out / 'architecture.yaml')}  ({arch.hash})", f"       {quoted(out / 'search.png')}"])
    copyable(_next(out, out, data, result.searched))


def show_derived(arch: "Architecture", file: Path, searched: "Searched", run: Path, data: str) -> None:
    """Print a derived architecture. `data` is the option for its videos."""
    notes = _verdict(arch, searched)
    if not searched.finished:
        notes.append(
            f"[yellow]the search stands at step {searched.step} of {searched.settings.steps}: this is provisional[/]"
        )
    panel("derived", notes)
    copyable([f"where  {quoted(file)}  ({arch.hash})", *_next(file, run, data, searched)])


def show_front(front: "Front", folder: Path, searched: "Searched") -> None:
    """Print a front: how the supernet compares with chance, a table, what its figures are, and where it is."""
    from autovid.studies.front import sentences

    columns = ["", *(cost.quantity.unit for cost in front.costs), front.measure.replace("_", "-")]
    shown = {
        "loss": ("held-out loss", "{:.3f}"), "supernet": ("top-1, supernet", "{:.2f} %"),
        "alone": ("top-1, trained", "{:.2f} %"),
    }  # fmt: skip
    present = [key for key in shown if any(getattr(entry, key) is not None for entry in front.entries)]
    rows = [
        [
            name,
            *(f"{atoms / cost.quantity.atoms:.4g}" for cost, atoms in entry.costs.items()),
            "-" if entry.score is None else f"{entry.score:.4g}",
            *("-" if (value := getattr(entry, key)) is None else shown[key][1].format(value) for key in present),
        ]
        for name, entry in zip(front.names, front.entries)
    ]
    told = sentences(front, searched)
    if searched.against_chance:
        copyable([told.pop(0)])
    table(f"front of {len(rows)}", columns + [shown[key][0] for key in present], rows)
    copyable([*told, f"where  {quoted(folder)}: 01.yaml ..., front.csv, front.png"])


def show_finalists(results: "Sequence[Result]", best: str, folder: Path, chance: float) -> None:
    """Print what finalists came to beside chance: a row for each, a column for each round; the winner in bold."""
    epochs = sorted({one.epochs for one in results})
    cells = {(one.hash, one.epochs): "diverged" if one.top1 is None else f"{one.top1:.2f} %" for one in results}
    hashes = dict.fromkeys(one.hash for one in results)
    rows = [
        [f"[bold]{key}[/]" if key == best else key, *(cells.get((key, length), "-") for length in epochs)]
        for key in hashes
    ]
    copyable([f"Chance is {chance:.1f} % of val; one training each."])
    table(f"{len(rows)} finalists", ["", *(f"top-1, {length:g} epochs" for length in epochs)], rows)
    copyable([f"where  {quoted(folder)}: finalists.csv, and a training for each"])


def _data(run: Path, data: str, settings: "SearchSettings") -> str:
    """Return the options for a training on the videos of a search, by its recipe; the embedded ones need none."""
    from autovid.data.remote import is_address, public
    from autovid.run import RunDirectory

    embedded = RunDirectory.open(run).config.get("data", "synthetic") == "synthetic"
    place = public(data) if is_address(data) else data
    recipe = recipe_words(settings.proxy, settings.batch, settings.balance)
    return "" if embedded else f" --data {shlex.quote(place)}{recipe}"


def _next(arch: Path, run: Path, data: str, searched: "Searched") -> list[str]:
    """Return the next commands for the file or the run of an architecture."""
    options, plugins = _data(run, data, searched.settings), plugin_words()
    cost = next((constraint.cost.option for constraint in searched.constraints), "flops")
    return [
        f"next   autovid describe {quoted(arch)}{plugins}",
        f"       autovid train {quoted(arch)}{options}{plugins}  # from scratch",
        f"       autovid derive {quoted(run)} --{cost} MIN:MAX{plugins}  # another range, from the same search",
        f"       autovid random-baseline --searched {quoted(arch)}{options}{plugins}  # against random ones",
    ]


def plugin_words() -> str:
    """Return the options for the plugins of this command, which the next one needs, too."""
    return "".join(f" --plugin {quoted(path)}" for path in plugin_paths())


def quoted(path: Path) -> str:
    """Quote a path for the shell."""
    return shlex.quote(str(path))


def panel(title: str, notes: list[str]) -> None:
    """Print a box of notes, which may hold rich's markup."""
    Console().print(Panel("\n".join(notes), title=title, expand=False), highlight=False)


def copyable(texts: list[str]) -> None:
    """Print lines without breaks, for copying."""
    Console().print("\n".join(texts), highlight=False, markup=False, soft_wrap=True)


def _figures(arch: "Architecture") -> str:
    """ "1.412 GFLOPs, 2.10 M parameters, 21.4 ms"."""
    costs = {kind.name: f"{value:.4g} {kind.quantity.unit}" for kind, value in recorded_costs(arch.cost).items()}
    costs["params"] = f"{arch.cost['params'] / 1e6:.2f} M parameters"
    return ", ".join(costs.values())


def _verdict(arch: "Architecture", searched: "Searched") -> list[str]:
    """Return notes about an architecture; first of all that its supernet has learned nothing, if that is so."""
    from autovid.search.derivation import BY_TABLE, TOLD

    evidence = escape(searched.against_chance)
    better = searched.evidence.better_than_chance
    lines = [f"[yellow]{evidence}[/]"] if evidence and not better else []
    lines += [f"[bold]{_figures(arch)}[/]", f"[dim]{convention(arch.reference)}[/]"]
    if "range" in arch.provenance:
        inside = f"inside the range asked for, {arch.provenance['range']}"
        best = "the most probable architecture of the prior" if searched.learned else "the best of those scored"
        none = f"no range was asked for: {best}"
        lines.append(none if arch.provenance["range"] == "none" else inside)
    if "conventions" in arch.provenance:
        lines.append(f"[dim]{escape(str(arch.provenance['conventions']))}[/]")
    if "scaled_from" in arch.provenance:
        lines.append(f"scaled from {arch.provenance['scaled_from']}")
    if searched.settings.proxy and not searched.beats_random_ones:
        lines.append("[yellow]found by a proxy search: a sketch, not a tuned network[/]")
    lines += [evidence] * better
    lines += [escape(str(arch.provenance[key])) for key in (*TOLD, *BY_TABLE) if key in arch.provenance]
    if "log_probability" in arch.provenance:
        lines.append(
            f"{_times(float(arch.provenance['log_probability']), searched.space.size)} as probable under the prior as "
            f"before the search (1 in {rough(searched.space.size)})"
        )
    elif "log_likelihood" in arch.provenance:
        lines.append(f"log-likelihood {arch.provenance['log_likelihood']:.4g}, scored by {searched.settings.score}")
    elif "scored" in arch.provenance:
        lines.append("[yellow]not scored: drawn at random from inside the range[/]")
    return lines


def _times(log_probability: float, size: int) -> str:
    """Write how much a probability is of 1 / size, which may be far beyond the floats: "3.2 times"."""
    exponent = (log_probability + math.log(size)) / math.log(10)
    whole = math.floor(exponent)
    if abs(exponent) < 0.02:
        return "just"
    if -2 <= whole < 4:
        return f"{10**exponent:.2g} times" if whole < 2 else f"{10**exponent:,.0f} times"
    return f"{10 ** (exponent - whole):.1f}e{whole:+03d} times"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table whose first column is text and whose others are figures."""
    grid = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    Console().print(grid)

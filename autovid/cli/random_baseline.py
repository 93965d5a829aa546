"""autovid random-baseline: architectures drawn at random from a FLOPs range, trained as the searched one is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import options, training_options

if TYPE_CHECKING:
    from autovid.space import Architecture
    from autovid.train import Comparison


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    parser.add_argument("--space", help="a name from `autovid list`, or a YAML file (default: that of --searched)")
    parser.add_argument("--flops", metavar="MIN:MAX", help="range in GFLOPs (default: --searched's, 2 %% either way)")
    parser.add_argument("-n", type=options.positive, default=16, help="how many architectures (default: 16)")
    parser.add_argument(
        "--searched", type=Path, metavar="WHAT", help="a search's or training's directory, or a YAML file"
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (default: runs/random-SPACE)")
    training_options.arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Draws, trains one after the other, compares."""
    from autovid.cost import parse_gflops
    from autovid.cost.reach import check_range
    from autovid.errors import ConfigError
    from autovid.nn.allocator import keep_memory
    from autovid.nn.compute import Compute
    from autovid.space import load_space
    from autovid.train import Trainer, find_architecture, find_rival, random_baseline, range_around

    if not (args.flops or args.searched):
        raise ConfigError("--flops MIN:MAX is needed, or --searched to compare with its like")
    keep_memory()
    rival = find_architecture(args.searched) if args.searched else None
    space = load_space(args.space or _space_of(args.searched, rival))
    flops = parse_gflops(args.flops) if args.flops or not rival else range_around(space, rival)
    check_range(space.cost_table(), *flops)
    recipe = training_options.recipe_from(args, space)
    videos, source = training_options.open_data(args.data, args.seed)
    out = args.out or options.free_directory(f"random-{space.name}")
    comparison = random_baseline(
        space,
        flops,
        args.n,
        Trainer(
            videos,
            source,
            recipe,
            Compute(args.device, recipe.precision),
            options.workers(args),
            training_options.resume_command(out),
        ),
        out,
        seed=args.seed,
        rival=find_rival(args.searched, videos, recipe) if args.searched else None,
        resume=args.resume,
        report=lambda found: print(f"{found.summary()} · so far, with table and plot in {out}"),
    )
    _show(comparison, out)


def _space_of(path: Path | None, rival: "Architecture | None") -> str | Path:
    """Where the searched architecture comes from: the space that its search has kept, or the shipped one it names."""
    if path is None or rival is None:
        return "two_stream"
    return path / "space.yaml" if (path / "space.yaml").is_file() else rival.space


def _show(comparison: "Comparison", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from autovid.train.comparison import COLUMNS

    table = Table()
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number > 1 else "left")
    for row in comparison.rows():
        table.add_row(*row, style="bold" if row[1] == "searched" else "")
    Console().print(table)
    print(f"{comparison.summary()}\n{comparison.about()}\nFLOPs: {comparison.convention}")
    print(f"\nwhere   {out}: table.md, table.csv, plot.png, and a run directory for each architecture")

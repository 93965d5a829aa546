"""autovid train: an architecture from scratch."""

import argparse
import shlex
from pathlib import Path

from autovid.cli import options, training_options


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    parser.add_argument("arch", type=Path, metavar="ARCH", help="an architecture's YAML file, or a search's directory")
    parser.add_argument("-o", "--out", type=Path, help="run directory (default: runs/train-HASH)")
    training_options.arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Trains, evaluates the centre view, and says what came out."""
    from rich.console import Console
    from rich.panel import Panel

    from autovid.nn.allocator import keep_memory
    from autovid.nn.compute import Compute
    from autovid.run import Progress
    from autovid.train import find_architecture, train_architecture

    keep_memory()
    arch = find_architecture(args.arch)
    recipe = training_options.recipe_from(args, arch)
    compute = Compute(args.device, recipe.precision)
    videos, source = training_options.open_data(args.data, args.seed)
    out = args.out or options.free_directory(f"train-{arch.hash}")
    found = train_architecture(
        arch,
        videos,
        recipe,
        out,
        source=source,
        compute=compute,
        workers=options.workers(args),
        resume=args.resume,
        progress=Progress(f"train {arch.hash} on {videos.name} · {out}"),
        resume_command=training_options.resume_command(out),
    )
    top1, top5 = training_options.percent(found.top1), training_options.percent(found.top5)
    path = shlex.quote(str(out))
    notes = [
        f"[bold]top-1 {top1}, top-5 {top5}[/] on {found.decoded} videos, centre view",
        f"{found.gflops_per_view:.4g} GFLOPs a view, {found.params / 1e6:.2f} M parameters",
        f"[dim]{found.convention}[/]",
        "",
        f"where   {path}  ({arch.hash})",
        "next",
        f"  autovid evaluate {path} --views 10-lcr",
    ]
    Console().print(
        Panel("\n".join(notes), title=f"trained for {recipe.epochs:g} epochs", expand=False), highlight=False
    )

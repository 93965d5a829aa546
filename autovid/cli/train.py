"""autovid train: a network or an architecture from scratch."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from autovid.cli import network_options, options, training_options

if TYPE_CHECKING:
    from autovid.models import Model


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    parser.add_argument(
        "what", metavar="WHAT", help="a network's name, the YAML file of one or of an architecture, or a run directory"
    )
    parser.add_argument("-o", "--out", type=Path, help="run directory (default: runs/train-HASH, or train-NAME-HASH)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="start from this safetensors file, such as import-weights writes; it has the classes of the data",
    )
    training_options.arguments(parser)
    network_options.arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Trains, evaluates the centre view, and says what came out."""
    from rich.console import Console
    from rich.panel import Panel

    from autovid.nn.allocator import keep_memory
    from autovid.nn.compute import Compute
    from autovid.run import Progress
    from autovid.train import find_model, train_model

    keep_memory()
    model = network_options.apply(args, find_model(args.what))
    name = _name(model)
    recipe = training_options.recipe_from(args, model)
    compute = Compute(args.device, recipe.precision)
    videos, source = training_options.open_data(args.data, args.seed)
    out = args.out or options.free_directory(f"train-{name}")
    found = train_model(
        model,
        videos,
        recipe,
        out,
        source=source,
        compute=compute,
        workers=options.workers(args),
        weights=args.weights,
        resume=args.resume,
        progress=Progress(f"train {name} on {videos.name} · {out}"),
        resume_command=training_options.resume_command(out),
    )
    top1, top5 = training_options.percent(found.top1), training_options.percent(found.top5)
    path = shlex.quote(str(out))
    notes = [
        f"[bold]top-1 {top1}, top-5 {top5}[/] on {found.decoded} videos, centre view",
        f"{found.gflops_per_view:.4g} GFLOPs a view, {found.params / 1e6:.2f} M parameters",
        f"[dim]{found.convention}[/]",
        "",
        f"where   {path}  ({name})",
        "next",
        f"  autovid evaluate {path} --views 10-lcr",
    ]
    Console().print(
        Panel("\n".join(notes), title=f"trained for {recipe.epochs:g} epochs", expand=False), highlight=False
    )


def _name(model: "Model") -> str:
    from autovid.models import NetworkSpec

    return f"{model.network}-{model.hash}" if isinstance(model, NetworkSpec) else model.hash

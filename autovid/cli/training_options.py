"""What the commands that train have in common on the command line."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from autovid.cli import options

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.models import Model
    from autovid.space import SearchSpace
    from autovid.train import Evaluation, Recipe

SYNTHETIC = "synthetic"
RECIPE = (
    "epochs", "batch", "lr", "warmup", "frames", "stride", "crop", "jitter", "augment", "weight_decay", "seed",
    "precision",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --recipe and everything that changes the recipe."""
    parser.add_argument("--data", type=options.source, default=SYNTHETIC, help=options.EMBEDDED)
    parser.add_argument("--resume", action="store_true", help="go on in the directory; what is done is not done again")
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--recipe",
        choices=["proxy", "full"],
        help="full: the paper's, at the reference input; proxy: small clips, few epochs (default with synthetic data)",
    )
    group.add_argument("--epochs", type=options.rate, help="default 300; proxy 30")
    group.add_argument("--batch", type=options.positive, help="clips a step; default 256; proxy 8")
    group.add_argument("--lr", type=options.rate, help="the highest; default 0.4 for 256 clips a step, in proportion")
    group.add_argument("--warmup", type=float, metavar="EPOCHS", help="of linear warm-up; default 34 in 300")
    options.clips(group)
    group.add_argument(
        "--augment", choices=["auto", "none"], help="AutoAugment on every frame; default auto; proxy none"
    )
    group.add_argument("--weight-decay", type=float, help="default 5e-5, none on batch norm")
    options.machine(parser)


def recipe_from(
    args: argparse.Namespace, what: "Model | SearchSpace", settings: Mapping[str, Any] = MappingProxyType({})
) -> "Recipe":
    """The recipe that the flags, and `settings` of it, ask for; says on the terminal if it is the proxy."""
    from rich.console import Console

    from autovid.train import make_recipe

    proxy = args.recipe == "proxy" or (args.recipe is None and args.data in (None, SYNTHETIC))
    recipe = make_recipe(what, proxy=proxy, **{name: getattr(args, name) for name in RECIPE} | dict(settings))
    if proxy:
        text = (
            f"This is a PROXY training: {recipe.length} at {recipe.frames} frames of "
            f"{recipe.crop}x{recipe.crop}, to fit a machine without a GPU. The whole recipe: --data and --recipe full."
        )
        Console().print(text, style="yellow", highlight=False)
    return recipe


def open_data(source: str, seed: int) -> tuple["VideoSet", str]:
    """The videos, and the name under which any later process finds them again."""
    from autovid.data import open_videos

    return open_videos(source, seed=seed), source if source == SYNTHETIC else str(Path(source).resolve())


def broken(found: "Evaluation", path: str) -> list[str]:
    """A line where videos could not be read, so that nobody overlooks it."""
    left_out = found.videos - found.decoded
    return [f"{left_out} broken videos are left out; they are listed in {path}/faults.jsonl"] if left_out else []


def percent(value: float | None) -> str:
    """ "41.67 %", or a dash for what is not defined."""
    return "-" if value is None else f"{value:.2f} %"

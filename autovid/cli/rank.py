"""autovid rank: a supernet's ranking of architectures, and that of trainings from scratch."""

import argparse
from pathlib import Path

from autovid.cli import launch, options, training
from autovid.cli.launch import exit_code


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("search", type=Path, metavar="RUN", help="run directory of a search")
    parser.add_argument("-n", type=options.positive, default=16, help="how many architectures, 3 or more (16)")
    parser.add_argument(
        "--part",
        metavar="NAME",
        help="use the supernet of this part (default: the part with the most decisions)",
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (default: runs/rank-SPACE)")
    training.arguments(parser, f"{options.DATA} (default: the data of the search)")
    launch.trial_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Draw architectures, evaluate them with the supernet, train them, and correlate."""
    from autovid.cli.search_by_training import on_ray
    from autovid.run import Interrupted
    from autovid.studies import Ranking, Trainer, open_supernet, rank

    supernet = open_supernet(args.search, args.part)
    if args.data is None:
        args.data = supernet.source
        if args.recipe is None and supernet.searched.settings.proxy:
            args.recipe = "proxy"
    recipe = training.recipe_from(args, supernet.space)
    videos, source = training.open_data(args.data, recipe.seed)
    out = args.out or options.run_directory(f"rank-{supernet.searched.space.name}", args.resume)

    def report(ranking: Ranking) -> None:
        print("\n".join(ranking.lines()))

    command = options.resume_command(out)
    try:
        rank(
            supernet,
            args.n,
            Trainer(videos, source, recipe, args.device, options.decoders(args), options.trial_cache(args), command),
            out,
            seed=recipe.seed,
            resume=args.resume,
            report=report,
            **({"runner": on_ray(args, out)} if args.address else {}),
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(exit_code(stop) - 128, f"stopped; what is known is kept. Go on with: {command}") from None
    print(f"where   {out}: rank.json, table.csv, plot.png, and a run directory for each architecture")

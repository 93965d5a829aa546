"""autovid rank: whether a search's supernet ranks architectures as trainings from scratch do."""

import argparse
from pathlib import Path

from autovid.cli import options, training_options, trials
from autovid.cli.termination import exit_code


def arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand on the command line."""
    parser.add_argument("search", type=Path, metavar="RUN", help="run directory of a search")
    parser.add_argument("-n", type=options.positive, default=16, help="how many architectures, 3 or more (16)")
    parser.add_argument(
        "--part", metavar="NAME", help="whose supernet, as it was at its end (default: the part that decided the most)"
    )
    parser.add_argument("-o", "--out", type=Path, help="directory (default: runs/rank-SPACE)")
    training_options.arguments(parser)
    trials.arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Draws, evaluates with the supernet's weights, trains one after the other or on Ray, and correlates."""
    from autovid.cli.random_baseline import on_ray
    from autovid.kernels.allocator import keep_memory
    from autovid.run import Interrupted
    from autovid.studies import Ranking, Trainer, open_supernet, rank

    keep_memory()
    supernet = open_supernet(args.search, args.part)
    recipe = training_options.recipe_from(args, supernet.space)
    videos, source = training_options.open_data(args.data, recipe.seed)
    out = args.out or options.run_directory(f"rank-{supernet.searched.space.name}", args.resume)

    def report(ranking: Ranking) -> None:
        print("\n".join(ranking.lines()))

    command = options.resume_command(out)
    try:
        rank(
            supernet,
            args.n,
            Trainer(videos, source, recipe, args.device, options.decoders(args), command),
            out,
            seed=recipe.seed,
            resume=args.resume,
            report=report,
            **({"runner": on_ray(args, out)} if args.address else {}),
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(exit_code(stop) - 128, f"stopped; what is known is kept. Go on with: {command}") from None
    print(f"where   {out}: rank.json, table.csv, plot.png, and a run directory for each architecture")

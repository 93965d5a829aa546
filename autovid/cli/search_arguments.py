"""The arguments of `autovid search`, which `random-baseline` has as well."""

import argparse

from autovid.cli import dry_run, launch, options, search_by_training, training
from autovid.errors import ConfigError

SUPERNET, TRAINING, TABLE = "supernet", "training", "table:NAME"
USED_BY = {  # of options that not every score uses, by the names of their values
    **dict.fromkeys(("recipe", "epochs", "batch", "lr", "sync_norm", "balance", "data"), (SUPERNET, TRAINING)),
    **dict.fromkeys(("frames", "crop", "stride", "jitter", "dry_run"), (SUPERNET, TRAINING)),
    **dict.fromkeys(("samples", "beta", "cost_gradient", "open_prior", "likelihood", "in_range"), (SUPERNET,)),
    **dict.fromkeys(("budget", "arch_lr", "archs_per_update", "split", "alpha_every"), (SUPERNET,)),
    **dict.fromkeys(("held_out_fraction", "threads", "processes", "workers_of_run", "hardware"), (SUPERNET,)),
    **dict.fromkeys(("cpus_per_worker", "gpus_per_worker"), (SUPERNET,)),
    **dict.fromkeys(("n", "searched", "warmup", "augment", "weight_decay"), (TRAINING,)),
    **dict.fromkeys(("cpus_per_trial", "gpus_per_trial", "at_once"), (TRAINING,)),
    "address": (SUPERNET, TRAINING),
    "steps": (SUPERNET, TABLE),
}
FLAGS = {"n": "-n", "workers_of_run": "--workers"}
NOT_GIVEN = {"cpus_per_trial": 1, "gpus_per_trial": 0.0, "gpus_per_worker": 0.0}  # of others: None or False


def check_used(args: argparse.Namespace, score: str) -> None:
    """Raise ConfigError for an option that has no effect with a score."""
    way = TABLE if score.startswith("table:") else score
    for name, users in USED_BY.items():
        value = getattr(args, name)
        if way not in users and value is not None and value is not False and value != NOT_GIVEN.get(name):
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            raise ConfigError(
                f"{flag} does not go with --score {score}: only --score {' or '.join(users)} has a use for it"
            )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a YAML file, or the name of one of ours")
    training.experiment_arguments(parser, " (with EXPERIMENT), or strategy.KEY=VALUE")
    dry_run.hardware_argument(parser)
    parser.add_argument("--space", help="a name from `autovid list`, or a YAML file (default: two_stream)")
    parser.add_argument(
        "--strategy",
        help="which architectures to look at: parsec (default), random, evolution; `autovid list strategies` has all",
    )
    parser.add_argument(
        "--score", metavar="supernet|training|table:NAME",
        help="how architectures are scored (default: the strategy's own way: parsec and evolution by the supernet, "
        "random by training)",
    )  # fmt: skip
    parser.add_argument("--data", type=options.source, help=training.RUNS_DATA.replace("WHAT", "--searched"))
    parser.add_argument(
        "-o", "--out", help="run directory (default: runs/search-SPACE, for trainings runs/STRATEGY-SPACE)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the search in the run directory")
    parser.add_argument(
        "--recipe",
        choices=["proxy", "full"],
        help="full: the space's published recipe; proxy: small clips and few steps (default with synthetic data)",
    )
    options.constraints(parser)
    _method_arguments(parser)
    _recipe_arguments(parser)
    launch.arguments(parser)
    parser.add_argument_group("workers, on this machine").add_argument(
        "--threads", type=options.positive, metavar="N",
        help="threads of one process on a CPU (default: all; a search with --budget measures whether one is faster)",
    )  # fmt: skip
    search_by_training.arguments(parser)
    options.machine(parser)
    parser.set_defaults(seed=None, precision=None)  # an experiment has its own


def _method_arguments(parser: argparse.ArgumentParser) -> None:
    method = parser.add_argument_group("method (PARSEC)")
    method.add_argument(
        "--samples", type=options.number_or_auto(int), help="architectures a step, K, or auto (default: 13)"
    )
    method.add_argument(
        "--beta", type=options.number_or_auto(float), help="weight of each cost's term, or auto (default)"
    )
    method.add_argument(
        "--cost-gradient", choices=["sampled", "exact", "in-range"],
        help="of the cost's term: by the K architectures (default with --recipe full), of the expected cost (default "
        "otherwise), or of log P(in range)",
    )  # fmt: skip
    method.add_argument(
        "--open-prior", choices=["quarter", "evidence"],
        help="the prior learns after a quarter of a part (default with --recipe full), or when the scores of "
        "architectures differ by more than the noise, and the supernet is better than chance (default otherwise)",
    )  # fmt: skip
    method.add_argument("--likelihood", choices=["mean", "sum"], help="over the clips of a batch (default: mean)")
    method.add_argument("--in-range", action="store_true", help="draw only architectures inside the ranges")


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("recipe (default: the space's)")
    length = recipe.add_mutually_exclusive_group()
    length.add_argument(
        "--budget", type=options.duration, metavar="TIME", help="such as 10m (default) or 1h (default with --data)"
    )
    length.add_argument(
        "--epochs", type=options.rate, help="of every part (default: the space's, or planned for --budget)"
    )
    length.add_argument(
        "--steps",
        type=options.steps,
        metavar="N",
        help="of every part, or PART=N,PART=N,... (default: the space's, or planned for --budget)",
    )
    recipe.add_argument("--batch", type=options.positive, help="clips a step (default: the space's)")
    recipe.add_argument("--lr", type=options.rate, help="of the weights, in every part (default: the space's)")
    recipe.add_argument("--arch-lr", type=options.rate, help="of the prior, in every part (default: the space's)")
    recipe.add_argument(
        "--archs-per-update",
        type=options.positive,
        metavar="J",
        help="architectures that an update learns from (default: the space's, and one for each of --processes; full: "
        "as many as K)",
    )
    recipe.add_argument(
        "--split",
        choices=["architectures", "batch"],
        help="what several workers divide: architectures (default, where there are enough), or each batch, which "
        "takes less memory",
    )
    options.balance(recipe)
    options.sync_norm(recipe)
    recipe.add_argument(
        "--alpha-every",
        type=options.positive,
        metavar="N",
        help="updates of the weights for one of the prior (default: the space's, or planned; full: 1)",
    )
    recipe.add_argument(
        "--held-out-fraction",
        type=options.fraction,
        metavar="F",
        help="of the training videos, to judge architectures (default: the space's; full: 0.5)",
    )
    options.clips(recipe)

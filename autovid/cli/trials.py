"""What commands that train many networks side by side have in common: Ray Tune's part of the command line."""

import argparse
import os
from typing import Any

from autovid.cli import launch, options


def arguments(parser: argparse.ArgumentParser, always: bool = False) -> None:
    """--address, --retries and what a trial gets. `always`: on Ray also without --address."""
    group = parser.add_argument_group("trials side by side, on Ray")
    failure = "a training's process or its node has died"
    if always:
        launch.cluster(group, failure)
    else:
        launch.cluster(group, failure, "none: one after the other, without Ray")
    group.add_argument("--cpus-per-trial", type=options.positive, default=1, metavar="N", help="default 1")
    group.add_argument(
        "--gpus-per-trial", type=options.share, default=0.0, metavar="N", help="default 0; 0.5 puts two on a GPU"
    )
    group.add_argument("--at-once", type=options.positive, metavar="N", help="trials (default: as many as fit)")


def check_alone(args: argparse.Namespace) -> None:
    """Where trials are side by side only with --address: raises ConfigError for what would do nothing without it."""
    from autovid.errors import ConfigError

    if not args.address and (args.cpus_per_trial != 1 or args.gpus_per_trial or args.at_once):
        raise ConfigError(
            "--cpus-per-trial, --gpus-per-trial and --at-once are for trials side by side: "
            "give --address, too (local: a Ray of its own on this machine)"
        )


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """These, as `run_trials` takes them."""
    from autovid.cluster import Resources

    resources = Resources(args.cpus_per_trial, args.gpus_per_trial, args.at_once or 0)
    return {"address": args.address or os.environ.get("RAY_ADDRESS"), "resources": resources, "retries": args.retries}

"""What `autovid train` is asked to do, by an experiment or by a network and flags, as one job; and its plan."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autovid.cli import launch, network_options, training_options

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.models import Model
    from autovid.train import Recipe
    from autovid.train.experiment import Experiment


class Job(NamedTuple):
    """A training: the network, the recipe, and the rest of the experiment."""

    model: "Model"
    recipe: "Recipe"
    experiment: "Experiment"
    name: str  # of the run directory

    @property
    def weights(self) -> Path | None:
        """What to start from. Raises ConfigError where the experiment starts from weights and no file is given."""
        from autovid.errors import ConfigError
        from autovid.train.trained import find_weights

        start = self.experiment.start
        if start is None:
            return None
        if start.file is None:
            raise ConfigError(
                f"this experiment starts from {start.about or 'weights'}: give --weights FILE "
                "(autovid import-weights makes one, a run directory is one), or --set start=null to start from scratch"
            )
        return find_weights(Path(start.file))

    @property
    def new_head(self) -> bool:
        """Whether the classifier starts anew."""
        return self.experiment.start is not None and self.experiment.start.new_head


def arguments(parser: argparse.ArgumentParser, when: str = "") -> None:
    """--set and --dry-run; `when` they may be given."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="a key of the recipe or of the experiment, as YAML: lr=0.1, options.frames=4; may be repeated" + when,
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan, check everything, and train nothing" + when
    )


def positional(parser: argparse.ArgumentParser) -> None:
    """EXPERIMENT, for commands that do without one."""
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a YAML file, or the name of one of ours")


def find_job(args: argparse.Namespace) -> Job:
    """The job of these arguments. Raises ConfigError."""
    from autovid.config import find_experiment
    from autovid.models import NETWORKS

    path = None if args.what in NETWORKS else find_experiment(args.what)
    return _named(args) if path is None else _experiment(args, path)


def find_data(args: argparse.Namespace, job: Job) -> tuple["VideoSet | None", str]:
    """The videos, and what they were opened from; None where an experiment has no data yet."""
    source = args.data or job.experiment.data
    return training_options.open_data(source, job.recipe.seed) if source else (None, "")


def show_plan(job: Job, videos: "VideoSet | None") -> None:
    """Prints the plan, and what is still to be given. Raises ConfigError, DataError for what cannot be."""
    from autovid.train.plan import make_plan

    print(make_plan(job.model, job.recipe, job.experiment, videos))
    missing = [] if videos else ["--data"]
    if job.experiment.start is not None and job.experiment.start.file is None:
        missing.append("--weights")
    elif job.experiment.start is not None and job.weights is not None:
        check_file(job.weights)
    print(f"\nto be given: {', '.join(missing)}" if missing else "\nready; nothing was trained (--dry-run)")


def check_file(path: Path) -> None:
    """Raises ConfigError where there is no such file."""
    from autovid.errors import ConfigError

    if not path.is_file():
        raise ConfigError(f"--weights {path}: no such file")


def flag_settings(args: argparse.Namespace, names: tuple[str, ...], prefix: str) -> list[str]:
    """The flags that were given, as key=value."""
    given = {name: getattr(args, name) for name in names}
    return [f"{prefix}{name}={json.dumps(value)}" for name, value in given.items() if value is not None]


def _experiment(args: argparse.Namespace, path: Path) -> Job:
    from autovid.config import check_command
    from autovid.errors import ConfigError
    from autovid.space import SearchSpace
    from autovid.train.experiment import load_experiment

    check_command(path, "train")
    if args.recipe:
        raise ConfigError("--recipe is for networks and architectures; an experiment has its own: change it with --set")
    settings = [*args.settings, *flag_settings(args, training_options.RECIPE, "recipe."), *launch.settings(args)]
    if args.weights is not None:
        settings.append(f"start.file={json.dumps(str(args.weights))}")
    if args.new_head:
        settings.append("start.new_head=true")
    loaded = load_experiment(path, settings)
    assert not isinstance(loaded.model, SearchSpace)
    model = network_options.apply(args, loaded.model)
    return Job(model, loaded.recipe, loaded.experiment, path.stem)


def _named(args: argparse.Namespace) -> Job:
    """A network, an architecture or a run: an experiment that nobody has written down."""
    from autovid.data.index import DataSet
    from autovid.models import NetworkSpec
    from autovid.train import find_model
    from autovid.train.experiment import Experiment, RecipeValues, Start

    model = network_options.apply(args, find_model(args.what))
    recipe = training_options.recipe_from(args, model, settings_of(args.settings))
    name = f"{model.network}-{model.hash}" if isinstance(model, NetworkSpec) else model.hash
    start = Start("weights", str(args.weights), args.new_head) if args.weights else None
    dataset = DataSet(args.data or training_options.SYNTHETIC, model.reference.classes, 1, 1)
    experiment = Experiment(
        about=f"train {name}",
        dataset=dataset,
        data=training_options.SYNTHETIC,
        start=start,
        recipe=RecipeValues(**{field: getattr(recipe, field) for field in recipe.__struct_fields__}),
    )
    return Job(model, recipe, experiment, name)


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """--set for what is no experiment: keys of the recipe alone."""
    from typing import get_type_hints

    from autovid.config import parse_yaml
    from autovid.errors import ConfigError, did_you_mean
    from autovid.train import Recipe

    kinds = get_type_hints(Recipe)
    found: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.removeprefix("recipe.").partition("=")
        if key not in kinds or not value:
            hint = did_you_mean(key, kinds) or "the keys of a recipe are " + ", ".join(kinds)
            raise ConfigError(f"--set {pair}: give KEY=VALUE; {hint}")
        found |= parse_yaml(f"{key}: {value}", dict[str, kinds[key]], f"--set {pair}")  # type: ignore[valid-type]
    return found

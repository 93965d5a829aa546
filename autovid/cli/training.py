"""Arguments of the commands that train, and the training that they ask for: an experiment, or a network and flags."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from autovid.cli import launch, options
from autovid.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from autovid.data import VideoSet
    from autovid.models import Model
    from autovid.space import SearchSpace
    from autovid.train import Recipe
    from autovid.train.experiment import Experiment, Start
    from autovid.train.recipe import RecipeName

SYNTHETIC = "synthetic"
RUNS_DATA = f"{options.DATA} (default: what the run WHAT has learned from, else a small embedded set)"
RECIPE = (
    "epochs", "batch", "lr", "warmup", "frames", "stride", "crop", "jitter", "augment", "weight_decay", "seed",
    "precision", "validate_every", "patience", "sync_norm", "balance",
)  # fmt: skip


class TrainingJob(NamedTuple):
    """A training to run: the network, the recipe, and the rest of the experiment."""

    model: "Model"
    recipe: "Recipe"
    experiment: "Experiment"
    name: str  # of the run directory
    inherit: bool = False  # from the supernet of the search that was given

    @property
    def weights(self) -> Path | None:
        """The file of the first weights. Raises ConfigError where the experiment needs one and has none."""
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

    def on(self, workers: int | None) -> "TrainingJob":
        """Return the same training on so many workers, where a number is given."""
        import msgspec

        if workers is None:
            return self
        return self._replace(experiment=msgspec.structs.replace(self.experiment, workers=workers))

    @property
    def new_head(self) -> bool:
        """True if the classifier starts anew."""
        return self.experiment.start is not None and self.experiment.start.new_head


def arguments(
    parser: argparse.ArgumentParser,
    data: str = RUNS_DATA,
    recipes: Sequence[str] = ("proxy", "full", "small"),
    decoders: str = options.DECODERS,
) -> None:
    """Add --data, for which `data` is the help, --recipe of `recipes`, and everything that changes the recipe.

    `decoders` is the default of --decoders in words.
    """
    parser.add_argument("--data", type=options.source, help=data)
    parser.add_argument(
        "--resume", action="store_true", help="continue in the run directory; finished work is not repeated"
    )
    group, tuned = parser.add_argument_group("recipe"), "finetune" in recipes
    group.add_argument(
        "--recipe",
        choices=recipes,
        help="full: the paper's, at the reference input; proxy: small clips, few epochs (default with synthetic data); "
        "small: from scratch on few videos, with strong augmentation"
        + "; finetune: from weights, the classifier first"
        * tuned,
    )
    epochs = "default 300; proxy 30, small 100" + ", finetune 30" * tuned
    batch = "clips a step; default 256; proxy 8, small 16" + ", finetune 16" * tuned
    rate = (
        "the highest; default 0.4 for 256 clips a step, in proportion; small 6e-3, but 1e-3 for hand-designed networks"
        + "; finetune a tenth of the default, except for the classifier" * tuned
    )
    group.add_argument("--epochs", type=options.rate, help=epochs)
    group.add_argument("--batch", type=options.positive, help=batch)
    group.add_argument("--lr", type=options.rate, help=rate)
    group.add_argument("--warmup", type=float, metavar="EPOCHS", help="of linear warm-up; default 34 in 300")
    options.clips(group)
    group.add_argument(
        "--augment",
        choices=["auto", "none"],
        help="AutoAugment on every frame; default auto; proxy none" + ", finetune none" * tuned,
    )
    group.add_argument("--weight-decay", type=float, help="default 5e-5, small 0.05; none on batch norm")
    options.balance(group)
    group.add_argument(
        "--validate-every",
        type=options.not_negative,
        metavar="EPOCHS",
        help="measure val so often, and keep the best checkpoint; 0: never (default: 1, or for 20 validations at most)",
    )
    group.add_argument(
        "--patience",
        type=options.positive,
        metavar="N",
        help="end the training after N validations without a better one (default: never)",
    )
    options.sync_norm(group)
    options.machine(parser, decoders)


def recipe_from(
    args: argparse.Namespace, what: "Model | SearchSpace", settings: Mapping[str, Any] = MappingProxyType({})
) -> "Recipe":
    """Make the recipe that the flags and `settings` ask for, with a note on the terminal if it is the proxy."""
    from rich.console import Console

    from autovid.train import make_recipe

    name: RecipeName = args.recipe or ("proxy" if args.data in (None, SYNTHETIC) else "full")
    flags = {name: getattr(args, name, None) for name in RECIPE}
    recipe = make_recipe(what, name=name, **flags | dict(settings))
    if name == "proxy":
        more = "--data and --recipe full" if args.data in (None, SYNTHETIC) else "--recipe full"
        text = (
            f"This is a PROXY training: {recipe.length} at {recipe.frames} frame{'s' * (recipe.frames != 1)} of "
            f"{recipe.crop}x{recipe.crop}, to fit a machine without a GPU. The whole recipe: {more}."
        )
        Console().print(text, style="yellow", highlight=False)
    return recipe


def default_data(args: argparse.Namespace, *places: str | Path) -> None:
    """Take the data of the runs among `places` and the scale of their search where no --data is given.

    Without such a run it is the embedded set. Raises DataError where a run's are not known or gone, ConfigError where
    they are several.
    """
    from autovid.train.learned_from import data_of_runs

    if args.data is not None:
        return
    known = data_of_runs(places)
    args.data = known.source if known else SYNTHETIC
    if known is None or known.source == SYNTHETIC:
        return
    if args.recipe is None and known.proxy:
        args.recipe = "proxy"
    if not launch.number():
        print(f"data: {known.source}, which {known.path} has learned from (others: --data)")


def experiment_arguments(parser: argparse.ArgumentParser, when: str = "") -> None:
    """Add --set and --dry-run; `when` says in which case they are allowed."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="a key of the recipe or of the experiment, as YAML: lr=0.1, options.frames=4; may be repeated" + when,
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan with its memory and time, check everything, do nothing"
    )


def find_job(args: argparse.Namespace) -> TrainingJob:
    """Return the training that the arguments ask for. Raises ConfigError."""
    from autovid.config import find_experiment
    from autovid.models import NETWORKS

    path = None if args.what in NETWORKS else find_experiment(args.what)
    return _named(args) if path is None else _experiment(args, path)


def find_data(args: argparse.Namespace, job: TrainingJob) -> tuple["VideoSet | None", str]:
    """Open the videos, and return their source; None where an experiment has no data yet."""
    source = args.data or job.experiment.data
    return open_data(source, job.recipe.seed) if source else (None, "")


def note_batch(recipe: "Recipe", videos: "VideoSet") -> None:
    """Print a note where a batch is larger than the whole set: few steps, each with the same videos again and again."""
    from rich.console import Console

    count = len(videos.train)
    if recipe.batch > count:
        few = max(1, 2 ** int(math.log2(max(1, count / 4))))
        text = (
            f"A batch of {recipe.batch} clips has each of the {count} videos {recipe.batch / count:.0f} times or so, "
            f"and {recipe.length} are {recipe.steps(count)} steps: --batch {few} makes more of them."
        )
        Console().print(text, style="yellow", highlight=False)


def recipe_words(proxy: bool, batch: int, balance: bool) -> str:
    """Return the options with which a training has a search's recipe: its proxy or size of a batch, and its balance."""
    return (" --recipe proxy" if proxy else f" --recipe full --batch {batch}") + " --balance" * balance


def flag_settings(args: argparse.Namespace, names: tuple[str, ...], prefix: str) -> list[str]:
    """Return the flags on the command line as key=value."""
    values = {name: getattr(args, name, None) for name in names}
    return [f"{prefix}{name}={json.dumps(value)}" for name, value in values.items() if value is not None]


def _experiment(args: argparse.Namespace, path: Path) -> TrainingJob:
    from autovid.config import check_command
    from autovid.space import SearchSpace
    from autovid.train.experiment import load_experiment

    check_command(path, "train")
    if getattr(args, "inherit", False):
        raise ConfigError("--inherit is for the run of a search; an experiment says what it starts from: --weights")
    if args.recipe:
        raise ConfigError("--recipe is for networks and architectures; an experiment has its own: change it with --set")
    settings = [*args.settings, *flag_settings(args, RECIPE, "recipe."), *launch.settings(args)]
    if args.weights is not None:
        settings.append(f"start.file={json.dumps(str(args.weights))}")
    if args.new_head:
        settings.append("start.new_head=true")
    loaded = load_experiment(path, settings)
    assert not isinstance(loaded.model, SearchSpace)
    model = options.with_network_options(args, loaded.model)
    return TrainingJob(model, loaded.recipe, loaded.experiment, path.stem)


def _named(args: argparse.Namespace) -> TrainingJob:
    """Make an experiment of a network, an architecture or a run, and flags."""
    from autovid.models import NetworkSpec
    from autovid.train import find_model
    from autovid.train.experiment import Start

    model, settings = options.with_network_options(args, find_model(args.what)), settings_of(args.settings)
    default_data(args, args.what)
    if args.recipe == "finetune":
        settings = {**finetune_size(args), **settings}
    recipe = recipe_from(args, model, settings)
    name = f"{model.network}-{model.hash}" if isinstance(model, NetworkSpec) else model.hash
    start = Start("weights", str(args.weights), args.new_head) if args.weights else None
    inherit = getattr(args, "inherit", False)
    if inherit:
        start = _inherited(args, model)
    return TrainingJob(model, recipe, plain_experiment(f"train {name}", recipe, start), name, inherit)


def finetune_size(args: argparse.Namespace) -> dict[str, Any]:
    """Return the size of the clips that the weights have learned from, but for flags.

    Raises ConfigError where there are no weights to start from.
    """
    from autovid.train.finetune import clip_size

    start = Path(args.what) if args.inherit else args.weights
    if start is None:
        raise ConfigError(
            "--recipe finetune starts from weights: give --weights FILE or RUN, or --inherit with the run of a search; "
            "--recipe small trains from scratch"
        )
    return {name: value for name, value in clip_size(start).items() if getattr(args, name) is None}


def plain_experiment(about: str, recipe: "Recipe", start: "Start | None" = None) -> "Experiment":
    """Make the experiment that stands for flags: what is known of its data is what is there."""
    from autovid.data.index import DataSet
    from autovid.train.experiment import Experiment, RecipeValues

    values = RecipeValues(**{field: getattr(recipe, field) for field in recipe.__struct_fields__})
    return Experiment(about=about, dataset=DataSet("", 0, 0, 0), data=SYNTHETIC, start=start, recipe=values)


def _inherited(args: argparse.Namespace, model: "Model") -> "Start":
    """Return the supernet of the search that was given. Raises ConfigError where there is none."""
    from autovid.train.experiment import Start
    from autovid.train.inherited import check_inheritable

    if args.weights:
        raise ConfigError("--inherit and --weights are two places to start from; leave one of them out")
    check_inheritable(args.what, model)
    return Start("the supernet's weights, of each layer its part", args.what, args.new_head)


def resumed_run(args: argparse.Namespace) -> Path | None:
    """Return WHAT where it is the run directory of a training, to go on there as its config.yaml has it.

    Raises ConfigError for what can no longer be changed then.
    """
    from autovid.run import RunDirectory
    from autovid.train.trained import KIND, recorded_recipe

    path = Path(args.what)
    if not args.resume or not path.is_dir() or (args.out is not None and args.out.resolve() != path.resolve()):
        return None
    run = RunDirectory.open(path)
    if run.kind != KIND:
        return None
    recipe = recorded_recipe(run.config)
    changed = [name for name in RECIPE if name != "epochs" and getattr(args, name) not in (None, getattr(recipe, name))]
    changed += [name for name in ("settings", "weights", "new_head", "inherit", "teacher") if getattr(args, name)]
    if changed:
        flag = "set" if changed[0] == "settings" else changed[0].replace("_", "-")
        raise ConfigError(
            f"--{flag}: {path} goes on as it was begun, and only --epochs can change; leave it out, or leave --resume "
            "out to train its network anew"
        )
    return path


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """Read --set of a command without an experiment: keys of the recipe alone. Raises ConfigError."""
    from typing import get_type_hints

    from autovid.config import parse_yaml
    from autovid.train import Recipe

    kinds = {**get_type_hints(Recipe), "lr_multiples": dict[str, float]}  # to be laid over the network's own
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.removeprefix("recipe.").partition("=")
        if key not in kinds or not value:
            hint = did_you_mean(key, kinds) or "the keys of a recipe are " + ", ".join(kinds)
            raise ConfigError(f"--set {pair}: give KEY=VALUE; {hint}")
        settings |= parse_yaml(f"{key}: {value}", dict[str, kinds[key]], f"--set {pair}")  # type: ignore[valid-type]
    return settings


def open_data(source: str, seed: int, notes: TextIO | None = None) -> tuple["VideoSet", str]:
    """Open videos, and return the name under which any later process opens them again.

    Notes about classes without videos go to `notes`, by default to the standard output.
    """
    from autovid.data import open_videos
    from autovid.data.shards import cache_note
    from autovid.data.sources import recorded_source

    videos = open_videos(source, seed=seed)
    for line in (*videos.gaps(), *cache_note(videos.root)):
        print(line, file=notes)
    return videos, recorded_source(source)

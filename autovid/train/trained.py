"""Networks with weights in run directories: of a training, which may be the teacher of another, or of a supernet.

A training that goes on may be prolonged. From its last checkpoint on it then follows the schedule of its new length, as
if that had been planned from the start; the steps before followed the old one. So a cosine that had come down to zero
rises again. config.yaml keeps the plan that the training began with, and lists under `prolonged` what changed it, and
after which step.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from autovid.clip import Clip
from autovid.data import VideoSet
from autovid.errors import ConfigError, DataError, RunError
from autovid.kernels.compute import Compute
from autovid.models import NETWORKS, Model, Network, NetworkSpec, build, load_model
from autovid.run import Checkpoint, RunDirectory, advice
from autovid.run.directory import differences, full_config
from autovid.space import Architecture
from autovid.space.schema import Reference
from autovid.train.inherited import calibrate, check_classes, check_member, has_supernet, open_supernet_weights
from autovid.train.recipe import Recipe, check_recipe, make_recipe
from autovid.train.task import Teacher

KIND = "train"

Which = Literal["best", "last"]  # checkpoint: by the validations of its training, or the last one


@dataclass(frozen=True)
class Trained:
    """A network after `step` of `steps` steps, on the device of `compute`. `source` is the origin of the data.

    `finished`: its training is, which may end before the last step. Of `validations` on the val of the data set
    `fingerprint`, this checkpoint's was the best; 0: none chose it, it is the last.

    `recalibrated` is 0, or the number of training clips that its norms' statistics were taken from anew: then its
    weights are those of a search's supernet. `program` is an exported program that is evaluated in the network's place;
    it takes clips of one size.

    `data` is the name of the data set that it has learned from, empty where it is not known. `is_best`: this is the
    checkpoint that the run is told by, which is the last one where none was chosen.
    """

    path: Path
    model: Model
    net: Network
    recipe: Recipe
    compute: Compute
    classes: tuple[str, ...]
    source: str
    step: int
    steps: int
    finished: bool
    validations: int = 0
    fingerprint: str = ""
    recalibrated: int = 0
    program: Network | None = None
    data: str = ""
    is_best: bool = True

    def has_learned(self, fingerprint: str) -> bool:
        """Return True for the data set of its training, of any split, whatever its name is now."""
        return fingerprint == self.fingerprint

    @property
    def multi_label(self) -> bool:
        """True if a video may have several classes, each a yes or a no."""
        return self.net.multi_label

    @property
    def weights(self) -> str:
        """The checkpoint of the training, in words; empty for weights of a supernet."""
        if self.recalibrated or not self.steps:  # an exported folder may not know
            return ""
        when = f"after epoch {self.step / self.steps * self.recipe.epochs:.3g} of {self.recipe.epochs:g}"
        if not self.chosen:
            return f"{when}, the last"
        return f"{when}, the best of {self.validations} validation{'s' * (self.validations > 1)}"

    @property
    def chosen(self) -> bool:
        """True if there was another checkpoint to choose."""
        return self.validations > 1 or (self.validations == 1 and not self.finished)


def find_model(what: str | Path) -> Model:
    """Load a network by its name, a YAML file, or the architecture.yaml in a run directory.

    Raises ConfigError, and RunError for a directory without one.
    """
    if str(what) in NETWORKS or not Path(what).is_dir():
        return load_model(what)
    run, file = RunDirectory.open(Path(what)), Path(what) / "architecture.yaml"
    if not file.is_file():
        raise RunError(_no_architecture(run))
    return load_model(file)


def _no_architecture(run: RunDirectory) -> str:
    """Explain why a run has no architecture of its own."""
    several = sorted(file.parent.name for file in run.path.glob("*/architecture.yaml"))
    derive = f"; autovid derive {shlex.quote(str(run.path))} takes one by what is known so far" if run.steps() else ""
    hint = f"it has no architecture.yaml yet; {advice(run)}{derive}"
    if several:
        hint = f"it has several architectures; give one of its runs, such as {run.path / several[0]}"
    return f"{run.path} is a run of 'autovid {run.kind}': {hint}"


def find_architecture(path: Path) -> Architecture:
    """Load an architecture of a search space, as `find_model` does. Raises ConfigError for another network."""
    model = find_model(path)
    if not isinstance(model, Architecture):
        raise ConfigError(f"{path} is the network {model.network}; give an architecture of a search space here")
    return model


def find_weights(path: Path) -> Path:
    """Return the file of weights: `path` itself, or of a run directory the best checkpoint of its training.

    Raises RunError where there is none yet.
    """
    if not path.is_dir():
        return path
    _, checkpoint = _checkpoints(RunDirectory.open(path))
    return path / "checkpoints" / f"step-{checkpoint.step:06d}" / "model.safetensors"


def _checkpoints(run: RunDirectory, which: Which = "best") -> tuple[Checkpoint, Checkpoint]:
    """Return the last checkpoint of a run, and the one that is asked for. Raises RunError where there is none yet."""
    last = run.latest()
    if last is None:
        raise RunError(f"{run.path} has no checkpoint yet; {advice(run)}")
    if which == "last" or last.best in (None, last.step):
        return last, last
    assert last.best is not None
    return last, run.load(last.best)


def recorded_recipe(config: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a training's config.yaml, as long as the training was made since."""
    recipe = msgspec.convert(config["recipe"], Recipe)
    longer = config.get("prolonged")
    return msgspec.structs.replace(recipe, epochs=longer[-1]["epochs"]) if longer else recipe


def open_trained(path: Path, device: str = "auto", data: str | None = None, which: Which = "best") -> Trained:
    """Open the best checkpoint of a training, or the last one of it or of a search, also of one that still runs.

    A search's architecture has the weights of its supernet, and takes the statistics of its norms from training clips
    of `data`, by default those that the search has learned from. Raises RunError if there is no checkpoint, DataError
    where these clips are not there.
    """
    run = RunDirectory.open(path)
    if run.kind != KIND:
        if not (path / "architecture.yaml").is_file():
            raise RunError(_no_architecture(run))
        if has_supernet(path) and run.steps():
            return _open_searched(path, device, data)
        command = f"autovid train {shlex.quote(str(path))}"
        raise RunError(f"{path} is a run of 'autovid {run.kind}'; train its architecture first: {command}")
    last, checkpoint = _checkpoints(run, which)
    info, recipe = last.state.info, recorded_recipe(run.config)
    compute = Compute(device, recipe.precision)
    compute.restore(info["compute"])
    model, classes = load_model(path / "architecture.yaml"), tuple(info["classes"])
    net = build(model, len(classes))
    net.load_state_dict(checkpoint.state.model)
    net.multi_label = info.get("multi_label", False)
    is_best = last.best in (None, checkpoint.step)
    data, fingerprint = own_data(run.config)
    return Trained(
        path,
        model,
        net.to(compute.device),
        recipe,
        compute,
        classes,
        info["source"],
        checkpoint.step,
        recorded_steps(run.config, info),
        is_finished(run.config, last),
        info.get("validation", {}).get("count", 0) if is_best else 0,
        fingerprint,
        data=data,
        is_best=is_best,
    )


def own_data(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the fingerprint of a run's data set, by its config.yaml; empty where it has none."""
    data = config.get("data", "")
    if isinstance(data, Mapping):
        return str(data["name"]), str(data["fingerprint"])
    return str(data), str(config.get("data_fingerprint", ""))


def recorded_source(run: RunDirectory) -> str:
    """Return the source of the videos of a training. Raises RunError where it has no checkpoint yet."""
    last = run.latest()
    if last is None:
        raise RunError(
            f"{run.path} has no checkpoint yet, so only the command that began it can go on; "
            f"{run.path / 'log.txt'} has it"
        )
    return str(last.state.info["source"])


def recorded_steps(config: Mapping[str, Any], info: Mapping[str, Any]) -> int:
    """Return the steps of a whole training, by its config.yaml and the `info` of a checkpoint."""
    longer = config.get("prolonged")
    return int(longer[-1]["steps"] if longer else info["steps"])


def is_finished(config: Mapping[str, Any], last: Checkpoint) -> bool:
    """Return True if nothing is left to train: the last step is done, or patience was over."""
    info, steps = last.state.info, recorded_steps(config, last.state.info)
    ended = bool(info.get("validation", {}).get("ended"))
    return last.step == steps or (ended and info["steps"] == steps)


def _open_searched(path: Path, device: str, data: str | None) -> Trained:
    """Open the architecture of a search with its supernet's weights."""
    weights = open_supernet_weights(path)
    searched, arch = weights.searched, find_architecture(path)
    check_member(arch, searched.space, path)
    settings = searched.settings
    size: dict[str, Any] = {name: getattr(settings, name) for name in ("frames", "crop", "stride", "jitter")}
    precision = weights.config.get("precision", "auto")
    recipe = make_recipe(
        arch, name="proxy" if settings.proxy else "full", **size, batch=settings.batch, seed=settings.seed,
        precision=precision,
    )  # fmt: skip
    compute = Compute(device, precision)
    compute.restore(weights.record)
    videos = weights.open_videos(data)
    net = weights.network(arch).to(compute.device)
    clips = calibrate(net, settings, videos, compute)
    own_name, fingerprint = own_data(weights.config)
    return Trained(
        path, arch, net, recipe, compute, videos.classes, weights.source, searched.step, settings.steps,
        searched.step == settings.steps, fingerprint=fingerprint, recalibrated=clips, data=own_name,
    )  # fmt: skip


def as_trained(what: Path | Trained) -> Model:
    """Return the model of a training, at the clips and classes of that training; its file has those of the space.

    Before the first checkpoint the classes are those of the file.
    Raises RunError for a directory of another kind, ConfigError where its network cannot be read.
    """
    if isinstance(what, Trained):
        model, recipe, classes = what.model, what.recipe, len(what.classes)
    else:
        run = RunDirectory.open(what)
        if run.kind != KIND:
            raise RunError(f"{what} is a run of 'autovid {run.kind}', not a training")
        model = load_model(what / "architecture.yaml")
        recipe, checkpoint = recorded_recipe(run.config), run.latest()
        classes = len(checkpoint.state.info["classes"]) if checkpoint else 0
    if isinstance(model, NetworkSpec):
        return model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop)
    size = {"frames": recipe.frames, "crop": recipe.crop, "stride": recipe.stride}
    return replace(model, reference=Reference(**size, classes=classes or model.reference.classes), cost={})


def title_of(model: Model) -> str:
    """Name a network in a few words, for pictures and tables."""
    if isinstance(model, NetworkSpec):
        return " + ".join([model.network, *model.modules])
    return f"{model.space} {model.hash}"


SIZE = ("frames", "crop", "stride")


def check_teacher(trained: Trained, videos: VideoSet, clip: Clip) -> None:
    """Raise ConfigError where a teacher cannot look at the `clip` that its pupil sees, DataError for other classes."""
    if trained.recalibrated:
        raise RunError(f"{trained.path} is a search: its supernet is no teacher; give a training")
    check_classes(videos, trained.classes, trained.path)
    if trained.multi_label != videos.multi_label:
        raise DataError(f"{trained.path} and {videos.name} differ in whether a video may have several classes")
    teacher_clip = trained.recipe.clip(trained.net.clip)
    if teacher_clip != clip:
        odd = [name for name in SIZE if getattr(teacher_clip, name) != getattr(clip, name)]
        if odd:
            flags = " ".join(f"--{name} {getattr(teacher_clip, name)}" for name in SIZE)
            raise ConfigError(f"--teacher {trained.path} has learned from clips of another size; give {flags}")
        other = next(n for n, value in msgspec.structs.asdict(teacher_clip).items() if getattr(clip, n) != value)
        raise ConfigError(
            f"--teacher {trained.path} sees its clips otherwise: their {other} is {getattr(teacher_clip, other)}, and "
            f"{getattr(clip, other)} here; give a teacher that sees the same"
        )


def open_teacher(path: Path, videos: VideoSet, recipe: Recipe, clip: Clip, device: str) -> Teacher:
    """Open the best checkpoint of a training as the teacher of another one on clips of `recipe` and a network's `clip`.

    Raises ConfigError, DataError and RunError where it cannot be.
    """
    trained = open_trained(path, device)
    check_teacher(trained, videos, recipe.clip(clip))
    return Teacher(trained.net, recipe.distillation)


def prolonged_recipe(run: RunDirectory, epochs: float | None) -> Recipe:
    """Return the recipe of a training, made `epochs` long where that is given. Raises ConfigError for a shorter one."""
    recipe = recorded_recipe(run.config)
    if epochs is None:
        return recipe
    if epochs < recipe.epochs:
        raise ConfigError(
            f"--epochs {epochs:g}: {run.path} is a training of {recipe.length}, which can be made longer, not shorter"
        )
    longer = msgspec.structs.replace(recipe, epochs=epochs)
    check_recipe(longer)
    return longer


def prolong(run: RunDirectory, videos: int, epochs: float | None, say: Callable[[str], None]) -> Recipe:
    """Return the recipe of a training on so many videos, made `epochs` long and recorded so. Raises ConfigError."""
    recipe, longer = recorded_recipe(run.config), prolonged_recipe(run, epochs)
    if run.locked and longer.epochs != recipe.epochs:
        steps, done = longer.steps(videos), max(run.steps(), default=0)
        before = run.config.get("prolonged", [])
        run.record("prolonged", [*before, {"after": done, "epochs": epochs, "steps": steps}])
        rate = longer.lr_at(min(done, steps - 1), steps)  # an epoch of a small set may be less than a step
        say(
            f"prolonged from {recipe.length} to {epochs:g}: from step {done} on the learning rate follows the schedule "
            f"of {longer.length}, now at {rate:.3g}; until here it was that of {recipe.epochs:g}"
        )
    return longer


def refuse_other_length(out: Path, config: dict[str, Any]) -> None:
    """Raise RunError, with the command that prolongs it, where a training differs from `config` in its length alone."""
    if not (out / "config.yaml").is_file():
        return
    saved = RunDirectory.open(out).config
    keys = {line.partition(":")[0] for line in differences(saved, full_config(config, KIND))}
    planned, requested = (one.get("recipe", {}).get("epochs", 0) for one in (saved, config))
    if "recipe.epochs" in keys and keys <= {"recipe.epochs", "recipe.warmup"} and requested > planned:
        raise RunError(
            f"{out} was planned for {planned:g} epochs, not {requested:g}; to prolong it: "
            f"autovid train {shlex.quote(str(out))} --resume --epochs {requested:g}"
        )


def describe_state(path: Path) -> str:
    """Say how far the training in `path` is. Raises RunError."""
    run = RunDirectory.open(path)
    last, recipe = run.latest(), recorded_recipe(run.config)
    if last is None:
        return f"{path}: a training of {recipe.length} without a checkpoint yet"
    steps = recorded_steps(run.config, last.state.info)
    if not is_finished(run.config, last):
        return f"{path}: a training of {recipe.length}, at step {last.step} of {steps}"
    early = f", ended early after step {last.step} of {steps}" if last.step < steps else ""
    more = f"autovid train {shlex.quote(str(path))} --resume --epochs {2 * recipe.epochs:g}"
    return f"{path}: a finished training of {recipe.length}{early}; to prolong it: {more}"

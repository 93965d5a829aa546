"""The training of a model in a run directory, evaluated at its end: a function of its inputs.

runs/NAME/
  config.yaml  architecture.yaml (also that of a network by name)  log.txt  metrics.jsonl  tensorboard/  checkpoints/
  evaluation-center.json   of the centre view; `evaluate` adds a file for each kind of views
  faults.jsonl             videos that could not be read, if there were any
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autovid import distributed
from autovid.data import ClipLoader, FaultLog, FrameCache, VideoSet
from autovid.errors import ConfigError, RunError
from autovid.fileio import digest
from autovid.kernels.compute import Compute
from autovid.models import Model, Network, NetworkSpec, build, load_model, load_weights
from autovid.models.builder import inherit_weights
from autovid.run import Progress, RunDirectory, derive_seed, run_task, shared_run, write_atomic
from autovid.run.directory import VERSIONS
from autovid.train.accuracy import Validation, ValMeter, held_out_note
from autovid.train.evaluate import Evaluation, check_for_training, evaluate, read_evaluation
from autovid.train.plan import step_memory
from autovid.train.recipe import Recipe
from autovid.train.task import Teacher, TrainingTask, prepare
from autovid.train.trained import (
    KIND,
    Trained,
    find_weights,
    open_teacher,
    prolong,
    recorded_recipe,
    refuse_other_length,
)


def train_model(
    model: Model,
    videos: VideoSet,
    recipe: Recipe,
    out: Path,
    *,
    source: str,
    compute: Compute,
    workers: int = 0,
    cache: FrameCache | None = None,
    weights: Path | None = None,
    new_head: bool = False,
    inherit: bool = False,
    teacher: Path | None = None,
    views: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
    resume_command: str = "",
) -> Evaluation:
    """Train from scratch in the run directory `out`, or go on there, and evaluate on val: centre view, and `views`.

    With `weights`, a safetensors file for the very network, training starts from these instead; with `new_head` the
    classifier starts anew. With `inherit` the file is of a supernet, or of a larger network that this one nests in:
    each layer takes its part.

    With `teacher`, the run of a training on clips of the same size, it learns from what that says of its clips as well.

    A hand-designed network is built for the recipe's frames and crop, and both for the classes of `videos`.
    `source` is what `videos` was opened from, for those who open the run later; `compute` is made with the recipe's
    precision, and takes up the record of a resumed run. Finished work is not repeated.
    Evaluated is the checkpoint that was best on val, where the recipe validates.
    Workers (autovid.distributed) call it alike; the first writes, and all of them get the evaluation.
    Raises ConfigError, RunError, DataError, DivergedError, Interrupted.
    """
    model = _as_built(model, videos, recipe)
    config = train_config(model, videos, recipe, weights, new_head, inherit)
    if teacher is not None:
        config["teacher"] = digest(find_weights(teacher))
    first = partial(_first_weights, weights=weights, new_head=new_head, inherit=inherit)
    training = _Training(model, videos, recipe, out, config, first, source, compute, workers, cache, progress, teacher)
    return training.run(views, resume, resume_command)


def resume_training(
    out: Path,
    videos: VideoSet,
    *,
    source: str,
    compute: Compute,
    epochs: float | None = None,
    workers: int = 0,
    cache: FrameCache | None = None,
    progress: Progress | None = None,
    resume_command: str = "",
) -> Evaluation:
    """Go on with the training in `out` as its config.yaml has it, and evaluate it like `train_model`.

    With `epochs`, more than it was to have, it is prolonged: from its last checkpoint on the learning rate follows the
    schedule of so many epochs. config.yaml records that. Raises what `train_model` raises.
    """
    config, model, info = distributed.broadcast_from_rank0(lambda: _recorded(out))
    teacher = _recorded_teacher(config, info or {})
    recipe = recorded_recipe(config)
    model = _as_built(model, videos, recipe)
    kept = {key: value for key, value in config.items() if key not in (*VERSIONS, "kind", "plugins")}
    own = {**kept, **train_config(model, videos, recipe), "recipe": config["recipe"]}
    first = partial(_first_weights, weights=None)
    training = _Training(model, videos, recipe, out, own, first, source, compute, workers, cache, progress, teacher)
    return training.run((), True, resume_command, epochs)


def check_beginning(run: RunDirectory) -> None:
    """Raise RunError where a training without a checkpoint needs more than its directory has."""
    if other := {"weights", "teacher"} & run.config.keys():
        raise RunError(
            f"{run.path} has no checkpoint yet, and its training needs {min(other)}: go on with the command that began "
            f"it, which is in {run.path / 'log.txt'}"
        )


def _recorded(out: Path) -> tuple[dict[str, Any], Model, dict[str, Any] | None]:
    """Return the config.yaml and the network of a training, and the facts of its last checkpoint, if it has one."""
    run = RunDirectory.open(out)
    last = run.latest()
    if last is None:
        check_beginning(run)
    return run.config, load_model(out / "architecture.yaml"), last.state.info if last else None


def _recorded_teacher(config: dict[str, Any], info: dict[str, Any]) -> Path | None:
    """Return the run of the teacher that a training has had. Raises RunError where it is not there as it was."""
    if "teacher" not in config:
        return None
    path = Path(info["teacher"])
    if not path.is_dir() or digest(find_weights(path)) != config["teacher"]:
        raise RunError(f"the teacher {path} of this training is not there any more, or has other weights; put it back")
    return path


def _as_built(model: Model, videos: VideoSet, recipe: Recipe) -> Model:
    """Return the network for the videos' classes and the recipe's clips. Raises ConfigError, DataError."""
    check_for_training(videos)
    recipe.check_length(recipe.steps(len(videos.train)))
    if isinstance(model, NetworkSpec):
        return model.changed(classes=len(videos.classes), frames=recipe.frames, crop=recipe.crop)
    return model


def _first_weights(net: Network, *, weights: Path | None, new_head: bool = False, inherit: bool = False) -> None:
    if weights is not None:
        (inherit_weights if inherit else load_weights)(net, weights, new_head=new_head)


@dataclass
class _Training:
    """A training in the run directory `out`, whose config.yaml is `config`; `first` puts weights into a new network."""

    model: Model
    videos: VideoSet
    recipe: Recipe
    out: Path
    config: dict[str, Any]
    first: Callable[[Network], None]
    source: str
    compute: Compute
    workers: int
    cache: FrameCache | None
    progress: Progress | None
    teacher: Path | None
    opened: Teacher | None = None

    def run(self, views: Sequence[str], resume: bool, resume_command: str, epochs: float | None = None) -> Evaluation:
        """Train, for `epochs` if it is to be longer than planned, and evaluate; or read what it came to."""
        half = self.compute.precision.train in ("bf16", "fp16")
        memory = step_memory(self.model, self.recipe, len(self.videos.classes), distributed.size(), half)
        memory.check(self.compute.device)
        if self.teacher is not None:
            self.opened = self._teacher(self.teacher)
        if resume:
            distributed.broadcast_from_rank0(lambda: refuse_other_length(self.out, self.config))
        norm_clips = self.recipe.norm_clips(distributed.size())
        config = {**self.config, "cache": str(self.cache or "off"), "norm_clips": norm_clips}
        with shared_run(self.out, config, kind=KIND, resume=resume) as run:
            self.recipe = prolong(run, len(self.videos.train), epochs, self._say(run))
            steps = self.recipe.steps(len(self.videos.train))
            finished = distributed.broadcast_from_rank0(lambda: read_finished(run.path, steps, self.videos, views))
            if finished is not None:
                return finished
            if run.locked and not (run.path / "architecture.yaml").exists():
                write_atomic(run.path / "architecture.yaml", self.model.to_yaml())
            if run.locked:
                run.log(f"decoded frames in memory: {config['cache']}")
            if self.videos.held_out:
                self._say(run)(held_out_note(self.videos))
            trained = self._trained(run, steps, resume_command)
            evaluation = self._evaluate(trained)
            for name in (name for name in views if name != evaluation.views):
                self._evaluate(trained, name)
            if run.locked:
                result = (
                    f"{evaluation.metric} {evaluation.score:.2f} % of {evaluation.decoded} videos of val, centre view"
                )
                run.log(f"{result}; weights {trained.weights}")
        return evaluation

    def _trained(self, run: RunDirectory, steps: int, resume_command: str) -> Trained:
        """Do the steps that are left; return the best network."""
        task = self._task(run.path, steps)
        with contextlib.closing(task):
            outcome = run_task(task, run, seed=self.recipe.seed, progress=self.progress, resume_command=resume_command)
        best = task.best() or outcome.steps
        if best != outcome.steps:
            task.evaluated.load_state_dict(distributed.broadcast_from_rank0(lambda: run.load(best).state.model))
        distributed.broadcast_(list(task.evaluated.buffers()))  # statistics that the workers did not share
        return Trained(
            run.path,
            self.model,
            task.evaluated,
            self.recipe,
            self.compute,
            self.videos.classes,
            self.source,
            best,
            steps,
            True,
            task.validation.count if task.validation else 0,
            self.videos.fingerprint,
            data=self.videos.name,
        )

    def _task(self, path: Path, steps: int) -> TrainingTask:
        torch.manual_seed(derive_seed(self.recipe.seed, "weights", 0))
        net = build(self.model, len(self.videos.classes))
        self.first(net)
        net = prepare(net, self.recipe, self.videos.multi_label)
        faults = FaultLog(len(self.videos.train), path / "faults.jsonl" if path.is_dir() else None)
        loader = loader_of(self.recipe, self.videos, net, workers=self.workers, faults=faults, cache=self.cache)
        facts: dict[str, Any] = {"source": self.source, "classes": list(self.videos.classes)}
        if self.videos.multi_label:
            facts["multi_label"] = True
        if self.teacher is not None:
            facts["teacher"] = str(self.teacher.resolve())
        validation = None
        if self.recipe.validation_interval:
            meter = ValMeter(
                self.videos,
                self.recipe.clip(net.clip),
                self.compute,
                workers=self.workers,
                cache=self.cache,
                progress=self.progress,
            )
            validation = Validation(self.recipe, steps, meter)
        sliced = bool(self.config.get("inherit"))
        return TrainingTask(net, loader, self.recipe, self.compute, steps, facts, validation, sliced, self.opened)

    def _teacher(self, path: Path) -> Teacher:
        """Open the teacher. Raises ConfigError, DataError, RunError."""
        net = build(self.model, len(self.videos.classes))
        if net.mix is not None:
            raise ConfigError("a teacher sees what its pupil sees, and the module cutmix is inside; set cutmix=1.0")
        return open_teacher(path, self.videos, self.recipe, net.clip, str(self.compute.device))

    def _evaluate(self, trained: Trained, views: str = "center") -> Evaluation:
        return evaluate(trained, self.videos, views, workers=self.workers, cache=self.cache, progress=self.progress)

    def _say(self, run: RunDirectory) -> Callable[[str], None]:
        """Return a function that writes a line into the log and on the screen."""

        def say(line: str) -> None:
            if run.locked:
                run.log(line)
                (self.progress or Progress()).note(line)

        return say


def train_config(
    model: Model,
    videos: VideoSet,
    recipe: Recipe,
    weights: Path | None = None,
    new_head: bool = False,
    inherit: bool = False,
) -> dict[str, Any]:
    """Return the config.yaml of a training, with which a resumed one is compared; of data and weights the content."""
    data = {"name": videos.name, "fingerprint": videos.fingerprint}
    start: dict[str, Any] = {} if weights is None else {"weights": digest(weights)}
    if new_head:
        start["new_head"] = True
    if inherit:
        start["inherit"] = True
    return {"architecture": model.hash, "data": data, "recipe": recipe.recorded(), **start}


def read_finished(path: Path, steps: int, videos: VideoSet, views: Sequence[str] = ()) -> Evaluation | None:
    """Return the centre view's evaluation if the training in `path` is finished and evaluated, in `views` as well.

    These are evaluations of its best checkpoint, of a training of so many steps.
    """
    evaluations = [read_evaluation(path, name) for name in ("center", *views)]
    best = RunDirectory.open(path).best()
    finished = all(
        one
        and one.steps == steps
        and (one.finished or one.step == steps)
        and one.step == (best or one.step)
        and one.fingerprint == videos.fingerprint
        for one in evaluations
    )
    return evaluations[0] if finished else None


def loader_of(recipe: Recipe, videos: VideoSet, net: Network, **options: Any) -> ClipLoader:
    """Open the clips that a recipe trains a network on; `options` are ClipLoader's."""
    return ClipLoader(
        videos.train,
        videos.root,
        recipe.clip(net.clip),
        batch=recipe.batch,
        train=True,
        seed=recipe.seed,
        jitter=recipe.jitter,
        crops=recipe.crops,
        area=recipe.area,
        flip=videos.flip,
        auto_augment=recipe.augment == "auto",
        color_jitter=recipe.color_jitter,
        lighting=recipe.lighting,
        balance=recipe.balance,
        classes=len(videos.classes) if videos.multi_label else 0,
        shard=(distributed.rank(), distributed.size()),
        **options,
    )

"""The training of a model in a run directory, evaluated at its end: a function of its inputs.

runs/NAME/
  config.yaml  architecture.yaml (also that of a network by name)  log.txt  metrics.jsonl  tensorboard/  checkpoints/
  evaluation-center.json   of the centre view; `evaluate` adds a file for each kind of views
  faults.jsonl             videos that could not be read, if there were any
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from autovid import distributed
from autovid.data import ClipLoader, FaultLog, FrameCache, VideoSet
from autovid.fileio import digest
from autovid.kernels.compute import Compute
from autovid.models import Model, Network, NetworkSpec, build, load_weights
from autovid.models.weights import inherit_weights
from autovid.run import Progress, derive_seed, run_task, shared_run, write_atomic
from autovid.train.evaluate import Evaluation, evaluate, read_evaluation, split_of
from autovid.train.memory import step_memory
from autovid.train.recipe import Recipe
from autovid.train.task import TrainingTask, prepare
from autovid.train.trained import KIND, Trained


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
    views: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
    resume_command: str = "",
) -> Evaluation:
    """Train from scratch in the run directory `out`, or go on there, and evaluate on val: centre view, and `views`.

    With `weights`, a safetensors file for the very network, training starts from these instead; with `new_head` the
    classifier starts anew. With `inherit` the file is of a supernet, of which each layer takes the part that it used.

    A hand-designed network is built for the recipe's frames and crop, and both for the classes of `videos`.
    `source` is what `videos` was opened from, for those who open the run later; `compute` is made with the recipe's
    precision, and takes up the record of a resumed run. Finished work is not repeated.
    Workers (autovid.distributed) call it alike; the first writes, and all of them get the evaluation.
    Raises ConfigError, RunError, DataError, DivergedError, Interrupted.
    """
    for split in ("train", "val"):
        split_of(videos, split)
    recipe.check_length(recipe.steps(len(videos.train)))
    if isinstance(model, NetworkSpec):
        model = model.changed(classes=len(videos.classes), frames=recipe.frames, crop=recipe.crop)
    step_memory(
        model, recipe, len(videos.classes), distributed.size(), compute.precision.train in ("bf16", "fp16")
    ).check(compute.device)
    config = {**train_config(model, videos, recipe, weights, new_head, inherit), "cache": str(cache or "off")}
    with shared_run(out, config, kind=KIND, resume=resume) as run:
        if (finished := distributed.broadcast_from_rank0(lambda: read_finished(run.path, videos, views))) is not None:
            return finished
        if run.locked and not (run.path / "architecture.yaml").exists():
            write_atomic(run.path / "architecture.yaml", model.to_yaml())
        if run.locked:
            run.log(f"decoded frames in memory: {config['cache']}")
        task = _task(model, videos, recipe, run.path, compute, workers, cache, source, weights, new_head, inherit)
        with contextlib.closing(task):
            run_task(task, run, seed=recipe.seed, progress=progress, resume_command=resume_command)
        distributed.broadcast_(list(task.evaluated.buffers()))  # statistics that the workers did not share
        trained = Trained(
            run.path, model, task.evaluated, recipe, compute, videos.classes, source, task.steps, task.steps
        )
        evaluation = evaluate(trained, videos, workers=workers, cache=cache, progress=progress)
        for name in (name for name in views if name != evaluation.views):
            evaluate(trained, videos, name, workers=workers, cache=cache, progress=progress)
        if run.locked:
            run.log(f"top-1 {evaluation.top1:.2f} % of {evaluation.decoded} videos of val, centre view")
    return evaluation


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


def read_finished(path: Path, videos: VideoSet, views: Sequence[str] = ()) -> Evaluation | None:
    """Return the centre view's evaluation if the training in `path` is finished and evaluated, in `views` as well."""
    evaluations = [read_evaluation(path, name) for name in ("center", *views)]
    finished = all(one and one.step == one.steps and one.fingerprint == videos.fingerprint for one in evaluations)
    return evaluations[0] if finished else None


def _task(
    model: Model,
    videos: VideoSet,
    recipe: Recipe,
    path: Path,
    compute: Compute,
    workers: int,
    cache: FrameCache | None,
    source: str,
    weights: Path | None,
    new_head: bool,
    inherit: bool,
) -> TrainingTask:
    torch.manual_seed(derive_seed(recipe.seed, "weights", 0))
    net = build(model, len(videos.classes))
    if weights is not None:
        (inherit_weights if inherit else load_weights)(net, weights, new_head=new_head)
    net = prepare(net, recipe)
    faults = FaultLog(len(videos.train), path / "faults.jsonl" if path.is_dir() else None)
    loader = loader_of(recipe, videos, net, workers=workers, faults=faults, cache=cache)
    facts = {"source": source, "classes": list(videos.classes)}
    return TrainingTask(net, loader, recipe, compute, recipe.steps(len(videos.train)), facts)


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
        shard=(distributed.rank(), distributed.size()),
        **options,
    )

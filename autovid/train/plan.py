"""The plan of a training, before it begins: its steps, learning rate, cost and memory, and any obstacles.

Memory is counted without taking it. The network runs once on the meta device, which knows shapes alone, in training
mode; autograd says which tensors it keeps for the backward pass, and each piece of memory behind them counts once. To
that come weights, gradients and momentum (AdamW has two), and where asked for the average of the weights. Not counted
are the workspace of kernels, the reserve of the allocator, and CUDA itself, so a device has to have more. Counted twice
are maps that are copied only because shapes alone do not keep channels_last_3d through some functions: in TAM that is a
seventh of the whole.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.costs import Memory, Params, convention
from autovid.costs.count import Count, clip_seconds, count
from autovid.data import VideoSet
from autovid.data.views import views_of
from autovid.measure import StepMemory, gib
from autovid.models import Model, Network, NetworkSpec, build, build_network
from autovid.run.progress import long_duration
from autovid.space.schema import Reference
from autovid.train.evaluate import check_for_training
from autovid.train.experiment import Experiment
from autovid.train.recipe import Recipe, view_crop
from autovid.train.task import prepare

CLIPS = 8  # so that what does not grow with the clips, copies of weights, hardly counts


class TrainingMemory(NamedTuple):
    """Bytes in fp32 of a network and of one clip."""

    of_weights: int  # and statistics
    kept_per_clip: int  # by autograd

    def step(self, clips: int, recipe: Recipe, half: bool) -> int:
        """Return the bytes of a step with so many clips at once; half precision halves those that autograd keeps."""
        kept = self.kept_per_clip * clips // (2 if half else 1)
        copies = 3 + (recipe.ema is not None) + (recipe.optimizer == "adamw")
        return self.of_weights * copies + kept


def step_memory(model: Model, recipe: Recipe, classes: int, workers: int, half: bool) -> StepMemory:
    """Count a step as each of the `workers` takes it; `half`: in half precision."""
    clips = max(1, recipe.batch // workers // recipe.accumulate)
    if isinstance(model, NetworkSpec):
        net = build_network(model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop), "meta")
        memory = count_memory(net, recipe.clip(net.clip))
    else:
        reference = Reference(frames=recipe.frames, crop=recipe.crop, classes=classes, stride=recipe.stride)
        weights = 4 * Params().of(model, reference)
        memory = TrainingMemory(weights, Memory().of(model, reference))
    fixed = memory.step(0, recipe, half)
    return StepMemory(fixed, memory.kept_per_clip // (2 if half else 1), clips, recipe.batch)


def count_memory(net: Network, clip: Clip) -> TrainingMemory:
    """Count for clips of this size."""
    ghost = copy.deepcopy(net).to("meta").train()
    own = {id_of(tensor) for tensor in [*ghost.parameters(), *ghost.buffers()]}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no two pieces of memory have one id

    def record(tensor: Tensor) -> Tensor:
        if id_of(tensor) not in own and id_of(tensor) not in kept:
            kept[id_of(tensor)] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    for module in ghost.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(_channels_last)
    x = torch.empty(CLIPS, 3, clip.frames, clip.crop, clip.crop, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        ghost(x.contiguous(memory_format=torch.channels_last_3d))
    weights = sum(tensor.nbytes for tensor in [*ghost.parameters(), *ghost.buffers()])
    return TrainingMemory(weights, sum(kept.values()) // CLIPS)


def _channels_last(module: nn.Module, inputs: object, x: Tensor) -> Tensor:
    """Restore channels_last_3d, which shapes alone lose in a convolution; folding frames would then copy them."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def id_of(tensor: Tensor) -> int:
    """Return a number that is the same for tensors in the same memory."""
    return int(tensor.untyped_storage()._cdata)


WIDTH, HEIGHT = 60, 6  # of the plot, in characters
LEVELS = " ▁▂▃▄▅▆▇█"


class TrainingCost(NamedTuple):
    """The cost of a network at a recipe's clip."""

    cost: Count
    memory: TrainingMemory
    clip: str
    convention: str


def make_plan(model: Model, recipe: Recipe, experiment: Experiment, videos: VideoSet | None) -> str:
    """Write the plan of an experiment; without `videos` for the data set as the paper has it.

    Raises ConfigError, DataError.
    """
    if videos is not None:
        check_for_training(videos)
    train = experiment.dataset.train if videos is None else len(videos.train)
    classes = experiment.dataset.classes if videos is None else len(videos.classes)
    cost = training_cost(model, recipe, classes)
    steps = recipe.steps(train)
    recipe.check_length(steps)
    clips = recipe.batch // experiment.workers // recipe.accumulate
    half = recipe.precision in ("fp16", "bf16")
    memory = cost.memory.step(clips, recipe, half)
    kept = cost.memory.kept_per_clip / (2 if half else 1)
    lines = [
        experiment.about,
        f"network  {name_of(model)}",
        f"clips    {cost.clip}",
        f"cost     {cost.cost.macs / 1e9:.4g} GFLOPs a clip, {cost.cost.params / 1e6:.2f} M parameters",
        f"         {cost.convention}",
        f"data     {_data(experiment, videos)}",
        f"steps    {steps:,}: {recipe.length} of {train:,} video{'s' * (train != 1)}, {_clips(recipe)} a step",
        f"batch    {_batch(recipe, experiment.workers)}",
        f"memory   about {gib(round(memory))} a worker in {recipe.precision if half else 'fp32'}: weights, "
        f"gradients, momentum, {clips} x {kept / 2**20:.0f} MiB that autograd keeps",
        "         counted from shapes; workspace and the allocator's reserve come on top",
        f"start    {_start(experiment)}",
        f"views    {', '.join(_views(recipe, views) for views in experiment.views)}",
        f"val      {_validations(recipe)}",
        f"rate     {_schedule(recipe)}",
        *_multiples(recipe),
        *_extras(recipe),
        *plot(recipe, steps),
    ]
    return "\n".join(lines)


def estimate_time(
    trainings: Sequence[tuple[Model, Recipe]], videos: VideoSet, workers: int = 1, done: int = 0, times: int = 1
) -> str:
    """Say what trainings, each so many times, take on this CPU but for `done` steps, by a clip's step as measured."""
    if torch.cuda.is_available():
        return "time     not estimated on a GPU"
    seconds = [_seconds(model, recipe, videos, workers, done) for model, recipe in trainings]
    each = f" ({', '.join(map(long_duration, seconds))})" if len(seconds) > 1 else ""
    each += f" ({times} times {long_duration(sum(seconds))})" if times > 1 else ""
    total = long_duration(sum(seconds) * times)
    return f"time     about {total} on this CPU{each}, and the reading of videos: a clip's step was measured"


def _seconds(model: Model, recipe: Recipe, videos: VideoSet, workers: int, done: int) -> float:
    classes, steps = len(videos.classes), recipe.steps(len(videos.train)) - done
    if isinstance(model, NetworkSpec):
        net: Network = build_network(model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop))
    else:
        net = build(model, classes)
    return steps * recipe.batch / workers * clip_seconds(net, recipe.clip(net.clip))


def training_cost(model: Model, recipe: Recipe, classes: int) -> TrainingCost:
    """Count on the meta device. Raises ConfigError where the network cannot be trained by the recipe."""
    if isinstance(model, NetworkSpec):
        spec = model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop)
        net: Network = build_network(spec, "meta")
    else:
        net = build(model, classes).to("meta")
    prepare(net, recipe)
    clip = recipe.clip(net.clip)
    how = f"{clip.stride} frames apart" if clip.sampling == "dense" else "spread over the video"
    text = f"{clip.frames} frame{'s' * (clip.frames != 1)} of {clip.crop}x{clip.crop}, {how}; {_cut(recipe)}"
    return TrainingCost(count(net, clip), count_memory(net, clip), text, convention(Reference.of(clip, classes)))


def name_of(model: Model) -> str:
    """Name a model with its options."""
    if isinstance(model, NetworkSpec):
        options = [f"{key}={value}" for key, value in model.options.items()]
        modules = [" ".join([name, *(f"{k}={v}" for k, v in own.items())]) for name, own in model.modules.items()]
        return " + ".join([" ".join([model.network, *options]), *modules])
    return f"architecture {model.hash} of {model.space}"


def plot(recipe: Recipe, steps: int) -> list[str]:
    """Draw the learning rate over the steps, HEIGHT lines of characters and an axis in epochs."""
    ends = [column * steps // WIDTH for column in range(WIDTH + 1)]
    rates = [recipe.lr_at((a + max(a, b - 1)) // 2, steps) for a, b in pairwise(ends)]
    top = max(rates)
    lines = []
    for row in range(HEIGHT, 0, -1):
        fill = (round(8 * (rate / top * HEIGHT - row + 1)) for rate in rates)
        label = f"{top:.3g}" if row == HEIGHT else ""
        lines.append(f"{label:>9}│{''.join(LEVELS[min(8, max(0, level))] for level in fill)}")
    last = recipe.length
    return [*lines, f"{0:>9}└{'─' * WIDTH}", f"{'':9} 0{last:>{WIDTH - 1}}"]


def _cut(recipe: Recipe) -> str:
    if recipe.crops == "jitter":
        text = "short side {} to {} pixels, random crop".format(*recipe.jitter)
    elif recipe.crops == "area":
        text = "random crop of {:.0%} to {:.0%} of the picture".format(*recipe.area)
    elif recipe.crops == "pad":
        text = "4 pixels of black around it, random crop"
    else:
        text = "multi-scale crop" + " at a corner or in the centre" * (recipe.crops == "multi_scale_5")
    text += ", AutoAugment" if recipe.augment == "auto" else ""
    text += f", colour jitter {recipe.color_jitter:g}" if recipe.color_jitter else ""
    return text + (f", PCA lighting {recipe.lighting:g}" if recipe.lighting else "")


def _data(experiment: Experiment, videos: VideoSet | None) -> str:
    known = experiment.dataset
    if videos is None:
        return f"none given yet; {known}"
    classes, train = len(videos.classes), len(videos.train)
    text = f"{videos.name}: {classes} class{'es' * (classes != 1)}, {train:,} video{'s' * (train != 1)}"
    text += f", {len(videos.val):,} in val"
    text += ", held out of those to train on" if videos.held_out else ""
    same = known.classes in (0, classes)  # 0: no paper says anything
    return text if same else f"{text} ({known.name} has {known.classes} classes)"


def _clips(recipe: Recipe) -> str:
    return f"{recipe.batch} clip{'s' * (recipe.batch != 1)}"


def _batch(recipe: Recipe, workers: int) -> str:
    each = recipe.batch // workers
    text = _clips(recipe) + (f" = {workers} x {each}" if workers > 1 else " in one process")
    text += f", in {recipe.accumulate} parts of {each // recipe.accumulate}" if recipe.accumulate > 1 else ""
    return text + (f"; a norm sees {recipe.norm_clips(workers)} of them" if workers * recipe.accumulate > 1 else "")


def _start(experiment: Experiment) -> str:
    start = experiment.start
    if start is None:
        return "from scratch"
    head = "a new classifier" if start.new_head else "the classifier as well"
    return f"{start.about or 'weights'}, {head}; " + (f"from {start.file}" if start.file else "no file given")


def _views(recipe: Recipe, views: str) -> str:
    crop, number = view_crop(recipe.crop, views), views_of(views).total
    return f"{views} ({number} of {crop}x{crop})"


def _validations(recipe: Recipe) -> str:
    interval = recipe.validation_interval
    if not interval:
        return "measured at the end alone; the last checkpoint is evaluated"
    often = f"measured every {f'{interval:g} epochs' if interval != 1 else 'epoch'}, the best checkpoint is kept"
    return often + (f"; ends after {recipe.patience} without a better one" if recipe.patience else "")


def _schedule(recipe: Recipe) -> str:
    length = f"{recipe.warmup_steps:,} steps" if recipe.warmup_steps else f"{recipe.warmup:g} epochs"
    start = "" if recipe.warmup_start is None else f" from {recipe.lr * recipe.warmup_start:.3g}"
    warm = f"linear warm-up of {length}{start}, then " if recipe.warmup_steps or recipe.warmup else ""
    if recipe.schedule == "cosine":
        again = [f", anew after epoch {epoch:g}" for epoch in recipe.restarts]
        return f"{warm}half a cosine from {recipe.lr:g}{''.join(again)}"
    if recipe.schedule == "cosine_by_epoch":
        warm = warm.replace(", then ", ", times ")
        return f"{warm}half a cosine from {recipe.lr:g} over all epochs, one value an epoch"
    at = ", ".join(f"{epoch:g}" for epoch in recipe.milestones)
    return f"{warm}{recipe.lr:g}, times {recipe.factor:g} after epochs {at}"


def _extras(recipe: Recipe) -> list[str]:
    """Return a line about what the paper's recipe does not have, if there is any."""
    blends = [f"{name} {alpha:g}" for name, alpha in (("mixup", recipe.mixup), ("CutMix", recipe.cutmix)) if alpha]
    freeze = recipe.freeze
    parts = [
        "AdamW" * (recipe.optimizer == "adamw"),
        " or ".join(blends),
        f"labels smoothed by {recipe.label_smoothing:g}" * (recipe.label_smoothing > 0),
        f"weights averaged with decay {recipe.ema}" * (recipe.ema is not None),
        "every class drawn alike" * recipe.balance,
        f"{', '.join(freeze.layers)} at rest for {freeze.epochs:g} epochs" * bool(freeze.layers),
    ]
    text = ", ".join(filter(None, parts))
    return [f"learning {text}"] if text else []


def _multiples(recipe: Recipe) -> list[str]:
    """Return a line about learning rates other than the recipe's, if there are any."""
    multiples = msgspec.structs.asdict(recipe.lr_multiples)
    others = [f"{kind} {value:g} x" for kind, value in multiples.items() if value != 1]
    return [f"         {', '.join(others)} the rate"] if others else []

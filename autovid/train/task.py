"""Training of one network by a recipe, as a task of the run loop; a teacher may add to its loss.

Distillation: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, arXiv 1503.02531: the loss
is a weighted mean of the usual one and of the cross-entropy between the two softmaxes at a temperature, times its
square, so that gradients keep their size. Both see the very same clips, blended as the recipe says ("Knowledge
distillation: a good teacher is patient and consistent", Beyer et al., 2022, arXiv 2106.05237). Ours: where clips have
several classes, sigmoids stand for the softmax; the divergence from the teacher is taken, whose entropy is no part of
the gradient.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autovid import distributed
from autovid.blocks.elastic import ElasticBatchNorm
from autovid.data import Batch, ClipLoader
from autovid.errors import ConfigError, DivergedError
from autovid.kernels.compute import Compute
from autovid.layers.regularisers import Mixing
from autovid.layers.sync_batch import convert_sync_batch, variance_needed
from autovid.models import Network
from autovid.run import Task, TaskState
from autovid.train.accuracy import Validation
from autovid.train.optimizer import FrozenLayers, check_layers, check_parts, make_optimizer, set_rate
from autovid.train.recipe import Distillation, Recipe


class Teacher:
    """A trained network, in evaluation mode, that `settings` say how to learn from."""

    def __init__(self, net: Network, settings: Distillation) -> None:
        self._net, self._settings = net.eval().requires_grad_(False), settings

    def logits(self, x: Tensor) -> Tensor:
        """Return what it says of clips: (B, classes)."""
        with torch.no_grad():
            said: Tensor = self._net(x)
        return said.float()

    def loss(self, usual: Tensor, logits: Tensor, said: Tensor) -> Tensor:
        """Blend the usual loss with the divergence of `logits` from what the teacher said, both (B, classes)."""
        temperature, weight = self._settings.temperature, self._settings.weight
        soft, goal = logits.float() / temperature, said / temperature
        if self._net.multi_label:
            apart = F.binary_cross_entropy_with_logits(soft, goal.sigmoid())
            apart = apart - F.binary_cross_entropy_with_logits(goal, goal.sigmoid())
        else:
            apart = F.kl_div(soft.log_softmax(1), goal.log_softmax(1), reduction="batchmean", log_target=True)
        return (1 - weight) * usual + weight * temperature**2 * apart


CALIBRATION = 16  # batches of training clips that the statistics of norms are taken from anew
Mode = Literal["train", "forward"]


class TrainingTask(Task):
    """Training of `net` on the batches of `loader` in `steps` steps. `facts` go into every checkpoint's state.json.

    Workers (autovid.distributed) each take their share of the batch; gradients and figures are means over them.
    With `validation` val is measured now and then, behind a step. `sliced`: the weights are parts of a larger
    network's, whose statistics fit no part; norms that are to rest take theirs anew first. A `teacher` adds to
    the loss.
    A step raises DivergedError before the optimizer moves a weight if the loss is not finite, or the gradient.
    """

    def __init__(
        self,
        net: Network,
        loader: ClipLoader,
        recipe: Recipe,
        compute: Compute,
        steps: int,
        facts: dict[str, Any],
        validation: Validation | None = None,
        sliced: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        self.net, self.loader, self.recipe, self.compute = net.to(compute.device), loader, recipe, compute
        self.steps, self.facts, self.validation, self.sliced = steps, facts, validation, sliced
        self.teacher = teacher
        convert_sync_batch(self.net, norms=recipe.sync_norm)
        self.optimizer = make_optimizer(self.net, recipe)
        self.frozen = FrozenLayers(self.net, recipe.freeze, round(steps * recipe.freeze.epochs / recipe.epochs))
        self.average = _average(self.net, recipe.ema) if recipe.ema else None
        self.mixing = Mixing(recipe.mixup, recipe.cutmix) if recipe.mixup or recipe.cutmix else None
        self.scaler = self._new_scaler()
        self._stream: Iterator[Batch] | None = None
        self._status = ""

    def step(self, index: int) -> dict[str, float]:
        if index == 0 and self.sliced and self.recipe.freeze.layers:
            recalibrate(self.net, self.loader.batches(0, CALIBRATION), self.compute, "train")
        lr = self.recipe.lr_at(index, self.steps)
        set_rate(self.optimizer, lr)
        try:
            metrics = self._learn(index)
        except torch.OutOfMemoryError as error:
            message = f"{self.compute.device} has too little memory for {self.recipe.batch} clips a step"
            raise ConfigError(
                f"{message}; give a smaller --batch (the learning rate follows) and another -o"
            ) from error
        if self.average is not None:
            self.average.update_parameters(self.net)
        if self.recipe.precise_norm and index == self.steps - 1:
            batches = self.loader.batches(self.steps, self.steps + self.recipe.precise_norm)
            recalibrate(self.evaluated, batches, self.compute, "train")
        metrics["lr"] = lr
        if self.validation is not None and self.recipe.validates_after(index + 1, self.steps):
            metrics |= self.validation.run(self.evaluated, index + 1)
        self._show(index, lr)
        return metrics

    def _learn(self, index: int) -> dict[str, float]:
        """Run forward and backward of one batch, in parts if the recipe says so, and the optimizer's step."""
        x, y = self._batch(index)
        if self.mixing is not None:
            x, y = self.mixing(x, F.one_hot(y, self.net.classes).float() if y.dim() == 1 else y)
        self.net.train()
        self.frozen.prepare(index)
        self.net.begin_step(index / self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        fractions, figures = [], []
        parts = [*zip(x.chunk(self.recipe.accumulate), y.chunk(self.recipe.accumulate))]
        for number, (x_part, y_part) in enumerate(parts, 1):
            fractions.append(len(y_part) / len(y))
            with self.compute.autocast("train"), variance_needed():
                loss, logits = self.net.training_loss(x_part, y_part)
                if self.teacher is not None:
                    loss = self.teacher.loss(loss, logits, self.teacher.logits(x_part))
            right = _right(logits.detach(), y_part).float().mean()
            figures.append(torch.stack([loss.detach().float(), right]))
            last = number == len(parts)
            with distributed.averaged_gradients(self.net.parameters()) if last else contextlib.nullcontext():
                self.scaler.scale(loss * fractions[-1]).backward()  # type: ignore[no-untyped-call]
        losses, rights = zip(*torch.stack(figures).tolist())  # waits for the device once, with all of its work queued
        value, top1 = distributed.mean([_weighted(fractions, losses), 100 * _weighted(fractions, rights)])
        self._finite(value, "loss", index)
        return {"loss": value, "top1": top1, "grad_norm": self._move(index)}

    def _move(self, index: int) -> float:
        """Take the optimizer's step; return the norm of the gradient, as it was before it was clipped."""
        self.scaler.unscale_(self.optimizer)
        weights = [p for p in self.net.parameters() if p.grad is not None]
        total = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        norm = float(total)
        if not self.scaler.is_enabled() or self.scaler.get_scale() < 1:
            self._finite(norm, "gradient", index)  # else too large a scale for fp16: the scaler leaves this step out
        if self.recipe.max_norm is not None:
            nn.utils.clip_grads_with_norm_(weights, self.recipe.max_norm, total)
        for weight in weights:  # fused SGD fails where some weights have momentum and others, at rest so far, have none
            if self.recipe.optimizer == "sgd" and "momentum_buffer" not in self.optimizer.state[weight]:
                self.optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    @property
    def evaluated(self) -> Network:
        """The network to evaluate: the average, if there is one."""
        return self.net if self.average is None else cast("Network", self.average.module)

    def _batch(self, index: int) -> tuple[Tensor, Tensor]:
        if self._stream is None:
            self._stream = self.loader.batches(index, self.steps)
        batch = next(self._stream)
        device = self.compute.device
        return batch.x.to(device, non_blocking=True), batch.y.to(device, non_blocking=True)

    def _finite(self, value: float, what: str, index: int) -> float:
        if not math.isfinite(value):
            raise DivergedError(
                f"the {what} is {value} in step {index + 1} of {self.steps}; no weight was changed in this step. "
                "Start again with a smaller --lr or a longer --warmup"
            )
        return value

    def _show(self, index: int, lr: float) -> None:
        epoch = (index + 1) / self.steps * self.recipe.epochs
        measured = self.validation.text() if self.validation else ""
        texts = [f"epoch {epoch:.1f} of {self.recipe.epochs:g}", f"lr {lr:.3g}", measured]
        self._status = " · ".join(filter(None, texts))

    def status(self) -> str:
        return self._status

    def best(self) -> int | None:
        return self.validation.best.step if self.validation and self.validation.best else None

    def ended(self) -> bool:
        return self.validation is not None and self.validation.ended()

    def notices(self) -> list[str]:
        return self.validation.notices() if self.validation else []

    def state(self) -> TaskState:
        measured = {"validation": self.validation.state()} if self.validation else {}
        optim: dict[str, Any] = {self.recipe.optimizer: self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        if self.average is not None:
            optim |= {"weights": self.net.state_dict(), "averaged": int(self.average.n_averaged)}
        return TaskState(
            model=dict(self.evaluated.state_dict()),
            optim=optim,
            info={**self.facts, "steps": self.steps, "compute": self.compute.record(), **measured},
        )

    def load(self, state: TaskState) -> None:
        self.compute.restore(state.info["compute"])
        self.net.load_state_dict(state.model if self.average is None else state.optim["weights"])
        if self.average is not None:
            self.average.module.load_state_dict(state.model)
            self.average.n_averaged.fill_(state.optim["averaged"])
        self.optimizer.load_state_dict(state.optim[self.recipe.optimizer])
        self.scaler = self._new_scaler()  # the run may have recorded another precision
        self.scaler.load_state_dict(state.optim["scaler"])
        if self.validation is not None and "validation" in state.info:  # older trainings were not validated
            self.validation.load(state.info["validation"], state.info["steps"])
        self._stream = None

    def _new_scaler(self) -> torch.amp.GradScaler:
        """Make a scaler of the loss, which does nothing unless training is in fp16."""
        enabled = self.compute.precision.train == "fp16"
        return torch.amp.GradScaler(self.compute.device.type, enabled=enabled)

    def close(self) -> None:
        """End the workers of the loaders."""
        self._stream = None
        self.loader.close()
        if self.validation is not None:
            self.validation.close()


def recalibrate(net: Network, batches: Iterable[Batch], compute: Compute, mode: Mode) -> None:
    """Take means and variances of batch norms anew, with the weights as they are: averages over `batches`.

    Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, arXiv:2105.07576, and torch's swa_utils.update_bn.
    """
    norms = [module for module in net.train().modules() if isinstance(module, ElasticBatchNorm | _BatchNorm)]
    usual = [norm.momentum for norm in norms]
    with torch.no_grad(), compute.autocast(mode):
        for number, batch in enumerate(batches, 1):
            for norm in norms:
                norm.momentum = 1 / number
            net(batch.x.to(compute.device, non_blocking=True))
    for norm, momentum in zip(norms, usual):
        norm.momentum = momentum


def _weighted(fractions: Sequence[float], values: Sequence[float]) -> float:
    return sum(fraction * value for fraction, value in zip(fractions, values))


def _right(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B,): whether the likeliest class is that of the clip, or one of its largest in targets (B, classes)."""
    guess = logits.argmax(1)
    return guess == y if y.dim() == 1 else y.gather(1, guess[:, None])[:, 0] == y.amax(1)


def _average(net: Network, decay: float) -> AveragedModel:
    """Average weights and statistics of `net` from now on.

    After n steps the decay is at most (1 + n) / (10 + n), as TensorFlow and timm have it: else a short training would
    be judged by the weights that it began with.
    """

    def average(averages: Any, current: Any, number: Tensor | int) -> None:
        steps = int(number)
        now = get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))  # type: ignore[no-untyped-call]
        now(averages, current, number)

    return AveragedModel(net, multi_avg_fn=average, use_buffers=True)


def prepare(net: Network, recipe: Recipe, multi_label: bool = False) -> Network:
    """Change the network as the recipe asks, and for videos of several classes. Raises ConfigError where it cannot."""
    own_loss = type(net).training_loss is not Network.training_loss
    if recipe.label_smoothing and own_loss:
        raise ConfigError("label_smoothing: this network has a loss of its own; leave it out of the recipe")
    if multi_label and own_loss:
        raise ConfigError("these videos have several classes, and this network has a loss for one; take another")
    if recipe.mixup or recipe.cutmix:
        if own_loss:
            raise ConfigError("mixup and cutmix: this network has a loss of its own; leave them out of the recipe")
        if net.mix is not None:
            raise ConfigError("mixup and cutmix: the module cutmix blends clips already; leave one of them out")
    net.label_smoothing, net.multi_label = recipe.label_smoothing, multi_label
    check_parts(net, recipe)
    check_layers(net, recipe.freeze)
    odd = [
        type(m).__name__
        for m in net.modules()
        if hasattr(m, "running_var") and not isinstance(m, ElasticBatchNorm | _BatchNorm)
    ]
    if recipe.precise_norm and odd:
        raise ConfigError(f"precise_norm: this network has other norms than batch norm ({odd[0]}); leave it out")
    return net

"""The search as a task for the loop: parts one after the other, each a supernet, a prior and PARSEC's step.

One step draws K architectures, moves the weights on one half of the data and, after the warm-up, the prior on the
other half. A graph of one architecture at a time is in memory, whatever K is.

Workers (autovid.distributed) draw the same K, each sees its share of the batch; log-likelihoods are averaged over them
before they weigh anything, and so are the gradients of the paths that were drawn.

The paper prints the optimizers, rates, momentum and weight decay 5e-5. Ours, where it is silent: the decay is on all
weights of the supernet, batch norms among them (in training it is not on those, see autovid/train/recipe.py); a
half-period cosine in each part; uniform draws during the warm-up. How weights begin: see autovid/models/builder.py.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autovid import distributed
from autovid.clip import Clip
from autovid.costs import LatencyRange
from autovid.data import Batch, ClipLoader, FaultLog, VideoSet, halves
from autovid.errors import CostRangeError, DivergedError
from autovid.kernels.compute import Compute
from autovid.layers.sync_batch import share_batches, variance_needed
from autovid.models import SearchNetwork, build_space, inherit
from autovid.run import Task, TaskState, step_generator
from autovid.search.chance import Chance
from autovid.search.feasibility import choose, decided
from autovid.search.latency import LatencyTerm, choose_timely, latency_of_parts, probability_within, to_draw_from
from autovid.search.monitor import Watch
from autovid.search.objective import Beta, StreamingSoftmax, cost_shares, importance, sample_count, surrogate
from autovid.search.part_targets import Target
from autovid.search.prior import Prior
from autovid.search.settings import SearchSettings
from autovid.solver import Limit, most_probable, sample_within
from autovid.space import Architecture, SearchSpace
from autovid.space.schema import Value

RECORDS = 100  # of every candidate's probability, a part
DETAIL_EVERY = 10  # steps between two records of every single decision
LOG_BINS = 2048  # resolution of P(in range) in the log; reports use the finest


class SearchTask(Task):
    """Searches a space on videos. `compute` says on what device and in which precision."""

    def __init__(
        self,
        space: SearchSpace,
        videos: VideoSet,
        settings: SearchSettings,
        compute: Compute,
        *,
        latency: LatencyRange | None = None,
        workers: int = 0,
        faults: FaultLog | None = None,
    ) -> None:
        self.space, self.settings, self.compute, self.workers = space, settings, compute, workers
        self.target = Target.parse(settings.flops, space)
        self.latency = latency
        self.latencies = latency_of_parts(space, self.target, latency) if latency else []
        self.steps = settings.steps
        self.classes = len(videos.classes)
        self.chosen: dict[str, Value] = {}
        self.learned: dict[str, Tensor] = {}  # alpha of the parts that are done
        self.beta = Beta(settings.beta)
        self.watch = Watch()
        clip = Clip(settings.frames, settings.crop, settings.stride)
        learn, choice = halves(videos.train, settings.seed)
        self.chance = Chance.of((video.label for video in choice), self.classes)
        self.loaders = [
            ClipLoader(
                half,
                videos.root,
                clip,
                batch=settings.batch,
                train=True,
                seed=settings.seed + which,
                workers=workers,
                jitter=settings.jitter,
                flip=videos.flip,
                faults=faults,
                shard=(distributed.rank(), distributed.size()),
            )
            for which, half in enumerate((learn, choice))
        ]
        self._enter(0)

    # -- parts

    def _enter(self, number: int, source: SearchNetwork | None = None) -> None:
        """Sets part `number` up: its supernet, which inherits the weights of `source`, a new prior, new optimizers."""
        self.number, part = number, self.settings.parts[number]
        self.streams: list[tuple[int, Iterator[Batch]] | None] = [None, None]
        self.there = self.space.part_space(number, self.chosen)
        self.range = self.target.of(self.space, number)
        self.table = self.there.cost_table()
        beta, latency = self.settings.beta, self.latency
        self.timed = LatencyTerm(self.there, latency, self.latencies[number], beta) if latency else None
        self.limits = [Limit(self.table, self.range)] if self.range else []
        self.limits += [self.timed.limit] if self.timed else []
        self.within = to_draw_from(self.limits) if self.settings.in_range else []
        torch.manual_seed(self.settings.seed + number)  # the weights are drawn from the global generator
        net = build_space(self.there, self.classes)
        if source is not None:
            inherit(net, source.cpu())
        self.net = net.to(self.compute.device)
        share_batches(self.net)
        self.prior = Prior(self.there, self.space.parts[number])
        momentum, decay = self.settings.momentum, self.settings.weight_decay
        self.sgd = torch.optim.SGD(self.net.parameters(), part.lr, momentum=momentum, weight_decay=decay)
        self.adam = torch.optim.Adam(self.prior.parameters(), part.arch_lr) if self.prior.open else None
        self.beta = Beta(self.settings.beta)

    def _leave(self) -> None:
        """Closes the part: what it has chosen is fixed, what it has learned is kept."""
        arch = self._choose()
        self.chosen = decided(self.space, self.number, arch)
        self.learned |= self.prior.tensors()

    def _choose(self) -> Architecture:
        logp = self.prior.log_probs()
        if self.latency is not None:
            left = self.space.fix(self.chosen)
            timely = choose_timely(left, self.number, self.there, logp, self.target, self.latency, self.limits)
            if timely is not None:
                return timely
        try:
            arch, _ = choose(self.space, self.number, self.there, logp, self.target)
        except CostRangeError:  # derivation opens everything again if the later parts cannot make up for it
            ends = self.range or (self.table.smallest()[0], self.table.largest()[0])
            arch = self.there.architecture(most_probable(self.table, logp, *ends).choices)
        return arch

    # -- one step

    def step(self, index: int) -> dict[str, float]:
        number, local = self.settings.locate(index)
        if number != self.number:
            self._leave()
            self._enter(number, self.net)
        part = self.settings.parts[number]
        warm = local < part.warmup
        lr = part.lr * 0.5 * (1 + math.cos(math.pi * local / part.steps))  # half-period cosine in each part (ours)
        archs_KD = self._draw(index, warm)
        metrics = {"part": float(number), "lr": lr, "samples": float(len(archs_KD)), "warmup": float(warm)}
        with variance_needed():
            metrics |= self._learn_weights(self._batch(0, index), archs_KD, lr)
            if not warm and self.adam is not None:
                metrics |= self._learn_prior(self._batch(1, index), archs_KD)
        metrics |= self._account()
        if local % DETAIL_EVERY == 0 or local == part.steps - 1:
            metrics |= self._decisions()
        self.watch.see(self, local, metrics)
        return metrics

    def _draw(self, index: int, warm: bool) -> Tensor:
        """K architectures (K, D): uniform during warm-up, then from the prior, conditioned on the ranges if asked."""
        settings = self.settings
        entropy = self.prior.uniform_entropy() if warm else self.prior.entropy()
        k = sample_count(settings.samples, settings.most_samples, entropy, self.prior.uniform_entropy())
        generator = step_generator(settings.seed, "architectures", index)
        if not self.within:
            return self.prior.sample(k, generator, uniform=warm)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        logp = [np.full(n, -np.log(n)) for n in self.there.sizes] if warm else self.prior.log_probs()
        return torch.from_numpy(sample_within(self.within, logp, k, rng))

    def _batch(self, which: int, index: int) -> tuple[Tensor, Tensor]:
        held = self.streams[which]
        if held is None or held[0] != index:
            last = self.settings.end(self.settings.locate(index)[0])
            held = (index, self.loaders[which].batches(index, last))
        batch = next(held[1])
        self.streams[which] = (index + 1, held[1])
        return batch.x.to(self.compute.device), batch.y.to(self.compute.device)

    def _learn_weights(self, batch: tuple[Tensor, Tensor], archs_KD: Tensor, lr: float) -> dict[str, float]:
        """SGD on -sum_k m_k log p(y | A_k): one forward and one backward each, weighted as they come."""
        self.net.train()
        self.sgd.zero_grad(set_to_none=True)
        weights, losses = StreamingSoftmax(), []
        for arch in self._architectures(archs_KD):
            loss = self._loss(batch, arch, "train")
            losses.append(self._finite(distributed.mean([float(loss.detach())])[0]))
            weight, shrink = weights.weigh(-losses[-1] * self._scale(batch))
            self._scale_gradients(shrink)
            torch.autograd.backward(loss * weight)
        self._scale_gradients(1.0 / weights.total)
        distributed.average_gradients(self.net.parameters())
        for group in self.sgd.param_groups:
            group["lr"] = lr
        self.sgd.step()
        return {"loss": float(np.mean(losses))}

    def _learn_prior(self, batch: tuple[Tensor, Tensor], archs_KD: Tensor) -> dict[str, float]:
        """Adam on PARSEC's surrogate: forward passes alone, on the other half of the data."""
        assert self.adam is not None
        with torch.no_grad(), self.net.scoring():
            losses = [float(self._loss(batch, arch, "forward")) for arch in self._architectures(archs_KD)]
        losses = [self._finite(loss) for loss in distributed.mean(losses)]
        loglik_K = -torch.tensor(losses, dtype=torch.float64) * self._scale(batch)
        aim = self.range.middle() if self.beta.auto and self.range else self.range
        n_K = cost_shares(self.table.macs(archs_KD.numpy()), aim)
        conditioned = bool(self.within)
        self.adam.zero_grad()
        weights = importance(loglik_K)
        logprob_K = self.prior.log_prob(archs_KD)
        loss = surrogate(logprob_K, weights, n_K, self.beta.value, conditioned, self.beta.auto)
        if self.timed is not None:
            loss = loss + self.timed.loss(logprob_K, archs_KD, conditioned)
        torch.autograd.backward(loss)
        self.adam.step()
        distributed.broadcast_(list(self.prior.parameters()))  # other processors may round otherwise
        self.beta.update(self._expected(), aim)
        if self.timed is not None:
            self.timed.update(self.prior.log_probs())
        return {"held_out_loss": float(np.mean(losses))}

    def _loss(self, batch: tuple[Tensor, Tensor], arch: Architecture, kind: str) -> Tensor:
        x, y = batch
        with self._autocast(kind):
            logits = self.net(x, arch)
        return F.cross_entropy(logits.float(), y)

    def _autocast(self, kind: str) -> AbstractContextManager[Any]:
        return self.compute.autocast(kind)

    def _scale(self, batch: tuple[Tensor, Tensor]) -> float:
        """From the mean log-likelihood of the batch to the one that counts: `mean`, or the literal `sum`."""
        return 1.0 if self.settings.likelihood == "mean" else float(len(batch[1]) * distributed.size())

    def _scale_gradients(self, factor: float) -> None:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        if factor != 1.0 and gradients:
            torch._foreach_mul_(gradients, factor)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss of an architecture is {loss} in part {self.settings.parts[self.number].name}; nothing was "
                "changed in this step: go on from the last checkpoint with a smaller --lr"
            )
        return loss

    def _architectures(self, archs_KD: Tensor) -> Iterator[Architecture]:
        return (self.there.architecture(row) for row in archs_KD.numpy())

    def _expected(self) -> float:
        return self.table.expected([np.exp(logp) for logp in self.prior.log_probs()])

    def _account(self) -> dict[str, float]:
        found = {
            "expected_gflops": self._expected() / 1e9,
            "entropy": self.prior.entropy(),
            "beta": self.beta.value,
            "top_gflops": int(self.table.macs(np.array([self.prior.most_probable()]))[0]) / 1e9,
        }
        if self.limits:
            found["p_in_range"] = probability_within(self.limits, self.prior.log_probs(), LOG_BINS)
        if self.timed is not None:
            found |= self.timed.metrics(self.prior.log_probs())
        return found

    def _decisions(self) -> dict[str, float]:
        """Of every open decision: its entropy, the number (from 0) of its most probable candidate, and how probable."""
        found = {f"entropy/{name}": entropy for name, entropy in self.prior.entropies().items()}
        logps = self.prior.log_probs()
        for d in self.prior.open:
            logp = logps[d]
            found[f"top/{self.prior.names[d]}"] = float(np.argmax(logp))
            found[f"top_probability/{self.prior.names[d]}"] = float(np.exp(logp.max()))
        return found

    # -- what the loop asks for

    def state(self) -> TaskState:
        return TaskState(
            model=dict(self.net.state_dict()),
            optim={"sgd": self.sgd.state_dict(), "adam": self.adam.state_dict() if self.adam else {}},
            search={**self.learned, **self.prior.tensors()},
            info={
                "part": self.number,
                "chosen": self.chosen,
                "learned": sorted(self.learned),
                "beta": self.beta.value,
                "watch": self.watch.state(),
                "compute": self.compute.record(),
                "chance": list(self.chance),
                **({"latency_beta": self.timed.beta.value} if self.timed else {}),
            },
        )

    def load(self, state: TaskState) -> None:
        self.chosen = dict(state.info["chosen"])
        self.compute.restore(state.info["compute"])
        self._enter(state.info["part"])
        self.learned = {name: state.search[name] for name in state.info["learned"]}
        self.net.load_state_dict(state.model)
        self.prior.take(state.search)
        self.sgd.load_state_dict(state.optim["sgd"])
        if self.adam:
            self.adam.load_state_dict(state.optim["adam"])
        self.beta.value = state.info["beta"]
        if self.timed is not None:
            self.timed.beta.value = state.info["latency_beta"]
        self.watch.restore(state.info["watch"])

    def milestone(self, done: int) -> bool:
        return any(done == self.settings.end(number) for number in range(len(self.settings.parts)))

    def status(self) -> str:
        return self.watch.status(self)

    def notices(self) -> list[str]:
        return self.watch.take_notices()

    def probabilities(self, index: int) -> dict[str, list[float]]:
        """Of every open decision the probability of each candidate: some hundred times a part, and at its end."""
        number, local = self.settings.locate(index)
        steps = self.settings.parts[number].steps
        if local % max(1, steps // RECORDS) and local != steps - 1:
            return {}
        logps = self.prior.log_probs()
        return {self.prior.names[d]: np.exp(logps[d]).round(5).tolist() for d in self.prior.open}

    def histograms(self) -> dict[str, Tensor]:
        return {f"alpha/{name}": alpha for name, alpha in self.prior.tensors().items()}

    def images(self) -> dict[str, np.ndarray]:
        from autovid.search.picture import alpha_image

        return {"alpha": alpha_image(self.there, self.prior)}

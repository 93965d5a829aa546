"""The supernet that a part of a search has left, and how good it takes architectures to be.

A search in parts has several: each part's, kept as it was at the part's end, with what earlier parts chose fixed in it
and what later ones decide left out ("skip", or streams that are not there). The weights of one supernet can only speak
for the architectures of its own part, so these are what is ranked: the very networks are trained from scratch.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from autovid.blocks.elastic import ElasticBatchNorm
from autovid.clip import Clip
from autovid.costs import LatencyRange
from autovid.data import ClipLoader, VideoSet
from autovid.errors import ConfigError, RunError
from autovid.kernels.compute import Compute
from autovid.models import SearchNetwork, build_space, inherit
from autovid.run import RunDirectory
from autovid.search import Searched, read_search
from autovid.search.derive import limits_of
from autovid.search.latency import latencies_of, to_draw_from
from autovid.solver import CostRange
from autovid.space import Architecture, SearchSpace
from autovid.space.decisions import is_searched_in
from autovid.train.evaluate import evaluate_network

CALIBRATION = 16  # batches of training clips that the statistics of norms are taken from anew


@dataclass(frozen=True)
class Supernet:
    """Of part `number`: its space, its ranges of FLOPs and of latency, and its weights at the part's end."""

    searched: Searched
    number: int
    space: SearchSpace
    range: CostRange | None
    net: SearchNetwork
    fingerprint: str  # of the data that it has learned from
    latency: LatencyRange | None = None

    @property
    def part(self) -> str:
        return self.searched.space.parts[self.number].name

    def accuracy(self, arch: Architecture, videos: VideoSet, compute: Compute, calibrated: bool) -> float:
        """Top-1 on val, centre view, in percent, of an architecture with the supernet's weights.

        `calibrated`: its norms' statistics are its own, taken anew on training clips; else the supernet's, which are
        averages over the architectures that were drawn.
        """
        net = build_space(arch.as_space(), self.net.classes)
        inherit(net, self.net)
        net = net.to(compute.device)
        settings = self.searched.settings
        clip = Clip(settings.frames, settings.crop, settings.stride)
        if calibrated:
            self._calibrate(net, clip, videos, compute)
        return evaluate_network(net, clip, videos.val, videos.root, "center", compute).top1

    def _calibrate(self, net: SearchNetwork, clip: Clip, videos: VideoSet, compute: Compute) -> None:
        settings = self.searched.settings
        loader = ClipLoader(
            videos.train, videos.root, clip, batch=settings.batch, train=True, seed=settings.seed,
            jitter=settings.jitter, flip=videos.flip,
        )  # fmt: skip
        norms = [module for module in net.modules() if isinstance(module, ElasticBatchNorm | _BatchNorm)]
        usual = [norm.momentum for norm in norms]
        net.train()
        with torch.no_grad(), compute.autocast("forward"):
            for count, batch in enumerate(loader.batches(0, CALIBRATION), 1):
                for norm in norms:
                    norm.momentum = 1 / count  # the mean over the batches
                net(batch.x.to(compute.device))
        for norm, momentum in zip(norms, usual):
            norm.momentum = momentum
        loader.close()


def open_supernet(run: Path, part: str | None = None) -> Supernet:
    """The supernet of a part, by default of the one that has decided the most. Raises ConfigError, RunError."""
    searched = read_search(run)
    space, directory = searched.space, RunDirectory.open(run)
    names = [p.name for p in space.parts]
    if part is not None and part not in names:
        raise ConfigError(f"--part {part}: no part is called so; there are {', '.join(names)}")
    decided = [sum(is_searched_in(p, decision.name) for decision in space.decisions) for p in space.parts]
    number = decided.index(max(decided)) if part is None else names.index(part)
    end = searched.settings.end(number)
    if end not in directory.steps():
        raise RunError(f"{run} has not come to the end of part {names[number]} (step {end}); go on with its search")
    state = directory.load(end).state
    there = space.part_space(number, state.info["chosen"])
    classes = int(state.model["sites.classifier.output.weight"].shape[0])
    net = build_space(there, classes)
    net.load_state_dict(state.model)
    fingerprint = str(directory.config["data_fingerprint"])
    flops = searched.target.of(space, number)
    return Supernet(searched, number, there, flops, net, fingerprint, _latency(searched, number, there, flops))


def _latency(searched: Searched, number: int, there: SearchSpace, flops: CostRange | None) -> LatencyRange | None:
    """The part's range of latency, unless nothing has both that and its range of FLOPs."""
    if searched.latency is None:
        return None
    found = LatencyRange(searched.latency.file, latencies_of(searched)[number])
    limits = limits_of(there, there.cost_table(), flops, found)
    return found if to_draw_from(limits) == limits else None

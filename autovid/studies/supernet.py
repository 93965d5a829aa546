"""The supernet of a part of a search, and its accuracy with the weights of an architecture.

A search in parts has several: each part's, kept as it was at the part's end, with what earlier parts chose fixed in it
and what later ones decide left out ("skip", or streams that are not there). The weights of one supernet can only speak
for the architectures of its own part, so these are what is ranked: the very networks are trained from scratch.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from autovid.clip import Clip
from autovid.data import ClipLoader, FrameCache, VideoSet
from autovid.errors import ConfigError, RunError
from autovid.kernels.compute import Compute
from autovid.models import SearchNetwork, build_space, inherit
from autovid.run import RunDirectory
from autovid.search import Searched, read_search
from autovid.search.constraints import PartConstraint, drawable, part_constraints
from autovid.space import Architecture, SearchSpace
from autovid.space.decisions import is_searched_in
from autovid.train.evaluate import evaluate_network
from autovid.train.task import recalibrate

CALIBRATION = 16  # batches of training clips that the statistics of norms are taken from anew


@dataclass(frozen=True)
class Supernet:
    """The supernet of part `number`: its space, constraints (those that can be met together) and final weights."""

    searched: Searched
    number: int
    space: SearchSpace
    constraints: list[PartConstraint]
    net: SearchNetwork
    fingerprint: str  # of its training data

    @property
    def part(self) -> str:
        """The name of the part."""
        return self.searched.space.parts[self.number].name

    def accuracy(
        self,
        arch: Architecture,
        videos: VideoSet,
        compute: Compute,
        calibrated: bool,
        cache: FrameCache | None = None,
    ) -> float:
        """Return top-1 on val, centre view, in percent, of an architecture with the supernet's weights.

        `calibrated`: its norms' statistics are its own, taken anew on training clips; else the supernet's, which are
        averages over the architectures that were drawn.
        """
        net = build_space(arch.as_space(), self.net.classes)
        inherit(net, self.net)
        net = net.to(compute.device)
        settings = self.searched.settings
        clip = Clip(settings.frames, settings.crop, settings.stride)
        if calibrated:
            self._calibrate(net, clip, videos, compute, cache)
        return evaluate_network(net, clip, videos.val, videos.root, "center", compute, cache=cache).top1

    def _calibrate(
        self, net: SearchNetwork, clip: Clip, videos: VideoSet, compute: Compute, cache: FrameCache | None
    ) -> None:
        settings = self.searched.settings
        loader = ClipLoader(
            videos.train, videos.root, clip, batch=settings.batch, train=True, seed=settings.seed,
            jitter=settings.jitter, flip=videos.flip, cache=cache,
        )  # fmt: skip
        with contextlib.closing(loader):
            recalibrate(net, loader.batches(0, CALIBRATION), compute, "forward")


def open_supernet(run: Path, part: str | None = None) -> Supernet:
    """Open the supernet of a part, by default of the one with the most decisions. Raises ConfigError, RunError."""
    searched = read_search(run)
    space, directory = searched.space, RunDirectory.open(run)
    names = [p.name for p in space.parts]
    if part is not None and part not in names:
        raise ConfigError(f"--part {part}: there is no such part; give one of {', '.join(names)}")
    decided = [sum(is_searched_in(p, decision.name) for decision in space.decisions) for p in space.parts]
    number = decided.index(max(decided)) if part is None else names.index(part)
    end = searched.settings.end(number)
    if end not in directory.steps():
        raise RunError(f"{run} has not come to the end of part {names[number]} (step {end}); go on with its search")
    state = directory.load(end).state
    part_space = space.part_space(number, state.info["chosen"])
    classes = int(state.model["sites.classifier.output.weight"].shape[0])
    net = build_space(part_space, classes)
    net.load_state_dict(state.model)
    fingerprint = str(directory.config["data_fingerprint"])
    constraints = drawable(part_constraints(searched.constraints, number, space, part_space))
    return Supernet(searched, number, part_space, constraints, net, fingerprint)

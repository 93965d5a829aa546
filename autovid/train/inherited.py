"""The weights of a search's supernet, for its architectures: to evaluate and export them, and to train on from.

Each layer of an architecture has the part that it used in the supernet. The statistics of norms there are averages over
all architectures that were drawn, so an architecture takes its own from training clips (`calibrate`).
"""

import contextlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autovid.clip import Clip
from autovid.data import ClipLoader, FrameCache, VideoSet, open_videos
from autovid.data.remote import is_address
from autovid.errors import ConfigError, DataError, RunError
from autovid.kernels.compute import Compute
from autovid.models import Model, SearchNetwork, build_space, inherit
from autovid.run import RunDirectory
from autovid.search import Searched, SearchSettings, read_search
from autovid.space import Architecture, SearchSpace, load_space
from autovid.train.task import CALIBRATION, recalibrate

SEARCH = "search"  # the kind of such runs


@dataclass(frozen=True)
class SupernetWeights:
    """The supernet at the last checkpoint of a search.

    `classes` are empty, and `source` is, where the run is of a version that did not record them.
    """

    path: Path
    searched: Searched
    net: SearchNetwork
    classes: tuple[str, ...]
    source: str
    config: dict[str, Any]
    record: dict[str, Any]  # of what the search computed with

    @property
    def clip(self) -> Clip:
        """The clip that it has learned from."""
        return clip_of(self.searched.settings)

    @property
    def by_file(self) -> bool:
        """True if the parts of a file were held out together, as no search of before did, nor records that it did."""
        return "held_out" in self.config

    def network(self, arch: Architecture) -> SearchNetwork:
        """Build an architecture of the space with its part of the weights."""
        torch.manual_seed(0)
        net = build_space(arch.as_space(), self.net.classes)
        inherit(net, self.net)
        return net

    def open_videos(self, data: str | None = None) -> VideoSet:
        """Open `data`, or what the search has learned from.

        Raises DataError where that is not there any more, or has other classes.
        """
        source = data or self.source
        if not source or not (source == "synthetic" or is_address(source) or Path(source).exists()):
            where = f"at {source} any more" if source else "recorded"
            raise DataError(
                f"{self.path}: the videos of this search are not {where}, and the supernet's weights need some of them "
                "for the statistics of norms; put them back (evaluate and derive take them with --data)"
            )
        videos = open_videos(source, seed=self.searched.settings.seed)
        known = self.classes or (videos.classes if len(videos.classes) == self.net.classes else ())
        check_classes(videos, known, self.path)
        return videos


def clip_of(settings: SearchSettings) -> Clip:
    """Return the clip of a search."""
    return Clip(settings.frames, settings.crop, settings.stride)


def has_supernet(path: Path) -> bool:
    """Say whether a directory is the run of a search whose architectures a supernet scored. Raises RunError."""
    run = RunDirectory.open(path)
    return run.kind == SEARCH and run.config.get("settings", {}).get("score", "supernet") == "supernet"


def check_inheritable(what: str | Path, model: Model) -> None:
    """Raise ConfigError where `what` is not the run of a search whose supernet has weights for `model`."""
    if not Path(what).is_dir() or not has_supernet(Path(what)):
        raise ConfigError(
            f"--inherit: {what} is not the run of a search with a supernet, whose weights a training could start from; "
            "give such a run, or leave --inherit out"
        )
    assert isinstance(model, Architecture)
    check_member(model, load_space(Path(what) / "space.yaml"), Path(what))


def check_member(arch: Architecture, space: SearchSpace, path: Path) -> None:
    """Raise ConfigError where the architecture of the search in `path` is not of its space, as after --scale."""
    if arch.network != space.network:
        raise ConfigError(
            f"{path / 'architecture.yaml'} is not an architecture of the space that was searched; autovid derive "
            f"{shlex.quote(str(path))} writes one"
        )
    space.index([arch])


def other_classes(path: Path, videos: VideoSet) -> str:
    """Say why a training on `videos` cannot go on with the classifier of a search's supernet; empty if it can."""
    weights = open_supernet_weights(path)
    if weights.classes == videos.classes or (not weights.classes and weights.net.classes == len(videos.classes)):
        return ""
    counts = f"{weights.net.classes} there, {len(videos.classes)} here"
    return f"the classifier starts anew: the search has learned other classes ({counts})"


def open_supernet_weights(path: Path) -> SupernetWeights:
    """Open the supernet of a search, also of one that still runs. Raises RunError."""
    if not has_supernet(path):
        raise RunError(f"{path} has no supernet; give the run of a search that scored by one")
    searched, directory = read_search(path), RunDirectory.open(path)
    checkpoint = directory.latest()
    assert checkpoint is not None  # else there was nothing to read
    state = checkpoint.state
    net = build_space(searched.space, len(state.model["sites.classifier.output.bias"]))
    net.load_state_dict(state.model)
    embedded = "synthetic" if directory.config.get("data") == "synthetic" else ""
    return SupernetWeights(
        path,
        searched,
        net,
        tuple(state.info.get("classes", ())),
        state.info.get("source") or embedded,
        directory.config,
        state.info["compute"],
    )


def calibrate(
    net: SearchNetwork,
    settings: SearchSettings,
    videos: VideoSet,
    compute: Compute,
    cache: FrameCache | None = None,
) -> int:
    """Take the statistics of norms anew on training clips of a search; return how many clips these are."""
    loader = ClipLoader(
        videos.train, videos.root, clip_of(settings), batch=settings.batch, train=True, seed=settings.seed,
        jitter=settings.jitter, flip=videos.flip, cache=cache, balance=settings.balance,
    )  # fmt: skip
    with contextlib.closing(loader):
        recalibrate(net, loader.batches(0, CALIBRATION), compute, "forward")
    return CALIBRATION * settings.batch


def recalibrated_note(clips: int) -> str:
    """Say where the weights of a search's architecture come from."""
    return f"weights: the supernet's, recalibrated on {clips} training clips; train it for more"


def check_classes(videos: VideoSet, learned: tuple[str, ...], path: Path) -> None:
    """Raise DataError where videos have other classes than the run in `path` has learned."""
    if videos.classes != learned:
        offered, known = set(videos.classes), set(learned)
        odd = ", ".join(sorted(offered ^ known)[:3]) or "the same in another order"
        raise DataError(
            f"{videos.name} has {len(offered)} classes, {path} has learned {len(known)}, and they differ "
            f"({odd}); give the data it was trained for with --data"
        )

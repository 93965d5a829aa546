"""The evaluation of a trained network on videos, each seen in one view or several (autovid.data.views), as a file.

Three crops are cut at the larger size of "Searching for Two-Stream Models in Multivariate Space for Video Recognition",
Gong et al., 2021, arXiv:2108.12957, Table 3.
"""

import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from autovid import distributed
from autovid.clip import Clip
from autovid.costs import convention
from autovid.costs.count import count
from autovid.data import FaultLog, FrameCache, Video, VideoSet
from autovid.data.index import check_classes as check_two_classes
from autovid.data.index import have_parts
from autovid.data.lists import csv_text
from autovid.data.views import views_name, views_of
from autovid.errors import ConfigError, DataError
from autovid.models.folding import folded
from autovid.run import Progress, RunDirectory, write_atomic
from autovid.space.schema import Reference
from autovid.train.accuracy import Accuracy, Meter
from autovid.train.inherited import check_classes
from autovid.train.recipe import view_crop
from autovid.train.trained import Trained, own_data

SPLITS = ("val", "test", "train", "all")


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy of a trained network on a data set, and its cost. Accuracies in percent, GFLOPs = 1e9 MACs."""

    architecture: str  # its hash
    step: int  # of the checkpoint
    steps: int  # of the whole training
    data: str
    fingerprint: str
    split: str
    videos: int
    decoded: int
    views: str
    views_per_video: int
    frames: int
    stride: int
    crop: int
    top1: float
    top5: float | None
    params: int
    macs_per_view: int
    gflops_per_view: float
    gflops_per_video: float
    convention: str
    top1_of_classes: dict[str, float | None] = {}  # None where no video of a class was decoded
    recalibrated: int = 0  # training clips of a supernet's norms; 0: the weights are those of a training
    weights: str = ""  # which checkpoint of the training it is of
    validations: int = 0  # on these very videos, of which this checkpoint is the best; 0: they did not choose it
    finished: bool = False  # the training was at its end, which may be before its last step
    mean_ap: float | None = None  # mAP, where videos may have several classes; top1 is hit@1 then
    ap_of_classes: dict[str, float | None] = {}  # None where no video has a class

    @property
    def score(self) -> float:
        """The accuracy that counts."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @property
    def metric(self) -> str:
        """The name of the score."""
        return "top-1" if self.mean_ap is None else "mAP"

    @property
    def of_classes(self) -> dict[str, float | None]:
        """Top-1 of each class, or its average precision."""
        return self.ap_of_classes or self.top1_of_classes

    def to_json(self) -> str:
        """Encode for machines."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"


def evaluate(
    trained: Trained,
    videos: VideoSet,
    views: str = "center",
    split: str = "val",
    *,
    workers: int = 0,
    cache: FrameCache | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate on val, test, train or all videos, and write the file that `file_of` names.

    Beside it stands confusion-VIEWS.csv, unless videos may have several classes.
    Workers (autovid.distributed) share the videos; the first one writes.
    Raises DataError if the videos have other classes than the network, or too many of them are broken.
    """
    chosen, views = split_of(videos, split), views_name(views)
    check_classes(videos, trained.classes, trained.path)
    multi_label = check_labels(videos, trained)
    clip = _clip(trained, views)
    faults = FaultLog(len(videos.videos), faults_file(trained, videos) if trained.path.is_dir() else None)
    shown = progress if progress is not None and distributed.is_rank0() else Progress(stream=io.StringIO())
    meter = Meter(
        clip, chosen, videos.root, views, trained.compute, workers=workers, faults=faults, cache=cache,
        multi_label=multi_label,
    )  # fmt: skip
    with contextlib.closing(meter), shown.of_phases() as show:
        net, doing = trained.program or folded(trained.net), f"evaluating, {views} views"
        measured = meter.measure(net, lambda done, total: show(doing, done, total))
    same_videos = split == "val" and trained.has_learned(videos.fingerprint)
    evaluation = Evaluation(
        architecture=trained.model.hash,
        step=trained.step,
        steps=trained.steps,
        data=videos.name,
        fingerprint=videos.fingerprint,
        split=split,
        videos=len(chosen),
        decoded=measured.videos,
        views=views,
        frames=clip.frames,
        stride=clip.stride,
        crop=clip.crop,
        top1=measured.top1,
        top5=measured.top5,
        top1_of_classes={} if multi_label else dict(zip(videos.classes, measured.of_classes())),
        mean_ap=measured.mean_ap,
        ap_of_classes=dict(zip(videos.classes, measured.ap_of_classes())),
        recalibrated=trained.recalibrated,
        weights=trained.weights,
        validations=trained.validations if trained.chosen and same_videos else 0,
        finished=trained.finished,
        **_cost(trained, clip, views),
    )
    if distributed.is_rank0():
        file = file_of(trained, evaluation)
        if not multi_label:
            _write_confusion(confusion_file(file), videos.classes, measured)
        write_atomic(file, evaluation.to_json())
    return evaluation


def _clip(trained: Trained, views: str) -> Clip:
    """Return the clip of some views. Raises ConfigError for a program that does not take it."""
    clip = trained.recipe.clip(trained.net.clip)
    crop = view_crop(clip.crop, views)
    if trained.program is not None and crop != clip.crop:
        raise ConfigError(f"{trained.path} takes crops of {clip.crop} alone, and views {views} are of {crop}")
    return msgspec.structs.replace(clip, crop=crop)


def _write_confusion(file: Path, classes: Sequence[str], measured: Accuracy) -> None:
    """Write how often videos of a class (a row) were taken for each class (a column)."""
    rows = [[name, *row] for name, row in zip(classes, measured.confusion_CC.tolist())]
    write_atomic(file, csv_text([["class", *classes], *rows]))


def check_labels(videos: VideoSet, trained: Trained) -> bool:
    """Return whether the network decides on each class by itself.

    Raises DataError where videos have several classes, and it has learned that they have one.
    """
    if videos.multi_label and not trained.multi_label:
        raise DataError(
            f"videos of {videos.name} have several classes, and {trained.path} has learned that a video has one; "
            "train it on videos of several"
        )
    return trained.multi_label


def _cost(trained: Trained, clip: Clip, views: str) -> dict[str, Any]:
    cost, number = count(trained.net, clip), views_of(views).total
    return {
        "views_per_video": number,
        "params": cost.params,
        "macs_per_view": cost.macs,
        "gflops_per_view": cost.macs / 1e9,
        "gflops_per_video": cost.macs * number / 1e9,
        "convention": convention(Reference.of(clip, trained.net.classes)),
    }


def evaluation_file(path: Path, views: str = "center", split: str = "val", other: str = "") -> Path:
    """Return the file of an evaluation in the run directory `path`.

    `other` names the videos and the checkpoint where they are not those that the run is told by.
    """
    return path / f"evaluation-{views}{'' if split == 'val' else f'-{split}'}{other}.json"


def file_of(trained: Trained, one: Evaluation) -> Path:
    """Return the file of an evaluation, which is not that of other videos or of another checkpoint."""
    checkpoint = "" if trained.is_best else f"-step-{one.step}"
    return evaluation_file(trained.path, one.views, one.split, _other(trained, one.data, one.fingerprint) + checkpoint)


def faults_file(trained: Trained, videos: VideoSet) -> Path:
    """Return the list of broken videos: that of the training for its own, one beside it for others."""
    return trained.path / f"faults{_other(trained, videos.name, videos.fingerprint)}.jsonl"


def _other(trained: Trained, data: str, fingerprint: str) -> str:
    """Return a suffix for videos that are not those of the training, as far as it has recorded them; else nothing."""
    if not trained.fingerprint or (data, fingerprint) == (trained.data, trained.fingerprint):
        return ""
    name = re.sub(r"[^\w.+-]", "_", data)[:80]
    return f"-on-{name}-{fingerprint[:8]}"


def is_own(run: RunDirectory, one: Evaluation) -> bool:
    """Tell whether an evaluation is on the videos of the run, and of the checkpoint that it is told by.

    True as well where a run of an old version has not recorded its videos, or has no checkpoint any more.
    """
    name, fingerprint = own_data(run.config)
    own = not fingerprint or (one.data, one.fingerprint) == (name, fingerprint)
    return own and one.step == (run.best() or one.step)


def confusion_file(evaluation: Path) -> Path:
    """Return confusion-VIEWS.csv beside evaluation-VIEWS.json: a row a class, a column a predicted class."""
    return evaluation.with_name(evaluation.name.replace("evaluation-", "confusion-", 1)).with_suffix(".csv")


def read_evaluation(path: Path, views: str = "center") -> Evaluation | None:
    """Read an evaluation on the run's own val; None if there is none that can be read."""
    try:
        one = msgspec.json.decode(evaluation_file(path, views).read_bytes(), type=Evaluation)
    except (OSError, msgspec.MsgspecError):
        return None
    return one if is_own(RunDirectory.open(path), one) else None


def split_of(videos: VideoSet, split: str) -> tuple[Video, ...]:
    """Return the videos of a split, or all. Raises ConfigError for an unknown one, DataError for an empty one."""
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}: choose one of {', '.join(SPLITS)}")
    chosen: tuple[Video, ...] = videos.videos if split == "all" else getattr(videos, split)
    if not chosen:
        file = Path(str(videos.root)) / f"{videos.name}.csv"
        remedy = f"give each class some, in a column split of a CSV file or in a folder {split}/"
        if split == "val":
            unit = "files" if have_parts(videos.train) else "videos"
            remedy += f", or more to hold out one in five (two {unit} of a class are needed"
            remedy += ", as parts of one file are held out together)" if unit == "files" else ")"
        raise DataError(f"{file if file.is_file() else videos.root}: no videos in its split {split}; {remedy}")
    return chosen


def check_for_training(videos: VideoSet) -> None:
    """Raise DataError where there is nothing to learn, or nothing to validate by."""
    check_two_classes(videos)
    for split in ("train", "val"):
        split_of(videos, split)

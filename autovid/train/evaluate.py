"""Top-1 and top-5 of a network on videos, each seen in one view or several (autovid.data.views).

Three crops are cut at the larger size of seed-auto-tsnet's Table 3. The softmax probabilities of a video's views are
averaged.
"""

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from autovid import distributed
from autovid.clip import Clip
from autovid.costs import convention, count
from autovid.data import ClipLoader, FaultLog, Video, VideoSet
from autovid.data.views import views_name, views_of
from autovid.errors import ConfigError, DataError, DivergedError
from autovid.kernels.compute import Compute
from autovid.models import Network
from autovid.run import Progress, write_atomic
from autovid.space.schema import Reference
from autovid.train.metrics import Scores, ViewAverage, scores
from autovid.train.recipe import view_crop
from autovid.train.trained import Trained

PIXELS_AT_ONCE = 2**23  # in a batch of clips: bounds the memory
SPLITS = ("val", "train")


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """How good a trained network is, on what, and at what cost. Accuracies in percent, GFLOPs = 1e9 MACs."""

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

    def to_json(self) -> str:
        """For machines."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"


def evaluate(
    trained: Trained,
    videos: VideoSet,
    views: str = "center",
    split: str = "val",
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluates and writes evaluation-VIEWS.json (evaluation-VIEWS-train.json for that split) into the run directory.

    Beside it stands confusion-VIEWS.csv.

    Workers (autovid.distributed) have the videos among them; the first one writes.
    Raises DataError if the videos have other classes than the network, or too many of them are broken.
    """
    chosen, views = split_of(videos, split), views_name(views)
    progress = progress if distributed.is_rank0() else None
    _check_classes(trained, videos)
    clip = trained.recipe.clip(trained.net.clip)
    clip = msgspec.structs.replace(clip, crop=view_crop(clip.crop, views))
    faults = FaultLog(len(chosen), trained.path / "faults.jsonl" if trained.path.is_dir() else None)
    found = evaluate_network(
        trained.net,
        clip,
        chosen,
        videos.root,
        views,
        trained.compute,
        workers=workers,
        faults=faults,
        progress=progress,
    )
    data: dict[str, Any] = {
        "data": videos.name,
        "fingerprint": videos.fingerprint,
        "split": split,
        "videos": len(chosen),
    }
    evaluation = Evaluation(
        architecture=trained.model.hash,
        step=trained.step,
        steps=trained.steps,
        decoded=found.videos,
        views=views,
        frames=clip.frames,
        stride=clip.stride,
        crop=clip.crop,
        top1=found.top1,
        top5=found.top5,
        top1_of_classes=dict(zip(videos.classes, found.of_classes())),
        **data,
        **_cost(trained, clip, views),
    )
    if distributed.is_rank0():
        file = evaluation_file(trained.path, views, split)
        write_atomic(confusion_file(file), _confusion_table(videos.classes, found))
        write_atomic(file, evaluation.to_json())
    return evaluation


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


def evaluation_file(path: Path, views: str = "center", split: str = "val") -> Path:
    """Where `evaluate` writes in the run directory `path`."""
    return path / f"evaluation-{views}{'' if split == 'val' else f'-{split}'}.json"


def confusion_file(evaluation: Path) -> Path:
    """Beside evaluation-VIEWS.json: confusion-VIEWS.csv, a row a class and a column for what it was taken for."""
    return evaluation.with_name(evaluation.name.replace("evaluation-", "confusion-", 1)).with_suffix(".csv")


def _confusion_table(classes: Sequence[str], found: Scores) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["class", *classes])
    table.writerows([name, *row] for name, row in zip(classes, found.confusion_CC.tolist()))
    return out.getvalue()


def read_evaluation(path: Path, views: str = "center") -> Evaluation | None:
    """An evaluation on val in a run directory; None if there is none that can be read."""
    try:
        return msgspec.json.decode(evaluation_file(path, views).read_bytes(), type=Evaluation)
    except (OSError, msgspec.MsgspecError):
        return None


def evaluate_network(
    net: Network,
    clip: Clip,
    videos: Sequence[Video],
    root: Path,
    views: str,
    compute: Compute,
    *,
    workers: int = 0,
    faults: FaultLog | None = None,
    progress: Progress | None = None,
) -> Scores:
    """The accuracy over `videos`, those that cannot be read left out. Raises DivergedError for a broken network."""
    batch = max(1, min(64, PIXELS_AT_ONCE // (clip.frames * clip.crop**2)))
    shard = (distributed.rank(), distributed.size())
    loader = ClipLoader(
        videos, root, clip, batch=batch, train=False, workers=workers, views=views, faults=faults, shard=shard
    )
    average = ViewAverage(len(videos), net.classes)
    total = -(-len(videos) * views_of(views).total // (batch * distributed.size()))
    net.eval()
    with _shown(progress, total), contextlib.closing(loader), torch.inference_mode():
        for done, (x, _, video) in enumerate(loader.views_batches(), 1):
            with compute.autocast("forward"):
                logits = net(x.to(compute.device, non_blocking=True))
            if not logits.isfinite().all():
                raise DivergedError(f"the network gives nan or inf for {videos[int(video[0])].path}; train it again")
            average.add(logits, video)
            if progress is not None:
                progress.update(done, f"evaluating, {views} views", {})
    average.share()
    probabilities, seen = average.probabilities()
    return scores(probabilities, torch.tensor([videos[i].label for i in seen.tolist()], dtype=torch.int64))


def split_of(videos: VideoSet, split: str) -> tuple[Video, ...]:
    """The videos of a split. Raises ConfigError where there is no such split, DataError where it is empty."""
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}: choose one of {', '.join(SPLITS)}")
    chosen = videos.train if split == "train" else videos.val
    if not chosen:
        raise DataError(f"{videos.root}: no videos in its split {split}")
    return chosen


def _check_classes(trained: Trained, videos: VideoSet) -> None:
    if videos.classes != trained.classes:
        theirs, mine = set(videos.classes), set(trained.classes)
        odd = ", ".join(sorted(theirs ^ mine)[:3]) or "the same in another order"
        raise DataError(
            f"{videos.name} has {len(theirs)} classes, {trained.path} has learned {len(mine)}, and they differ ({odd})"
            "; give the data it was trained for with --data"
        )


@contextlib.contextmanager
def _shown(progress: Progress | None, total: int) -> Iterator[None]:
    if progress is None:
        yield
        return
    progress.start(total, 0, "evaluating")
    try:
        yield
    finally:
        progress.close()

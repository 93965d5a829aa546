"""Videos of several classes: read, written, trained by binary cross-entropy, chosen by mAP, predicted by sigmoids."""

import json
from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F
from small import recipe, train

from autovid.cli import main
from autovid.data import Video, VideoSet, open_videos
from autovid.data.index import check_for_search, write_index
from autovid.errors import ConfigError, DataError
from autovid.export import open_classifier, predict
from autovid.models import build
from autovid.train import evaluate, open_trained
from autovid.train.accuracy import average_precision, multi_label_accuracy
from autovid.train.task import prepare

CLASSES = ("cross", "disc", "left", "right", "rising", "sinking", "triangle")


@pytest.fixture(scope="module")
def several(tiny_videos: Path) -> VideoSet:
    """The small videos with a class for the shape, one for the direction and one for the drift."""
    plain = open_videos(tiny_videos)

    def video(one: Video) -> Video:
        first, *rest = (CLASSES.index(word) for word in plain.classes[one.label].split("-"))
        return Video(one.path, first, also=tuple(rest))

    train, val = (tuple(map(video, own)) for own in (plain.train, plain.val))
    return VideoSet("several", plain.root, CLASSES, train, val, flip=False)


@pytest.fixture(scope="module")
def run(several: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps."""
    out = tmp_path_factory.mktemp("multi") / "run"
    train(out, several, recipe=recipe(epochs=1, label_smoothing=0.1, balance=True))
    return out


def test_an_index_keeps_them(several: VideoSet, tmp_path: Path) -> None:
    write_index(tmp_path / "several.csv", several, {})
    assert "cross;left;rising,train" in (tmp_path / "several.csv").read_text()
    read = open_videos(tmp_path / "several.csv")
    assert (read.train, read.val, read.classes) == (several.train, several.val, CLASSES)
    assert read.multi_label


def test_data_index_reads_a_csv_of_ones_own(tiny_videos: Path, tmp_path: Path) -> None:
    lines = ["path,label,split", "a.mp4,run; jump,train", "b.mp4,run,train", "c.mp4,jump,val"]
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(next(tiny_videos.rglob("*.mp4")).read_bytes())
    (tmp_path / "own.csv").write_text("\n".join(lines))
    assert main(["data", "index", "csv", str(tmp_path), "-o", str(tmp_path / "out.csv")]) == 0
    for file in ("own.csv", "out.csv"):
        videos = open_videos(tmp_path / file)
        assert (videos.classes, [one.labels for one in videos.train]) == (("jump", "run"), [(1, 0), (1,)])
        with pytest.raises(DataError, match="videos have several classes, and a search takes videos of one"):
            check_for_search(videos)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;label\na.mp4;run\n", "the columns are separated by semicolons, where commas are expected"),
        ("a.mp4;run\n", "the columns are separated by semicolons"),
        ("path,label\na.mp4,run;;jump\n", r"row 2: label 'run;;jump': a class is missing before or after a ;"),
    ],
)
def test_semicolons_elsewhere_are_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_videos(tmp_path / "own.csv")


def test_a_known_class_may_have_a_semicolon_in_its_name(tiny_videos: Path, tmp_path: Path) -> None:
    plain = open_videos(tiny_videos)
    odd = msgspec.structs.replace(plain, classes=("cross; left", *plain.classes[1:]))
    write_index(tmp_path / "odd.csv", odd, {})
    read = open_videos(tmp_path / "odd.csv")
    assert (read.train, read.fingerprint) == (odd.train, odd.fingerprint)


def test_the_fingerprint_of_single_labels_is_what_it_was() -> None:
    """A run of before is still of the same data: the sha256 was taken then."""
    videos = VideoSet("one", Path("."), ("a", "b"), (Video("x.mp4", 0), Video("y.mp4", 1, 1.5)), (Video("z.mp4", 1),))
    assert videos.fingerprint == "1a75ede327ff1074a1d25c410b50d7ddb075e3d16b32a4e1518dc680731a2e32"
    other = msgspec.structs.replace(videos, val=(Video("z.mp4", 1, also=(0,)),))
    assert other.fingerprint != videos.fingerprint


def test_average_precision_by_hand() -> None:
    """Two hits at places 1 and 3: (1/1 + 2/3) / 2; equal scores are one step: both hits among 4. Sums of a few terms.

    float64 rounds each to 1e-16, and 1e-12 is far above that and far below any other counting.
    """
    scores = torch.tensor([0.9, 0.7, 0.6, 0.1], dtype=torch.float64)
    hits = torch.tensor([1.0, 0, 1, 0])
    assert float(average_precision(scores, hits)) == pytest.approx(5 / 6, rel=1e-12)
    assert float(average_precision(torch.ones(4), hits)) == pytest.approx(1 / 2, rel=1e-12)
    assert average_precision(scores, torch.zeros(4)).isnan()
    both = multi_label_accuracy(
        torch.stack([scores, scores, scores.flip(0)], 1), torch.stack([hits, 0 * hits, hits], 1)
    )
    assert both.mean_ap == pytest.approx(100 * (5 / 6 + (1 / 2 + 2 / 4) / 2) / 2, rel=1e-12)
    assert both.ap_of_classes()[1] is None
    assert both.top1 == 50.0  # the likeliest classes are 0, 0, 2, 2: right for the first and the third


def test_it_trains_and_chooses_by_map(run: Path, several: VideoSet) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert 0 < records[-1]["val_map"] <= 100
    assert {name for name in records[-1] if name.startswith("val")} == {"val_map", "val_hit1", "val_loss"}
    trained = open_trained(run, "cpu")
    evaluation = evaluate(trained, several)
    assert evaluation.score == evaluation.mean_ap == records[-1]["val_map"]
    assert list(evaluation.ap_of_classes) == list(CLASSES)
    assert not (run / "confusion-center.csv").exists()


def test_the_loss_is_binary_cross_entropy_of_smoothed_targets(several: VideoSet) -> None:
    net = prepare(build("tsn_resnet18", 7), recipe(label_smoothing=0.2), multi_label=True).eval()
    x, y = torch.randn(2, 3, 2, 32, 32), torch.tensor([[1.0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]])
    loss, logits = net.training_loss(x, y)
    # To the bit: the same function of the same logits; in float64 1 - 0.2 is 0.8 and 0.2 / 2 is 0.1 exactly.
    assert torch.equal(loss, F.binary_cross_entropy_with_logits(logits, 0.8 * y + 0.1))
    with pytest.raises(ConfigError, match="has a loss for one"):
        prepare(build("s2dnet", 7), recipe(), multi_label=True)


def test_predictions_are_sigmoids(run: Path, several: VideoSet) -> None:
    classifier = open_classifier(run, "cpu")
    (prediction,) = predict(classifier, several.root / several.val[0].path)
    trained = open_trained(run, "cpu")
    assert trained.multi_label
    assert classifier.interface.multi_label
    total = sum(guess.probability for guess in prediction.top)
    assert total > 1.5  # five of seven that are each about one half; a softmax sums to one at most
    assert main(["export", str(run), "-o", str(run / "exported")]) == 0
    (again,) = predict(open_classifier(run / "exported", "cpu"), several.root / several.val[0].path)
    assert [guess.label for guess in again.top] == [guess.label for guess in prediction.top]


def test_a_network_of_single_labels_refuses_them(tiny_videos: Path, several: VideoSet, tmp_path: Path) -> None:
    plain = open_videos(tiny_videos)
    few = VideoSet(
        "few", plain.root, CLASSES, tuple(Video(v.path, v.label % 7) for v in plain.train[:8]), plain.val[:1]
    )
    train(tmp_path / "run", few, recipe=recipe(epochs=1))
    with pytest.raises(DataError, match="have several classes, and .* has learned that a video has one"):
        evaluate(open_trained(tmp_path / "run", "cpu"), several)

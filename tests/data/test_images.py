"""Images as videos of one frame: CIFAR-100's records and ImageNet's files, and what is broken or hostile among them."""

import csv
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_sets import cifar_images, make_cifar, make_imagenet, write_records
from numpy.typing import NDArray
from PIL import Image

from autovid.cli import main
from autovid.clip import Clip
from autovid.data import ClipLoader, FaultLog, Video, VideoSet, open_videos
from autovid.data.clips import read_windows
from autovid.data.images import open_video
from autovid.data.loader import normalised
from autovid.data.make_index import read_data_set
from autovid.data.video import VideoError
from autovid.errors import DataError


def indexed(name: str, root: Path) -> VideoSet:
    assert main(["data", "index", name, str(root)]) == 0
    return open_videos(root / f"{name}.csv")


def named(videos: VideoSet, split: str) -> list[tuple[str, str]]:
    return [(video.path, videos.classes[video.label]) for video in getattr(videos, split)]


def image(path: Path) -> NDArray[np.uint8]:
    with open_video(path) as opened:
        assert len(opened) == 1
        opened.check()
        return opened.frames(np.zeros(1, dtype=np.int64), lambda frame: frame)[0]


# CIFAR-100


def test_cifar100_is_indexed_by_record_with_its_fine_labels(tmp_path: Path) -> None:
    videos = indexed("cifar100", make_cifar(tmp_path))
    assert videos.classes == ("c 0", "c 1", "c 2")
    assert named(videos, "train") == [(f"cifar-100-binary/train.bin#{i}", f"c {i % 3}") for i in range(6)]
    assert named(videos, "val") == [(f"cifar-100-binary/test.bin#{i}", f"c {i % 3}") for i in range(4)]
    assert videos.flip


def test_a_record_is_its_image_and_is_evaluated_whole(tmp_path: Path) -> None:
    videos = indexed("cifar100", make_cifar(tmp_path))
    images = cifar_images(4, 2)
    assert np.array_equal(image(videos.root / videos.val[3].path), images[3])
    clip = Clip(frames=1, crop=32, sampling="uniform")
    loader = ClipLoader(videos.val, videos.root, clip, batch=4, train=False)
    (batch,) = loader.views_batches()
    # equal to the bit: nothing is resized, and the same bytes go through the same normalisation
    assert batch.x.equal(normalised(images[:, None], clip))
    assert batch.y.tolist() == [0, 1, 2, 0]


def cut(path: Path) -> None:
    os.truncate(path, 3 * 3074 - 1)


CIFAR: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda folder: cut(folder / "train.bin"), r"train\.bin: 9,221 bytes are no whole records of 3,074"),
    "empty": (lambda folder: os.truncate(folder / "test.bin", 0), r"test\.bin: 0 bytes are no whole records"),
    "label": (
        lambda folder: write_records(folder / "test.bin", cifar_images(2), [0, 3]),
        r"test\.bin, record 1: label 3, but fine_label_names\.txt has 3 names",
    ),
    "twice": (lambda folder: (folder / "fine_label_names.txt").write_text("a\nb\na\n"), "named twice"),
    "no names": (lambda folder: (folder / "fine_label_names.txt").unlink(), r"no fine_label_names\.txt here"),
    "no test": (lambda folder: (folder / "test.bin").unlink(), r"no test\.bin here"),
}


@pytest.mark.parametrize("kind", CIFAR)
def test_a_wrong_cifar100_is_refused(kind: str, tmp_path: Path) -> None:
    change, complaint = CIFAR[kind]
    make_cifar(tmp_path)
    change(tmp_path / "cifar-100-binary")
    with pytest.raises(DataError, match=complaint) as caught:
        read_data_set("cifar100", tmp_path)
    assert "\n" not in str(caught.value)


def test_records_that_are_not_there_are_like_broken_videos(tmp_path: Path) -> None:
    videos = indexed("cifar100", make_cifar(tmp_path))
    os.truncate(tmp_path / "cifar-100-binary/test.bin", 2 * 3074 + 100)
    faults = FaultLog(400)
    loader = ClipLoader(videos.val, videos.root, Clip(1, 32), batch=8, train=False, faults=faults)
    assert [batch.video.tolist() for batch in loader.views_batches()] == [[0, 1]]
    for number in (2, 3, 999_999_999):
        with pytest.raises(VideoError, match=f"no record {number}: the file ends before or in it"):
            image(tmp_path / f"cifar-100-binary/test.bin#{number}")
    for name in ("train.bin#-1", "train.bin#", "train.bin#1x", "nothing.bin#0"):
        with pytest.raises(VideoError):
            image(tmp_path / "cifar-100-binary" / name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("train.bin", "a.jpg"):
        os.mkfifo(tmp_path / name)
    for name in ("train.bin#0", "a.jpg"):
        with pytest.raises(VideoError, match="not a regular file"):
            image(tmp_path / name)


@pytest.mark.parametrize("path", ["../out.bin#0", "link.bin#0", "OUT.bin#0", "../a.jpg", "link.jpg"])
def test_no_row_leaves_the_folder(path: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_records(tmp_path / "out.bin", cifar_images(1), [0])
    Image.fromarray(cifar_images(1)[0]).save(tmp_path / "a.jpg")
    (root / "link.bin").symlink_to(tmp_path / "out.bin")
    (root / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (root / "my.csv").write_text(f"path,label\n{path.replace('OUT', str(tmp_path / 'out'))},c\n")
    with pytest.raises(DataError, match=r"row 2: .* leaves the folder of the CSV file"):
        open_videos(root / "my.csv")


def test_links_out_of_the_folder_are_not_indexed(tmp_path: Path) -> None:
    make_cifar(tmp_path / "away")
    (tmp_path / "cifar").mkdir()
    for name in ("train.bin", "test.bin", "fine_label_names.txt"):
        (tmp_path / "cifar" / name).symlink_to(tmp_path / "away/cifar-100-binary" / name)
    with pytest.raises(DataError, match=r"train\.bin: a link that leaves"):
        read_data_set("cifar100", tmp_path / "cifar")
    make_imagenet(tmp_path / "images")
    (tmp_path / "images/val/n01440764/n01440764_0.JPEG").unlink()
    (tmp_path / "images/val/n01440764/n01440764_0.JPEG").symlink_to(tmp_path / "away")
    with pytest.raises(DataError, match=r"n01440764_0\.JPEG' leaves"):
        read_data_set("imagenet", tmp_path / "images")
    (tmp_path / "images/val/n09999999").symlink_to(tmp_path / "away")
    with pytest.raises(DataError, match=r"n09999999: a link that leaves"):
        read_data_set("imagenet", tmp_path / "images")


# ImageNet


def test_imagenet_is_indexed_in_the_order_of_its_wordnet_numbers(tmp_path: Path) -> None:
    make_imagenet(tmp_path)
    (tmp_path / "train/n01440764/notes.txt").touch()
    (tmp_path / "train/n01440764/._n01440764_0.JPEG").touch()
    videos = indexed("imagenet", tmp_path)
    assert videos.classes == ("tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)")
    assert named(videos, "train") == [
        ("train/n01440764/n01440764_0.JPEG", "tench, Tinca tinca"),
        ("train/n01440764/n01440764_1.JPEG", "tench, Tinca tinca"),
        ("train/n02012849/n02012849_0.JPEG", "crane (n02012849)"),
        ("train/n02012849/n02012849_1.JPEG", "crane (n02012849)"),
        ("train/n03126707/n03126707_0.JPEG", "crane (n03126707)"),
        ("train/n03126707/n03126707_1.JPEG", "crane (n03126707)"),
    ]
    assert [path for path, _ in named(videos, "val")] == [
        f"val/{n}/{n}_0.JPEG" for n in ("n01440764", "n02012849", "n03126707")
    ]


def test_words_may_be_missing(tmp_path: Path) -> None:
    make_imagenet(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").rename(tmp_path / "synset_words.txt")
    (tmp_path / "synset_words.txt").write_text("n01440764 tench\n")
    assert read_data_set("imagenet", tmp_path)[0].classes == ("tench", "n02012849", "n03126707")
    (tmp_path / "synset_words.txt").unlink()
    assert read_data_set("imagenet", tmp_path)[0].classes == ("n01440764", "n02012849", "n03126707")


def test_a_wrong_imagenet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train: no folders called like n01440764"):
        read_data_set("imagenet", tmp_path)
    make_imagenet(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").write_text("tench n01440764\n")
    with pytest.raises(DataError, match=r"LOC_synset_mapping\.txt, row 1: 'tench n01440764' is not a WordNet number"):
        read_data_set("imagenet", tmp_path)


@pytest.mark.parametrize(("mode", "format"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG")])
def test_the_kinds_of_files_that_imagenet_has(mode: str, format: str, tmp_path: Path) -> None:
    grey = np.full((20, 30, 3), 90, dtype=np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "x.JPEG", format, quality=95)
    picture = image(tmp_path / "x.JPEG")
    assert picture.shape == (20, 30, 3)
    # a grey of one value: all that JPEG can lose on it are units of rounding, in YCbCr and back, and through CMYK
    assert np.abs(picture.astype(int) - 90).max() <= 3
    assert picture.flags.writeable  # torch warns about others


def bomb(path: Path) -> None:
    """A JPEG file whose header says 60,000 x 60,000 pixels."""
    Image.fromarray(cifar_images(1)[0]).save(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    path.write_bytes(data)


def half(path: Path) -> None:
    Image.fromarray(cifar_images(1)[0]).save(path)
    os.truncate(path, path.stat().st_size // 2)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "empty file"),
    "missing": (lambda path: None, "No such file"),
    "text": (lambda path: path.write_text("not an image\n" * 100), "not a JPEG file"),
    "folder": (lambda path: path.mkdir(), "without numbered JPEG files"),
    "another format": (lambda path: Image.new("RGB", (8, 8)).save(path, "GIF"), "not a JPEG file"),
    "truncated": (half, "truncated"),
    "bomb": (bomb, "pixels"),
    "large": (lambda path: Image.new("L", (16_000, 5_000)).save(path, "PNG"), "an image of 16000x5000 pixels"),
    "long": (lambda path: (path.touch(), os.truncate(path, 1 << 27)), "more than 64 MiB"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.filterwarnings("error")
def test_what_is_no_image_is_refused_with_its_reason(kind: str, tmp_path: Path) -> None:
    make, reason = BROKEN[kind]
    make(tmp_path / "x.JPEG")
    with pytest.raises(VideoError, match=reason) as caught:
        image(tmp_path / "x.JPEG")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_broken_images_of_a_set_are_replaced_and_noted(tmp_path: Path) -> None:
    videos = indexed("imagenet", make_imagenet(tmp_path))
    half(tmp_path / videos.train[0].path)
    faults = FaultLog(400)
    loader = ClipLoader(videos.train, videos.root, Clip(1, 16), batch=6, train=True, crops="area", faults=faults)
    (batch,) = loader.batches(0, 1)
    assert tuple(batch.x.shape) == (6, 3, 1, 16, 16)
    assert 0 not in batch.video.tolist()
    assert list(faults.reasons) == [videos.train[0].path]


# whole data sets


def check(index: Path) -> int:
    return main(["data", "check", str(index), "--workers", "1"])


@pytest.mark.parametrize("name", ["cifar100", "imagenet"])
def test_check_finds_what_is_broken_and_looks_again_at_what_has_changed(name: str, tmp_path: Path) -> None:
    root = {"cifar100": make_cifar, "imagenet": make_imagenet}[name](tmp_path)
    videos = indexed(name, root)
    assert check(root / f"{name}.csv") == 0
    if name == "cifar100":
        cut(tmp_path / "cifar-100-binary/train.bin")
        paths = [video.path for video in videos.train[2:]]
    else:
        half(tmp_path / videos.val[1].path)
        paths = [videos.val[1].path]
    assert check(root / f"{name}.csv") == 4
    with (root / f"{name}.broken.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == paths


def test_resize_refuses_images_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    indexed("cifar100", make_cifar(tmp_path))
    capsys.readouterr()
    assert main(["data", "resize", str(tmp_path / "cifar100.csv"), "-o", str(tmp_path / "small")]) == 4
    shown = capsys.readouterr().err
    assert "cifar100 has images, cifar-100-binary/train.bin#0 say, which are read as they are" in shown
    assert shown.count("\n") == 1


def test_an_image_has_no_later_part(tmp_path: Path) -> None:
    Image.fromarray(cifar_images(1)[0]).save(tmp_path / "a.jpg")
    with pytest.raises(VideoError, match="an image has one, at 0 s"):
        open_video(tmp_path / "a.jpg", 1.0)
    with open_video(tmp_path / "a.jpg", 0.0, 1.0) as opened:
        assert opened.frames(np.zeros(3, dtype=np.int64), lambda frame: frame).shape == (3, 32, 32, 3)


def test_an_image_is_one_window_for_predict(tmp_path: Path) -> None:
    Image.fromarray(cifar_images(1)[0]).save(tmp_path / "a.jpg")
    (window,) = read_windows(tmp_path / "a.jpg", Clip(1, 32))
    assert (window.start, window.end, window.pixels.shape) == (0, 0, (1, 1, 32, 32, 3))


def test_an_index_of_ones_own_may_name_images(tmp_path: Path) -> None:
    Image.fromarray(cifar_images(1)[0]).save(tmp_path / "a b.jpg")
    (tmp_path / "my.csv").write_text("path,label,split\na b.jpg,x,train\na b.jpg,x,val\n")
    assert open_videos(tmp_path / "my.csv").train == (Video("a b.jpg", 0),)

"""Packed sets: the same videos and clips as in the folder; and tar files and indexes that are broken or do harm.

Clips are equal to the bit: a member of a shard is a copy of the file, which the same code decodes.
"""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting import counting_frames, counts, write
from PIL import Image

from autovid.cli import main
from autovid.clip import Clip
from autovid.data import ClipLoader, FaultLog, FrameCache, VideoSet, open_videos
from autovid.data.images import open_video, write_frames
from autovid.data.shard_index import INDEX
from autovid.data.shards import Shards
from autovid.data.tools import pack as packing
from autovid.errors import DataError

CLIP = Clip(frames=4, crop=32, stride=2)
SHARD = 60_000  # bytes: several for the set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with all that can be packed: videos with odd names, parts, classes, images, frames; a test split."""
    root = tmp_path_factory.mktemp("source")
    write(root / "a b/März.1.MP4", counting_frames(40), bf="2")
    write(root / "a b/one.avi", counting_frames(20))
    for number in range(4):
        write(root / f"c/{number}.mkv", counting_frames(20 + number))
    write_frames(root / "frames/x", counting_frames(12), 95)
    Image.fromarray(next(iter(counting_frames(1)))).save(root / "still.jpeg")
    rows = [
        ("a b/März.1.MP4", "run;jump", "0.2", "0.9", "train"),
        ("a b/März.1.MP4", "sit", "0.9", "", "val"),
        ("a b/one.avi", "sit", "", "", "train"),
        *((f"c/{number}.mkv", ("run", "jump")[number % 2], "", "", "train") for number in range(4)),
        ("frames/x", "run", "3", "11", "train"),
        ("still.jpeg", "jump", "", "", "test"),
    ]
    lines = ["path,label,start,end,split", *(",".join(row) for row in rows)]
    (root / "set.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "set.csv"


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "shards"
    assert main(["data", "pack", str(folder), "-o", str(out), "--shard-size", f"{SHARD / 1e6}M"]) == 0
    return out


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copy"))


def loader(videos: VideoSet, **changes: Any) -> ClipLoader:
    arguments: dict[str, Any] = {"batch": 3, "train": True, "seed": 5, "classes": len(videos.classes), **changes}
    return ClipLoader(videos.train, videos.root, CLIP, **arguments)


def same_clips(a: ClipLoader, b: ClipLoader, steps: int) -> bool:
    pairs = zip(a.batches(0, steps), b.batches(0, steps), strict=True)
    return all(torch.equal(left, right) for one, other in pairs for left, right in zip(one, other))


def test_a_packed_set_has_the_index_of_its_source(folder: Path, packed: Path) -> None:
    source, videos = open_videos(folder), open_videos(packed)
    assert isinstance(videos.root, Shards)
    assert not videos.root.remote
    assert (videos.name, videos.classes, videos.flip) == (source.name, source.classes, source.flip)
    assert (videos.train, videos.val, videos.test) == (source.train, source.val, source.test)
    assert videos.fingerprint == source.fingerprint
    assert videos.multi_label


def test_val_is_held_out_of_a_packed_set_as_of_its_folder(tiny_videos: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_videos / "train", tmp_path / "set")
    assert main(["data", "pack", str(tmp_path / "set"), "-o", str(tmp_path / "shards")]) == 0
    for seed in (0, 7):
        source, videos = open_videos(tmp_path / "set", seed=seed), open_videos(tmp_path / "shards", seed=seed)
        assert videos.held_out
        assert (videos.train, videos.val) == (source.train, source.val)


def test_clips_are_those_of_the_folder(folder: Path, packed: Path) -> None:
    source, videos = open_videos(folder), open_videos(packed)
    assert same_clips(loader(source), loader(videos), steps=6)
    for split in ("val", "test"):
        pair = [
            list(ClipLoader(getattr(v, split), v.root, CLIP, batch=2, train=False, views="3-lcr").views_batches())
            for v in (source, videos)
        ]
        assert all(torch.equal(a.x, b.x) for a, b in zip(*pair, strict=True))


@pytest.mark.slow
def test_workers_and_a_frame_cache_read_shards(folder: Path, packed: Path) -> None:
    source, videos = open_videos(folder), open_videos(packed)
    with FrameCache(videos.train, videos.root, 2**24) as cache:
        cached = loader(videos, cache=cache, workers=1)
        assert same_clips(loader(source), cached, steps=6)
        assert cache.used > 0
        cached.close()


def test_any_frame_of_any_kind_is_read(packed: Path) -> None:
    root = open_videos(packed).root
    read: Callable[..., list[int]] = lambda path, *part: read_counts(root / path, *part)  # noqa: E731
    assert read("a b/März.1.MP4") == list(range(40))
    assert read("a b/one.avi") == list(range(20))
    assert read("frames/x", 3, 11) == list(range(2, 10))
    assert read("still.jpeg") == [0]


def read_counts(path: Any, *part: float) -> list[int]:
    with open_video(path, *part) as video:
        return counts(video.frames(np.arange(len(video)), lambda image: image))


def test_tar_files_follow_the_convention_of_webdataset(packed: Path) -> None:
    """Members of a sample stand together and share what is before the first dot; labels are `.cls` and `.json`."""
    index = json.loads((packed / INDEX).read_text())
    samples: dict[str, dict[str, bytes]] = {}
    for name, size, _ in index["shards"]:
        assert (packed / name).stat().st_size == size
        with tarfile.open(packed / name) as tar:
            before = ""
            for member in tar:
                key, _, suffix = member.name.partition(".")
                assert key == before or key not in samples, "the members of a sample stand together"
                content = tar.extractfile(member)
                assert content is not None
                samples.setdefault(before := key, {})[suffix] = content.read()
    assert len(index["shards"]) > 2
    assert all(size < 3 * SHARD for _, size, _ in index["shards"])
    kinds = {next(iter(sample)) for sample in samples.values()}
    assert kinds == {"mp4", "avi", "mkv", "jpeg", "00001.jpg"}
    assert len(samples) == 8, "one for each file, however many rows it has"
    by_path = {json.loads(sample["json"])["path"]: sample for sample in samples.values()}
    assert by_path["a b/one.avi"]["cls"] == b"2"
    assert json.loads(by_path["a b/März.1.MP4"]["json"])["rows"] == [
        {"split": "train", "classes": ["run", "jump"], "start": 0.2, "end": 0.9},
        {"split": "val", "classes": ["sit"], "start": 0.9},
    ]
    assert "cls" not in by_path["a b/März.1.MP4"]


def test_packing_that_is_killed_goes_on_and_ends_the_same(
    folder: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    command = ["data", "pack", str(folder), "-o", str(out), "--shard-size", f"{SHARD / 1e6}M"]
    written: list[str] = []
    original = packing._add_label

    def killed(tar: tarfile.TarFile, source: Any) -> None:
        written.append(source.path)
        original(tar, source)
        if len(written) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(packing, "_add_label", killed)
    assert main(command) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    whole = sorted(path.name for path in out.glob("*.tar"))
    assert 0 < len(whole) < len(list(packed.glob("*.tar")))
    with pytest.raises(DataError, match="packing has not come to its end"):
        open_videos(out)
    stamps = {name: (out / name).stat().st_mtime_ns for name in whole}
    assert main(command) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in whole} == stamps, "what is whole is kept"
    assert len(written) < 6 + 8
    names = sorted(path.name for path in packed.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((out / name).read_bytes() == (packed / name).read_bytes() for name in names)
    assert main(command) == 0, "a finished one has nothing to do"


def test_what_cannot_be_packed_is_named_before_anything_is_written(
    folder: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(source: Path, out: Path) -> str:
        assert main(["data", "pack", str(source), "-o", str(out)]) == 4
        return capsys.readouterr().err

    root = tmp_path / "set"
    shutil.copytree(folder.parent, root)
    (root / "c/1.mkv").unlink()
    (root / "c/2.mkv").write_bytes(b"")
    line = refused(root / "set.csv", tmp_path / "out")
    assert "2 of 8 videos cannot be read, first c/1.mkv: No such file" in line
    assert not (tmp_path / "out").exists()
    assert "is packed already" in refused(packed, tmp_path / "out")
    assert "has a packed set already, of other videos" in refused(tiny_set(tmp_path / "other"), packed)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train-000000.tar").write_bytes(b"mine")
    assert "train-000000.tar is there already" in refused(folder, tmp_path / "out")
    assert (tmp_path / "out/train-000000.tar").read_bytes() == b"mine"
    assert "would count as a class" in refused(tmp_path / "other", tmp_path / "other/shards")
    (root / "records.csv").write_text("path,label\ntrain.bin#0,a\ntrain.bin#1,b\n")
    (root / "train.bin").write_bytes(bytes(2 * 3074))
    assert "it is one file already" in refused(root / "records.csv", tmp_path / "more")


def tiny_set(root: Path) -> Path:
    write(root / "a/1.mp4", counting_frames(4))
    return root


def changed(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((copy / INDEX).read_text())
    change(index)
    (copy / INDEX).write_text(json.dumps(index))


def set_file(number: int, place: int, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda index: index["files"][number].__setitem__(place, value)


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "path out of the set": (set_file(0, 0, "../../etc/passwd"), "'../../etc/passwd' leads out of the set"),
    "absolute path": (set_file(0, 0, "/etc/passwd"), "'/etc/passwd' leads out of the set"),
    "place before the shard": (set_file(0, 2, -512), "leads out of"),
    "bomb": (set_file(0, 3, 10**15), "leads out of"),
    "no shard": (set_file(0, 1, 99), "lies in shard 99 of"),
    "shard elsewhere": (lambda index: index["shards"][0].__setitem__(0, "../x.tar"), "'../x.tar' is not a tar file"),
    "name elsewhere": (lambda index: index.update(name="../x"), "is no name of a file"),
    "label": (lambda index: index["train"][0].__setitem__(1, [7]), r"labels \[7\] of 3 classes"),
    "row": (lambda index: index["train"][0].__setitem__(0, 99), "names video 99 of 8"),
    "part": (lambda index: index["train"][0].__setitem__(2, -1.0), "has a part from -1"),
    "twice": (set_file(0, 0, "still.jpeg"), "listed twice"),
    "kind": (lambda index: index.update(format="other"), "no index that `autovid data pack` wrote"),
    "unknown": (lambda index: index.update(run="x"), "unknown field"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_index_is_not_believed(kind: str, copy: Path) -> None:
    change, reason = HOSTILE[kind]
    changed(copy, change)
    with pytest.raises(DataError, match=reason.replace("'", ".")) as error:
        open_videos(copy)
    assert str(copy / INDEX) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_shard_that_is_truncated_missing_or_a_link_is_named(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = copy / "train-000000.tar"
    data, size = shard.read_bytes(), shard.stat().st_size
    videos = open_videos(copy)
    shard.write_bytes(data[: size // 2])
    line = f"{shard}: {size // 2:,} bytes where the index says {size:,}: it is truncated; copy it again"
    assert main(["data", "check", str(copy), "--workers", "1"]) == 4
    assert capsys.readouterr().err == f"autovid data: {line}\n"
    with pytest.raises(DataError, match="it is truncated"):  # and where it happens while the set is in use
        next(loader(videos, faults=(faults := FaultLog(9))).batches(0, 6))
    assert not faults.reasons, "no video is broken"
    shard.write_bytes(data + b"x")
    with pytest.raises(DataError, match="it is another one"):
        open_videos(copy)
    shard.rename(tmp_path / "elsewhere.tar")
    with pytest.raises(DataError, match="No such file"):
        open_videos(copy)
    shard.symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(DataError, match="a link or no file"):
        open_videos(copy)


def replaced(copy: Path, path: str, info: tarfile.TarInfo) -> Any:
    """Put another header where a video has its own; return the video."""
    root = open_videos(copy).root
    assert isinstance(root, Shards)
    member = root / path
    with (copy / root.shards[member.extent.shard].name).open("r+b") as file:
        file.seek(member.extent.offset)
        file.write(info.tobuf(tarfile.GNU_FORMAT))
    return member


def test_a_member_that_is_not_the_one_of_the_index_is_refused(copy: Path, tmp_path: Path) -> None:
    link = tarfile.TarInfo("000000002.mkv")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    bomb = tarfile.TarInfo("000000002.mkv")
    bomb.size = 10**12
    backwards = tarfile.TarInfo("000000006.00001.jpg")
    backwards.size = -512  # the next header would be this one, for ever
    for path, info, reason in (
        ("c/0.mkv", tarfile.TarInfo("../../x.mkv"), "'../../x.mkv', where the index has c/0.mkv"),
        ("c/0.mkv", link, "a link or no file"),
        ("c/0.mkv", bomb, "leads out of its place"),
        ("frames/x", tarfile.TarInfo("../00001.jpg"), "where the index has frames/x"),
        ("frames/x", backwards, "leads out of its place"),
    ):
        member = replaced(copy, path, info)
        with pytest.raises(DataError) as error:
            open_video(member)
        assert reason in str(error.value)
        assert ", byte " in str(error.value)
    name = member._shard.name  # of zeros
    (copy / name).write_bytes(bytes(member._shard.size))
    with pytest.raises(DataError, match="no member of a tar file where the index has one"):
        open_video(member)


def test_a_broken_video_in_a_shard_is_a_broken_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiny_set(tmp_path / "set")
    for number in (2, 3):
        write(root / f"a/{number}.mp4", counting_frames(4))
    (root / "a/2.mp4").write_bytes(b"no video" * 100)
    assert main(["data", "pack", str(root), "-o", str(tmp_path / "shards")]) == 0
    assert main(["data", "check", str(tmp_path / "shards"), "--workers", "1"]) == 4
    line = capsys.readouterr().err
    assert "1 video or part is broken: a/2.mp4: not an mp4" in line
    assert "pack it again" in line
    assert (tmp_path / "shards.broken.csv").read_text().splitlines()[1].startswith('a/2.mp4,"not an mp4')
    assert main(["data", "mini", str(tmp_path / "shards")]) == 4
    assert main(["data", "resize", str(tmp_path / "shards"), "-o", str(tmp_path / "small"), "--workers", "1"]) == 0
    assert read_counts(tmp_path / "small/a/3.mp4") == list(range(4))


def test_bytes_of_a_shard_read_like_a_file(packed: Path) -> None:
    root = open_videos(packed).root
    assert isinstance(root, Shards)
    with (root / "still.jpeg").open() as file:
        data = file.read()
        assert file.seek(-2, os.SEEK_END) == len(data) - 2
        assert file.read(10) == data[-2:] == b"\xff\xd9"
        assert file.seek(-5, os.SEEK_CUR) == len(data) - 5
        with pytest.raises(OSError, match="before the first byte"):
            file.seek(-1)

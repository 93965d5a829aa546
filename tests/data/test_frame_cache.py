"""A cache of decoded frames changes time and memory, and no pixel: all comparisons are to the bit.

Both sides of a comparison run the same decoder and the same code on the same bytes.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting import counting_frames, write
from image_sets import make_cifar
from PIL import Image

from autovid.clip import Clip
from autovid.data import Batch, ClipLoader, FaultLog, Video, VideoSet, frame_cache, open_videos
from autovid.data.frame_cache import FrameCache, choose_cache, frames_size
from autovid.data.images import write_frames
from autovid.errors import DataError
from autovid.fileio import size_text

CLIP = Clip(frames=4, crop=16, stride=2)
MEGABYTE = 10**6
MIRRORED = {"crops": "jitter", "flip": True}


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, counting: Path) -> VideoSet:
    """What a row of an index may be: files, parts of files, folders of frames, images; and three that are broken."""
    root = tmp_path_factory.mktemp("mixed")
    shutil.copy(counting, root / "good.mp4")
    write(root / "wide.mkv", counting_frames(9, 32, 96), codec="ffv1", pixels="bgr0")
    write(root / "old.avi", counting_frames(20), codec="mpeg4", container="avi")
    write_frames(root / "frames", counting_frames(12), 90)
    Image.fromarray(next(iter(counting_frames(1, 40, 50)))).save(root / "still.jpg")
    make_cifar(root)
    (root / "empty.mp4").touch()
    data = bytearray(counting.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)  # some of its clips can be decoded
    (root / "damaged.mp4").write_bytes(data)
    write_frames(root / "odd", counting_frames(6), 90)
    (root / "odd" / "00003.jpg").write_bytes(b"no picture")
    paths = ["good.mp4", "wide.mkv", "old.avi", "frames", "still.jpg", "cifar-100-binary/train.bin#2", "empty.mp4"]
    rows = [Video(path, 0) for path in [*paths, "damaged.mp4", "odd"]]
    rows += [Video("good.mp4", 1, 0.5, 1.3), Video("good.mp4", 1, 1.0), Video("frames", 1, 3, 9), Video("gone.mp4", 1)]
    return VideoSet("mixed", root, ("a", "b"), tuple(rows), tuple(rows))


def loader(videos: VideoSet, cache: FrameCache | None = None, **changes: Any) -> ClipLoader:
    options = {"batch": 5, "train": True, "seed": 3, "faults": FaultLog(1000), **changes}  # 10 may be broken
    return ClipLoader(videos.train, videos.root, options.pop("clip", CLIP), cache=cache, **options)


@pytest.fixture
def cache(mixed: VideoSet) -> Iterator[FrameCache]:
    with closing(FrameCache(mixed.train, mixed.root, 50 * MEGABYTE)) as cache:
        yield cache


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for p, q in zip(a, b) for x, y in zip(p, q))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        MIRRORED,
        {"crops": "jitter", "flip": False, "jitter": (16, 40)},
        pytest.param({"crops": "multi_scale"}, marks=pytest.mark.thorough),
        {"crops": "area", "auto_augment": True},
        pytest.param({"crops": "pad", "color_jitter": 0.4, "lighting": 0.1}, marks=pytest.mark.thorough),
        pytest.param({**MIRRORED, "clip": Clip(frames=4, crop=16, sampling="uniform")}, marks=pytest.mark.thorough),
        {**MIRRORED, "clip": Clip(frames=16, crop=24, stride=5)},
        {**MIRRORED, "clip": Clip(frames=8, crop=16, sampling="uniform", snippet=2)},
    ],
)
def test_clips_and_faults_are_those_without_a_cache(mixed: VideoSet, cache: FrameCache, changes: Any) -> None:
    plain, cached = loader(mixed, **changes), loader(mixed, cache, **changes)
    for first in (0, 12, 5):  # the second time from memory
        assert same(list(plain.batches(first, first + 12)), list(cached.batches(first, first + 12)))
    assert plain.faults.reasons == cached.faults.reasons
    assert {"empty.mp4", "gone.mp4"} <= cached.faults.reasons.keys()
    assert cache.used > 60 * 48 * 64 * 3


@pytest.mark.parametrize("views", ["center", "10-lcr", "2-center@20"])
def test_views_are_those_without_a_cache(mixed: VideoSet, cache: FrameCache, views: str) -> None:
    plain, cached = (loader(mixed, each, train=False, views=views) for each in (None, cache))
    whole = list(plain.views_batches())
    for _ in range(2):
        assert same(whole, list(cached.views_batches()))
    assert plain.faults.reasons == cached.faults.reasons


def test_a_resumed_run_sees_the_same_clips(mixed: VideoSet, cache: FrameCache) -> None:
    whole = list(loader(mixed, cache).batches(0, 12))
    with closing(FrameCache(mixed.train, mixed.root, 20 * MEGABYTE)) as other:
        assert same(whole[7:], list(loader(mixed, other).batches(7, 12)))
    assert same(whole[7:], list(loader(mixed).batches(7, 12)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_damage_anywhere_in_a_file_changes_no_clip(tmp_path: Path, counting: Path, seed: int) -> None:
    """Whether the damage is noticed or not, and by whichever clip."""
    rng, data = np.random.default_rng(seed), bytearray(counting.read_bytes())
    for place in rng.integers(len(data) // 10, len(data), 1 + seed).tolist():
        data[place] ^= int(rng.integers(1, 256))
    (tmp_path / "damaged.mp4").write_bytes(data)
    (tmp_path / "good.mp4").write_bytes(counting.read_bytes())
    rows = (Video("damaged.mp4", 0), Video("good.mp4", 0), Video("damaged.mp4", 0, 1.0, 1.9))
    damaged = VideoSet("damaged", tmp_path, ("a",), rows, ())
    with closing(FrameCache(rows, tmp_path, 20 * MEGABYTE)) as cache:
        plain, cached = loader(damaged), loader(damaged, cache)
        assert same(list(plain.batches(0, 12)), list(cached.batches(0, 12)))
        assert plain.faults.reasons == cached.faults.reasons
        assert cache.used >= 60 * 48 * 64 * 3  # the good one's


def test_too_many_broken_videos_stop_a_run_with_a_cache_too(mixed: VideoSet, cache: FrameCache) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(loader(mixed, cache, faults=FaultLog(13)).batches(0, 10))


def test_a_video_is_decoded_once(videos: VideoSet, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = frame_cache.open_video
    monkeypatch.setattr(frame_cache, "open_video", lambda *place: opened.append(place) or original(*place))
    with closing(FrameCache(videos.train, videos.root, 10 * MEGABYTE)) as cache:
        list(loader(videos, cache, batch=24).batches(0, 3))
        assert len(opened) == len(set(opened)) == 24
        assert cache.used == 24 * 16 * 40 * 40 * 3


@pytest.mark.parametrize("size", [1, 700_000, 1_300_000])
def test_memory_is_bounded_and_what_does_not_fit_is_decoded(videos: VideoSet, size: int) -> None:
    """A video has 76,800 bytes, and one of more than a sixteenth of the memory is not kept."""
    whole = list(loader(videos).batches(0, 15))
    with closing(FrameCache(videos.train, videos.root, size)) as cache:
        assert same(whole, list(loader(videos, cache).batches(0, 15)))
        assert cache.used == (16 * 76_800 if size == 1_300_000 else 0)


def test_videos_that_the_cache_does_not_know_are_decoded(videos: VideoSet) -> None:
    with closing(FrameCache(videos.train[:3], videos.root, 10 * MEGABYTE)) as cache:
        assert same(list(loader(videos).batches(0, 6)), list(loader(videos, cache).batches(0, 6)))
        assert cache.used == 3 * 76_800


@pytest.mark.slow
def test_processes_share_the_memory(mixed: VideoSet, cache: FrameCache) -> None:
    plain = loader(mixed)
    whole = list(plain.batches(0, 12))
    with closing(loader(mixed, cache, workers=2)) as cached:
        assert same(whole, list(cached.batches(0, 12)))
        assert plain.faults.reasons == cached.faults.reasons
    used = cache.used
    assert used > 60 * 48 * 64 * 3
    assert same(whole, list(loader(mixed, cache).batches(0, 12)))  # from what the workers have left
    assert cache.used == used


def test_a_process_that_is_killed_does_not_keep_the_others_waiting(videos: VideoSet) -> None:
    with closing(FrameCache(videos.train, videos.root, 10 * MEGABYTE)) as cache:
        if not (child := os.fork()):
            with cache._locked():
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        list(loader(videos, cache).batches(0, 2))
        assert cache.used == 10 * 76_800


@pytest.mark.parametrize("named", [False, True])
def test_the_memory_has_no_name_and_goes_at_the_end(
    videos: VideoSet, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named:  # as on a system without files of memory
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shared, descriptors = Path("/dev/shm"), Path("/proc/self/fd")
    before = sorted(shared.glob("*")), len(list(descriptors.glob("*")))
    cache = FrameCache(videos.train, videos.root, 10 * MEGABYTE)
    list(loader(videos, cache).batches(0, 6))
    assert cache.used
    assert not list(tmp_path.iterdir())
    assert sorted(shared.glob("*")) == before[0]
    cache.close()
    cache.close()
    assert len(list(descriptors.glob("*"))) == before[1]
    assert "autovid-frames" not in Path("/proc/self/maps").read_text()
    assert same(list(loader(videos).batches(0, 2)), list(loader(videos, cache).batches(0, 2)))


def test_kept_frames_cannot_be_changed(videos: VideoSet) -> None:
    with closing(FrameCache(videos.train, videos.root, 10 * MEGABYTE)) as cache:
        for _ in range(2):
            with cache.open(videos.root / videos.train[0].path, None, None) as video:
                frames = video.frames(np.array([0, 1]), lambda frame: frame)
                frames[:] = 0
        with cache.open(videos.root / videos.train[0].path, None, None) as video:
            assert video.frames(np.array([0]), lambda frame: frame).any()


def test_auto_is_for_sets_that_fit(videos: VideoSet, monkeypatch: pytest.MonkeyPatch) -> None:
    needed, said = 24 * 76_800, []
    assert frames_size(videos.train, videos.root) == needed
    for spare, workers, fits in ((4 * needed, 1, True), (4 * needed - 4, 1, False), (4 * needed, 2, False)):
        monkeypatch.setattr(frame_cache, "spare_memory", lambda device, spare=spare: spare)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(workers))
        cache = choose_cache("auto", videos.train, videos.root, said.append)
        assert (cache is not None) == fits
    assert said[0] == "decoded frames are kept in memory: 1.84 MB"
    assert said[1] == "decoded frames are not kept in memory: 1.84 MB, and 1.84 MB may be used (--cache)"


def test_a_size_is_taken_as_far_as_there_is_memory(videos: VideoSet, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(frame_cache, "spare_memory", lambda device: 10**9)
    for size, most in ((2 * 10**9, 10**9), (3 * 10**8, 3 * 10**8)):
        cache = choose_cache(size, videos.train, videos.root, said.append)
        assert cache is not None
        assert cache.size == most
    assert said == [f"decoded frames are kept in memory: up to {size}" for size in ("1.0 GB", "0.3 GB")]
    assert choose_cache("off", videos.train, videos.root, said.append) is None
    assert len(said) == 2


def test_an_estimate_leaves_broken_videos_out(mixed: VideoSet) -> None:
    assert frames_size([Video("empty.mp4", 0), Video("good.mp4", 0)], mixed.root) == 2 * 60 * 48 * 64 * 3
    assert frames_size([Video("empty.mp4", 0)], mixed.root) == 0


def test_sizes_in_words() -> None:
    assert [size_text(size) for size in (500, 2_340_000, 287 * MEGABYTE, 12 * 10**9)] == [
        "0.0005 MB", "2.34 MB", "0.3 GB", "12.0 GB",
    ]  # fmt: skip

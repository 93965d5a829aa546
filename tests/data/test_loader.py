"""Batches are a pure function of (seed, step); broken videos cost neither a run nor that promise.

Clips are equal to the bit: a decoder's frames are bytes that its format defines, the same code resizes each by itself,
and a number becomes a float by one product and one sum, wherever in a batch it stands.
"""

import json
from collections import Counter
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting import counting_frames, counts, write
from tolerance import rounding

from autovid.clip import Clip
from autovid.data import Batch, ClipLoader, FaultLog, Video, VideoSet, open_videos
from autovid.data.clips import generator
from autovid.data.loader import normalised
from autovid.errors import ConfigError, DataError

CLIP = Clip(frames=4, crop=16, stride=2)


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


def train(videos: VideoSet, **changes: Any) -> ClipLoader:
    return ClipLoader(videos.train, videos.root, CLIP, **{"batch": 5, "train": True, "seed": 3, **changes})


def views(videos: VideoSet, **changes: Any) -> ClipLoader:
    return ClipLoader(videos.val, videos.root, CLIP, **{"batch": 7, "train": False, **changes})


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for p, q in zip(a, b) for x, y in zip(p, q))


def test_a_batch_is_what_networks_want(videos: VideoSet) -> None:
    (batch,) = train(videos).batches(0, 1)
    assert batch.x.shape == (5, 3, 4, 16, 16)
    assert batch.x.dtype == torch.float32
    assert batch.x.is_contiguous(memory_format=torch.channels_last_3d)
    assert batch.y.dtype == batch.video.dtype == torch.int64
    assert batch.y.tolist() == [videos.train[i].label for i in batch.video]


def test_clips_are_pinned_where_this_process_computes_on_cuda(
    videos: VideoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    empty = torch.empty

    def record(*sizes: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        asked.append(pin_memory)
        return empty(*sizes, **options)

    monkeypatch.setattr(torch, "empty", record)
    for computes in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda computes=computes: computes)
        list(train(videos).batches(0, 1))
        assert asked.pop() is computes


def test_pixels_are_normalised_by_the_mean_and_deviation_of_their_channel(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[...] = (40, 120, 200)
    write(tmp_path / "a.mkv", [pixels] * 4, codec="ffv1", pixels="bgr0")
    clip = Clip(frames=2, crop=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    (batch,) = ClipLoader([Video("a.mkv", 0)], tmp_path, clip, batch=1, train=True).batches(0, 1)
    expected = (torch.tensor([40, 120, 200]) / 255 - torch.tensor(clip.mean)) / torch.tensor(clip.std)
    most = rounding(4, 8)  # four operations in fp32 on numbers up to 1 / 0.125
    assert torch.allclose(batch.x.amin(dim=(0, 2, 3, 4)), expected, rtol=0, atol=most)
    assert torch.allclose(batch.x.amax(dim=(0, 2, 3, 4)), expected, rtol=0, atol=most)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_pixel_becomes_a_float_by_one_product_and_one_sum(kind: type) -> None:
    """To the bit: each is rounded by itself, whatever computes it."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 5, 7, 3)).astype(kind)
    clip = Clip(frames=2, crop=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    std, mean = np.array(clip.std, dtype=np.float32), np.array(clip.mean, dtype=np.float32)
    expected = pixels.astype(np.float32) * (1 / (255 * std)) + -mean / std
    assert np.array_equal(normalised(pixels, clip).permute(0, 2, 3, 4, 1).numpy(), expected)


@pytest.mark.parametrize("numbers", [(0, 3, 5), (7, 2**32 - 1), (2**32, 1), (2**63 - 1, 0)])
def test_random_numbers_are_those_of_the_seeds_tuple(numbers: tuple[int, ...]) -> None:
    """Runs of earlier versions go on with the same clips."""
    tuples = np.random.default_rng((*b"clip", 256, *numbers))
    assert np.array_equal(generator("clip", *numbers).random(5), tuples.random(5))


def test_batch_i_is_the_same_from_wherever_one_starts(videos: VideoSet) -> None:
    whole = list(train(videos).batches(0, 12))
    assert same(whole[7:], list(train(videos).batches(7, 12)))


@pytest.mark.slow
def test_workers_change_nothing(videos: VideoSet) -> None:
    whole = list(train(videos).batches(0, 9))
    with closing(train(videos, workers=2)) as loader:
        assert same(whole, list(loader.batches(0, 9)))
        assert same(whole[4:], list(loader.batches(4, 9)))
    with closing(views(videos, workers=1, views="10-lcr")) as loader:
        assert same(list(views(videos, views="10-lcr").views_batches()), list(loader.views_batches()))


def test_other_seeds_epochs_and_places_give_other_clips(videos: VideoSet) -> None:
    first = next(train(videos, batch=24).batches(0, 1))
    assert not torch.equal(first.video, next(train(videos, batch=24, seed=4).batches(0, 1)).video)
    second = next(train(videos, batch=24).batches(1, 2))
    assert not torch.equal(first.video, second.video)
    one = ClipLoader(videos.train[:1] * 3, videos.root, CLIP, batch=6, train=True)
    clips = [tuple(clip.flatten().tolist()) for clip in next(one.batches(0, 1)).x]
    assert len(set(clips)) == 6  # one video at three places of two epochs: six random crops


def test_an_epoch_shows_every_video_once_and_epochs_follow_without_a_seam(videos: VideoSet) -> None:
    loader = train(videos)
    assert loader.steps_per_epoch == 5
    shown = torch.cat([batch.video for batch in loader.batches(0, 24)]).tolist()
    for epoch in range(5):
        assert sorted(shown[epoch * 24 : epoch * 24 + 24]) == list(range(24))


def test_a_set_smaller_than_a_batch_fills_it_all_the_same(videos: VideoSet) -> None:
    loader = ClipLoader(videos.train[:3], videos.root, CLIP, batch=8, train=True)
    (batch,) = loader.batches(0, 1)
    assert loader.steps_per_epoch == 1
    assert max(Counter(batch.video.tolist()).values()) == 3


def test_flip_mirrors_about_half_of_the_clips_and_all_their_frames(tmp_path: Path) -> None:
    half = np.zeros((32, 32, 3), dtype=np.uint8)
    half[:, 16:] = 255
    write(tmp_path / "half.mp4", [half] * 4)
    video = [Video("half.mp4", 0)]
    square = {"jitter": (16, 16), "batch": 64, "train": True}
    x = next(ClipLoader(video, tmp_path, CLIP, **square).batches(0, 1)).x
    mirrored = x[..., :4].mean(dim=(1, 3, 4)) > x[..., -4:].mean(dim=(1, 3, 4))
    assert 16 < mirrored[:, 0].sum() < 48
    assert (mirrored == mirrored[:, :1]).all()
    x = next(ClipLoader(video, tmp_path, CLIP, flip=False, **square).batches(0, 1)).x
    assert (x[..., :4].mean() < x[..., -4:].mean()).all()


def test_the_jitter_that_nobody_gives_is_the_papers(tmp_path: Path) -> None:
    """Table 3: 182 to 228 for a crop of 160."""
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    write(tmp_path / "noise.mkv", [noise], codec="ffv1", pixels="bgr0")
    videos, clip = [Video("noise.mkv", 0)], Clip(frames=1, crop=160, stride=1)
    stated, default = (
        ClipLoader(videos, tmp_path, clip, batch=8, train=True, **jitter) for jitter in ({"jitter": (182, 228)}, {})
    )
    assert torch.equal(next(stated.batches(0, 1)).x, next(default.batches(0, 1)).x)


def test_scale_jitter_and_crop_place_span_their_range_and_hold_for_the_clip(tmp_path: Path) -> None:
    """Pixel values are the place in the frame, so that a crop tells where it comes from."""
    frame = np.zeros((64, 96, 3), dtype=np.uint8)
    frame[..., 0] = np.arange(64)[:, None] * 2
    frame[..., 1] = np.arange(96)[None] * 2
    write(tmp_path / "ramp.mkv", [frame] * 8, codec="ffv1", pixels="bgr0")
    clip = Clip(frames=4, crop=16, stride=1, mean=(0, 0, 0), std=(1, 1, 1))
    loader = ClipLoader([Video("ramp.mkv", 0)], tmp_path, clip, batch=200, train=True, flip=False, jitter=(16, 32))
    places = next(loader.batches(0, 1)).x * 255 / 2
    assert torch.equal(places[:, :, :1].expand_as(places), places)  # all frames are cut alike
    size = (places[:, 1, 0, 0, -1] - places[:, 1, 0, 0, 0]) * 16 / 15
    assert 31 < size.min() < 36  # a short side of 32: 16 pixels are half the height
    assert 60 < size.max() < 66  # a short side of 16: the whole height
    left, top = places[:, 1, 0, 0, 0], places[:, 0, 0, 0, 0]
    assert left.min() < 5
    assert left.max() > 50
    assert top.max() > 20
    small = size < 36
    assert abs(np.corrcoef(left[small], top[small])[0, 1]) < 0.5  # of the seed's draws; equal places would make 1


def test_views_are_clips_in_time_times_places_across(tmp_path: Path) -> None:
    write(tmp_path / "wide.mp4", counting_frames(64, 32, 96))
    write(tmp_path / "tall.mp4", [np.rot90(frame) for frame in counting_frames(64, 32, 96)])
    clip = Clip(frames=2, crop=32, stride=4, mean=(0, 0, 0), std=(1, 1, 1))
    both = [Video("wide.mp4", 0), Video("tall.mp4", 1)]

    def shown(kind: str) -> torch.Tensor:
        batches = list(ClipLoader(both, tmp_path, clip, batch=7, train=False, views=kind).views_batches())
        assert [len(batch.y) for batch in batches[:-1]] == [7] * (len(batches) - 1)
        assert torch.equal(torch.cat([batch.video for batch in batches]), torch.cat([batch.y for batch in batches]))
        return torch.cat([batch.x for batch in batches])

    lcr = shown("10-lcr")
    assert len(lcr) == 2 * 30
    across = lcr[:30].reshape(10, 3, 3, 2, 32, 32).permute(0, 3, 4, 1, 5, 2).reshape(20, 32, 96, 3)
    starts = np.linspace(0, 59, 10).astype(int)
    assert counts((across * 255).numpy()) == [n for start in starts for n in (start, start + 4)]
    down = lcr[30:].reshape(10, 3, 3, 2, 32, 32).permute(0, 3, 1, 4, 5, 2).reshape(20, 96, 32, 3)
    assert counts((down.rot90(-1, (1, 2)) * 255).numpy()) == [n for start in starts for n in (start, start + 4)]
    assert torch.equal(shown("10-center"), torch.cat([lcr[1:30:3], lcr[31:60:3]]))
    assert torch.equal(shown("center"), lcr[[1, 31]])


@pytest.fixture
def broken(videos: VideoSet, tmp_path: Path) -> VideoSet:
    """The tiny videos, but train video 5 is empty."""
    for video in videos.train + videos.val:
        path = tmp_path / video.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if video is videos.train[5] else (videos.root / video.path).read_bytes())
    return open_videos(tmp_path)


def test_a_broken_video_is_replaced_by_the_same_other_one_each_time(broken: VideoSet, videos: VideoSet) -> None:
    shown = list(train(broken).batches(0, 10))
    assert 5 not in torch.cat([batch.video for batch in shown])
    assert same(shown[3:], list(train(broken).batches(3, 10)))
    whole = train(videos).batches(0, 10)
    for got, meant in zip(shown, whole):  # all other clips are what they would have been
        rest = meant.video != 5
        assert torch.equal(got.x[rest], meant.x[rest])
        assert got.y.tolist() == [videos.train[i].label for i in got.video]


def test_evaluation_leaves_a_broken_video_out(broken: VideoSet) -> None:
    faults = FaultLog(24)
    batches = ClipLoader(broken.train, broken.root, CLIP, batch=7, train=False, faults=faults).views_batches()
    assert torch.cat([batch.video for batch in batches]).tolist() == [i for i in range(24) if i != 5]
    assert faults.reasons == {broken.train[5].path: "empty file"}


def test_a_broken_video_is_listed_once_with_its_reason(broken: VideoSet, tmp_path: Path) -> None:
    file = tmp_path / "faults.jsonl"
    list(train(broken, faults=FaultLog(24, file)).batches(0, 15))
    list(train(broken, faults=FaultLog(24, file)).batches(0, 15))  # a resumed run
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"path": broken.train[5].path, "reason": "empty file"}
    ]


def test_one_percent_of_a_small_set_ten_and_one_more(tmp_path: Path) -> None:
    for total, allowed in ((1, 1), (19, 1), (30, 3), (100, 10), (1000, 10), (2000, 20)):
        faults = FaultLog(total)
        for i in range(allowed):
            faults.add(f"{i}.mp4", "empty file")
            faults.add(f"{i}.mp4", "empty file")
        with pytest.raises(DataError, match=f"{allowed + 1} of {total} videos .* 0.mp4: empty file") as caught:
            faults.add("last.mp4", "gone")
        assert caught.value.exit_code == 4


def test_too_many_broken_videos_stop_the_run(broken: VideoSet) -> None:
    for number in (6, 7):
        (broken.root / broken.train[number].path).write_bytes(b"no video")
    with pytest.raises(DataError, match="3 of 24 videos"):
        list(train(broken).batches(0, 10))


def test_faults_come_back_from_workers_with_the_clips(broken: VideoSet) -> None:
    with closing(train(broken, workers=1)) as loader:
        assert same(list(train(broken).batches(0, 6)), list(loader.batches(0, 6)))
        assert loader.faults.reasons == {broken.train[5].path: "empty file"}


def test_a_set_with_nothing_to_read_ends_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    loader = ClipLoader([Video("a.mp4", 0)], tmp_path, CLIP, batch=2, train=True)
    with pytest.raises(DataError, match=r"cannot be read.*a\.mp4: empty file"):
        list(loader.batches(0, 1))


def test_the_fault_list_survives_a_line_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "faults.jsonl"
    file.write_text('{"path": "a.mp4", "reason": "empty file"}\n{"path": "b.m')
    faults = FaultLog(1000, file)
    faults.add("b.mp4", "gone")
    assert FaultLog(1000, file).reasons == {"a.mp4": "empty file", "b.mp4": "gone"}


def test_wrong_values_are_refused(videos: VideoSet) -> None:
    for changes in ({"views": "31"}, {"batch": 0}, {"workers": -1}, {"jitter": (15, 20)}, {"jitter": (20, 18)}):
        with pytest.raises(ConfigError):
            train(videos, **changes)
    with pytest.raises(DataError, match="empty"):
        ClipLoader([], videos.root, CLIP, batch=1, train=True)
    with pytest.raises(ConfigError, match="dense or uniform"):
        ClipLoader(videos.train, videos.root, Clip(frames=1, crop=8, sampling="other"), batch=1, train=True)


def test_a_stream_has_no_end(videos: VideoSet) -> None:
    assert len(list(islice(train(videos).batches(0, 10**12), 2))) == 2
